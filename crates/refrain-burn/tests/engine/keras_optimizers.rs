//! Optimizers against trajectories recorded from Keras 3.15.1 by `keras/record_optimizers.py`, and
//! against the golden numbers of Keras' own tests.

use std::collections::HashSet;

use refrain_burn::burn::module::{Module, Param, ParamId};
use refrain_burn::burn::tensor::{DType, Device, Tensor};
use refrain_burn::{
    Adam, AdamW, ArrayDataset, BurnLearner, Forward, Optimizer, OptimizerState, Sgd,
};
use refrain_core::schedule::Rate;
use refrain_core::{Dataset as _, Learner as _, TrainStep};
use serde_json::Value;

use crate::{assert_close, floats};

#[test]
fn trajectories_are_those_of_keras() {
    let mut types = HashSet::new();
    for line in include_str!("keras/optimizers.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        types.insert(case["optimizer"]["type"].as_str().unwrap().to_owned());
        for dtype in [DType::F32, DType::F64] {
            trajectory(&case, dtype);
        }
        steps_of_a_learner(&case);
        goes_on_after_each_step(&case);
    }
    assert_eq!(types.len(), OPTIMIZERS);
}

const OPTIMIZERS: usize = 3;

fn optimizer(options: &Value) -> Box<dyn Optimizer> {
    let rate = options["learning_rate"].as_f64();
    macro_rules! build {
        ($optimizer:ident $(, $option:ident)*) => {{
            let mut built = rate.map_or_else($optimizer::default, $optimizer::new);
            $(
                if let Some(value) = options[stringify!($option)].as_f64() {
                    built = built.$option(value);
                }
            )*
            for (option, value) in options.as_object().unwrap() {
                let Some(value) = value.as_f64() else { continue };
                built = match option.as_str() {
                    "weight_decay" => built.weight_decay(value),
                    "clipnorm" => built.clipnorm(value),
                    "clipvalue" => built.clipvalue(value),
                    "global_clipnorm" => built.global_clipnorm(value),
                    _ => built,
                };
            }
            built
        }};
    }
    let is = |option: &str| options[option].as_bool().unwrap_or(false);
    match options["type"].as_str().unwrap() {
        "sgd" => Box::new(build!(Sgd, momentum).nesterov(is("nesterov"))),
        "adam" => Box::new(build!(Adam, beta_1, beta_2, epsilon).amsgrad(is("amsgrad"))),
        "adamw" => Box::new(build!(AdamW, beta_1, beta_2, epsilon).amsgrad(is("amsgrad"))),
        other => panic!("no optimizer {other} here"),
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn rate(optimizer: &mut dyn Optimizer) -> f64 {
    let Rate::Constant(rate) = optimizer.take_learning_rate() else {
        panic!("a number was given");
    };
    rate
}

/// In place on f32, and by tensor operations on f64.
fn trajectory(case: &Value, dtype: DType) {
    let mut optimizer = optimizer(&case["optimizer"]);
    if optimizer.clip().is_some() {
        return;
    }
    assert!(optimizer.check().is_ok());
    let rate = rate(&mut *optimizer);
    let id = ParamId::new();
    let tensor = |values: &Value| {
        Tensor::<1>::from_data(numbers(values).as_slice(), (&Device::flex(), dtype))
    };
    let mut weights = tensor(&case["start"]);
    let gradients = case["gradients"].as_array().unwrap();
    for (step, gradient) in gradients.iter().enumerate() {
        optimizer.begin_step(rate);
        weights = optimizer.update(id, weights.into(), tensor(gradient).into()).into_tensor();
        let got: Vec<f32> = weights.clone().try_into_vec_as().unwrap();
        let what = format!("{} {dtype:?} step {step}", case["optimizer"]);
        assert_close(&got, &numbers(&case["weights"][step]), 2e-6, &what);
    }
}

/// A model whose gradient is what was asked for: its output is weights × inputs.
#[derive(Module, Debug)]
struct Weights {
    weights: Param<Tensor<1>>,
}

impl Forward for Weights {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        (input * self.weights.val().unsqueeze::<2>()).sum_dim(1)
    }
}

/// The error itself, so that the gradient is the input.
#[derive(Clone)]
struct Itself;

impl refrain_burn::Loss<Tensor<2>> for Itself {
    type Targets = Tensor<2>;

    fn name(&self) -> &'static str {
        "itself"
    }

    fn forward(&self, outputs: Tensor<2>, _: Tensor<2>) -> Tensor<1> {
        outputs.squeeze_dim(1)
    }
}

/// With the clipping, which is the learner's.
fn steps_of_a_learner(case: &Value) {
    let mut optimizer = optimizer(&case["optimizer"]);
    let rate = rate(&mut *optimizer);
    let start = numbers(&case["start"]);
    let weights =
        Param::from_tensor(Tensor::<1>::from_data(start.as_slice(), &Device::flex().autodiff()));
    let mut learner = BurnLearner::new(Weights { weights }, optimizer, Itself);
    for (step, gradient) in case["gradients"].as_array().unwrap().iter().enumerate() {
        let data = ArrayDataset::new(&[start.len()], numbers(gradient)).unwrap().labels([0]);
        let batch = data.unwrap().batch(&[0]).unwrap();
        learner.forward_backward(batch, TrainStep::default()).unwrap();
        learner.apply_gradients(rate).unwrap();
        let got = floats(learner.model().unwrap().weights.val().without_autodiff());
        let what = format!("{} in a learner, step {step}", case["optimizer"]);
        assert_close(&got, &numbers(&case["weights"][step]), 2e-6, &what);
    }
}

/// A new optimizer with the state of another does what the other does.
fn goes_on_after_each_step(case: &Value) {
    let tensor = |values: &[f32]| Tensor::<1>::from_data(values, &Device::flex());
    let gradients: Vec<Vec<f32>> =
        case["gradients"].as_array().unwrap().iter().map(numbers).collect();
    let id = ParamId::new();
    let run = |stop: Option<usize>| {
        let mut current = optimizer(&case["optimizer"]);
        let rate = rate(&mut *current);
        let mut weights = numbers(&case["start"]);
        for (step, gradient) in gradients.iter().enumerate() {
            if stop == Some(step) {
                let state = current.state();
                current = optimizer(&case["optimizer"]);
                current.set_state(state).unwrap();
            }
            current.begin_step(rate);
            let updated = current.update(id, tensor(&weights).into(), tensor(gradient).into());
            weights = floats(updated.into_tensor());
        }
        // A state that is set back begins anew.
        current.set_state(OptimizerState::default()).unwrap();
        assert!(current.state().slots.is_empty());
        weights
    };
    let expected = run(None);
    for stop in 0..gradients.len() {
        assert_eq!(run(Some(stop)), expected, "{} stopped at {stop}", case["optimizer"]);
    }
}

/// `test_correctness_with_golden` of Keras' `*_test.py`, with its tolerance.
#[track_caller]
fn golden(mut optimizer: impl Optimizer, golden: [[f32; 10]; 5]) {
    let rate = rate(&mut optimizer);
    let id = ParamId::new();
    let tensor = |values: [f32; 10]| Tensor::<1>::from_data(values, &Device::flex());
    let gradients: [f32; 10] = std::array::from_fn(|i| 0.1 + 0.1 * i as f32);
    let mut weights = [1.0; 10];
    for (step, expected) in golden.into_iter().enumerate() {
        optimizer.begin_step(rate);
        let gradient = if step == 0 { [0.01; 10] } else { gradients };
        let updated = optimizer.update(id, tensor(weights).into(), tensor(gradient).into());
        weights = floats(updated.into_tensor()).try_into().unwrap();
        assert_close(&weights, &expected, 5e-4, &format!("step {step}"));
    }
}

#[test]
fn adamw_golden() {
    let adamw = AdamW::new(1.0).weight_decay(0.5).epsilon(2.0);
    golden(
        adamw,
        [
            [0.4998; 10],
            [0.2486, 0.2475, 0.2463, 0.2451, 0.244, 0.2428, 0.2417, 0.2405, 0.2394, 0.2382],
            [0.1223, 0.1198, 0.1174, 0.1149, 0.1124, 0.11, 0.1075, 0.1051, 0.1027, 0.1003],
            [0.0586, 0.0549, 0.0512, 0.0475, 0.0439, 0.0402, 0.0366, 0.033, 0.0294, 0.0258],
            [0.0263, 0.0215, 0.0167, 0.012, 0.0073, 0.0026, -0.0021, -0.0067, -0.0113, -0.0159],
        ],
    );
}

#[test]
fn refuses_two_clips_and_bad_ones() {
    let check = |optimizer: Sgd, expected: &str| {
        let error = optimizer.check().unwrap_err();
        assert!(error.is_config());
        assert_eq!(error.to_string(), expected);
    };
    check(
        Sgd::new(0.1).clipnorm(1.0).clipvalue(0.5),
        "sgd: `clipnorm` and `clipvalue` are both given; allowed: one of them",
    );
    check(
        Sgd::new(0.1).global_clipnorm(0.0),
        "sgd: global_clipnorm is 0; allowed: a finite number above 0, for example 1.0",
    );
    check(
        Sgd::new(0.1).weight_decay(f64::NAN),
        "sgd: weight_decay is NaN; allowed: a finite number, 0 or more, for example 0.004",
    );
}

/// What an option newly needs begins anew; what it no longer needs is left out.
#[test]
fn goes_on_with_an_option_changed() {
    let id = ParamId::new();
    let tensor = |value: f32| Tensor::<1>::from_data([value], &Device::flex());
    let step = |optimizer: &mut dyn Optimizer| {
        optimizer.begin_step(0.1);
        let _ = optimizer.update(id, tensor(1.0).into(), tensor(0.5).into());
        let mut names: Vec<_> = optimizer.state().slots.into_iter().map(|slot| slot.name).collect();
        names.sort();
        names
    };
    let mut plain = Adam::new(0.1);
    assert_eq!(step(&mut plain), ["m", "v"]);
    let mut amsgrad = Adam::new(0.1).amsgrad(true);
    amsgrad.set_state(plain.state()).unwrap();
    assert_eq!(step(&mut amsgrad), ["m", "v", "v_hat"]);
    plain.set_state(amsgrad.state()).unwrap();
    assert_eq!(step(&mut plain), ["m", "v"]);
}
