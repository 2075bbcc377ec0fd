//! Recipes on data from files, and predictions with what they trained.

mod common;

use std::path::Path;
use std::process::Stdio;

use common::{Done, Place};
use refrain::data::digits;
use serde_json::Value;

const NUMPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../refrain-data/tests/numpy");

fn recipe(data: &str, layers: &str, loss: &str) -> String {
    format!(
        "name = \"run\"\n[data]\n{data}\n[model]\nlayers = [{layers}]\n[compile]\noptimizer = {{ type = \
         \"adam\", learning_rate = 0.01 }}\nloss = \"{loss}\"\nmetrics = [{}]\n[fit]\nepochs = \
         2\nbatch_size = 16\n",
        if loss == "mse" { "" } else { "\"accuracy\"" }
    )
}

const CLASSIFIER: &str = "{ type = \"flatten\" }, { type = \"dense\", units = 16, activation = \
                          \"relu\" }, { type = \"dense\", units = 10, activation = \"softmax\" }";

fn idx(shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|&axis| file.extend((axis as u32).to_be_bytes()));
    file.extend(bytes);
    file
}

fn npy(kind: &str, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|axis| format!("{axis},")).collect();
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(bytes);
    file
}

/// An archive of empty files, stored.
fn archive(names: &[&str]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for name in names {
        let mut entry = vec![0; 26];
        entry[0] = 20;
        entry[22..24].copy_from_slice(&(name.len() as u16).to_le_bytes());
        let place = file.len() as u32;
        file.extend(b"PK\x03\x04");
        file.extend(&entry);
        file.extend(name.bytes());
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&entry);
        directory.extend([0; 10]);
        directory.extend(place.to_le_bytes());
        directory.extend(name.bytes());
    }
    let place = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([(names.len() as u16).to_le_bytes(); 2].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(place.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// 200 digits for training and 40 for the test, as bytes up to 255.
struct Digits {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

const TRAIN: usize = 200;
const ALL: usize = 240;

impl Digits {
    fn new() -> Self {
        let digits = digits().unwrap();
        let pixels = digits.pixels.iter().take(ALL * 64).map(|x| (x * 255.0) as u8);
        let labels = digits.labels.iter().take(ALL).map(|&label| label as u8);
        Self { pixels: pixels.collect(), labels: labels.collect() }
    }

    fn write_mnist(&self, place: &Place, folder: &str) {
        std::fs::create_dir_all(place.path(folder)).unwrap();
        for (part, range) in [("train", 0..TRAIN), ("t10k", TRAIN..ALL)] {
            let n = range.len();
            let pixels = &self.pixels[range.start * 64..range.end * 64];
            place.write(&format!("{folder}/{part}-images-idx3-ubyte"), idx(&[n, 8, 8], pixels));
            let labels = idx(&[n], &self.labels[range]);
            place.write(&format!("{folder}/{part}-labels-idx1-ubyte"), labels);
        }
    }
}

fn rows(done: &Done) -> Vec<Vec<Option<f64>>> {
    let row = |line: &str| {
        let row: Vec<Value> = serde_json::from_str(line).unwrap();
        row.iter().map(Value::as_f64).collect()
    };
    done.stdout.lines().map(row).collect()
}

fn argmax(row: &[Option<f64>]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].partial_cmp(&row[b]).unwrap()).unwrap()
}

fn weights(place: &Place, run: &str) -> Vec<u8> {
    std::fs::read(place.path(run).join("model.safetensors")).unwrap()
}

#[test]
fn a_folder_of_mnist_is_trained_on_and_predicted() {
    let place = Place::new();
    let digits = Digits::new();
    digits.write_mnist(&place, "recipes/idx");
    let data = "source = \"mnist\"\npath = \"idx\"\nvalidation = \"test\"";
    // A path in a recipe is relative to the recipe.
    place.write("recipes/m.toml", recipe(data, CLASSIFIER, "sparse_categorical_crossentropy"));
    place.run(&["train", "recipes/m.toml", "--dir", "run", "--set", "fit.epochs=8"]).ok();
    let history = &place.json("run/summary.json")["history"];
    assert!(history["val_accuracy"][7].as_f64() > Some(0.6), "{history}");
    // What is kept holds from anywhere.
    let kept = std::fs::read_to_string(place.path("run/recipe.toml")).unwrap();
    assert!(kept.contains(place.path("recipes").to_str().unwrap()), "{kept}");
    let noted = place.json("run/data.json");
    assert_eq!(noted["inputs"]["arrays"]["sample_shape"], serde_json::json!([1, 8, 8]));

    // The test part as bytes, as numbers, as a table: the same outputs, whatever the batches.
    let test = &digits.pixels[TRAIN * 64..];
    let scaled: Vec<f32> = test.iter().map(|&x| f32::from(x) / 255.0).collect();
    let as_f4: Vec<u8> = scaled.iter().flat_map(|x| x.to_le_bytes()).collect();
    let as_f8: Vec<u8> = scaled.iter().flat_map(|&x| f64::from(x).to_be_bytes()).collect();
    let as_i8: Vec<u8> = test.iter().flat_map(|&x| i64::from(x).to_le_bytes()).collect();
    place.write("u1.npy", npy("|u1", &[40, 8, 8], test));
    place.write("i8.npy", npy("<i8", &[40, 8, 8], &as_i8));
    place.write("f4.npy", npy("<f4", &[40, 1, 8, 8], &as_f4));
    place.write("f8.npy", npy(">f8", &[40, 64], &as_f8));
    let lines: String = scaled
        .chunks(64)
        .map(|row| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",") + "\n")
        .collect();
    place.write("flat.csv", &lines);
    let lines: String = test
        .chunks(64)
        .map(|row| row.iter().map(u8::to_string).collect::<Vec<_>>().join(",") + "\n")
        .collect();
    place.write("pixels.csv", &lines);
    let predict = |file: &str| place.run(&["predict", "--dir", "run", "--input", file]).ok().stdout;
    assert_eq!(predict("pixels.csv"), predict("u1.npy"));
    let names: Vec<String> = (0..64).map(|i| format!("pixel{i}")).collect();
    place.write("named.csv", names.join(",") + "\n" + &lines);
    let predict = |file: &str| place.run(&["predict", "--dir", "run", "--input", file]).ok();
    let expected = predict("u1.npy");
    assert_eq!(expected.stderr, "");
    for file in ["i8.npy", "f4.npy", "f8.npy", "flat.csv", "named.csv"] {
        assert_eq!(predict(file).stdout, expected.stdout, "{file}");
    }
    // The training data is not needed.
    std::fs::rename(place.path("recipes"), place.path("gone")).unwrap();
    assert_eq!(predict("u1.npy").stdout, expected.stdout);
    std::fs::rename(place.path("gone"), place.path("recipes")).unwrap();

    // What is predicted is what is evaluated.
    let right = rows(&expected)
        .iter()
        .zip(&digits.labels[TRAIN..])
        .filter(|(row, label)| argmax(row) == usize::from(**label))
        .count();
    let evaluated = place.run(&["evaluate", "--dir", "run", "--data", "test"]).ok().stdout;
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    let accuracy = evaluated["accuracy"].as_f64().unwrap();
    assert!((accuracy - right as f64 / 40.0).abs() < 1e-6, "{accuracy} {right}");
}

#[test]
fn from_the_disk_it_is_the_same_run_to_the_bit_and_so_it_is_resumed() {
    let place = Place::new();
    Digits::new().write_mnist(&place, "idx");
    let data = "source = \"mnist\"\npath = \"idx\"\nvalidation_split = 0.2";
    place.write("m.toml", recipe(data, CLASSIFIER, "sparse_categorical_crossentropy"));
    place.run(&["train", "m.toml", "--dir", "memory"]).ok();
    let disk = ["train", "m.toml", "--dir", "disk", "--set", "data.in_memory=false"];
    place.run(&disk).ok();
    assert!(weights(&place, "memory") == weights(&place, "disk"));

    // A run that replaces this one and reads no files leaves no word of them.
    assert!(place.path("disk/data.json").exists());
    let over = ["train", "--dir", "disk", "--overwrite", "--set", "fit.epochs=1"];
    place.run(&over).ok();
    assert!(!place.path("disk/data.json").exists());

    // One epoch in memory, the second from the disk.
    place.run(&["train", "m.toml", "--dir", "both", "--set", "fit.epochs=1"]).ok();
    let on = ["train", "m.toml", "--dir", "both", "--resume", "--set", "data.in_memory=false"];
    place.run(&on).ok();
    assert!(weights(&place, "memory") == weights(&place, "both"));

    // Other data is another run.
    let images = place.path("idx/train-images-idx3-ubyte");
    let mut bytes = std::fs::read(&images).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&images, bytes).unwrap();
    let more = ["train", "m.toml", "--dir", "both", "--resume", "--set", "fit.epochs=3"];
    place.run(&more).fails(2, &["data.contents"]);
}

#[test]
fn archives_of_numpy_are_trained_on() {
    let place = Place::new();
    let layers =
        "{ type = \"flatten\" }, { type = \"dense\", units = 3, activation = \"softmax\" }";
    let mut runs = Vec::new();
    for name in ["stored", "deflated"] {
        for in_memory in [true, false] {
            let data = format!(
                "source = \"npz\"\npath = '{NUMPY}/{name}.npz'\nvalidation = \"test\"\nin_memory = \
                 {in_memory}"
            );
            place.write("n.toml", recipe(&data, layers, "sparse_categorical_crossentropy"));
            let run = format!("{name}-{in_memory}");
            let mut command = place.command(&["train", "n.toml", "--dir", &run]);
            command.env("REFRAIN_CACHE", place.path("cache"));
            Done::of(command.output().unwrap()).ok();
            runs.push(weights(&place, &run));
        }
    }
    assert!(runs.iter().all(|run| *run == runs[0]));
    // Only what was compressed is converted.
    assert_eq!(place.list("cache/converted").len(), 2);
    let input = format!("{NUMPY}/stored.npz");
    let predicted = place.run(&["predict", "--dir", "stored-true", "--input", &input]);
    assert_eq!(rows(&predicted.ok()).len(), 2);
}

#[test]
fn a_folder_of_npy_files_is_an_unpacked_archive() {
    let place = Place::new();
    std::fs::create_dir(place.path("set")).unwrap();
    let x: Vec<u8> = (0..60).flat_map(|i| (i as f32 / 10.0).to_le_bytes()).collect();
    let y: Vec<u8> = (0..20).flat_map(|i| (i as f64).to_le_bytes()).collect();
    place.write("set/x.npy", npy("<f4", &[20, 3], &x));
    place.write("set/y.npy", npy("<f8", &[20], &y));
    let data = "source = \"npz\"\npath = \"set\"\nvalidation_split = 0.25\nscale = 2";
    place.write("n.toml", recipe(data, "{ type = \"dense\", units = 1 }", "mse"));
    place.run(&["train", "n.toml", "--dir", "run"]).ok();
    let predicted = place.run(&["predict", "--dir", "run", "--input", "set/x.npy"]).ok();
    assert_eq!(rows(&predicted).len(), 20);
    place.write("bad.npy", npy("<f4", &[20, 4], &[0; 320]));
    place.run(&["predict", "--dir", "run", "--input", "bad.npy"]).fails(
        1,
        &["`bad.npy` has the shape [20, 4]: rows of [4], and the model takes rows of [3]"],
    );
}

/// 120 rows of numbers, texts and gaps.
fn table() -> String {
    let row = |i: usize| {
        let (size, colour) = ((i * 37 % 100) as f64 / 10.0, ["red", "green", "blue"][i % 3]);
        let size_text = if i % 10 == 9 { String::new() } else { size.to_string() };
        let class = if (size > 5.0) == (colour == "red") { "yes" } else { "no" };
        format!("{i},{size_text},{colour},{class}\n")
    };
    "id,size,colour,class\n".to_owned() + &(0..120).map(row).collect::<String>()
}

#[test]
fn a_table_is_trained_on_and_predicted() {
    let place = Place::new();
    let text = table();
    place.write("t.csv", &text);
    let layers = "{ type = \"dense\", units = 16, activation = \"relu\" }, { type = \"dense\", units = \
                  2, activation = \"softmax\" }";
    let data = "source = \"csv\"\npath = \"t.csv\"\ntarget = \"class\"\ndrop = [\"id\"]\nmissing = \
                \"median\"\nvalidation_split = 0.25";
    place.write("t.toml", recipe(data, layers, "sparse_categorical_crossentropy"));
    place.run(&["train", "t.toml", "--dir", "run", "--set", "fit.epochs=60"]).ok();

    let predict = |file: &str| place.run(&["predict", "--dir", "run", "--input", file]);
    let all = predict("t.csv").ok();
    assert_eq!((rows(&all).len(), rows(&all)[0].len()), (120, 2));
    let held_out: Vec<&str> = text.lines().skip(1 + 90).collect();
    let right = rows(&all)[90..]
        .iter()
        .zip(&held_out)
        // Sorted: no, yes.
        .filter(|(row, line)| (argmax(row) == 1) == line.ends_with("yes"))
        .count();
    let evaluated: Value =
        serde_json::from_str(&place.run(&["evaluate", "--dir", "run"]).ok().stdout).unwrap();
    let accuracy = evaluated["accuracy"].as_f64().unwrap();
    assert!((accuracy - right as f64 / 30.0).abs() < 1e-6, "{accuracy} {right}");
    assert!(accuracy > 0.6, "{accuracy}");

    // Columns in another order, more of them, no target; a gap is filled as in the training.
    place.write("new.csv", "colour,note,size\nred,x,0\ngreen,y,\n");
    let new = predict("new.csv").ok();
    let lines: Vec<&str> = all.stdout.lines().collect();
    assert_eq!(new.stdout.lines().next(), Some(lines[0]));
    assert_eq!(rows(&new).len(), 2);
    // The training data is not needed, and may have changed.
    place.write("t.csv", "id,size,colour,class\n0,1,pink,maybe\n");
    assert_eq!(predict("new.csv").ok().stdout, new.stdout);

    for (text, words) in [
        ("size\n1\n", "has no column `colour`"),
        ("size,colour\n1,pink\n", "line 2: column 2 (`colour`): `pink` is not among"),
        ("size,colour\n1,red\nx,red\n", "line 3: column 1 (`size`): `x` is no number"),
        ("size,colour\n1,red\n2\n", "line 3: 1 fields"),
        ("", "is empty"),
    ] {
        place.write("bad.csv", text);
        predict("bad.csv").fails(1, &["`bad.csv`", words]);
    }
    predict("missing.csv").fails(1, &["cannot read `missing.csv`"]);
    predict(".").fails(1, &["`.` is no file"]);
    place.run(&["predict", "--dir", "none", "--input", "new.csv"]).fails(2, &["holds no run"]);
    place.run(&["predict", "--dir", "run"]).fails(2, &["--input"]);
}

#[test]
fn numbers_are_met_too() {
    let place = Place::new();
    let lines: String = (0..40).map(|i| format!("{};{};{}\n", i, 2 * i + 1, -i)).collect();
    place.write("t.csv", "x;y;z\n".to_owned() + &lines);
    place.write("test.csv", "z;x;y\n-100;100;201\n");
    let data = "source = \"csv\"\npath = \"t.csv\"\ntest_path = \"test.csv\"\ntarget = [\"y\", \
                \"z\"]\ndelimiter = \";\"\nvalidation = \"test\"";
    place.write("t.toml", recipe(data, "{ type = \"dense\", units = 2 }", "mse"));
    let disk = "data.in_memory=false";
    for (run, more) in [("memory", vec![]), ("disk", vec!["--set", disk])] {
        let mut args = vec!["train", "t.toml", "--dir", run];
        args.extend(more);
        let mut command = place.command(&args);
        command.env("REFRAIN_CACHE", place.path("cache"));
        Done::of(command.output().unwrap()).ok();
    }
    assert!(weights(&place, "memory") == weights(&place, "disk"));
    assert_eq!(place.list("cache/converted").len(), 4);
    let predicted = place.run(&["predict", "--dir", "memory", "--input", "test.csv"]).ok();
    assert_eq!(rows(&predicted)[0].len(), 2);
}

#[test]
fn a_text_is_no_number_to_be_met() {
    let place = Place::new();
    let layer = "{ type = \"dense\", units = 1 }";
    let data = "source = \"csv\"\npath = \"t.csv\"\ntarget = \"price\"";
    let line = |n: usize| format!("line {n}: column 2 (`price`): ");
    for (text, n, value) in [
        ("a,price\n1,\"1,210\"\n2,\"1,380\"\n", 2, "`1,210` is no number"),
        ("a,price\n1,$210\n2,$380\n", 2, "`$210` is no number"),
        ("a,price\n1,210\n2,380\n3,n.n.\n", 4, "`n.n.` is no number"),
    ] {
        place.write("t.csv", text);
        for loss in ["mse", "mean_absolute_error", "huber", "log_cosh", "poisson"] {
            place.write("t.toml", recipe(data, layer, loss).replace("\"accuracy\"", ""));
            for command in ["check", "train"] {
                let words = ["`$`", "thousands", "the loss compares numbers", value];
                let done = place.run(&[command, "t.toml"]);
                let done = done.fails(1, &words);
                assert!(done.stderr.contains(&line(n)), "{}", done.stderr);
                assert!(!done.stderr.contains("text = ["), "{}", done.stderr);
            }
        }
    }
    // Numbers that are said to be names.
    place.write("t.csv", "a,price\n1,210\n2,380\n");
    let named = format!("{data}\ntext = [\"price\"]");
    place.write("t.toml", recipe(&named, layer, "mse"));
    place.run(&["check", "t.toml"]).fails(1, &["line 2", "take `price` out of `text`"]);
    // Texts that name classes, and numbers.
    place.write("t.toml", recipe(data, layer, "mse"));
    place.run(&["train", "t.toml", "--dir", "numbers"]).ok();
    place.write("t.csv", "a,price\n1,low\n2,high\n");
    place.write("t.toml", recipe(data, layer, "binary_crossentropy"));
    place.run(&["train", "t.toml", "--dir", "texts"]).ok();
    assert!(!place.path("runs").exists());
}

#[test]
fn what_is_no_input_is_told_with_what_is() {
    let place = Place::new();
    Digits::new().write_mnist(&place, "idx");
    let data = "source = \"mnist\"\npath = \"idx\"";
    place.write("m.toml", recipe(data, CLASSIFIER, "sparse_categorical_crossentropy"));
    place.run(&["train", "m.toml", "--dir", "run", "--verbose", "0"]).ok();
    let predict = |file: &str| place.run(&["predict", "--dir", "run", "--input", file]);
    let words = ["is no file of inputs", ".csv", ".npy", ".npz"];
    predict("idx/t10k-images-idx3-ubyte").fails(1, &words);
    place.write("images.gz", b"\x1f\x8b\x08\x08 and more");
    predict("images.gz").fails(1, &words);

    place.write("train.npz", archive(&["x_train.npy", "y_train.npy"]));
    predict("train.npz")
        .fails(1, &["x_train, y_train", "to predict x_train, save it alone, or as x"]);

    let noted = std::fs::read_to_string(place.path("run/data.json")).unwrap();
    assert!(noted.contains("\"divisor\": 255.0"), "{noted}");
    place.write("run/data.json", noted.replace("\"divisor\": 255.0", "\"divisor\": 0.0"));
    predict("images.gz").fails(1, &["run/data.json", "does not hold what the run wrote"]);
    // Of a run whose journal is gone nobody knows what it wrote.
    std::fs::remove_file(place.path("run/journal.jsonl")).unwrap();
    let done = predict("images.gz").fails(1, &["rows of [8, 8] divided by 0 do not make"]);
    assert!(!done.stderr.contains("Some"), "{}", done.stderr);
}

#[test]
fn what_contradicts_itself_is_found_before_training() {
    let place = Place::new();
    let layer = "{ type = \"dense\", units = 3, activation = \"softmax\" }";
    let check = |data: &str, words: &[&str]| {
        place.write("t.toml", recipe(data, layer, "sparse_categorical_crossentropy"));
        place.run(&["check", "t.toml"]).fails(1, words);
    };
    place.write("t.csv", "a,price\n1,0\n2,1\n");
    let data = "source = \"csv\"\npath = \"t.csv\"\ntarget = \"price\"\ndrop = [\"price\"]";
    check(data, &["`price` is named by `target` and by `drop`"]);

    std::fs::create_dir(place.path("set")).unwrap();
    for part in ["train", "test"] {
        place.write(&format!("set/x_{part}.npy"), npy("|u1", &[3, 2], &[1, 2, 3, 4, 5, 6]));
        place.write(&format!("set/y_{part}.npy"), npy("|u1", &[3], &[0, 1, 2]));
    }
    let data = "source = \"npz\"\npath = \"set\"\nvalidation = \"test\"";
    let halves: Vec<u8> = [0.5_f32, 1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    for (y, kind) in [
        (npy("|u1", &[3, 3], &[1, 0, 0, 0, 1, 0, 0, 0, 1]), "targets of the shape [3]"),
        (npy("<f4", &[3], &halves), "targets of the shape [1]"),
    ] {
        place.write("set/y_test.npy", y);
        check(data, &["y_test", kind, "y_train", "class labels"]);
    }
    std::fs::remove_file(place.path("set/y_test.npy")).unwrap();
    check(data, &["no test part", "set` has x_test and no y_test"]);
    std::fs::remove_file(place.path("set/x_test.npy")).unwrap();
    check(data, &["no test part", "set` needs both x_test and y_test"]);
    Digits::new().write_mnist(&place, "idx");
    std::fs::remove_file(place.path("idx/t10k-images-idx3-ubyte")).unwrap();
    std::fs::remove_file(place.path("idx/t10k-labels-idx1-ubyte")).unwrap();
    let data = "source = \"mnist\"\npath = \"idx\"\nvalidation = \"test\"";
    check(data, &["no test part", "idx` needs both t10k-images-idx3-ubyte"]);
}

#[test]
fn an_unfinished_run_predicts_with_its_newest_checkpoint() {
    let place = Place::new();
    let args = ["train", "--dir", "run", "--set", "fit.epochs=2", "--verbose", "0"];
    place.run(&args).ok();
    let image: Vec<u8> = digits().unwrap().pixels[..64].iter().map(|x| (x * 16.0) as u8).collect();
    place.write("x.npy", npy("|u1", &[1, 8, 8], &image));
    let predict = || place.run(&["predict", "--dir", "run", "--input", "x.npy"]).ok();
    let finished = predict();
    assert_eq!(argmax(&rows(&finished)[0]), 0);
    for name in ["model.safetensors", "summary.json"] {
        std::fs::remove_file(place.path("run").join(name)).unwrap();
    }
    let unfinished = predict();
    assert_eq!(unfinished.stdout, finished.stdout);
    assert!(unfinished.stderr.contains("checkpoint 000002"), "{}", unfinished.stderr);
}

#[test]
fn what_json_has_no_number_for_is_null() {
    let place = Place::new();
    let text: String = (0..20).map(|i| format!("{i},{}\n", i % 2)).collect();
    place.write("t.csv", "x,y\n".to_owned() + &text);
    let data = "source = \"csv\"\npath = \"t.csv\"\ntarget = \"y\"";
    let layers = "{ type = \"rescaling\", scale = 10.0 }, { type = \"dense\", units = 1 }";
    place.write("t.toml", recipe(data, layers, "mse"));
    place.run(&["train", "t.toml", "--dir", "run"]).ok();
    let inputs: Vec<u8> = [1.0, f32::MAX, f32::MIN].map(f32::to_le_bytes).concat();
    place.write("x.npy", npy("<f4", &[3, 1], &inputs));
    let done = place.run(&["predict", "--dir", "run", "--input", "x.npy"]).ok();
    let found = rows(&done);
    assert!(found[0][0].is_some());
    assert_eq!(found[1..], [[None], [None]]);
    let words =
        "warning: 2 outputs are NaN or infinite, the first of them in row 2; JSON has no numbers";
    assert!(done.stderr.contains(words), "{}", done.stderr);
    // An input that is no number has no output.
    let inputs: Vec<u8> = [1.0, f32::NAN, 2.0].map(f32::to_le_bytes).concat();
    place.write("nan.npy", npy("<f4", &[3, 1], &inputs));
    let done = place.run(&["predict", "--dir", "run", "--input", "nan.npy", "--batch-size", "1"]);
    assert_eq!(rows(&done).len(), 1, "what comes before is predicted");
    done.fails(1, &["`nan.npy`: row 1, column 0 is NaN; counted from 0"]);
}

fn f4(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn numbers_that_are_not_finite_are_found_in_memory_and_on_the_disk() {
    let place = Place::new();
    std::fs::create_dir(place.path("set")).unwrap();
    let x: Vec<f32> = (0..120).map(|i| i as f32 / 100.0).collect();
    let y: Vec<f32> = (0..40).map(|i| i as f32 / 50.0).collect();
    let layer = "{ type = \"dense\", units = 1 }";
    let data = "source = \"npz\"\npath = \"set\"\nvalidation = \"test\"";
    place.write("n.toml", recipe(data, layer, "mse"));
    let write = |spoiled: &str, at: usize, value: f32| {
        for (name, shape, good) in [
            ("x_train", &[40, 3][..], &x),
            ("y_train", &[40], &y),
            ("x_test", &[40, 3], &x),
            ("y_test", &[40], &y),
        ] {
            let mut values = good.clone();
            if name == spoiled {
                values[at] = value;
            }
            place.write(&format!("set/{name}.npy"), npy("<f4", shape, &f4(&values)));
        }
    };
    for (name, at, value, words) in [
        ("x_train", 119, f32::NAN, "x_train: row 39, column 2 is NaN; counted from 0"),
        ("x_test", 3, f32::INFINITY, "x_test: row 1, column 0 is infinite"),
        ("y_train", 7, f32::NAN, "y_train: row 7 is NaN"),
        ("y_test", 0, f32::NEG_INFINITY, "y_test: row 0 is infinite"),
    ] {
        write(name, at, value);
        for in_memory in ["data.in_memory=true", "data.in_memory=false"] {
            for command in ["train", "check"] {
                let done = place.run(&[command, "n.toml", "--set", in_memory]);
                done.fails(1, &["`set/", words, "finite numbers"]);
            }
        }
    }
    assert!(!place.path("runs").exists());
    write("none", 0, 0.0);
    place.run(&["train", "n.toml", "--set", "data.in_memory=false"]).ok();
}

#[test]
fn half_a_test_part_and_an_empty_one_are_named() {
    let place = Place::new();
    std::fs::create_dir(place.path("set")).unwrap();
    let x = npy("<f4", &[20, 1], &f4(&[0.5; 20]));
    let y = npy("<f4", &[20], &f4(&[0.5; 20]));
    let data = "source = \"npz\"\npath = \"set\"\nvalidation_split = 0.2";
    place.write("n.toml", recipe(data, "{ type = \"dense\", units = 1 }", "mse"));
    place.write("set/x_train.npy", &x);
    place.write("set/y_train.npy", &y);
    for (there, array, half) in
        [("x_test", &x, "x_test and no y_test"), ("y_test", &y, "y_test and no x_test")]
    {
        place.write(&format!("set/{there}.npy"), array);
        let words = format!("warning[half-test-part]: n.toml, line 4, column 8: `set` has {half}");
        let done = place.run(&["train", "n.toml", "--dir", there]).ok();
        assert!(done.stderr.contains(&words), "{}", done.stderr);
        let set = ["check", "n.toml", "--set", "data.validation_split=0.5"];
        assert!(place.run(&set).ok().stdout.contains(&format!("`set` has {half}")));
        place
            .run(&["evaluate", "--dir", there, "--data", "test"])
            .fails(2, &["no test part of its own (`", half]);
        std::fs::remove_file(place.path(&format!("set/{there}.npy"))).unwrap();
    }
    place.write("set/x_test.npy", npy("<f4", &[0, 1], &[]));
    place.write("set/y_test.npy", npy("<f4", &[0], &[]));
    place.run(&["train", "n.toml"]).fails(1, &["`set/x_test.npy`, x_test has no rows"]);
    place.write("t.csv", "a,y\n1,2\n3,4\n5,6\n");
    place.write("e.csv", "a,y\n");
    let data = "source = \"csv\"\npath = \"t.csv\"\ntest_path = \"e.csv\"\ntarget = \"y\"";
    place.write("t.toml", recipe(data, "{ type = \"dense\", units = 1 }", "mse"));
    place.run(&["train", "t.toml"]).fails(1, &["`e.csv` has no rows"]);
}

#[test]
fn a_run_that_goes_on_may_pass_over_texts_that_are_new() {
    let place = Place::new();
    place.write("t.csv", table());
    let layers = "{ type = \"dense\", units = 2, activation = \"softmax\" }";
    let data = "source = \"csv\"\npath = \"t.csv\"\ntarget = \"class\"\ndrop = [\"id\"]\nmissing = \"mean\"";
    place.write("t.toml", recipe(data, layers, "sparse_categorical_crossentropy"));
    place.run(&["train", "t.toml", "--dir", "run", "--set", "fit.epochs=1"]).ok();
    place.write("t.csv", table() + "120,1.5,pink,yes\n");
    let way_out = ["--set", "data.unknown=zero", "--accept-changes"];
    let on = ["train", "t.toml", "--dir", "run", "--resume", "--accept-changes"];
    place
        .run(&on)
        .fails(1, &["line 122: column 3 (`colour`): `pink` is not among", &way_out.join(" ")]);
    let on = [&on[..5], &way_out].concat();
    let done = place.run(&on).ok();
    assert!(done.stderr.contains("data.unknown"), "{}", done.stderr);
    let noted = place.json("run/data.json");
    let table = &noted["inputs"]["table"];
    assert_eq!(table["table"]["unknown"], "zero");
    assert_eq!(table["sample_shape"], serde_json::json!([4]), "{table}");
    place.write("new.csv", "size,colour\n1,pink\n");
    assert_eq!(rows(&place.run(&["predict", "--dir", "run", "--input", "new.csv"]).ok()).len(), 1);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let place = Place::new();
    let args = ["train", "--dir", "run", "--set", "fit.epochs=1", "--verbose", "0"];
    place.run(&args).ok();
    place.write("x.npy", npy("|u1", &[50_000, 8, 8], &vec![3; 50_000 * 64]));
    let mut command = place.command(&["predict", "--dir", "run", "--input", "x.npy"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = Done::of(child.wait_with_output().unwrap()).ok();
    assert_eq!(done.stderr, "");
}

#[test]
fn recipes_that_cannot_be_are_refused_with_their_place() {
    let place = Place::new();
    place.write("t.csv", table());
    let csv = "source = \"csv\"\npath = \"t.csv\"\ntarget = \"class\"\n";
    for (data, words) in [
        ("source = \"nmist\"", "unknown data source `nmist`; did you mean `mnist`?"),
        ("source = \"csv\"\ntarget = \"y\"", "[data] needs `path`"),
        ("source = \"csv\"\npath = \"t.csv\"", "[data] needs `target`"),
        ("source = \"npz\"", "[data] needs `path`"),
        ("source = \"digits\"\nvalidation = \"test\"", "digits has none"),
        ("source = \"mnist\"\nvalidation = \"tset\"", "did you mean `test`?"),
        ("source = \"mnist\"\nvalidation = \"test\"\nvalidation_split = 0.2", "exclude each other"),
        (&format!("{csv}validation = \"test\""), "give test_path"),
        (&format!("{csv}missing = \"average\""), "unknown way to fill missing values `average`"),
        (
            &format!("{csv}delimiter = \"ab\""),
            "`delimiter` is \"ab\"; allowed: one ASCII character",
        ),
        (&format!("{csv}columns = []"), "the list is empty"),
        (&format!("{csv}colums = [\"a\"]"), "unknown key `colums`; did you mean `columns`?"),
        ("source = \"npz\"\npath = \"x\"\nscale = 0", "`scale` is 0; allowed: a finite number"),
        ("source = \"digits\"\npath = \"x\"", "unknown key `path`"),
    ] {
        place.write("bad.toml", recipe(data, CLASSIFIER, "sparse_categorical_crossentropy"));
        place.run(&["train", "bad.toml"]).fails(2, &["bad.toml, line ", "column ", words]);
    }
    assert!(!place.path("runs").exists());
}

#[test]
fn data_that_cannot_be_read_leaves_no_run() {
    let place = Place::new();
    place.write("t.csv", "a,y\n1,0\n2,1\nx,1\n");
    place.write("broken.npz", "PK\x03\x04 and no more");
    std::fs::create_dir(place.path("empty")).unwrap();
    for (data, words) in [
        ("source = \"csv\"\npath = \"t.csv\"\ntarget = \"y\"", "line 4: column 1 (`a`): `x`"),
        ("source = \"csv\"\npath = \"t.csv\"\ntarget = \"z\"", "has no column `z`"),
        ("source = \"csv\"\npath = \"no.csv\"\ntarget = \"z\"", "no.csv`: No such file"),
        ("source = \"npz\"\npath = \"broken.npz\"", "is no NPZ archive"),
        ("source = \"npz\"\npath = \"empty\"", "has no arrays x_train and y_train"),
        ("source = \"mnist\"\npath = \"empty\"", "has no `train-images-idx3-ubyte`"),
        ("source = \"mnist\"\nurl = \"http://127.0.0.1:9/\"", "path = \"DIR\""),
        ("source = \"fashion_mnist\"\nurl = \"https://127.0.0.1:9/\"", "without TLS"),
    ] {
        place.write("bad.toml", recipe(data, CLASSIFIER, "sparse_categorical_crossentropy"));
        let mut command = place.command(&["train", "bad.toml"]);
        command.env("REFRAIN_CACHE", place.path("cache"));
        Done::of(command.output().unwrap()).fails(1, &[words]);
    }
    assert!(!place.path("runs").exists());
}

#[test]
fn the_real_digits_of_mnist() {
    let Some(folder) = std::env::var_os("REFRAIN_MNIST") else {
        eprintln!("skipped: REFRAIN_MNIST names no folder with the files of MNIST");
        return;
    };
    let place = Place::new();
    let data = format!(
        "source = \"mnist\"\npath = '{}'\nvalidation = \"test\"",
        Path::new(&folder).display()
    );
    place.write("m.toml", recipe(&data, CLASSIFIER, "sparse_categorical_crossentropy"));
    place.run(&["train", "m.toml", "--dir", "run"]).ok();
    let history = &place.json("run/summary.json")["history"];
    assert!(history["val_accuracy"][1].as_f64() > Some(0.88), "{history}");
}
