//! A batch whose rank is known at run time.

use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::{Error, Result};

use crate::dataset::FromArray;
use crate::samples::{Samples, nothing_to_join};

/// A float batch of any rank, first axis the sample; what [`Sequential`](crate::Sequential) takes.
///
/// Stored as one row per sample, so that going from one rank to another costs nothing.
///
/// # Example
/// ```
/// use refrain_burn::AnyTensor;
/// use refrain_burn::burn::tensor::{Device, Tensor};
///
/// let images = AnyTensor::from(Tensor::<4>::zeros([32, 1, 8, 8], &Device::default()));
/// assert_eq!(images.sample_shape(), [1, 8, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct AnyTensor {
    /// `[samples, elements of a sample]`.
    rows: Tensor<2>,
    sample_shape: Vec<usize>,
}

impl AnyTensor {
    /// Lengths of a sample's axes.
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    /// The batch as `[samples, elements of a sample]`.
    pub fn into_rows(self) -> Tensor<2> {
        self.rows
    }
}

impl<const D: usize> From<Tensor<D>> for AnyTensor {
    fn from(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims();
        let samples = shape.first().copied().unwrap_or(1);
        let sample_shape: Vec<usize> = shape.iter().skip(1).copied().collect();
        let elements = sample_shape.iter().product();
        Self { rows: tensor.reshape([samples, elements]), sample_shape }
    }
}

impl FromArray for AnyTensor {
    fn from_array(values: Vec<f32>, shape: &[usize], device: &Device) -> Result<Self> {
        let [samples, sample_shape @ ..] = shape else {
            return Err(Error::data("a batch needs an axis of samples"));
        };
        let elements: usize = sample_shape.iter().product();
        let data = TensorData::new(values, [*samples, elements]);
        Ok(Self { rows: Tensor::from_data(data, device), sample_shape: sample_shape.to_vec() })
    }
}

impl Samples for AnyTensor {
    fn samples(&self) -> usize {
        self.rows.samples()
    }

    fn onto(self, device: &Device) -> Self {
        Self { rows: self.rows.onto(device), ..self }
    }

    fn concat(parts: Vec<Self>) -> Result<Self> {
        let sample_shape = parts.first().ok_or_else(nothing_to_join)?.sample_shape.clone();
        let rows = parts.into_iter().map(|part| part.rows).collect();
        Ok(Self { rows: Tensor::concat(rows)?, sample_shape })
    }
}
