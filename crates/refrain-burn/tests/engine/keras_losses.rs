//! Losses and metrics against numbers recorded from Keras 3.15.1 by `keras/record_losses.py`.

use refrain_burn::burn::tensor::{Device, Tensor};
use refrain_burn::{
    AnyLoss, AnyMetric, BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy,
    CategoricalFocalCrossentropy, CategoricalGeneralizedCrossEntropy, Circle, ClosingActivation,
    Huber, Loss, Metric, SparseCategoricalCrossentropy, Targets, TopKCategoricalAccuracy, Tversky,
};
use serde_json::Value;

use crate::{assert_close, floats, rows};

#[test]
fn values_and_gradients_are_those_of_keras() {
    let recording = include_str!("keras/losses.jsonl");
    assert!(recording.lines().count() > 20);
    for line in recording.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        match case["loss"].as_str() {
            Some(name) if case["mean"].is_number() => reduced(name, &case),
            Some(name) => loss(name, &case),
            None => metric(&case),
        }
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn loss(name: &str, case: &Value) {
    let mut loss = AnyLoss::from_name(name).unwrap();
    if case["options"].is_object() {
        loss = with_options(name, &case["options"]);
    }
    assert_eq!(Loss::<Tensor<2>>::name(&loss), name);
    let columns = case["columns"].as_u64().unwrap() as usize;
    let device = Device::flex().autodiff();
    let outputs = rows(&numbers(&case["outputs"]), columns, &device).require_grad();
    let targets = Targets::Rows(rows(&numbers(&case["targets"]), columns, &device));
    loss.check(&outputs, &targets).unwrap();
    let values = loss.forward(outputs.clone(), targets);
    assert_close(&floats(values.clone()), &numbers(&case["values"]), 2e-6, &case.to_string());
    let gradients = values.mean().backward();
    let gradient = floats(outputs.grad(&gradients).unwrap());
    assert_close(&gradient, &numbers(&case["gradient"]), 2e-6, &case.to_string());
}

/// The mean over the batch of losses whose samples depend on each other, of those of labels, and of
/// those of steps.
fn reduced(name: &str, case: &Value) {
    let options = &case["options"];
    let number = |key: &str| options[key].as_f64();
    let is = |key: &str, default: bool| options[key].as_bool().unwrap_or(default);
    let loss = match name {
        "dice" => AnyLoss::of_rows(Tversky::dice().per_sample(is("per_sample", false))),
        "tversky" => AnyLoss::of_rows(
            Tversky::new()
                .alpha(number("alpha").unwrap_or(0.5))
                .beta(number("beta").unwrap_or(0.5))
                .per_sample(is("per_sample", false)),
        ),
        "circle" => AnyLoss::of_labels(
            Circle::new()
                .gamma(number("gamma").unwrap_or(80.0))
                .margin(number("margin").unwrap_or(0.4))
                .remove_diagonal(is("remove_diagonal", true)),
        ),
        "categorical_generalized_cross_entropy" => AnyLoss::of_labels(
            CategoricalGeneralizedCrossEntropy::new().q(number("q").unwrap_or(0.5)),
        ),
        "sparse_categorical_crossentropy" => {
            let loss = SparseCategoricalCrossentropy::new().from_logits(is("from_logits", false));
            AnyLoss::SparseCategoricalCrossentropy(match options["ignore_class"].as_i64() {
                Some(class) => loss.ignore_class(class),
                None => loss,
            })
        }
        "categorical_crossentropy" => {
            let smoothing = number("label_smoothing").unwrap();
            let loss = CategoricalCrossentropy::new().label_smoothing(smoothing);
            AnyLoss::CategoricalCrossentropy(loss)
        }
        other => AnyLoss::from_name(other).unwrap(),
    };
    let steps = case["steps"].as_u64().map(|steps| steps as usize);
    let loss = match steps {
        Some(steps) => loss.per_step(steps),
        None => loss,
    };
    assert_eq!(Loss::<Tensor<2>>::name(&loss), name);
    let columns = case["columns"].as_u64().unwrap() as usize;
    let device = Device::flex().autodiff();
    let outputs = rows(&numbers(&case["outputs"]), columns, &device).require_grad();
    let targets = numbers(&case["targets"]);
    let samples = outputs.dims()[0];
    let targets = match targets.len() == samples {
        true => {
            let labels: Vec<i64> = targets.iter().map(|label| *label as i64).collect();
            Targets::Labels(Tensor::from_data(labels.as_slice(), &device))
        }
        false => Targets::Rows(rows(&targets, targets.len() / samples, &device)),
    };
    Loss::check(&loss, &outputs, &targets).unwrap();
    let mean = loss.forward(outputs.clone(), targets).mean();
    let expected = [case["mean"].as_f64().unwrap() as f32];
    assert_close(&floats(mean.clone()), &expected, 2e-6, &case.to_string());
    let gradient = floats(outputs.grad(&mean.backward()).unwrap());
    assert_close(&gradient, &numbers(&case["gradient"]), 2e-5, &case.to_string());
}

fn with_options(name: &str, options: &Value) -> AnyLoss {
    macro_rules! build {
        ($loss:ident $(, $option:ident)*) => {
            $loss::new()
                .from_logits(options["from_logits"].as_bool().unwrap())
                .label_smoothing(options["label_smoothing"].as_f64().unwrap())
                $(.$option(options[stringify!($option)].as_f64().unwrap()))*
        };
    }
    match name {
        "binary_crossentropy" => AnyLoss::BinaryCrossentropy(build!(BinaryCrossentropy)),
        "categorical_crossentropy" => {
            AnyLoss::CategoricalCrossentropy(build!(CategoricalCrossentropy))
        }
        "binary_focal_crossentropy" => {
            AnyLoss::of_rows(build!(BinaryFocalCrossentropy, alpha, gamma))
        }
        _ => AnyLoss::of_rows(build!(CategoricalFocalCrossentropy, alpha, gamma)),
    }
}

fn metric(case: &Value) {
    let columns = case["columns"].as_u64().unwrap() as usize;
    let device = Device::flex();
    let outputs = rows(&numbers(&case["outputs"]), columns, &device);
    let targets = rows(&numbers(&case["targets"]), columns, &device);
    let result = [case["result"].as_f64().unwrap() as f32];
    let name = case["metric"].as_str().unwrap();
    let metric = AnyMetric::from_name(name).unwrap();
    let is = |got: f64| assert_close(&[got as f32], &result, 2e-6, &case.to_string());
    let mean = |values: Tensor<2>| f64::from(values.mean().into_scalar::<f32>());
    let Some(k) = case["k"].as_u64() else {
        let values = metric.values(outputs, Targets::Rows(targets));
        return is(metric.result(&[mean(values)], 1.0));
    };
    let metric = TopKCategoricalAccuracy::new().k(k as usize);
    let labels = targets.clone().argmax(1).squeeze_dim::<1>(1);
    is(mean(metric.values(outputs.clone(), targets)));
    is(mean(metric.values(outputs, labels)));
}

/// (a loss by name, with labels, is that of one-hot rows)
#[test]
fn labels_are_one_hot_rows_to_losses_of_classes() {
    let device = Device::flex();
    let outputs = || rows(&[0.7, 0.2, 0.1, 0.5, 0.25, 0.25], 3, &device);
    let labels = || Targets::Labels(Tensor::from_data([2, 0], &device));
    let one_hot = || Targets::Rows(rows(&[0.0, 0.0, 1.0, 1.0, 0.0, 0.0], 3, &device));
    for name in [
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
        "kl_divergence",
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "hinge",
        "squared_hinge",
        "dice",
        "tversky",
    ] {
        let loss = AnyLoss::from_name(name).unwrap();
        loss.check(&outputs(), &labels()).unwrap();
        let of_labels = floats(loss.forward(outputs(), labels()));
        assert_eq!(of_labels, floats(loss.forward(outputs(), one_hot())), "{name}");
        // So that a label beyond the outputs is refused before it is looked up.
        assert_eq!(Loss::classes(&loss, &outputs()), Some(3), "{name}");
    }
    for name in ["mse", "mae", "huber", "poisson", "cosine_similarity"] {
        let loss = AnyLoss::from_name(name).unwrap();
        assert!(loss.check(&outputs(), &labels()).is_err(), "{name}");
    }
}

/// What is no class of the outputs is not known on the host: it is no number, and no panic.
#[test]
fn a_step_of_an_unknown_class_makes_the_loss_nan() {
    let device = Device::flex();
    let outputs = || rows(&[0.7, 0.3, 0.5, 0.5], 4, &device);
    let step_labels = |labels: [f32; 2]| Targets::Rows(rows(&labels, 2, &device));
    let loss = AnyLoss::from_name("sparse_categorical_crossentropy").unwrap().per_step(2);
    let of =
        |loss: &AnyLoss, labels| loss.forward(outputs(), step_labels(labels)).into_scalar::<f32>();
    assert!((of(&loss, [0.0, 1.0]) + (0.7_f32 * 0.5).ln() / 2.0).abs() < 1e-6);
    assert!(of(&loss, [0.0, 2.0]).is_nan());
    assert!(of(&loss, [-1.0, 1.0]).is_nan());
    let ignoring = SparseCategoricalCrossentropy::new().ignore_class(-1);
    let loss = AnyLoss::SparseCategoricalCrossentropy(ignoring).per_step(2);
    assert!((of(&loss, [-1.0, 1.0]) + 0.5_f32.ln()).abs() < 1e-6);
    assert!(of(&loss, [-1.0, 2.0]).is_nan());
    assert_eq!(of(&loss, [-1.0, -1.0]), 0.0);
}

#[test]
fn a_loss_of_steps_leaves_softmaxes_of_steps_to_the_logits() {
    let loss = AnyLoss::from_name("sparse_categorical_crossentropy").unwrap();
    assert!(loss.on_logits(ClosingActivation::StepSoftmax).is_none());
    let loss = loss.per_step(2);
    assert!(loss.on_logits(ClosingActivation::Softmax).is_none());
    let on_logits = loss.on_logits(ClosingActivation::StepSoftmax).unwrap();
    let device = Device::flex();
    let logits = rows(&[1.0, -1.0, 0.5, 2.0], 4, &device);
    let probabilities =
        refrain_burn::Activation::Softmax.forward(logits.clone().reshape([1, 2, 2]));
    let labels = || Targets::Rows(rows(&[0.0, 1.0], 2, &device));
    let expected = floats(loss.forward(probabilities.reshape([1, 4]), labels()));
    assert_close(&floats(on_logits.forward(logits, labels())), &expected, 1e-6, "logits");
}

#[test]
fn targets_that_are_none_of_steps_are_refused() {
    let device = Device::flex();
    let loss = AnyLoss::from_name("categorical_crossentropy").unwrap().per_step(2);
    let outputs = rows(&[0.5; 6], 6, &device);
    let refused = |outputs: &Tensor<2>, targets: Targets| {
        Loss::check(&loss, outputs, &targets).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&outputs, Targets::Rows(rows(&[0.0; 4], 4, &device))),
        "categorical_crossentropy: a row of targets has 4 numbers for 2 steps of 3 outputs; there must \
         be one for each step, its class, or one for each output"
    );
    assert_eq!(
        refused(&outputs, Targets::Labels(Tensor::from_data([1], &device))),
        "categorical_crossentropy: there is one label a sample for 2 steps; there must be one for each \
         step, in rows of 2"
    );
    assert_eq!(
        refused(&rows(&[0.5; 5], 5, &device), Targets::Rows(rows(&[0.0; 2], 2, &device))),
        "categorical_crossentropy: 5 outputs are none for each of 2 steps; there must be as many for \
         each"
    );
}

#[test]
fn refuses_options_out_of_range() {
    let device = Device::flex();
    let row = || rows(&[1.0, 2.0], 2, &device);
    let error = Huber::new().delta(0.0).check(&row(), &row()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "huber: delta is 0; allowed: a finite number above 0, for example 1.0"
    );
    let smoothed = BinaryCrossentropy::new().label_smoothing(1.5);
    assert_eq!(
        smoothed.check(&row(), &row()).unwrap_err().to_string(),
        "binary_crossentropy: label_smoothing is 1.5; allowed: a number from 0 to 1, for example 0.1"
    );
    let focal = CategoricalFocalCrossentropy::new().gamma(-1.0);
    assert_eq!(
        focal.check(&row(), &row()).unwrap_err().to_string(),
        "categorical_focal_crossentropy: gamma is -1; allowed: a finite number, 0 or more, for \
         example 2.0"
    );
}
