//! Looking at a run's folder without changing it.

use std::path::{Path, PathBuf};

use super::journal::{Journal, JournalText};
use super::manifest::{Manifest, Problem, verify as verify_checkpoint};
use super::snapshot::Loaded;
use super::store::{self, CHECKPOINTS, JOURNAL};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::weights::Weights;

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
/// # Example
/// ```
/// use refrain_core::checkpoint::{Checkpoints, inspect, remains, verify};
/// use refrain_core::files::Files;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path();
/// let files = Files::default();
/// assert!(inspect(&files, dir)?.is_none());
///
/// let script = Script::losses(&[2.0, 1.0]);
/// let checkpoints = Checkpoints::in_dir(dir).wait(true);
/// let mut trainer = Trainer::new(script.learner(), 0.1).checkpoints(checkpoints);
/// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// let run = inspect(&files, dir)?.expect("a run");
/// assert_eq!(run.journal.ending(), Some(("completed", None)));
/// let found = verify(&files, dir)?;
/// assert_eq!(found.len(), 2);
/// assert!(found.iter().all(|checkpoint| checkpoint.manifest.is_ok()));
/// assert!(remains(&files, dir)?.leftovers.is_empty());
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Errors
/// When the journal cannot be read.
pub fn inspect(files: &Files, folder: &Path) -> Result<Option<RunReport>> {
    if !store::holds_run(files, folder)? {
        return Ok(None);
    }
    let journal = Journal::read(files, &folder.join(JOURNAL))?;
    let is_running = store::is_locked(files, folder)?;
    Ok(Some(RunReport { folder: folder.to_owned(), journal, is_running }))
}

/// Reads every byte of every checkpoint of the run in `folder`, oldest first. Nothing is changed.
///
/// One that the run itself removes meanwhile is left out.
///
/// # Errors
/// When the folder cannot be read.
pub fn verify(files: &Files, folder: &Path) -> Result<Vec<CheckpointReport>> {
    store::refuse_links(files, folder)?;
    let mut reports = Vec::new();
    for number in store::numbers(files, folder)? {
        if let Some(found) = look(files, folder, number, drop)? {
            reports
                .push(CheckpointReport { number, manifest: found.map(|(manifest, ())| manifest) });
        }
    }
    Ok(reports)
}

/// Reads every byte of a checkpoint; `take` takes what is wanted of it. `None`: the run has dropped
/// it meanwhile, and what was read may be another's.
fn look<T>(
    files: &Files,
    folder: &Path,
    number: u64,
    take: impl FnOnce(Loaded) -> T,
) -> Result<Option<Result<(Manifest, T)>>> {
    let path = folder.join(CHECKPOINTS).join(store::name(number));
    let found = match verify_checkpoint(files, &path, number) {
        Ok(found) => Loaded::new(&found).map(|loaded| (found.manifest, take(loaded))),
        Err(Problem::Damaged(what)) => Err(Error::data(what)),
        Err(Problem::Newer(format)) => Err(Error::data(format!(
            "it has the format {format}, which a later version of Refrain writes"
        ))),
        Err(Problem::Unreadable(error)) => Err(error),
    };
    let is_gone = found.is_err() && !files.exists(&path)?;
    Ok((!is_gone).then_some(found))
}

/// The newest checkpoint of a run that is whole, and those after it that are not.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    /// What it says of itself, and the model's weights in it.
    pub whole: Option<(Manifest, Weights)>,
    /// Damaged ones, newest first.
    pub damaged: Vec<CheckpointReport>,
}

/// How often the folder of a run that drops its checkpoints while they are read is looked at.
const LOOKS: usize = 1000;

/// Reads the weights of the newest checkpoint of the run in `folder` that is whole. Nothing is
/// changed, and the run may be training: a checkpoint that it drops meanwhile is not used.
///
/// # Example
/// ```
/// use refrain_core::checkpoint::{Checkpoints, newest};
/// use refrain_core::files::Files;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path();
/// let script = Script::losses(&[2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).checkpoints(Checkpoints::in_dir(dir));
/// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// let (manifest, weights) = newest(&Files::default(), dir)?.whole.expect("a checkpoint");
/// assert_eq!((manifest.epochs, weights.f32s("w")), (2, Some(vec![2.0])));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Errors
/// When the folder cannot be read.
pub fn newest(files: &Files, folder: &Path) -> Result<Newest> {
    store::refuse_links(files, folder)?;
    let mut found = Newest::default();
    for _ in 0..LOOKS {
        found = Newest::default();
        let mut is_gone = false;
        let numbers = store::numbers(files, folder)?;
        for number in numbers.iter().rev().copied() {
            match look(files, folder, number, |loaded| loaded.weights)? {
                None => is_gone = true,
                Some(Err(error)) => {
                    found.damaged.push(CheckpointReport { number, manifest: Err(error) });
                }
                Some(Ok(whole)) => {
                    found.whole = Some(whole);
                    return Ok(found);
                }
            }
        }
        // A folder that changes while it is listed may show neither the old name nor the new one.
        if !is_gone && store::numbers(files, folder)? == numbers {
            break;
        }
    }
    Ok(found)
}

/// What is in the folder of a run beside the run itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// What is being written or removed now, or was when a process was killed: the next resume
    /// removes it. Paths in the folder.
    pub leftovers: Vec<PathBuf>,
    /// Damaged checkpoints that were set aside. Paths in the folder.
    pub quarantine: Vec<PathBuf>,
}

/// Looks for what killed processes and damage have left in `folder`. Nothing is changed.
///
/// # Errors
/// When a folder cannot be read.
pub fn remains(files: &Files, folder: &Path) -> Result<Remains> {
    store::refuse_links(files, folder)?;
    let names = |below: &str| -> Result<Vec<PathBuf>> {
        let names = files.names(&folder.join(below))?;
        Ok(names.iter().map(|name| Path::new(below).join(name)).collect())
    };
    let left = store::left_beside(files, folder, true)?;
    let inside = left.iter().filter_map(|path| path.strip_prefix(folder).ok());
    let mut leftovers: Vec<PathBuf> = inside.map(Path::to_owned).collect();
    let is_tmp = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(store::is_tmp)
    };
    leftovers.extend(names(CHECKPOINTS)?.into_iter().filter(is_tmp));
    let mut quarantine = names(store::QUARANTINE)?;
    leftovers.sort();
    quarantine.sort();
    Ok(Remains { leftovers, quarantine })
}
