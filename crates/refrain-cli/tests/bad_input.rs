//! Bad input: a message that names thing, value, what is allowed and the way out; nothing trained,
//! nothing left behind.

mod common;

use common::Place;

/// A recipe that is right, to be spoiled in one place.
const GOOD: &str = r#"name = "x"
[data]
source = "digits"
validation_split = 0.2
[model]
layers = [
  { type = "flatten" },
  { type = "dropout", rate = 0.1 },
  { type = "dense", units = 10, activation = "softmax" },
]
[compile]
optimizer = { type = "sgd", learning_rate = 0.1 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]
[fit]
epochs = 1
batch_size = 128
[[callbacks]]
type = "early_stopping"
monitor = "val_loss"
patience = 5
"#;

#[test]
fn the_good_recipe_is_good() {
    let place = Place::new();
    place.write("x.toml", GOOD);
    place.run(&["train", "x.toml", "--verbose", "0"]).ok();
    assert_eq!(place.list("runs"), ["x"]);
}

#[test]
fn recipes_spoiled_in_one_place() {
    // What is replaced, by what, and words of the message.
    #[rustfmt::skip]
    let cases: &[(&str, &str, &[&str])] = &[
        ("epochs = 1", "epoch = 1", &["x.toml, line 16, column 1", "unknown key `epoch`", "did you mean `epochs`?"]),
        ("[fit]", "[fitt]", &["line 15", "unknown key `fitt`", "did you mean `fit`?"]),
        ("units = 10", "unit = 10", &["line 9", "unknown key `unit`", "did you mean `units`?"]),
        ("units = 10, ", "", &["line 9", "needs `units`", "units = 128"]),
        ("\"dense\"", "\"dens\"", &["line 9", "unknown layer type `dens`", "did you mean `dense`?"]),
        ("\"softmax\"", "\"sofmax\"", &["line 9", "unknown activation `sofmax`", "did you mean `softmax`?"]),
        ("\"sgd\"", "\"sdg\"", &["line 12", "unknown optimizer `sdg`", "did you mean `sgd`?", "adam"]),
        ("sparse_categorical", "sparse_catgorical", &["line 13", "unknown loss", "did you mean `sparse_categorical_crossentropy`?"]),
        ("[\"accuracy\"]", "[\"acuracy\"]", &["line 14", "unknown metric `acuracy`", "did you mean `accuracy`?", " names, nearest to it accuracy, ", "; the guide lists all under \"Optimizers, losses, metrics\""]),
        ("[\"accuracy\"]", "[\"accuracy\", \"accuracy\"]", &["x.toml, line 14, column 24: two metrics are named `accuracy`", "another name"]),
        ("[\"accuracy\"]", "[{ type = \"auc\", name = \"val_auc\" }]", &["x.toml, line 14, column 12: a metric is named `val_auc`", "give it another"]),
        ("[\"accuracy\"]", "[7]", &["line 14, column 12: `metrics[0]` is an integer; allowed: a string, or a table, for example { type = \"auc\""]),
        ("{ type = \"sgd\", learning_rate = 0.1 }", "3", &["x.toml, line 12, column 13: `optimizer` is an integer; allowed: a string, or a table, for example { type = \"sgd\""]),
        ("\"sparse_categorical_crossentropy\"", "[]", &["`loss` is an array; allowed: a string, or a table"]),
        ("units = 10", "units = 10, kernel_regularizer = 0.1", &["`kernel_regularizer` is a float; allowed: a string, or a table"]),
        ("{ type = \"sgd\", learning_rate = 0.1 }", "{ type = \"sgd\", groups = [{ layers = \"dens\", type = \"sgd\" }] }", &["x.toml, line 12, column 50: `dens` is no layer or weight of the model", "did you mean `dense`?"]),
        ("\"early_stopping\"", "\"earlystopping\"", &["line 19", "unknown callback type `earlystopping`", "did you mean `early_stopping`?"]),
        ("\"val_loss\"", "\"val_los\"", &["line 20, column 11", "no metric named `val_los`", "did you mean `val_loss`?"]),
        ("monitor = \"val_loss\"", "monitor = \"val_acuracy\"\nmode = \"max\"", &["no metric named `val_acuracy`", "did you mean `val_accuracy`?"]),
        ("validation_split = 0.2\n", "", &["line 19", "no metric named `val_loss`", "validation_split"]),
        ("\"digits\"", "\"digit\"", &["line 3", "unknown data source `digit`", "did you mean `digits`?"]),
        ("learning_rate = 0.1", "learning_rate = 0", &["line 12", "`learning_rate` is 0", "above 0"]),
        ("learning_rate = 0.1", "learning_rate = -0.1", &["`learning_rate` is -0.1"]),
        ("learning_rate = 0.1", "learning_rate = nan", &["`learning_rate` is NaN"]),
        ("learning_rate = 0.1", "learning_rate = inf", &["`learning_rate` is inf"]),
        ("learning_rate = 0.1", "learning_rate = \"fast\"", &["`learning_rate` is a string", "a number"]),
        ("learning_rate = 0.1", "learning_rate = 0.1, momentum = 1.5", &["`momentum` is 1.5"]),
        ("epochs = 1", "epochs = 0", &["line 16", "`epochs` is 0", "1 or more"]),
        ("epochs = 1", "epochs = -3", &["`epochs` is -3"]),
        ("epochs = 1", "epochs = 1.5", &["`epochs` is a float"]),
        ("epochs = 1", "epochs = 99999999999999999999", &["`epochs` is 99999999999999999999", "1 to 1099511627776"]),
        ("batch_size = 128", "batch_size = 0", &["line 17", "`batch_size` is 0"]),
        ("validation_split = 0.2", "validation_split = 0", &["line 4", "`validation_split` is 0"]),
        ("validation_split = 0.2", "validation_split = 1.0", &["`validation_split` is 1"]),
        ("validation_split = 0.2", "validation_split = 0.9999", &["leaves 0 of 1797"]),
        ("validation_split = 0.2", "validation = \"test\"", &["line 4", "validation_split"]),
        ("rate = 0.1", "rate = 1.0", &["`rate` is 1", "below 1"]),
        ("rate = 0.1", "rate = -0.1", &["`rate` is -0.1"]),
        ("units = 10", "units = 0", &["`units` is 0"]),
        ("units = 10", "units = 1000000000000", &["units"]),
        ("units = 10", "units = 5", &["label 9", "5 outputs", "0..=4"]),
        ("patience = 5", "patience = -1", &["line 21", "`patience` is -1"]),
        ("\"flatten\"", "\"conv2d\", filters = 4, kernel_size = 9", &["x.toml, line 7, column 3: layer 1 `conv2d`", "kernel_size [9, 9]", "[1, 8, 8]", "allowed: up to [8, 8]"]),
        ("\"flatten\"", "\"conv2d\", filters = 4, kernel_size = 3", &["x.toml, line 9, column 3: layer 3 `dense`", "[4, 6, 6]", "{ type = \"flatten\" }"]),
        ("\"flatten\"", "\"conv2d\", filters = 4, kernel_size = [3]", &["line 7", "`kernel_size` is an array of 1", "[height, width]"]),
        ("\"flatten\"", "\"conv2d\", kernel_size = 3", &["line 7", "needs `filters`", "filters = 32"]),
        ("\"flatten\"", "\"max_pooling2d\", padding = \"sane\"", &["line 7", "unknown padding `sane`", "did you mean `same`?"]),
        ("\"dropout\", rate = 0.1", "\"max_pool2d\"", &["line 8", "unknown layer type `max_pool2d`", "did you mean `max_pooling2d`?"]),
        ("\"flatten\"", "\"reshape\", target_shape = [8, 9]", &["layer 1 `reshape`", "[1, 8, 8] has 64 elements", "[8, 9] has 72"]),
        ("\"flatten\"", "\"reshape\", target_shape = [8, 0]", &["line 7", "`target_shape[1]` is 0", "or -1 for what is left"]),
        ("\"dropout\", rate = 0.1", "\"permute\", dims = [0]", &["line 8", "`dims[0]` is 0", "1 or more"]),
        ("\"flatten\"", "\"lstm\", units = 8", &["layer 1 `lstm`", "[1, 8, 8]", "target_shape = [8, 8]"]),
        ("\"dropout\", rate = 0.1", "\"batch_normalization\", momentum = 2", &["line 8", "`momentum` is 2", "0 to 1"]),
        ("\"dropout\", rate = 0.1", "\"gaussian_noise\", stddev = 2", &["line 8", "`stddev` is 2", "0 to 1"]),
        ("\"dropout\", rate = 0.1", "\"max_pooling2d\"", &["layer 2 `max_pooling2d`", "[channels, height, width]", "[64]"]),
        ("  { type = \"flatten\" },\n", "", &["`dense`", "{ type = \"flatten\" }"]),
        ("name = \"x\"", "name = \"a/b\"", &["line 1", "a/b", "folder"]),
        ("name = \"x\"", "name = \"..\"", &["line 1"]),
        ("name = \"x\"", "name = \"x\\u001b[31m\"", &["line 1", "\\u{1b}"]),
        ("name = \"x\"", "name = ", &["x.toml, line 1"]),
        ("patience = 5", "patience = 5\non_failure = \"ignore\"", &["unknown failure policy `ignore`", "disable"]),
        ("patience = 5", "patience = 5\nevery = 0", &["`every` is 0"]),
        ("sparse_categorical_crossentropy", "mse", &["mean_squared_error", "one label a sample", "sparse_categorical_crossentropy"]),
        ("patience = 5", "patience = 5\n[[callbacks]]\ntype = \"json_training_logger\"\nlog_file = \"./summary.json\"", &["line 24", "summary.json", "the run itself writes"]),
        ("patience = 5", "patience = 5\n[[callbacks]]\ntype = \"json_training_logger\"\nlog_file = \"a/../x.png\"\n[[callbacks]]\ntype = \"training_plot\"\nfile = \"x.png\"", &["line 25", "`json_training_logger` and `training_plot` both write", "x.png"]),
        ("patience = 5", "patience = 5\n[[callbacks]]\ntype = \"training_plot\"\nmetrics = []", &["line 24", "`metrics` is empty"]),
        ("epochs = 1", "\"epo\\nchs\" = 1", &["unknown key `epo\\nchs`"]),
        ("patience = 5", "name = \"x\\ny\"", &["`name` is", "control characters"]),
        ("\"early_stopping\"", "\"ReduceLROnPlateau\"", &["did you mean `reduce_lr_on_plateau`?"]),
        ("patience = 5", "patience = 5\n[[callbacks]]\ntype = \"model_checkpoint\"\nfilepath = \"w\"\nbackground = true", &["reads the model", "leave background out"]),
        ("patience = 5", "patience = 5\n[[callbacks]]\ntype = \"csv_logger\"\nseparator = \".\"", &["line 24", "`separator`"]),
        ("patience = 5", "mode = \"mini\"", &["unknown mode `mini`", "did you mean `min`?"]),
    ];
    for (good, bad, words) in cases {
        assert!(GOOD.contains(good), "{good}");
        let place = Place::new();
        place.write("x.toml", GOOD.replacen(good, bad, 1));
        let done = place.run(&["train", "x.toml"]);
        println!("{good} -> {bad}: {}", done.stderr);
        done.fails(2, words);
        assert!(place.list("runs").is_empty(), "{bad}: nothing is left behind");
    }
}

#[test]
fn many_names_are_not_listed() {
    let place = Place::new();
    for (good, bad) in [
        ("\"accuracy\"", "\"nothing_like_it\""),
        ("sparse_categorical", "dense_categorical"),
        ("\"dense\"", "\"convolution\""),
        ("\"softmax\"", "\"hardmax\""),
        ("\"early_stopping\"", "\"stopping\""),
    ] {
        place.write("x.toml", GOOD.replacen(good, bad, 1));
        let done = place.run(&["train", "x.toml"]).fails(2, &["the guide lists all under \""]);
        assert!(done.stderr.len() < 400, "{}", done.stderr);
    }
}

#[test]
fn files_that_are_no_recipes() {
    let place = Place::new();
    place.write("empty.toml", "");
    place.write("binary.toml", [0xff, 0xfe, 0, 1, 2]);
    place.write("a file", "");
    for (args, words) in [
        (&["train", "none.toml"][..], &["none.toml"][..]),
        (&["train", "empty.toml"], &["empty.toml", "refrain recipe"]),
        (&["train", "binary.toml"], &["binary.toml", "UTF-8"]),
        (&["train", "."], &["a folder"]),
        (&["train", "--dir", "a file"], &["`a file` is a file"]),
        (&["train", "--set", "fit.epochs"], &["fit.epochs", "KEY=VALUE"]),
        (&["train", "--set", "fit.epoch=3"], &["unknown key `epoch`"]),
        (&["train", "--set", "fit.epochs=many"], &["`epochs` is a string"]),
        (&["train", "--threads", "0"], &["--threads", "0"]),
        (&["train", "--verbose", "3"], &["--verbose", "3"]),
        (&["train", "--device", "gpu"], &["no device is named `gpu`; allowed: cpu, cuda"]),
        (&["train", "--device", ""], &["no device is named ``"]),
        (&["train", "--device", "rocm:1"], &["`rocm:1`", "--features rocm"]),
        (&["trian"], &["trian", "train"]),
        (&["preview", "none.toml"], &["none.toml"]),
        (&["preview", "-o", "rates.gif"], &["rates.gif", ".png"]),
    ] {
        place.run(args).fails(2, words);
    }
    assert!(place.list("runs").is_empty());
}

#[test]
fn two_that_set_the_base_rate_are_refused() {
    let place = Place::new();
    let twice = "\n[[callbacks]]\ntype = \"warmup_cosine_scheduler\"\n";
    let renamed = "\n[[callbacks]]\ntype = \"warmup_cosine_scheduler\"\nname = \"other\"\n";
    place.write("x.toml", format!("{GOOD}{twice}{renamed}"));
    place
        .run(&["train", "x.toml"])
        .fails(2, &["`warmup_cosine_scheduler`", "`other`", "both set the base learning rate"]);
    assert!(place.list("runs").is_empty());
}

#[cfg(unix)]
#[test]
fn paths_that_cannot_be_written() {
    let place = Place::new();
    place.write("file", "");
    place.run(&["train", "--dir", "file/run", "--set", "fit.epochs=1"]).fails(1, &["file/run"]);
    // A device or folder in the place of the log: refused, not replaced, and no older run lost.
    place.run(&["train", "--dir", "run", "--verbose", "0", "--set", "fit.epochs=1"]).ok();
    let before = std::fs::read(place.path("run/summary.json")).unwrap();
    for (file, word) in [("/dev/full", "no regular file"), (".", "a folder")] {
        let set = format!("callbacks.1.log_file={file}");
        let done = place.run(&["train", "--dir", "run", "--overwrite", "--set", &set]);
        done.fails(2, &[file, word]);
        assert_eq!(std::fs::read(place.path("run/summary.json")).unwrap(), before);
    }
    place.run(&["plot", "/dev/zero"]).fails(1, &["/dev/zero", "no regular file"]);
    // Control characters in a folder's name are shown, not obeyed.
    let done = place.run(&["train", "--dir", "e\u{1b}[31m", "--set", "fit.epochs=1"]).ok();
    assert!(!done.stdout.contains('\u{1b}') && done.stdout.contains("e\\u{1b}[31m"));
}

#[test]
fn logs_that_cannot_be_drawn() {
    let place = Place::new();
    place.write("object.json", "{}");
    place.write("empty.json", "[]");
    place.write("nothing.json", "");
    place.write("binary.json", [0xff, 0, 1]);
    place.write("torn.json", "[{\"epoch\": 1, \"lo");
    place.write("good.json", "[{\"epoch\": 1, \"loss\": NaN}, {\"epoch\": 2, \"loss\": 0.5}]");
    for (log, status) in [
        ("object.json", 1),
        ("empty.json", 1),
        ("nothing.json", 1),
        ("binary.json", 1),
        ("torn.json", 1),
        ("none.json", 1),
    ] {
        place.run(&["plot", log]).fails(status, &[log]);
    }
    place.run(&["plot", "good.json", "--metrics", "los"]).fails(2, &["`los`", "`loss`"]);
    place.run(&["plot", "good.json", "-o", "x.gif"]).fails(2, &["x.gif", ".png", ".svg"]);
    assert!(!place.path("training_from_json.png").exists());
    place.run(&["plot", "good.json"]).ok();
    place.run(&["plot", "good.json", "-o", "x.svg", "--metrics", "loss"]).ok();
    assert!(place.path("training_from_json.png").exists() && place.path("x.svg").exists());
}
