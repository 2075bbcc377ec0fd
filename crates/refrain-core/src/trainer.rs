//! The trainer: a learner, a list of callbacks, and what a run needs beside them.

use std::ops::RangeBounds;
use std::path::Path;
use std::time::Duration;

use crate::callback::Callback;
use crate::check;
use crate::checkpoint::{Checkpoints, Part, Prepare, Resumption, SaveHandle, Saving};
use crate::console::Console;
use crate::costs::Costs;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::files::Files;
use crate::finding::{RunPlan, Severity};
use crate::fit::{Batches, Fit, Plan};
use crate::history::History;
use crate::learner::{IntoLearner, Learner, TrackMetric};
use crate::learning_rate::LearningRate;
use crate::logs::Logs;
use crate::outcome::StopHandle;
use crate::progress::Progress;
use crate::report::Check;
use crate::run::{Requests, Run};
use crate::schedule::{Rate, Schedule};
use crate::session::{Epochs, Session};
use crate::slot::Slot;
use crate::trial::Trial;
use crate::weights::Weights;

/// Owns a learner and its callbacks; `fit`, `evaluate` and `predict` drive them.
///
/// # Example
/// ```
/// use refrain_core::callbacks::EarlyStopping;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Monitor, Trainer};
///
/// let script = Script::losses(&[3.0, 2.0, 2.5, 2.5, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1)
///     .callback(EarlyStopping::new(Monitor::min("loss")).patience(2));
/// let history = trainer.fit(&script.data(), Fit::epochs(5).verbose(0))?;
/// assert_eq!(history.len(), 4);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub struct Trainer<L: Learner> {
    pub(crate) learner: L,
    pub(crate) slots: Vec<Slot>,
    pub(crate) console: Console,
    pub(crate) stop: StopHandle,
    pub(crate) seed: u64,
    pub(crate) schedule: Option<Box<dyn Schedule>>,
    pub(crate) initial_rate: f64,
    // The current run.
    pub(crate) learning_rate: LearningRate,
    pub(crate) progress: Progress,
    pub(crate) history: History,
    pub(crate) requests: Requests,
    pub(crate) batch_logs: Option<Logs>,
    pub(crate) trial: Option<Trial>,
    /// Who sets the base rate, where somebody said so.
    pub(crate) base_owner: Option<String>,
    is_rehearsal: bool,
    warns: bool,
    /// Where this run's time went so far, where it is measured.
    pub(crate) costs: Option<Costs>,
    pub(crate) files: Files,
    pub(crate) checkpoints: Option<Checkpoints>,
    pub(crate) save: SaveHandle,
    /// The run that the next `fit` goes on with.
    pub(crate) resumption: Option<Resumption>,
    pub(crate) is_resumed: bool,
    /// How often the run went back to a checkpoint.
    pub(crate) rollbacks: usize,
    /// What is to be done in the folder before the next `fit` writes into it.
    pub(crate) prepare: Option<Prepare>,
    /// What files of the program's own in that folder will hold.
    pub(crate) notes: Vec<Part>,
    /// The folder of the run that has ended, where it stays held.
    pub(crate) held: Option<Saving>,
}

impl<L: Learner> Trainer<L> {
    /// A trainer of a model with an optimizer and a loss, as Keras' `compile`.
    ///
    /// Ranges of the optimizer's options are checked at the beginning of `fit`.
    pub fn compile<M, O, S>(model: M, optimizer: O, loss: S) -> Self
    where
        O: IntoLearner<M, S, Learner = L>,
    {
        let (learner, rate) = optimizer.into_learner(model, loss);
        Self::new(learner, rate)
    }

    /// A trainer of a learner of your own. `learning_rate`: a number > 0, or a schedule.
    pub fn new(learner: L, learning_rate: impl Into<Rate>) -> Self {
        let (initial_rate, schedule) = match learning_rate.into() {
            Rate::Constant(rate) => (rate, None),
            Rate::Schedule(schedule) => {
                (schedule.learning_rate(&Progress::default()), Some(schedule))
            }
        };
        Self {
            learner,
            slots: Vec::new(),
            console: Console::stdout(),
            stop: StopHandle::default(),
            seed: 0,
            schedule,
            initial_rate,
            learning_rate: LearningRate::new(initial_rate),
            progress: Progress::default(),
            history: History::default(),
            requests: Requests::default(),
            batch_logs: None,
            trial: None,
            base_owner: None,
            is_rehearsal: false,
            warns: true,
            costs: None,
            files: Files::default(),
            checkpoints: None,
            save: SaveHandle::default(),
            resumption: None,
            is_resumed: false,
            rollbacks: 0,
            prepare: None,
            notes: Vec::new(),
            held: None,
        }
    }

    /// Tracks a metric beside the loss.
    pub fn metric<M>(mut self, metric: M) -> Self
    where
        L: TrackMetric<M>,
    {
        self.learner.track_metric(metric);
        self
    }

    /// Appends a callback. List order is the order in which callbacks see an event.
    pub fn callback(mut self, callback: impl Callback) -> Self {
        self.slots.push(Slot::new(Box::new(callback)));
        self
    }

    /// Appends callbacks chosen at run time.
    pub fn callbacks(mut self, callbacks: impl IntoIterator<Item = Box<dyn Callback>>) -> Self {
        self.slots.extend(callbacks.into_iter().map(Slot::new));
        self
    }

    /// Seed of the data order and of dropout. Default 0. The same seed and the same initial weights
    /// give the same run; a Burn module of your own gets its weights from `device.seed(..)`, called
    /// before it is built.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Where the run prints. Default: standard output.
    pub fn console(mut self, console: Console) -> Self {
        self.console = console;
        self
    }

    /// Makes this trainer's runs rehearsals: callbacks decide, and write and send nothing.
    pub fn rehearse(mut self) -> Self {
        self.is_rehearsal = true;
        self
    }

    pub(crate) fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    /// Leaves out the warnings of the check that every run begins with, for who has shown those of
    /// [`check`](Self::check) before.
    pub fn without_warnings(mut self) -> Self {
        self.warns = false;
        self
    }

    /// Stops this trainer's runs when `handle` is stopped.
    pub fn stop_with(mut self, handle: StopHandle) -> Self {
        self.stop = handle;
        self
    }

    /// A handle that stops this trainer's run from another thread or a signal.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Trains.
    ///
    /// Names, order and options are checked first; then `on_train_begin`, the epochs, and
    /// `on_train_end`, which runs whatever happened. Each `fit` begins with the states of all
    /// callbacks at their default and with the learning rate given to `compile`; weights and
    /// optimizer go on from where they are. On an error the trained model is still here.
    ///
    /// # Errors
    /// The first error of a callback, the data or the engine. [`Error::is_config`]: nothing has
    /// begun. Epochs that ended before are in [`history`](Self::history).
    pub fn fit<D>(&mut self, data: &D, fit: Fit<'_, L::Batch>) -> Result<History>
    where
        D: Dataset<Batch = L::Batch>,
    {
        let epochs = Epochs::of_fit(&fit);
        let plan = Plan::new(data, fit)?;
        let mut session = self.session(epochs.of_plan(&plan))?;
        // Errors stay in the session, which tells them to the callbacks and returns the first.
        let _ = session.run(&plan);
        session.finish()
    }

    /// Begins a run whose loop you write yourself, with the same callbacks and events as `fit`.
    ///
    /// # Errors
    /// What [`fit`](Self::fit) refuses before its first batch.
    pub fn session(&mut self, epochs: Epochs) -> Result<Session<'_, L>> {
        Session::begin(self, epochs)
    }

    /// Loss and metrics on `data`, without training: `loss` first.
    ///
    /// Callbacks see the `on_test_*` hooks. `batch_size` ≥ 1; the means are weighted by samples.
    ///
    /// # Errors
    /// The first error of a callback, the data or the engine; a stop from outside.
    pub fn evaluate<D>(&mut self, data: &D, batch_size: usize) -> Result<Logs>
    where
        D: Dataset<Batch = L::Batch>,
    {
        let batches = Batches::all(data, batch_size)?;
        self.learner.check()?;
        let logs = self.test(&batches, false);
        self.stop.reset();
        logs?.ok_or_else(|| Error::msg("the evaluation was interrupted"))
    }

    /// The model's outputs for `data`, in its order.
    ///
    /// # Errors
    /// The first error of a callback, the data or the engine; a stop from outside.
    pub fn predict<D>(&mut self, data: &D, batch_size: usize) -> Result<L::Output>
    where
        D: Dataset<Batch = L::Batch>,
    {
        let batches = Batches::all(data, batch_size)?;
        let outputs = self.predict_batches(&batches);
        self.stop.reset();
        outputs?.ok_or_else(|| Error::msg("the prediction was interrupted"))
    }

    /// The callback of type `C` that comes first in the list, looking through wrappers.
    pub fn get<C: Callback>(&self) -> Option<&C> {
        self.slots.iter().find_map(Slot::find)
    }

    /// Callbacks that failed and were disabled in the last run, with their errors.
    pub fn disabled(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.slots.iter().filter_map(|slot| {
            slot.entry.disabled.as_ref().map(|error| (slot.name.as_str(), error))
        })
    }

    /// Where the time of the last run went; `None` where it was not measured.
    pub fn costs(&self) -> Option<&Costs> {
        self.costs.as_ref()
    }

    /// The learner.
    pub fn learner(&self) -> &L {
        &self.learner
    }

    /// The learner, to be changed between runs.
    pub fn learner_mut(&mut self) -> &mut L {
        &mut self.learner
    }

    /// Gives the learner back.
    pub fn into_learner(self) -> L {
        self.learner
    }

    /// The epochs of the last run, also of one that failed.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The learning rate as the last run left it.
    pub fn learning_rate(&self) -> &LearningRate {
        &self.learning_rate
    }

    /// Changes the learning rate with which the next `fit` begins.
    ///
    /// # Errors
    /// When it is not above 0 and finite.
    pub fn set_learning_rate(&mut self, rate: f64) -> Result {
        check_rate(rate)?;
        self.initial_rate = rate;
        self.learning_rate = LearningRate::new(rate);
        Ok(())
    }

    /// Writes the weights as a safetensors file, atomically.
    ///
    /// # Errors
    /// When the file cannot be written; what was there is still there.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result {
        self.learner.weights()?.save(path.as_ref())
    }

    /// Loads weights from a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be read, or a tensor does not fit; then the model stays as it was.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result {
        let path = path.as_ref();
        let weights = Weights::load(path)?;
        self.learner
            .set_weights(&weights)
            .map_err(|e| e.context(format!("weights `{}`", path.display())))
    }

    /// What `fit` with these arguments would do: who acts in which event, and what is odd. Errors
    /// among the findings are what `fit` would refuse; nothing is run and nothing written.
    ///
    /// # Errors
    /// When data and arguments do not fit each other, or the learning rate or the learner itself
    /// is impossible.
    pub fn check<D>(&self, data: &D, fit: Fit<'_, L::Batch>) -> Result<Check>
    where
        D: Dataset<Batch = L::Batch>,
    {
        let epochs = Epochs::of_fit(&fit);
        let plan = Plan::new(data, fit)?;
        self.check_plan(&epochs.of_plan(&plan).plan())
    }

    /// As [`check`](Self::check), for a run whose loop you write yourself.
    ///
    /// # Errors
    /// When the learning rate or the learner itself is impossible.
    pub fn check_plan(&self, plan: &RunPlan) -> Result<Check> {
        if self.schedule.is_none() {
            // A schedule may begin at 0, and is checked as such.
            check_rate(self.initial_rate)?;
        }
        self.learner.check()?;
        let plan = RunPlan {
            metrics: self.learner.metric_names(),
            batches_per_update: self.batches_per_update(),
            // A rehearsal keeps none, and goes back to none.
            checkpoints: (!self.is_rehearsal).then(|| self.keeps_checkpoints()),
            ..plan.clone()
        };
        let findings = check::findings(&self.slots, &plan, self.schedule.as_deref());
        Ok(Check::new(plan, &self.slots, findings))
    }

    /// Batches for one update of the weights, as callbacks declare it.
    pub(crate) fn batches_per_update(&self) -> usize {
        let of = |slot: &Slot| slot.entry.callback.access().batches_per_update();
        self.slots.iter().filter_map(of).max().unwrap_or(1).max(1)
    }

    /// Whether a callback may ask the run to go back to a checkpoint.
    pub(crate) fn may_roll_back(&self) -> bool {
        self.slots.iter().any(|slot| slot.entry.callback.access().rolls_back())
    }

    /// Whether a callback needs a checkpoint of the beginning.
    pub(crate) fn needs_beginning(&self) -> bool {
        self.slots.iter().any(|slot| slot.entry.callback.access().is_beginning_needed())
    }

    /// Refuses a run that cannot go well, before anything has begun; prints warnings.
    pub(crate) fn refuse(&mut self, plan: &RunPlan, verbose: u8) -> Result {
        for finding in self.check_plan(plan)?.findings {
            if finding.severity == Severity::Error {
                return Err(Error::config(finding.to_string()));
            }
            if verbose > 0 && self.warns {
                self.console.print(&format!("warning: {finding}"));
            }
        }
        self.base_owner = check::base_owner(&self.slots, self.schedule.is_some());
        Ok(())
    }

    /// Begins or leaves out the measuring of where the run's time goes.
    pub(crate) fn measure(&mut self, is_wanted: bool) {
        self.costs = is_wanted.then(Costs::default);
        for slot in &mut self.slots {
            slot.entry.time = is_wanted.then_some(Duration::ZERO);
        }
    }

    /// Completes what was measured.
    pub(crate) fn sum_up_costs(&mut self) {
        let Some(costs) = &mut self.costs else {
            return;
        };
        let time = |slot: &Slot| Some((slot.name.clone(), slot.entry.time?));
        costs.callbacks = self.slots.iter().filter_map(time).collect();
        costs.total = self.progress.elapsed();
    }

    /// Sets everything that belongs to one run to its beginning.
    pub(crate) fn reset(&mut self, progress: Progress) -> Result {
        self.learning_rate = LearningRate::new(self.initial_rate).owned_by(self.base_owner.clone());
        self.progress = progress;
        self.history = History::default();
        self.requests = Requests::default();
        self.batch_logs = None;
        self.trial = None;
        (self.is_resumed, self.rollbacks) = (false, 0);
        // A run that was interrupted may have left some that were kept.
        self.learner.clear_gradients();
        self.slots.iter_mut().try_for_each(Slot::reset)
    }

    /// Tells an event to every callback, in list order. The only place that does.
    ///
    /// All callbacks see the event even where one fails, except that a failing `*_begin` keeps
    /// those after it from beginning. The first error is returned, later ones hang on it.
    pub(crate) fn emit(&mut self, event: &mut Event<'_>) -> Result {
        self.emit_to(0.., event)
    }

    /// Tells an event to the callbacks in these places of the list.
    pub(crate) fn emit_to(
        &mut self,
        places: impl RangeBounds<usize>,
        event: &mut Event<'_>,
    ) -> Result {
        let Self { slots, learning_rate, learner, history, console, .. } = self;
        let Self { requests, batch_logs, trial, .. } = self;
        let base_owner = self.base_owner.as_deref();
        let progress = self.progress;
        let mut run = Run {
            progress,
            learning_rate,
            model: learner,
            history,
            console,
            requests,
            batch_logs,
            trial: trial.as_ref(),
            callback: "",
            is_rehearsal: self.is_rehearsal,
            is_resumed: self.is_resumed,
            rollbacks: self.rollbacks,
            files: &self.files,
        };
        let mut failures = Vec::new();
        let hook = event.hook();
        for (place, Slot { name, entry }) in slots.iter_mut().enumerate() {
            if !places.contains(&place) || entry.passes_over(hook) {
                continue;
            }
            run.callback = name;
            run.progress = progress;
            let base = run.learning_rate.base();
            let mut delivered = entry.deliver(name, &mut run, event);
            if delivered.is_ok() && run.learning_rate.base() != base {
                delivered = entry.check_base_change(name, base_owner);
            }
            if let Err(error) = delivered {
                failures.push(error);
                if event.hook().is_begin() {
                    break;
                }
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        let first = failures.remove(0);
        Err(first.with_further(failures))
    }
}

fn check_rate(rate: f64) -> Result {
    if rate.is_finite() && rate > 0.0 {
        return Ok(());
    }
    Err(Error::config(format!(
        "learning_rate is {rate}; allowed: a finite number above 0, typically 1e-4 to 0.1"
    )))
}
