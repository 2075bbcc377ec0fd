//! Activations and their gradients, also where a formula written down plainly overflows.

use refrain_burn::Activation;
use refrain_burn::burn::tensor::{Device, Tensor};

use crate::{assert_close, floats, rows};

const POINTS: [f32; 12] = [-1e4, -30.0, -4.0, -1.0, -0.5, 0.0, 0.5, 1.0, 4.0, 7.0, 30.0, 1e4];

#[rustfmt::skip]
const GOLDEN: [(&str, [f32; 12], [f32; 12]); 14] = [
    ("linear", POINTS, [1.0; 12]),
    ("relu",
     [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 4.0, 7.0, 30.0, 1e4],
     [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ("relu6",
     [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 4.0, 6.0, 6.0, 6.0],
     [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
    ("leaky_relu",
     [-2e3, -6.0, -0.8, -0.2, -0.1, 0.0, 0.5, 1.0, 4.0, 7.0, 30.0, 1e4],
     [0.2, 0.2, 0.2, 0.2, 0.2, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ("elu",
     [-1.0, -1.0, -0.981_684_4, -0.632_120_55, -0.393_469_33, 0.0, 0.5, 1.0, 4.0, 7.0, 30.0, 1e4],
     [0.0, 0.0, 0.018_315_613, 0.367_879_45, 0.606_530_67, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ("selu",
     [-1.758_099_3, -1.758_099_3, -1.725_898_7, -1.111_330_8, -0.691_758_2, 0.0, 0.525_350_5,
      1.050_701, 4.202_804, 7.354_907, 31.521_03, 10_507.01],
     [0.0, 0.0, 0.032_200_67, 0.646_768_63, 1.066_341_2, 1.758_099_3, 1.050_701, 1.050_701,
      1.050_701, 1.050_701, 1.050_701, 1.050_701]),
    ("gelu",
     [0.0, 0.0, -0.000_126_685, -0.158_655_27, -0.154_268_77, 0.0, 0.345_731_23, 0.841_344_7,
      3.999_873_4, 7.0, 30.0, 1e4],
     [0.0, 0.0, -0.000_503_65, -0.083_315_48, 0.132_504_88, 0.5, 0.867_495_1, 1.083_315_5,
      1.000_503_7, 1.0, 1.0, 1.0]),
    ("silu",
     [0.0, 0.0, -0.071_944_84, -0.268_941_43, -0.188_770_34, 0.0, 0.311_229_68, 0.731_058_6,
      3.928_055, 6.993_622_8, 30.0, 1e4],
     [0.0, 0.0, -0.052_664_615, 0.072_329_49, 0.260_038_82, 0.5, 0.739_961_2, 0.927_670_54,
      1.052_664_8, 1.005_460_1, 1.0, 1.0]),
    ("sigmoid",
     [0.0, 0.0, 0.017_986_21, 0.268_941_43, 0.377_540_68, 0.5, 0.622_459_35, 0.731_058_6,
      0.982_013_76, 0.999_089, 1.0, 1.0],
     [0.0, 0.0, 0.017_662_706, 0.196_611_94, 0.235_003_71, 0.25, 0.235_003_71, 0.196_611_93,
      0.017_662_734, 0.000_910_167_5, 0.0, 0.0]),
    ("hard_sigmoid",
     [0.0, 0.0, 0.0, 0.333_333_34, 0.416_666_7, 0.5, 0.583_333_4, 0.666_666_7, 1.0, 1.0, 1.0, 1.0],
     [0.0, 0.0, 0.0, 0.166_666_67, 0.166_666_67, 0.166_666_67, 0.166_666_67, 0.166_666_67, 0.0,
      0.0, 0.0, 0.0]),
    ("tanh",
     [-1.0, -1.0, -0.999_329_2, -0.761_594_2, -0.462_117_17, 0.0, 0.462_117_17, 0.761_594_2,
      0.999_329_2, 0.999_998_3, 1.0, 1.0],
     [0.0, 0.0, 0.001_341_104_5, 0.419_974_33, 0.786_447_76, 1.0, 0.786_447_7, 0.419_974_33,
      0.001_341_131_4, 3.337_857e-6, 0.0, 0.0]),
    ("softplus",
     [0.0, 0.0, 0.018_149_93, 0.313_261_7, 0.474_077, std::f32::consts::LN_2, 0.974_077, 1.313_261_7,
      4.018_149_9, 7.000_911_2, 30.0, 1e4],
     [0.0, 0.0, 0.017_986_21, 0.268_941_4, 0.377_540_68, 0.5, 0.622_459_35, 0.731_058_54,
      0.982_013_9, 0.999_089_2, 1.0, 1.0]),
    ("softsign",
     [-0.999_9, -0.967_741_9, -0.8, -0.5, -0.333_333_34, 0.0, 0.333_333_34, 0.5, 0.8, 0.875,
      0.967_741_9, 0.999_9],
     [0.0, 0.001_040_579_8, 0.04, 0.25, 0.444_444_48, 1.0, 0.444_444_48, 0.25, 0.04, 0.015_625,
      0.001_040_579_8, 0.0]),
    ("exponential",
     [0.0, 0.0, 0.018_315_64, 0.367_879_45, 0.606_530_67, 1.0, 1.648_721_2, 2.718_281_7, 54.598_15,
      1_096.633_2, 1.068_647_4e13, f32::INFINITY],
     [0.0, 0.0, 0.018_315_64, 0.367_879_45, 0.606_530_67, 1.0, 1.648_721_2, 2.718_281_7, 54.598_15,
      1_096.633_2, 1.068_647_4e13, f32::INFINITY]),
];

#[test]
fn values_and_gradients() {
    for (name, values, slopes) in GOLDEN {
        let activation = Activation::from_name(name).unwrap();
        assert_eq!(activation.name(), name);
        let x = Tensor::<1>::from_data(POINTS, &Device::flex().autodiff()).require_grad();
        let y = activation.forward(x.clone());
        let gradients = y.clone().sum().backward();
        assert_close(&floats(y), &values, 2e-6, name);
        let gradient = floats(x.grad(&gradients).unwrap());
        assert_close(&gradient, &slopes, 2e-6, &format!("gradient of {name}"));
    }
}

#[test]
fn softmax_is_along_the_last_axis() {
    let device = Device::flex();
    let logits = || rows(&[1.0, 2.0, 3.0, 1e4, -1e4, 0.0], 3, &device);
    let softmax = floats(Activation::Softmax.forward(logits()));
    assert_close(
        &softmax,
        &[0.090_030_57, 0.244_728_48, 0.665_240_94, 1.0, 0.0, 0.0],
        1e-6,
        "softmax",
    );
    let log_softmax = floats(Activation::LogSoftmax.forward(logits()));
    let expected = [-2.407_605_9, -1.407_605_9, -0.407_605_95, 0.0, -2e4, -1e4];
    assert_close(&log_softmax, &expected, 1e-6, "log_softmax");
}

#[test]
fn names_are_found_both_ways() {
    for name in Activation::names() {
        assert_eq!(Activation::from_name(name).unwrap().name(), name);
    }
    assert_eq!(Activation::from_name("swish"), Some(Activation::Silu));
    assert_eq!(Activation::from_name("Relu"), None);
}

/// (logits, probabilities, gradient of the first one): the nearest distribution, by hand.
#[test]
fn sparsemax_gives_the_nearest_distribution() {
    let third = 1.0 / 3.0;
    for (logits, expected, gradient) in [
        ([0.5, 0.2, -3.0], [0.65, 0.35, 0.0], [0.5, -0.5, 0.0]),
        ([3.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0], [third; 3], [2.0 * third, -third, -third]),
        ([1e4, 1e4, -1e4], [0.5, 0.5, 0.0], [0.5, -0.5, 0.0]),
    ] {
        let device = Device::default().autodiff();
        let x = rows(&logits, 3, &device).require_grad();
        let y = Activation::Sparsemax.forward(x.clone());
        let gradients = y.clone().narrow(1, 0, 1).sum().backward();
        assert_close(&floats(y), &expected, 1e-6, &format!("{logits:?}"));
        let by_input = floats(x.grad(&gradients).unwrap());
        assert_close(&by_input, &gradient, 1e-6, &format!("{logits:?}, gradient"));
    }
}

/// Values and gradients are numbers on both ends of the line, too. (`exponential` overflows, as in Keras.)
#[test]
fn no_activation_gives_nan_or_infinity() {
    for activation in Activation::names().filter(|name| *name != "exponential") {
        let device = Device::default().autodiff();
        let x = rows(&POINTS, 4, &device).require_grad();
        let y = Activation::from_name(activation).unwrap().forward(x.clone());
        let gradients = y.clone().sum().backward();
        let values = [floats(y), floats(x.grad(&gradients).unwrap())].concat();
        assert!(values.iter().all(|value| value.is_finite()), "{activation}: {values:?}");
    }
}
