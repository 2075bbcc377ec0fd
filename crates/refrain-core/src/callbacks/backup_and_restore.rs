//! Keras' name for checkpoints of a whole run.

use std::path::{Path, PathBuf};

use crate::callback::{Access, Callback};
use crate::checkpoint::{Checkpoints, Every};
use crate::error::Result;

/// Backs a run up, so that a `fit` that was cut short goes on where it was: Keras' short form of
/// [`Checkpoints`].
///
/// A `fit` that finds a backup goes on from it, to the same bits as if nothing had happened; when
/// the run comes to its end, the backup is removed. It is no callback among others: the loop takes
/// the backup after all callbacks have seen the event, and where it stands in the list is of no
/// importance. In a recipe it is the table `[checkpoint]`.
///
/// - Reads: everything the run is made of
/// - Writes: the folder
/// - Requests: nothing
/// - State: none
/// - Cost: a copy of the weights and the optimizer at each backup; it is written by a thread
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `backup_dir` | none | a folder | where the backup is kept |
/// | `save_freq` | [`Every::Epochs(1)`](Every) | an [`Every`] | when it is made |
/// | `delete_checkpoint` | true | true, false | whether it is removed when the run has ended well |
///
/// # Example
/// ```
/// use refrain_core::callbacks::BackupAndRestore;
/// use refrain_core::event::Hook;
/// use refrain_core::testing::{FailAt, Script};
/// use refrain_core::{Fit, Trainer};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path().join("backup");
/// let script = Script::losses(&[3.0, 2.0, 1.0]);
/// let trainer = |fails_at: usize| {
///     Trainer::new(script.learner(), 0.1)
///         .callback(BackupAndRestore::new(&dir))
///         .callback(FailAt::new(Hook::EpochEnd, fails_at))
/// };
/// // Cut short at the end of the third epoch.
/// assert!(trainer(3).fit(&script.data(), Fit::epochs(3).verbose(0)).is_err());
///
/// let history = trainer(0).fit(&script.data(), Fit::epochs(3).verbose(0))?;
/// assert_eq!(history.column("loss"), [Some(3.0), Some(2.0), Some(1.0)]);
/// assert!(!dir.exists());
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - Everything comes back, not only weights and epoch: states of callbacks, learning rate, history.
///   With a save by steps the run goes on at the exact batch; Keras begins the epoch anew.
/// - Weights and position are one backup, written atomically; Keras writes them one after the other.
/// - What else is in the folder stays there when the backup is removed.
/// - After a failure and Ctrl-C the backup stays; in Keras a graceful stop removes it.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.BackupAndRestore`.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupAndRestore {
    backup_dir: PathBuf,
    save_freq: Every,
    delete_checkpoint: bool,
}

impl BackupAndRestore {
    /// Keeps the backup in this folder, which should hold nothing else.
    pub fn new(backup_dir: impl Into<PathBuf>) -> Self {
        Self { backup_dir: backup_dir.into(), save_freq: Every::Epochs(1), delete_checkpoint: true }
    }

    /// When it is made. Default: after every epoch.
    pub fn save_freq(mut self, every: Every) -> Self {
        self.save_freq = every;
        self
    }

    /// Whether it is removed when the run has ended well. Default true.
    pub fn delete_checkpoint(mut self, delete: bool) -> Self {
        self.delete_checkpoint = delete;
        self
    }

    /// The folder.
    pub fn backup_dir(&self) -> &Path {
        &self.backup_dir
    }

    pub(crate) fn checkpoints(&self) -> Checkpoints {
        let checkpoints = Checkpoints::in_dir(&self.backup_dir).every(self.save_freq).keep(1);
        if self.delete_checkpoint { checkpoints.removed_at_the_end() } else { checkpoints }
    }
}

impl Callback for BackupAndRestore {
    fn access(&self) -> Access {
        // The loop does it.
        Access::new().acts_in([])
    }

    fn check(&self) -> Result {
        self.checkpoints().check()
    }
}
