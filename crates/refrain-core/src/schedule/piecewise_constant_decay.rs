//! A list of rates, and where one follows another.

use super::options::{FromRecipe, check, check_not_negative, numbers};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::options::Section;
use crate::progress::Progress;

/// Goes through a list of rates.
///
/// `values[i]` as long as `t ≤ boundaries[i]`, after the last boundary the last value: a boundary
/// belongs to the rate before it.
///
/// - `boundaries`: rising, ≥ 0, in the unit.
/// - `values`: finite, ≥ 0; one more than boundaries.
/// - `unit`: default steps.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{PiecewiseConstantDecay, Schedule}};
/// let decay = PiecewiseConstantDecay::new([100.0, 200.0], [0.1, 0.05, 0.01]);
/// let rate = |step| decay.learning_rate(&Progress { step, ..Progress::default() });
/// assert_eq!([rate(100), rate(101), rate(201)], [0.1, 0.05, 0.01]);
/// ```
///
/// # Differs from Keras
/// Boundaries that do not rise are refused (Keras adds several values up), and none at all are
/// allowed (Keras fails when asked for the rate).
///
/// # Source
/// Keras' `PiecewiseConstantDecay`.
#[derive(Clone, Debug, PartialEq)]
pub struct PiecewiseConstantDecay {
    boundaries: Vec<f64>,
    values: Vec<f64>,
    unit: Option<Unit>,
}

impl PiecewiseConstantDecay {
    /// Each of `values` up to its boundary, inclusive; the last one to the end.
    pub fn new(boundaries: impl Into<Vec<f64>>, values: impl Into<Vec<f64>>) -> Self {
        Self { boundaries: boundaries.into(), values: values.into(), unit: None }
    }

    unit_option!();
}

impl Schedule for PiecewiseConstantDecay {
    fn learning_rate(&self, progress: &Progress) -> f64 {
        let position = self.position(progress);
        let index = self.boundaries.partition_point(|boundary| *boundary < position);
        // A list that is too short is refused by `check`; a rate of NaN by whoever sets it.
        self.values.get(index).copied().unwrap_or(f64::NAN)
    }

    fn check(&self) -> Result {
        let (boundaries, values) = (self.boundaries.len(), self.values.len());
        let allowed = format!("one more than boundaries, of which there are {boundaries}");
        check("the length of values", values, values == boundaries + 1, &allowed)?;
        for boundary in &self.boundaries {
            check_not_negative("a boundary", *boundary)?;
        }
        let is_rising = self.boundaries.windows(2).all(|pair| pair[0] < pair[1]);
        let shown = format!("{:?}", self.boundaries);
        check("boundaries", shown, is_rising, "numbers that rise")?;
        self.values.iter().try_for_each(|value| check_not_negative("one of values", *value))
    }

    unit_methods!();
}

impl FromRecipe for PiecewiseConstantDecay {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        let boundaries = numbers(options, "boundaries", "[100, 200]")?;
        Ok(Self::new(boundaries, numbers(options, "values", "[0.1, 0.05, 0.01]")?))
    }
}
