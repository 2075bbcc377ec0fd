//! TensorBoard itself reads the event files; what it serves is the log.
//!
//! Folders, tags and steps that are expected here are those that Keras 3.15.1 was seen to write with
//! TensorFlow 2.21.
//!
//! Needs a Python with the packages of `tensor_board/requirements.txt`: that of the variable
//! `REFRAIN_TENSORBOARD_PYTHON`, or `python3`. Where that has no TensorBoard, the test says so and
//! passes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use refrain_core::callbacks::{TensorBoard, UpdateFreq};
use refrain_core::testing::{Script, ScriptLearner};
use refrain_core::{Error, Fit, History, LambdaCallback, Trainer};
use serde_json::{Value, json};

/// The Python to ask; `None`, with a word, where there is none.
fn python() -> Option<String> {
    let named = std::env::var("REFRAIN_TENSORBOARD_PYTHON").ok();
    let python = named.clone().unwrap_or_else(|| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if import.is_ok_and(|import| import.status.success()) {
        return Some(python);
    }
    assert!(named.is_none(), "REFRAIN_TENSORBOARD_PYTHON={python} has no TensorBoard");
    // Not `eprintln!`, which the test harness would keep to itself.
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {python} has no TensorBoard; see tests/tensor_board/requirements.txt"
    );
    None
}

/// What TensorBoard makes of a folder of runs.
fn read(python: &str, runs: &Path) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tensor_board/read.py");
    let output = Command::new(python).arg(script).arg(runs).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Values of a tag: step and value, in the words that TensorBoard's JSON has for them.
type Points = Vec<(u64, String)>;

fn point(step: u64, value: f64) -> (u64, String) {
    // TensorBoard's scalars are f32.
    (step, format!("{:?}", value as f32))
}

/// `"NaN"`, `nan`, 0.5 → as [`point`] writes them.
fn shown(value: &Value) -> String {
    let number = match value {
        Value::String(word) => word.parse::<f64>().unwrap(),
        value => value.as_f64().unwrap(),
    };
    format!("{:?}", number as f32)
}

/// `{"run/tag": points}` out of `{run: {tag: [[.., step, value]]}}`.
fn points(runs: &Value) -> BTreeMap<String, Points> {
    let mut found = BTreeMap::new();
    for (run, tags) in runs.as_object().unwrap() {
        for (tag, points) in tags.as_object().unwrap() {
            let points = points.as_array().unwrap().iter().map(|point| {
                let [.., step, value] = point.as_array().unwrap().as_slice() else {
                    panic!("{run}/{tag}: {point}")
                };
                (step.as_u64().unwrap(), shown(value))
            });
            found.insert(format!("{run}/{tag}"), points.collect());
        }
    }
    found
}

fn column(history: &History, name: &str) -> Points {
    let points = history
        .iter()
        .filter_map(|(epoch, logs)| logs.get(name).map(|value| point(epoch as u64, value)));
    points.collect()
}

fn trainer(script: &Script, board: TensorBoard) -> Trainer<ScriptLearner> {
    // A key of a callback's own is a metric too, and a rate that changes is seen.
    let extra = LambdaCallback::new("extra")
        .on_epoch_begin(|run| {
            let factor = 0.5_f64.powi(run.progress.epoch as i32);
            run.learning_rate.set_factor("extra", factor)
        })
        .on_epoch_end(|run, epoch| {
            epoch.logs.insert("größe/extra", run.progress.epoch as f64 * 1e-30);
            Ok(())
        });
    Trainer::new(script.learner(), 0.1).callback(extra).callback(board)
}

#[test]
fn tensorboard_serves_the_log() {
    let Some(python) = python() else {
        return;
    };
    let runs = tempfile::tempdir().unwrap();
    let script = Script::new(
        &["loss", "accuracy"],
        vec![
            vec![2.0, 0.5],
            vec![f64::NAN, 0.6],
            vec![f64::INFINITY, 1.0 / 3.0],
            vec![f64::NEG_INFINITY, -0.0],
            vec![1e300, 1e-300],
        ],
    );
    let mut expected: BTreeMap<String, Points> = BTreeMap::new();

    // Everything, over five epochs of four batches.
    let board = TensorBoard::new(runs.path().join("all"))
        .update_freq(UpdateFreq::Every(3))
        .histogram_freq(2)
        .write_steps_per_second(true)
        .hparam("optimizer", "sgd")
        .hparam("units", 128)
        .hparam("nesterov", true);
    let data = script.samples(4);
    let fit = Fit::epochs(5).batch_size(1).validation_data(&data).validation_freq(2).verbose(0);
    let history = trainer(&script, board).fit(&data, fit).unwrap();
    assert_eq!(history.len(), 5);
    for name in ["loss", "accuracy"] {
        let train = column(&history, name);
        let validation = column(&history, &format!("val_{name}"));
        assert_eq!(validation.len(), 2);
        let evaluation =
            validation.iter().map(|(epoch, value)| (4 * (epoch + 1), value.clone())).collect();
        expected.insert(format!("all/validation/evaluation_{name}_vs_iterations"), evaluation);
        expected.insert(format!("all/validation/epoch_{name}"), validation);
        // Every third batch of twenty; the script's batches have the values of their epoch.
        let batches = (3..=20).step_by(3).map(|batch| {
            let (_, value) = &train[(batch - 1) / 4];
            (batch as u64, value.clone())
        });
        expected.insert(format!("all/train/batch_{name}"), batches.collect());
        expected.insert(format!("all/train/epoch_{name}"), train);
    }
    for name in ["learning_rate", "größe/extra"] {
        expected.insert(format!("all/train/epoch_{name}"), column(&history, name));
    }

    // A run that failed, and then went on from its second epoch: one curve.
    let again = || TensorBoard::new(runs.path().join("again")).hparam("optimizer", "adam");
    let fail = LambdaCallback::new("fail").on_epoch_begin(|run| {
        if run.progress.epoch == 2 { Err(Error::msg("the machine is on fire")) } else { Ok(()) }
    });
    let mut failing = trainer(&script, again()).callback(fail);
    failing.fit(&script.data(), Fit::epochs(4).verbose(0)).unwrap_err();
    assert_eq!(failing.history().len(), 2);
    let mut going_on = trainer(&script, again());
    let fit = Fit::epochs(4).initial_epoch(1).verbose(0);
    let gone_on = going_on.fit(&script.data(), fit).unwrap();
    for name in ["loss", "accuracy", "learning_rate", "größe/extra"] {
        let begun = column(failing.history(), name);
        let curve = begun.into_iter().take(1).chain(column(&gone_on, name)).collect();
        expected.insert(format!("again/train/epoch_{name}"), curve);
    }

    // Only an evaluation.
    let board = TensorBoard::new(runs.path().join("evaluated"));
    trainer(&script, board).evaluate(&script.data(), 1).unwrap();
    for (name, value) in [("loss", 2.0), ("accuracy", 0.5)] {
        let tag = format!("evaluated/validation/evaluation_{name}_vs_iterations");
        expected.insert(tag, vec![point(0, value)]);
    }

    let read = read(&python, runs.path());
    let served = &read["served"];

    let mut names: Vec<&str> =
        served["runs"].as_array().unwrap().iter().map(|run| run.as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["again", "again/train", "all", "all/train", "all/validation", "evaluated/validation"]
    );

    // The server has times and words as JSON has them; the Python reader keeps what was superseded.
    for (reader, is_server) in [(&served["scalars"], true), (&read["accumulated"], false)] {
        let mut found = points(reader);
        let steps = |points: Option<Points>| -> Vec<u64> {
            points.unwrap().iter().map(|(step, _)| *step).collect()
        };
        let epochs = steps(found.remove("all/train/epoch_steps_per_second"));
        assert_eq!(epochs, [0, 1, 2, 3, 4]);
        let batches = steps(found.remove("all/train/batch_steps_per_second"));
        assert_eq!(batches, [3, 6, 9, 12, 15, 18]);
        let mut expected = expected.clone();
        if !is_server {
            found.retain(|tag, _| !tag.starts_with("again/"));
            expected.retain(|tag, _| !tag.starts_with("again/"));
        }
        assert_eq!(found, expected);
    }

    // The script's weight is the number of updates: after 4, 12 and 20 of them.
    let histograms = &served["histograms"];
    assert_eq!(histograms.as_object().unwrap().len(), 1);
    let histogram = histograms["all/train"]["w/histogram"].as_array().unwrap();
    assert_eq!(histogram.len(), 3);
    for (i, point) in histogram.iter().enumerate() {
        assert_eq!(point[1], 2 * i);
        let buckets = point[2].as_array().unwrap();
        let full: Vec<&Value> = buckets.iter().filter(|bucket| bucket[2] != 0.0).collect();
        let weight = (8 * i + 4) as f64;
        assert_eq!(full, [&json!([weight, weight, 1.0])]);
    }

    let hparams = &served["hparams"];
    let metrics = hparams["experiment"]["metricInfos"].as_array().unwrap();
    let loss = json!({ "group": "validation", "tag": "epoch_loss" });
    assert!(metrics.iter().any(|metric| metric["name"] == loss), "{metrics:?}");
    let mut sessions = BTreeMap::new();
    for group in hparams["groups"]["sessionGroups"].as_array().unwrap() {
        let session = &group["sessions"][0];
        let name = session["name"].as_str().unwrap();
        sessions.insert(name, (group["hparams"].clone(), session["status"].clone()));
    }
    let all = json!({ "optimizer": "sgd", "units": 128.0, "nesterov": true });
    assert_eq!(sessions["all"], (all, json!("STATUS_SUCCESS")));
    assert_eq!(sessions["again"].0, json!({ "optimizer": "adam" }));
    // Of several ends, TensorBoard believes the first.
    assert_eq!(sessions["again"].1, "STATUS_FAILURE");
    assert_eq!(sessions.len(), 2);
}

/// A disk that is full, as a limit that the system sets to the files of a process: half a kibibyte.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_the_run_nothing_but_the_files() {
    const FOLDER: &str = "REFRAIN_TEST_FULL_DISK";
    let Ok(folder) = std::env::var(FOLDER) else {
        let folder = tempfile::tempdir().unwrap();
        let test = std::env::current_exe().unwrap();
        let limited = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
            .arg(test)
            .args(["--exact", "a_full_disk_costs_the_run_nothing_but_the_files"])
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&limited.stdout);
        assert!(limited.status.success() && told.contains("1 passed"), "{told}");
        return;
    };
    let script = Script::losses(&[1.0]);
    let mut trainer = trainer(&script, TensorBoard::new(&folder).hparam("optimizer", "sgd"));
    let history = trainer.fit(&script.data(), Fit::epochs(100).verbose(0)).unwrap();
    assert_eq!(history.len(), 100);
    let disabled: Vec<String> = trainer.disabled().map(|(_, error)| error.to_string()).collect();
    let [error] = disabled.as_slice() else { panic!("{disabled:?}") };
    assert!(error.contains(&format!("cannot write `{folder}/train/events.out.")), "{error}");
    assert!(!error.contains("; then"), "{error}");
}
