//! A snapshot of a model's weights: named arrays on the host, exact to the bit.

mod bytes;
mod header;

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

pub use bytes::TensorBytes;
use header::{Entry, METADATA, MOST_BYTES, byte_length};

use crate::error::{Error, Escaped, Result};
use crate::files::Files;

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
    pub bytes: TensorBytes,
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
    const ALL: [Self; 13] = [
        Self::F64,
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U64,
        Self::U32,
        Self::U16,
        Self::U8,
        Self::Bool,
    ];

    /// Its name in safetensors files.
    fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bits of an element.
    fn bits(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 64,
            Self::F32 | Self::I32 | Self::U32 => 32,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 16,
            Self::I8 | Self::U8 | Self::Bool => 8,
        }
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

    /// The elements of the array `name`, where it is one of f32.
    pub fn f32s(&self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.get(name).filter(|tensor| tensor.dtype == WeightDtype::F32)?;
        let (elements, _) = tensor.bytes.as_chunks();
        Some(elements.iter().map(|x| f32::from_le_bytes(*x)).collect())
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// Makes this the average `keep × this + (1 − keep) × new`, element by element: an exponential
    /// moving average with a constant `keep` (0..=1), the mean of n + 1 with `keep` n / (n + 1).
    ///
    /// Computed in f64 and rounded to the elements' type. What is no float (counts, masks) has no
    /// average and is taken from `new`.
    ///
    /// # Errors
    /// When a name, shape or type is not the same in both, or a type is a float of 16 bits, too
    /// coarse to hold an average; this then stays as it was.
    pub fn average_with(&mut self, new: &Weights, keep: f64) -> Result {
        if self.tensors.len() != new.tensors.len() {
            return Err(Error::data(format!(
                "an average over {} tensors cannot take in {}",
                self.tensors.len(),
                new.tensors.len()
            )));
        }
        // By names: a snapshot that was read from a file has another order.
        let partner = |average: &WeightTensor, i: usize| {
            let same = new.tensors.get(i).filter(|new| new.name == average.name);
            same.or_else(|| new.get(&average.name)).ok_or_else(|| {
                let name = Escaped(&average.name);
                Error::data(format!("the average has a tensor `{name}`, the new weights have none"))
            })
        };
        for (i, average) in self.tensors.iter().enumerate() {
            average.check_averaging(partner(average, i)?)?;
        }
        for (i, average) in self.tensors.iter_mut().enumerate() {
            let new = partner(average, i)?;
            match average.dtype {
                WeightDtype::F32 => average_f32(&mut average.bytes, &new.bytes, keep),
                WeightDtype::F64 => average_f64(&mut average.bytes, &new.bytes, keep),
                _ => average.bytes = new.bytes.clone(),
            }
        }
        Ok(())
    }

    /// All names with `prefix` in front of each, so that several snapshots can be kept as one.
    pub(crate) fn prefixed(mut self, prefix: &str) -> Self {
        for tensor in &mut self.tensors {
            tensor.name.insert_str(0, prefix);
        }
        self
    }

    /// The reverse of [`prefixed`](Self::prefixed): the part that has `prefix`, if any has.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Option<Self> {
        let tensors: Vec<_> = self
            .tensors
            .iter()
            .filter_map(|tensor| {
                let name = tensor.name.strip_prefix(prefix)?.to_owned();
                Some(WeightTensor { name, ..tensor.clone() })
            })
            .collect();
        (!tensors.is_empty()).then_some(Self { tensors })
    }

    /// The snapshot as a safetensors file.
    ///
    /// # Errors
    /// When an array's length does not fit its shape, two have one name, or one has the name that
    /// the format has for itself.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut file = Vec::new();
        let written = Self::write(&[("", self)], &mut |bytes| {
            file.extend_from_slice(bytes);
            Ok(())
        });
        written.map_err(|e| Error::data(e.to_string()))?;
        Ok(file)
    }

    /// Writes snapshots into one safetensors file, with a prefix in front of each one's names, piece
    /// by piece: without a second copy of them.
    ///
    /// # Errors
    /// What `put` says; and before anything is put, what the file could not be read back with.
    pub(crate) fn write(
        parts: &[(&str, &Weights)],
        put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let refuse = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut tensors: Vec<(&str, &WeightTensor)> = parts
            .iter()
            .flat_map(|(prefix, weights)| weights.tensors.iter().map(|tensor| (*prefix, tensor)))
            .collect();
        // Wide elements first, so that each tensor lies at a multiple of its elements' size. In the
        // model's order among them.
        tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype.bits()));
        let mut entries = Map::new();
        let mut offset = 0;
        for (prefix, tensor) in &tensors {
            let name = format!("{prefix}{}", tensor.name);
            let shown = Escaped(&name);
            if byte_length(tensor.dtype, &tensor.shape) != Some(tensor.bytes.len()) {
                return Err(refuse(format!(
                    "tensor `{shown}` has {} bytes, which are not those of {:?} of the shape {:?}",
                    tensor.bytes.len(),
                    tensor.dtype,
                    tensor.shape
                )));
            }
            if name == METADATA {
                return Err(refuse(format!(
                    "a tensor is named `{METADATA}`, which safetensors files have for themselves; \
                     give it another name"
                )));
            }
            if entries.contains_key(&name) {
                return Err(refuse(format!("two tensors are named `{shown}`")));
            }
            let end = offset + tensor.bytes.len();
            let entry = json!({
                "dtype": tensor.dtype.name(),
                "shape": tensor.shape,
                "data_offsets": [offset, end],
            });
            entries.insert(name, entry);
            offset = end;
        }
        let mut header = Value::Object(entries).to_string();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        if header.len() > MOST_BYTES {
            return Err(refuse(format!(
                "the names and shapes of {} tensors take {} bytes; allowed: at most {MOST_BYTES}",
                tensors.len(),
                header.len()
            )));
        }
        put(&(header.len() as u64).to_le_bytes())?;
        put(header.as_bytes())?;
        tensors.iter().try_for_each(|(_, tensor)| put(&tensor.bytes))
    }

    /// The first tensor that holds NaN or an infinity.
    pub(crate) fn not_finite(&self) -> Option<&str> {
        let bad = self.tensors.iter().find(|tensor| !tensor.is_finite())?;
        Some(&bad.name)
    }

    /// Reads a safetensors file's bytes. The arrays come in the order in which they are stored.
    ///
    /// Cost: time and memory of the order of the file's length, whatever its header claims.
    ///
    /// # Errors
    /// When the bytes are no safetensors file, hold an element type that no engine has, or two
    /// arrays of one name.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let (entries, data) = header::read(bytes)?;
        let tensor = |Entry { name, shape, dtype, place }: Entry| {
            let bytes = data.get(place).unwrap_or_default().to_vec().into();
            WeightTensor { name, shape, dtype, bytes }
        };
        Ok(Self { tensors: entries.into_iter().map(tensor).collect() })
    }

    /// Writes a safetensors file, atomically.
    ///
    /// # Errors
    /// When the file cannot be written; what was there before is still there.
    pub fn save(&self, path: &Path) -> Result {
        self.save_on(&Files::default(), path)
    }

    /// As [`save`](Self::save), on the disk of a run.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_on(&self, files: &Files, path: &Path) -> Result {
        files.write_atomically(path, &self.to_safetensors()?)
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be read or is none; the message names it.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = Files::default().read(path, MAX_FILE_BYTES)?;
        Self::from_safetensors(&bytes).map_err(|e| e.context(format!("`{}`", path.display())))
    }
}

impl WeightTensor {
    fn is_finite(&self) -> bool {
        // All bits of the exponent are set in what is not finite.
        match self.dtype {
            WeightDtype::F32 => {
                let (elements, _) = self.bytes.as_chunks();
                elements.iter().all(|x| f32::from_le_bytes(*x).is_finite())
            }
            WeightDtype::F64 => {
                let (elements, _) = self.bytes.as_chunks();
                elements.iter().all(|x| f64::from_le_bytes(*x).is_finite())
            }
            WeightDtype::F16 | WeightDtype::BF16 => {
                let exponent = if self.dtype == WeightDtype::F16 { 0x7c00 } else { 0x7f80 };
                let (elements, _) = self.bytes.as_chunks();
                elements.iter().all(|x| u16::from_le_bytes(*x) & exponent != exponent)
            }
            _ => true,
        }
    }

    fn check_averaging(&self, new: &Self) -> Result {
        let problem = if self.shape != new.shape || self.bytes.len() != new.bytes.len() {
            format!("the average's shape is {:?}, the new one's {:?}", self.shape, new.shape)
        } else if self.dtype != new.dtype {
            format!("the average is {:?}, the new one {:?}", self.dtype, new.dtype)
        } else if matches!(self.dtype, WeightDtype::F16 | WeightDtype::BF16) {
            format!("{:?} is too coarse to hold an average; allowed: F32, F64", self.dtype)
        } else {
            return Ok(());
        };
        Err(Error::data(format!("tensor `{}`: {problem}", Escaped(&new.name))))
    }
}

fn average_f32(average: &mut [u8], new: &[u8], keep: f64) {
    let (average, _) = average.as_chunks_mut();
    for (average, new) in average.iter_mut().zip(new.as_chunks().0) {
        let (a, n) = (f32::from_le_bytes(*average), f32::from_le_bytes(*new));
        *average = ((keep * f64::from(a) + (1.0 - keep) * f64::from(n)) as f32).to_le_bytes();
    }
}

fn average_f64(average: &mut [u8], new: &[u8], keep: f64) {
    let (average, _) = average.as_chunks_mut();
    for (average, new) in average.iter_mut().zip(new.as_chunks().0) {
        let (a, n) = (f64::from_le_bytes(*average), f64::from_le_bytes(*new));
        *average = (keep * a + (1.0 - keep) * n).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f32) -> Weights {
        Weights::from_f32([("w", vec![1], vec![value])])
    }

    #[test]
    fn averages() {
        // Keras' own test of the moving average: 2, 1, 0 with 0.9.
        let mut average = one(2.0);
        for (new, expected) in [(1.0, 1.9), (0.0, 1.71)] {
            average.average_with(&one(new), 0.9).unwrap();
            assert_eq!(average, one(expected));
        }
        // The mean of 1, 2, 6.
        let mut mean = one(1.0);
        for (n, new) in [(1.0, 2.0), (2.0, 6.0)] {
            mean.average_with(&one(new), n / (n + 1.0)).unwrap();
        }
        assert_eq!(mean, one(3.0));
        // What is no float is taken over.
        let count = |byte: u8| WeightTensor {
            name: "count".into(),
            shape: vec![1],
            dtype: WeightDtype::U8,
            bytes: vec![byte].into(),
        };
        let mut counts = Weights { tensors: vec![count(1)] };
        counts.average_with(&Weights { tensors: vec![count(5)] }, 0.9).unwrap();
        assert_eq!(counts.tensors, [count(5)]);
    }

    #[test]
    fn refuses_to_average_what_does_not_fit() {
        let double = |mut weights: Weights| {
            weights.tensors[0].dtype = WeightDtype::F16;
            weights
        };
        for (average, new, message) in [
            (one(1.0), Weights::default(), "an average over 1 tensors cannot take in 0"),
            (one(1.0), one(1.0).prefixed("x/"), "a tensor `w`, the new weights have none"),
            (
                one(1.0),
                Weights::from_f32([("w", vec![2], vec![1.0, 2.0])]),
                "the average's shape is [1], the new one's [2]",
            ),
            (one(1.0), double(one(1.0)), "the average is F32, the new one F16"),
            (double(one(1.0)), double(one(1.0)), "F16 is too coarse"),
        ] {
            let mut averaged = average.clone();
            let error = averaged.average_with(&new, 0.5).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
            assert_eq!(averaged, average);
        }
    }

    #[test]
    fn snapshots_can_be_kept_as_one() {
        let mut both = one(1.0).prefixed("a/");
        both.tensors.extend(one(2.0).prefixed("b/").tensors);
        assert_eq!(both.with_prefix("a/"), Some(one(1.0)));
        assert_eq!(both.with_prefix("b/"), Some(one(2.0)));
        assert_eq!(both.with_prefix("c/"), None);
    }

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
