//! Checkpoints of a whole run: killed at any instant, it goes on to the same bits.
//!
//! A checkpoint is taken by the loop between two events, after all callbacks have seen the last one:
//! weights, optimizer, position, sums of the metrics, the state of every callback, learning rate,
//! history. Data order is a function of (seed, epoch) and what is random in a step one of (seed,
//! step), so a run that goes on from a checkpoint, at any batch of an epoch, does what it would have
//! done. It is written by a thread from a copy; training waits for the copy.
//!
//! What a folder holds stands in [`Checkpoints::in_dir`].

mod exact;
mod inspect;
mod journal;
mod manifest;
mod restore;
mod resume_point;
mod saver;
mod saving;
mod sealed;
mod shared_journal;
mod snapshot;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

pub use inspect::{CheckpointReport, Newest, Remains, RunReport, inspect, newest, remains, verify};
pub use journal::{Entry, JournalText, Record};
pub use manifest::{Manifest, Part};
pub use resume_point::{Change, ResumePoint};

pub(crate) use restore::{Opened, Prepare, Resumption};
pub(crate) use saving::Saving;

/// When checkpoints are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Every {
    /// At the end of every n-th epoch; 0: never.
    Epochs(usize),
    /// After every n-th update of the weights; 0: never.
    Steps(u64),
    /// When so many seconds have passed since the last one; above 0.
    Seconds(f64),
}

/// What becomes of the run when a checkpoint cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSaveFailure {
    /// The run fails, after its current epoch is in the log. The default.
    #[default]
    Abort,
    /// A warning is printed, and the next one is tried when it is due.
    Warn,
}

/// Where, when and how checkpoints of a run are kept; for
/// [`Trainer::checkpoints`](crate::Trainer::checkpoints).
///
/// # Example
/// ```
/// use refrain_core::checkpoint::{Checkpoints, Every};
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path();
/// let script = Script::losses(&[4.0, 3.0, 2.0, 1.0]);
/// let trainer = || {
///     let checkpoints = Checkpoints::in_dir(dir).every(Every::Epochs(1)).keep(2);
///     Trainer::new(script.learner(), 0.1).checkpoints(checkpoints)
/// };
/// trainer().fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// // In another process: on to four epochs.
/// let mut trainer = trainer();
/// let point = trainer.resume()?;
/// assert_eq!((point.epochs(), point.step()), (2, 2));
/// let history = trainer.fit(&script.data(), Fit::epochs(4).verbose(0))?;
/// assert_eq!(history.column("loss").len(), 4);
/// assert_eq!(trainer.learner().updates(), 4);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoints {
    folder: PathBuf,
    every_epochs: Option<usize>,
    every_steps: Option<u64>,
    every_seconds: Option<f64>,
    is_default: bool,
    keep: usize,
    on_failure: OnSaveFailure,
    overwrite: bool,
    accept_changes: bool,
    waits: bool,
    holds: bool,
    removes: bool,
    config: BTreeMap<String, String>,
}

impl Checkpoints {
    /// Keeps the checkpoints of a run in `folder`, which is made where it is missing: after every
    /// epoch, the newest two.
    ///
    /// In it: `checkpoints/000001/`, `000002`, …, each with a `manifest.json` that has length and
    /// hash of every file beside it (`weights.safetensors`, `optimizer.safetensors`, `state.json`,
    /// `state.safetensors`); `journal.jsonl`, what happened, one checksummed record a line;
    /// `run.lock`, held while a process trains; `quarantine/`, where damaged checkpoints go. Nothing
    /// that the run did not make is removed.
    pub fn in_dir(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            every_epochs: Some(1),
            every_steps: None,
            every_seconds: None,
            is_default: true,
            keep: 2,
            on_failure: OnSaveFailure::Abort,
            overwrite: false,
            accept_changes: false,
            waits: false,
            holds: false,
            removes: false,
            config: BTreeMap::new(),
        }
    }

    /// When one is taken. Default: after every epoch; several calls add up.
    pub fn every(mut self, every: Every) -> Self {
        if std::mem::take(&mut self.is_default) {
            self.every_epochs = None;
        }
        match every {
            Every::Epochs(n) => self.every_epochs = Some(n).filter(|n| *n > 0),
            Every::Steps(n) => self.every_steps = Some(n).filter(|n| *n > 0),
            Every::Seconds(seconds) => self.every_seconds = Some(seconds),
        }
        self
    }

    /// How many are kept, the newest. ≥ 1; default 2. An older one is dropped after a newer one is
    /// durable; until the run ends its files stay, for the next one to be written into: the disk
    /// needs room for one more.
    pub fn keep(mut self, newest: usize) -> Self {
        self.keep = newest;
        self
    }

    /// What becomes of the run when one cannot be written. Default [`OnSaveFailure::Abort`].
    pub fn on_failure(mut self, on_failure: OnSaveFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Whether a run that the folder holds is replaced where it is not resumed. Default false: then
    /// `fit` is refused.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Whether a run goes on although what [describes](Self::describe) it has changed. Default
    /// false: then it is refused, and says what is different.
    pub fn accept_changes(mut self, accept: bool) -> Self {
        self.accept_changes = accept;
        self
    }

    /// Whether training waits until each checkpoint is durable. Default false: where one is due
    /// while another is being written, it is left out, counted and named.
    pub fn wait(mut self, wait: bool) -> Self {
        self.waits = wait;
        self
    }

    /// Whether the folder stays held after the end of a run, until the next one or until the trainer
    /// is dropped: for a program that writes files of its own into it then. Default false.
    ///
    /// Another process that goes on with the run meanwhile is refused.
    pub fn hold(mut self, hold: bool) -> Self {
        self.holds = hold;
        self
    }

    /// Names something that must be the same when the run goes on: `("optimizer", "adam")`.
    ///
    /// Without any the trainer names what it knows: seed, learning rate, batch size, number of samples,
    /// tensors of the model, names of the callbacks. It knows no options of callbacks, nor the loss.
    pub fn describe(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// What [describes](Self::describe) the run.
    pub fn described(&self) -> &BTreeMap<String, String> {
        &self.config
    }

    /// Removes all of it when the run has come to its end: a backup, not a record.
    pub(crate) fn removed_at_the_end(mut self) -> Self {
        self.removes = true;
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether any are taken.
    pub fn is_wanted(&self) -> bool {
        self.every_epochs.is_some() || self.every_steps.is_some() || self.every_seconds.is_some()
    }

    pub(crate) fn check(&self) -> Result {
        if self.folder.as_os_str().is_empty() {
            return Err(Error::config("the folder of the checkpoints is empty; name one"));
        }
        if self.keep == 0 {
            return Err(Error::config("checkpoints: keep is 0; allowed: 1 or more"));
        }
        match self.every_seconds {
            Some(seconds) if !(seconds.is_finite() && seconds > 0.0) => Err(Error::config(
                format!("checkpoints: every {seconds} seconds; allowed: a finite number above 0"),
            )),
            _ => Ok(()),
        }
    }
}

/// Asks a run for a checkpoint from outside: another thread, a signal handler.
///
/// # Example
/// ```
/// use refrain_core::checkpoint::SaveHandle;
/// let handle = SaveHandle::default();
/// let for_the_signal_handler = handle.clone();
/// for_the_signal_handler.save();
/// ```
#[derive(Clone, Debug, Default)]
pub struct SaveHandle(Arc<AtomicBool>);

impl SaveHandle {
    /// Asks for a checkpoint after the current batch. In a validation it is of the run in front of it,
    /// which then begins again; where a callback with a state acts in validations, the checkpoint
    /// comes after it. Safe to call from a signal handler.
    pub fn save(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The flag itself, for `signal_hook::flag::register`.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> bool {
        // A read alone where nobody asked: this is looked at after every batch.
        self.is_asked() && self.0.swap(false, Ordering::Acquire)
    }
}
