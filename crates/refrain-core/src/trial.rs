//! Learning rates tried before a run, on a model that is then put back as it was.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fit::Plan;
use crate::learner::{Learner, TrainStep};
use crate::logs::Logs;
use crate::random;
use crate::session::first_error;
use crate::slot::guard;
use crate::trainer::Trainer;

/// How much of the smoothed loss a batch keeps.
const SMOOTHING: f64 = 0.98;
/// The loss diverges at the end of a trial, and so do the last points before it.
const LAST_LEFT_OUT: usize = 5;

/// What a trial of learning rates found: the loss over the rate.
///
/// Asked for with [`Run::request_trial`](crate::Run::request_trial), seen with
/// [`Run::trial`](crate::Run::trial).
///
/// # Example
/// ```
/// use refrain_core::Trial;
/// // The loss falls with the rate from 1e-6 to 1e-2, most steeply at 1e-3, and explodes.
/// let losses = |rate: f64| 2.0 - (rate.log10() + 3.0).tanh();
/// let rates = (0..100).map(|i| 10_f64.powf(-6.0 + f64::from(i) / 20.0));
/// let trial = Trial::from_losses(100, rates.map(|rate| (rate, losses(rate))));
/// let steep = trial.steepest().unwrap();
/// assert!((1e-3..1e-1).contains(&steep), "{steep}");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Rates that were to be tried.
    pub planned: usize,
    /// Rates that were tried, in order, up to the one with which the loss diverged.
    pub points: Vec<TrialPoint>,
}

/// One rate of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialPoint {
    /// The rate.
    pub learning_rate: f64,
    /// Loss of the batch that it was tried on, before its update. Finite.
    pub loss: f64,
    /// Mean of the losses so far with exponentially falling weights.
    pub smoothed: f64,
}

impl Trial {
    /// A trial from rates and losses, in order, up to the first loss that is not finite.
    pub fn from_losses(planned: usize, losses: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut trial = Self { planned, points: Vec::new() };
        for (learning_rate, loss) in losses {
            if !trial.push(learning_rate, loss, f64::INFINITY) {
                break;
            }
        }
        trial
    }

    /// Adds a point; false where the loss has diverged.
    fn push(&mut self, learning_rate: f64, loss: f64, stop_above: f64) -> bool {
        if !loss.is_finite() {
            return false;
        }
        let n = i32::try_from(self.points.len()).unwrap_or(i32::MAX);
        // Mean with weights that fall by SMOOTHING from batch to batch, without a bias to the start.
        let share = (1.0 - SMOOTHING) / (1.0 - SMOOTHING.powi(n.saturating_add(1)));
        let smoothed =
            self.points.last().map_or(loss, |p| p.smoothed + (loss - p.smoothed) * share);
        let best = self.points.iter().map(|p| p.smoothed).fold(f64::INFINITY, f64::min);
        self.points.push(TrialPoint { learning_rate, loss, smoothed });
        n == 0 || smoothed <= stop_above * best
    }

    /// Points that suggestions look at: without the first tenth, where nothing moves yet, and the
    /// last five, where the loss explodes.
    fn considered(&self) -> &[TrialPoint] {
        let last = self.points.len().saturating_sub(LAST_LEFT_OUT);
        self.points.get(self.planned / 10..last).unwrap_or_default()
    }

    /// The rate at which the smoothed loss falls most steeply over the logarithm of the rate;
    /// fastai's `steep`. `None` where it falls nowhere.
    pub fn steepest(&self) -> Option<f64> {
        let slope = |pair: &[TrialPoint]| match pair {
            [a, b] => (b.smoothed - a.smoothed) / (b.learning_rate.ln() - a.learning_rate.ln()),
            _ => f64::INFINITY,
        };
        let slopes = self.considered().windows(2).map(|pair| (pair, slope(pair)));
        let (pair, slope) = slopes.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (slope < 0.0).then(|| pair.first().map(|point| point.learning_rate)).flatten()
    }

    /// The rate in the middle of the longest falling sequence of the smoothed loss, nearer to its
    /// end; fastai's `valley`. `None` where it falls nowhere.
    ///
    /// Cost: O(n²) in the number of points.
    pub fn valley(&self) -> Option<f64> {
        let points = self.considered();
        // Of each point: length of the longest falling sequence that ends there.
        let mut lengths = vec![1_usize; points.len()];
        for (i, point) in points.iter().enumerate() {
            let before = points.iter().zip(&lengths).take(i);
            let longest =
                before.filter(|(p, _)| point.smoothed < p.smoothed).map(|(_, l)| *l).max();
            if let (Some(length), Some(longest)) = (lengths.get_mut(i), longest) {
                *length = longest + 1;
            }
        }
        let (end, length) = lengths.iter().enumerate().rev().max_by_key(|(_, length)| **length)?;
        if *length < 2 {
            return None;
        }
        let third = *length as f64 / 3.0;
        let index = (end + third as usize + (third / 2.0) as usize).saturating_sub(*length);
        points.get(index).map(|point| point.learning_rate)
    }
}

/// What a callback wants to have tried.
#[derive(Clone, Debug)]
pub(crate) struct TrialRequest {
    pub(crate) by: String,
    pub(crate) rates: Vec<f64>,
    pub(crate) stop_above: f64,
}

impl TrialRequest {
    /// Where it is too late, or there is no data to try them on.
    pub(crate) fn refuse(&self) -> Error {
        Error::config(format!(
            "callback `{}` asked for a trial of learning rates, which is made before the first \
             epoch of fit and needs its data: ask in on_train_begin, and take the callback out of \
             a loop written by hand",
            self.by
        ))
    }
}

impl<L: Learner> Trainer<L> {
    /// Tries the rates on the first epoch's batches, one after the other, and puts weights and
    /// optimizer back to the bit. No callback is told, no step is counted.
    pub(crate) fn try_rates(
        &mut self,
        request: &TrialRequest,
        plan: &Plan<'_, L::Batch>,
    ) -> Result<Trial> {
        let learner = &self.learner;
        let weights = guard("reading the weights", || learner.weights())?;
        let optimizer = guard("reading the optimizer", || learner.optimizer_state())?;
        let tried = self.climb(request, plan);
        let learner = &mut self.learner;
        learner.clear_gradients();
        learner.reset_metrics();
        self.batch_logs = None;
        let restored = guard("restoring the model", || {
            learner.set_weights(&weights)?;
            learner.set_optimizer_state(&optimizer)
        });
        first_error(tried, restored)
            .map_err(|e| e.context(format!("trial of learning rates for `{}`", request.by)))
    }

    fn climb(&mut self, request: &TrialRequest, plan: &Plan<'_, L::Batch>) -> Result<Trial> {
        let mut order = Vec::new();
        plan.order(self.seed, self.progress.epoch, &mut order);
        let mut batches = order.chunks(plan.train.batch_size).cycle();
        let mut indices = Vec::new();
        let mut weights = Vec::new();
        let mut trial = Trial { planned: request.rates.len(), points: Vec::new() };
        let loss_name = self.learner.metric_names().into_iter().next().unwrap_or_default();
        for (step, rate) in (self.progress.step..).zip(&request.rates) {
            let Some(batch) = batches.next().filter(|_| !self.stop.is_stopped()) else {
                break;
            };
            indices.clear();
            indices.extend_from_slice(batch);
            let batch = guard("the data set", || plan.train.get(&mut indices, &mut weights))?;
            let sample_weight = (!weights.is_empty()).then_some(weights.as_slice());
            let seed = random::step_seed(self.seed, step);
            let learner = &mut self.learner;
            let mut logs = Logs::new();
            guard("the forward or backward pass", || {
                learner.reset_metrics();
                learner.forward_backward(batch, TrainStep { sample_weight, seed })?;
                learner.read_metrics(&mut logs)
            })?;
            let loss = logs.get(&loss_name).unwrap_or(f64::NAN);
            if !trial.push(*rate, loss, request.stop_above) {
                break;
            }
            guard("the optimizer", || learner.apply_gradients(*rate))?;
        }
        Ok(trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooths_without_a_bias_to_the_start() {
        let trial = Trial::from_losses(3, [(0.1, 2.0), (0.2, 2.0), (0.3, 5.0)]);
        let smoothed: Vec<f64> = trial.points.iter().map(|point| point.smoothed).collect();
        let third = (0.98 * 0.98 * 2.0 + 0.98 * 2.0 + 5.0) / (0.98 * 0.98 + 0.98 + 1.0);
        for (got, expected) in smoothed.into_iter().zip([2.0, 2.0, third]) {
            assert!((got - expected).abs() < 1e-12, "{got} instead of {expected}");
        }
    }

    #[test]
    fn ends_where_the_loss_diverges() {
        for (losses, stop_above, points, goes_on) in [
            (&[1.0, 0.5, 0.4][..], 4.0, 3, true),
            (&[1.0, f64::NAN], 4.0, 1, false),
            (&[f64::INFINITY], 4.0, 0, false),
            // Smoothed: 1, then about 50.
            (&[1.0, 100.0], 4.0, 2, false),
            (&[1.0, 100.0], 60.0, 2, true),
        ] {
            let mut trial = Trial { planned: 9, points: Vec::new() };
            let all = losses.iter().all(|loss| trial.push(0.1, *loss, stop_above));
            assert_eq!((trial.points.len(), all), (points, goes_on), "{losses:?}");
        }
    }

    /// Suggestions from smoothed losses as they are.
    fn suggest(planned: usize, smoothed: &[f64]) -> (Option<f64>, Option<f64>) {
        let points = smoothed.iter().zip(0..).map(|(&smoothed, i)| TrialPoint {
            learning_rate: 10_f64.powi(i),
            loss: smoothed,
            smoothed,
        });
        let trial = Trial { planned, points: points.collect() };
        (trial.steepest(), trial.valley())
    }

    #[test]
    fn suggests_as_fastai() {
        // By hand from fastai's formulas; the last five count for nothing.
        let tail = [9.0; 5];
        for (planned, head, steep, valley) in [
            (0, &[5.0, 4.5, 2.0, 1.0, 0.9, 0.8][..], Some(10.0), Some(1e2)),
            // The first tenth is left out: the steepest fall is not there.
            (20, &[9.0, 5.0, 4.5, 2.0, 1.9][..], Some(1e2), Some(1e2)),
            (0, &[1.0, 2.0, 3.0], None, None),
            (0, &[1.0], None, None),
            (0, &[], None, None),
        ] {
            let smoothed = [head, &tail].concat();
            let expected = (steep, valley);
            assert_eq!(suggest(planned, &smoothed), expected, "{planned} {head:?}");
        }
        assert_eq!(suggest(100, &[1.0, 2.0]), (None, None));
    }
}
