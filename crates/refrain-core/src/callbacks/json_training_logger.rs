//! Logs every epoch to a JSON file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::plain_state;
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{EpochEnd, Hook};
use crate::learning_rate::LearningRate;
use crate::logs::{Logs, non_finite_kind};
use crate::options::Section;
use crate::outcome::Outcome;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// Logs the numbers of every epoch to a JSON file: one array of objects.
///
/// Each object has `epoch` (counted from 1), `timestamp` (RFC 3339, UTC), then the epoch's logs. A
/// value that is not finite is `null`, with its kind in `"non_finite": {"loss": "NaN"}`. Where the
/// learning rate is a product of more than one factor, `"learning_rate_factors"` says which, as of
/// the epoch's last update: `{"base": 0.1, "step_lr_scheduler": 0.5, "reduce_lr_on_plateau": 0.1}`.
///
/// The file is cleared when training begins and replaced atomically after each epoch, by a thread: at
/// every instant, also after a kill, it parses, and training never waits for the disk. Where an epoch
/// ends before the last one is written, the newest is written. At the end a summary with the total
/// time is printed.
///
/// - Reads: all logs that are there when its turn comes; list it after callbacks that add some
/// - Writes: the file
/// - Requests: nothing
/// - State: the entries so far, as text
/// - Cost: per epoch, one entry is written out and a copy of all handed over
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `log_file` | `"training_log.json"` | a name of a file | where to log |
/// | `verbose` | true | true, false | whether a summary is printed at the end |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "json_training_logger"
/// log_file = "experiment_log.json"
/// ```
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
///
/// # Source
/// Refrain's own.
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
        let state = JsonTrainingLoggerState::default();
        Self { log_file: log_file.into(), verbose: true, state }
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

    fn write(&self, run: &Run<'_>) -> Result {
        if run.is_rehearsal() {
            return Ok(());
        }
        run.files()
            .write_behind(&self.log_file, format!("[{}\n]\n", self.state.entries).into_bytes())
    }
}

impl Callback for JsonTrainingLogger {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        // Empty in a new run; what was logged before, in one that goes on. What cannot be written is
        // told now.
        self.write(run)?;
        run.files().flush(&self.log_file)
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        // After a rollback the rate is not what the options say: worth an explanation, too.
        let explains = epoch.learning_rate.is_product() || run.rollbacks() > 0;
        let rate = Some(epoch.learning_rate).filter(|_| explains);
        let entry = entry(run.progress.epoch, &now, epoch.logs, rate)?;
        let separator = if self.state.epochs == 0 { "" } else { "," };
        let before = self.state.entries.len();
        let _ = write!(self.state.entries, "{separator}\n  {}", Value::Object(entry));
        // What is not in the file is not in the state: it can be told again.
        self.write(run).inspect_err(|_| self.state.entries.truncate(before))?;
        self.state.epochs += 1;
        Ok(())
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        let written = run.files().flush(&self.log_file);
        // Its own failure says nothing of how the run ends.
        let is_own = matches!(outcome, Outcome::Failed(error)
            if error.callback() == Some(run.callback_name()));
        if self.verbose && !is_own && written.is_ok() {
            let n = self.state.epochs;
            run.print(&format!(
                "Training {} after {n} epoch{} in {:.2} s; logged to {}",
                outcome.as_str(),
                if n == 1 { "" } else { "s" },
                run.progress.elapsed().as_secs_f64(),
                self.log_file.display()
            ));
        }
        written
    }

    fn access(&self) -> Access {
        Access::new()
            .acts_in([Hook::TrainBegin, Hook::EpochEnd, Hook::TrainEnd])
            .writes_file(&self.log_file)
            .observes()
    }

    fn check(&self) -> Result {
        if self.log_file.as_os_str().is_empty() {
            return Err(Error::config("log_file is empty; name a file"));
        }
        Ok(())
    }

    plain_state!();
}

/// Keys that an entry has anyway.
const RESERVED: [&str; 4] = ["epoch", "timestamp", "non_finite", "learning_rate_factors"];

/// One entry of the log. `rate`: to be written with its factors.
fn entry(
    epoch: usize,
    timestamp: &str,
    logs: &Logs,
    rate: Option<&LearningRate>,
) -> Result<Map<String, Value>> {
    let mut entry = Map::new();
    let mut non_finite = Map::new();
    entry.insert("epoch".into(), (epoch + 1).into());
    entry.insert("timestamp".into(), timestamp.into());
    for (name, value) in logs.iter() {
        if RESERVED.contains(&name) {
            return Err(Error::msg(format!(
                "a callback added `{name}` to the logs, which every entry of the log has anyway; \
                 give it another name"
            )));
        }
        // serde_json makes it null where it is not finite, and the difference would be lost.
        entry.insert(name.into(), value.into());
        if let Some(kind) = non_finite_kind(value) {
            non_finite.insert(name.into(), kind.into());
        }
        if name == "learning_rate"
            && let Some(rate) = rate
        {
            let factors = std::iter::once(("base", rate.base())).chain(rate.factors());
            let factors = factors.map(|(name, factor)| (name.to_owned(), factor.into()));
            entry.insert("learning_rate_factors".into(), Value::Object(factors.collect()));
        }
    }
    if !non_finite.is_empty() {
        entry.insert("non_finite".into(), non_finite.into());
    }
    Ok(entry)
}

impl FromOptions for JsonTrainingLogger {
    const NAME: &'static str = "json_training_logger";

    fn from_options(options: &Section<'_>, context: &BuildContext<'_>) -> Result<Self> {
        let file = context.output(options, "log_file", "training_log.json")?;
        let mut logger = Self::new(file);
        if let Some(verbose) = options.get("verbose") {
            logger = logger.verbose(verbose.bool()?);
        }
        Ok(logger)
    }
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
        let entry = entry(0, "2026-01-01T00:00:00Z", &logs, None).unwrap();
        assert_eq!(
            Value::Object(entry).to_string(),
            r#"{"epoch":1,"timestamp":"2026-01-01T00:00:00Z","loss":null,"val_loss":null,"#
                .to_owned()
                + r#""learning_rate":0.1,"odd \"name\"\u0001":1e-300,"#
                + r#""non_finite":{"loss":"NaN","val_loss":"-Infinity"}}"#
        );
    }

    #[test]
    fn the_factors_of_the_rate_that_was_used_are_logged_where_there_are_several() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let halve = |name: &str, from| {
            let name = name.to_owned();
            crate::LambdaCallback::new(name.as_str()).on_epoch_end(move |run, _| {
                if run.progress.epoch >= from {
                    let factor = 0.5 * run.learning_rate.factor(&name);
                    run.learning_rate.set_factor(&name, factor)?;
                }
                Ok(())
            })
        };
        let script = Script::losses(&[1.0; 4]);
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .callback(halve("a", 0))
            .callback(halve("b", 1))
            .callback(JsonTrainingLogger::new(&path).verbose(false));
        trainer.fit(&script.data(), Fit::epochs(4).verbose(0)).unwrap();
        let log = read(&path);
        let factors = |i: usize| log[i].get("learning_rate_factors").map(Value::to_string);
        assert_eq!([factors(0), factors(1)], [None, None]);
        assert_eq!(factors(2).unwrap(), r#"{"base":0.1,"a":0.25,"b":0.5}"#);
        assert_eq!(factors(3).unwrap(), r#"{"base":0.1,"a":0.125,"b":0.25}"#);
        assert_eq!(log[3]["learning_rate"], 0.1 * 0.125 * 0.25);
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
    fn a_file_that_cannot_be_written_costs_the_run_nothing_but_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::losses(&[1.0]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(JsonTrainingLogger::new(folder.path()));
        trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap();
        let (name, error) = trainer.disabled().next().unwrap();
        assert_eq!(name, "json_training_logger");
        assert!(error.to_string().contains(&folder.path().display().to_string()));
    }
}
