//! Dropout.

use burn::tensor::{Distribution, Tensor, TensorData};
use chacha20::ChaCha8Rng;
use pulp::NullaryFnOnce;
use rand::{RngExt as _, SeedableRng as _};
use refrain_core::Result;

use super::Place;
use super::windows::image;
use crate::forward::Pass;
use crate::simd;

/// Sets inputs to 0 at random in training, and scales what is left so that the sum stays as it
/// was on average. Does nothing in evaluation and prediction.
///
/// In a training step of the learner, which inputs are dropped is a function of (seed, step,
/// layer), the same on every device.
#[derive(Clone, Debug)]
pub struct Dropout {
    pub(super) name: Option<String>,
    rate: f64,
}

impl Dropout {
    /// `rate`: the share that is dropped, 0 or more and below 1.
    pub fn new(rate: f64) -> Self {
        Self { name: None, rate }
    }

    /// Gives the layer a name. Default: `dropout`, `dropout_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<DropoutLayer> {
        let rate = self.rate;
        if !(0.0..1.0).contains(&rate) {
            return Err(place.error(format!(
                "rate is {rate}; allowed: 0 or more and below 1, for example 0.2"
            )));
        }
        Ok(DropoutLayer { rate, positions: 1, index: place.index })
    }
}

/// Sets whole channels of images to 0 at random in training, and scales what is left so that the sum
/// stays as it was on average. Does nothing in evaluation and prediction.
///
/// Input and output: `[channels, height, width]`. In a training step of the learner, which channels
/// are dropped is a function of (seed, step, layer), the same on every device.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Conv2d, SpatialDropout2d};
///
/// let model = Sequential::input(&[1, 8, 8])
///     .layer(Conv2d::new(16, 3))
///     .layer(SpatialDropout2d::new(0.2))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [16, 6, 6]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpatialDropout2d {
    pub(super) name: Option<String>,
    rate: f64,
}

impl SpatialDropout2d {
    /// `rate`: the share of channels that is dropped, 0 or more and below 1.
    pub fn new(rate: f64) -> Self {
        Self { name: None, rate }
    }

    /// Gives the layer a name. Default: `spatial_dropout2d`, `spatial_dropout2d_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<DropoutLayer> {
        let [_, height, width] = image(place)?;
        let layer = Dropout::new(self.rate).build(place)?;
        Ok(DropoutLayer { positions: height * width, ..layer })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct DropoutLayer {
    rate: f64,
    /// How many neighbours share their fate.
    positions: usize,
    index: u64,
}

impl DropoutLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        if self.rate == 0.0 {
            return x;
        }
        match pass.seed {
            Some(seed) => {
                let [samples, elements] = x.dims();
                let mask = self.mask([samples, elements / self.positions], seed);
                let device = x.device();
                self.drop(x, Tensor::from_data(mask, &device))
            }
            // Inside of a user's module there is no seed but the device's.
            None if x.is_autodiff() => {
                let channels = x.dims()[1] / self.positions;
                let kept = x.clone().narrow(1, 0, channels);
                let kept = kept.random_like(Distribution::Bernoulli(1.0 - self.rate));
                self.drop(x, kept) / (1.0 - self.rate)
            }
            None => x,
        }
    }

    fn drop(&self, x: Tensor<2>, mask: Tensor<2>) -> Tensor<2> {
        if self.positions == 1 {
            return x * mask;
        }
        let [samples, channels] = mask.dims();
        let x = x.reshape([samples, channels, self.positions]);
        let x = x * mask.reshape([samples, channels, 1]);
        x.reshape([samples, channels * self.positions])
    }

    /// 0 where an input is dropped, and what the others are scaled by.
    ///
    /// Drawn on the host: the device's generator is shared by the whole process, and a second
    /// training in another thread would change the outcome of this one.
    fn mask(&self, shape: [usize; 2], seed: u64) -> TensorData {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(self.index);
        let elements = shape[0] * shape[1];
        // 32 random bits decide one element.
        let mut bits = vec![0_u64; elements.div_ceil(2)];
        rng.fill(bits.as_mut_slice());
        let mut mask = vec![0.0; 2 * bits.len()];
        simd::dispatch(Draw {
            bits: &bits,
            mask: &mut mask,
            // In steps of 2⁻³².
            dropped_below: (self.rate * 4_294_967_296.0) as u32,
            scale: (1.0 / (1.0 - self.rate)) as f32,
        });
        mask.truncate(elements);
        TensorData::new(mask, shape)
    }
}

/// Two elements of the mask from each number.
struct Draw<'a> {
    bits: &'a [u64],
    mask: &'a mut [f32],
    dropped_below: u32,
    scale: f32,
}

impl NullaryFnOnce for Draw<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { bits, mask, dropped_below, scale } = self;
        for (pair, bits) in mask.as_chunks_mut::<2>().0.iter_mut().zip(bits) {
            let halves = [(bits >> 32) as u32, *bits as u32];
            for i in 0..2 {
                pair[i] = if halves[i] < dropped_below { 0.0 } else { scale };
            }
        }
    }
}
