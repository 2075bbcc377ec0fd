//! Losses and metrics against numbers recorded from Keras 3.15.1 by `keras/record_losses.py`.

use refrain_burn::burn::tensor::{Device, Tensor};
use refrain_burn::{
    AnyLoss, AnyMetric, BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy,
    CategoricalFocalCrossentropy, CategoricalGeneralizedCrossEntropy, Circle, Huber, Loss, Metric,
    Targets, TopKCategoricalAccuracy, Tversky,
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
            Some(name) if case["mean"].is_f64() => reduced(name, &case),
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

/// The mean over the batch of losses whose samples depend on each other, and of those of labels.
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
        _ => AnyLoss::of_labels(
            CategoricalGeneralizedCrossEntropy::new().q(number("q").unwrap_or(0.5)),
        ),
    };
    assert_eq!(Loss::<Tensor<2>>::name(&loss), name);
    let columns = case["columns"].as_u64().unwrap() as usize;
    let device = Device::flex().autodiff();
    let outputs = rows(&numbers(&case["outputs"]), columns, &device).require_grad();
    let targets = numbers(&case["targets"]);
    let targets = match targets.len() == outputs.dims()[0] {
        true => {
            let labels: Vec<i64> = targets.iter().map(|label| *label as i64).collect();
            Targets::Labels(Tensor::from_data(labels.as_slice(), &device))
        }
        false => Targets::Rows(rows(&targets, columns, &device)),
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
