//! A run that is walked by hand, for one callback.

use crate::callback::Callback;
use crate::console::{Console, Text};
use crate::error::Result;
use crate::event::{BatchEnd, Event, EventParts, Hook};
use crate::files::Files;
use crate::history::History;
use crate::learner::{Learner as _, ModelAccess as _, TrainStep};
use crate::learning_rate::LearningRate;
use crate::logs::Logs;
use crate::outcome::{Ending, Outcome, StopReason};
use crate::progress::Progress;
use crate::run::{Requests, Run};
use crate::testing::{Script, ScriptLearner};

/// Batches in an epoch.
const BATCHES: usize = 2;

/// Walks one callback through the events of a run, one at a time: training with a validation in
/// every epoch, then an `evaluate` and a `predict`.
///
/// Between two events everything can be looked at, and the callback saved, loaded or replaced. An
/// epoch has two batches; a stop that is asked for is obeyed as `fit` does.
///
/// # Example
/// ```
/// use refrain_core::callbacks::EarlyStopping;
/// use refrain_core::event::Hook;
/// use refrain_core::testing::{Script, Stage};
/// use refrain_core::{Callback as _, Monitor};
///
/// let mut stopping = EarlyStopping::new(Monitor::min("loss")).patience(2);
/// let mut stage = Stage::new(&Script::losses(&[1.0, 2.0, 3.0, 4.0]), 4);
/// while stage.next_hook() != Some(Hook::TrainEnd) {
///     stage.step(&mut stopping)?;
/// }
/// assert_eq!(stage.progress().epoch, 2);
/// assert_eq!(stage.stop().unwrap().reason, "no improvement of loss in 2 epochs");
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub struct Stage {
    learner: ScriptLearner,
    learning_rate: LearningRate,
    progress: Progress,
    history: History,
    requests: Requests,
    batch_logs: Option<Logs>,
    console: Console,
    files: Files,
    printed: Text,
    next: Option<Hook>,
    in_training: bool,
    /// Batches of the epoch that were trained.
    trained: usize,
    epoch_logs: Logs,
    test_logs: Logs,
    /// Whether the last update was skipped or put off.
    last_update: &'static str,
}

impl Clone for Stage {
    /// The same place in the same run; what was printed stays behind.
    fn clone(&self) -> Self {
        let (console, printed) = Console::memory();
        Self {
            learner: self.learner.clone(),
            learning_rate: self.learning_rate.clone(),
            progress: self.progress,
            history: self.history.clone(),
            requests: self.requests.clone(),
            batch_logs: self.batch_logs.clone(),
            console,
            files: self.files.clone(),
            printed,
            next: self.next,
            in_training: self.in_training,
            trained: self.trained,
            epoch_logs: self.epoch_logs.clone(),
            test_logs: self.test_logs.clone(),
            last_update: self.last_update,
        }
    }
}

impl Stage {
    /// A run of so many epochs, with a learning rate of 0.1.
    pub fn new(script: &Script, epochs: usize) -> Self {
        let (console, printed) = Console::memory();
        Self {
            learner: script.learner(),
            learning_rate: LearningRate::new(0.1),
            progress: Progress::start(0, epochs, BATCHES),
            history: History::default(),
            requests: Requests::default(),
            batch_logs: None,
            console,
            files: Files::default(),
            printed,
            next: Some(Hook::TrainBegin),
            in_training: true,
            trained: 0,
            epoch_logs: Logs::new(),
            test_logs: Logs::new(),
            last_update: "none",
        }
    }

    /// The event that comes next; `None` when all is over.
    pub fn next_hook(&self) -> Option<Hook> {
        self.next
    }

    /// Where the run is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The learning rate.
    pub fn learning_rate(&self) -> &LearningRate {
        &self.learning_rate
    }

    /// The learner, which counts the updates.
    pub fn learner(&self) -> &ScriptLearner {
        &self.learner
    }

    /// The epochs that ended.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Who asked for a stop.
    pub fn stop(&self) -> Option<&StopReason> {
        self.requests.stop()
    }

    /// What was printed.
    pub fn printed(&self) -> String {
        self.printed.contents()
    }

    /// `made`, `skipped` or `accumulated`: what became of the last update; `none` before the first.
    pub fn last_update(&self) -> &'static str {
        self.last_update
    }

    /// Logs of the epoch that is under way, or ended last.
    pub fn epoch_logs(&self) -> &Logs {
        &self.epoch_logs
    }

    /// Goes on to the next event and tells it to the callback, if it acts in that hook. Nothing
    /// happens when all is over.
    ///
    /// # Errors
    /// The callback's.
    pub fn step(&mut self, callback: &mut dyn Callback) -> Result {
        let Some(hook) = self.next else {
            return Ok(());
        };
        self.prepare(hook)?;
        let told = if callback.access().handles(hook) { self.tell(callback, hook) } else { Ok(()) };
        self.conclude(hook)?;
        told
    }

    /// Tells the callback an event out of its turn: `on_train_begin` after it was loaded, or one
    /// that it does not act in. The run does not move.
    ///
    /// # Errors
    /// The callback's.
    pub fn tell(&mut self, callback: &mut dyn Callback, hook: Hook) -> Result {
        let name = callback.name();
        let ending = match &self.requests.stop {
            Some(reason) => Ending::Stopped(reason.clone()),
            None => Ending::Completed,
        };
        let is_test = hook == Hook::TestEnd;
        let mut logs = if is_test { &self.test_logs } else { &self.epoch_logs }.clone();
        let used = self.learning_rate.clone();
        let mut run = Run {
            progress: self.progress,
            learning_rate: &mut self.learning_rate,
            model: &mut self.learner,
            history: &self.history,
            console: &mut self.console,
            requests: &mut self.requests,
            batch_logs: &mut self.batch_logs,
            callback: &name,
            is_rehearsal: false,
            is_resumed: false,
            rollbacks: 0,
            files: &self.files,
            trial: None,
        };
        let is_training = hook == Hook::TrainBatchEnd;
        let (index, size) = (if is_training { self.progress.batch } else { 0 }, 1);
        let outputs = vec![0.0_f64];
        let outcome = if hook == Hook::TrainEnd { ending.outcome() } else { Outcome::Completed };
        let parts = EventParts {
            batch: BatchEnd { index, size },
            logs: &mut logs,
            learning_rate: &used,
            outcome,
            outputs: &outputs,
        };
        let mut event = parts.event(hook);
        let told = callback.on_event(&mut run, &mut event);
        if let Event::BackwardEnd(step) = &event {
            self.last_update = if step.is_update_skipped() {
                "skipped"
            } else if step.is_accumulating() {
                "accumulated"
            } else {
                "made"
            };
        }
        if hook == Hook::EpochEnd {
            self.epoch_logs = logs;
        }
        // There is no data to try rates on: a trial that was asked for finds nothing.
        self.requests.trial = None;
        told
    }

    /// What the loop does before it emits the event.
    fn prepare(&mut self, hook: Hook) -> Result {
        match hook {
            Hook::EpochBegin => {
                self.progress.epoch = self.history.len();
                self.progress.batch = 0;
                self.trained = 0;
                self.learner.reset_metrics();
                self.batch_logs = None;
                self.epoch_logs = Logs::new();
            }
            Hook::BackwardEnd => {
                self.learner.forward_backward(1, TrainStep::default())?;
                self.batch_logs = None;
                self.last_update = "made";
            }
            Hook::TrainBatchEnd => {
                match self.last_update {
                    "skipped" => self.learner.clear_gradients(),
                    "accumulated" => self.learner.accumulate_gradients()?,
                    _ => {
                        self.learner.apply_gradients(self.learning_rate.get())?;
                        self.progress.step += 1;
                    }
                }
                self.progress.samples += 1;
            }
            Hook::TestBegin => {
                if self.in_training {
                    self.epoch_logs = Logs::new();
                    self.learner.read_metrics(&mut self.epoch_logs)?;
                }
                self.learner.reset_metrics();
                self.batch_logs = None;
            }
            Hook::TestBatchEnd => {
                self.learner.evaluate(1, None)?;
                self.batch_logs = None;
            }
            Hook::TestEnd => {
                self.test_logs = Logs::new();
                self.learner.read_metrics(&mut self.test_logs)?;
            }
            Hook::EpochEnd => {
                self.epoch_logs.insert_validation(&self.test_logs);
                self.epoch_logs.insert("learning_rate", self.learning_rate.get());
            }
            _ => {}
        }
        Ok(())
    }

    /// What the loop does afterwards: which event comes next.
    fn conclude(&mut self, hook: Hook) -> Result {
        let stops = self.requests.stop.is_some();
        self.next = Some(match hook {
            Hook::TrainBegin if stops => Hook::TrainEnd,
            Hook::TrainBegin => Hook::EpochBegin,
            Hook::EpochBegin => Hook::TrainBatchBegin,
            Hook::TrainBatchBegin => Hook::BackwardEnd,
            Hook::BackwardEnd => Hook::TrainBatchEnd,
            Hook::TrainBatchEnd => {
                self.trained += 1;
                self.progress.batch += 1;
                let is_over = stops || self.trained == BATCHES;
                if is_over { Hook::TestBegin } else { Hook::TrainBatchBegin }
            }
            Hook::TestBegin => Hook::TestBatchBegin,
            Hook::TestBatchBegin => Hook::TestBatchEnd,
            Hook::TestBatchEnd => Hook::TestEnd,
            Hook::TestEnd if self.in_training => Hook::EpochEnd,
            Hook::TestEnd => Hook::PredictBegin,
            Hook::EpochEnd => {
                self.history.push(self.progress.epoch, self.epoch_logs.clone());
                let is_over = stops || self.history.len() >= self.progress.epochs;
                if is_over { Hook::TrainEnd } else { Hook::EpochBegin }
            }
            Hook::TrainEnd => {
                self.in_training = false;
                Hook::TestBegin
            }
            Hook::PredictBegin => Hook::PredictBatchBegin,
            Hook::PredictBatchBegin => Hook::PredictBatchEnd,
            Hook::PredictBatchEnd => Hook::PredictEnd,
            Hook::PredictEnd => {
                self.next = None;
                return Ok(());
            }
        });
        Ok(())
    }
}
