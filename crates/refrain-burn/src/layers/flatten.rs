//! Images to vectors.

/// Makes each sample a vector, as a [`Dense`](super::Dense) layer needs it.
#[derive(Clone, Debug, Default)]
pub struct Flatten {
    pub(super) name: Option<String>,
}

impl Flatten {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the layer a name. Default: `flatten`, `flatten_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
