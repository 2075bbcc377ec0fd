//! Noise in training, and plain scaling.

use burn::tensor::{Distribution, Tensor, TensorData};
use chacha20::ChaCha8Rng;
use rand::SeedableRng as _;
use refrain_core::Result;

use super::Place;
use crate::forward::Pass;
use crate::initializer::normal;

/// Adds normal noise in training. Does nothing in evaluation and prediction.
///
/// In a training step of the learner, the noise is a function of (seed, step, layer), the same on
/// every device.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::GaussianNoise;
///
/// let model = Sequential::input(&[1, 8, 8]).layer(GaussianNoise::new(0.1)).build(42)?;
/// assert_eq!(model.output_shape(), [1, 8, 8]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GaussianNoise {
    pub(super) name: Option<String>,
    stddev: f64,
}

impl GaussianNoise {
    /// `stddev`: the standard deviation, 0 to 1 as in Keras.
    pub fn new(stddev: f64) -> Self {
        Self { name: None, stddev }
    }

    /// Gives the layer a name. Default: `gaussian_noise`, `gaussian_noise_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<NoiseLayer> {
        if !(0.0..=1.0).contains(&self.stddev) {
            return Err(place.error(format!("stddev is {}; allowed: 0 to 1", self.stddev)));
        }
        Ok(NoiseLayer { stddev: self.stddev, index: place.index })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct NoiseLayer {
    stddev: f64,
    index: u64,
}

impl NoiseLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        if self.stddev == 0.0 {
            return x;
        }
        match pass.seed {
            Some(seed) => {
                // On the host, as a dropout's mask.
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(self.index);
                let shape = x.dims();
                let noise =
                    (0..shape[0] * shape[1]).map(|_| (self.stddev * normal(&mut rng)) as f32);
                let noise = TensorData::new(noise.collect::<Vec<f32>>(), shape);
                let device = x.device();
                x + Tensor::from_data(noise, &device)
            }
            // Inside of a user's module there is no seed but the device's.
            None if x.is_autodiff() => {
                let noise = x.random_like(Distribution::Normal(0.0, self.stddev));
                x + noise
            }
            None => x,
        }
    }
}

/// `input × scale + offset`.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::Rescaling;
///
/// // 0..=1 to −1..=1.
/// let model = Sequential::input(&[64]).layer(Rescaling::new(2.0).offset(-1.0)).build(42)?;
/// assert_eq!(model.output_shape(), [64]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rescaling {
    pub(super) name: Option<String>,
    pub(super) scale: f64,
    pub(super) offset: f64,
}

impl Rescaling {
    /// `scale`: a finite number.
    pub fn new(scale: f64) -> Self {
        Self { name: None, scale, offset: 0.0 }
    }

    /// Gives the layer a name. Default: `rescaling`, `rescaling_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What is added; a finite number. Default 0.
    pub fn offset(mut self, offset: f64) -> Self {
        self.offset = offset;
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<(f64, f64)> {
        let Self { scale, offset, .. } = *self;
        if !(scale.is_finite() && offset.is_finite()) {
            return Err(place.error(format!(
                "scale is {scale} and offset is {offset}; allowed: finite numbers"
            )));
        }
        Ok((scale, offset))
    }
}
