//! Sets the learning rate of each epoch, by a schedule or a function.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plain_state;
use crate::callback::{Access, Callback};
use crate::error::Result;
use crate::event::Hook;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::progress::Progress;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::schedule::{self, Schedule, Unit, odd_rates, places};
use crate::state::exact_float;

/// Sets the learning rate at the beginning of each epoch, by any schedule or function.
///
/// It owns the *base* of the rate: callbacks that reduce the rate by a factor work beside it, a
/// second one that sets it is refused. A schedule without a unit counts epochs here, as Keras'
/// callback hands its function the epoch; with `unit = "steps"` it is asked for the epoch's first
/// step. To set the rate before every step, give the schedule to the optimizer. The momentum is set
/// too where the schedule has one (one-cycle).
///
/// - Reads: nothing
/// - Writes: nothing; the rate used is in every log as `learning_rate`
/// - Requests: nothing
/// - State: the base rate that it set last
/// - Cost: one evaluation of the schedule an epoch
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `schedule` | | a schedule, or a number ≥ 0 | the rate of each epoch |
/// | `verbose` | false | true or false | whether the rate of each epoch is printed |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "learning_rate_scheduler"
/// schedule = { type = "exponential_decay", initial_learning_rate = 0.1, decay_steps = 10, decay_rate = 0.5 }
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::LearningRateScheduler;
/// use refrain_core::schedule::ExponentialDecay;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Progress, Trainer};
///
/// let script = Script::losses(&[1.0; 3]);
/// let rates = |scheduler: LearningRateScheduler| -> refrain_core::Result<Vec<Option<f64>>> {
///     let mut trainer = Trainer::new(script.learner(), 0.8).callback(scheduler);
///     let history = trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
///     Ok(history.column("learning_rate"))
/// };
/// let decay = LearningRateScheduler::new(ExponentialDecay::new(0.4, 1.0, 0.5));
/// assert_eq!(rates(decay)?, [0.4, 0.2, 0.1].map(Some));
///
/// let closure = LearningRateScheduler::new(|p: &Progress| if p.epoch < 2 { 0.1 } else { 0.01 });
/// assert_eq!(rates(closure)?, [0.1, 0.1, 0.01].map(Some));
///
/// // From the rate so far, which is the optimizer's at first.
/// let halving = LearningRateScheduler::from_current(|_epoch, rate| rate / 2.0);
/// assert_eq!(rates(halving)?, [0.4, 0.2, 0.1].map(Some));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - A function of epoch and rate is given by [`from_current`](Self::from_current); Keras tries two
///   arguments, then one, and swallows a `TypeError` of the function itself. The rate that it gets
///   is the base, without the factors of other callbacks.
/// - Rates that are negative, NaN or infinite end the run with an error; Keras trains with them.
/// - An optimizer with a schedule of its own is refused before the first batch.
///
/// # Source
/// Keras' `LearningRateScheduler`.
pub struct LearningRateScheduler {
    source: Source,
    verbose: bool,
    state: LearningRateSchedulerState,
}

enum Source {
    Schedule(Box<dyn Schedule>),
    /// Of the epoch, from 0, and the current base rate.
    Function(Box<dyn Fn(usize, f64) -> f64 + Send>),
}

/// State of [`LearningRateScheduler`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LearningRateSchedulerState {
    /// The base rate that it set last.
    #[serde(with = "exact_float")]
    pub rate: Option<f64>,
}

impl LearningRateScheduler {
    /// Follows a schedule, or a closure of the [`Progress`]; one without a unit counts epochs.
    pub fn new(schedule: impl Schedule + 'static) -> Self {
        Self::from_box(Box::new(schedule))
    }

    /// Computes each epoch's rate from the epoch, counted from 0, and the base rate so far.
    pub fn from_current(function: impl Fn(usize, f64) -> f64 + Send + 'static) -> Self {
        Self::of(Source::Function(Box::new(function)))
    }

    fn from_box(mut schedule: Box<dyn Schedule>) -> Self {
        schedule.set_default_unit(Unit::Epochs);
        Self::of(Source::Schedule(schedule))
    }

    fn of(source: Source) -> Self {
        Self { source, verbose: false, state: LearningRateSchedulerState::default() }
    }

    /// Whether the rate of each epoch is printed. Default false.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }
}

impl Callback for LearningRateScheduler {
    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        let epoch = run.progress.epoch;
        let rate = match &self.source {
            Source::Schedule(schedule) => schedule.learning_rate(&run.progress),
            Source::Function(function) => {
                function(epoch, self.state.rate.unwrap_or_else(|| run.learning_rate.base()))
            }
        };
        run.learning_rate.set_base(rate)?;
        self.state.rate = Some(rate);
        if let Source::Schedule(schedule) = &self.source
            && let Some(momentum) = schedule.momentum(&run.progress)
        {
            run.model.set_momentum(momentum)?;
        }
        if self.verbose {
            run.print(&format!(
                "Epoch {}: LearningRateScheduler setting learning rate to {rate:?}.",
                epoch + 1
            ));
        }
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::EpochBegin]).sets_base_rate()
    }

    fn check(&self) -> Result {
        match &self.source {
            Source::Schedule(schedule) => schedule.check().map_err(|e| e.context("schedule")),
            Source::Function(_) => Ok(()),
        }
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let Source::Schedule(schedule) = &self.source else {
            return Vec::new();
        };
        // Options that are refused make any number of findings that nobody needs.
        if schedule.check().is_err() {
            return Vec::new();
        }
        let mut found = schedule.findings(plan);
        let odd = odd_rates(&**schedule, places(plan, true), "schedule");
        if !odd.is_empty() {
            found.extend(odd);
            return found;
        }
        let first = Progress { epochs: plan.epochs, ..Progress::default() };
        if plan.initial_epoch == 0 && schedule.learning_rate(&first) == 0.0 {
            let message = "the rate is 0 throughout the first epoch, which changes nothing";
            let fix = "begin above 0, or give the schedule to the optimizer, with its lengths in \
                       steps";
            found.push(Finding::warning("idle-epoch", message).fix(fix).option("schedule"));
        }
        found
    }

    plain_state!();
}

impl FromOptions for LearningRateScheduler {
    const NAME: &'static str = "learning_rate_scheduler";
    const EXAMPLE: &'static str = "schedule = { type = \"exponential_decay\", \
                                   initial_learning_rate = 0.1, decay_steps = 10, \
                                   decay_rate = 0.5 }";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let schedule = options.require("schedule", Self::EXAMPLE)?;
        let scheduler = Self::from_box(schedule::read(&schedule, Unit::Epochs)?);
        let verbose = options.get("verbose").map_or(Ok(false), |verbose| verbose.bool())?;
        Ok(scheduler.verbose(verbose))
    }
}

impl fmt::Debug for LearningRateScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LearningRateScheduler")
            .field("verbose", &self.verbose)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callbacks::StepLrScheduler;
    use crate::console::Console;
    use crate::schedule::{Chain, Constant, CosineDecay, Linear, OneCycle};
    use crate::testing::Script;
    use crate::{Fit, State, Trainer};

    #[test]
    fn schedules_count_epochs_unless_told() {
        // Four steps an epoch.
        let line = || Linear::new(1.0, 4.0);
        let chain = Chain::new(line()).then(2.0, Constant::new(0.5));
        for (scheduler, rates) in [
            (LearningRateScheduler::new(line()), [1.0, 0.75, 0.5]),
            (LearningRateScheduler::new(line().unit(Unit::Steps)), [1.0, 0.0, 0.0]),
            (LearningRateScheduler::new(chain), [1.0, 0.75, 0.5]),
        ] {
            let script = Script::losses(&[1.0]);
            let mut trainer = Trainer::new(script.learner(), 0.1).callback(scheduler);
            let fit = Fit::epochs(3).batch_size(1).verbose(0);
            let history = trainer.fit(&script.samples(4), fit).unwrap();
            assert_eq!(history.column("learning_rate"), rates.map(Some));
        }
    }

    #[test]
    fn prints_as_keras_does() {
        let script = Script::losses(&[1.0; 2]);
        let (console, printed) = Console::memory();
        let mut trainer = Trainer::new(script.learner(), 4.0)
            .console(console)
            .callback(LearningRateScheduler::from_current(|_, rate| rate / 2.0).verbose(true));
        trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
        assert_eq!(
            printed.contents(),
            "Epoch 1: LearningRateScheduler setting learning rate to 2.0.\n\
             Epoch 2: LearningRateScheduler setting learning rate to 1.0.\n"
        );
    }

    #[test]
    fn a_second_fit_begins_anew_and_a_saved_one_goes_on() {
        let script = Script::losses(&[1.0; 2]);
        let halving = || LearningRateScheduler::from_current(|_, rate| rate / 2.0);
        let mut trainer = Trainer::new(script.learner(), 1.0).callback(halving());
        for _ in 0..2 {
            let history = trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
            assert_eq!(history.column("learning_rate"), [0.5, 0.25].map(Some));
        }
        let mut scheduler = halving();
        scheduler.state.rate = Some(0.125);
        let saved: State = scheduler.save_state().unwrap().unwrap();
        let mut other = halving();
        other.load_state(Some(&saved)).unwrap();
        assert_eq!(other.state, scheduler.state);
    }

    #[test]
    fn factors_of_others_stay_theirs() {
        let script = Script::losses(&[1.0; 4]);
        let mut trainer = Trainer::new(script.learner(), 1.0)
            .callback(StepLrScheduler::new(0.1, 2).verbose(false))
            .callback(LearningRateScheduler::from_current(|_, rate| rate / 2.0));
        trainer.fit(&script.data(), Fit::epochs(4).verbose(0)).unwrap();
        let explained = trainer.learning_rate().explain();
        assert_eq!(
            explained,
            "0.0625 (callback `learning_rate_scheduler`) × 0.1 (step_lr_scheduler) = 0.00625"
        );
    }

    #[test]
    fn the_momentum_goes_with_the_rate() {
        let script = Script::losses(&[1.0]);
        let cycle = OneCycle::new(1.0, 3.0).pct_start(0.0);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(LearningRateScheduler::new(cycle));
        trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap();
        assert_eq!(trainer.learner().momentum(), Some(0.95));
    }

    #[test]
    fn what_is_no_rate_is_refused_before_the_run_or_ends_it() {
        for (bad, shown) in [(f64::NAN, "NaN"), (-1.0, "-1"), (f64::INFINITY, "inf")] {
            let script = Script::losses(&[1.0]);
            let mut trainer = Trainer::new(script.learner(), 0.1)
                .callback(LearningRateScheduler::new(move |_: &Progress| bad));
            let error = trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap_err();
            assert!(error.is_config(), "{error}");
            assert!(error.to_string().contains(&format!("(epoch 1) is {shown};")), "{error}");

            // What a function of the current rate gives is known in the run only.
            let mut trainer = Trainer::new(script.learner(), 0.1)
                .callback(LearningRateScheduler::from_current(move |_, _| bad));
            let error = trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(&format!("learning rate {shown}; allowed:")), "{error}");
        }
    }

    #[test]
    fn what_is_odd_is_found_before() {
        let plan = RunPlan { epochs: 12, steps_per_epoch: 4, ..RunPlan::default() };
        let codes = |schedule: CosineDecay| {
            let found = LearningRateScheduler::new(schedule).findings(&plan);
            found.iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(CosineDecay::new(0.1, 12.0)), [""; 0]);
        assert_eq!(codes(CosineDecay::new(0.1, 10.0)), ["schedule-horizon"]);
        assert_eq!(codes(CosineDecay::new(0.0, 8.0).warmup(0.1, 4.0)), ["idle-epoch"]);
        assert_eq!(codes(CosineDecay::new(0.1, 8.0).warmup(0.2, 13.0)), ["long-warmup"]);
    }
}
