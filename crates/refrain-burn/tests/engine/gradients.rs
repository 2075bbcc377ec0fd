//! Between the backward pass and the update: norms, clipping, accumulation, optimizer state.

use refrain_burn::burn::module::{Module, Param};
use refrain_burn::burn::tensor::{Device, Int, Tensor};
use refrain_burn::layers::Dense;
use refrain_burn::{
    Activation, Adam, AnyTensor, ArrayDataset, Batch, BurnLearner, Forward, MeanSquaredError,
    Optimizer, Sequential, Sgd, SparseCategoricalCrossentropy,
};
use refrain_core::weights::{WeightDtype, Weights};
use refrain_core::{Clip, Dataset as _, Learner as _, ModelAccess as _, TrainStep};

use crate::{assert_close, rows};

/// y = x · weight + bias, all weights 1.
#[derive(Module, Debug)]
struct Plane {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Forward for Plane {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        input.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

fn plane() -> BurnLearner<Plane, MeanSquaredError> {
    let device = Device::flex();
    let model = Plane {
        weight: Param::from_tensor(Tensor::ones([2, 1], &device)),
        bias: Param::from_tensor(Tensor::ones([1], &device)),
    };
    BurnLearner::new(model, Box::new(Sgd::new(1.0)), MeanSquaredError::new())
}

/// A batch whose gradients are 2 × (sum of x + 1 − y) × [x, 1].
fn backward(learner: &mut BurnLearner<Plane, MeanSquaredError>, x: [f32; 2], y: f32) {
    let device = Device::flex();
    let batch = Batch::new(rows(&x, 2, &device), rows(&[y], 1, &device));
    learner.forward_backward(batch, TrainStep::default()).unwrap();
}

/// Weight and bias after an update with rate 1 that began at 1: 1 − gradient.
fn gradients(learner: &mut BurnLearner<Plane, MeanSquaredError>) -> Vec<f32> {
    let before = numbers(&learner.weights().unwrap());
    learner.apply_gradients(1.0).unwrap();
    let after = numbers(&learner.weights().unwrap());
    before.into_iter().zip(after).map(|(before, after)| before - after).collect()
}

fn numbers(weights: &Weights) -> Vec<f32> {
    let bytes = weights.tensors.iter().flat_map(|tensor| tensor.bytes.chunks_exact(4));
    bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn clips_as_keras() {
    let half = 0.5_f32.sqrt();
    let third = 1.0 / 3_f32.sqrt();
    for (clip, expected) in [
        (Clip::Norm(1.0), [half, half, 1.0]),
        (Clip::Value(1.0), [1.0, 1.0, 1.0]),
        (Clip::GlobalNorm(1.0), [third; 3]),
        // Nothing to clip.
        (Clip::Norm(200.0), [100.0; 3]),
        (Clip::Value(200.0), [100.0; 3]),
        (Clip::GlobalNorm(200.0), [100.0; 3]),
    ] {
        let mut learner = plane();
        backward(&mut learner, [1.0, 1.0], -47.0);
        learner.clip_gradients(clip).unwrap();
        assert_eq!(learner.device_reads(), 0, "{clip:?}");
        assert_close(&gradients(&mut learner), &expected, 1e-6, &format!("{clip:?}"));
    }
}

#[test]
fn clips_negative_zero_and_broken_gradients() {
    let clipped = |clip, x: [f32; 2], y: f32| {
        let mut learner = plane();
        backward(&mut learner, x, y);
        learner.clip_gradients(clip).unwrap();
        gradients(&mut learner)
    };
    assert_eq!(clipped(Clip::Value(1.0), [1.0, 1.0], 53.0), [-1.0; 3]);
    for clip in [Clip::Norm(1.0), Clip::GlobalNorm(1.0), Clip::Value(1.0)] {
        assert_eq!(clipped(clip, [1.0, 1.0], 3.0), [0.0; 3], "{clip:?}");
        let broken = clipped(clip, [1.0, 1.0], f32::NAN);
        assert!(broken.iter().all(|gradient| gradient.is_nan()), "{clip:?}: {broken:?}");
    }
    // An infinite norm makes all gradients NaN: visibly wrong.
    let infinite = clipped(Clip::GlobalNorm(1.0), [1.0, 0.0], f32::INFINITY);
    assert!(infinite.iter().all(|gradient| gradient.is_nan()), "{infinite:?}");
}

#[test]
fn refuses_to_clip_to_nothing_or_without_gradients() {
    let mut learner = plane();
    assert!(learner.clip_gradients(Clip::Norm(1.0)).is_err());
    assert!(learner.accumulate_gradients().is_err());
    backward(&mut learner, [1.0, 1.0], 0.0);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = learner.clip_gradients(Clip::Value(bad)).unwrap_err().to_string();
        assert!(error.contains("allowed: a finite number above 0"), "{error}");
    }
    assert_eq!(gradients(&mut learner), [6.0; 3]);
}

#[test]
fn norms_have_the_names_of_the_weights() {
    let mut learner = plane();
    backward(&mut learner, [3.0, 4.0], 7.0);
    let norms = learner.gradient_norms().unwrap();
    assert_eq!(norms, [("weight".to_owned(), 10.0), ("bias".to_owned(), 2.0)]);
    assert_eq!(learner.gradient_norm().unwrap(), 104_f64.sqrt());
    assert_eq!(learner.device_reads(), 2);
    assert!(learner.weights().unwrap().names().eq(norms.iter().map(|(name, _)| name)));
}

/// Gradients [2, 0, 2], [0, 8, 8] and [0, 0, 4].
const BATCHES: [([f32; 2], f32); 3] = [([1.0, 0.0], 1.0), ([0.0, 1.0], -2.0), ([0.0, 0.0], -1.0)];

#[test]
fn an_update_is_made_with_the_mean_of_what_was_kept() {
    let mut learner = plane();
    for (x, y) in &BATCHES[..2] {
        backward(&mut learner, *x, *y);
        learner.accumulate_gradients().unwrap();
    }
    assert_eq!(numbers(&learner.weights().unwrap()), [1.0; 3], "no update yet");
    backward(&mut learner, BATCHES[2].0, BATCHES[2].1);
    assert_close(
        &gradients(&mut learner),
        &[2.0 / 3.0, 8.0 / 3.0, 14.0 / 3.0],
        1e-6,
        "mean of three",
    );

    // Nothing of it is left for the next one.
    let before = numbers(&learner.weights().unwrap())[2];
    backward(&mut learner, [0.0, 0.0], 0.0);
    assert_close(&gradients(&mut learner), &[0.0, 0.0, 2.0 * before], 1e-6, "the next");
}

#[test]
fn the_mean_is_clipped_and_may_then_be_kept_on() {
    let mut learner = plane();
    backward(&mut learner, BATCHES[0].0, BATCHES[0].1);
    learner.accumulate_gradients().unwrap();
    backward(&mut learner, BATCHES[1].0, BATCHES[1].1);
    // Mean [1, 4, 5].
    learner.clip_gradients(Clip::Value(2.0)).unwrap();
    learner.accumulate_gradients().unwrap();
    backward(&mut learner, BATCHES[2].0, BATCHES[2].1);
    let expected = [2.0 / 3.0, 4.0 / 3.0, 8.0 / 3.0];
    assert_close(&gradients(&mut learner), &expected, 1e-6, "two of the clipped, one more");
}

#[test]
fn cleared_gradients_and_new_weights_leave_nothing_kept() {
    type Forget = fn(&mut BurnLearner<Plane, MeanSquaredError>);
    let forgets: [Forget; 2] = [
        |learner| learner.clear_gradients(),
        |learner| learner.set_weights(&learner.weights().unwrap()).unwrap(),
    ];
    for forget in forgets {
        let mut learner = plane();
        backward(&mut learner, BATCHES[0].0, BATCHES[0].1);
        learner.accumulate_gradients().unwrap();
        forget(&mut learner);
        backward(&mut learner, BATCHES[1].0, BATCHES[1].1);
        assert_eq!(gradients(&mut learner), [0.0, 8.0, 8.0]);
    }
}

type Classifier = BurnLearner<Sequential, SparseCategoricalCrossentropy>;

fn classifier(optimizer: Box<dyn Optimizer>) -> Classifier {
    let model = Sequential::input(&[4])
        .layer(Dense::new(8).activation(Activation::Relu))
        .layer(Dense::new(3).activation(Activation::Softmax))
        .build(7)
        .unwrap();
    BurnLearner::new(model, optimizer, SparseCategoricalCrossentropy::new())
}

fn data() -> ArrayDataset<AnyTensor, Tensor<1, Int>> {
    let inputs: Vec<f32> = (0..48).map(|i| ((i * 7) % 11) as f32 / 11.0).collect();
    ArrayDataset::new(&[4], inputs).unwrap().labels((0..12).map(|i| i % 3)).unwrap()
}

fn train(learner: &mut Classifier, steps: std::ops::Range<usize>) {
    for step in steps {
        let first = step * 4 % 12;
        let batch = data().batch(&[first, first + 1, first + 2, first + 3]).unwrap();
        learner.forward_backward(batch, TrainStep::default()).unwrap();
        learner.apply_gradients(0.05).unwrap();
    }
}

#[test]
fn small_batches_accumulated_are_a_big_one() {
    let optimizers: [MakeOptimizer; 2] =
        [|| Box::new(Sgd::new(0.1).momentum(0.9)), || Box::new(Adam::new(0.1))];
    for optimizer in optimizers {
        let (mut big, mut small) = (classifier(optimizer()), classifier(optimizer()));
        for _ in 0..5 {
            let all: Vec<usize> = (0..12).collect();
            big.forward_backward(data().batch(&all).unwrap(), TrainStep::default()).unwrap();
            big.apply_gradients(0.05).unwrap();
            for (i, indices) in all.chunks(4).enumerate() {
                let batch = data().batch(indices).unwrap();
                small.forward_backward(batch, TrainStep::default()).unwrap();
                match i {
                    2 => small.apply_gradients(0.05).unwrap(),
                    _ => small.accumulate_gradients().unwrap(),
                }
            }
        }
        let (big, small) = (big.weights().unwrap(), small.weights().unwrap());
        assert_close(&numbers(&small), &numbers(&big), 1e-6, "weights");
        assert_eq!(small.tensors.len(), 4);
    }
}

type MakeOptimizer = fn() -> Box<dyn Optimizer>;

/// Each with the names of what it remembers.
fn optimizers() -> [(MakeOptimizer, &'static [&'static str]); 4] {
    [
        (|| Box::new(Sgd::new(0.1)), &[]),
        (
            || Box::new(Sgd::new(0.1).momentum(0.9)),
            &[
                "dense.weight/velocity",
                "dense.bias/velocity",
                "dense_1.weight/velocity",
                "dense_1.bias/velocity",
            ],
        ),
        (
            || Box::new(Sgd::new(0.1).momentum(0.9).nesterov(true)),
            &[
                "dense.weight/velocity",
                "dense.bias/velocity",
                "dense_1.weight/velocity",
                "dense_1.bias/velocity",
            ],
        ),
        (
            || Box::new(Adam::new(0.1)),
            &[
                "step",
                "dense.weight/m",
                "dense.weight/v",
                "dense.bias/m",
                "dense.bias/v",
                "dense_1.weight/m",
                "dense_1.weight/v",
                "dense_1.bias/m",
                "dense_1.bias/v",
            ],
        ),
    ]
}

#[test]
fn a_saved_optimizer_goes_on_to_the_same_bits() {
    for (optimizer, names) in optimizers() {
        let mut straight = classifier(optimizer());
        train(&mut straight, 0..3);
        let (weights, state) = (straight.weights().unwrap(), straight.optimizer_state().unwrap());
        assert!(state.names().eq(names.iter().copied()), "{:?}", state.names().collect::<Vec<_>>());
        for name in names.iter().filter(|name| name.contains('/')) {
            let (parameter, _) = name.split_once('/').unwrap();
            assert_eq!(state.get(name).unwrap().shape, weights.get(parameter).unwrap().shape);
        }

        // Through a file, into a learner with other weights and another past.
        let state = Weights::from_safetensors(&state.to_safetensors().unwrap()).unwrap();
        let mut resumed = classifier(optimizer());
        train(&mut resumed, 1..3);
        resumed.set_weights(&weights).unwrap();
        resumed.set_optimizer_state(&state).unwrap();
        train(&mut straight, 3..6);
        train(&mut resumed, 3..6);
        assert_eq!(straight.weights().unwrap(), resumed.weights().unwrap(), "{names:?}");
        assert_eq!(straight.optimizer_state().unwrap(), resumed.optimizer_state().unwrap());
    }
}

#[test]
fn an_empty_state_is_a_new_optimizer() {
    for (optimizer, names) in optimizers() {
        let mut learner = classifier(optimizer());
        let weights = learner.weights().unwrap();
        train(&mut learner, 0..3);
        let trained = learner.weights().unwrap();
        learner.set_weights(&weights).unwrap();
        learner.set_optimizer_state(&Weights::default()).unwrap();
        train(&mut learner, 0..3);
        assert_eq!(learner.weights().unwrap(), trained, "{names:?}");
    }
}

#[test]
fn refuses_the_state_of_another_optimizer_or_model() {
    let mut sgd = classifier(Box::new(Sgd::new(0.1).momentum(0.9)));
    let mut adam = classifier(Box::new(Adam::new(0.1)));
    train(&mut sgd, 0..2);
    train(&mut adam, 0..2);
    let (of_sgd, of_adam) = (sgd.optimizer_state().unwrap(), adam.optimizer_state().unwrap());

    let changed = |state: &Weights, change: fn(&mut Weights)| {
        let mut state = state.clone();
        change(&mut state);
        state
    };
    let cases = [
        ("sgd", of_adam.clone(), "sgd remembers no `m`"),
        (
            "sgd",
            changed(&of_sgd, |s| s.tensors[1].name = "dense_9.bias/velocity".into()),
            "`dense_9.bias/velocity` belongs to no parameter of the model",
        ),
        (
            "sgd",
            changed(&of_sgd, |s| s.tensors[1].shape = vec![2, 4]),
            "`dense.bias/velocity` has the shape [2, 4], and the parameter's is [8]",
        ),
        (
            "sgd",
            changed(&of_sgd, |s| s.tensors[1].dtype = WeightDtype::F64),
            "`dense.bias/velocity` is F64, and the parameter is F32",
        ),
        (
            "sgd",
            changed(&of_sgd, |s| s.tensors[1].bytes.to_mut().truncate(7)),
            "`dense.bias/velocity` has 7 bytes; allowed: 32",
        ),
        (
            "sgd",
            changed(&of_sgd, |s| s.tensors.push(s.tensors[1].clone())),
            "`dense.bias/velocity` is there twice",
        ),
        ("adam", of_sgd.clone(), "adam remembers no `velocity`"),
        ("adam", changed(&of_adam, |s| drop(s.tensors.remove(0))), "lacks `step`"),
        ("adam", changed(&of_adam, |s| drop(s.tensors.remove(1))), "lacks `m`"),
        ("adam", changed(&of_adam, |s| drop(s.tensors.remove(2))), "lacks `v`"),
        ("adam", changed(&of_adam, |s| s.tensors[0].shape = vec![1]), "`step` is no single U64"),
    ];
    for (optimizer, state, message) in cases {
        let learner = if optimizer == "sgd" { &mut sgd } else { &mut adam };
        let before = learner.optimizer_state().unwrap();
        let error = learner.set_optimizer_state(&state).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(learner.optimizer_state().unwrap(), before);
    }
}

#[test]
fn momentum_is_set_by_hand() {
    // From the first step on: as if it had been built so.
    for (set, built) in [
        (Sgd::new(0.1), Sgd::new(0.1).momentum(0.9)),
        (Sgd::new(0.1).nesterov(true), Sgd::new(0.1).momentum(0.9).nesterov(true)),
        (Sgd::new(0.1).momentum(0.5), Sgd::new(0.1).momentum(0.9)),
    ] {
        let (mut set, mut built) = (classifier(Box::new(set)), classifier(Box::new(built)));
        set.set_momentum(0.9).unwrap();
        train(&mut set, 0..3);
        train(&mut built, 0..3);
        assert_eq!(set.weights().unwrap(), built.weights().unwrap());
    }
    let mut set = classifier(Box::new(Adam::new(0.1)));
    let mut built = classifier(Box::new(Adam::new(0.1).beta_1(0.5)));
    set.set_momentum(0.5).unwrap();
    train(&mut set, 0..3);
    train(&mut built, 0..3);
    assert_eq!(set.weights().unwrap(), built.weights().unwrap());

    // It is part of the state.
    let (weights, state) = (set.weights().unwrap(), set.optimizer_state().unwrap());
    let mut resumed = classifier(Box::new(Adam::new(0.1)));
    resumed.set_weights(&weights).unwrap();
    resumed.set_optimizer_state(&state).unwrap();
    train(&mut set, 3..5);
    train(&mut resumed, 3..5);
    assert_eq!(set.weights().unwrap(), resumed.weights().unwrap());

    for bad in [-0.1, 1.1, f64::NAN] {
        assert!(set.set_momentum(bad).is_err());
        assert!(plane().set_momentum(bad).is_err());
    }
}
