//! Ranges and moments of initial weights.

use refrain_burn::layers::Conv2d;
use refrain_burn::{BurnLearner, Initializer, MeanSquaredError, Sequential, Sgd};
use refrain_core::ModelAccess as _;

/// 300 inputs, 200 outputs.
fn draw(name: &str) -> Vec<f32> {
    Initializer::from_name(name).unwrap().kernel([300, 200], 42, 0)
}

/// (name, all within, deviation): formulas of Keras 3.15.1's `initializers/random_initializers.py`.
#[test]
fn ranges_and_moments() {
    let cut = 0.879_625_66;
    let uniform = |limit: f64| (limit, limit / 3_f64.sqrt());
    let cut_normal = |variance: f64| (2.0 * variance.sqrt() / cut, variance.sqrt());
    for (name, (within, deviation)) in [
        ("zeros", (0.0, 0.0)),
        ("glorot_uniform", uniform((6.0 / 500.0_f64).sqrt())),
        ("he_uniform", uniform((6.0 / 300.0_f64).sqrt())),
        ("lecun_uniform", uniform((3.0 / 300.0_f64).sqrt())),
        ("random_uniform", uniform(0.05)),
        ("glorot_normal", cut_normal(2.0 / 500.0)),
        ("he_normal", cut_normal(2.0 / 300.0)),
        ("lecun_normal", cut_normal(1.0 / 300.0)),
        ("truncated_normal", (0.1, 0.05 * cut)),
        ("random_normal", (f64::INFINITY, 0.05)),
    ] {
        let weights: Vec<f64> = draw(name).into_iter().map(f64::from).collect();
        assert_eq!(weights.len(), 60_000);
        let n = weights.len() as f64;
        let mean = weights.iter().sum::<f64>() / n;
        let spread = (weights.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / n).sqrt();
        let furthest = weights.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
        assert!(furthest <= within * (1.0 + 1e-6), "{name}: {furthest} beyond {within}");
        if within.is_finite() {
            assert!(furthest >= within * 0.99, "{name}: {furthest} far within {within}");
        }
        // Five standard errors of a mean and of a deviation of 60,000 draws.
        assert!(mean.abs() <= 5.0 * deviation / n.sqrt(), "{name}: mean {mean}");
        assert!((spread - deviation).abs() <= 5.0 * deviation / n.sqrt(), "{name}: {spread}");
    }
    assert!(draw("ones").iter().all(|&weight| weight == 1.0));
}

#[test]
fn orthogonal_vectors_are_of_length_one_and_at_right_angles() {
    for [inputs, outputs] in [[20, 7], [7, 20], [5, 5], [1, 1]] {
        let kernel = Initializer::Orthogonal.kernel([inputs, outputs], 1, 0);
        let at = |i: usize, o: usize| f64::from(kernel[i * outputs + o]);
        let (fewer, more) = (inputs.min(outputs), inputs.max(outputs));
        for a in 0..fewer {
            for b in 0..fewer {
                let product: f64 = (0..more)
                    .map(|i| match inputs <= outputs {
                        true => at(a, i) * at(b, i),
                        false => at(i, a) * at(i, b),
                    })
                    .sum();
                let expected = if a == b { 1.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-6, "{inputs}x{outputs}: {product}");
            }
        }
    }
}

/// A filter's kernel counts its area on both sides, as in Keras.
#[test]
fn convolutions_begin_within_their_range() {
    let limit = (6.0 / ((4 + 32) as f32 * 15.0)).sqrt();
    let model = Sequential::input(&[8, 9, 9]).layer(Conv2d::new(32, [3, 5]).groups(2)).build(1);
    let learner =
        BurnLearner::new(model.unwrap(), Box::new(Sgd::new(0.1)), MeanSquaredError::new());
    let weights = learner.weights().unwrap();
    let kernel = weights.get("conv2d.weight").unwrap();
    assert_eq!(kernel.shape, [32, 4, 3, 5]);
    let kernel: Vec<f32> =
        kernel.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let furthest = kernel.iter().fold(0.0, |most: f32, weight| most.max(weight.abs()));
    assert!(furthest <= limit && furthest > 0.99 * limit, "{furthest} {limit}");
    assert!(weights.get("conv2d.bias").unwrap().bytes.iter().all(|&byte| byte == 0));
}

#[test]
fn is_a_function_of_seed_and_layer() {
    let kernel = |seed, layer| Initializer::GlorotUniform.kernel([4, 4], seed, layer);
    assert_eq!(kernel(42, 1), kernel(42, 1));
    assert_ne!(kernel(42, 1), kernel(42, 2));
    assert_ne!(kernel(42, 1), kernel(43, 1));
    for name in Initializer::names() {
        assert_eq!(Initializer::from_name(name).unwrap().name(), name);
    }
    assert_eq!(Initializer::from_name("glorot"), None);
}
