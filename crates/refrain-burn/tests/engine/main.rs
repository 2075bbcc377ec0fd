//! The engine against Keras' numbers, against Burn by hand, and against the world's mistakes.
//!
//! One binary: each links all of Burn. Golden numbers were printed by Keras 3.15.1 on JAX 0.10.2
//! (CPU, f32) unless a test says otherwise.

#![expect(clippy::excessive_precision, reason = "golden numbers are as they were printed")]

mod activations;
mod dataset;
mod gradients;
mod initializers;
mod keras_layers;
mod keras_losses;
mod keras_metrics;
mod keras_optimizers;
mod layers;
mod learner;
mod losses;
mod metrics;
mod nn;
mod optimizer_options;
mod optimizers;
mod sequential;
mod training;
mod trial;
mod weights;

use refrain_burn::burn::tensor::{Device, Tensor, TensorData};

/// Compares within `tolerance` of each value, or of 1 where the value is smaller.
#[track_caller]
fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: {got:?} instead of {expected:?}");
    for (got_one, expected_one) in got.iter().zip(expected) {
        let near = (got_one - expected_one).abs() <= tolerance * expected_one.abs().max(1.0);
        assert!(near || got_one == expected_one, "{what}: {got:?} instead of {expected:?}");
    }
}

fn rows(values: &[f32], columns: usize, device: &Device) -> Tensor<2> {
    let shape = [values.len() / columns, columns];
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}
