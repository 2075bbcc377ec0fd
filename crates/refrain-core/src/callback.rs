//! The trait `Callback`: hooks into a run.

use std::any::Any;
use std::borrow::Cow;

use crate::error::Result;
use crate::event::{BackwardEnd, BatchEnd, EpochEnd, Event, PredictBatchEnd, TestEnd};
use crate::outcome::Outcome;
use crate::run::Run;
use crate::state::State;

/// Hooks into a run. Every hook does nothing by default; override those you need.
///
/// Hooks are called in list order. What exists at which hook stands in
/// [the table of events](crate::event). Returning an error, or panicking, ends the run unless the
/// callback is wrapped in [`on_failure(OnFailure::Disable)`](crate::CallbackExt::on_failure);
/// `on_train_end` still runs for every callback that began.
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

    /// Training begins. Files are opened here; nothing was trained yet.
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

    /// What this callback reads and writes; checked before the first batch.
    fn access(&self) -> Access {
        Access::default()
    }

    /// Whether the options make sense. Called before the first batch.
    ///
    /// # Errors
    /// A configuration error that names option, value and what is allowed.
    fn check(&self) -> Result {
        Ok(())
    }

    /// What happens when a hook fails or panics. Default: the run is ended.
    fn failure_policy(&self) -> OnFailure {
        OnFailure::Abort
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

/// What a callback reads and writes: checked before the first batch, never used to reorder.
///
/// # Example
/// ```
/// use refrain_core::Access;
/// let access = Access::new().reads("val_loss").writes("gap");
/// assert_eq!(access.written(), ["gap"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    reads: Vec<String>,
    writes: Vec<String>,
    rate: RateAccess,
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
    /// Reads and writes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads this key of the epoch's logs.
    pub fn reads(mut self, key: impl Into<String>) -> Self {
        self.reads.push(key.into());
        self
    }

    /// Adds this key to the epoch's logs.
    pub fn writes(mut self, key: impl Into<String>) -> Self {
        self.writes.push(key.into());
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

    /// Keys read.
    pub fn read(&self) -> &[String] {
        &self.reads
    }

    /// Keys written.
    pub fn written(&self) -> &[String] {
        &self.writes
    }

    /// What is done to the learning rate.
    pub fn rate(&self) -> RateAccess {
        self.rate
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
