//! Logs every epoch to a CSV file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::csv_text::{cut_lines, extend_lines, first_row, line};
use super::plain_state;
use super::python_format::repr;
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{EpochEnd, Hook};
use crate::files::Files;
use crate::logs::Logs;
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// A file larger than this (1 GiB) is no log.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Logs the numbers of every epoch to a CSV file, a row an epoch.
///
/// The columns are `epoch`, counted from 0 as in Keras' file, and the keys of the first epoch's
/// logs in alphabetical order. A key that comes later (validation every third epoch) becomes a new
/// column at the end. A value that an epoch does not have is `NA`; numbers are written as Python
/// writes them (`0.1`, `1e-07`, `nan`, `inf`), lines end in `\r\n`.
///
/// The file is cleared when training begins; with `append` its rows stay, and new ones go under
/// its columns by their names. Rows are appended, so that the file can be watched; a kill leaves
/// every whole row, and half a row is cut off by the next run that appends or resumes.
///
/// - Reads: all logs that are there when its turn comes; list it after callbacks that add some
/// - Writes: the file
/// - Requests: nothing
/// - State: the columns and the number of rows
/// - Cost: one row is appended per epoch; a new column rewrites the file once
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `filename` | `"training_log.csv"` | a name of a file | where to log |
/// | `separator` | `","` | one character, no quote or line end | what stands between values |
/// | `append` | false | true, false | whether rows of earlier runs stay |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "csv_logger"
/// filename = "log.csv"
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::CsvLogger;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("log.csv");
/// let script = Script::losses(&[0.5, 1e-7]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(CsvLogger::new(&path));
/// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// let log = std::fs::read_to_string(&path).unwrap();
/// assert_eq!(log, "epoch,learning_rate,loss\r\n0,0.1,0.5\r\n1,0.1,1e-07\r\n");
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - There are `val_*` columns where there is validation; Keras adds one for every key when the
///   first epoch has none.
/// - A key that comes after the first epoch gets a column; Keras drops it.
/// - `append` goes by the names in the old header; Keras writes the new run's order under it.
/// - A resumed run goes on after the rows that it had when its checkpoint was taken.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.CSVLogger`.
#[derive(Clone, Debug)]
pub struct CsvLogger {
    filename: PathBuf,
    separator: char,
    append: bool,
    state: CsvLoggerState,
}

/// State of [`CsvLogger`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CsvLoggerState {
    /// Names of the columns after `epoch`.
    columns: Vec<String>,
    /// Rows of the file, those of earlier runs that stayed included.
    rows: u64,
    /// Bytes of the file up to the end of the last row; 0: no header yet. It follows from the rest.
    #[serde(skip)]
    length: u64,
}

impl Default for CsvLogger {
    fn default() -> Self {
        Self::new("training_log.csv")
    }
}

impl CsvLogger {
    /// Logs to this file. Folders that are missing are made.
    pub fn new(filename: impl Into<PathBuf>) -> Self {
        let filename = filename.into();
        Self { filename, separator: ',', append: false, state: CsvLoggerState::default() }
    }

    /// What stands between values. Default a comma.
    pub fn separator(mut self, separator: char) -> Self {
        self.separator = separator;
        self
    }

    /// Whether rows of earlier runs stay. Default false.
    pub fn append(mut self, append: bool) -> Self {
        self.append = append;
        self
    }

    /// The file.
    pub fn filename(&self) -> &Path {
        &self.filename
    }

    /// The file's whole lines, at most the first `most` bytes.
    fn whole_lines(&self, files: &Files, most: u64) -> Result<Vec<u8>> {
        if !files.exists(&self.filename)? {
            return Ok(Vec::new());
        }
        let mut bytes = files.read(&self.filename, MAX_FILE_BYTES)?;
        bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(end);
        Ok(bytes)
    }

    /// The columns of a file that is there already.
    fn old_columns(&self, lines: &[u8]) -> Result<Vec<String>> {
        let refuse = |why: &str| {
            Error::data(format!(
                "cannot append to `{}`: {why}; name another file, or set append = false",
                self.filename.display()
            ))
        };
        let text = std::str::from_utf8(lines).map_err(|_| refuse("it is not text"))?;
        let mut columns = first_row(text, self.separator).into_iter();
        if columns.next().as_deref() != Some("epoch") {
            return Err(refuse("its first column is not `epoch`"));
        }
        Ok(columns.collect())
    }

    fn header(&self) -> String {
        line(
            self.separator,
            std::iter::once("epoch".to_owned()).chain(self.state.columns.iter().cloned()),
        )
    }

    fn row(&self, epoch: usize, logs: &Logs) -> String {
        let cell = |name: &String| logs.get(name).map_or("NA".to_owned(), repr);
        line(
            self.separator,
            std::iter::once(epoch.to_string()).chain(self.state.columns.iter().map(cell)),
        )
    }

    /// Writes what is `new`, after what was written before.
    fn write(&mut self, files: &Files, new: &str) -> Result {
        files.append_at(&self.filename, self.state.length, new.as_bytes())?;
        self.state.length += new.len() as u64;
        Ok(())
    }

    /// Makes the file what it was at the checkpoint. Where all of its rows are this run's, they are
    /// written anew, whatever became of the file; else rows and columns that were added since are
    /// cut off, and a file that is gone gets its header.
    fn go_back(&mut self, run: &mut Run<'_>) -> Result {
        let (files, history) = (run.files(), run.history);
        if self.state.columns.is_empty() && self.state.rows == 0 {
            self.state.length = 0;
            return self.write(files, "");
        }
        let header = self.header();
        let kept = if !self.append && self.state.rows == history.len() as u64 {
            history.iter().fold(header, |text, (epoch, logs)| text + &self.row(epoch, logs))
        } else {
            let lines = self.whole_lines(files, u64::MAX)?;
            let cells = self.state.columns.len() + 1;
            cut_lines(&lines, &header, self.separator, cells, self.state.rows)
        };
        files.write_atomically(&self.filename, kept.as_bytes())?;
        let rows = rows(kept.as_bytes());
        let lost = self.state.rows.saturating_sub(rows);
        self.state.rows = rows;
        self.state.length = kept.len() as u64;
        if lost > 0 {
            let name = self.filename.display();
            run.print(&format!(
                "warning: {lost} rows of `{name}` are gone; it goes on without them"
            ));
        }
        Ok(())
    }

    /// Adds columns to a file that has rows.
    fn widen(&mut self, files: &Files, new: Vec<String>) -> Result {
        let lines = self.whole_lines(files, self.state.length)?;
        let separator = self.separator;
        let header = format!("{separator}{}", line(separator, new.iter().cloned()));
        let missing = format!("{separator}NA").repeat(new.len());
        let widened = extend_lines(&lines, header.trim_end(), &missing);
        files.write_atomically(&self.filename, &widened)?;
        self.state.columns.extend(new);
        self.state.length = widened.len() as u64;
        Ok(())
    }
}

impl Callback for CsvLogger {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        if run.is_rehearsal() {
            return Ok(());
        }
        // Also where the checkpoint was taken before there was a row: then there is none.
        if run.is_resumed() || self.state != CsvLoggerState::default() {
            return self.go_back(run);
        }
        let lines = if self.append { self.whole_lines(run.files(), u64::MAX)? } else { Vec::new() };
        if !lines.is_empty() {
            self.state.columns = self.old_columns(&lines)?;
            self.state.rows = rows(&lines);
        }
        self.state.length = lines.len() as u64;
        // Cuts off half a row.
        self.write(run.files(), "")
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        if run.is_rehearsal() {
            return Ok(());
        }
        if epoch.logs.get("epoch").is_some() {
            return Err(Error::msg(
                "a callback added `epoch` to the logs, which every row has anyway; give it another \
                 name",
            ));
        }
        let is_new = |name: &&str| !self.state.columns.iter().any(|column| column == name);
        let mut new: Vec<String> = epoch.logs.names().filter(is_new).map(str::to_owned).collect();
        new.sort_unstable();
        let mut text = String::new();
        if self.state.length == 0 {
            self.state.columns = new;
            text = self.header();
        } else if !new.is_empty() {
            self.widen(run.files(), new)?;
        }
        text.push_str(&self.row(run.progress.epoch, epoch.logs));
        if let Err(error) = self.write(run.files(), &text) {
            if self.state.length == 0 {
                // There is no header yet.
                self.state.columns.clear();
            }
            return Err(error);
        }
        self.state.rows += 1;
        Ok(())
    }

    fn access(&self) -> Access {
        let access = Access::new()
            .acts_in([Hook::TrainBegin, Hook::EpochEnd])
            .writes_file(&self.filename)
            .observes();
        // Which rows are of earlier runs nobody can tell later.
        if self.append { access.needs_beginning() } else { access }
    }

    fn check(&self) -> Result {
        if self.filename.as_os_str().is_empty() {
            return Err(Error::config("filename is empty; name a file"));
        }
        if !is_separator(self.separator) {
            return Err(Error::config(format!(
                "separator is {:?}; allowed: one character that is in no number, no quote or line end",
                self.separator
            )));
        }
        Ok(())
    }

    plain_state!();
}

/// Lines after the header. A name in the header may hold line ends, a row holds none but its own.
fn rows(lines: &[u8]) -> u64 {
    let mut is_quoted = false;
    let ends = lines.iter().filter(|byte| {
        is_quoted ^= **byte == b'"';
        **byte == b'\n' && !is_quoted
    });
    (ends.count() as u64).saturating_sub(1)
}

fn is_separator(separator: char) -> bool {
    // Numbers are written with the others.
    !['"', '\r', '\n', '.', '-', '+'].contains(&separator) && !separator.is_alphanumeric()
}

impl FromOptions for CsvLogger {
    const NAME: &'static str = "csv_logger";

    fn from_options(options: &Section<'_>, context: &BuildContext<'_>) -> Result<Self> {
        let mut logger = Self::new(context.output(options, "filename", "training_log.csv")?);
        if let Some(separator) = options.get("separator") {
            let text = separator.str()?;
            let mut chars = text.chars();
            logger = match (chars.next(), chars.next()) {
                (Some(one), None) if is_separator(one) => logger.separator(one),
                _ => {
                    let allowed = "one character that is in no number, no quote or line end";
                    return Err(separator.out_of_range(format!("{text:?}"), allowed));
                }
            };
        }
        if let Some(append) = options.get("append") {
            logger = logger.append(append.bool()?);
        }
        Ok(logger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Curve, Script};
    use crate::{CallbackExt as _, Fit, LambdaCallback, Trainer};
    use std::sync::{Arc, Mutex};

    /// Logs these epochs, each given as keys and values; returns the file.
    fn log(logger: CsvLogger, epochs: &[&[(&'static str, f64)]]) -> (String, CsvLogger) {
        let rows: Vec<Vec<(&str, f64)>> = epochs.iter().map(|row| row.to_vec()).collect();
        let replace = LambdaCallback::new("replace").on_epoch_end(move |run, epoch| {
            let row = rows.get(run.progress.epoch).cloned().unwrap_or_default();
            *epoch.logs = row.into_iter().collect();
            Ok(())
        });
        let script = Script::losses(&[0.0]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(replace).callback(Kept(logger));
        trainer.fit(&script.data(), Fit::epochs(epochs.len()).verbose(0)).unwrap();
        let logger = trainer.get::<CsvLogger>().unwrap().clone();
        (std::fs::read_to_string(logger.filename()).unwrap(), logger)
    }

    /// Keeps its state when a `fit` begins, as a run that goes on does.
    struct Kept(CsvLogger);

    impl Callback for Kept {
        fn on_event(&mut self, run: &mut Run<'_>, event: &mut crate::Event<'_>) -> Result {
            self.0.on_event(run, event)
        }
        fn inner(&self) -> Option<&dyn Callback> {
            Some(&self.0)
        }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/log.csv");
        (folder, path)
    }

    #[test]
    fn bytes_as_keras_writes_them() {
        let (_folder, path) = folder();
        let (text, _) = log(
            CsvLogger::new(&path),
            &[
                &[
                    ("loss", 0.5),
                    ("accuracy", 0.1),
                    ("val_loss", f64::NAN),
                    ("val_accuracy", 1.0 / 3.0),
                    ("learning_rate", 0.001),
                ],
                &[("loss", 1e-7), ("accuracy", f64::INFINITY)],
            ],
        );
        assert_eq!(
            text,
            "epoch,accuracy,learning_rate,loss,val_accuracy,val_loss\r\n\
             0,0.1,0.001,0.5,0.3333333333333333,nan\r\n1,inf,NA,1e-07,NA,NA\r\n"
        );
    }

    #[test]
    fn a_late_key_becomes_a_column_and_odd_names_are_quoted() {
        let (_folder, path) = folder();
        let logger = CsvLogger::new(&path).separator(';');
        let rows: [&[(&str, f64)]; 3] = [
            &[("a;b", 1.0), ("say \"hi\"", 2.0)],
            &[("a;b", 3.0), ("val_a", 4.0)],
            &[("val_a", 5.0)],
        ];
        let (text, _) = log(logger, &rows);
        assert_eq!(
            text,
            "epoch;\"a;b\";\"say \"\"hi\"\"\";val_a\r\n0;1.0;2.0;NA\r\n1;3.0;NA;4.0\r\n2;NA;NA;5.0\r\n"
        );
        // Under the same names again, whatever their order.
        let logger = CsvLogger::new(&path).separator(';').append(true);
        let (text, _) = log(logger, &[&[("val_a", 6.0), ("a;b", 7.0)]]);
        assert!(text.ends_with("2;NA;NA;5.0\r\n0;7.0;NA;6.0\r\n"), "{text}");
    }

    #[test]
    fn golden_vectors() {
        let (_folder, path) = folder();
        let rows: [&[(&str, f64)]; 2] = [
            &[("loss", 1.0), ("acc", 0.5)],
            &[("loss", 0.5), ("acc", 0.6), ("val_loss", 2.0), ("extra", 1.0)],
        ];
        // Keras has `val_acc`, which is always NA, and drops `extra`.
        assert_eq!(
            log(CsvLogger::new(&path), &rows).0,
            "epoch,acc,loss,extra,val_loss\r\n0,0.5,1.0,NA,NA\r\n1,0.6,0.5,1.0,2.0\r\n"
        );
        assert_eq!(log(CsvLogger::new(&path), &[&[]]).0, "epoch\r\n0\r\n");
    }

    /// Keras' `test_CSVLogger`, case 3; there the column is there from the first epoch on.
    #[test]
    fn validation_every_third_epoch_is_na_in_the_others() {
        let (_folder, path) = folder();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let header = {
            let (seen, path) = (Arc::clone(&seen), path.clone());
            LambdaCallback::new("header").on_epoch_end(move |_, _| {
                let text = std::fs::read_to_string(&path).unwrap();
                seen.lock().unwrap().push(text.lines().next().unwrap().to_owned());
                Ok(())
            })
        };
        let script = Script::curves([
            ("loss", Curve::values(&[0.5, 0.4, 0.3, 0.2, 0.1])),
            ("val_loss", Curve::values(&[9.0, 8.0, 0.75, 6.0, 5.0])),
        ]);
        let data = script.data();
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .callback(CsvLogger::new(&path).separator(';'))
            .callback(header);
        let fit = Fit::epochs(5).validation_data(&data).validation_freq(3).verbose(0);
        trainer.fit(&data, fit).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "epoch;learning_rate;loss;val_loss\r\n0;0.1;0.5;NA\r\n1;0.1;0.4;NA\r\n\
             2;0.1;0.3;0.75\r\n3;0.1;0.2;NA\r\n4;0.1;0.1;NA\r\n"
        );
        let (before, after) = ("epoch;learning_rate;loss", "epoch;learning_rate;loss;val_loss");
        assert_eq!(*seen.lock().unwrap(), [before, before, after, after, after]);
    }

    /// Keras' `test_stop_training_csv`.
    #[test]
    fn a_run_that_ends_in_nan_leaves_a_whole_file() {
        let (_folder, path) = folder();
        let script = Script::losses(&[1.0, f64::NAN, 1.0]);
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .callback(crate::callbacks::TerminateOnNan::new())
            .callback(CsvLogger::new(&path));
        trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "epoch,learning_rate,loss\r\n0,0.1,1.0\r\n1,0.1,nan\r\n");
    }

    #[test]
    fn append_goes_by_the_old_header_and_mends_half_a_row() {
        for (old, expected) in [
            (
                "epoch,val_loss,loss\r\n0,1.0,2.0\r\n1,0.",
                "epoch,val_loss,loss\r\n0,1.0,2.0\r\n0,NA,0.5\r\n",
            ),
            ("epoch,acc\n0,0.5\n", "epoch,acc,loss\n0,0.5,NA\n0,NA,0.5\r\n"),
            ("epo", "epoch,loss\r\n0,0.5\r\n"),
            ("", "epoch,loss\r\n0,0.5\r\n"),
        ] {
            let (_folder, path) = folder();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, old).unwrap();
            let (text, _) = log(CsvLogger::new(&path).append(true), &[&[("loss", 0.5)]]);
            assert_eq!(text, expected);
            let (text, _) = log(CsvLogger::new(&path), &[&[("loss", 0.5)]]);
            assert_eq!(text, "epoch,loss\r\n0,0.5\r\n", "cleared without append");
        }
    }

    #[test]
    fn a_file_that_is_no_log_is_not_touched() {
        let (_folder, path) = folder();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "name,age\nAda,36\n").unwrap();
        let script = Script::losses(&[1.0]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(CsvLogger::new(&path).append(true));
        trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap();
        let (_, error) = trainer.disabled().next().unwrap();
        assert!(error.to_string().contains("its first column is not `epoch`"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "name,age\nAda,36\n");
    }

    #[test]
    fn a_resumed_run_goes_on_without_repeated_rows() {
        let (_folder, path) = folder();
        let (two, logger) = log(CsvLogger::new(&path), &[&[("loss", 1.0)], &[("loss", 2.0)]]);
        // Killed in the third row, or later; or the file is gone.
        for (now, expected) in [
            (two.clone() + "2,0.", two.clone() + "0,3.0\r\n"),
            (two.clone() + "2,9.0\r\n3,9.0\r\n", two.clone() + "0,3.0\r\n"),
            (two.clone(), two + "0,3.0\r\n"),
            ("epoch,loss\r\n0,1".into(), "epoch,loss\r\n0,3.0\r\n".into()),
            (String::new(), "epoch,loss\r\n0,3.0\r\n".into()),
        ] {
            std::fs::write(&path, now).unwrap();
            let mut resumed = CsvLogger::new(&path);
            resumed.load_state(logger.save_state().unwrap().as_ref()).unwrap();
            assert_eq!(log(resumed, &[&[("loss", 3.0)]]).0, expected);
        }
    }

    #[test]
    fn a_rehearsal_writes_nothing_and_bad_options_are_refused() {
        let (_folder, path) = folder();
        let script = Script::losses(&[1.0; 2]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(CsvLogger::new(&path).every(1)).rehearse();
        trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
        assert!(!path.exists());
        assert!(CsvLogger::new("").check().is_err());
        assert!(CsvLogger::default().separator('"').check().is_err());
    }
}
