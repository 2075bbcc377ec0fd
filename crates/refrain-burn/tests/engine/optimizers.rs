//! Trajectories of the optimizers.

use refrain_burn::burn::module::ParamId;
use refrain_burn::burn::tensor::{DType, Device, Tensor};
use refrain_burn::{
    Adadelta, Adafactor, Adam, Adamax, Ftrl, Lamb, Lion, Muon, Nadam, Optimizer, ParameterInfo,
    RmsProp, Sgd, Values,
};
use refrain_core::schedule::Rate;

use crate::assert_close;

const START: [f32; 3] = [1.0, 2.0, -3.0];
const GRADIENTS: [[f32; 3]; 4] =
    [[0.1, -0.2, 0.3], [0.4, 0.0, -0.5], [-1.0, 2.0, 1e-9], [0.05, 0.05, 0.05]];

/// Steps with both routes: in place on f32, and tensor operations on f64.
#[track_caller]
fn check(optimizer: impl Fn() -> Box<dyn Optimizer>, expected: [[f32; 3]; 4]) {
    for dtype in [DType::F32, DType::F64] {
        let mut optimizer = optimizer();
        let Rate::Constant(rate) = optimizer.take_learning_rate() else {
            panic!("a number was given");
        };
        let device = Device::flex();
        let id = ParamId::new();
        let tensor = |values: [f32; 3]| Tensor::<1>::from_data(values, (&device, dtype));
        let mut weights = tensor(START);
        for (gradient, expected) in GRADIENTS.into_iter().zip(expected) {
            optimizer.begin_step(rate);
            weights = optimizer.update(id, weights.into(), tensor(gradient).into()).into_tensor();
            let got: Vec<f32> = weights.clone().try_into_vec_as().unwrap();
            assert_close(&got, &expected, 1e-6, &format!("{dtype:?}"));
        }
    }
}

#[test]
fn sgd() {
    check(
        || Box::new(Sgd::new(0.5)),
        [
            [0.949_999_99, 2.099_999_9, -3.150_000_1],
            [0.75, 2.099_999_9, -2.900_000_1],
            [1.25, 1.099_999_9, -2.900_000_1],
            [1.225, 1.075, -2.925_000_2],
        ],
    );
}

#[test]
fn sgd_with_momentum() {
    check(
        || Box::new(Sgd::new(0.5).momentum(0.9)),
        [
            [0.949_999_99, 2.099_999_9, -3.150_000_1],
            [0.704_999_98, 2.189_999_8, -3.035_000_1],
            [0.984_499_99, 1.270_999_8, -2.931_500_2],
            [1.211_05, 0.418_899_83, -2.863_350_2],
        ],
    );
}

#[test]
fn sgd_with_nesterov_momentum() {
    check(
        || Box::new(Sgd::new(0.5).momentum(0.9).nesterov(true)),
        [
            [0.904_999_97, 2.190_000_1, -3.285_000_1],
            [0.484_499_99, 2.271_000_1, -2.931_5],
            [1.236_049_9, 0.443_900_1, -2.838_35],
            [1.414_944_9, -0.347_989_8, -2.802_015],
        ],
    );
}

#[test]
fn adam() {
    check(
        || Box::new(Adam::new(0.5)),
        [
            [0.500_019_13, 2.499_988_8, -3.499_991_4],
            [0.057_838_71, 2.835_009_3, -3.353_213],
            [0.222_918_38, 2.542_929_9, -3.239_752_3],
            [0.344_571_8, 2.296_522_1, -3.172_005_4],
        ],
    );
}

#[test]
fn adam_with_its_options() {
    check(
        || Box::new(Adam::new(0.01).beta_1(0.5).beta_2(0.9).epsilon(0.1)),
        [
            [0.997_597_46, 2.003_874_3, -3.004_868_3],
            [0.991_911_95, 2.005_690_6, -3.001_260_8],
            [0.997_158_35, 1.997_798_6, -2.999_351],
            [0.999_657_4, 1.993_235_9, -2.998_907_6],
        ],
    );
}

/// More elements than one task takes: the parts must be the whole.
#[test]
fn large_parameters_are_updated_everywhere() {
    let device = Device::flex();
    let elements = 300_001;
    let mut sgd = Sgd::new(0.5).momentum(0.9);
    sgd.begin_step(0.5);
    let weights = Tensor::<1>::ones([elements], &device);
    let gradient = Tensor::<1>::ones([elements], &device);
    let updated =
        crate::floats(sgd.update(ParamId::new(), weights.into(), gradient.into()).into_tensor());
    assert!(updated.len() == elements && updated.iter().all(|&weight| weight == 0.5));
}

/// Behind a `relu` that is 0 for all samples gradients are 0 for good. What is remembered of them
/// shrinks by a factor at each step; it must get to 0, not stay at numbers that are slow to compute
/// with.
#[test]
fn what_is_remembered_shrinks_to_nothing() {
    let cases: [(&str, Box<dyn Optimizer>); 10] = [
        ("sgd", Box::new(Sgd::new(0.1).momentum(0.5))),
        ("adam", Box::new(Adam::new(0.1).beta_1(0.5).beta_2(0.6))),
        ("adamax", Box::new(Adamax::new(0.1).beta_1(0.5).beta_2(0.6))),
        ("nadam", Box::new(Nadam::new(0.1).beta_1(0.5).beta_2(0.6))),
        ("lamb", Box::new(Lamb::new(0.1).beta_1(0.5).beta_2(0.6))),
        ("lion", Box::new(Lion::new(0.1).beta_1(0.5).beta_2(0.6))),
        ("rmsprop", Box::new(RmsProp::new(0.1).rho(0.5).momentum(0.6).centered(true))),
        ("adadelta", Box::new(Adadelta::new(0.1).rho(0.5))),
        ("adafactor", Box::new(Adafactor::new(0.1).epsilon_1(1e-45))),
        ("muon", Box::new(Muon::new(0.1).momentum(0.5))),
    ];
    let device = Device::flex();
    for (name, mut optimizer) in cases {
        let id = ParamId::new();
        let info = ParameterInfo { id, name: "dense.weight".into(), shape: vec![2, 3] };
        optimizer.meet(&[info]);
        let mut weights: Values = Tensor::<1>::from_data([0.5_f32; 6], &device).into();
        let mut remembered = Vec::new();
        for step in 0..1000 {
            let gradient = if step == 0 { 1e-15_f32 } else { 0.0 };
            optimizer.begin_step(0.1);
            let gradient = Tensor::<1>::from_data([gradient; 6], &device);
            weights = optimizer.update(id, weights, gradient.into());
            let slots = optimizer.state().slots;
            remembered = slots
                .into_iter()
                .flat_map(|slot| crate::floats(slot.values.into_tensor()))
                .collect();
            let subnormal: Vec<&f32> =
                remembered.iter().filter(|value: &&f32| value.is_subnormal()).collect();
            assert!(subnormal.is_empty(), "{name}, step {step}: {subnormal:?}");
        }
        assert!(!remembered.is_empty(), "{name} remembers nothing");
    }
}

/// Its square is a subnormal number, and the weight is divided by its root.
#[test]
fn the_smallest_sums_of_squares_are_kept() {
    let device = Device::flex();
    let mut ftrl = Ftrl::new(0.1).initial_accumulator_value(0.0);
    let id = ParamId::new();
    let mut weights: Values = Tensor::<1>::from_data([0.5_f32], &device).into();
    for gradient in [1e-20_f32, 0.0, 0.0] {
        ftrl.begin_step(0.1);
        weights = ftrl.update(id, weights, Tensor::<1>::from_data([gradient], &device).into());
    }
    let weights = crate::floats(weights.into_tensor());
    assert!(weights[0].is_finite(), "{weights:?}");
}

#[test]
fn keeps_state_by_parameter() {
    let device = Device::flex();
    let mut sgd = Sgd::new(1.0).momentum(0.5);
    let (a, b) = (ParamId::new(), ParamId::new());
    let mut step = |id, gradient: f32| {
        sgd.begin_step(1.0);
        let weights = Tensor::<1>::from_data([0.0], &device);
        let gradient = Tensor::from_data([gradient], &device);
        crate::floats(sgd.update(id, weights.into(), gradient.into()).into_tensor())[0]
    };
    assert_eq!(step(a, 1.0), -1.0);
    assert_eq!(step(b, 0.0), 0.0);
    assert_eq!(step(a, 0.0), -0.5);
}

#[test]
fn defaults_are_those_of_keras() {
    assert!(matches!(Sgd::default().take_learning_rate(), Rate::Constant(0.01)));
    assert!(matches!(Adam::default().take_learning_rate(), Rate::Constant(0.001)));
    assert!(Sgd::default().check().is_ok() && Adam::default().check().is_ok());
}

#[test]
fn refuses_options_out_of_range() {
    let rate = |rate: f64| {
        format!("sgd: learning_rate is {rate}; allowed: a finite number above 0, for example 0.01")
    };
    let cases: [(Box<dyn Optimizer>, String); 11] = [
        (Box::new(Sgd::new(0.0)), rate(0.0)),
        (Box::new(Sgd::new(-0.1)), rate(-0.1)),
        (Box::new(Sgd::new(f64::NAN)), rate(f64::NAN)),
        (Box::new(Sgd::new(f64::INFINITY)), rate(f64::INFINITY)),
        (
            Box::new(Sgd::new(0.1).momentum(-0.1)),
            "sgd: momentum is -0.1; allowed: 0..=1, for example 0.9".into(),
        ),
        (
            Box::new(Sgd::new(0.1).momentum(f64::NAN)),
            "sgd: momentum is NaN; allowed: 0..=1, for example 0.9".into(),
        ),
        (
            Box::new(Adam::new(0.1).beta_1(1.0)),
            "adam: beta_1 is 1; allowed: 0 or more and below 1, for example 0.9".into(),
        ),
        (
            Box::new(Adam::new(0.1).beta_2(-0.5)),
            "adam: beta_2 is -0.5; allowed: 0 or more and below 1, for example 0.999".into(),
        ),
        (
            Box::new(Adam::new(0.1).epsilon(0.0)),
            "adam: epsilon is 0; allowed: a finite number above 0, for example 1e-7".into(),
        ),
        (
            Box::new(Adam::new(0.1).epsilon(f64::INFINITY)),
            "adam: epsilon is inf; allowed: a finite number above 0, for example 1e-7".into(),
        ),
        (
            Box::new(Adam::new(-1.0)),
            "adam: learning_rate is -1; allowed: a finite number above 0, for example 0.01".into(),
        ),
    ];
    for (optimizer, expected) in cases {
        let error = optimizer.check().unwrap_err();
        assert!(error.is_config());
        assert_eq!(error.to_string(), expected);
    }
}

/// A kernel of Burn's, outputs and inputs first, is updated as the same one in Keras' order.
#[test]
fn adafactor_factors_a_kernel_by_inputs_and_outputs() {
    const SHAPE: [usize; 4] = [3, 4, 2, 5];
    let device = Device::flex();
    let values = |seed: usize| -> Vec<f32> {
        (0..120).map(|i| ((i * 31 + seed * 17) % 23) as f32 / 7.0 - 1.5).collect()
    };
    let tensor = |seed| Tensor::<1>::from_data(values(seed).as_slice(), &device);
    // [outputs, inputs, height, width] and [height, width, inputs, outputs].
    let turned = |x: Tensor<1>| x.reshape(SHAPE).permute([2, 3, 1, 0]).reshape([120]);
    let run = |name: &str, shape: Vec<usize>, turn: &dyn Fn(Tensor<1>) -> Tensor<1>| {
        let mut optimizer = Adafactor::new(0.1);
        let id = ParamId::new();
        optimizer.meet(&[ParameterInfo { id, name: name.into(), shape }]);
        let mut weights: Values = turn(tensor(0)).into();
        for step in 1..=3 {
            optimizer.begin_step(0.1);
            weights = optimizer.update(id, weights, turn(tensor(step)).into());
        }
        let remembered = optimizer.state().slots.iter().map(|slot| slot.values.elements()).sum();
        (weights.into_tensor(), remembered)
    };
    let (burns, remembered) = run("conv2d.weight", SHAPE.to_vec(), &|x| x);
    let kernel = vec![2, 5, 4, 3];
    let (keras, in_keras): (_, usize) = run("conv2d_transpose.kernel", kernel, &turned);
    assert_eq!((remembered, in_keras), ((3 + 4) * 10, (3 + 4) * 10));
    assert_close(&crate::floats(turned(burns)), &crate::floats(keras), 1e-6, "the same kernel");
}
