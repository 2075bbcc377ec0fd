//! An activation whose slopes are learnt.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use refrain_core::Result;

use super::rules::{Rules, rules};
use super::{Kind, Place};
use crate::initializer::{Initializer, stream};

/// `x` above 0, `alpha × x` below, where each element has an `alpha` that is trained; Keras' `PReLU`.
///
/// Takes vectors, sequences `[steps, features]` and images `[channels, height, width]`. Weights: `alpha`,
/// of the input's shape, with length 1 along [shared axes](Self::shared_axes). Default: `zeros`, nothing
/// shared.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Conv2d, Prelu};
///
/// // A slope for each of the filters.
/// let model = Sequential::input(&[1, 8, 8])
///     .layer(Conv2d::new(16, 3))
///     .layer(Prelu::new().shared_axes([2, 3]))
///     .build(42)?;
/// assert_eq!(model.summary().rows[1].parameters, 16);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Delving deep into rectifiers: surpassing human-level performance on ImageNet classification", ICCV
/// 2015.
#[derive(Clone, Debug)]
pub struct Prelu {
    pub(super) name: Option<String>,
    alpha_initializer: Initializer,
    shared_axes: Vec<usize>,
    pub(super) rules: Rules,
}

impl Prelu {
    /// The layer with a slope for each element.
    pub fn new() -> Self {
        Self {
            name: None,
            alpha_initializer: Initializer::Zeros,
            shared_axes: Vec::new(),
            rules: Rules::default(),
        }
    }

    /// Gives the layer a name. Default: `prelu`, `prelu_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How the slopes begin. Default `zeros`.
    pub fn alpha_initializer(mut self, initializer: Initializer) -> Self {
        self.alpha_initializer = initializer;
        self
    }

    /// Axes of a sample along which all elements have one slope, counted from 1: `[2, 3]` of images for
    /// one slope a channel. Default none.
    pub fn shared_axes(mut self, axes: impl Into<Vec<usize>>) -> Self {
        self.shared_axes = axes.into();
        self
    }

    rules! {
        "alpha", alpha_regularizer, alpha_constraint;
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<Kind> {
        let shape = place.input_shape;
        if let Some(axis) = self.shared_axes.iter().find(|axis| !(1..=shape.len()).contains(*axis))
        {
            return Err(place.error(format!(
                "shared_axes has {axis}, and its input has the shape {shape:?}; allowed: 1 to {}",
                shape.len()
            )));
        }
        Ok(match *shape {
            [a] => Kind::PreluOfVectors(self.layer([a], place)),
            [a, b] => Kind::PreluOfSequences(self.layer([a, b], place)),
            [a, b, c] => Kind::PreluOfImages(self.layer([a, b, c], place)),
            _ => {
                return Err(place.error(format!(
                    "prelu layers take vectors, sequences [steps, features] and images [channels, \
                     height, width], and its input has the shape {shape:?}; {{ type = \"reshape\", \
                     target_shape = [..] }} before it makes one"
                )));
            }
        })
    }

    fn layer<const D: usize>(&self, shape: [usize; D], place: &Place<'_>) -> PreluLayer<D> {
        let mut of_alpha = shape;
        for (axis, length) in (1..).zip(&mut of_alpha) {
            if self.shared_axes.contains(&axis) {
                *length = 1;
            }
        }
        let slopes = of_alpha.iter().product();
        let mut rng = stream(place.seed, place.index);
        let alpha = self.alpha_initializer.fill([slopes, 1], &mut rng);
        PreluLayer { alpha: place.weight(alpha, of_alpha), shape }
    }
}

impl Default for Prelu {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Module, Debug)]
pub(crate) struct PreluLayer<const D: usize> {
    alpha: Param<Tensor<D>>,
    /// Of a sample.
    #[module(skip)]
    shape: [usize; D],
}

impl<const D: usize> PreluLayer<D> {
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [samples, elements] = x.dims();
        let alpha = self.alpha.val().expand(self.shape).reshape([1, elements]);
        let below = relu(x.clone().neg()) * alpha.expand([samples, elements]);
        relu(x) - below
    }
}
