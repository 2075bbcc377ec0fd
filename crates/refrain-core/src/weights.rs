//! A snapshot of a model's weights: named arrays on the host, exact to the bit.

use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Escaped, Result};
use crate::files;

/// A file larger than this (1 TiB) is no model.
const MAX_FILE_BYTES: u64 = 1 << 40;

/// One named array: `dense.weight`, f32, `[inputs, units]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightTensor {
    /// Name within the model.
    pub name: String,
    /// Lengths of the axes, outermost first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: WeightDtype,
    /// Elements in row-major order, little endian.
    pub bytes: Vec<u8>,
}

/// Element types of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum WeightDtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl WeightDtype {
    fn to_safetensors(self) -> Dtype {
        match self {
            WeightDtype::F64 => Dtype::F64,
            WeightDtype::F32 => Dtype::F32,
            WeightDtype::F16 => Dtype::F16,
            WeightDtype::BF16 => Dtype::BF16,
            WeightDtype::I64 => Dtype::I64,
            WeightDtype::I32 => Dtype::I32,
            WeightDtype::I16 => Dtype::I16,
            WeightDtype::I8 => Dtype::I8,
            WeightDtype::U64 => Dtype::U64,
            WeightDtype::U32 => Dtype::U32,
            WeightDtype::U16 => Dtype::U16,
            WeightDtype::U8 => Dtype::U8,
            WeightDtype::Bool => Dtype::BOOL,
        }
    }

    fn from_safetensors(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F64 => WeightDtype::F64,
            Dtype::F32 => WeightDtype::F32,
            Dtype::F16 => WeightDtype::F16,
            Dtype::BF16 => WeightDtype::BF16,
            Dtype::I64 => WeightDtype::I64,
            Dtype::I32 => WeightDtype::I32,
            Dtype::I16 => WeightDtype::I16,
            Dtype::I8 => WeightDtype::I8,
            Dtype::U64 => WeightDtype::U64,
            Dtype::U32 => WeightDtype::U32,
            Dtype::U16 => WeightDtype::U16,
            Dtype::U8 => WeightDtype::U8,
            Dtype::BOOL => WeightDtype::Bool,
            _ => return None,
        })
    }
}

/// A snapshot of all weights of a model.
///
/// Cost of taking one: a copy of every weight to the host. Setting it back gives the same bits.
///
/// # Example
/// ```
/// use refrain_core::weights::Weights;
/// let weights = Weights::from_f32([("dense.bias", vec![2], vec![0.5, -1.0])]);
/// let bytes = weights.to_safetensors()?;
/// assert_eq!(Weights::from_safetensors(&bytes)?, weights);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// The arrays, in the model's order.
    pub tensors: Vec<WeightTensor>,
}

impl Weights {
    /// A snapshot from f32 arrays: (name, shape, elements).
    pub fn from_f32<S: Into<String>>(
        tensors: impl IntoIterator<Item = (S, Vec<usize>, Vec<f32>)>,
    ) -> Self {
        let tensors = tensors
            .into_iter()
            .map(|(name, shape, elements)| WeightTensor {
                name: name.into(),
                shape,
                dtype: WeightDtype::F32,
                bytes: elements.iter().flat_map(|x| x.to_le_bytes()).collect(),
            })
            .collect();
        Self { tensors }
    }

    /// The array `name`.
    pub fn get(&self, name: &str) -> Option<&WeightTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// The snapshot as a safetensors file.
    ///
    /// # Errors
    /// When an array's length does not fit its shape.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut views = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let dtype = tensor.dtype.to_safetensors();
            let view = TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes)
                .map_err(|e| Error::wrap(e).context(format!("tensor `{}`", tensor.name)))?;
            views.push((tensor.name.as_str(), view));
        }
        safetensors::serialize(views, None).map_err(Error::wrap)
    }

    /// Reads a safetensors file's bytes. Names come sorted by offset, as stored.
    ///
    /// # Errors
    /// When the bytes are no safetensors file, or hold an element type that no engine has.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::data(format!("not a safetensors file: {e}")).with_source(e))?;
        let mut tensors = Vec::new();
        for (name, view) in file.iter() {
            let dtype = WeightDtype::from_safetensors(view.dtype()).ok_or_else(|| {
                Error::data(format!(
                    "tensor `{}` has the element type {:?}; allowed: floats, integers, bool",
                    Escaped(name),
                    view.dtype()
                ))
            })?;
            tensors.push(WeightTensor {
                name: name.to_owned(),
                shape: view.shape().to_vec(),
                dtype,
                bytes: view.data().to_vec(),
            });
        }
        Ok(Self { tensors })
    }

    /// Writes a safetensors file, atomically.
    ///
    /// # Errors
    /// When the file cannot be written; what was there before is still there.
    pub fn save(&self, path: &Path) -> Result {
        files::write_atomically(path, &self.to_safetensors()?)
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be read or is none; the message names it.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = files::read(path, MAX_FILE_BYTES)?;
        Self::from_safetensors(&bytes).map_err(|e| e.context(format!("`{}`", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_survive_the_file() {
        let odd = vec![f32::NAN, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY];
        let weights = Weights::from_f32([("a.weight", vec![2, 2], odd), ("b", vec![0], vec![])]);
        let back = Weights::from_safetensors(&weights.to_safetensors().unwrap()).unwrap();
        for tensor in &weights.tensors {
            assert_eq!(back.get(&tensor.name), Some(tensor));
        }
    }

    #[test]
    fn refuses_other_files() {
        for bytes in [&b""[..], b"not a model", &[0xff; 64]] {
            assert!(Weights::from_safetensors(bytes).is_err());
        }
    }
}
