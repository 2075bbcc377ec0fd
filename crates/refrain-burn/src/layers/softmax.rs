//! The softmax as a layer of its own.

/// A [softmax](crate::Activation::Softmax) along the last axis; Keras' `Softmax`. As
/// [`Activation`](super::Activation) with that function.
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
