//! Layers whose input is added to what they make of it.

use refrain_core::Result;

use super::{LayerConfig, Place, Stack};

/// More levels of layers within layers than this are taken for a mistake.
const DEEPEST: usize = 16;

/// `input + layers(input)`.
///
/// Input and output: of any shape, which the layers within must keep. Their weights are named after both:
/// `residual.conv2d.weight`. Keras has no such layer: it is what is written there as
/// `x = keras.layers.add([x, f(x)])`.
///
/// # Example
/// ```
/// use refrain_burn::layers::{Conv2d, Padding, Residual};
/// use refrain_burn::{Activation, Sequential};
///
/// let conv = || Conv2d::new(16, 3).padding(Padding::Same);
/// let model = Sequential::input(&[16, 8, 8])
///     .layer(Residual::new([conv().activation(Activation::Relu).into(), conv().into()]))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [16, 8, 8]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Deep residual learning for image recognition", CVPR 2016.
#[derive(Clone, Debug)]
pub struct Residual {
    pub(super) name: Option<String>,
    layers: Vec<LayerConfig>,
}

impl Residual {
    /// Adds its input to what `layers`, one or more, make of it.
    pub fn new(layers: impl IntoIterator<Item = LayerConfig>) -> Self {
        Self { name: None, layers: layers.into_iter().collect() }
    }

    /// Gives the layer a name. Default: `residual`, `residual_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<Stack> {
        if self.layers.is_empty() {
            return Err(place.error("it holds no layers; allowed: 1 or more"));
        }
        if place.depth() >= DEEPEST {
            return Err(place.error(format!(
                "it is the {}th residual within another; allowed: {DEEPEST} levels",
                DEEPEST + 1
            )));
        }
        let stack = Stack::inside(place, &self.layers)?;
        let output = stack.output_shape().unwrap_or(place.input_shape);
        if output != place.input_shape {
            return Err(place.error(format!(
                "its input has the shape {:?}, and its layers make {output:?} of it; they are added \
                 up, so the layers must keep the shape, for example with padding = \"same\" and as \
                 many filters or units as there are inputs",
                place.input_shape
            )));
        }
        Ok(stack)
    }
}
