//! Made-up values of a metric.

use crate::random;

/// Made-up values of one metric, one an epoch, the last one repeated; some may be missing.
///
/// # Example
/// ```
/// use refrain_core::testing::Curve;
/// let curve = Curve::decreasing(5).plateau(3).missing(1).set(4, f64::NAN);
/// assert_eq!(curve.at(0), Some(1.0));
/// assert_eq!(curve.at(1), None);
/// assert_eq!(curve.at(2), curve.at(3));
/// assert!(curve.at(4).unwrap().is_nan());
/// // The same seed gives the same noise.
/// assert_eq!(Curve::decreasing(9).noise(7, 0.1), Curve::decreasing(9).noise(7, 0.1));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve(Vec<Option<f64>>);

impl Curve {
    /// These values.
    pub fn values(values: &[f64]) -> Self {
        values.iter().map(|value| Some(*value)).collect()
    }

    /// The same value in every epoch.
    pub fn constant(value: f64) -> Self {
        Self::values(&[value])
    }

    /// 1, 1/2, 1/3, …: as a loss goes.
    pub fn decreasing(epochs: usize) -> Self {
        (1..=epochs).map(|epoch| Some(1.0 / epoch as f64)).collect()
    }

    /// 0, 1/2, 2/3, …: as an accuracy goes.
    pub fn increasing(epochs: usize) -> Self {
        (1..=epochs).map(|epoch| Some(1.0 - 1.0 / epoch as f64)).collect()
    }

    /// Adds noise, uniform in `-scale..scale`, that follows from the seed.
    pub fn noise(mut self, seed: u64, scale: f64) -> Self {
        for (epoch, value) in self.0.iter_mut().enumerate() {
            let random = random::step_seed(seed, epoch as u64) as f64 / u64::MAX as f64;
            *value = value.map(|value| value + scale * (2.0 * random - 1.0));
        }
        self
    }

    /// From `epoch` on, counted from 0, nothing changes any more.
    pub fn plateau(mut self, epoch: usize) -> Self {
        let last = epoch.checked_sub(1).and_then(|last| self.at(last)).or(self.at(0));
        for value in self.0.iter_mut().skip(epoch) {
            *value = last;
        }
        self
    }

    /// Sets the value of one epoch, counted from 0: a NaN, an infinity.
    pub fn set(mut self, epoch: usize, value: f64) -> Self {
        self.replace(epoch, Some(value));
        self
    }

    /// Leaves out the value of one epoch, counted from 0, as where validation is not due.
    pub fn missing(mut self, epoch: usize) -> Self {
        self.replace(epoch, None);
        self
    }

    fn replace(&mut self, epoch: usize, value: Option<f64>) {
        if self.0.len() <= epoch {
            let last = self.0.last().copied().flatten();
            self.0.resize(epoch + 1, last);
        }
        self.0[epoch] = value;
    }

    /// The value of an epoch, counted from 0.
    pub fn at(&self, epoch: usize) -> Option<f64> {
        self.0.get(epoch).or(self.0.last()).copied().flatten()
    }
}

impl FromIterator<Option<f64>> for Curve {
    fn from_iter<I: IntoIterator<Item = Option<f64>>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}
