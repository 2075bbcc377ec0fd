//! Logs the norms of the gradients.

use serde::{Deserialize, Serialize};

use super::plain_state;
use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BackwardEnd, EpochEnd, Hook};
use crate::logs::Logs;
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::exact_float;

/// Writes the L2 norm of the gradients into the epoch's logs: its mean over the batches and its
/// largest value.
///
/// Norms are those of each batch, before its update. List it before
/// [`GradientClip`](super::GradientClip) to see them unclipped, after it to see them clipped. A norm
/// that is not finite shows: mean and largest value are then not finite either.
///
/// - Reads: nothing
/// - Writes: `gradient_norm`, `gradient_norm_max`; with `per_parameter` also
///   `gradient_norm.NAME` for the weights `NAME`, the mean over the batches
/// - Requests: nothing
/// - State: sum and largest value in this epoch
/// - Cost: a pass over the gradients and a read from the device for each batch that is looked at;
///   `every_batches` bounds it.
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `per_parameter` | false | true, false | whether each parameter's norm is written too |
/// | `every_batches` | 1 | whole, ≥ 1 | looks at the first of so many batches |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "gradient_norms"
/// every_batches = 10
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::GradientNorms;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[2.0, 1.0]);
/// let norms = GradientNorms::new().every_batches(4);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(norms);
/// let history = trainer.fit(&script.samples(10), Fit::epochs(2).batch_size(1).verbose(0))?;
/// assert_eq!(history.column("gradient_norm"), [Some(1.0), Some(1.0)]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// Refrain's own.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientNorms {
    per_parameter: bool,
    every_batches: usize,
    state: GradientNormsState,
}

/// State of [`GradientNorms`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GradientNormsState {
    /// Batches of this epoch that were looked at.
    pub batches: usize,
    /// The largest norm among them.
    #[serde(with = "exact_float")]
    max: Option<f64>,
    /// Sums over them: of the norm of all gradients, then of each parameter's.
    sums: Vec<NormSum>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct NormSum {
    /// Key in the logs.
    key: String,
    /// Optional for the sake of its form in JSON alone.
    #[serde(with = "exact_float")]
    sum: Option<f64>,
}

impl Default for GradientNorms {
    fn default() -> Self {
        Self { per_parameter: false, every_batches: 1, state: GradientNormsState::default() }
    }
}

impl GradientNorms {
    /// The norm of all gradients together, of every batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether each parameter's norm is written too. Default false.
    pub fn per_parameter(mut self, per_parameter: bool) -> Self {
        self.per_parameter = per_parameter;
        self
    }

    /// Looks at the first of so many batches, counted in each epoch. Default 1: at all.
    pub fn every_batches(mut self, batches: usize) -> Self {
        self.every_batches = batches;
        self
    }
}

impl GradientNormsState {
    fn add(&mut self, index: usize, name: &str, norm: f64) {
        match self.sums.get_mut(index) {
            Some(NormSum { sum, .. }) => *sum = Some(sum.unwrap_or(0.0) + norm),
            None => {
                let key = if name.is_empty() { KEY.to_owned() } else { format!("{KEY}.{name}") };
                self.sums.push(NormSum { key, sum: Some(norm) });
            }
        }
    }

    fn end_batch(&mut self, norm: f64) {
        self.batches += 1;
        let max = self.max.get_or_insert(norm);
        // One NaN stays, whatever comes after it.
        if norm > *max || norm.is_nan() {
            *max = norm;
        }
    }

    fn write(self, logs: &mut Logs) {
        for NormSum { key, sum } in self.sums {
            if let Some(sum) = sum {
                logs.insert(key, sum / self.batches as f64);
            }
        }
        if let Some(max) = self.max {
            logs.insert(MAX_KEY, max);
        }
    }
}

const KEY: &str = "gradient_norm";
const MAX_KEY: &str = "gradient_norm_max";

impl Callback for GradientNorms {
    fn on_backward_end(&mut self, run: &mut Run<'_>, _: &mut BackwardEnd) -> Result {
        if !run.progress.batch.is_multiple_of(self.every_batches) {
            return Ok(());
        }
        let norm = if self.per_parameter {
            let norms = run.model.gradient_norms()?;
            let norm = norms.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt();
            self.state.add(0, "", norm);
            for (i, (name, norm)) in norms.iter().enumerate() {
                self.state.add(i + 1, name, *norm);
            }
            norm
        } else {
            let norm = run.model.gradient_norm()?;
            self.state.add(0, "", norm);
            norm
        };
        self.state.end_batch(norm);
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        std::mem::take(&mut self.state).write(epoch.logs);
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new()
            .acts_in([Hook::BackwardEnd, Hook::EpochEnd])
            .reads_model()
            .writes(KEY)
            .writes(MAX_KEY)
    }

    fn check(&self) -> Result {
        if self.every_batches == 0 {
            return Err(Error::config("every_batches is 0; allowed: 1 or more"));
        }
        Ok(())
    }

    plain_state!();
}

impl FromOptions for GradientNorms {
    const NAME: &'static str = "gradient_norms";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut norms = Self::new();
        if let Some(per_parameter) = options.get("per_parameter") {
            norms = norms.per_parameter(per_parameter.bool()?);
        }
        if let Some(batches) = options.get("every_batches") {
            norms = norms.every_batches(batches.usize(1)?);
        }
        Ok(norms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;
    use crate::{Fit, State, Trainer};

    #[test]
    fn a_norm_that_is_not_finite_shows() {
        for (norms, mean, max) in [
            ([1.0, 2.0, 6.0], 3.0, 6.0),
            ([6.0, 2.0, 1.0], 3.0, 6.0),
            ([1.0, f64::NAN, 6.0], f64::NAN, f64::NAN),
            ([f64::NAN, 1.0, 6.0], f64::NAN, f64::NAN),
            ([1.0, f64::INFINITY, 6.0], f64::INFINITY, f64::INFINITY),
        ] {
            let mut state = GradientNormsState::default();
            for norm in norms {
                state.add(0, "", norm);
                state.end_batch(norm);
            }
            // Saved in the middle of an epoch, it goes on from there.
            let saved = State::new(&state).unwrap();
            let state: GradientNormsState = State::load_or_default(Some(&saved)).unwrap();
            let mut logs = Logs::new();
            state.write(&mut logs);
            let same = |key, x: f64| logs.get(key).unwrap().total_cmp(&x).is_eq();
            assert!(same(KEY, mean) && same(MAX_KEY, max), "{norms:?}: {logs:?}");
        }
    }

    #[test]
    fn writes_what_was_asked_for_into_every_epoch() {
        for (norms, keys) in [
            (GradientNorms::new(), &["gradient_norm", "gradient_norm_max"][..]),
            (
                GradientNorms::new().per_parameter(true),
                &["gradient_norm", "gradient_norm.w", "gradient_norm_max"],
            ),
        ] {
            let script = Script::losses(&[1.0]);
            let mut trainer = Trainer::new(script.learner(), 0.1).callback(norms.every_batches(2));
            let fit = Fit::epochs(2).batch_size(1).verbose(0);
            let history = trainer.fit(&script.samples(3), fit).unwrap();
            assert_eq!(history.names()[2..], *keys);
            for key in keys {
                assert_eq!(history.column(key), [Some(1.0); 2], "{key}");
            }
        }
    }

    #[test]
    fn refuses_to_look_never() {
        let error = GradientNorms::new().every_batches(0).check().unwrap_err();
        assert_eq!(error.to_string(), "every_batches is 0; allowed: 1 or more");
    }
}
