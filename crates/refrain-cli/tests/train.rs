//! `refrain train` on the built-in recipe: every callback is seen to act.

mod common;

use common::Place;

#[test]
fn the_whole_pipeline() {
    let place = Place::new();
    let done = place.run(&["train"]).ok();

    let summary = place.json("runs/digits/summary.json");
    assert_eq!(summary["outcome"], "stopped");
    assert_eq!(summary["by"], "early_stopping");
    assert_eq!(summary["parameters"], 9610);
    let epochs = summary["epochs"].as_u64().unwrap();
    let best = summary["best_epoch"].as_u64().unwrap();
    // Keras stops after 16 to 29 epochs, by seed; patience 5 makes the distance.
    assert!((12..=40).contains(&epochs), "{epochs}");
    assert_eq!(epochs, best + 5);
    assert!(summary["seconds"].as_f64().unwrap() > 0.0);

    // The step scheduler halved the rate every ten epochs.
    let rates = numbers(&summary["history"]["learning_rate"]);
    assert_eq!(rates.len() as u64, epochs);
    for (epoch, rate) in rates.iter().enumerate() {
        assert_eq!(*rate, 0.1 * 0.5_f64.powi(epoch as i32 / 10), "epoch {epoch}");
    }
    assert!(summary["learning_rate"].as_f64().unwrap() < 0.1);
    assert_eq!(summary["learning_rate"], *rates.last().unwrap());
    assert!(done.stderr.contains("Epoch 10: Reducing LR from 0.100000 to 0.050000"));

    // The logger's file has an entry an epoch, with the same numbers.
    let log = place.json("runs/digits/experiment_log.json");
    let log = log.as_array().unwrap();
    assert_eq!(log.len() as u64, epochs);
    let keys: Vec<&str> = log[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["epoch", "timestamp", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    );
    let val_loss = numbers(&summary["history"]["val_loss"]);
    for (entry, val_loss) in log.iter().zip(&val_loss) {
        assert_eq!(entry["val_loss"], *val_loss);
    }

    // Early stopping was right about the best epoch, and learned something.
    let lowest = val_loss.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(val_loss[best as usize - 1], lowest);
    let accuracy = numbers(&summary["history"]["val_accuracy"]);
    assert!(accuracy[best as usize - 1] > 0.9, "{accuracy:?}");

    let png = std::fs::read(place.path("runs/digits/training_from_json.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    assert_eq!(png[16..24], [0, 0, 3, 232, 0, 0, 1, 244], "1000 × 500");
    assert_eq!(
        place.list("runs/digits"),
        [
            "checkpoints",
            "experiment_log.json",
            "journal.jsonl",
            "model.safetensors",
            "recipe.toml",
            "run.lock",
            "summary.json",
            "training_from_json.png"
        ]
    );

    // For people: the table, a line an epoch, and why it stopped.
    for word in ["Layer (type)", "(None, 128)", "9,610", "Epoch 1/50 - 12/12", "val_accuracy"] {
        assert!(done.stderr.contains(word), "no {word:?} in: {}", done.stderr);
    }
    assert!(!done.stderr.contains('\u{1b}'), "no terminal, no control sequences");
    for word in ["Stopped by early_stopping", "best epoch", "runs/digits", "model.safetensors"] {
        assert!(done.stdout.contains(word), "no {word:?} in: {}", done.stdout);
    }
}

#[test]
fn the_saved_weights_are_those_of_the_best_epoch() {
    let place = Place::new();
    place.run(&["train", "--dir", "whole"]).ok();
    let best = place.json("whole/summary.json")["best_epoch"].as_u64().unwrap();
    // The same run, ended with that epoch: its last weights are the other's best.
    let epochs = format!("fit.epochs={best}");
    place.run(&["train", "--dir", "best", "--set", &epochs]).ok();
    let weights =
        |dir: &str| std::fs::read(place.path(&format!("{dir}/model.safetensors"))).unwrap();
    assert!(weights("whole") == weights("best"), "bit-equal");
    assert_eq!(place.json("best/summary.json")["outcome"], "completed");
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let place = Place::new();
    let weights = |dir: &str, seed: &str, threads: &str| {
        let args = ["train", "--dir", dir, "--set", seed, "--set", "fit.epochs=3"];
        place.run(&[&args[..], &["--threads", threads]].concat()).ok();
        std::fs::read(place.path(&format!("{dir}/model.safetensors"))).unwrap()
    };
    for threads in ["1", "2"] {
        let one = weights(&format!("a{threads}"), "seed=7", threads);
        assert!(one == weights(&format!("b{threads}"), "seed=7", threads), "{threads} threads");
        assert!(one != weights(&format!("c{threads}"), "seed=8", threads), "{threads} threads");
    }
}

#[test]
fn verbose_says_as_much_as_asked_for() {
    let place = Place::new();
    let run =
        |verbose: &str| place.run(&["train", "--verbose", verbose, "--set", "fit.epochs=2"]).ok();
    let silent = run("0");
    assert_eq!((silent.stdout.as_str(), silent.stderr.as_str()), ("", ""));
    for verbose in ["1", "2"] {
        let done = run(verbose);
        let lines = done.stderr.lines().filter(|line| line.starts_with("Epoch ")).count();
        assert_eq!(lines, 2, "{}", done.stderr);
    }
    // Each run without --dir has a folder of its own.
    assert_eq!(place.list("runs"), ["digits", "digits-2", "digits-3"]);
}

#[test]
fn a_folder_that_holds_a_run_is_replaced_only_when_asked() {
    let place = Place::new();
    let args = ["train", "--dir", "run", "--verbose", "0", "--set", "fit.epochs=2"];
    place.run(&args).ok();
    place.write("run/notes.txt", "mine");
    let before = std::fs::read(place.path("run/summary.json")).unwrap();
    let refused = place.run(&args);
    refused.fails(2, &["`run` already holds a run", "--resume", "--overwrite", "--dir"]);
    assert_eq!(std::fs::read(place.path("run/summary.json")).unwrap(), before);

    place.run(&[&args[..], &["--overwrite", "--set", "fit.epochs=3"]].concat()).ok();
    assert_eq!(place.json("run/summary.json")["epochs"], 3);
    assert_eq!(std::fs::read(place.path("run/notes.txt")).unwrap(), b"mine");

    // What the run before wrote is gone, also where this one has no such callback.
    place.run(&[&args[..], &["--overwrite", "--set", "callbacks=[]"]].concat()).ok();
    assert_eq!(
        place.list("run"),
        [
            "checkpoints",
            "journal.jsonl",
            "model.safetensors",
            "notes.txt",
            "recipe.toml",
            "run.lock",
            "summary.json"
        ]
    );
}

#[test]
fn weights_go_in_as_they_came_out() {
    let place = Place::new();
    place.run(&["train", "--dir", "one", "--verbose", "0", "--set", "fit.epochs=2"]).ok();
    // A rate so small that no weight moves: what comes out is what went in.
    let args = ["train", "--dir", "two", "--verbose", "0", "--set", "fit.epochs=1"];
    let set = ["--set", "model.weights=one/model.safetensors"];
    let rate = ["--set", "compile.optimizer.learning_rate=1e-30"];
    place.run(&[&args[..], &set, &rate].concat()).ok();
    let weights =
        |dir: &str| std::fs::read(place.path(&format!("{dir}/model.safetensors"))).unwrap();
    assert!(weights("one") == weights("two"), "bit-equal");

    // The recipe as used can be used again, from anywhere.
    place.run(&["train", "two/recipe.toml", "--dir", "three", "--verbose", "0"]).ok();

    let smaller =
        ["--set", "model.layers.1.units=64", "--set", "model.weights=one/model.safetensors"];
    place
        .run(&[&["train", "--dir", "four"], &smaller[..]].concat())
        .fails(2, &["one/model.safetensors", "`dense.weight`", "[64, 128]", "[64, 64]"]);
    assert!(place.list("four").is_empty(), "nothing is left behind");
}

#[test]
fn runs_that_begin_at_once_take_a_folder_each() {
    let place = Place::new();
    for round in 1..=3 {
        let args = ["train", "--verbose", "0", "--set", "fit.epochs=2"];
        let runs: Vec<_> = (0..4).map(|_| place.command(&args).spawn().unwrap()).collect();
        for mut run in runs {
            assert!(run.wait().unwrap().success());
        }
        let names = place.list("runs");
        assert_eq!(names.len(), 4 * round, "{names:?}");
        for name in names {
            assert_eq!(place.json(&format!("runs/{name}/summary.json"))["epochs"], 2);
        }
    }
    // In a folder that was named only one may.
    let args = ["train", "--dir", "run", "--verbose", "0", "--set", "fit.epochs=2"];
    let runs: Vec<_> = (0..4).map(|_| place.command(&args).spawn().unwrap()).collect();
    let done: Vec<i32> =
        runs.into_iter().map(|mut run| run.wait().unwrap().code().unwrap()).collect();
    assert_eq!(done.iter().filter(|status| **status == 0).count(), 1, "{done:?}");
    assert_eq!(done.iter().filter(|status| **status == 2).count(), 3, "{done:?}");
}

#[test]
fn warnings_and_errors_are_printed_however_little_is_asked_for() {
    let place = Place::new();
    // A folder where the log should be replaced makes its callback fail, and be disabled.
    let recipe = place.run(&["recipe"]).ok().stdout.replace("units = 10,", "units = 12,");
    place.write("x.toml", recipe);
    std::fs::create_dir_all(place.path("run")).unwrap();
    let mut set = vec!["train", "x.toml", "--dir", "run", "--verbose", "0"];
    set.extend(["--set", "fit.epochs=100000", "--set", "callbacks.2.patience=100000"]);
    let run = place.start(&set, "warning[units-not-classes]");
    let log = place.path("run/experiment_log.json");
    while !log.exists() {}
    while std::fs::create_dir(&log).is_err() {
        let _ = std::fs::remove_file(&log);
    }
    let mut run = run;
    run.wait_for("warning: callback `json_training_logger`");
    assert!(!run.seen.contains("Epoch "), "{}", run.seen);
    run.kill();
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_no_folder() {
    let place = Place::new();
    std::os::unix::fs::symlink("nowhere", place.path("link")).unwrap();
    for more in [&[][..], &["--resume"], &["--overwrite"]] {
        let args = [&["train", "--dir", "link"], more].concat();
        place.run(&args).fails(2, &["`link` is a link that leads nowhere; name a folder"]);
    }
    assert_eq!(place.list("."), ["link"]);
    // As a run's own name it is taken.
    std::fs::create_dir(place.path("runs")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path("runs/digits")).unwrap();
    place.run(&["train", "--verbose", "0", "--set", "fit.epochs=1"]).ok();
    assert_eq!(place.list("runs"), ["digits", "digits-2"]);
    // One that leads to a folder is as good as the folder.
    std::fs::create_dir(place.path("folder")).unwrap();
    std::os::unix::fs::symlink("folder", place.path("other")).unwrap();
    place.run(&["train", "--dir", "other", "--verbose", "0", "--set", "fit.epochs=1"]).ok();
    assert!(place.path("folder/summary.json").exists());
}

fn numbers(list: &serde_json::Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

const CNN: &str = r#"name = "cnn"
seed = 1
[data]
source = "digits"
validation_split = 0.2
[model]
layers = [
  { type = "conv2d", filters = 8, kernel_size = [3, 3], activation = "relu", padding = "same" },
  { type = "max_pooling2d" },
  { type = "conv2d", filters = 16, kernel_size = 3, activation = "relu", name = "second" },
  { type = "average_pooling2d", pool_size = 2, strides = 1, padding = "same" },
  { type = "flatten" },
  { type = "dense", units = 10, activation = "softmax" },
]
[compile]
optimizer = { type = "adam", learning_rate = 0.01 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]
[fit]
epochs = 10
batch_size = 64
"#;

#[test]
fn a_convolutional_network_learns() {
    let place = Place::new();
    place.write("cnn.toml", CNN);
    place.run(&["train", "cnn.toml"]).ok();
    let summary = place.json("runs/cnn/summary.json");
    assert_eq!(summary["parameters"], 8 * 9 + 8 + 16 * 8 * 9 + 16 + 16 * 4 * 10 + 10);
    let accuracy = numbers(&summary["history"]["val_accuracy"]);
    assert!(accuracy.last().unwrap() > &0.85, "{accuracy:?}");
}
