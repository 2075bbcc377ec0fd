//! Reduces the learning rate when a metric has stopped improving.

use serde::{Deserialize, Serialize};

use super::plain_state;
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{EpochEnd, Hook};
use crate::finding::{Finding, RunPlan};
use crate::monitor::Monitor;
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::exact_float;

/// Reduces the learning rate when a monitored metric has stopped improving.
///
/// An epoch improves when its value is better than the best so far by more than `min_delta`. After
/// `patience` epochs without improvement the rate becomes `max(rate × factor, min_lr)`, and the
/// waiting begins again; for `cooldown` epochs after a reduction nothing is counted. An epoch
/// without the metric (validation not due) changes nothing.
///
/// It owns a factor of the learning rate, under its own name: two of them commute, and a schedule
/// goes on beside it, scaled. `min_lr` bounds the rate that results, at the time of a reduction.
///
/// - Reads: the monitored metric
/// - Writes: its factor of the learning rate
/// - Requests: nothing
/// - State: epochs waited, best value, epochs of cooldown left, factor
/// - Cost: nothing
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `monitor` | `"val_loss"` | a metric of the run | what to watch |
/// | `mode` | `"auto"` | `"auto"`, `"min"`, `"max"` | whether smaller or larger is better |
/// | `min_delta` | 0.0001 | finite; the sign is ignored | the least change that is an improvement |
/// | `factor` | 0.1 | above 0, below 1 | what the rate is multiplied by |
/// | `patience` | 10 | whole, ≥ 0 | epochs without improvement before a reduction; 0 is the same as 1 |
/// | `cooldown` | 0 | whole, ≥ 0 | epochs after a reduction that are not counted; 1 is the same as 0 |
/// | `min_lr` | 0 | finite, ≥ 0 | the rate is not reduced below it |
/// | `verbose` | false | true, false | whether reductions are printed |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "reduce_lr_on_plateau"
/// factor = 0.5
/// patience = 3
/// min_lr = 1e-5
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::ReduceLrOnPlateau;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Monitor, Trainer};
///
/// let script = Script::losses(&[3.0, 2.0, 2.0, 2.0, 1.0]);
/// let plateau = ReduceLrOnPlateau::new(Monitor::min("loss")).factor(0.5).patience(2);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(plateau);
/// let history = trainer.fit(&script.data(), Fit::epochs(5).verbose(0))?;
///
/// assert_eq!(history.column("learning_rate"), [0.1, 0.1, 0.1, 0.1, 0.05].map(Some));
/// assert_eq!(trainer.learning_rate().explain(), "0.1 × 0.5 (reduce_lr_on_plateau) = 0.05");
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - It scales the rate by a factor of its own, so it combines with schedules and with other
///   callbacks that reduce the rate; Keras fails at the first reduction beside a schedule object,
///   and beside `LearningRateScheduler` the later writer wins.
/// - NaN is never an improvement and never the best value; in Keras a NaN in the first epoch makes
///   every later value count as no improvement.
/// - A metric that this run does not have is refused before the first batch.
/// - `factor` must be above 0; Keras takes 0 and negative ones.
/// - Rates are f64; Keras keeps them in f32.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.ReduceLROnPlateau`.
#[derive(Clone, Debug)]
pub struct ReduceLrOnPlateau {
    pub(crate) monitor: Monitor,
    factor: f64,
    pub(crate) patience: usize,
    cooldown: usize,
    min_lr: f64,
    verbose: bool,
    state: ReduceLrOnPlateauState,
}

/// State of [`ReduceLrOnPlateau`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReduceLrOnPlateauState {
    /// Epochs since the last improvement or reduction.
    pub wait: usize,
    /// The best value so far.
    #[serde(with = "exact_float")]
    pub best: Option<f64>,
    /// Epochs of cooldown that are left.
    pub cooldown: usize,
    /// Its factor of the learning rate.
    pub factor: f64,
}

impl Default for ReduceLrOnPlateauState {
    fn default() -> Self {
        Self { wait: 0, best: None, cooldown: 0, factor: 1.0 }
    }
}

impl ReduceLrOnPlateau {
    /// Keras' defaults: a tenth after 10 epochs without improvement. The monitor's `min_delta`
    /// is 1e-4 unless it was set.
    pub fn new(monitor: Monitor) -> Self {
        Self {
            monitor: monitor.default_min_delta(1e-4),
            factor: 0.1,
            patience: 10,
            cooldown: 0,
            min_lr: 0.0,
            verbose: false,
            state: ReduceLrOnPlateauState::default(),
        }
    }

    /// What the rate is multiplied by, above 0 and below 1. Default 0.1.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Epochs without improvement before a reduction. Default 10.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }

    /// Epochs after a reduction that are not counted. Default 0.
    pub fn cooldown(mut self, epochs: usize) -> Self {
        self.cooldown = epochs;
        self
    }

    /// The rate below which nothing is reduced. Default 0.
    pub fn min_lr(mut self, rate: f64) -> Self {
        self.min_lr = rate;
        self
    }

    /// Whether reductions are printed. Default false.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Everything it remembers.
    pub fn state(&self) -> &ReduceLrOnPlateauState {
        &self.state
    }

    /// Reduces the rate unless it is at its lower bound; whether it did.
    fn reduce(&mut self, run: &mut Run<'_>) -> Result<bool> {
        let rate = run.learning_rate.get();
        // In f32 as in Keras: a rate that differs from the bound by rounding alone is at it.
        if rate as f32 <= self.min_lr as f32 {
            return Ok(false);
        }
        let reduced = rate * self.factor;
        self.state.factor *= if reduced < self.min_lr { self.min_lr / rate } else { self.factor };
        run.learning_rate.set_factor(run.callback_name(), self.state.factor)?;
        if self.verbose {
            run.print(&format!(
                "Epoch {}: ReduceLROnPlateau reducing learning rate to {}.",
                run.progress.epoch + 1,
                run.learning_rate.get()
            ));
        }
        Ok(true)
    }

    /// Options that make no sense in this run.
    fn odd_options(&self, plan: &RunPlan) -> Vec<Finding> {
        let epochs = plan.epochs_to_run();
        if self.patience == 0 || self.patience < epochs {
            return Vec::new();
        }
        let message = format!(
            "with a patience of {} in a run of {epochs} epochs the rate is never reduced",
            self.patience
        );
        let fix = format!("choose a patience below {epochs}, or leave the callback out");
        vec![Finding::warning("patience-beyond-run", message).fix(fix).option("patience")]
    }
}

impl Callback for ReduceLrOnPlateau {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        // Of a run that goes on; a factor of 1 would only stand in the way of explanations.
        if self.state.factor != 1.0 {
            run.learning_rate.set_factor(run.callback_name(), self.state.factor)?;
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let Some(value) = epoch.logs.get(self.monitor.name()) else {
            return Ok(());
        };
        if self.state.cooldown > 0 {
            self.state.cooldown -= 1;
            self.state.wait = 0;
        }
        if self.monitor.is_better(value, self.state.best) {
            self.state.best = Some(value);
            self.state.wait = 0;
            return Ok(());
        }
        if self.state.cooldown > 0 {
            return Ok(());
        }
        self.state.wait += 1;
        if self.state.wait >= self.patience && self.reduce(run)? {
            self.state.cooldown = self.cooldown;
            self.state.wait = 0;
        }
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new()
            .acts_in([Hook::TrainBegin, Hook::EpochEnd])
            .reads(self.monitor.name())
            .scales_rate()
    }

    fn check(&self) -> Result {
        if !(self.factor > 0.0 && self.factor < 1.0) {
            let message = format!("factor is {}; allowed: above 0, below 1", self.factor);
            return Err(Error::config(message));
        }
        if !(self.min_lr.is_finite() && self.min_lr >= 0.0) {
            let message = format!("min_lr is {}; allowed: a finite number, 0 or more", self.min_lr);
            return Err(Error::config(message));
        }
        self.monitor.check()
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let mut found = self.monitor.findings();
        found.extend(self.odd_options(plan));
        found
    }

    plain_state!();
}

impl FromOptions for ReduceLrOnPlateau {
    const NAME: &'static str = "reduce_lr_on_plateau";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut plateau = Self::new(options.monitor(1e-4)?);
        if let Some(factor) = options.get("factor") {
            let is_allowed = |x| x > 0.0 && x < 1.0;
            plateau = plateau.factor(factor.f64_in("above 0, below 1", is_allowed)?);
        }
        if let Some(patience) = options.get("patience") {
            plateau = plateau.patience(patience.usize(0)?);
        }
        if let Some(cooldown) = options.get("cooldown") {
            plateau = plateau.cooldown(cooldown.usize(0)?);
        }
        if let Some(min_lr) = options.get("min_lr") {
            let is_allowed = |x: f64| x.is_finite() && x >= 0.0;
            plateau = plateau.min_lr(min_lr.f64_in("a finite number, 0 or more", is_allowed)?);
        }
        if let Some(verbose) = options.get("verbose") {
            plateau = plateau.verbose(verbose.bool()?);
        }
        Ok(plateau)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Console;
    use crate::testing::Script;
    use crate::{CallbackExt as _, Fit, LambdaCallback, Trainer};

    fn loss() -> ReduceLrOnPlateau {
        ReduceLrOnPlateau::new(Monitor::min("loss")).factor(0.5).patience(1)
    }

    #[test]
    fn two_of_them_commute_and_a_scheduler_goes_on_beside_them() {
        let rates = |patience: [usize; 2]| {
            let script = Script::losses(&[1.0; 6]);
            let decay = LambdaCallback::new("decay")
                .on_epoch_begin(|run| {
                    run.learning_rate.set_base(1.0 / (run.progress.epoch + 1) as f64)
                })
                .sets_base_rate();
            let mut trainer = Trainer::new(script.learner(), 1.0).callback(decay);
            for patience in patience {
                trainer = trainer.callback(loss().patience(patience).named(format!("p{patience}")));
            }
            trainer.fit(&script.data(), Fit::epochs(6).verbose(0)).unwrap().column("learning_rate")
        };
        let expected = [1.0, 1.0, 0.5, 0.125, 0.0625, 0.015625];
        let base = |epoch: usize| 1.0 / (epoch + 1) as f64;
        let expected: Vec<_> =
            expected.iter().enumerate().map(|(i, f)| Some(f * base(i))).collect();
        assert_eq!(rates([1, 2]), expected);
        assert_eq!(rates([1, 2]), rates([2, 1]));
    }

    #[test]
    fn min_lr_bounds_the_rate_that_results() {
        let script = Script::losses(&[1.0; 6]);
        let (console, printed) = Console::memory();
        let half = LambdaCallback::new("half")
            .on_train_begin(|run| run.learning_rate.set_factor("half", 0.5));
        let mut trainer = Trainer::new(script.learner(), 1.0)
            .console(console)
            .callback(half)
            .callback(loss().min_lr(0.2).verbose(true));
        let history = trainer.fit(&script.data(), Fit::epochs(6).verbose(0)).unwrap();
        let rates = [0.5, 0.5, 0.25, 0.2, 0.2, 0.2].map(Some);
        assert_eq!(history.column("learning_rate"), rates);
        assert_eq!(
            printed.contents(),
            "Epoch 2: ReduceLROnPlateau reducing learning rate to 0.25.\n\
             Epoch 3: ReduceLROnPlateau reducing learning rate to 0.2.\n"
        );
        assert_eq!(trainer.get::<ReduceLrOnPlateau>().unwrap().state().wait, 3);
    }

    #[test]
    fn a_run_that_goes_on_has_its_factor_from_the_first_step() {
        let script = Script::losses(&[1.0; 3]);
        let mut trainer = Trainer::new(script.learner(), 1.0).callback(loss());
        trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap();
        let saved = trainer.get::<ReduceLrOnPlateau>().unwrap().save_state().unwrap();
        let mut again = loss();
        again.load_state(saved.as_ref()).unwrap();
        assert_eq!(again.state().factor, 0.25);
        let resumed = Resumed(again);
        let mut trainer = Trainer::new(script.learner(), 1.0).callback(resumed);
        let history = trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap();
        assert_eq!(history.column("learning_rate"), [Some(0.25)]);
    }

    /// Keeps its state when a `fit` begins, as a run that goes on does.
    struct Resumed(ReduceLrOnPlateau);

    impl Callback for Resumed {
        fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
            self.0.on_train_begin(run)
        }
    }

    #[test]
    fn refuses_what_is_no_reduction() {
        for (plateau, word) in [
            (loss().factor(1.0), "factor is 1"),
            (loss().factor(0.0), "factor is 0"),
            (loss().factor(f64::NAN), "factor is NaN"),
            (loss().min_lr(-1.0), "min_lr is -1"),
        ] {
            let error = plateau.check().unwrap_err().to_string();
            assert!(error.starts_with(word), "{error}");
        }
    }

    #[test]
    fn a_patience_longer_than_the_run_is_told() {
        let found =
            |epochs| loss().patience(5).findings(&RunPlan { epochs, ..RunPlan::default() }).len();
        assert_eq!((found(5), found(6)), (1, 0));
    }
}
