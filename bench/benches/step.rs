//! Time of one training step of the built-in recipe's network, 64-128-10, batch 128, and of the
//! update alone on a wide one.

use divan::Bencher;
use refrain::burn::module::ParamId;
use refrain::burn::tensor::{Device, Tensor};
use refrain::layers::{Dense, Dropout, Flatten};
use refrain::{
    Accuracy, Activation, Adam, AnyTensor, ArrayDataset, BurnLearner, Optimizer, Sequential, Sgd,
    SparseCategoricalCrossentropy,
};
use refrain::{Dataset as _, Learner as _, TrackMetric as _, TrainStep, Values};

type Learner = BurnLearner<Sequential, SparseCategoricalCrossentropy>;

fn main() {
    divan::main();
}

fn learner(optimizer: Box<dyn Optimizer>) -> Learner {
    let model = Sequential::input(&[1, 8, 8])
        .layer(Flatten::new())
        .layer(Dense::new(128).activation(Activation::Relu))
        .layer(Dropout::new(0.2))
        .layer(Dense::new(10).activation(Activation::Softmax))
        .build(42);
    let model = model.unwrap_or_else(|error| panic!("the recipe's model is valid: {error}"));
    let mut learner = BurnLearner::new(model, optimizer, SparseCategoricalCrossentropy::new());
    learner.track_metric(Accuracy::new());
    learner
}

fn data() -> ArrayDataset<AnyTensor, Tensor<1, refrain::burn::tensor::Int>> {
    let inputs = (0..128 * 64).map(|i| (i * 7 % 17) as f32 / 16.0).collect();
    ArrayDataset::new(&[1, 8, 8], inputs)
        .and_then(|data| data.labels((0..128).map(|i| i % 10)))
        .unwrap_or_else(|error| panic!("the data is valid: {error}"))
}

fn train(bencher: Bencher, optimizer: Box<dyn Optimizer>) {
    let mut learner = learner(optimizer);
    let data = data();
    let indices: Vec<usize> = (0..128).collect();
    let mut seed = 0;
    bencher.bench_local(|| {
        seed += 1;
        let batch = data.batch(&indices)?;
        learner.forward_backward(batch, TrainStep { sample_weight: None, seed })?;
        learner.apply_gradients(0.01)
    });
}

#[divan::bench]
fn step_sgd_momentum(bencher: Bencher) {
    train(bencher, Box::new(Sgd::new(0.01).momentum(0.9)));
}

#[divan::bench]
fn step_adam(bencher: Bencher) {
    train(bencher, Box::new(Adam::new(0.001)));
}

#[divan::bench]
fn evaluate(bencher: Bencher) {
    let mut learner = learner(Box::new(Sgd::new(0.01)));
    let data = data();
    let indices: Vec<usize> = (0..128).collect();
    bencher.bench_local(|| learner.evaluate(data.batch(&indices)?, None));
}

#[divan::bench]
fn gather(bencher: Bencher) {
    let data = data();
    let indices: Vec<usize> = (0..128).collect();
    bencher.bench_local(|| data.batch(&indices));
}

/// 1024 × 1024 weights: moves 28 MiB.
#[divan::bench]
fn update_adam_wide(bencher: Bencher) {
    let device = Device::flex();
    let id = ParamId::new();
    let mut adam = Adam::new(0.001);
    let mut weights = Some(Values::from(Tensor::ones([1 << 20], &device)));
    bencher.with_inputs(|| Tensor::<1>::ones([1 << 20], &device)).bench_local_values(|gradient| {
        adam.begin_step(0.001);
        weights = weights.take().map(|weights| adam.update(id, weights, gradient.into()));
    });
}
