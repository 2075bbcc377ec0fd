//! Linear warm-up, then half a cosine down to zero.

use std::f64::consts::PI;

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::Hook;
use crate::finding::{Finding, RunPlan};
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::schedule::{Horizon, Unit};

/// Sets the learning rate of each epoch: a linear warm-up, then half a cosine down to zero.
///
/// With the epoch counted from 0: `base_lr × (epoch + 1) / warmup_epochs` in the first
/// `warmup_epochs` epochs, then `base_lr × ½ (1 + cos(π × progress))`, where `progress` is
/// `(epoch − warmup_epochs) / (total_epochs − warmup_epochs)`, at most 1. It acts in
/// `on_epoch_begin` and owns the *base* of the rate; a second callback or schedule that sets it is
/// refused. With `warmup_epochs ≥ total_epochs` the rate is zero after the warm-up.
///
/// - Reads: nothing
/// - Writes: nothing
/// - Requests: nothing
/// - State: none; the rate is a function of the epoch
/// - Cost: one cosine an epoch
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `base_lr` | 0.01 | finite, > 0 | the highest rate, reached at the end of the warm-up |
/// | `warmup_epochs` | 5 | whole, ≥ 0 | epochs of warm-up |
/// | `total_epochs` | 50 | whole, ≥ 1 | epochs until the rate is zero, warm-up included |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "warmup_cosine_scheduler"
/// base_lr = 0.1
/// warmup_epochs = 2
/// total_epochs = 50
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::WarmupCosineScheduler;
/// let scheduler = WarmupCosineScheduler { base_lr: 0.1, warmup_epochs: 2, total_epochs: 6 };
/// let rates: Vec<f64> = (0..7).map(|epoch| scheduler.rate(epoch)).collect();
/// assert_eq!(rates[..3], [0.05, 0.1, 0.1]);
/// assert!((rates[4] - 0.05).abs() < 1e-12);
/// assert_eq!(rates[6], 0.0);
/// ```
///
/// # Source
/// The exercise that Refrain began with. In Keras its place is taken by the schedule `CosineDecay`
/// with a warm-up, here [`CosineDecay`](crate::schedule::CosineDecay).
#[derive(Clone, Debug, PartialEq)]
pub struct WarmupCosineScheduler {
    /// The highest rate, reached at the end of the warm-up.
    pub base_lr: f64,
    /// Epochs of warm-up.
    pub warmup_epochs: usize,
    /// Epochs until the rate is zero, warm-up included.
    pub total_epochs: usize,
}

impl Default for WarmupCosineScheduler {
    fn default() -> Self {
        Self { base_lr: 0.01, warmup_epochs: 5, total_epochs: 50 }
    }
}

impl WarmupCosineScheduler {
    /// The rate of an epoch, counted from 0.
    pub fn rate(&self, epoch: usize) -> f64 {
        if epoch < self.warmup_epochs {
            return self.base_lr * (epoch + 1) as f64 / self.warmup_epochs as f64;
        }
        let decay_epochs = self.total_epochs.saturating_sub(self.warmup_epochs);
        let progress = if decay_epochs == 0 {
            1.0
        } else {
            ((epoch - self.warmup_epochs) as f64 / decay_epochs as f64).min(1.0)
        };
        self.base_lr * 0.5 * (1.0 + (PI * progress).cos())
    }
}

impl Callback for WarmupCosineScheduler {
    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        run.learning_rate.set_base(self.rate(run.progress.epoch))
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::EpochBegin]).sets_base_rate()
    }

    fn check(&self) -> Result {
        if !(self.base_lr.is_finite() && self.base_lr > 0.0) {
            return Err(Error::config(format!(
                "base_lr is {}; allowed: a finite number above 0",
                self.base_lr
            )));
        }
        if self.total_epochs == 0 {
            return Err(Error::config("total_epochs is 0; allowed: 1 or more"));
        }
        Ok(())
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        let warmup = self.warmup_epochs as f64;
        let horizon = Horizon {
            name: Self::NAME,
            unit: Unit::Epochs,
            warmup: ("warmup_epochs", warmup),
            decay: Some(("total_epochs", self.total_epochs as f64)),
            // The warm-up is part of the total.
            rest: -warmup,
        };
        horizon.findings(plan)
    }
}

impl FromOptions for WarmupCosineScheduler {
    const NAME: &'static str = "warmup_cosine_scheduler";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut scheduler = Self::default();
        if let Some(base_lr) = options.get("base_lr") {
            let allowed = "a finite number above 0";
            scheduler.base_lr = base_lr.f64_in(allowed, |x| x.is_finite() && x > 0.0)?;
        }
        if let Some(warmup_epochs) = options.get("warmup_epochs") {
            scheduler.warmup_epochs = warmup_epochs.usize(0)?;
        }
        if let Some(total_epochs) = options.get("total_epochs") {
            scheduler.total_epochs = total_epochs.usize(1)?;
        }
        Ok(scheduler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        // (warm-up, total, epoch, rate); base_lr 1. Cosines of multiples of π/4 by hand.
        for (warmup_epochs, total_epochs, epoch, expected) in [
            (5, 50, 0, 0.2),
            (5, 50, 4, 1.0),
            (5, 50, 5, 1.0),
            (5, 50, 50, 0.0),
            (5, 50, 1000, 0.0),
            (0, 4, 0, 1.0),
            (0, 4, 1, 0.853_553_390_593_273_8),
            (0, 4, 2, 0.5),
            (0, 4, 4, 0.0),
            (3, 3, 2, 1.0),
            (3, 3, 3, 0.0),
            (5, 2, 4, 1.0),
            (5, 2, 5, 0.0),
        ] {
            let scheduler = WarmupCosineScheduler { base_lr: 1.0, warmup_epochs, total_epochs };
            let rate = scheduler.rate(epoch);
            let place = format!("{warmup_epochs} of {total_epochs}, epoch {epoch}");
            assert!((rate - expected).abs() < 1e-12, "{place}: {rate}");
        }
    }

    #[test]
    fn a_horizon_that_is_not_the_runs() {
        for (warmup_epochs, total_epochs, epochs, expected) in [
            (5, 50, 50, ""),
            (50, 50, 50, ""),
            (
                5,
                50,
                8,
                "schedule-horizon: `warmup_cosine_scheduler` ends after 50 epochs, the run after \
                 8 epochs; set total_epochs to 8",
            ),
            (
                5,
                50,
                60,
                "schedule-horizon: `warmup_cosine_scheduler` ends after 50 epochs, the run after \
                 60 epochs; set total_epochs to 60",
            ),
            (
                5,
                50,
                1,
                "long-warmup: the warm-up of `warmup_cosine_scheduler` takes 5 epochs, the run \
                 1 epoch; shorten warmup_epochs, or train longer",
            ),
        ] {
            let scheduler = WarmupCosineScheduler { base_lr: 1.0, warmup_epochs, total_epochs };
            let plan = RunPlan { epochs, ..RunPlan::default() };
            let found = scheduler.findings(&plan);
            let shown: Vec<String> = found.iter().map(|f| format!("{}: {f}", f.code)).collect();
            assert_eq!(shown.join("\n"), expected);
        }
    }
}
