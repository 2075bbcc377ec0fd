//! Where a run is.

use std::time::{Duration, Instant};

/// Where a run is: epoch, step, batch. A copy is handed to every hook.
///
/// `epoch` and `batch` count from 0, as Keras' hooks do; everything printed or written
/// counts epochs from 1.
///
/// # Example
/// ```
/// use refrain_core::Progress;
/// let progress = Progress { epoch: 2, epochs: 50, ..Progress::default() };
/// assert!(!progress.is_last_epoch());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The current epoch, from 0.
    pub epoch: usize,
    /// The epoch at which training ends (exclusive), as in `fit(epochs=..)`.
    pub epochs: usize,
    /// Optimizer updates made so far in this run.
    pub step: u64,
    /// The current batch within the epoch, from 0.
    pub batch: usize,
    /// Batches in an epoch; 0 where it is not known (a loop written by hand).
    pub steps_per_epoch: usize,
    /// Batches for one update: 1, unless gradients are accumulated.
    pub batches_per_update: usize,
    /// Training samples seen so far in this run.
    pub samples: u64,
    /// When training began; none outside a run.
    pub started: Option<Instant>,
}

impl Progress {
    pub(crate) fn start(epoch: usize, epochs: usize, steps_per_epoch: usize) -> Self {
        Self {
            epoch,
            epochs,
            step: 0,
            batch: 0,
            steps_per_epoch,
            batches_per_update: 1,
            samples: 0,
            started: Some(Instant::now()),
        }
    }

    /// Wall time since `on_train_begin`; zero before.
    pub fn elapsed(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// Updates of the weights in an epoch; 0 where its length is not known.
    pub fn updates_per_epoch(&self) -> usize {
        self.steps_per_epoch.div_ceil(self.batches_per_update.max(1))
    }

    /// Whether the current epoch is the last one planned.
    pub fn is_last_epoch(&self) -> bool {
        self.epoch + 1 >= self.epochs
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            epoch: 0,
            epochs: 1,
            step: 0,
            batch: 0,
            steps_per_epoch: 0,
            batches_per_update: 1,
            samples: 0,
            started: None,
        }
    }
}
