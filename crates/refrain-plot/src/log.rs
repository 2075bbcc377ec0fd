//! The training log: for each epoch, numbers by name.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::{Map, Value};

use refrain_core::files::Files;

use crate::error::{PlotError, printable, printable_path};
use crate::lenient_json::quote_bare_numbers;

/// A file longer than this (1 GiB) is no log.
const MAX_BYTES: u64 = 1 << 30;

/// Fields of an entry that are not metrics.
const RESERVED: [&str; 3] = ["epoch", "timestamp", "non_finite"];

/// The numbers of a run, by metric and epoch.
///
/// Each metric holds a value for each epoch in which it was logged. A value may be
/// NaN or infinite (drawn as a gap); an epoch in which the key is absent has no value
/// (validation did not run: its neighbours are connected).
///
/// # Example
/// ```
/// use refrain_plot::TrainingLog;
///
/// let log = TrainingLog::from_columns(
///     vec![1, 2, 3],
///     vec![
///         ("loss".into(), vec![Some(0.9), Some(0.5), Some(0.4)]),
///         ("val_loss".into(), vec![Some(0.8), None, Some(f64::NAN)]),
///     ],
/// )?;
///
/// assert_eq!(log.epochs(), [1, 2, 3]);
/// assert_eq!(log.values("val_loss").count(), 2);
/// assert_eq!(log.best_epoch().map(|best| best.epoch), Some(1));
/// # Ok::<(), refrain_plot::PlotError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainingLog {
    name: String,
    epochs: Vec<u64>,
    series: Vec<Series>,
}

/// The values of one metric, in ascending order of epoch.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub key: String,
    pub points: Vec<(u64, f64)>,
}

/// The epoch with the lowest loss, see [`TrainingLog::best_epoch`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BestEpoch<'a> {
    /// The epoch, as numbered in the log.
    pub epoch: u64,
    /// The metric that was compared: `val_loss`, or `loss` where there is none.
    pub metric: &'a str,
    /// Its value in that epoch; always finite.
    pub value: f64,
}

impl TrainingLog {
    /// Reads the JSON log of a run: an array with one object per epoch.
    ///
    /// `epoch` is a whole number, from 1 in Refrain's own logs; entries may come in
    /// any order and start anywhere (a resumed run). Numbers are metrics; `null`, a bare `NaN` or
    /// `Infinity` (as Python writes them) and the same words as strings are values
    /// that are not finite; other fields are ignored. Time and memory: proportional
    /// to the file.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, is longer than 1 GiB, is not UTF-8 text, is not such an
    /// array, has no entry, or has two entries for one epoch. The message names the
    /// file and the place.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, PlotError> {
        let path = path.as_ref();
        let name = printable_path(path);
        // Before it is read: a file may claim more than any memory has.
        if let Ok(metadata) = std::fs::metadata(path)
            && metadata.len() > MAX_BYTES
        {
            return Err(PlotError::Log {
                log: name,
                place: format!("byte {}", MAX_BYTES.saturating_add(1)),
                problem: format!(
                    "the file goes on, it has {} bytes; allowed: at most {MAX_BYTES}",
                    metadata.len()
                ),
                way_out: "give the file that the JSON logger wrote".into(),
            });
        }
        let bytes = Files::default()
            .contents(path)
            .map_err(|source| PlotError::Read { path: name.clone(), source })?;
        let text = std::str::from_utf8(&bytes).map_err(|error| PlotError::Log {
            log: name.clone(),
            place: format!("byte {}", error.valid_up_to().saturating_add(1)),
            problem: "is not UTF-8 text; expected a JSON array with one object per epoch".into(),
            way_out: "give the file that the JSON logger wrote".into(),
        })?;
        Self::parse(text, &name)
    }

    /// Reads a log from its text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`read`](Self::read), without those of the file system.
    pub fn parse(text: &str, name: &str) -> Result<Self, PlotError> {
        let name = printable(name);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        check_root(text, &name)?;

        let quoted = quote_bare_numbers(text);
        let mut builder = Builder::default();
        let mut json = serde_json::Deserializer::from_str(&quoted.text);
        let outcome = json.deserialize_any(&mut builder).and_then(|()| json.end());
        if let Some(problem) = builder.problem {
            return Err(PlotError::Log {
                log: name,
                place: format!("entry {}", builder.entries.saturating_add(1)),
                problem: problem.what,
                way_out: problem.way_out,
            });
        }
        outcome.map_err(|error| {
            let (line, column) = (error.line(), quoted.column(error.line(), error.column()));
            syntax_error(&error, name.clone(), line, column)
        })?;
        builder.finish(name)
    }

    /// Builds a log from numbers in memory, for a callback that draws as it trains.
    ///
    /// A column holds one value per epoch: `None` where the metric was not logged,
    /// NaN or infinite where it was and had no finite value. Epochs may come in any
    /// order; the first column is drawn first.
    ///
    /// # Errors
    /// When there is no epoch, an epoch or a name comes twice, or a column's length
    /// is not the number of epochs.
    pub fn from_columns(
        epochs: Vec<u64>,
        columns: Vec<(String, Vec<Option<f64>>)>,
    ) -> Result<Self, PlotError> {
        if epochs.is_empty() {
            return Err(PlotError::EmptyLog { log: "the log in memory".into() });
        }
        let mut seen = HashSet::new();
        if let Some(twice) = epochs.iter().find(|epoch| !seen.insert(**epoch)) {
            return Err(PlotError::Columns {
                problem: format!("epoch {twice} comes twice in the epochs of the log"),
                way_out: "give each epoch once".into(),
            });
        }
        let mut names = HashSet::new();
        let mut series = Vec::with_capacity(columns.len());
        for (key, values) in columns {
            if values.len() != epochs.len() {
                return Err(PlotError::Columns {
                    problem: format!(
                        "column `{}` has {} values for {} epochs",
                        printable(&key),
                        values.len(),
                        epochs.len(),
                    ),
                    way_out: "give one value per epoch, None where the metric was not logged"
                        .into(),
                });
            }
            if !names.insert(key.clone()) {
                return Err(PlotError::Columns {
                    problem: format!("column `{}` comes twice", printable(&key)),
                    way_out: "give each metric one column".into(),
                });
            }
            let points = epochs
                .iter()
                .zip(values)
                .filter_map(|(epoch, value)| Some((*epoch, value?)))
                .collect();
            series.push(Series { key, points });
        }
        Ok(Self::sorted("this run".into(), epochs, series))
    }

    /// The epochs of the log, ascending; never empty.
    pub fn epochs(&self) -> &[u64] {
        &self.epochs
    }

    /// The names of the metrics, in the order of their first appearance.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.series.iter().map(|series| series.key.as_str())
    }

    /// The values of a metric as (epoch, value), epochs ascending; none for a name
    /// that the log does not have.
    pub fn values(&self, key: &str) -> impl Iterator<Item = (u64, f64)> {
        self.series(key).map_or(&[][..], |series| &series.points).iter().copied()
    }

    /// The epoch with the lowest `val_loss`, or `loss` where no `val_loss` was logged.
    ///
    /// The first of equals. A value that is not finite is never best; `None` where
    /// there is no finite one.
    pub fn best_epoch(&self) -> Option<BestEpoch<'_>> {
        let series = self.series("val_loss").or_else(|| self.series("loss"))?;
        series
            .points
            .iter()
            .filter(|(_, value)| value.is_finite())
            // `min_by` keeps the first of equals.
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|&(epoch, value)| BestEpoch { epoch, metric: &series.key, value })
    }

    /// The file of the log, printable.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn series(&self, key: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.key == key)
    }

    pub(crate) fn all_series(&self) -> &[Series] {
        &self.series
    }

    fn sorted(name: String, mut epochs: Vec<u64>, mut series: Vec<Series>) -> Self {
        epochs.sort_unstable();
        for series in &mut series {
            series.points.sort_by_key(|(epoch, _)| *epoch);
        }
        Self { name, epochs, series }
    }
}

/// Refuses what cannot be an array of epochs, before the parser speaks of details.
fn check_root(text: &str, name: &str) -> Result<(), PlotError> {
    let Some(first) = text.trim_start().chars().next() else {
        return Err(PlotError::Log {
            log: name.into(),
            place: "line 1, column 1".into(),
            problem: "the file is empty; expected a JSON array with one object per epoch".into(),
            way_out: "give the file that the JSON logger wrote, after its first epoch".into(),
        });
    };
    if first == '[' {
        return Ok(());
    }
    let before = &text[..text.len() - text.trim_start().len()];
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    let (found, way_out) = match first {
        '{' => (
            "an object".to_owned(),
            "put the objects of the epochs between `[` and `]`, separated by commas",
        ),
        c => {
            (format!("`{}`", printable(&c.to_string())), "give the file that the JSON logger wrote")
        }
    };
    Err(PlotError::Log {
        log: name.into(),
        place: format!("line {line}, column {column}"),
        problem: format!("begins with {found}; expected a JSON array with one object per epoch"),
        way_out: way_out.into(),
    })
}

fn syntax_error(error: &serde_json::Error, log: String, line: usize, column: usize) -> PlotError {
    let place = format!("line {line}, column {column}");
    if error.is_eof() {
        return PlotError::Log {
            log,
            place,
            problem: "the file ends in the middle of the array; expected `]` at its end".into(),
            way_out: "the file was cut off: take a complete copy, or end it with `]` after its \
                      last complete entry"
                .into(),
        };
    }
    let message = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let what = message.strip_suffix(&suffix).unwrap_or(&message);
    PlotError::Log {
        log,
        place,
        problem: format!("is not valid JSON ({})", printable(what)),
        way_out: "correct the file there, or give the one that the JSON logger wrote".into(),
    }
}

/// Gathers the entries of the array one by one: the text of one entry at a time is
/// held as a tree, the rest as numbers.
#[derive(Default)]
struct Builder {
    entries: usize,
    /// Epoch and the number of the entry that has it.
    epochs: Vec<u64>,
    entry_of_epoch: HashMap<u64, usize>,
    series: Vec<Series>,
    index_of_key: HashMap<String, usize>,
    problem: Option<Problem>,
}

struct Problem {
    what: String,
    way_out: String,
}

impl Problem {
    fn new(what: String, way_out: &str) -> Self {
        Self { what, way_out: way_out.into() }
    }
}

impl<'de> Visitor<'de> for &mut Builder {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array with one object per epoch")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<Value>()? {
            if let Err(problem) = self.add(&entry) {
                self.problem = Some(problem);
                return Err(A::Error::custom("see problem"));
            }
            self.entries += 1;
        }
        Ok(())
    }
}

impl Builder {
    fn add(&mut self, entry: &Value) -> Result<(), Problem> {
        let Value::Object(fields) = entry else {
            return Err(Problem::new(
                format!(
                    "is {}; expected an object such as {{\"epoch\": 1, \"loss\": 0.5}}",
                    kind(entry)
                ),
                "remove it, or give the file that the JSON logger wrote",
            ));
        };
        let epoch = epoch_of(fields)?;
        let number = self.entries + 1;
        if let Some(first) = self.entry_of_epoch.insert(epoch, number) {
            return Err(Problem::new(
                format!("epoch {epoch} is in entry {first} already; expected each epoch once"),
                "remove one of the two entries; if two runs wrote into this file, split it",
            ));
        }
        self.epochs.push(epoch);

        let kinds = fields.get("non_finite").and_then(Value::as_object);
        for (key, value) in fields {
            if RESERVED.contains(&key.as_str()) {
                continue;
            }
            if let Some(value) = metric(value, kinds.and_then(|kinds| kinds.get(key))) {
                self.push(key, epoch, value);
            }
        }
        Ok(())
    }

    fn push(&mut self, key: &str, epoch: u64, value: f64) {
        let index = match self.index_of_key.get(key) {
            Some(index) => *index,
            None => {
                let index = self.series.len();
                self.index_of_key.insert(key.to_owned(), index);
                self.series.push(Series { key: key.to_owned(), points: Vec::new() });
                index
            }
        };
        if let Some(series) = self.series.get_mut(index) {
            series.points.push((epoch, value));
        }
    }

    fn finish(self, name: String) -> Result<TrainingLog, PlotError> {
        if self.epochs.is_empty() {
            return Err(PlotError::EmptyLog { log: name });
        }
        Ok(TrainingLog::sorted(name, self.epochs, self.series))
    }
}

fn epoch_of(fields: &Map<String, Value>) -> Result<u64, Problem> {
    let way_out = "number the epochs from 1";
    let Some(value) = fields.get("epoch") else {
        let has: Vec<_> = fields.keys().take(8).map(|key| printable(key)).collect();
        let has = if has.is_empty() { "nothing".to_owned() } else { has.join(", ") };
        return Err(Problem::new(format!("has no `epoch`, it has {has}"), way_out));
    };
    // Some tools (pandas among them) write whole numbers as 3.0.
    let whole = |number: f64| {
        let exact = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
        exact.then_some(number as u64)
    };
    value.as_u64().or_else(|| value.as_f64().and_then(whole)).ok_or_else(|| {
        let shown = match value {
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        Problem::new(format!("`epoch` is {shown}; expected a whole number, 0 or more"), way_out)
    })
}

/// The value of a metric, or `None` for a field that is no number.
fn metric(value: &Value, kind: Option<&Value>) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(word) => non_finite(word),
        Value::Null => Some(kind.and_then(Value::as_str).and_then(non_finite).unwrap_or(f64::NAN)),
        _ => None,
    }
}

fn non_finite(word: &str) -> Option<f64> {
    match word {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn kind(value: &Value) -> &str {
    match value {
        // It stood there without quotes, or might have.
        Value::String(word) if non_finite(word).is_some() => word,
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match TrainingLog::parse(text, "log.json") {
            Err(error) => error.to_string(),
            Ok(log) => log
                .all_series()
                .iter()
                .map(|series| format!("{}: {:?}", series.key, series.points))
                .collect::<Vec<_>>()
                .join("; "),
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(read(text), expected, "{text}");
    }

    #[test]
    fn numbers_are_metrics_and_other_fields_are_ignored() {
        check(
            r#"[{"epoch": 1, "timestamp": "2026-11-24T10:00:00Z", "loss": 0.5, "note": "x",
                 "done": true, "learning_rate_factors": {"plateau": 0.5}, "list": [1]}]"#,
            "loss: [(1, 0.5)]",
        );
        check(r#"[{"epoch": 1.0, "loss": 3}]"#, "loss: [(1, 3.0)]");
        check("\u{feff} [{\"epoch\": 1, \"loss\": 3}]\n", "loss: [(1, 3.0)]");
        check(r#"[{"epoch": 1}]"#, "");
    }

    #[test]
    fn values_that_are_not_finite() {
        check(r#"[{"epoch": 1, "loss": null}]"#, "loss: [(1, NaN)]");
        check(
            r#"[{"epoch": 1, "loss": null, "non_finite": {"loss": "Infinity"}}]"#,
            "loss: [(1, inf)]",
        );
        check(
            r#"[{"epoch": 1, "loss": null, "non_finite": {"loss": "-Infinity"}}]"#,
            "loss: [(1, -inf)]",
        );
        check(r#"[{"epoch": 1, "loss": null, "non_finite": 3}]"#, "loss: [(1, NaN)]");
        check(
            r#"[{"epoch": 1, "a": NaN, "b": Infinity, "c": -Infinity, "d": "NaN", "e": "NaN?"}]"#,
            "a: [(1, NaN)]; b: [(1, inf)]; c: [(1, -inf)]; d: [(1, NaN)]",
        );
    }

    #[test]
    fn epochs_are_sorted_and_absent_keys_have_no_value() {
        check(
            r#"[{"epoch": 9, "loss": 3}, {"epoch": 7, "loss": 1, "val_loss": 5},
                {"epoch": 8, "loss": 2}]"#,
            "loss: [(7, 1.0), (8, 2.0), (9, 3.0)]; val_loss: [(7, 5.0)]",
        );
    }

    #[test]
    fn messages_name_the_place_and_the_way_out() {
        for (text, parts) in [
            ("", &["log.json: line 1, column 1: the file is empty", "after its first epoch"][..]),
            (" \n ", &["the file is empty"]),
            ("[]", &["the log holds no epochs"]),
            ("{\"loss\": 1}", &["line 1, column 1: begins with an object; expected a JSON array"]),
            ("\n  hello", &["line 2, column 3: begins with `h`"]),
            ("\u{1b}[1m", &["begins with `\\u{1b}`"]),
            ("[1]", &["entry 1: is a number; expected an object"]),
            ("[{\"epoch\": 1}, null]", &["entry 2: is null"]),
            ("[{\"loss\": 1}]", &["entry 1: has no `epoch`, it has loss; number the epochs"]),
            ("[{}]", &["entry 1: has no `epoch`, it has nothing"]),
            ("[{\"epoch\": \"1\"}]", &["entry 1: `epoch` is a string; expected a whole number"]),
            ("[{\"epoch\": -1}]", &["`epoch` is -1; expected a whole number, 0 or more"]),
            ("[{\"epoch\": 1.5}]", &["`epoch` is 1.5;"]),
            ("[{\"epoch\": NaN}]", &["`epoch` is NaN; expected a whole number"]),
            (
                "[{\"epoch\": 1}, {\"epoch\": 2}, {\"epoch\": 1}]",
                &["entry 3: epoch 1 is in entry 1 already", "split it"],
            ),
            ("[{\"epoch\": 1, \"loss\": 0.", &["line 1, column", "ends in the middle", "cut off"]),
            ("[{\"epoch\": 1},", &["ends in the middle"]),
            (
                "[{\"epoch\": 1}\n {\"epoch\": 2}]",
                &["line 2, column 2: is not valid JSON (expected"],
            ),
            (
                "[{\"epoch\": 1, \"a\": NaN, b}]",
                &["line 1, column 25: is not valid JSON (key must"],
            ),
            ("[{\"epoch\": 1}] x", &["line 1, column 16: is not valid JSON (trailing"]),
            ("[{\"epoch\": 1, \"loss\": 1e999}]", &["is not valid JSON (number out of range"]),
        ] {
            let message = read(text);
            for part in parts {
                assert!(message.contains(part), "{text:?}: {message:?} lacks {part:?}");
            }
            assert!(!message.ends_with('.'), "{message}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = format!("[{{\"epoch\": 1, \"x\": {}", "[".repeat(1_000_000));
        assert!(read(&deep).contains("recursion limit exceeded"));
        assert!(read(&"[".repeat(1_000_000)).contains("recursion limit exceeded"));
    }

    #[test]
    fn files_that_are_no_logs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.bin");
        std::fs::write(&file, b"[\xff\xfe\x00").unwrap();
        let message = TrainingLog::read(&file).unwrap_err().to_string();
        assert!(message.contains("log.bin: byte 2: is not UTF-8 text"), "{message}");

        let message = TrainingLog::read(folder.path().join("no\n.json")).unwrap_err().to_string();
        assert!(message.contains("no\\n.json"), "{message}");
        assert!(TrainingLog::read(folder.path()).is_err());

        // Not read at all.
        let sparse = folder.path().join("sparse.json");
        std::fs::File::create(&sparse).unwrap().set_len(1 << 42).unwrap();
        let message = TrainingLog::read(&sparse).unwrap_err().to_string();
        assert!(message.contains("it has 4398046511104 bytes; allowed: at most 1073741824"));
    }

    #[cfg(unix)]
    #[test]
    fn what_never_ends_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, zero) = (folder.path().join("pipe"), folder.path().join("zero"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
        for path in [pipe, zero, "/dev/zero".into()] {
            let message = TrainingLog::read(&path).unwrap_err().to_string();
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
    }

    #[test]
    fn a_long_log_takes_time_of_the_order_of_its_length() {
        // With one column per epoch, one epoch with all columns, and many words in quotes: a reader
        // that looked through all for each would not come to an end.
        let entry = |i: usize| format!("{{\"epoch\":{i},\"metric {i}\":NaN}}");
        let entries: Vec<String> = (0..20_000).map(entry).collect();
        let log = TrainingLog::parse(&format!("[{}]", entries.join(",")), "log").unwrap();
        assert_eq!((log.epochs().len(), log.keys().count()), (20_000, 20_000));
        let columns: Vec<String> = (0..50_000).map(|i| format!("\"{i}\":{i}")).collect();
        let text = format!("[{{\"epoch\":1,{}}}]", columns.join(","));
        assert_eq!(TrainingLog::parse(&text, "log").unwrap().keys().count(), 50_000);
        let wrong = format!("[{}\n x]", "NaN,\n".repeat(100_000));
        assert!(read(&wrong).starts_with("log.json: entry 1: is NaN"));
        let wrong = format!("[{{\"epoch\":1,\"a\":[{}\n x]}}]", "NaN,\n".repeat(100_000));
        assert!(read(&wrong).contains("line 100002, column 2"), "{}", read(&wrong));
    }

    #[test]
    fn best_is_the_first_lowest_finite_value() {
        for (text, best) in [
            (
                r#"[{"epoch":1,"loss":1,"val_loss":3},{"epoch":2,"loss":2,"val_loss":2}]"#,
                Some((2, "val_loss")),
            ),
            (r#"[{"epoch":1,"loss":1},{"epoch":2,"loss":2}]"#, Some((1, "loss"))),
            (
                r#"[{"epoch":1,"loss":NaN},{"epoch":2,"loss":2},{"epoch":3,"loss":2}]"#,
                Some((2, "loss")),
            ),
            (r#"[{"epoch":1,"loss":-Infinity},{"epoch":2,"loss":2}]"#, Some((2, "loss"))),
            (r#"[{"epoch":1,"loss":1,"val_loss":NaN}]"#, None),
            (r#"[{"epoch":1,"accuracy":1}]"#, None),
        ] {
            let log = TrainingLog::parse(text, "log").unwrap();
            assert_eq!(log.best_epoch().map(|best| (best.epoch, best.metric)), best, "{text}");
        }
    }

    #[test]
    fn columns_must_fit_together() {
        let log = |epochs: &[u64], columns: &[(&str, usize)]| {
            TrainingLog::from_columns(
                epochs.to_vec(),
                columns.iter().map(|(key, n)| ((*key).to_owned(), vec![Some(1.0); *n])).collect(),
            )
            .map(|log| log.keys().map(str::to_owned).collect::<Vec<_>>().join(" "))
            .unwrap_or_else(|error| error.to_string())
        };
        assert_eq!(log(&[2, 1], &[("b", 2), ("a", 2)]), "b a");
        assert!(log(&[], &[]).contains("no epochs"));
        assert!(log(&[1, 1], &[]).contains("epoch 1 comes twice"));
        assert!(log(&[1], &[("a\n", 2)]).contains("column `a\\n` has 2 values for 1 epochs"));
        assert!(log(&[1], &[("a", 1), ("a", 1)]).contains("column `a` comes twice"));
    }
}
