//! The softmax as a layer of its own.

/// A [softmax](crate::Activation::Softmax) over the channels of an image, or along the last axis of
/// anything else; Keras' `Softmax`. As [`Activation`](super::Activation) with that function.
#[derive(Clone, Debug, Default)]
pub struct Softmax {
    pub(super) name: Option<String>,
}

impl Softmax {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the layer a name. Default: `softmax`, `softmax_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
