//! Images changed at random in training, so that a model meets more of them than there are.

use burn::tensor::{Distribution, Tensor};
use chacha20::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use refrain_core::Result;
use std::f64::consts::TAU;

use super::Place;
use super::affine::{self, FillMode, Interpolation, Matrix, Sampling};
use super::windows::image;
use crate::forward::Pass;

/// A range from which a number is drawn for each image; a single one stands for ± itself.
///
/// # Example
/// ```
/// use refrain_burn::layers::Factor;
/// assert_eq!(Factor::from(0.2), Factor::from([-0.2, 0.2]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor {
    lower: f64,
    upper: f64,
}

impl From<f64> for Factor {
    fn from(most: f64) -> Self {
        Self { lower: -most.abs(), upper: most.abs() }
    }
}

impl From<[f64; 2]> for Factor {
    fn from([lower, upper]: [f64; 2]) -> Self {
        Self { lower: lower.min(upper), upper: lower.max(upper) }
    }
}

impl std::fmt::Display for Factor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {}]", self.lower, self.upper)
    }
}

impl Factor {
    /// Refuses what lies beyond −1 and 1, and −1 itself where `least_is_open`.
    fn check(self, option: &str, least_is_open: bool, place: &Place<'_>) -> Result {
        let is_above = if least_is_open { self.lower > -1.0 } else { self.lower >= -1.0 };
        if is_above && self.upper <= 1.0 {
            return Ok(());
        }
        let least = if least_is_open { "above -1" } else { "-1" };
        Err(place.error(format!("{option} is {self}; allowed: {least} to 1, or two such numbers")))
    }

    fn draw(self, rng: &mut ChaCha8Rng) -> f64 {
        self.lower + (self.upper - self.lower) * rng.random::<f64>()
    }
}

/// In which directions [`RandomFlip`] turns images over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlipMode {
    /// Left to right.
    Horizontal,
    /// Top to bottom.
    Vertical,
    /// Both, each for itself.
    #[default]
    HorizontalAndVertical,
}

impl FlipMode {
    /// Keras' names.
    pub const NAMES: &[&str] = &["horizontal", "vertical", "horizontal_and_vertical"];

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "horizontal" => Some(Self::Horizontal),
            "vertical" => Some(Self::Vertical),
            "horizontal_and_vertical" => Some(Self::HorizontalAndVertical),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Horizontal => "horizontal",
            Self::Vertical => "vertical",
            Self::HorizontalAndVertical => "horizontal_and_vertical",
        }
    }
}

/// Turns images over at random in training: each with a chance of one half. Does nothing in evaluation
/// and prediction.
///
/// Input and output: `[channels, height, width]`. In a training step of the learner, what is drawn is a
/// function of (seed, step, layer), the same on every device. Default as Keras': both directions.
///
/// # Differs from Keras
/// With both directions, each is drawn for itself: four kinds of images. Keras turns an image over in
/// both directions or in none.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{FlipMode, RandomFlip};
///
/// let model =
///     Sequential::input(&[3, 32, 32]).layer(RandomFlip::new(FlipMode::Horizontal)).build(42)?;
/// assert_eq!(model.output_shape(), [3, 32, 32]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RandomFlip {
    pub(super) name: Option<String>,
    mode: FlipMode,
}

impl RandomFlip {
    /// Turns images over in these directions.
    pub fn new(mode: FlipMode) -> Self {
        Self { name: None, mode }
    }

    /// Gives the layer a name. Default: `random_flip`, `random_flip_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<AugmentationLayer> {
        let sampling = Sampling { interpolation: Interpolation::Nearest, ..Sampling::default() };
        layer(Change::Flip(self.mode), sampling, place)
    }
}

/// The options of layers that read between and beyond an image's pixels.
macro_rules! options {
    ($default:literal) => {
        #[doc = concat!("Gives the layer a name. Default: `", $default, "`, `", $default, "_1`, ...")]
        pub fn named(mut self, name: impl Into<String>) -> Self {
            self.name = Some(name.into());
            self
        }

        /// What lies beyond the edges. Default [`FillMode::Reflect`].
        pub fn fill_mode(mut self, fill_mode: FillMode) -> Self {
            self.sampling.mode = fill_mode;
            self
        }

        /// The value for [`FillMode::Constant`]; a finite number. Default 0.
        pub fn fill_value(mut self, fill_value: f64) -> Self {
            self.sampling.value = fill_value;
            self
        }

        /// How values between pixels are had. Default [`Interpolation::Bilinear`].
        pub fn interpolation(mut self, interpolation: Interpolation) -> Self {
            self.sampling.interpolation = interpolation;
            self
        }
    };
}

/// Moves images at random in training. Does nothing in evaluation and prediction.
///
/// Input and output: `[channels, height, width]`. In a training step of the learner, what is drawn is a
/// function of (seed, step, layer), the same on every device. Defaults as Keras': beyond the edges the
/// image is mirrored, interpolation is bilinear.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{FillMode, RandomTranslation};
///
/// // Up to a tenth of the height, and of the width to the right.
/// let layer = RandomTranslation::new(0.1, [0.0, 0.1]).fill_mode(FillMode::Constant);
/// let model = Sequential::input(&[1, 28, 28]).layer(layer).build(42)?;
/// assert_eq!(model.output_shape(), [1, 28, 28]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomTranslation {
    pub(super) name: Option<String>,
    height_factor: Factor,
    width_factor: Factor,
    sampling: Sampling,
}

impl RandomTranslation {
    /// Moves images by these shares of their height, downwards, and of their width, to the right; −1 to 1.
    pub fn new(height_factor: impl Into<Factor>, width_factor: impl Into<Factor>) -> Self {
        Self {
            name: None,
            height_factor: height_factor.into(),
            width_factor: width_factor.into(),
            sampling: Sampling::default(),
        }
    }

    options!("random_translation");

    pub(super) fn build(&self, place: &Place<'_>) -> Result<AugmentationLayer> {
        self.height_factor.check("height_factor", false, place)?;
        self.width_factor.check("width_factor", false, place)?;
        let change = Change::Translation([self.height_factor, self.width_factor]);
        layer(change, self.sampling, place)
    }
}

/// Turns images around their middle at random in training. Does nothing in evaluation and prediction.
///
/// Input and output: `[channels, height, width]`. In a training step of the learner, what is drawn is a
/// function of (seed, step, layer), the same on every device. Defaults as Keras': beyond the edges the
/// image is mirrored, interpolation is bilinear.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::RandomRotation;
///
/// // Up to 36 degrees to either side.
/// let model = Sequential::input(&[1, 28, 28]).layer(RandomRotation::new(0.1)).build(42)?;
/// assert_eq!(model.output_shape(), [1, 28, 28]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomRotation {
    pub(super) name: Option<String>,
    factor: Factor,
    sampling: Sampling,
}

impl RandomRotation {
    /// Turns images by these shares of a full turn, −1 to 1; counterclockwise above 0.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self { name: None, factor: factor.into(), sampling: Sampling::default() }
    }

    options!("random_rotation");

    pub(super) fn build(&self, place: &Place<'_>) -> Result<AugmentationLayer> {
        self.factor.check("factor", false, place)?;
        layer(Change::Rotation(self.factor), self.sampling, place)
    }
}

/// Zooms into images, or out of them, at random in training. Does nothing in evaluation and prediction.
///
/// Input and output: `[channels, height, width]`. In a training step of the learner, what is drawn is a
/// function of (seed, step, layer), the same on every device. Defaults as Keras': height and width by the
/// same factor, beyond the edges the image is mirrored, interpolation is bilinear.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::RandomZoom;
///
/// // In: a fifth less is seen at most.
/// let model = Sequential::input(&[1, 28, 28]).layer(RandomZoom::new([-0.2, 0.0])).build(42)?;
/// assert_eq!(model.output_shape(), [1, 28, 28]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RandomZoom {
    pub(super) name: Option<String>,
    height_factor: Factor,
    width_factor: Option<Factor>,
    sampling: Sampling,
}

impl RandomZoom {
    /// Shows so much more of the height, above −1 and up to 1: out of the image above 0, into it below.
    pub fn new(height_factor: impl Into<Factor>) -> Self {
        Self {
            name: None,
            height_factor: height_factor.into(),
            width_factor: None,
            sampling: Sampling::default(),
        }
    }

    /// The same for the width. Default: what was drawn for the height.
    pub fn width_factor(mut self, width_factor: impl Into<Factor>) -> Self {
        self.width_factor = Some(width_factor.into());
        self
    }

    options!("random_zoom");

    pub(super) fn build(&self, place: &Place<'_>) -> Result<AugmentationLayer> {
        self.height_factor.check("height_factor", true, place)?;
        if let Some(width_factor) = self.width_factor {
            width_factor.check("width_factor", true, place)?;
        }
        let change = Change::Zoom { height: self.height_factor, width: self.width_factor };
        layer(change, self.sampling, place)
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Flip(FlipMode),
    /// Height, width.
    Translation([Factor; 2]),
    Rotation(Factor),
    Zoom {
        height: Factor,
        width: Option<Factor>,
    },
}

fn layer(change: Change, sampling: Sampling, place: &Place<'_>) -> Result<AugmentationLayer> {
    let image = image(place)?;
    if !sampling.value.is_finite() {
        return Err(
            place.error(format!("fill_value is {}; allowed: a finite number", sampling.value))
        );
    }
    Ok(AugmentationLayer { image, change, sampling, index: place.index })
}

#[derive(Clone, Debug)]
pub(crate) struct AugmentationLayer {
    /// Channels, height, width.
    image: [usize; 3],
    change: Change,
    sampling: Sampling,
    index: u64,
}

impl AugmentationLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        let seed = match pass.seed {
            Some(seed) => seed,
            // Inside of a user's module there is no seed but the device's.
            None if x.is_autodiff() => seed_of_device(&x),
            None => return x,
        };
        let matrices = self.matrices(x.dims()[0], seed);
        self.sampling.apply(x, self.image, &matrices)
    }

    /// What is done to each sample.
    fn matrices(&self, samples: usize, seed: u64) -> Vec<Matrix> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(self.index);
        let [_, height, width] = self.image;
        let size = [height, width];
        let draw = |_| match self.change {
            Change::Flip(mode) => {
                let [vertical, horizontal] = [rng.random::<bool>(), rng.random::<bool>()];
                let flips = match mode {
                    FlipMode::Horizontal => [false, horizontal],
                    FlipMode::Vertical => [vertical, false],
                    FlipMode::HorizontalAndVertical => [vertical, horizontal],
                };
                affine::flip(flips, size)
            }
            Change::Translation([down, right]) => {
                let [down, right] = [down.draw(&mut rng), right.draw(&mut rng)];
                affine::translation([down * height as f64, right * width as f64])
            }
            Change::Rotation(factor) => affine::rotation(factor.draw(&mut rng) * TAU, size),
            Change::Zoom { height, width } => {
                let height = 1.0 + height.draw(&mut rng);
                let width = width.map_or(height, |width| 1.0 + width.draw(&mut rng));
                affine::zoom([height, width], size)
            }
        };
        (0..samples).map(draw).collect()
    }
}

/// A seed from the random numbers of the device; reads them.
fn seed_of_device(x: &Tensor<2>) -> u64 {
    let device = x.device().without_autodiff();
    let drawn = Tensor::<1>::random([2], Distribution::Uniform(0.0, 16_777_216.0), &device);
    let halves = drawn.into_data().convert::<f32>().try_into_vec::<f32>().unwrap_or_default();
    halves.iter().fold(0, |seed, half| (seed << 24) ^ (*half as u64))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use serde_json::Value;

    use super::*;

    /// Against what Keras 3.15.1 makes of the same images with the same draws;
    /// `tests/engine/keras/record.py`.
    #[test]
    fn images_become_what_keras_makes_of_them() {
        let recording = include_str!("../../tests/engine/keras/augmentation.jsonl");
        assert_eq!(recording.lines().count(), 24);
        for line in recording.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let what = case["layer"].to_string();
            let numbers = |key: &str| -> Vec<f64> {
                let values = case[key].as_array().unwrap();
                values.iter().map(|value| value.as_f64().unwrap()).collect()
            };
            let name = |key: &str| case["layer"][key].as_str().unwrap();
            let shape: Vec<usize> =
                numbers("shape").iter().map(|length| *length as usize).collect();
            let [channels, height, width] = shape[..] else { panic!("{what}") };
            let size = [height, width];
            let drawn = case["drawn"].as_array().unwrap().iter().map(|drawn| {
                let at = |i: usize| drawn[i].as_f64().unwrap();
                match name("type") {
                    "random_translation" => affine::translation([at(0), at(1)]),
                    "random_rotation" => affine::rotation(at(0).to_radians(), size),
                    _ => affine::zoom([at(0), at(1)], size),
                }
            });
            let sampling = Sampling {
                mode: FillMode::from_name(name("fill_mode")).unwrap(),
                value: case["layer"]["fill_value"].as_f64().unwrap(),
                interpolation: Interpolation::from_name(name("interpolation")).unwrap(),
            };
            let input: Vec<f32> = numbers("input").iter().map(|value| *value as f32).collect();
            let data = TensorData::new(input, [3, channels * height * width]);
            let x = Tensor::<2>::from_data(data, &Device::default());
            let matrices: Vec<Matrix> = drawn.collect();
            let output = sampling.apply(x, [channels, height, width], &matrices);
            let output = output.into_data().try_into_vec::<f32>().unwrap();
            for (got, expected) in output.iter().zip(numbers("output")) {
                assert!((f64::from(*got) - expected).abs() < 1e-4, "{what}: {got} {expected}");
            }
        }
    }

    #[test]
    fn flips_turn_lines_over() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        for (flips, expected) in [
            ([false, false], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ([false, true], [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]),
            ([true, false], [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]),
            ([true, true], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
        ] {
            let x = Tensor::<2>::from_data(TensorData::new(x.to_vec(), [1, 6]), &Device::default());
            let output = Sampling::default().apply(x, [1, 2, 3], &[affine::flip(flips, [2, 3])]);
            let output = output.into_data().try_into_vec::<f32>().unwrap();
            assert_eq!(output, expected, "{flips:?}");
        }
    }
}
