//! What a callback sees, and may change, while it handles one event.

use std::any::Any;

use crate::console::Console;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::history::History;
use crate::learner::ModelAccess;
use crate::learning_rate::LearningRate;
use crate::logs::Logs;
use crate::outcome::StopReason;
use crate::progress::Progress;
use crate::trial::{Trial, TrialRequest};

/// A view of the run, built for each event: disjoint borrows, nothing shared, nothing locked.
///
/// Values change at once; control is *requested* and obeyed by the loop after every callback has
/// seen the event.
///
/// # Example
/// ```
/// use refrain_core::{LambdaCallback, Run};
/// let halve = LambdaCallback::new("halve").on_epoch_begin(|run: &mut Run<'_>| {
///     let factor = 0.5_f64.powi(run.progress.epoch as i32);
///     run.learning_rate.set_factor("halve", factor)
/// });
/// ```
pub struct Run<'a> {
    /// Where the run is.
    pub progress: Progress,
    /// The learning rate, base × factors.
    pub learning_rate: &'a mut LearningRate,
    /// The model: weights, gradient norm.
    pub model: &'a mut dyn ModelAccess,
    /// All epochs that ended so far.
    pub history: &'a History,
    pub(crate) console: &'a mut Console,
    pub(crate) requests: &'a mut Requests,
    pub(crate) batch_logs: &'a mut Option<Logs>,
    pub(crate) trial: Option<&'a Trial>,
    pub(crate) callback: &'a str,
    pub(crate) is_rehearsal: bool,
    pub(crate) is_resumed: bool,
    pub(crate) rollbacks: usize,
    pub(crate) files: &'a Files,
}

impl<'a> Run<'a> {
    /// Name of the callback that handles the event: the name under which it owns a factor of the
    /// learning rate.
    pub fn callback_name(&self) -> &'a str {
        self.callback
    }

    /// Whether this run is only a rehearsal (`preview`, `replay`): decide as ever, but write no
    /// file and send nothing.
    pub fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    /// Whether the run goes on from a checkpoint. The state, the learning rate and the model are
    /// those of the checkpoint in `on_train_begin` already, and what it does to rate and model is
    /// undone: the run has begun before.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// How often this run was [rolled back](Self::roll_back) so far.
    pub fn rollbacks(&self) -> usize {
        self.rollbacks
    }

    /// How this run reads and writes files.
    pub fn files(&self) -> &'a Files {
        self.files
    }

    /// Asks the loop to go back to the newest checkpoint that was due, after this event: everything is
    /// as it was there, but for the state of this callback and its factor of the learning rate, which
    /// becomes `factor`. Then `on_train_begin` is called again, as in a run that is resumed. The
    /// journal says so. The first to ask is obeyed.
    ///
    /// One that was taken because the run was interrupted, or somebody asked for it, is passed over:
    /// so the run goes the same way whether it was cut short or not. Declare it with
    /// [`Access::may_roll_back`](crate::Access::may_roll_back).
    ///
    /// The run fails where it keeps no [checkpoints](crate::Trainer::checkpoints).
    pub fn roll_back(&mut self, reason: impl Into<String>, factor: f64) {
        if self.requests.rollback.is_none() {
            let by = self.callback.to_owned();
            self.requests.rollback = Some(RollbackRequest { by, reason: reason.into(), factor });
        }
    }

    /// Asks the loop to stop after this event; see [the table of events](crate::event) for what
    /// still runs. The first to ask is named in the outcome.
    pub fn stop(&mut self, reason: impl Into<String>) {
        if self.requests.stop.is_none() {
            let by = self.callback.to_owned();
            self.requests.stop = Some(StopReason { by, reason: reason.into() });
        }
    }

    /// Asks the loop to try learning rates before the first epoch; valid in `on_train_begin`.
    ///
    /// Each of `rates` is tried on the next batch of the first epoch: forward and backward pass,
    /// the batch's loss is read, the weights are updated with that rate. The trial ends where the
    /// loss is not finite, or the smoothed loss exceeds `stop_above` times its lowest value. Then
    /// weights and optimizer are put back to the bit: the run is the same as without a trial. No
    /// callback sees its batches, so gradients are not clipped in it. What it found is
    /// [`trial`](Self::trial) from the next event on.
    ///
    /// A stop that is asked for at the same time is obeyed after the trial.
    ///
    /// # Errors
    /// When a rate is negative or not finite, or another callback asked for a trial.
    pub fn request_trial(&mut self, rates: Vec<f64>, stop_above: f64) -> Result {
        if let Some(bad) = rates.iter().find(|rate| !(rate.is_finite() && **rate >= 0.0)) {
            return Err(Error::config(format!(
                "a learning rate of {bad} was to be tried; allowed: a finite number, 0 or more"
            )));
        }
        if let Some(other) = &self.requests.trial {
            return Err(Error::config(format!(
                "`{}` has asked for a trial of learning rates already; keep one of the two",
                other.by
            )));
        }
        let by = self.callback.to_owned();
        self.requests.trial = Some(TrialRequest { by, rates, stop_above });
        Ok(())
    }

    /// What the trial of learning rates found, once there was one in this run.
    pub fn trial(&self) -> Option<&'a Trial> {
        self.trial
    }

    /// What has been asked for so far: a callback listed later sees what those before it wanted.
    pub fn requests(&self) -> &Requests {
        self.requests
    }

    /// The learner itself, for callbacks that belong to one engine; `None` where it is another.
    ///
    /// # Example
    /// ```
    /// use refrain_core::LambdaCallback;
    /// use refrain_core::testing::ScriptLearner;
    /// let count = LambdaCallback::new("count").on_epoch_end(|run, epoch| {
    ///     if let Some(learner) = run.model_as::<ScriptLearner>() {
    ///         epoch.logs.insert("updates", learner.updates() as f64);
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn model_as<L: ModelAccess>(&mut self) -> Option<&mut L> {
        (self.model as &mut dyn Any).downcast_mut()
    }

    /// Loss and metrics so far in this epoch (or evaluation): running means weighted by samples.
    ///
    /// Cost: one read from the device, shared by all callbacks that look at this event; nothing
    /// where nobody looks.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn batch_logs(&mut self) -> Result<&Logs> {
        if self.batch_logs.is_none() {
            let mut logs = Logs::new();
            self.model.read_metrics(&mut logs)?;
            *self.batch_logs = Some(logs);
        }
        Ok(self.batch_logs.get_or_insert_with(Logs::new))
    }

    /// Prints a line, above the progress bar where there is one. Control characters are escaped.
    pub fn print(&mut self, line: &str) {
        self.console.print(line);
    }

    /// Where this run prints; for callbacks that draw.
    pub fn console(&mut self) -> &mut Console {
        self.console
    }
}

/// A way back that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct RollbackRequest {
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) factor: f64,
}

/// What callbacks have asked of the loop and the loop has not yet obeyed.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    pub(crate) rollback: Option<RollbackRequest>,
    pub(crate) stop: Option<StopReason>,
    pub(crate) trial: Option<TrialRequest>,
}

impl Requests {
    /// Who asked for a stop first, and why.
    pub fn stop(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }
}
