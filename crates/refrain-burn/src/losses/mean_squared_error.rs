//! Mean squared error.

use burn::tensor::Tensor;
use refrain_core::{Error, Result};

use super::Loss;

const NAME: &str = "mean_squared_error";

/// Mean over a sample's outputs of the squared distance from the targets. Both of any one shape.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanSquaredError;

impl MeanSquaredError {
    /// The loss.
    pub fn new() -> Self {
        Self
    }
}

impl<const D: usize> Loss<Tensor<D>> for MeanSquaredError {
    type Targets = Tensor<D>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, outputs: Tensor<D>, targets: Tensor<D>) -> Tensor<1> {
        let shape = outputs.dims();
        let samples = shape.first().copied().unwrap_or(1);
        let outputs_of_one = shape.iter().skip(1).product();
        let squares = (outputs - targets).square();
        squares.reshape([samples, outputs_of_one]).mean_dim(1).squeeze_dim::<1>(1)
    }

    fn check(&self, outputs: &Tensor<D>, targets: &Tensor<D>) -> Result {
        if outputs.dims() == targets.dims() {
            return Ok(());
        }
        Err(Error::data(format!(
            "{NAME}: outputs have the shape {:?} and targets {:?}; they must be equal",
            outputs.dims(),
            targets.dims()
        )))
    }
}
