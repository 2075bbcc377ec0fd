//! All that a run leaves, as leaves of a tree that are compared one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use refrain_core::testing::ScriptLearner;
use refrain_core::{History, ModelAccess as _, Trainer};
use serde_json::Value;

/// Leaves by their paths.
pub type Left = BTreeMap<String, String>;

/// Names of what is not the same in both.
pub fn differences<'l>(one: &'l Left, other: &'l Left) -> impl Iterator<Item = &'l String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(move |name| one.get(*name) != other.get(*name))
}

/// Weights, optimizer, rate, history, ending; the last checkpoint, with the states of all callbacks;
/// the journal's epochs; and the files in `out`.
pub fn all_that_is_left(
    trainer: &Trainer<ScriptLearner>,
    history: &History,
    folder: &Path,
) -> Left {
    let mut left = Left::new();
    let learner = trainer.learner();
    left.insert("weights".into(), format!("{:?}", learner.weights().unwrap()));
    left.insert("optimizer".into(), format!("{:?}", learner.optimizer_state().unwrap()));
    left.insert("momentum".into(), format!("{:?}", learner.momentum()));
    left.insert("rate".into(), format!("{:?}", trainer.learning_rate()));
    left.insert("ending".into(), format!("{:?}", history.ending));
    for (epoch, logs) in history.iter() {
        for (name, value) in logs.iter() {
            left.insert(format!("history.{epoch}.{name}"), format!("{value:?}"));
        }
    }
    let mut checkpoints = names(&folder.join("checkpoints"));
    if let Some(newest) = checkpoints.pop() {
        let state = fs::read(newest.join("state.json")).unwrap();
        leaves("state", &serde_json::from_slice(&state).unwrap(), &mut left);
        for name in ["weights.safetensors", "optimizer.safetensors", "state.safetensors"] {
            if let Ok(bytes) = fs::read(newest.join(name)) {
                left.insert(format!("checkpoint {name}"), format!("{bytes:?}"));
            }
        }
    }
    let journal = fs::read(folder.join("journal.jsonl")).unwrap_or_default();
    let journal = refrain_core::checkpoint::JournalText::parse(&journal);
    assert_eq!(journal.damage, [""; 0]);
    for (epoch, logs) in journal.epochs() {
        leaves(&format!("journal.{epoch}"), &Value::Object(logs.clone()), &mut left);
    }
    files(&folder.join("out"), "out", &mut left);
    left
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).map(|all| all.map(|entry| entry.unwrap().path()));
    let mut names: Vec<PathBuf> = entries.map(Iterator::collect).unwrap_or_default();
    names.sort();
    names
}

fn leaves(path: &str, value: &Value, left: &mut Left) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                leaves(&format!("{path}.{key}"), value, left);
            }
        }
        // A number of the logs by its name.
        Value::Array(items) if matches!(items.as_slice(), [Value::String(_), _]) => {
            let name = items[0].as_str().unwrap();
            leaves(&format!("{path}={name}"), &items[1], left);
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                leaves(&format!("{path}[{i}]"), value, left);
            }
        }
        leaf => drop(left.insert(path.to_owned(), leaf.to_string())),
    }
}

fn files(folder: &Path, name: &str, left: &mut Left) {
    let mut events = 0;
    for path in names(folder) {
        let file = path.file_name().unwrap().to_str().unwrap();
        let inside = format!("{name}/{file}");
        if path.is_dir() {
            files(&path, &inside, left);
            continue;
        }
        if file.starts_with(".refrain-") {
            // Killed while it replaced another file.
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        if file.contains("tfevents") {
            // How many files there are is nobody's business.
            for event in summaries(&bytes) {
                left.insert(format!("{name}: event {events}"), event);
                events += 1;
            }
        } else if file.ends_with(".json") {
            leaves(&inside, &serde_json::from_slice(&bytes).unwrap(), left);
        } else if file.ends_with(".csv") {
            csv(&inside, std::str::from_utf8(&bytes).unwrap(), left);
        } else {
            left.insert(inside, format!("{bytes:?}"));
        }
    }
}

fn csv(path: &str, text: &str, left: &mut Left) {
    let mut lines = text.split("\r\n");
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    for (i, line) in lines.enumerate() {
        for (j, cell) in line.split(',').enumerate() {
            let column = header.get(j).unwrap_or(&"?");
            left.insert(format!("{path}[{i}].{column}"), cell.to_owned());
        }
    }
}

/// An event of TensorBoard's: its step, its summary, whether it is a `SessionLog` `START`.
struct BoardEvent {
    step: u64,
    summary: Option<Vec<u8>>,
    is_start: bool,
}

/// Step and summary of the events of a file, without the times at which they were written.
fn summaries(bytes: &[u8]) -> Vec<String> {
    let summary = |event: &BoardEvent| {
        event.summary.as_ref().map(|summary| format!("step {}: {summary:?}", event.step))
    };
    events(bytes).iter().filter_map(summary).collect()
}

/// The step of the `SessionLog` `START` with which a file of events begins.
pub fn session_start(bytes: &[u8]) -> Option<u64> {
    // The first is the version of the format.
    events(bytes).get(1).filter(|event| event.is_start).map(|event| event.step)
}

fn events(bytes: &[u8]) -> Vec<BoardEvent> {
    let mut events = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 12 {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let bytes = &rest[12..12 + length];
        rest = &rest[12 + length + 4..];
        let mut event = BoardEvent { step: 0, summary: None, is_start: false };
        let mut at = 0;
        while at < bytes.len() {
            let key = varint(bytes, &mut at);
            match (key >> 3, key & 7) {
                (2, 0) => event.step = varint(bytes, &mut at),
                (_, 0) => drop(varint(bytes, &mut at)),
                (_, 1) => at += 8,
                (_, 5) => at += 4,
                (field, _) => {
                    let length = varint(bytes, &mut at) as usize;
                    let content = &bytes[at..at + length];
                    at += length;
                    match field {
                        5 => event.summary = Some(content.to_vec()),
                        7 => event.is_start = content == [0x08, 1],
                        _ => {}
                    }
                }
            }
        }
        events.push(event);
    }
    assert!(rest.is_empty(), "half an event");
    events
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
