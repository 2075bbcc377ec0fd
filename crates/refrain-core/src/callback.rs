//! The trait `Callback`: hooks into a run.

use std::any::Any;
use std::borrow::Cow;
use std::path::PathBuf;

use crate::callbacks::FileTemplate;
use crate::error::Result;
use crate::event::{BackwardEnd, BatchEnd, EpochEnd, Event, Hook, PredictBatchEnd, TestEnd};
use crate::files::Files;
use crate::finding::{Finding, RunPlan};
use crate::outcome::Outcome;
use crate::run::Run;
use crate::state::State;

/// Hooks into a run. Every hook does nothing by default; override those you need.
///
/// Hooks are called in list order. What exists at which hook stands in
/// [the table of events](crate::event). Returning an error, or panicking, ends the run, unless the
/// callback only [observes](Access::observes) or is wrapped in
/// [`on_failure(OnFailure::Disable)`](crate::CallbackExt::on_failure); `on_train_end` still runs
/// for every callback that began.
///
/// A callback is its configuration plus one serialisable state with a `Default`. A `fit` begins
/// with [`load_state(None)`](Self::load_state), which must set the state to its default.
///
/// # Example
/// ```
/// use refrain_core::testing::Script;
/// use refrain_core::{Callback, EpochEnd, Fit, Result, Run, Trainer};
///
/// /// Stops as soon as the loss is small enough.
/// struct StopBelow(f64);
///
/// impl Callback for StopBelow {
///     fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
///         if epoch.logs.get("loss").is_some_and(|loss| loss < self.0) {
///             run.stop(format!("the loss is below {}", self.0));
///         }
///         Ok(())
///     }
/// }
///
/// let script = Script::losses(&[3.0, 2.0, 1.0, 0.5]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(StopBelow(1.5));
/// let history = trainer.fit(&script.data(), Fit::epochs(4).verbose(0))?;
/// assert_eq!(history.len(), 3);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub trait Callback: Any + Send {
    /// Label in messages, key of the state in checkpoints, `by` in the summary.
    ///
    /// Default: the type's name in snake case, `EarlyStopping` → `early_stopping`.
    fn name(&self) -> Cow<'static, str> {
        snake_case(short_type_name::<Self>()).into()
    }

    /// Training begins. Files are opened here; nothing was trained yet, unless the run goes on from a
    /// checkpoint ([`Run::is_resumed`]): then state and model are those of the checkpoint. A run that
    /// is [rolled back](Run::roll_back) goes on from one as well, and this is called again.
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        let _ = run;
        Ok(())
    }

    /// An epoch begins. Schedulers set the rate here.
    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        let _ = run;
        Ok(())
    }

    /// A batch is about to be trained.
    fn on_train_batch_begin(&mut self, run: &mut Run<'_>) -> Result {
        let _ = run;
        Ok(())
    }

    /// Gradients exist, the update has not run: look at them, or skip the update.
    fn on_backward_end(&mut self, run: &mut Run<'_>, step: &mut BackwardEnd) -> Result {
        let _ = (run, step);
        Ok(())
    }

    /// A batch was trained. [`Run::batch_logs`] gives the running means, at the price of a read.
    fn on_train_batch_end(&mut self, run: &mut Run<'_>, batch: &BatchEnd) -> Result {
        let _ = (run, batch);
        Ok(())
    }

    /// A validation, or a call of `evaluate`, begins.
    fn on_test_begin(&mut self, run: &mut Run<'_>) -> Result {
        let _ = run;
        Ok(())
    }

    /// A batch is about to be evaluated.
    fn on_test_batch_begin(&mut self, run: &mut Run<'_>) -> Result {
        let _ = run;
        Ok(())
    }

    /// A batch was evaluated.
    fn on_test_batch_end(&mut self, run: &mut Run<'_>, batch: &BatchEnd) -> Result {
        let _ = (run, batch);
        Ok(())
    }

    /// The validation, or `evaluate`, ended; told how. Runs for whoever began.
    fn on_test_end(&mut self, run: &mut Run<'_>, test: &TestEnd<'_>) -> Result {
        let _ = (run, test);
        Ok(())
    }

    /// An epoch was run to its end. Its logs are complete; what you add is seen by those after you.
    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let _ = (run, epoch);
        Ok(())
    }

    /// Training ended; told how. Runs exactly once for whoever began, whatever happened.
    fn on_train_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        let _ = (run, outcome);
        Ok(())
    }

    /// A call of `predict` begins.
    fn on_predict_begin(&mut self, run: &mut Run<'_>) -> Result {
        let _ = run;
        Ok(())
    }

    /// A batch is about to be predicted.
    fn on_predict_batch_begin(&mut self, run: &mut Run<'_>) -> Result {
        let _ = run;
        Ok(())
    }

    /// A batch was predicted.
    fn on_predict_batch_end(&mut self, run: &mut Run<'_>, batch: &PredictBatchEnd<'_>) -> Result {
        let _ = (run, batch);
        Ok(())
    }

    /// The call of `predict` ended; told how. Runs for whoever began.
    fn on_predict_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        let _ = (run, outcome);
        Ok(())
    }

    /// Delivers an event to its hook. Wrappers override this, and forward the rest.
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        match event {
            Event::TrainBegin => self.on_train_begin(run),
            Event::EpochBegin => self.on_epoch_begin(run),
            Event::TrainBatchBegin => self.on_train_batch_begin(run),
            Event::BackwardEnd(step) => self.on_backward_end(run, step),
            Event::TrainBatchEnd(batch) => self.on_train_batch_end(run, batch),
            Event::TestBegin => self.on_test_begin(run),
            Event::TestBatchBegin => self.on_test_batch_begin(run),
            Event::TestBatchEnd(batch) => self.on_test_batch_end(run, batch),
            Event::TestEnd(test) => self.on_test_end(run, test),
            Event::EpochEnd(epoch) => self.on_epoch_end(run, epoch),
            Event::TrainEnd(outcome) => self.on_train_end(run, outcome),
            Event::PredictBegin => self.on_predict_begin(run),
            Event::PredictBatchBegin => self.on_predict_batch_begin(run),
            Event::PredictBatchEnd(batch) => self.on_predict_batch_end(run, batch),
            Event::PredictEnd(outcome) => self.on_predict_end(run, outcome),
        }
    }

    /// What this callback reads and writes, and in which hooks it acts; checked and shown before
    /// the first batch. Must depend on options alone.
    fn access(&self) -> Access {
        Access::default()
    }

    /// What is odd about these options in this run: a patience that never ends, a warm-up longer
    /// than the run. Names of metrics, files and owners of the rate are checked without it.
    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let _ = plan;
        Vec::new()
    }

    /// Whether the options make sense. Called before the first batch.
    ///
    /// # Errors
    /// A configuration error that names option, value and what is allowed.
    fn check(&self) -> Result {
        Ok(())
    }

    /// What happens when a hook fails or panics. Default: the run is ended; a callback that only
    /// [observes](Access::observes) is disabled.
    fn failure_policy(&self) -> OnFailure {
        if self.access().is_observing() { OnFailure::Disable } else { OnFailure::Abort }
    }

    /// The state, to be put into a checkpoint; `None` where there is none.
    ///
    /// # Errors
    /// When the state cannot be written.
    fn save_state(&self) -> Result<Option<State>> {
        Ok(None)
    }

    /// Sets the state to a saved one, or to its default for `None`. Called before
    /// `on_train_begin` of every `fit`.
    ///
    /// # Errors
    /// When the saved state is not this callback's.
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        let _ = saved;
        Ok(())
    }

    /// The callback inside a wrapper, for [`Trainer::get`](crate::Trainer::get).
    fn inner(&self) -> Option<&dyn Callback> {
        None
    }
}

impl Callback for Box<dyn Callback> {
    fn name(&self) -> Cow<'static, str> {
        (**self).name()
    }
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        (**self).on_event(run, event)
    }
    fn access(&self) -> Access {
        (**self).access()
    }
    fn check(&self) -> Result {
        (**self).check()
    }
    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        (**self).findings(plan)
    }
    fn failure_policy(&self) -> OnFailure {
        (**self).failure_policy()
    }
    fn save_state(&self) -> Result<Option<State>> {
        (**self).save_state()
    }
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        (**self).load_state(saved)
    }
    fn inner(&self) -> Option<&dyn Callback> {
        Some(&**self)
    }
}

/// What happens to the run when a callback fails or panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The run ends with the callback's error. The default.
    #[default]
    Abort,
    /// The callback is named with its error and ended; the run goes on without it.
    Disable,
}

/// What a callback reads, writes and may ask for: checked and shown before the first batch, never
/// used to reorder.
///
/// # Example
/// ```
/// use refrain_core::event::Hook;
/// use refrain_core::Access;
/// let access = Access::new().acts_in([Hook::EpochEnd]).reads("val_loss").writes("gap");
/// assert_eq!(access.written(), ["gap"]);
/// assert!(access.handles(Hook::EpochEnd) && !access.handles(Hook::EpochBegin));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    hooks: Option<Vec<Hook>>,
    reads: Vec<String>,
    /// The option that names each of them.
    read_for: Vec<&'static str>,
    writes: Vec<String>,
    measured: Vec<String>,
    files: Vec<PathBuf>,
    templates: Vec<FileTemplate>,
    rate: RateAccess,
    may_stop: bool,
    may_roll_back: bool,
    needs_beginning: bool,
    reads_model: bool,
    sets_weights: bool,
    changes_gradients: bool,
    accumulates: Option<usize>,
    observes: bool,
}

/// What a callback does to the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateAccess {
    /// Nothing.
    #[default]
    None,
    /// Owns one factor. Any number of callbacks may.
    Factor,
    /// Sets the base. One callback or schedule may.
    Base,
}

impl Access {
    /// Reads and writes nothing, and is called at every hook.
    pub fn new() -> Self {
        Self::default()
    }

    /// Acts in these hooks alone; the others are not called. Without it all are.
    pub fn acts_in(mut self, hooks: impl IntoIterator<Item = Hook>) -> Self {
        self.hooks = Some(hooks.into_iter().collect());
        self
    }

    /// Acts in these hooks too; for wrappers.
    pub fn also_acts_in(mut self, more: impl IntoIterator<Item = Hook>) -> Self {
        if let Some(hooks) = &mut self.hooks {
            hooks.extend(more);
        }
        self
    }

    /// Reads this key of the epoch's logs.
    pub fn reads(self, key: impl Into<String>) -> Self {
        self.reads_for("monitor", key)
    }

    /// Reads this key of the epoch's logs because the option `option` says so: that is where a
    /// check points to when the run has no such key.
    pub fn reads_for(mut self, option: &'static str, key: impl Into<String>) -> Self {
        self.reads.push(key.into());
        self.read_for.push(option);
        self
    }

    /// Adds this key to the epoch's logs.
    pub fn writes(mut self, key: impl Into<String>) -> Self {
        self.writes.push(key.into());
        self
    }

    /// Adds this key to the epoch's logs with a value that is measured, a time or a load: it
    /// differs from run to run.
    pub fn writes_measured(mut self, key: impl Into<String>) -> Self {
        let key = key.into();
        self.measured.push(key.clone());
        self.writes(key)
    }

    /// Writes this file, or files whose names this template makes.
    pub fn writes_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Writes files whose names this template makes.
    pub(crate) fn writes_files_of(mut self, template: FileTemplate) -> Self {
        self.templates.push(template);
        self
    }

    /// Sets the base learning rate.
    pub fn sets_base_rate(mut self) -> Self {
        self.rate = RateAccess::Base;
        self
    }

    /// Owns a factor of the learning rate.
    pub fn scales_rate(mut self) -> Self {
        self.rate = RateAccess::Factor;
        self
    }

    /// May ask for a stop.
    pub fn may_stop(mut self) -> Self {
        self.may_stop = true;
        self
    }

    /// May ask the run to [go back](Run::roll_back) to a checkpoint. A run with such a callback takes
    /// one before its first batch, and leaves none out that is due.
    pub fn may_roll_back(mut self) -> Self {
        self.may_roll_back = true;
        self
    }

    /// Needs a checkpoint of the run's beginning, before the first batch: what it does to files or
    /// values that were there before cannot be told from them alone. Without it a run that is killed
    /// before its first checkpoint begins anew, and with it, from there.
    pub fn needs_beginning(mut self) -> Self {
        self.needs_beginning = true;
        self
    }

    /// Reads the model: weights, gradients, a trial of learning rates.
    pub fn reads_model(mut self) -> Self {
        self.reads_model = true;
        self
    }

    /// Sets the model's weights.
    pub fn sets_weights(mut self) -> Self {
        self.sets_weights = true;
        self
    }

    /// Changes gradients, or skips or puts off updates.
    pub fn changes_gradients(mut self) -> Self {
        self.changes_gradients = true;
        self
    }

    /// Puts updates off, so that there is one in `batches` batches: schedules that count steps, or
    /// look at the end of the run, then count these.
    pub fn accumulates(mut self, batches: usize) -> Self {
        self.accumulates = Some(batches);
        self.changes_gradients()
    }

    /// Only observes: it logs, draws or sends, and nothing in the run depends on it.
    ///
    /// Such a callback is disabled by default where it fails, and left out where a run is only
    /// rehearsed (`preview`, `replay`).
    pub fn observes(mut self) -> Self {
        self.observes = true;
        self
    }

    /// The hooks it acts in; `None`: all.
    pub fn hooks(&self) -> Option<&[Hook]> {
        self.hooks.as_deref()
    }

    /// Whether it acts in `hook`.
    pub fn handles(&self, hook: Hook) -> bool {
        self.hooks.as_ref().is_none_or(|hooks| hooks.contains(&hook))
    }

    /// Keys read, each with the option that names it.
    pub(crate) fn read_with_options(&self) -> impl Iterator<Item = (&String, &'static str)> {
        self.reads.iter().zip(self.read_for.iter().copied())
    }

    /// Keys read.
    pub fn read(&self) -> &[String] {
        &self.reads
    }

    /// Keys written.
    pub fn written(&self) -> &[String] {
        &self.writes
    }

    /// Keys written whose values are measured.
    pub fn measured(&self) -> &[String] {
        &self.measured
    }

    /// Files written, or the templates of their names.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What is there now under names that the templates among [`files`](Self::files) make, such as
    /// `weights-{epoch:02d}.safetensors`.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn files_of_templates(&self, files: &Files) -> Result<Vec<PathBuf>> {
        let found = self.templates.iter().map(|template| template.existing(files));
        Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// What is done to the learning rate.
    pub fn rate(&self) -> RateAccess {
        self.rate
    }

    /// Whether it may ask for a stop.
    pub fn stops(&self) -> bool {
        self.may_stop
    }

    /// Whether it may ask the run to go back to a checkpoint.
    pub fn rolls_back(&self) -> bool {
        self.may_roll_back
    }

    /// Whether a checkpoint is taken before the first batch.
    pub fn is_beginning_needed(&self) -> bool {
        self.needs_beginning || self.may_roll_back
    }

    /// Whether it reads the model.
    pub fn is_reading_model(&self) -> bool {
        self.reads_model
    }

    /// Whether it sets weights.
    pub fn is_setting_weights(&self) -> bool {
        self.sets_weights
    }

    /// Whether it changes gradients or updates.
    pub fn is_changing_gradients(&self) -> bool {
        self.changes_gradients
    }

    /// Batches for one update, where it puts updates off.
    pub fn batches_per_update(&self) -> Option<usize> {
        self.accumulates
    }

    /// Whether it only observes.
    pub fn is_observing(&self) -> bool {
        self.observes
    }
}

/// `a::b::EarlyStopping<T>` → `EarlyStopping`.
fn short_type_name<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// `EarlyStopping` → `early_stopping`; `CSVLogger` → `csv_logger`.
fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (i, &c) in chars.iter().enumerate() {
        let after_lower = i > 0 && !chars[i - 1].is_uppercase() && chars[i - 1] != '_';
        let before_lower = chars.get(i + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && i > 0 && (after_lower || before_lower && chars[i - 1] != '_') {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_type_in_snake_case() {
        for (name, expected) in [
            ("EarlyStopping", "early_stopping"),
            ("StepLrScheduler", "step_lr_scheduler"),
            ("ReduceLrOnPlateau", "reduce_lr_on_plateau"),
            ("CSVLogger", "csv_logger"),
            ("Ema", "ema"),
        ] {
            assert_eq!(snake_case(name), expected);
        }
        struct Mine<T>(T);
        impl Callback for Mine<Vec<u8>> {}
        assert_eq!(Mine(vec![]).name(), "mine");
    }
}
