//! A recurrent layer that reads a sequence in both directions.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::{Gru, Kind, LayerConfig, Lstm, Place, SimpleRnn, Stack};

/// How [`Bidirectional`] joins the outputs of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MergeMode {
    /// One behind the other: twice as many outputs.
    #[default]
    Concat,
    /// Their sum.
    Sum,
    /// Their product.
    Mul,
    /// Their mean.
    Ave,
}

impl MergeMode {
    /// Keras' names.
    pub const NAMES: &[&str] = &["concat", "sum", "mul", "ave"];

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "concat" => Some(Self::Concat),
            "sum" => Some(Self::Sum),
            "mul" => Some(Self::Mul),
            "ave" => Some(Self::Ave),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Concat => "concat",
            Self::Sum => "sum",
            Self::Mul => "mul",
            Self::Ave => "ave",
        }
    }
}

/// Two recurrent layers of one kind: one reads a sequence from its beginning, the other from its end.
///
/// Input: `[steps, features]`; output: as that of the layer, with twice as many units for
/// [`MergeMode::Concat`]. With all steps given, both outputs of a step are of the same step of the input.
/// Weights are named after both layers, as in Keras: `bidirectional.forward_lstm.kernel`,
/// `bidirectional.backward_lstm.kernel`, ...
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Bidirectional, Lstm, MergeMode};
///
/// let model = Sequential::input(&[10, 4])
///     .layer(Bidirectional::new(Lstm::new(8).return_sequences(true)))
///     .layer(Bidirectional::new(Lstm::new(8)).merge_mode(MergeMode::Sum))
///     .build(42)?;
/// assert_eq!(model.summary().rows[0].output_shape, [10, 16]);
/// assert_eq!(model.output_shape(), [8]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Bidirectional recurrent neural networks", IEEE Transactions on Signal Processing 45(11), 1997.
#[derive(Clone, Debug)]
pub struct Bidirectional {
    pub(super) name: Option<String>,
    layer: Box<LayerConfig>,
    merge_mode: MergeMode,
}

/// A layer that can read a sequence backwards: [`Lstm`], [`Gru`] or [`SimpleRnn`].
pub trait Recurrent: Into<LayerConfig> {}

impl Recurrent for Lstm {}
impl Recurrent for Gru {}
impl Recurrent for SimpleRnn {}

impl Bidirectional {
    /// A layer, and another one of the same kind that reads from the other end.
    pub fn new(layer: impl Recurrent) -> Self {
        Self { name: None, layer: Box::new(layer.into()), merge_mode: MergeMode::Concat }
    }

    /// Gives the layer a name. Default: `bidirectional`, `bidirectional_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How the outputs are joined. Default: [`MergeMode::Concat`].
    pub fn merge_mode(mut self, merge_mode: MergeMode) -> Self {
        self.merge_mode = merge_mode;
        self
    }

    /// Both layers, and the shape of what they make together.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Stack, Merge, Vec<usize>)> {
        let name = place.names.borrow_mut().name(&self.layer)?;
        let both = match &*self.layer {
            LayerConfig::Lstm(layer) => {
                layer.both_directions(&name).map(|both| both.map(LayerConfig::from))
            }
            LayerConfig::Gru(layer) => {
                layer.both_directions(&name).map(|both| both.map(LayerConfig::from))
            }
            LayerConfig::SimpleRnn(layer) => {
                layer.both_directions(&name).map(|both| both.map(LayerConfig::from))
            }
            other => {
                return Err(place.error(format!(
                    "it holds a layer of type {}; allowed: lstm, gru, simple_rnn",
                    other.type_name()
                )));
            }
        };
        let both = both.ok_or_else(|| {
            place.error(format!(
                "go_backwards is true in `{name}`; allowed: false, one of both directions is backwards \
                 anyway"
            ))
        })?;
        let stack = Stack::beside(place, &both)?;
        let mut shape = stack.output_shape().unwrap_or_default().to_vec();
        let steps = match *shape {
            [steps, _] => Some(steps),
            _ => None,
        };
        if self.merge_mode == MergeMode::Concat
            && let Some(units) = shape.last_mut()
        {
            *units *= 2;
            place.check_elements(&shape)?;
        }
        Ok((stack, Merge { mode: self.merge_mode, steps }, shape))
    }
}

/// How two outputs become one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merge {
    mode: MergeMode,
    /// Where the outputs of all steps are given.
    steps: Option<usize>,
}

impl Merge {
    pub(super) fn forward(self, layers: &Stack, x: Tensor<2>) -> Tensor<2> {
        let mut both = layers.layers.iter().map(|layer| match &layer.kind {
            Kind::Recurrent(layer) => layer.forward(x.clone()),
            Kind::RecurrentWithTwoBiases(layer) => layer.forward(x.clone()),
            _ => x.clone(),
        });
        let (Some(forward), Some(backward)) = (both.next(), both.next()) else {
            return x;
        };
        let [samples, elements] = forward.dims();
        let steps = self.steps.unwrap_or(1);
        let by_step = |x: Tensor<2>| x.reshape([samples, steps, elements / steps]);
        // The second is in the order of its reading.
        let (forward, backward) = (by_step(forward), by_step(backward).flip([1]));
        let merged = match self.mode {
            MergeMode::Concat => Tensor::cat(vec![forward, backward], 2),
            MergeMode::Sum => forward + backward,
            MergeMode::Mul => forward * backward,
            MergeMode::Ave => (forward + backward) / 2.0,
        };
        let elements = merged.dims()[1] * merged.dims()[2];
        merged.reshape([samples, elements])
    }
}
