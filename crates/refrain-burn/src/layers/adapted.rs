//! Normalization by the mean and the variance of the training data.

use burn::module::{Module, RunningState};
use burn::tensor::{DType, Tensor, TensorData};
use refrain_core::{Error, Result};

use super::Place;
use super::normalization::Features;

/// Keras' `epsilon`, below which no deviation is divided by.
const EPSILON: f64 = 1e-7;

/// Brings each feature to mean 0 and deviation 1, by the mean and the variance that it has in the data:
/// `(input − mean) / max(√variance, 1e-7)`.
///
/// The features are the channels of an image `[channels, height, width]`, and the last axis of anything
/// else. A recipe adapts the layer to its training part before the first epoch, never to what is held
/// out; in Rust, [`Sequential::adapt`](crate::Sequential::adapt) does. Weights, which are saved and not
/// trained: `mean` and `variance`, `[features]`; 0 and 1 before they are adapted. With
/// [`statistics`](Self::statistics) there are none.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::Normalization;
///
/// let model = Sequential::input(&[2])
///     .layer(Normalization::new().statistics([0.5, 10.0], [1.0, 4.0]))
///     .build(42)?;
/// assert_eq!(model.summary().parameters(), 0);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Normalization {
    pub(super) name: Option<String>,
    statistics: Option<(Vec<f32>, Vec<f32>)>,
    invert: bool,
}

impl Normalization {
    /// The layer, to be adapted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the layer a name. Default: `normalization`, `normalization_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Mean and variance instead of those of the data: one number for all features, or one for each;
    /// finite, variances 0 or more.
    pub fn statistics(mut self, mean: impl Into<Vec<f32>>, variance: impl Into<Vec<f32>>) -> Self {
        self.statistics = Some((mean.into(), variance.into()));
        self
    }

    /// Whether the layer does the reverse: `input × deviation + mean`. Default false.
    pub fn invert(mut self, invert: bool) -> Self {
        self.invert = invert;
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<AdaptedLayer> {
        let features = Features::of(place);
        let count = features.features;
        let constant = |option: &str,
                        values: &[f32],
                        is_allowed: fn(f32) -> bool,
                        allowed: &str| {
            if let Some(wrong) = values.iter().find(|value| !is_allowed(**value)) {
                return Err(place.error(format!("{option} has {wrong}; allowed: {allowed}")));
            }
            match values {
                [one] => Ok(vec![*one; count]),
                all if all.len() == count => Ok(all.to_vec()),
                all => Err(place.error(format!(
                    "{option} has {} numbers, and the features of its input of shape {:?} are {count}; \
                     allowed: {}",
                    all.len(),
                    place.input_shape,
                    if count == 1 { "1".to_owned() } else { format!("1 or {count}") }
                ))),
            }
        };
        let given = match &self.statistics {
            None => None,
            Some((mean, variance)) => {
                let mean = constant("mean", mean, f32::is_finite, "finite numbers")?;
                let is_variance = |value: f32| value.is_finite() && value >= 0.0;
                let allowed = "finite numbers, 0 or more";
                Some((mean, constant("variance", variance, is_variance, allowed)?))
            }
        };
        let statistic = |value| RunningState::new(place.constant(value, [count]));
        let adapted = given.is_none().then(|| (statistic(0.0), statistic(1.0)));
        let (mean, variance) = adapted.unzip();
        Ok(AdaptedLayer { mean, variance, given, features, invert: self.invert })
    }
}

#[derive(Module, Debug)]
pub(crate) struct AdaptedLayer {
    mean: Option<RunningState<Tensor<1>>>,
    variance: Option<RunningState<Tensor<1>>>,
    #[module(skip)]
    given: Option<(Vec<f32>, Vec<f32>)>,
    #[module(skip)]
    features: Features,
    #[module(skip)]
    invert: bool,
}

/// What hands each batch of a layer's input to a function.
pub(crate) type Batches<'a> = dyn FnMut(&mut dyn FnMut(Tensor<2>) -> Result) -> Result + 'a;

impl AdaptedLayer {
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let device = x.device();
        let x = self.features.split(x);
        let shape = [1, self.features.features, 1];
        let constant = |values: &[f32]| {
            Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), &device)
        };
        let (mean, variance) = match (&self.mean, &self.variance, &self.given) {
            (_, _, Some((mean, variance))) => (constant(mean), constant(variance)),
            (Some(mean), Some(variance), None) => {
                (mean.value().to_device(&device), variance.value().to_device(&device))
            }
            _ => return self.features.rows(x),
        };
        let mean = mean.reshape(shape);
        let deviation = variance.sqrt().clamp_min(EPSILON).reshape(shape);
        self.features.rows(if self.invert { x * deviation + mean } else { (x - mean) / deviation })
    }

    /// Takes mean and variance from what comes in.
    pub(super) fn adapt(&mut self, name: &str, batches: &mut Batches<'_>) -> Result {
        let (Some(old), Some(_)) = (&self.mean, &self.variance) else {
            return Ok(());
        };
        let device = old.value().device();
        let features = self.features;
        let mut sums = vec![Moments::default(); features.features];
        batches(&mut |x| {
            let x = features.split(x.without_autodiff());
            let data = x.try_into_data_dtype(DType::F32).map_err(|error| {
                Error::engine("the input cannot be read from the device").with_source(error)
            })?;
            let values = data.as_slice::<f32>().unwrap_or_default();
            for (feature, sum) in sums.iter_mut().enumerate() {
                let positions = values.chunks_exact(features.behind).skip(feature);
                let of_feature = positions.step_by(features.features).flatten();
                sum.add(of_feature.map(|value| f64::from(*value)));
            }
            Ok(())
        })?;
        if sums.iter().any(|sum| sum.count == 0.0) {
            return Err(Error::data(format!(
                "layer `{name}`: there are no samples to take mean and variance from"
            )));
        }
        if sums.iter().any(|sum| !(sum.mean.is_finite() && sum.squares.is_finite())) {
            return Err(Error::data(format!(
                "layer `{name}`: the data has numbers that are not finite, and so no mean"
            )));
        }
        let statistic = |of: fn(&Moments) -> f64| {
            let values: Vec<f32> = sums.iter().map(|sum| of(sum) as f32).collect();
            let data = TensorData::new(values, [features.features]);
            RunningState::new(Tensor::from_data(data, &device))
        };
        self.mean = Some(statistic(|sum| sum.mean));
        self.variance = Some(statistic(|sum| sum.squares / sum.count));
        Ok(())
    }
}

/// Mean, and squares around it, of the numbers so far.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Joins the moments of more numbers; "Updating formulae and a pairwise algorithm for computing
    /// sample variances", COMPSTAT 1982. Exact where sums of squares would cancel.
    fn add(&mut self, values: impl Iterator<Item = f64> + Clone) {
        let (count, sum) =
            values.clone().fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
        if count == 0.0 {
            return;
        }
        let mean = sum / count;
        let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
        let total = self.count + count;
        let between = mean - self.mean;
        self.squares += squares + between * between * self.count * count / total;
        self.mean += between * count / total;
        self.count = total;
    }
}
