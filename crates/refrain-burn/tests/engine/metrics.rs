//! Accuracy by Keras' rules, the table of confusions, and what metrics refuse.

use refrain_burn::burn::tensor::{Device, Int, Tensor};
use refrain_burn::metrics::{Auc, Confusion, ConfusionMatrix, FBetaScore, Precision};
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

    for name in AnyMetric::names() {
        assert_eq!(AnyMetric::from_name(name).unwrap().name(), name);
    }
    assert_eq!(AnyMetric::from_name("acc").unwrap().name(), "acc");
    assert!(AnyMetric::from_name("accuracies").is_none());
    let chosen = AnyMetric::from_name("mse").unwrap();
    let targets = Targets::Rows(rows(&[0.0, 4.0], 1, &device));
    assert_eq!(floats(chosen.values(outputs(), targets)), [1.0, 4.0]);
}

/// A shape that would be broadcast without a word, and options that make no sense.
#[test]
fn refuses_what_does_not_fit() {
    let device = Device::flex();
    let outputs = || rows(&[0.1, 0.7, 0.2, 0.5, 0.2, 0.3], 3, &device);
    let check = |metric: AnyMetric, targets: Targets, expected: &str| {
        assert_eq!(metric.check_batch(&outputs(), &targets).unwrap_err().to_string(), expected);
    };
    let labels_of_two = || Targets::Labels(labels(&[1, 2]));
    let rows_of_three = || Targets::Rows(outputs());
    check(
        AnyMetric::from_name("mse").unwrap(),
        Targets::Rows(rows(&[1.0, 0.0], 1, &device)),
        "mean_squared_error: outputs have the shape [2, 3] and targets [2, 1]; they must be equal",
    );
    check(
        AnyMetric::from_name("auc").unwrap(),
        Targets::Rows(rows(&[1.0, 0.0], 1, &device)),
        "auc: outputs have the shape [2, 3] and targets [2, 1]; they must be equal, or the targets \
         class labels",
    );
    check(
        AnyMetric::custom(Auc::new().num_thresholds(1)),
        labels_of_two(),
        "auc: num_thresholds is 1; allowed: 2 to 100000, for example 200",
    );
    check(
        AnyMetric::custom(Precision::new().class_id(3)),
        labels_of_two(),
        "precision: class_id is 3, and the model has 3 outputs; allowed: 0 to 2",
    );
    check(
        AnyMetric::custom(Confusion::new(0, 5)),
        rows_of_three(),
        "confusion_matrix: predicted is 5, and there are 3 classes; allowed: 0 to 2",
    );
    check(
        AnyMetric::custom(FBetaScore::new().beta(f64::NAN)),
        rows_of_three(),
        "fbeta_score: beta is NaN; allowed: a finite number above 0",
    );
}

/// Labels count as one-hot rows beside several outputs, and as numbers beside one.
#[test]
fn labels_beside_metrics_of_rows() {
    let device = Device::flex();
    let three = || rows(&[0.1, 0.7, 0.2, 0.5, 0.2, 0.3], 3, &device);
    let one = || rows(&[0.5, 3.0], 1, &device);
    let one_hot = || Targets::Rows(rows(&[0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 3, &device));
    for name in ["mse", "rmse", "categorical_crossentropy", "auc", "hinge", "ce"] {
        let metric = AnyMetric::from_name(name).unwrap();
        let of_labels = Targets::Labels(labels(&[1, 2]));
        metric.check_batch(&three(), &of_labels).unwrap();
        let got = floats(metric.values(three(), of_labels));
        assert_eq!(got, floats(metric.values(three(), one_hot())), "{name}");
    }
    let mse = AnyMetric::from_name("mse").unwrap();
    assert_eq!(floats(mse.values(one(), Targets::Labels(labels(&[1, 2])))), [0.25, 1.0]);
}

#[test]
fn a_matrix_of_confusions() {
    let device = Device::flex();
    let outputs = rows(&[0.1, 0.7, 0.2, 0.5, 0.2, 0.3, 0.6, 0.2, 0.2], 3, &device);
    let matrix = ConfusionMatrix::of(outputs.clone(), labels(&[1, 2, 0])).unwrap();
    assert_eq!(matrix.rows().collect::<Vec<_>>(), [[1, 0, 0], [0, 1, 0], [1, 0, 0]]);
    assert_eq!((matrix.precision(0), matrix.recall(2)), (Some(0.5), Some(0.0)));
    assert_eq!((matrix.accuracy(), matrix.count(3, 0)), (2.0 / 3.0, None));
    let one = Confusion::new(2, 0);
    let values = one.values(outputs, labels(&[1, 2, 0]));
    assert_eq!(floats(values), [0.0, 1.0, 0.0]);
    assert_eq!(Metric::<Tensor<2>, Tensor<1, Int>>::result(&one, &[1.0], 3.0), 1.0);
}

/// Targets of one column are classes themselves, of which one output has none to choose from.
#[test]
fn the_largest_outputs_need_several() {
    let device = Device::flex();
    let outputs = Tensor::<2>::from_data([[0.5], [1.0]], &device);
    let targets = Tensor::<2>::from_data([[3.0], [-2.0]], &device);
    let metric = refrain_burn::TopKCategoricalAccuracy::new();
    let error = metric.check_batch(&outputs, &targets).unwrap_err().to_string();
    assert!(
        error.contains("top_k_categorical_accuracy") && error.contains("one output"),
        "{error}"
    );
}
