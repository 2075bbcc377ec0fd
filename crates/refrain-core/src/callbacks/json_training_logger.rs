//! Logs every epoch to a JSON file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::plain_state;
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::EpochEnd;
use crate::files;
use crate::logs::Logs;
use crate::outcome::Outcome;
use crate::run::Run;

/// Logs the numbers of every epoch to a JSON file: one array of objects.
///
/// Each object has `epoch` (counted from 1), `timestamp` (RFC 3339, UTC), then the epoch's logs. A
/// value that is not finite is `null`, with its kind in `"non_finite": {"loss": "NaN"}`.
///
/// The file is cleared when training begins and replaced atomically after each epoch: at every
/// instant, also after a kill, it parses. At the end a summary with the total time is printed.
///
/// - Reads: all logs that are there when its turn comes; list it after callbacks that add some.
///   Writes nothing into the logs.
/// - Default file: `training_log.json`. `verbose`: default true, the summary.
/// - State: the entries so far, as text. Cost of an epoch: one entry is written out and the file
///   replaced; nothing is written out twice.
///
/// # Example
/// ```
/// use refrain_core::callbacks::JsonTrainingLogger;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("my_training_log.json");
/// let script = Script::losses(&[0.5, 0.25]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(JsonTrainingLogger::new(&path));
/// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// let log: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
/// assert_eq!(log.len(), 2);
/// assert_eq!(log[1]["epoch"], 2);
/// assert_eq!(log[1]["loss"], 0.25);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonTrainingLogger {
    log_file: PathBuf,
    verbose: bool,
    state: JsonTrainingLoggerState,
}

/// State of [`JsonTrainingLogger`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JsonTrainingLoggerState {
    /// Number of entries.
    epochs: usize,
    /// The entries as they stand in the file, between the brackets.
    entries: String,
}

impl Default for JsonTrainingLogger {
    fn default() -> Self {
        Self::new("training_log.json")
    }
}

impl JsonTrainingLogger {
    /// Logs to this file. Folders that are missing are made.
    pub fn new(log_file: impl Into<PathBuf>) -> Self {
        let log_file = log_file.into();
        Self { log_file, verbose: true, state: JsonTrainingLoggerState::default() }
    }

    /// Whether a summary is printed at the end. Default true.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// The file.
    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    fn write(&self) -> Result {
        files::write_atomically(&self.log_file, format!("[{}\n]\n", self.state.entries).as_bytes())
    }
}

impl Callback for JsonTrainingLogger {
    fn on_train_begin(&mut self, _: &mut Run<'_>) -> Result {
        // Empty in a new run; what was logged before, in one that goes on.
        self.write()
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let entry = entry(run.progress.epoch, &now, epoch.logs)?;
        let separator = if self.state.epochs == 0 { "" } else { "," };
        let _ = write!(self.state.entries, "{separator}\n  {}", Value::Object(entry));
        self.state.epochs += 1;
        self.write()
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        if self.verbose {
            let n = self.state.epochs;
            run.print(&format!(
                "Training {} after {n} epoch{} in {:.2} s; logged to {}",
                outcome.as_str(),
                if n == 1 { "" } else { "s" },
                run.progress.elapsed().as_secs_f64(),
                self.log_file.display()
            ));
        }
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new()
    }

    fn check(&self) -> Result {
        if self.log_file.as_os_str().is_empty() {
            return Err(Error::config("log_file is empty; name a file"));
        }
        Ok(())
    }

    plain_state!();
}

/// One entry of the log.
fn entry(epoch: usize, timestamp: &str, logs: &Logs) -> Result<Map<String, Value>> {
    let mut entry = Map::new();
    let mut non_finite = Map::new();
    entry.insert("epoch".into(), (epoch + 1).into());
    entry.insert("timestamp".into(), timestamp.into());
    for (name, value) in logs.iter() {
        if ["epoch", "timestamp", "non_finite"].contains(&name) {
            return Err(Error::msg(format!(
                "a callback added `{name}` to the logs, which every entry of the log has anyway; \
                 give it another name"
            )));
        }
        // JSON has no word for NaN and infinities; serde_json would lose the difference.
        let kind = if value.is_nan() {
            "NaN"
        } else if value == f64::INFINITY {
            "Infinity"
        } else if value == f64::NEG_INFINITY {
            "-Infinity"
        } else {
            entry.insert(name.into(), value.into());
            continue;
        };
        entry.insert(name.into(), Value::Null);
        non_finite.insert(name.into(), kind.into());
    }
    if !non_finite.is_empty() {
        entry.insert("non_finite".into(), non_finite.into());
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;
    use crate::{CallbackExt as _, Fit, Trainer};

    #[test]
    fn an_entry_is_valid_json_whatever_the_value() {
        let logs = Logs::from([
            ("loss", f64::NAN),
            ("val_loss", f64::NEG_INFINITY),
            ("learning_rate", 0.1),
            ("odd \"name\"\u{1}", 1e-300),
        ]);
        let entry = entry(0, "2026-01-01T00:00:00Z", &logs).unwrap();
        assert_eq!(
            Value::Object(entry).to_string(),
            r#"{"epoch":1,"timestamp":"2026-01-01T00:00:00Z","loss":null,"val_loss":null,"#
                .to_owned()
                + r#""learning_rate":0.1,"odd \"name\"\u0001":1e-300,"#
                + r#""non_finite":{"loss":"NaN","val_loss":"-Infinity"}}"#
        );
    }

    fn read(path: &Path) -> Vec<Value> {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn a_new_run_clears_the_file_and_every_nth_epoch_can_be_logged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let script = Script::losses(&[4.0, 3.0, 2.0, 1.0]);
        for _ in 0..2 {
            let mut trainer = Trainer::new(script.learner(), 0.1)
                .callback(JsonTrainingLogger::new(&path).verbose(false).every(2));
            trainer.fit(&script.data(), Fit::epochs(4).verbose(0)).unwrap();
            let log = read(&path);
            assert_eq!(log.len(), 2);
            assert_eq!((&log[0]["epoch"], &log[0]["loss"]), (&2.into(), &3.0.into()));
            assert_eq!((&log[1]["epoch"], &log[1]["loss"]), (&4.into(), &1.0.into()));
        }
    }

    #[test]
    fn a_run_that_goes_on_keeps_its_entries() {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::losses(&[2.0, 1.0]);
        let path = folder.path().join("log.json");
        let logger = JsonTrainingLogger::new(&path).verbose(false);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(logger);
        trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
        let logger = trainer.get::<JsonTrainingLogger>().unwrap();
        let saved = logger.save_state().unwrap();
        let mut again = JsonTrainingLogger::new(&path);
        again.load_state(saved.as_ref()).unwrap();
        assert_eq!(again.state, logger.state);
        again.load_state(None).unwrap();
        assert_eq!(again.state, JsonTrainingLoggerState::default());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::losses(&[1.0]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(JsonTrainingLogger::new(folder.path()));
        let error = trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&folder.path().display().to_string()));
        assert_eq!(error.callback(), Some("json_training_logger"));
    }
}
