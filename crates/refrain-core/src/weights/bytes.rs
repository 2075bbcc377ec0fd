//! The bytes of a tensor: a vector, or memory that an engine has read a tensor into.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Elements as bytes: a vector, or whatever else holds them, so that an engine need not copy what it
/// has read from a device.
///
/// Reads as `[u8]`. A write to bytes that somebody else holds copies them first.
///
/// # Example
/// ```
/// use refrain_core::weights::TensorBytes;
///
/// let mut bytes = TensorBytes::held_by(*b"abc");
/// bytes[0] = b'A';
/// assert_eq!(bytes, TensorBytes::from(b"Abc".to_vec()));
/// ```
#[derive(Clone)]
pub struct TensorBytes(Held);

#[derive(Clone)]
enum Held {
    Vec(Vec<u8>),
    Other(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

impl TensorBytes {
    /// The bytes that `owner` holds.
    pub fn held_by(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Held::Other(Arc::new(owner)))
    }

    /// The bytes to change. Cost: a copy of all, where they are no vector yet.
    pub fn to_mut(&mut self) -> &mut Vec<u8> {
        if let Held::Other(owner) = &self.0 {
            self.0 = Held::Vec((**owner).as_ref().to_vec());
        }
        match &mut self.0 {
            Held::Vec(bytes) => bytes,
            Held::Other(_) => unreachable!("was made a vector"),
        }
    }
}

impl From<Vec<u8>> for TensorBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Held::Vec(bytes))
    }
}

impl FromIterator<u8> for TensorBytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        Self::from(Vec::from_iter(bytes))
    }
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Vec(bytes) => bytes,
            Held::Other(owner) => (**owner).as_ref(),
        }
    }
}

impl DerefMut for TensorBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.to_mut()
    }
}

impl PartialEq for TensorBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for TensorBytes {}

impl fmt::Debug for TensorBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
