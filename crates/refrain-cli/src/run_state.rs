//! What became of a run.

use std::fmt;

use refrain::Escaped;
use refrain::checkpoint::{Record, RunReport, inspect};
use refrain::files::Files;

use crate::run_folder::{MODEL, RECIPE, SUMMARY};

/// What became of a run, by its journal and its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A process trains.
    Running,
    /// All epochs were run.
    Completed,
    /// A callback stopped it.
    Stopped(String),
    /// A signal ended it, after saving.
    Interrupted,
    /// An error ended it.
    Failed,
    /// It was cut short.
    Killed,
}

impl State {
    pub(crate) fn of(run: &RunReport) -> Self {
        let has = |name: &str| run.folder.join(name).exists();
        // What is written after the end may be missing after a kill.
        let is_whole = has(SUMMARY) && has(MODEL);
        match run.journal.ending() {
            _ if run.is_running => Self::Running,
            Some(("completed", _)) if is_whole => Self::Completed,
            Some(("stopped", by)) if is_whole => Self::Stopped(by.unwrap_or_default().to_owned()),
            Some(("interrupted", _)) => Self::Interrupted,
            Some(("failed", _)) => Self::Failed,
            _ => Self::Killed,
        }
    }

    /// One word: `stopped`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Stopped(_) => "stopped",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }

    /// The callback that stopped it.
    pub(crate) fn by(&self) -> Option<&str> {
        match self {
            Self::Stopped(by) if !by.is_empty() => Some(by),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        self.by().map_or(Ok(()), |by| write!(f, " by {}", Escaped(by)))
    }
}

/// What is wrong with a run's journal, as far as it says so itself: `None` where nothing is.
pub(crate) fn journal_damage(run: &RunReport) -> Option<String> {
    let journal = &run.journal;
    if !run.folder.join("journal.jsonl").exists() {
        return Some("it is missing".to_owned());
    }
    if !journal.damage.is_empty() {
        return Some(journal.damage.join("; "));
    }
    if lacks_its_end(run) && is_so_still(run) {
        let text = "its last record is not there, or not whole, which notes what the run's files hold: \
                    it was cut off after the run had ended";
        return Some(text.to_owned());
    }
    // The beginning is durable in it before anything else of a run is written.
    let checkpoints = std::fs::read_dir(run.folder.join("checkpoints")).into_iter().flatten();
    let mut names = checkpoints.flatten().map(|entry| entry.file_name());
    let has_checkpoints = names.any(|name| name.to_string_lossy().parse::<u64>().is_ok());
    (journal.entries.is_empty() && has_checkpoints)
        .then(|| "it is empty, and there are checkpoints".to_owned())
}

/// Whether the summary, which is the last of a run's files, is there without the note on it, which is
/// durable before.
fn lacks_its_end(run: &RunReport) -> bool {
    let entries = &run.journal.entries;
    let notes = |record: &Record, name: &str| match record {
        Record::Files { files } => files.iter().any(|note| note.file == name),
        _ => false,
    };
    let is_over =
        !run.is_running && run.journal.ending().is_some() && run.folder.join(SUMMARY).exists();
    // Not of a program of one's own, which notes what it wants.
    let is_noted = entries.iter().any(|entry| notes(&entry.record, RECIPE));
    let mut since_end =
        entries.iter().rev().take_while(|entry| !matches!(entry.record, Record::End { .. }));
    is_over && is_noted && !since_end.any(|entry| notes(&entry.record, SUMMARY))
}

/// Looks once more: the run may have ended since its journal was read.
fn is_so_still(run: &RunReport) -> bool {
    matches!(inspect(&Files::default(), &run.folder), Ok(Some(now)) if lacks_its_end(&now))
}
