//! What the exercise starts from: the digits, and a simple model.

use refrain::burn::tensor::{Int, Tensor};
use refrain::layers::{Dense, Dropout, Flatten};
use refrain::prelude::*;
use refrain::{Activation, AnyTensor, BurnLearner};

/// Images with a class each.
pub type Data = ArrayDataset<AnyTensor, Tensor<1, Int>>;

/// The model, compiled.
pub type Model = Trainer<BurnLearner<Sequential, SparseCategoricalCrossentropy>>;

/// 1,797 handwritten digits of 8 × 8 pixels.
///
/// # Errors
/// Never with an intact program: the digits are inside it.
pub fn digits() -> Result<Data> {
    let digits = refrain::data::digits()?;
    ArrayDataset::new(&digits.shape, digits.pixels)?.labels(digits.labels)
}

/// The model of the built-in recipe, compiled as there: SGD with a learning rate of 0.1 and a
/// momentum of 0.9. The seed is the recipe's, so that the numbers are too.
///
/// # Errors
/// When the layers do not fit the data.
pub fn create_simple_model(data: &Data) -> Result<Model> {
    const SEED: u64 = 42;
    let model = Sequential::input(data.sample_shape())
        .layer(Flatten::new())
        .layer(Dense::new(128).activation(Activation::Relu))
        .layer(Dropout::new(0.2))
        .layer(Dense::new(10).activation(Activation::Softmax))
        .build(SEED)?;
    let loss = SparseCategoricalCrossentropy::new();
    let trainer = Trainer::compile(model, Sgd::new(0.1).momentum(0.9), loss);
    Ok(trainer.metric(Accuracy::new()).seed(SEED))
}
