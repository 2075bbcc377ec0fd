//! Dense layers and cross-entropy against Burn's composition.

use burn::tensor::{Device, Int, Tensor, TensorData};
use chacha20::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::{composed, flex};
use super::{assert_close, floats, random};

/// Output and the gradients by input, weight and bias.
type Values = Vec<Vec<f32>>;

fn values(
    [samples, inputs, units]: [usize; 3],
    bias: bool,
    relu: bool,
    ours: bool,
    seed: u64,
) -> Values {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let device = Device::flex().autodiff();
    let mut matrix = |shape: [usize; 2]| {
        let values = random(&mut rng, shape[0] * shape[1]);
        Tensor::<2>::from_data(TensorData::new(values, shape), &device)
    };
    let x = matrix([samples, inputs]).require_grad();
    let weight = matrix([inputs, units]).require_grad();
    let upstream = matrix([samples, units]);
    let bias = bias.then(|| matrix([1, units]).flatten::<1>(0, 1).detach().require_grad());
    let output = match ours {
        true => flex::dense(&x, &weight, bias.as_ref(), relu).unwrap(),
        false => composed::dense(x.clone(), weight.clone(), bias.clone(), relu),
    };
    let gradients = (output.clone() * upstream).sum().backward();
    let mut values = vec![
        floats(&output),
        floats(&x.grad(&gradients).unwrap()),
        floats(&weight.grad(&gradients).unwrap()),
    ];
    values.extend(bias.map(|bias| floats(&bias.grad(&gradients).unwrap())));
    values
}

/// Small and odd, and large enough for several threads, the weight or the gradient turned round.
#[test]
fn dense_is_that_of_burn() {
    let shapes = [[1, 1, 1], [3, 5, 2], [7, 40, 33], [33, 47, 129], [500, 40, 50]];
    let large = [[130, 300, 520], [1030, 65, 70], [33, 1000, 1]];
    for (seed, shape) in shapes.into_iter().chain(large).enumerate() {
        for (bias, relu) in [(true, true), (true, false), (false, true), (false, false)] {
            let [ours, burns] =
                [true, false].map(|ours| values(shape, bias, relu, ours, seed as u64));
            for (part, (ours, burns)) in ours.iter().zip(&burns).enumerate() {
                let what = format!("{shape:?}, bias {bias}, relu {relu}, part {part}");
                assert_close(ours, burns, &what);
            }
        }
    }
}

#[test]
fn dense_bits_are_those_of_one_thread() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| values([300, 70, 900], true, true, true, 5))
    };
    let one = run(1);
    for threads in [2, 3, 5] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn dense_without_autodiff_and_without_samples() {
    let device = Device::flex();
    let weight = Tensor::<2>::ones([3, 2], &device);
    let x = Tensor::<2>::from_data([[1.0, f32::NAN, 3.0], [-1.0, -1.0, -1.0]], &device);
    let bias = Tensor::<1>::from_data([0.5, 5.0], &device);
    let output = floats(&flex::dense(&x, &weight, Some(&bias), true).unwrap());
    assert!(output[0].is_nan() && output[1].is_nan());
    assert_eq!(output[2..], [0.0, 2.0]);
    let none = flex::dense(&Tensor::zeros([0, 3], &device), &weight, None, true).unwrap();
    assert_eq!(none.dims(), [0, 2]);
    let checkpointed = Device::flex().autodiff().gradient_checkpointing();
    let x = Tensor::<2>::ones([2, 3], &checkpointed);
    assert!(flex::dense(&x, &Tensor::ones([3, 2], &checkpointed), None, false).is_none());
}

#[test]
fn cross_entropy_is_that_of_burn() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let device = Device::flex().autodiff();
    for [samples, classes] in [[1, 1], [1, 2], [5, 3], [128, 10], [37, 1000]] {
        let logits: Vec<f32> =
            random(&mut rng, samples * classes).into_iter().map(|x| x * 20.0).collect();
        let logits = TensorData::new(logits, [samples, classes]);
        let labels: Vec<i64> = (0..samples).map(|_| rng.random_range(0..classes as i64)).collect();
        let upstream = TensorData::new(random(&mut rng, samples), [samples]);
        let both = [true, false].map(|ours| {
            let logits = Tensor::<2>::from_data(logits.clone(), &device).require_grad();
            let labels = TensorData::new(labels.clone(), [samples]);
            let labels = Tensor::<1, Int>::from_data(labels, &device);
            let values = match ours {
                true => flex::cross_entropy(&logits, &labels).unwrap(),
                false => composed::cross_entropy(logits.clone(), labels),
            };
            let upstream = Tensor::<1>::from_data(upstream.clone(), &device);
            let gradients = (values.clone() * upstream).sum().backward();
            [floats(&values), floats(&logits.grad(&gradients).unwrap())]
        });
        let what = format!("{samples} samples, {classes} classes");
        assert_close(&both[0][0], &both[1][0], &what);
        assert_close(&both[0][1], &both[1][1], &what);
    }
}

#[test]
fn cross_entropy_of_what_is_not_finite_or_no_class() {
    let device = Device::flex();
    let logits = Tensor::<2>::from_data(
        [
            [0.0, f32::NEG_INFINITY, 0.0],
            [0.0, f32::NEG_INFINITY, 0.0],
            [f32::NAN, 0.0, 0.0],
            [0.0, f32::INFINITY, 0.0],
            [1e30, -1e30, 0.0],
        ],
        &device,
    );
    let labels = |labels: [i64; 5]| Tensor::<1, Int>::from_data(labels, &device);
    let values = floats(&flex::cross_entropy(&logits, &labels([0, 1, 1, 0, 0])).unwrap());
    assert!((values[0] - 2.0_f32.ln()).abs() < 1e-6);
    assert_eq!(values[1], f32::INFINITY);
    assert!(values[2].is_nan() && values[3].is_nan());
    assert_eq!(values[4], 0.0);
    for wrong in [-1, 3, 1000] {
        assert!(flex::cross_entropy(&logits, &labels([0, 1, 1, 0, wrong])).is_none());
    }
}
