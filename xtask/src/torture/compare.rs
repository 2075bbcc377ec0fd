//! What a run has left, and how two of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Result;

/// What a run has left, in a form in which equal runs are equal: without what clocks said and the
/// numbers of the checkpoints.
#[derive(Clone, PartialEq)]
pub(super) struct Remains(BTreeMap<String, Content>);

#[derive(Clone, PartialEq)]
enum Content {
    Bytes(Vec<u8>),
    Json(Value),
}

/// Fields in which a clock is read.
const CLOCKS: [&str; 2] = ["timestamp", "seconds"];

impl Remains {
    /// Reads a folder that holds what is left of a run that was made in the folder `run`.
    pub(super) fn of(folder: &Path, run: &Path) -> Result<Self> {
        let run = run.display().to_string();
        let mut files = BTreeMap::new();
        collect(folder, "", &mut files)?;
        let mut remains = BTreeMap::new();
        let newest = newest(files.keys());
        for (name, bytes) in files {
            // Event files are named and filled by clocks, and one that goes on makes others: tests of
            // the core compare what is in them.
            if name == "run.lock" || name.contains("/events.out.tfevents.") {
                continue;
            }
            if name == "journal.jsonl" {
                // What is wrong with it is a difference.
                let epochs = journal_epochs(&bytes).unwrap_or_else(Value::from);
                remains.insert("epochs of the journal".to_owned(), Content::Json(epochs));
                continue;
            }
            let name = match (name.strip_prefix("checkpoints/"), &newest) {
                (Some(inside), Some(newest)) => match inside.strip_prefix(newest.as_str()) {
                    // Its number and time are in it.
                    Some("/manifest.json") => continue,
                    Some(part) => format!("newest checkpoint{part}"),
                    None if is_number(inside.split('/').next().unwrap_or_default()) => continue,
                    None => name,
                },
                _ => name,
            };
            let is_json = name.ends_with(".json") && !name.starts_with("quarantine/");
            let json = is_json.then(|| serde_json::from_slice::<Value>(&bytes));
            let content = match json.transpose().map_err(|e| format!("{name}: {e}"))? {
                Some(json) => Content::Json(comparable(json, &run)),
                None => Content::Bytes(bytes),
            };
            remains.insert(name, content);
        }
        Ok(Self(remains))
    }

    /// The first difference of `found` from this, in words.
    pub(super) fn difference(&self, found: &Self) -> Option<String> {
        self.difference_in(found, |_| true)
    }

    /// As [`difference`](Self::difference), in the files whose names `matter`.
    pub(super) fn difference_in(
        &self,
        found: &Self,
        matters: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(found.0.keys()).collect();
        names.into_iter().filter(|name| matters(name)).find_map(|name| {
            let what = match (self.0.get(name), found.0.get(name)) {
                (Some(_), None) => "it is missing".to_owned(),
                (None, Some(_)) => "it is there, and should not be".to_owned(),
                (Some(Content::Json(a)), Some(Content::Json(b))) => json_difference("", a, b)?,
                (Some(Content::Bytes(a)), Some(Content::Bytes(b))) => bytes_difference(a, b)?,
                _ => return None,
            };
            Some(format!("{name}: {what}"))
        })
    }
}

/// What of a run is the model alone: that which no observing callback can change.
pub(super) fn is_of_the_model(name: &str) -> bool {
    ["model.safetensors", "newest checkpoint/weights.safetensors"].contains(&name)
        || name == "newest checkpoint/optimizer.safetensors"
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(failed)?.is_dir() {
            // A folder counts although it is empty: a forgotten one is found.
            let inside = files.len();
            collect(&entry.path(), &format!("{name}/"), files)?;
            if files.len() == inside {
                files.insert(format!("{name}/"), Vec::new());
            }
        } else {
            files.insert(name, fs::read(entry.path()).map_err(failed)?);
        }
    }
    Ok(())
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn newest<'a>(names: impl Iterator<Item = &'a String>) -> Option<String> {
    let numbers = names.filter_map(|name| name.strip_prefix("checkpoints/")?.split('/').next());
    numbers.filter(|name| is_number(name)).max().map(str::to_owned)
}

/// A value without what clocks said and where the run was made.
fn comparable(json: Value, run: &str) -> Value {
    match json {
        // Its state is the names and lengths of its event files.
        Value::Object(fields) if fields.get("name") == Some(&"tensor_board".into()) => Value::Null,
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| !CLOCKS.contains(&name.as_str()))
            .map(|(name, value)| (name, comparable(value, run)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(values) => values.into_iter().map(|value| comparable(value, run)).collect(),
        // A logger's state is the text of its log.
        Value::String(text) => without_timestamps(&text).replace(run, "RUN").into(),
        other => other,
    }
}

fn without_timestamps(text: &str) -> String {
    let mut parts = text.split("\"timestamp\":\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('"').map_or(part, |(_, rest)| rest))
}

/// The epochs that a journal holds in the end, without superseded ones; its records must follow one
/// another without a gap.
fn journal_epochs(bytes: &[u8]) -> Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let mut epochs: Vec<Value> = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let record: Value = serde_json::from_str(line.strip_suffix('\n').unwrap_or_default())
            .map_err(|e| format!("line {}: {e}", i + 1))?;
        if record["seq"] != i + 1 {
            return Err(format!("line {} has the number {}", i + 1, record["seq"]));
        }
        let count = |key: &str| record[key].as_u64().unwrap_or(0);
        match record["type"].as_str().unwrap_or_default() {
            "begin" => epochs.clear(),
            "resume" | "rollback" => {
                epochs.retain(|old| old["epoch"].as_u64().unwrap_or(0) <= count("epochs"));
            }
            "epoch" => {
                let keys = ["epoch", "step", "logs", "non_finite", "base", "factors"];
                let fields = keys
                    .iter()
                    .filter_map(|key| Some(((*key).to_owned(), record.get(*key)?.clone())));
                epochs.push(Value::Object(fields.collect()));
            }
            _ => {}
        }
    }
    Ok(Value::Array(epochs))
}

fn json_difference(path: &str, a: &Value, b: &Value) -> Option<String> {
    if a == b {
        return None;
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            keys.into_iter().find_map(|key| {
                let at = format!("{path}/{key}");
                json_difference(&at, &a[key.as_str()], &b[key.as_str()])
            })
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let mut pairs = x.iter().zip(y).enumerate();
            pairs.find_map(|(i, (x, y))| json_difference(&format!("{path}/{i}"), x, y))
        }
        (Value::Array(x), Value::Array(y)) => {
            Some(format!("{path}: {} entries, expected {}", y.len(), x.len()))
        }
        _ => Some(format!("{path}: {b}, expected {a}")),
    }
}

fn bytes_difference(a: &[u8], b: &[u8]) -> Option<String> {
    if a == b {
        return None;
    }
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    Some(format!("{} bytes, expected {}; the first that differs: {at}", b.len(), a.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(seq: u64, mut record: Value) -> String {
        record["seq"] = seq.into();
        format!("{record}\n")
    }

    #[test]
    fn superseded_epochs_of_a_journal_do_not_count() {
        let epoch =
            |n: u64, loss: f64| json!({"type": "epoch", "epoch": n, "logs": {"loss": loss}});
        let text = [
            line(1, json!({"type": "begin"})),
            line(2, epoch(1, 0.5)),
            line(3, epoch(2, 0.4)),
            line(4, json!({"type": "resume", "epochs": 1})),
            line(5, epoch(2, 0.3)),
        ];
        let epochs = journal_epochs(text.concat().as_bytes()).unwrap();
        let losses: Vec<_> =
            epochs.as_array().unwrap().iter().map(|e| &e["logs"]["loss"]).collect();
        assert_eq!(losses, [&json!(0.5), &json!(0.3)]);
        assert!(journal_epochs(text[1..].concat().as_bytes()).is_err());
        assert!(journal_epochs(text.concat().trim_end().as_bytes()).is_err());
    }

    #[test]
    fn differences_are_named_and_clocks_are_none() {
        let remains = |json: Value, extra: &[&str]| {
            let json = ("log.json".to_owned(), Content::Json(comparable(json, "/a/run")));
            let extra = extra.iter().map(|name| ((*name).to_owned(), Content::Bytes(vec![1, 2])));
            Remains(extra.chain([json]).collect())
        };
        let log = |time: &str, loss: f64| json!([{"timestamp": time, "loss": loss}]);
        let expected = remains(log("now", 0.5), &[]);
        let said = |found: &Remains| expected.difference(found).unwrap_or_default();
        assert_eq!(said(&remains(log("later", 0.5), &[])), "");
        assert_eq!(said(&remains(log("now", 0.25), &[])), "log.json: /0/loss: 0.25, expected 0.5");
        let state =
            |time: &str| json!({ "text": format!("[{{\"timestamp\":\"{time}\",\"loss\":0}}]") });
        assert_eq!(comparable(state("now"), "/a"), comparable(state("later"), "/a"));
        let more = remains(log("now", 0.5), &[".refrain-1-2.tmp"]);
        assert_eq!(said(&more), ".refrain-1-2.tmp: it is there, and should not be");
        assert_eq!(more.difference(&expected).unwrap(), ".refrain-1-2.tmp: it is missing");
        assert_eq!(
            bytes_difference(b"abc", b"abd").unwrap(),
            "3 bytes, expected 3; the first that differs: 2"
        );
    }
}
