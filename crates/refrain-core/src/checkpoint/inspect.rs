//! Looking at a run's folder without changing it.

use std::path::{Path, PathBuf};

use super::journal::{Journal, JournalText};
use super::manifest::{Manifest, Problem, verify as verify_checkpoint};
use super::snapshot::Loaded;
use super::store::{self, CHECKPOINTS, JOURNAL};
use crate::error::{Error, Result};
use crate::files::Files;

/// What a run's folder holds.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The folder.
    pub folder: PathBuf,
    /// What happened in the run.
    pub journal: JournalText,
    /// Whether a process trains in it now.
    pub is_running: bool,
}

/// A checkpoint that was looked at.
#[derive(Clone, Debug)]
pub struct CheckpointReport {
    /// Its number.
    pub number: u64,
    /// What it says of itself; or what is wrong with it.
    pub manifest: Result<Manifest>,
}

/// Reads what is known of the run in `folder`; `None` where it holds none. Nothing is changed.
///
/// # Errors
/// When the journal cannot be read.
pub fn inspect(files: &Files, folder: &Path) -> Result<Option<RunReport>> {
    if !store::holds_run(files, folder) {
        return Ok(None);
    }
    let journal = Journal::read(files, &folder.join(JOURNAL))?;
    let is_running = store::is_locked(files, folder);
    Ok(Some(RunReport { folder: folder.to_owned(), journal, is_running }))
}

/// Reads every byte of every checkpoint of the run in `folder`, oldest first. Nothing is changed.
///
/// # Errors
/// When the folder cannot be read.
pub fn verify(files: &Files, folder: &Path) -> Result<Vec<CheckpointReport>> {
    let report = |number: u64| {
        let path = folder.join(CHECKPOINTS).join(store::name(number));
        let manifest = match verify_checkpoint(files, &path, number) {
            Ok(found) => Loaded::new(&found).map(|_| found.manifest),
            Err(Problem::Damaged(what)) => Err(Error::data(what)),
            Err(Problem::Newer(format)) => Err(Error::data(format!(
                "it has the format {format}, which a later version of Refrain writes"
            ))),
            Err(Problem::Unreadable(error)) => Err(error),
        };
        CheckpointReport { number, manifest }
    };
    Ok(store::numbers(files, folder)?.into_iter().map(report).collect())
}
