//! Optimizers against trajectories recorded from Keras 3.15.1 by `keras/record_optimizers.py`, and
//! against the golden numbers of Keras' own tests.

use std::collections::HashSet;

use refrain_burn::burn::module::{Module, Param, ParamId};
use refrain_burn::burn::tensor::{DType, Device, Tensor};
use refrain_burn::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, ArrayDataset, BurnLearner, Forward, Ftrl,
    Lamb, Lion, Muon, Nadam, Optimizer, OptimizerState, ParameterInfo, RmsProp, ScheduleFreeAdamW,
    Sgd,
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

const OPTIMIZERS: usize = 14;

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
            if options["use_ema"].as_bool().unwrap_or(false) {
                built = built.use_ema(options["ema_momentum"].as_f64().unwrap_or(0.99));
            }
            if let Some(steps) = options["ema_overwrite_frequency"].as_u64() {
                built = built.ema_overwrite_frequency(steps as usize);
            }
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
        "rmsprop" => Box::new(build!(RmsProp, rho, momentum, epsilon).centered(is("centered"))),
        "nadam" => Box::new(build!(Nadam, beta_1, beta_2, epsilon)),
        "adagrad" => Box::new(build!(Adagrad, initial_accumulator_value, epsilon)),
        "adamax" => Box::new(build!(Adamax, beta_1, beta_2, epsilon)),
        "adadelta" => Box::new(build!(Adadelta, rho, epsilon)),
        "lion" => Box::new(build!(Lion, beta_1, beta_2)),
        "ftrl" => Box::new(build!(
            Ftrl,
            learning_rate_power,
            initial_accumulator_value,
            l1_regularization_strength,
            l2_regularization_strength,
            l2_shrinkage_regularization_strength,
            beta
        )),
        "lamb" => Box::new(build!(Lamb, beta_1, beta_2, epsilon)),
        "adafactor" => {
            Box::new(build!(Adafactor, beta_2_decay, epsilon_1, epsilon_2, clip_threshold))
        }
        "muon" => {
            let mut muon = build!(
                Muon,
                momentum,
                adam_beta_1,
                adam_beta_2,
                epsilon,
                adam_weight_decay,
                adam_lr_ratio,
                rms_rate
            );
            if let Some(steps) = options["ns_steps"].as_u64() {
                muon = muon.ns_steps(steps as usize);
            }
            Box::new(muon.nesterov(options["nesterov"].as_bool().unwrap_or(true)))
        }
        "schedule_free_adamw" => {
            let steps = options["warmup_steps"].as_u64().unwrap_or(0);
            let built = build!(ScheduleFreeAdamW, beta_1, beta_2, epsilon);
            Box::new(built.warmup_steps(steps as usize))
        }
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

/// The optimizer, and what it was told of the one parameter.
fn met(case: &Value) -> (Box<dyn Optimizer>, ParamId) {
    let mut optimizer = optimizer(&case["optimizer"]);
    let id = ParamId::new();
    let shape = match case["shape"].as_array() {
        Some(shape) => shape.iter().map(|n| n.as_u64().unwrap() as usize).collect(),
        None => vec![case["start"].as_array().unwrap().len()],
    };
    optimizer.meet(&[ParameterInfo { id, name: "dense.weight".to_owned(), shape }]);
    (optimizer, id)
}

/// In place on f32, and by tensor operations on f64.
fn trajectory(case: &Value, dtype: DType) {
    let (mut optimizer, id) = met(case);
    if optimizer.clip().is_some() {
        return;
    }
    assert!(optimizer.check().is_ok());
    let rate = rate(&mut *optimizer);
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
        assert_close(&got, &numbers(&case["weights"][step]), tolerance(case), &what);
    }
    if case["average"].is_array() {
        let average = optimizer.average(id).unwrap().clone().into_tensor();
        let got: Vec<f32> = average.try_into_vec_as().unwrap();
        let what = format!("average of {}", case["optimizer"]);
        assert_close(&got, &numbers(&case["average"]), 2e-6, &what);
    }
}

/// The steps of Newton-Schulz make differences of rounding ten times larger.
fn tolerance(case: &Value) -> f32 {
    if case["optimizer"]["type"] == "muon" { 2e-5 } else { 2e-6 }
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

/// With the clipping, and the average at the end, which are the learner's.
fn steps_of_a_learner(case: &Value) {
    if case["shape"].is_array() {
        return;
    }
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
    learner.end_training().unwrap();
    let got = floats(learner.model().unwrap().weights.val().without_autodiff());
    let last = case["weights"].as_array().unwrap().last().unwrap();
    let expected = if case["average"].is_array() { &case["average"] } else { last };
    assert_close(&got, &numbers(expected), 2e-6, &format!("{} at the end", case["optimizer"]));
}

/// A new optimizer with the state of another does what the other does.
fn goes_on_after_each_step(case: &Value) {
    let tensor = |values: &[f32]| Tensor::<1>::from_data(values, &Device::flex());
    let gradients: Vec<Vec<f32>> =
        case["gradients"].as_array().unwrap().iter().map(numbers).collect();
    let run = |stop: Option<usize>| {
        let (mut current, mut id) = met(case);
        let rate = rate(&mut *current);
        let mut weights = numbers(&case["start"]);
        for (step, gradient) in gradients.iter().enumerate() {
            if stop == Some(step) {
                let mut state = current.state();
                (current, id) = met(case);
                state.slots.iter_mut().for_each(|slot| slot.parameter = id);
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
        for (got, expected) in weights.iter().zip(expected) {
            let tolerance = 5e-4 + 5e-4 * expected.abs();
            assert!((got - expected).abs() <= tolerance, "step {step}: {weights:?}");
        }
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
fn rmsprop_golden() {
    let optimizer = RmsProp::default().centered(true);
    golden(optimizer, [[0.9967; 10], [0.9933; 10], [0.9908; 10], [0.9885; 10], [0.9864; 10]]);
}

#[test]
fn nadam_golden() {
    let optimizer = Nadam::new(0.5).beta_1(0.5).beta_2(0.67).epsilon(1e-5);
    golden(
        optimizer,
        [
            [0.4281; 10],
            [
                -0.1738, -0.1731, -0.1726, -0.1723, -0.1721, -0.172, -0.1719, -0.1718, -0.1718,
                -0.1717,
            ],
            [
                -0.7115, -0.7103, -0.7096, -0.7092, -0.709, -0.7088, -0.7086, -0.7085, -0.7085,
                -0.7084,
            ],
            [
                -1.2335, -1.2322, -1.2313, -1.2309, -1.2306, -1.2304, -1.2302, -1.2301, -1.23,
                -1.2299,
            ],
            [
                -1.7492, -1.7478, -1.7469, -1.7464, -1.7461, -1.7459, -1.7457, -1.7456, -1.7455,
                -1.7454,
            ],
        ],
    );
}

#[test]
fn adagrad_golden() {
    let optimizer = Adagrad::new(0.2).initial_accumulator_value(0.3).epsilon(1e-6);
    golden(
        optimizer,
        [
            [0.9963; 10],
            [0.9604, 0.9278, 0.9003, 0.8784, 0.8615, 0.8487, 0.8388, 0.8313, 0.8255, 0.8209],
            [0.9251, 0.8629, 0.8137, 0.7768, 0.7497, 0.7298, 0.7151, 0.704, 0.6956, 0.6891],
            [0.8903, 0.8012, 0.7342, 0.6862, 0.6521, 0.6277, 0.6099, 0.5967, 0.5867, 0.579],
            [0.856, 0.7422, 0.6604, 0.6037, 0.5644, 0.5367, 0.5168, 0.5021, 0.491, 0.4825],
        ],
    );
}

#[test]
fn adamax_golden() {
    let optimizer = Adamax::new(0.2).beta_1(0.85).beta_2(0.95).epsilon(1e-6);
    golden(
        optimizer,
        [
            [0.8; 10],
            [0.6827, 0.6873, 0.6888, 0.6896, 0.6901, 0.6904, 0.6906, 0.6908, 0.6909, 0.691],
            [0.5333, 0.5407, 0.5431, 0.5444, 0.5451, 0.5456, 0.546, 0.5462, 0.5464, 0.5466],
            [0.368, 0.3773, 0.3804, 0.382, 0.3829, 0.3835, 0.384, 0.3843, 0.3846, 0.3848],
            [0.1933, 0.204, 0.2076, 0.2094, 0.2105, 0.2112, 0.2117, 0.2121, 0.2124, 0.2126],
        ],
    );
}

#[test]
fn adadelta_golden() {
    let optimizer = Adadelta::new(1.0).rho(0.8).epsilon(1e-6);
    golden(optimizer, [[0.9978; 10], [0.9947; 10], [0.9915; 10], [0.9882; 10], [0.9849; 10]]);
}

#[test]
fn lion_golden() {
    let optimizer = Lion::default();
    golden(optimizer, [[0.999; 10], [0.998; 10], [0.997; 10], [0.996; 10], [0.995; 10]]);
}

#[test]
fn ftrl_golden() {
    let optimizer = Ftrl::new(0.05)
        .learning_rate_power(-0.2)
        .initial_accumulator_value(0.4)
        .l1_regularization_strength(0.05)
        .l2_regularization_strength(0.15)
        .l2_shrinkage_regularization_strength(0.01)
        .beta(0.3);
    golden(
        optimizer,
        [
            [0.0; 10],
            [
                -0.0034, -0.0077, -0.0118, -0.0157, -0.0194, -0.023, -0.0263, -0.0294, -0.0325,
                -0.0354,
            ],
            [
                -0.0078, -0.0162, -0.0242, -0.0317, -0.0387, -0.0454, -0.0516, -0.0575, -0.0631,
                -0.0685,
            ],
            [
                -0.0121, -0.0246, -0.0363, -0.0472, -0.0573, -0.0668, -0.0757, -0.0842, -0.0922,
                -0.0999,
            ],
            [
                -0.0164, -0.0328, -0.0481, -0.0623, -0.0753, -0.0875, -0.099, -0.1098, -0.1201,
                -0.1299,
            ],
        ],
    );
}

#[test]
fn adafactor_golden() {
    let optimizer = Adafactor::new(0.5)
        .beta_2_decay(-0.65)
        .epsilon_1(1e-15)
        .epsilon_2(1e-4)
        .clip_threshold(0.9);
    golden(
        optimizer,
        [
            [0.55; 10],
            [0.3031, 0.3026, 0.3025, 0.3024, 0.3024, 0.3024, 0.3024, 0.3024, 0.3024, 0.3024],
            [0.1671, 0.1665, 0.1663, 0.1663, 0.1663, 0.1663, 0.1663, 0.1663, 0.1663, 0.1663],
            [0.0923, 0.0916, 0.0915, 0.0914, 0.0914, 0.0914, 0.0914, 0.0914, 0.0914, 0.0914],
            [0.0554, 0.0548, 0.0546, 0.0546, 0.0546, 0.0546, 0.0546, 0.0545, 0.0545, 0.0545],
        ],
    );
}

#[test]
fn lamb_golden() {
    let optimizer = Lamb::default();
    golden(optimizer, [[0.999; 10], [0.9982; 10], [0.9974; 10], [0.9965; 10], [0.9955; 10]]);
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
