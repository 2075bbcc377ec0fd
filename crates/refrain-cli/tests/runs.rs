//! `refrain runs`: a line for each run, the newest first.

mod common;

use std::fs;

use common::Place;
use serde_json::Value;

fn lines(place: &Place, args: &[&str]) -> Vec<String> {
    let done = place.run(&[&["runs"], args].concat()).ok();
    done.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn each_run_has_a_line_with_its_state() {
    let place = Place::new();
    assert_eq!(lines(&place, &[]), ["no runs in `runs`"]);
    place.run(&["train", "--verbose", "0"]).ok();
    let two = ["--verbose", "0", "--set", "fit.epochs=2"];
    place.run(&[&["train"], &two[..]].concat()).ok();
    let long = ["--set", "fit.epochs=100000", "--set", "callbacks.2.patience=100000"];
    place.start(&[&["train"], &long[..]].concat(), "Epoch 2/").kill();
    let wrong = "callbacks=[{ type = \"json_training_logger\", log_file = \"log.json\", on_failure = \"abort\" }]";
    // A folder where the log should be replaced makes the callback fail in the run.
    let set = ["--dir", "runs/failed", "--set", wrong, "--set", "fit.epochs=100000"];
    let failing = place.start(&[&["train"], &set[..]].concat(), "Epoch 2/");
    let log = place.path("runs/failed/log.json");
    while fs::create_dir(&log).is_err() {
        // Gone already where the logger has found it missing, and failed.
        let _ = fs::remove_file(&log);
    }
    assert_eq!(failing.done().status, 1);
    let now = place.start(&[&["train", "--dir", "runs/now"], &long[..]].concat(), "Epoch 2/");

    let seen = lines(&place, &[]);
    let column = |line: &str, n: usize| -> String {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).nth(n).unwrap().to_owned()
    };
    let states: Vec<(String, String)> =
        seen.iter().map(|line| (column(line, 0), column(line, 1))).collect();
    let expected = [
        ("run", "state"),
        ("runs/now", "running"),
        ("runs/failed", "failed"),
        ("runs/digits-3", "killed"),
        ("runs/digits-2", "completed"),
        ("runs/digits", "stopped by early_stopping"),
    ];
    assert_eq!(states, expected.map(|(run, state)| (run.to_owned(), state.to_owned())));
    let stopped = seen.last().unwrap();
    assert_eq!(column(stopped, 2), "16/50");
    assert!(column(stopped, 3).starts_with("val_loss 0."), "{stopped}");
    assert!(column(stopped, 3).ends_with("(epoch 11)"), "{stopped}");
    assert!(stopped.ends_with(" kB"), "{stopped}");
    now.kill();

    // As JSON; a run itself; and what it says agrees with the summary.
    let done = place.run(&["runs", "runs/digits", "--json"]).ok();
    let seen: Value = serde_json::from_str(&done.stdout).unwrap();
    let summary = place.json("runs/digits/summary.json");
    assert_eq!(seen.as_array().unwrap().len(), 1);
    let run = &seen[0];
    assert_eq!(run["dir"], "runs/digits");
    assert_eq!((&run["state"], &run["by"]), (&summary["outcome"], &summary["by"]));
    assert_eq!((&run["epoch"], &run["planned"]), (&summary["epochs"], &50.into()));
    assert_eq!((&run["monitor"], &run["best_epoch"]), (&"val_loss".into(), &summary["best_epoch"]));
    let best = summary["best_epoch"].as_u64().unwrap() as usize;
    assert_eq!(run["best"], summary["history"]["val_loss"][best - 1]);
    let bytes: usize = place.contents("runs/digits").values().map(Vec::len).sum();
    assert_eq!(run["bytes"], bytes);
    assert!(run["age_seconds"].as_u64().unwrap() < 600);
}

#[test]
fn without_validation_the_loss_is_shown() {
    let place = Place::new();
    let recipe = "[data]\nsource = \"digits\"\n[model]\nlayers = [{ type = \"flatten\" }, \
                  { type = \"dense\", units = 10, activation = \"softmax\" }]\n[compile]\n\
                  optimizer = \"sgd\"\nloss = \"sparse_categorical_crossentropy\"\n[fit]\nepochs = 2\n";
    place.write("x.toml", recipe);
    place.run(&["train", "x.toml", "--verbose", "0"]).ok();
    let seen = lines(&place, &[]);
    assert!(seen[1].contains("  loss ") && seen[1].contains("(epoch 2)"), "{seen:?}");
}

#[test]
fn folders_that_are_no_runs_are_lines_that_say_so() {
    let place = Place::new();
    place.run(&["train", "--verbose", "0", "--set", "fit.epochs=1"]).ok();
    for (name, file, text) in [
        ("foreign", "notes.txt", "mine"),
        ("damaged", "journal.jsonl", "\0\u{1b}[31m no record\n"),
        ("old", "summary.json", "{}"),
    ] {
        fs::create_dir(place.path(&format!("runs/{name}"))).unwrap();
        place.write(&format!("runs/{name}/{file}"), text);
    }
    fs::create_dir_all(place.path("runs/strange/journal.jsonl")).unwrap();
    fs::create_dir(place.path("runs/\u{1b}[31m")).unwrap();
    place.write("runs/file", "");
    let seen = lines(&place, &["runs"]);
    assert_eq!(seen.len(), 7, "{seen:#?}");
    assert!(seen[1].starts_with("runs/digits "), "{seen:#?}");
    for words in [
        ["runs/foreign", "no run"],
        ["runs/damaged", "killed (journal damaged, see refrain verify)"],
        ["runs/old", "a run without a journal"],
        ["runs/strange", "is a folder"],
        ["runs/\\u{1b}[31m", "no run"],
    ] {
        let is_it = |line: &&String| words.iter().all(|word| line.contains(word));
        assert_eq!(seen.iter().filter(is_it).count(), 1, "{words:?}: {seen:#?}");
    }
    let done = place.run(&["runs", "--json"]).ok();
    let seen: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(seen.as_array().unwrap().len(), 6);
    place.run(&["runs", "nothing"]).fails(2, &["cannot list `nothing`"]);
}
