//! Tensors whose first axis is the sample.

use burn::tensor::kind::{Autodiff, Basic};
use burn::tensor::{Device, Tensor};
use refrain_core::{Error, Result};

/// One tensor, or a tuple of tensors, whose first axis is the sample.
///
/// Implemented for tensors of every rank and kind, and for pairs and triples. Implement it for a
/// struct of your own to give a model named inputs.
pub trait Samples: Clone + Send + 'static {
    /// Number of samples.
    fn samples(&self) -> usize;

    /// Moves to `device`, and takes on its autodiff setting. Free where nothing changes.
    fn onto(self, device: &Device) -> Self;

    /// Joins along the first axis.
    ///
    /// # Errors
    /// When there are none, or their samples differ in shape.
    fn concat(parts: Vec<Self>) -> Result<Self>;
}

impl<const D: usize, K: Basic + Autodiff + 'static> Samples for Tensor<D, K>
where
    Self: Clone,
{
    fn samples(&self) -> usize {
        // A tensor without axes is one sample.
        self.dims().first().copied().unwrap_or(1)
    }

    fn onto(self, device: &Device) -> Self {
        let here = if self.device() == *device { self } else { self.to_device(device) };
        match device.gradient_checkpointing_strategy() {
            None => here.without_autodiff(),
            Some(strategy) => here.autodiff().with_gradient_checkpointing_strategy(strategy),
        }
    }

    fn concat(mut parts: Vec<Self>) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(nothing_to_join());
        };
        let shape = first.dims();
        for part in &parts {
            if D == 0 || part.dims()[1..] != shape[1..] {
                return Err(Error::data(format!(
                    "outputs of the shapes {shape:?} and {:?} cannot be joined along the samples",
                    part.dims()
                )));
            }
        }
        Ok(match parts.pop() {
            Some(only) if parts.is_empty() => only,
            Some(last) => {
                parts.push(last);
                Tensor::cat(parts, 0)
            }
            None => return Err(nothing_to_join()),
        })
    }
}

impl<A: Samples, B: Samples> Samples for (A, B) {
    fn samples(&self) -> usize {
        self.0.samples()
    }

    fn onto(self, device: &Device) -> Self {
        (self.0.onto(device), self.1.onto(device))
    }

    fn concat(parts: Vec<Self>) -> Result<Self> {
        let (a, b) = parts.into_iter().unzip();
        Ok((A::concat(a)?, B::concat(b)?))
    }
}

impl<A: Samples, B: Samples, C: Samples> Samples for (A, B, C) {
    fn samples(&self) -> usize {
        self.0.samples()
    }

    fn onto(self, device: &Device) -> Self {
        (self.0.onto(device), self.1.onto(device), self.2.onto(device))
    }

    fn concat(parts: Vec<Self>) -> Result<Self> {
        let mut columns = (Vec::new(), Vec::new(), Vec::new());
        for (a, b, c) in parts {
            columns.0.push(a);
            columns.1.push(b);
            columns.2.push(c);
        }
        Ok((A::concat(columns.0)?, B::concat(columns.1)?, C::concat(columns.2)?))
    }
}

pub(crate) fn nothing_to_join() -> Error {
    Error::data("there are no outputs to join: nothing was predicted")
}
