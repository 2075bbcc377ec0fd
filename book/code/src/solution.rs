//! The exercise, solved: three callbacks written from nothing but the public trait, and the
//! pipeline that combines two of them with one that comes with Refrain.

use std::f64::consts::PI;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use refrain::callbacks::EarlyStopping;
use refrain::prelude::*;
use refrain::{Access, History, State};
use serde_json::{Map, Value};

use crate::setup::{Data, create_simple_model};

// ANCHOR: scheduler
/// Task 1.1: multiplies the learning rate by `factor` every `step_epochs` epochs.
pub struct StepLrScheduler {
    factor: f64,
    step_epochs: usize,
    verbose: bool,
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
        let epoch = run.progress.epoch;
        // A function of the epoch, and a factor of our own: nothing to be off by one after a run
        // that begins late, nothing to undo what another callback does to the rate.
        let reductions = i32::try_from(epoch / self.step_epochs).unwrap_or(i32::MAX);
        let before = run.learning_rate.get();
        run.learning_rate.set_factor(run.callback_name(), self.factor.powi(reductions))?;
        let after = run.learning_rate.get();
        if self.verbose && epoch > 0 && epoch.is_multiple_of(self.step_epochs) {
            run.print(&format!("Epoch {epoch}: Reducing LR from {before:.6} to {after:.6}"));
        }
        self.lr_history.push(after);
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new().scales_rate()
    }

    fn check(&self) -> Result {
        if self.step_epochs == 0 {
            return Err(Error::config("step_epochs is 0; allowed: 1 or more"));
        }
        Ok(())
    }

    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.lr_history).map(Some)
    }

    // Called with `None` when a `fit` begins: without it, a second run would go on with the
    // history of the first.
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.lr_history = State::load_or_default(saved)?;
        Ok(())
    }
}
// ANCHOR_END: scheduler

// ANCHOR: logger
/// Task 2.1: logs the numbers of every epoch to a JSON file.
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
        // `std::fs::write` empties the file first: a kill at that moment would lose the log.
        run.files().write_atomically(&self.log_file, &json)
    }
}

impl Callback for JsonTrainingLogger {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        self.write(run)
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let mut entry = Map::new();
        // Epochs count from 0 in hooks, from 1 in everything written.
        entry.insert("epoch".into(), (run.progress.epoch + 1).into());
        entry.insert("timestamp".into(), now.into());
        for (name, value) in epoch.logs.iter() {
            // JSON has no word for NaN and infinities: they become `null`.
            entry.insert(name.into(), value.into());
        }
        self.entries.push(entry);
        self.write(run)
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        run.print(&format!(
            "Training {} after {} epochs in {:.2} s; logged to {}",
            outcome.as_str(),
            self.entries.len(),
            run.progress.elapsed().as_secs_f64(),
            self.log_file.display()
        ));
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
// ANCHOR_END: logger

// ANCHOR: pipeline
/// Task 3.1: both callbacks together with early stopping.
///
/// # Errors
/// The run's first.
pub fn train_with_full_pipeline(data: &Data, log_file: &Path) -> Result<(History, Vec<f64>)> {
    let mut trainer = create_simple_model(data)?
        .callback(StepLrScheduler::new(0.5, 10))
        .callback(JsonTrainingLogger::new(log_file))
        .callback(
            EarlyStopping::new(Monitor::min("val_loss")).patience(5).restore_best_weights(true),
        );
    let fit = Fit::epochs(50).batch_size(128).validation_split(0.2);
    let history = trainer.fit(data, fit)?;
    let scheduler = trainer.get::<StepLrScheduler>();
    let rates = scheduler.map(|scheduler| scheduler.lr_history().to_vec());
    Ok((history, rates.unwrap_or_default()))
}
// ANCHOR_END: pipeline

// ANCHOR: warmup
/// Bonus: a linear warm-up, then half a cosine down to zero.
pub struct WarmupCosineScheduler {
    base_lr: f64,
    warmup_epochs: usize,
    total_epochs: usize,
}

impl WarmupCosineScheduler {
    /// `base_lr` is the highest rate; `total_epochs` includes the warm-up.
    pub fn new(base_lr: f64, warmup_epochs: usize, total_epochs: usize) -> Self {
        Self { base_lr, warmup_epochs, total_epochs }
    }

    /// The rate of an epoch, counted from 0.
    pub fn rate(&self, epoch: usize) -> f64 {
        if epoch < self.warmup_epochs {
            // + 1: a first epoch at rate 0 would learn nothing.
            return self.base_lr * (epoch + 1) as f64 / self.warmup_epochs as f64;
        }
        let decay_epochs = self.total_epochs.saturating_sub(self.warmup_epochs).max(1);
        let progress = (epoch - self.warmup_epochs) as f64 / decay_epochs as f64;
        self.base_lr * 0.5 * (1.0 + (PI * progress.min(1.0)).cos())
    }
}

impl Callback for WarmupCosineScheduler {
    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        run.learning_rate.set_base(self.rate(run.progress.epoch))
    }

    // Sets the rate instead of scaling it: there can be one such callback.
    fn access(&self) -> Access {
        Access::new().sets_base_rate()
    }
}
// ANCHOR_END: warmup
