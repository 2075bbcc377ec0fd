//! The exercise, to be filled in. It compiles as it is; look for `Task`.
//!
//! `tests/solution.rs` checks it once its line `use refrain_book::solution as exercise` says
//! `starter`.

#![allow(unused_variables, clippy::let_and_return, reason = "the blanks do not use them yet")]

use std::path::{Path, PathBuf};

use refrain::callbacks::EarlyStopping;
use refrain::prelude::*;
use refrain::{Access, History, State};
use serde_json::{Map, Value};

use crate::setup::{Data, create_simple_model};

/// Multiplies the learning rate by `factor` every `step_epochs` epochs.
pub struct StepLrScheduler {
    /// What the rate is multiplied by.
    pub factor: f64,
    /// Epochs between two reductions.
    pub step_epochs: usize,
    /// Whether reductions are printed.
    pub verbose: bool,
    lr_history: Vec<f64>,
}

impl StepLrScheduler {
    /// Prints its reductions unless told not to.
    pub fn new(factor: f64, step_epochs: usize) -> Self {
        Self { factor, step_epochs, verbose: true, lr_history: Vec::new() }
    }

    /// Whether reductions are printed. Default true.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// The rate of each epoch of the last run.
    pub fn lr_history(&self) -> &[f64] {
        &self.lr_history
    }
}

impl Callback for StepLrScheduler {
    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        // Task 1.1: the epoch, counted from 0, is `run.progress.epoch`; the rate is
        // `run.learning_rate.get()`.
        // Task 1.1: set the factor that this callback owns, `run.callback_name()`, with
        // `run.learning_rate.set_factor(..)`: which power of `self.factor` belongs to this epoch?
        // Task 1.1: if the rate was reduced and `self.verbose`, `run.print(..)` the line
        // "Epoch 5: Reducing LR from 0.100000 to 0.050000".
        // Task 1.1: push the rate of this epoch onto `self.lr_history`.
        Ok(())
    }

    fn access(&self) -> Access {
        // Task 1.1: say that this callback scales the rate.
        Access::new()
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.lr_history).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.lr_history = State::load_or_default(saved)?;
        Ok(())
    }
}

/// Logs the numbers of every epoch to a JSON file.
pub struct JsonTrainingLogger {
    log_file: PathBuf,
    entries: Vec<Map<String, Value>>,
}

impl JsonTrainingLogger {
    /// Logs to this file.
    pub fn new(log_file: impl Into<PathBuf>) -> Self {
        Self { log_file: log_file.into(), entries: Vec::new() }
    }

    fn write(&self, run: &Run<'_>) -> Result {
        let json = serde_json::to_vec_pretty(&self.entries).map_err(Error::wrap)?;
        run.files().write_atomically(&self.log_file, &json)
    }
}

impl Callback for JsonTrainingLogger {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        // No blank: `entries` is empty now, and the file of an earlier run is replaced. The start
        // time needs no field: `run.progress.elapsed()` counts from here.
        self.write(run)
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        // Task 2.1: make an entry with "epoch" (counted from 1), "timestamp"
        // (`humantime::format_rfc3339_millis(SystemTime::now())`) and everything in `epoch.logs`.
        // Task 2.1: push it onto `self.entries` and write the file.
        Ok(())
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        // Task 2.1: print how many epochs were logged and how long the training took.
        Ok(())
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.entries).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.entries = State::load_or_default(saved)?;
        Ok(())
    }
}

/// Trains with all callbacks together; returns the history and the rate of each epoch.
///
/// # Errors
/// The run's first.
pub fn train_with_full_pipeline(data: &Data, log_file: &Path) -> Result<(History, Vec<f64>)> {
    let early_stopping =
        EarlyStopping::new(Monitor::min("val_loss")).patience(5).restore_best_weights(true);
    // Task 3.1: add your scheduler (factor 0.5, every 10 epochs), your logger and
    // `early_stopping` with `.callback(..)`, in this order.
    let mut trainer = create_simple_model(data)?;
    // Task 3.1: up to 50 epochs with a batch size of 128, and the last fifth of the data for
    // validation.
    let history = trainer.fit(data, Fit::epochs(1))?;
    let scheduler = trainer.get::<StepLrScheduler>();
    let rates = scheduler.map(|scheduler| scheduler.lr_history().to_vec());
    Ok((history, rates.unwrap_or_default()))
}

/// Bonus: a linear warm-up, then half a cosine down to zero.
pub struct WarmupCosineScheduler {
    /// The highest rate.
    pub base_lr: f64,
    /// Epochs of warm-up.
    pub warmup_epochs: usize,
    /// Epochs until the rate is zero, warm-up included.
    pub total_epochs: usize,
}

impl WarmupCosineScheduler {
    /// `base_lr` is the highest rate; `total_epochs` includes the warm-up.
    pub fn new(base_lr: f64, warmup_epochs: usize, total_epochs: usize) -> Self {
        Self { base_lr, warmup_epochs, total_epochs }
    }

    /// The rate of an epoch, counted from 0.
    pub fn rate(&self, epoch: usize) -> f64 {
        // Bonus: base_lr × (epoch + 1) / warmup_epochs during the warm-up, then
        // base_lr × 0.5 × (1 + cos(π × progress)), progress from 0 to 1 over the other epochs.
        self.base_lr
    }
}

impl Callback for WarmupCosineScheduler {
    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        // Bonus: set the base rate, `run.learning_rate.set_base(..)`.
        Ok(())
    }

    fn access(&self) -> Access {
        // Bonus: say that this callback sets the base rate.
        Access::new()
    }
}
