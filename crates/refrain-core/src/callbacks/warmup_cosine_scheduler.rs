//! Linear warm-up, then half a cosine down to zero.

use std::f64::consts::PI;

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::run::Run;

/// Sets the learning rate of each epoch: a linear warm-up, then half a cosine down to zero.
///
/// With the epoch counted from 0: `base_lr × (epoch + 1) / warmup_epochs` in the first
/// `warmup_epochs` epochs, then `base_lr × ½ (1 + cos(π × progress))`, where `progress` is
/// `(epoch − warmup_epochs) / (total_epochs − warmup_epochs)`, at most 1.
///
/// - Reads: nothing. Writes: nothing. Sets the base learning rate in `on_epoch_begin`; a second
///   callback or schedule that sets it is refused.
/// - `base_lr`: finite, > 0; default 0.01. `warmup_epochs`: default 5; 0 = none.
///   `total_epochs`: ≥ 1, default 50. With `warmup_epochs ≥ total_epochs` the rate is zero after
///   the warm-up.
/// - State: none; the rate is a function of the epoch.
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
        Access::new().sets_base_rate()
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
}
