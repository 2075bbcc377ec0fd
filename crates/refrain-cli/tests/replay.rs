//! `refrain replay`, and `refrain preview --log`: callbacks over recorded numbers.

mod common;

use common::Place;
use serde_json::{Value, json};

fn replay(place: &Place, args: &[&str]) -> (Vec<Value>, Value) {
    let done = place.run(&[&["replay"], args].concat()).ok();
    let mut lines: Vec<Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap();
    (lines, last)
}

fn log(rows: &[(f64, &str)]) -> String {
    let entry = |(i, (loss, more)): (usize, &(f64, &str))| {
        format!("{{\"epoch\": {}, \"loss\": 1.0, \"val_loss\": {loss}{more}}}", i + 1)
    };
    format!("[{}]", rows.iter().enumerate().map(entry).collect::<Vec<_>>().join(",\n"))
}

#[test]
fn a_run_replayed_on_its_own_log_is_the_run() {
    let place = Place::new();
    place.run(&["train", "--dir", "run", "--verbose", "0"]).ok();
    let summary = place.json("run/summary.json");
    let (epochs, end) = replay(&place, &["--log", "run/experiment_log.json"]);
    assert_eq!(epochs.len(), summary["epochs"].as_u64().unwrap() as usize);
    let rates: Vec<&Value> = epochs.iter().map(|epoch| &epoch["learning_rate"]).collect();
    assert_eq!(json!(rates), summary["history"]["learning_rate"]);
    assert_eq!(end["outcome"], summary["outcome"]);
    assert_eq!(end["by"], summary["by"]);
    assert_eq!(end["epochs"], summary["epochs"]);
    assert_eq!(end["restored_epoch"], summary["best_epoch"]);
    assert_eq!(epochs.last().unwrap()["stop"], true);
    assert_eq!(epochs.last().unwrap()["callbacks"]["early_stopping"]["wait"], 5);
    // Nothing is written.
    assert_eq!(place.list("."), ["run"]);
}

#[test]
fn other_options_on_the_same_log() {
    let place = Place::new();
    let values = [3.0, 2.0, 2.5, 2.4, 2.3, 1.0, 1.5, 1.5, 1.5, 0.5];
    place.write("log.json", log(&values.map(|loss| (loss, ", \"learning_rate\": 99.0"))));
    for (patience, epochs, restored) in [(2, 4, 2), (3, 5, 2), (4, 10, 10)] {
        let set = format!("callbacks.2.patience={patience}");
        let (lines, end) = replay(&place, &["--log", "log.json", "--set", &set]);
        assert_eq!(lines.len(), epochs);
        assert_eq!(end["epochs"], epochs);
        assert_eq!(end["restored_epoch"], restored);
        assert_eq!(end["outcome"], if epochs < 10 { "stopped" } else { "completed" });
        assert!(lines.iter().all(|line| line["learning_rate"] == 0.1));
    }
}

#[test]
fn bare_nan_missing_keys_and_a_count_from_zero() {
    let place = Place::new();
    place.write(
        "log.json",
        "[{\"epoch\": 0, \"val_loss\": 1.0}, {\"epoch\": 1, \"val_loss\": NaN}, \
         {\"epoch\": 2}, {\"epoch\": 3, \"val_loss\": Infinity}, {\"epoch\": 4, \"val_loss\": null}]",
    );
    let (lines, end) = replay(&place, &["--log", "log.json", "--set", "callbacks.2.patience=3"]);
    let waits: Vec<_> =
        lines.iter().map(|line| line["callbacks"]["early_stopping"]["wait"].clone()).collect();
    assert_eq!(waits, [0, 1, 1, 2, 3]);
    assert_eq!((&end["epochs"], &end["by"]), (&json!(5), &json!("early_stopping")));
    assert_eq!(end["restored_epoch"], 1);
}

#[test]
fn a_plateau_in_replay_and_preview() {
    let place = Place::new();
    let recipe = place.run(&["recipe"]).ok().stdout;
    let plateau = "\n[[callbacks]]\ntype = \"reduce_lr_on_plateau\"\nfactor = 0.1\npatience = 2\n";
    place.write("x.toml", recipe.replace("patience = 5", "patience = 20") + plateau);
    place.write("log.json", log(&[1.0; 8].map(|loss| (loss, ""))));
    let (lines, end) = replay(&place, &["x.toml", "--log", "log.json"]);
    let of = |key: &str| lines.iter().map(|line| line[key].as_f64().unwrap()).collect::<Vec<_>>();
    let (used, next) = (of("learning_rate"), of("next_learning_rate"));
    assert_eq!(used[..5], [0.1, 0.1, 0.1, 0.1 * 0.1, 0.1 * 0.1]);
    assert_eq!(next[..3], [0.1, 0.1, 0.1 * 0.1]);
    assert_eq!(end["outcome"], "completed");

    let preview = |args: &[&str]| -> Vec<f64> {
        let done = place.run(&[&["preview", "x.toml", "--json"], args].concat()).ok();
        serde_json::from_str(&done.stdout).unwrap()
    };
    let set = ["--set", "fit.epochs=8"];
    assert_eq!(preview(&[&set[..], &["--log", "log.json"]].concat()), used);
    assert_eq!(preview(&set), [0.1; 8]);
    let steps = preview(&[&set[..], &["--log", "log.json", "--steps"]].concat());
    assert_eq!((steps.len(), steps[35], steps[36]), (96, 0.1, 0.1 * 0.1));
}

#[test]
fn ten_thousand_epochs() {
    let place = Place::new();
    let rows: Vec<(f64, &str)> = (0..10_000).map(|i| (1.0 / f64::from(i + 1), "")).collect();
    place.write("log.json", log(&rows));
    let (lines, end) = replay(&place, &["--log", "log.json", "--set", "fit.epochs=10000"]);
    assert_eq!((lines.len(), &end["epochs"]), (10_000, &json!(10_000)));
    // A state does not grow with the run: a line of epoch 10,000 is as long as one of epoch 1.
    let lengths = [&lines[0], lines.last().unwrap()].map(|line| line.to_string().len());
    assert!(lengths[1] < lengths[0] + 100, "{lengths:?}");
}

#[test]
fn what_cannot_be_replayed() {
    let place = Place::new();
    place.write("torn.json", "[{\"epoch\": 1, \"lo");
    place.run(&["replay", "--log", "torn.json"]).fails(1, &["torn.json"]);
    place.run(&["replay", "--log", "none.json"]).fails(1, &["none.json"]);
    place.run(&["replay"]).fails(2, &["--log"]);
    place.run(&["preview", "--log", "none.json"]).fails(1, &["none.json"]);
}
