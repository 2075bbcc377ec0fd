//! `refrain evaluate`: the numbers of the epoch whose weights a run has left, to the bit.

mod common;

use common::{Done, Place};
use serde_json::Value;

/// Digits with everything whose weights or batches could go astray between training and evaluation.
const RECIPE: &str = r#"
name = "x"
[data]
source = "digits"
validation_split = 0.2
[model]
layers = [
  { type = "conv2d", filters = 4, kernel_size = 3 },
  { type = "batch_normalization", momentum = 0.5 },
  { type = "activation", activation = "relu" },
  { type = "max_pooling2d" },
  { type = "flatten" },
  { type = "dropout", rate = 0.2 },
  { type = "dense", units = 10, activation = "softmax" },
]
[compile]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]
[fit]
epochs = 3
batch_size = 100
"#;

/// A place with a run in `run`; `change` of the recipe's text.
fn trained(change: (&str, &str)) -> Place {
    let place = Place::new();
    assert!(RECIPE.contains(change.0));
    place.write("x.toml", RECIPE.replacen(change.0, change.1, 1));
    place.run(&["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    place
}

fn evaluate(place: &Place, more: &[&str]) -> Done {
    place.run(&[&["evaluate", "--dir", "run"], more].concat())
}

fn numbers(done: Done) -> Value {
    let done = done.ok();
    assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
    serde_json::from_str(&done.stdout).unwrap()
}

/// Loss and accuracy in the validation of an epoch, counted from 0.
fn of_epoch(history: &Value, epoch: usize) -> Value {
    serde_json::json!({
        "loss": history["val_loss"][epoch],
        "accuracy": history["val_accuracy"][epoch],
    })
}

#[test]
fn final_weights_have_the_numbers_of_their_epoch_to_the_bit() {
    for change in [
        ("epochs = 3", "epochs = 3"),
        ("batch_size = 100", "batch_size = 100\nvalidation_batch_size = 33"),
        ("batch_size = 100", "batch_size = 100\nvalidation_batch_size = 33\nvalidation_steps = 4"),
        ("epochs = 3", "epochs = 3\nclass_weight = { 3 = 9.0 }\nsteps_per_epoch = 5"),
        ("\"adam\"", "{ type = \"sgd\", learning_rate = 0.05, momentum = 0.9, nesterov = true }"),
    ] {
        let place = trained(change);
        let before = place.contents("run");
        let done = evaluate(&place, &[]);
        assert_eq!(done.stderr, "", "{change:?}");
        let history = &place.json("run/summary.json")["history"];
        assert_eq!(numbers(done), of_epoch(history, 2), "{change:?}");
        // As the contract has it, the loss first; and nothing in the run was touched.
        assert!(evaluate(&place, &[]).ok().stdout.starts_with("{\"loss\": "));
        assert_eq!(place.contents("run"), before);
    }
}

#[test]
fn best_weights_have_the_numbers_of_the_best_epoch() {
    let stop = "batch_size = 100\n[[callbacks]]\ntype = \"early_stopping\"\nmonitor = \"val_loss\"\n\
                patience = 1\nrestore_best_weights = true";
    let place = Place::new();
    let recipe = RECIPE
        .replace("epochs = 3", "epochs = 40")
        .replace("\"adam\"", "{ type = \"adam\", learning_rate = 0.05 }");
    place.write("x.toml", recipe.replace("batch_size = 100", stop));
    place.run(&["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    let summary = place.json("run/summary.json");
    let best = summary["best_epoch"].as_u64().unwrap() as usize;
    assert!((best as u64) < summary["epochs"].as_u64().unwrap());
    assert_eq!(numbers(evaluate(&place, &[])), of_epoch(&summary["history"], best - 1));
}

#[test]
fn parts_threads_and_batches() {
    let place = trained(("epochs = 3", "epochs = 3"));
    let validation = numbers(evaluate(&place, &[]));
    for same in [&["--data", "validation"][..], &["--threads", "1"], &["--threads", "2"]] {
        assert_eq!(numbers(evaluate(&place, same)), validation, "{same:?}");
    }
    let near = numbers(evaluate(&place, &["--batch-size", "7"]));
    for name in ["loss", "accuracy"] {
        let [a, b] = [&near, &validation].map(|json| json[name].as_f64().unwrap());
        assert!((a - b).abs() < 1e-6, "{name}: {a} {b}");
    }
    let train = numbers(evaluate(&place, &["--data", "train"]));
    assert_ne!(train, validation);
}

#[test]
fn a_run_without_final_weights_has_those_of_its_newest_checkpoint() {
    // Where it may have to go back to one, the run waits for each checkpoint.
    let wait = "batch_size = 100\n[[callbacks]]\ntype = \"terminate_on_nan\"\nrollbacks = 1";
    let place = trained(("batch_size = 100", wait));
    let history = place.json("run/summary.json")["history"].clone();
    // As killed at its end; then as killed while it went on, with weights of an end before.
    let weights = place.path("run/model.safetensors");
    let old = std::fs::read(&weights).unwrap();
    std::fs::remove_file(place.path("run/summary.json")).unwrap();
    std::fs::remove_file(&weights).unwrap();
    for left in [None, Some(old)] {
        if let Some(left) = left {
            std::fs::write(&weights, left).unwrap();
        }
        let done = evaluate(&place, &[]);
        let text = "`run` (killed) has no final weights; those of checkpoint 000004 are used, from \
                    the end of epoch 3";
        assert!(done.stderr.contains(text), "{}", done.stderr);
        assert_eq!(numbers(done), of_epoch(&history, 2));
    }
    // The newest is damaged: the one before it.
    let file = place.path("run/checkpoints/000004/weights.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file, bytes).unwrap();
    let done = evaluate(&place, &[]);
    assert!(done.stderr.contains("warning: checkpoint 000004 is damaged"), "{}", done.stderr);
    assert_eq!(numbers(done), of_epoch(&history, 1));
    // None is left.
    std::fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    std::fs::remove_file(&weights).unwrap();
    evaluate(&place, &[]).fails(1, &["has no weights", "--resume"]);
}

#[test]
fn a_run_under_way_is_read_and_left_alone() {
    let place = Place::new();
    place.write("x.toml", RECIPE.replace("epochs = 3", "epochs = 100000"));
    let running = place.start(&["train", "x.toml", "--dir", "run", "--verbose", "2"], "Epoch 3/");
    // Epochs take milliseconds here, and the disk may still write the first checkpoint.
    place.wait_for_a_checkpoint("run");
    let done = evaluate(&place, &[]);
    running.kill();
    assert!(done.stderr.contains("(running) has no final weights"), "{}", done.stderr);
    assert!(numbers(done)["loss"].is_f64());
}

#[test]
fn a_run_under_way_may_have_no_checkpoint_yet() {
    let place = Place::new();
    let long = RECIPE.replace("epochs = 3", "epochs = 100000");
    place.write("x.toml", format!("{long}\n[checkpoint]\nevery_epochs = 100000\n"));
    let running = place.start(&["train", "x.toml", "--dir", "run", "--verbose", "2"], "Epoch 2/");
    let done = evaluate(&place, &[]);
    running.kill();
    done.fails(1, &["`run` (running) has no weights", "wait for its first checkpoint"]);
}

#[test]
fn a_folder_with_recipe_and_weights_alone_is_enough() {
    let place = trained(("epochs = 3", "epochs = 3"));
    let expected = numbers(evaluate(&place, &[]));
    std::fs::create_dir(place.path("copy")).unwrap();
    for name in ["recipe.toml", "model.safetensors"] {
        std::fs::copy(place.path("run").join(name), place.path("copy").join(name)).unwrap();
    }
    assert_eq!(numbers(place.run(&["evaluate", "--dir", "copy"])), expected);
    std::fs::remove_file(place.path("copy/recipe.toml")).unwrap();
    place.run(&["evaluate", "--dir", "copy"]).fails(2, &["copy", "recipe.toml is missing"]);
}

#[test]
fn numbers_that_are_not_finite_are_null() {
    let place = trained(("\"adam\"", "{ type = \"sgd\", learning_rate = 1e38 }"));
    let done = evaluate(&place, &[]).ok();
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(json["loss"], Value::Null);
    assert!(json["accuracy"].is_f64(), "{json}");
    assert!(done.stderr.contains("warning: loss is NaN"), "{}", done.stderr);
}

#[test]
fn what_cannot_be_evaluated() {
    let place = trained(("validation_split = 0.2", ""));
    let weights = std::fs::read(place.path("run/model.safetensors")).unwrap();
    std::fs::create_dir(place.path("empty")).unwrap();
    place.write("file", "");
    for (args, status, words) in [
        (&["--dir", "run"][..], 2, &["holds nothing out", "validation_split", "--data train"][..]),
        (&["--dir", "run", "--data", "test"], 2, &["no test part", "--data validation"]),
        (&["--dir", "run", "--data", "tset"], 2, &["tset", "train, validation, test"]),
        (&["--dir", "run", "--data", "train", "--batch-size", "0"], 2, &["--batch-size", "1 to"]),
        (&["--dir", "run", "--data", "train", "--threads", "0"], 2, &["--threads"]),
        (&["--dir", "empty"], 2, &["`empty` holds no run", "refrain runs"]),
        (&["--dir", "nowhere"], 2, &["`nowhere` holds no run"]),
        (&["--dir", "file"], 2, &["file"]),
        (&[], 2, &["--dir"]),
    ] {
        place.run(&[&["evaluate"], args].concat()).fails(status, words);
    }
    // Damage.
    place.write("run/model.safetensors", &weights[..weights.len() - 1]);
    evaluate(&place, &["--data", "train"]).fails(1, &["model.safetensors", "refrain verify"]);
    // Weights of another model.
    place.write("run/model.safetensors", &weights);
    let recipe = std::fs::read_to_string(place.path("run/recipe.toml")).unwrap();
    place.write("run/recipe.toml", recipe.replace("filters = 4", "filters = 5"));
    evaluate(&place, &["--data", "train"])
        .fails(1, &["conv2d.weight", "[4, 1, 3, 3]", "[5, 1, 3, 3]"]);
    place.write("run/recipe.toml", "no recipe");
    evaluate(&place, &["--data", "train"]).fails(2, &["recipe.toml, line 1"]);
}

#[test]
fn other_data_than_the_runs_is_refused_or_accepted() {
    let place = Place::new();
    let rows = |n: usize| -> String {
        let row = |i: usize| format!("{},{},{}\n", i % 7, i % 5, (i % 7) * (i % 5));
        format!("a,b,product\n{}", (0..n).map(row).collect::<String>())
    };
    place.write("table.csv", rows(50));
    place.write(
        "x.toml",
        "[data]\nsource = \"csv\"\npath = \"table.csv\"\ntarget = \"product\"\nvalidation_split = 0.2\n\
         [model]\nlayers = [{ type = \"dense\", units = 1 }]\n[compile]\noptimizer = \"adam\"\n\
         loss = \"mse\"\nmetrics = [\"mae\"]\n[fit]\nepochs = 2\n",
    );
    place.run(&["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    let history = &place.json("run/summary.json")["history"];
    let expected =
        serde_json::json!({ "loss": history["val_loss"][1], "mae": history["val_mae"][1] });
    assert_eq!(numbers(evaluate(&place, &[])), expected);
    // From anywhere: the run knows where its data is.
    let run = place.path("run").display().to_string();
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    let mut command = place.command(&["evaluate", "--dir", &run]);
    let elsewhere = command.current_dir(place.path("elsewhere")).output().unwrap();
    assert_eq!(numbers(Done::of(elsewhere)), expected);

    place.write("table.csv", rows(60));
    let words = ["the data has changed", "50 samples", "→ 60 samples", "--accept-changes"];
    evaluate(&place, &[]).fails(2, &words);
    let done = evaluate(&place, &["--accept-changes"]).ok();
    assert!(done.stderr.contains("warning: the data has changed"), "{}", done.stderr);
    assert_ne!(numbers(done), expected);
    // Columns that the model does not take; a file that is gone.
    place.write("table.csv", rows(50).replace("a,b,", "a,").replace(",0,", ","));
    let done = evaluate(&place, &["--accept-changes"]);
    assert!(matches!(done.status, 1 | 2) && done.stderr.contains("table.csv"), "{}", done.stderr);
    std::fs::remove_file(place.path("table.csv")).unwrap();
    let done = evaluate(&place, &[]);
    assert!(matches!(done.status, 1 | 2) && done.stderr.contains("table.csv"), "{}", done.stderr);
}

#[test]
fn changed_data_keeps_the_classes_and_inputs_of_the_run() {
    let place = Place::new();
    let rows = |kinds: &[usize], more: &str| -> String {
        let names = ["ant", "bee", "cat"];
        let row = |i: usize| {
            let kind = kinds[i % kinds.len()];
            format!("{},{},{}\n", 10 * kind, ["Bonn", "Ulm"][i / 3 % 2], names[kind])
        };
        format!("a,town,kind\n{}{more}", (0..60).map(row).collect::<String>())
    };
    place.write("table.csv", rows(&[0, 1, 2], ""));
    place.write(
        "x.toml",
        "[data]\nsource = \"csv\"\npath = \"table.csv\"\ntarget = \"kind\"\n[model]\nlayers = [{ type = \
         \"dense\", units = 16, activation = \"relu\" }, { type = \"dense\", units = 3, activation = \
         \"softmax\" }]\n[compile]\noptimizer = { type = \"adam\", learning_rate = 0.02 }\nloss = \
         \"sparse_categorical_crossentropy\"\nmetrics = [\"accuracy\"]\n[fit]\nepochs = 60\n",
    );
    place.run(&["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    let noted = place.json("run/data.json");
    let accuracy = || numbers(evaluate(&place, &["--data", "train", "--accept-changes"]));
    assert_eq!(accuracy()["accuracy"], 1.0);

    // Without ants, a bee is still class 1.
    place.write("table.csv", rows(&[1, 2], ""));
    assert_eq!(accuracy()["accuracy"], 1.0);
    let more = ["train", "--dir", "run", "--resume", "--set", "fit.epochs=61", "--verbose", "0"];
    place.run(&more).fails(2, &["data.contents"]);
    place.run(&[&more[..], &["--accept-changes"]].concat()).ok();
    assert_eq!(place.json("run/data.json"), noted);
    assert_eq!(accuracy()["accuracy"], 1.0);

    // A town that no weight knows.
    place.write("table.csv", rows(&[0, 1, 2], "10,Paris,bee\n"));
    let words = ["line 62", "`Paris` is not among the texts of the training data: Bonn, Ulm"];
    evaluate(&place, &["--data", "train", "--accept-changes"]).fails(1, &words);
    let more = ["train", "--dir", "run", "--resume", "--set", "fit.epochs=62", "--accept-changes"];
    place.run(&more).fails(1, &words);
}
