//! Accuracy by Keras' rules.

use refrain_burn::burn::tensor::{Device, Int, Tensor};
use refrain_burn::{Accuracy, AnyMetric, MeanSquaredError, Metric, Targets};

use crate::{floats, rows};

fn labels(labels: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(labels, &Device::flex())
}

#[test]
fn rules_of_accuracy() {
    let device = Device::flex();
    let three = || rows(&[0.1, 0.7, 0.2, 0.5, 0.2, 0.3], 3, &device);
    let one = || rows(&[0.5, 0.500_000_1, 0.9, 0.1], 1, &device);
    let accuracy = Accuracy::new();

    // Several outputs, labels: the largest is the label.
    assert_eq!(floats(accuracy.values(three(), labels(&[1, 2]))), [1.0, 0.0]);
    // One column of labels.
    assert_eq!(floats(accuracy.values(three(), rows(&[1.0, 0.0], 1, &device))), [1.0, 1.0]);
    // One-hot rows.
    let one_hot = rows(&[0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 3, &device);
    assert_eq!(floats(accuracy.values(three(), one_hot)), [1.0, 0.0]);
    // One output: strictly above one half is a yes.
    assert_eq!(floats(accuracy.values(one(), labels(&[0, 1, 1, 0]))), [1.0; 4]);
    let targets = rows(&[1.0, 0.0, 1.0, 0.0], 1, &device);
    assert_eq!(floats(accuracy.values(one(), targets)), [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn losses_are_metrics_of_their_name() {
    let device = Device::flex();
    let metric = MeanSquaredError::new();
    let outputs = || rows(&[1.0, 2.0], 1, &device);
    assert_eq!(Metric::<Tensor<2>, Tensor<2>>::name(&metric), "mean_squared_error");
    assert_eq!(floats(metric.values(outputs(), rows(&[0.0, 4.0], 1, &device))), [1.0, 4.0]);

    for name in AnyMetric::NAMES {
        assert_eq!(AnyMetric::from_name(name).unwrap().name(), *name);
    }
    assert_eq!(AnyMetric::from_name("acc").unwrap().name(), "acc");
    assert!(AnyMetric::from_name("accuracies").is_none());
    let chosen = AnyMetric::from_name("mse").unwrap();
    let targets = Targets::Rows(rows(&[0.0, 4.0], 1, &device));
    assert_eq!(floats(chosen.values(outputs(), targets)), [1.0, 4.0]);
}
