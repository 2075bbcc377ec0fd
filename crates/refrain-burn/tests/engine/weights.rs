//! Weights by name: out, and back in.

use refrain_burn::burn::module::Module;
use refrain_burn::burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use refrain_burn::burn::tensor::{Device, Tensor};
use refrain_burn::layers::{Dense, Flatten};
use refrain_burn::{BurnLearner, Forward, MeanSquaredError, Sequential, Sgd};
use refrain_core::ModelAccess as _;
use refrain_core::weights::{WeightDtype, Weights};

fn learner() -> BurnLearner<Sequential, MeanSquaredError> {
    let model = Sequential::input(&[1, 2])
        .layer(Flatten::new())
        .layer(Dense::new(3))
        .layer(Dense::new(1).use_bias(false))
        .layer(Dense::new(1).named("head"))
        .build(1)
        .unwrap();
    BurnLearner::new(model, Box::new(Sgd::new(0.1)), MeanSquaredError::new())
}

fn names(weights: &Weights) -> Vec<(&str, &[usize])> {
    weights.tensors.iter().map(|tensor| (tensor.name.as_str(), &*tensor.shape)).collect()
}

#[test]
fn are_named_after_layers() {
    let weights = learner().weights().unwrap();
    let expected: [(&str, &[usize]); 5] = [
        ("dense.weight", &[2, 3]),
        ("dense.bias", &[3]),
        ("dense_1.weight", &[3, 1]),
        ("head.weight", &[1, 1]),
        ("head.bias", &[1]),
    ];
    assert_eq!(names(&weights), expected);
    assert!(weights.tensors.iter().all(|tensor| tensor.dtype == WeightDtype::F32));
}

#[derive(Module, Debug)]
struct Net {
    linear1: Linear,
    norm: BatchNorm,
    blocks: Vec<Linear>,
}

impl Net {
    fn new() -> Self {
        let device = Device::default();
        Self {
            linear1: LinearConfig::new(2, 3).init(&device),
            norm: BatchNormConfig::new(3).init(&device),
            blocks: vec![LinearConfig::new(3, 1).with_bias(false).init(&device)],
        }
    }
}

impl Forward for Net {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let x = self.norm.forward(self.linear1.forward(input));
        self.blocks.iter().fold(x, |x, block| block.forward(x))
    }
}

#[test]
fn are_named_after_the_fields_of_a_users_module() {
    let mut learner =
        BurnLearner::new(Net::new(), Box::new(Sgd::new(0.1)), MeanSquaredError::new());
    let weights = learner.weights().unwrap();
    let expected: [(&str, &[usize]); 7] = [
        ("linear1.weight", &[2, 3]),
        ("linear1.bias", &[3]),
        ("norm.gamma", &[3]),
        ("norm.beta", &[3]),
        ("norm.running_mean", &[3]),
        ("norm.running_var", &[3]),
        ("blocks.0.weight", &[3, 1]),
    ];
    assert_eq!(names(&weights), expected);
    learner.set_weights(&weights).unwrap();
    assert_eq!(learner.weights().unwrap(), weights);
}

/// Bits that a conversion would lose.
#[test]
fn go_out_and_in_to_the_bit() {
    let mut learner = learner();
    let odd = [f32::NAN, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, f32::NEG_INFINITY, 1e-45];
    let weights = Weights::from_f32([
        ("dense.weight", vec![2, 3], odd.to_vec()),
        ("dense.bias", vec![3], vec![1.0, 2.0, 3.0]),
        ("dense_1.weight", vec![3, 1], vec![1.0, 2.0, 3.0]),
        ("head.weight", vec![1, 1], vec![0.5]),
        ("head.bias", vec![1], vec![-0.5]),
    ]);
    learner.set_weights(&weights).unwrap();
    assert_eq!(learner.weights().unwrap(), weights);
    // The order in which they are given does not count.
    let mut reversed = weights.clone();
    reversed.tensors.reverse();
    learner.set_weights(&reversed).unwrap();
    assert_eq!(learner.weights().unwrap(), weights);
}

#[test]
fn are_checked_before_anything_is_changed() {
    let mut learner = learner();
    let good = learner.weights().unwrap();
    let broken = |change: fn(&mut Weights)| {
        let mut weights = good.clone();
        // What would be written first is different, so that a partial change would be seen.
        weights.tensors[0].bytes.fill(0);
        change(&mut weights);
        weights
    };
    let cases = [
        (
            broken(|w| w.tensors[1].shape = vec![1, 3]),
            "weights do not fit the model: `dense.bias` has the shape [1, 3], and the model's is \
             [3]",
        ),
        (
            broken(|w| w.tensors[1].dtype = WeightDtype::F16),
            "weights do not fit the model: `dense.bias` is F16, and the model's is F32",
        ),
        (
            broken(|w| w.tensors[1].bytes.to_mut().truncate(5)),
            "weights do not fit the model: `dense.bias` has 5 bytes, and [3] of F32 make 12",
        ),
        (
            broken(|w| drop(w.tensors.remove(3))),
            "weights do not fit the model: missing: `head.weight`",
        ),
        (
            broken(|w| w.tensors[3].name = "tail\u{7}.weight".into()),
            "weights do not fit the model: missing: `head.weight`, not in the model: \
             `tail\\u{7}.weight`; the model has dense.weight, dense.bias, dense_1.weight, \
             head.weight, head.bias",
        ),
        (
            broken(|w| w.tensors.push(w.tensors[4].clone())),
            "weights do not fit the model: `head.bias` is there twice",
        ),
        (
            Weights::default(),
            "weights do not fit the model: missing: `dense.weight`, `dense.bias`, \
             `dense_1.weight`, `head.weight`, `head.bias`",
        ),
    ];
    for (weights, expected) in cases {
        let error = learner.set_weights(&weights).unwrap_err();
        assert!(error.is_data());
        assert_eq!(error.to_string(), expected);
        assert_eq!(learner.weights().unwrap(), good, "{expected}");
    }
}
