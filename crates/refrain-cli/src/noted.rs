//! What a run's journal says of the run's files: whether they are as they were written.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use refrain::checkpoint::{Part, Record, RunReport, inspect};
use refrain::files::{Files, Kind};
use refrain::{Error, Recipe, Result};

use crate::run_folder::{DATA, MODEL, RECIPE, SUMMARY};

/// The command's own files. They are noted before they are written: whatever ends a process, they hold
/// something that was noted.
const OWN: [&str; 4] = [RECIPE, DATA, MODEL, SUMMARY];
/// What is longer (1 GiB) is not read.
const MAX_BYTES: u64 = 1 << 30;

/// Notes on what the recipe's callbacks have written into `folder`: files, all that is in folders, and
/// files with the epoch or a metric in their names. Those that are there at the end: callbacks may have
/// removed some meanwhile, and a run that has gone back may have left some behind.
pub(crate) fn of_outputs(recipe: &Recipe, folder: &Path) -> Vec<Part> {
    let files = Files::default();
    let mut left = recipe.outputs(folder).unwrap_or_default();
    left.extend(recipe.outputs_of_templates(folder).unwrap_or_default());
    let mut paths = BTreeSet::new();
    while let Some(path) = left.pop() {
        match files.disk().kind(&path) {
            Ok(Kind::Folder) => {
                let names = files.disk().list(&path).unwrap_or_default();
                left.extend(names.iter().map(|name| path.join(name)));
            }
            _ => drop(paths.insert(path)),
        }
    }
    let note = |path: &Path| {
        let name = path.strip_prefix(folder).ok()?.to_str()?;
        // A file that cannot be read has no note; it is no reason to lose the others'.
        let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
        let bytes = is_file.then(|| files.read(path, MAX_BYTES).ok()).flatten()?;
        Some(Part::of(name, &bytes))
    };
    paths.iter().filter_map(|path: &PathBuf| note(path)).collect()
}

/// Refuses a file of the run that holds other bytes than were noted; one of which nothing was noted
/// may hold anything.
///
/// # Errors
/// When it does, or cannot be read; the message does not name it.
pub(crate) fn check(files: &Files, run: &RunReport, name: &str) -> Result {
    if is_as_noted(files, run, name)? {
        return Ok(());
    }
    // Or the run has gone on meanwhile, and the file is newer than the journal that was read.
    match inspect(files, &run.folder)? {
        Some(now) if !is_as_noted(files, &now, name)? => {
            Err(Error::data("it does not hold what the run wrote; put a copy of that back"))
        }
        _ => Ok(()),
    }
}

/// What is known of a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It was there.
    Missing,
    /// It was there, or a process was killed between its note and it.
    Unwritten,
    /// Nothing.
    Unknown,
}

/// What the journal says of a file that is not there.
pub(crate) fn absent(run: &RunReport, name: &str) -> Absent {
    if notes(run, name).is_empty() {
        return Absent::Unknown;
    }
    let has_ended = run.journal.ending().is_some();
    match name {
        // Noted when it is there already.
        DATA => Absent::Missing,
        // Noted after the end, and written then; the summary last.
        MODEL if run.folder.join(SUMMARY).exists() => Absent::Missing,
        MODEL | SUMMARY if has_ended => Absent::Unwritten,
        _ if has_ended => Absent::Missing,
        _ => Absent::Unknown,
    }
}

/// Names of all files on which there are notes that count, but for the command's own.
pub(crate) fn names(run: &RunReport) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    if !has_notes(run) {
        return names;
    }
    for entry in &run.journal.entries {
        match &entry.record {
            Record::Begin { .. } | Record::Resume { .. } => names.clear(),
            Record::Files { files } => names.extend(files.iter().map(|note| note.file.as_str())),
            _ => {}
        }
    }
    // A journal may come from anybody: what is outside the folder is none of its business.
    let is_inside = |name: &str| {
        let mut components = Path::new(name).components();
        components.all(|component| matches!(component, Component::Normal(_)))
    };
    names.retain(|name| is_inside(name) && !OWN.contains(name));
    names
}

fn is_as_noted(files: &Files, run: &RunReport, name: &str) -> Result<bool> {
    let notes = notes(run, name);
    if notes.is_empty() {
        return Ok(true);
    }
    let bytes = files.read(&run.folder.join(name), MAX_BYTES)?;
    Ok(notes.iter().any(|note| note.is_of(&bytes)))
}

/// Whether notes count: a run that goes on writes anew, and of a journal that is damaged itself, the
/// note that counts may be missing.
fn has_notes(run: &RunReport) -> bool {
    !run.is_running && run.journal.damage.is_empty()
}

/// What a file may hold; none: anything.
fn notes<'a>(run: &'a RunReport, name: &str) -> Vec<&'a Part> {
    if !has_notes(run) {
        return Vec::new();
    }
    let is_own = OWN.contains(&name);
    let mut notes = Vec::new();
    for entry in &run.journal.entries {
        match &entry.record {
            // Noted at the end of a process; the next one writes them again, and may be killed.
            Record::Begin { .. } | Record::Resume { .. } if !is_own => notes.clear(),
            Record::Files { files } => notes.extend(files.iter().filter(|note| note.file == name)),
            _ => {}
        }
    }
    notes
}
