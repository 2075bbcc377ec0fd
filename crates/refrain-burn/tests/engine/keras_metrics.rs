//! Metrics over several batches against results recorded from Keras 3.15.1 by
//! `keras/record_metrics.py`.

use std::collections::HashSet;

use refrain_burn::burn::tensor::{Device, Int, Tensor};
use refrain_burn::metrics::{
    Aggregation, Auc, Average, BinaryAccuracy, Curve, FBetaScore, FalseNegatives, FalsePositives,
    MeanIoU, Precision, PrecisionAtRecall, R2Score, Recall, RecallAtPrecision,
    SensitivityAtSpecificity, SpecificityAtSensitivity, Summation, TopKCategoricalAccuracy,
    TrueNegatives, TruePositives,
};
use refrain_burn::{AnyMetric, Metric, Targets};
use serde_json::Value;

use crate::{assert_close, rows};

#[test]
fn results_are_those_of_keras() {
    let mut types = HashSet::new();
    for line in include_str!("keras/metrics.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        types.insert(case["metric"]["type"].as_str().unwrap().to_owned());
        let metric = metric(&case["metric"]);
        check(&metric, &case, |targets, columns| {
            Targets::Rows(rows(targets, columns, &Device::flex()))
        });
        if case["metric"]["type"] == "categorical_accuracy" && case["steps"].is_null() {
            check(&metric, &case, |targets, columns| Targets::Labels(labels(targets, columns)));
        }
    }
    assert_eq!(types.len(), 26, "{types:?}");
}

fn check(metric: &AnyMetric, case: &Value, targets: impl Fn(&[f32], usize) -> Targets) {
    let columns = case["columns"].as_u64().unwrap() as usize;
    let steps = case["steps"].as_u64().unwrap_or(1) as usize;
    let metric = match steps {
        1 => metric.clone(),
        steps => metric.clone().per_step(steps),
    };
    let (mut sums, mut weight) = (Vec::new(), 0.0);
    for batch in case["batches"].as_array().unwrap() {
        let outputs = rows(&numbers(&batch["outputs"]), columns, &Device::flex());
        let of_batch = numbers(&batch["targets"]);
        // One for each output, or for each step its class.
        let width = of_batch.len() / outputs.dims()[0];
        let targets = targets(&of_batch, if steps == 1 { columns } else { width });
        metric.check_batch(&outputs, &targets).unwrap();
        let mut values = metric.values(outputs, targets);
        let samples = values.dims()[0];
        let weights = match batch.get("weights") {
            Some(weights) => numbers(weights),
            None => vec![1.0; samples],
        };
        weight += weights.iter().map(|w| f64::from(*w)).sum::<f64>();
        let shape = values.dims();
        values = values * rows(&weights, 1, &Device::flex()).expand(shape);
        let of_batch: Vec<f64> = values.sum_dim(0).into_data().try_into_vec_as().unwrap();
        sums.resize(of_batch.len(), 0.0);
        sums.iter_mut().zip(of_batch).for_each(|(sum, new)| *sum += new);
    }
    let result = metric.result(&sums, weight) as f32;
    let expected = case["result"].as_f64().unwrap() as f32;
    assert_close(&[result], &[expected], 2e-6, &case["metric"].to_string());
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// One-hot rows as labels.
fn labels(one_hot: &[f32], columns: usize) -> Tensor<1, Int> {
    rows(one_hot, columns, &Device::flex()).argmax(1).squeeze_dim(1)
}

fn metric(options: &Value) -> AnyMetric {
    let number = |key: &str| options[key].as_f64();
    let count = |key: &str| options[key].as_u64().map(|n| n as usize);
    macro_rules! set {
        ($metric:expr $(, $read:ident $option:ident)*) => {{
            let mut metric = $metric;
            $(
                if let Some(value) = $read(stringify!($option)) {
                    metric = metric.$option(value);
                }
            )*
            AnyMetric::custom(metric)
        }};
    }
    let name = options["type"].as_str().unwrap();
    match name {
        "auc" => {
            let mut auc = Auc::new();
            if let Some(curve) = options["curve"].as_str() {
                auc = auc.curve(Curve::from_name(curve).unwrap());
            }
            if let Some(method) = options["summation_method"].as_str() {
                auc = auc.summation_method(Summation::from_name(method).unwrap());
            }
            if options["label_weights"].is_array() {
                auc = auc.label_weights(numbers(&options["label_weights"]));
            }
            if options["thresholds"].is_array() {
                auc = auc.thresholds(numbers(&options["thresholds"]));
            }
            auc = auc
                .from_logits(options["from_logits"].as_bool().unwrap_or(false))
                .multi_label(options["multi_label"].as_bool().unwrap_or(false));
            set!(auc, count num_thresholds)
        }
        "precision" => set!(Precision::new(), number thresholds, count top_k, count class_id),
        "recall" => set!(Recall::new(), number thresholds, count top_k, count class_id),
        "true_positives" => set!(TruePositives::new(), number thresholds),
        "false_positives" => set!(FalsePositives::new(), number thresholds),
        "true_negatives" => set!(TrueNegatives::new(), number thresholds),
        "false_negatives" => set!(FalseNegatives::new(), number thresholds),
        "sensitivity_at_specificity" => set!(
            SensitivityAtSpecificity::new(number("specificity").unwrap()),
            count num_thresholds, count class_id
        ),
        "specificity_at_sensitivity" => set!(
            SpecificityAtSensitivity::new(number("sensitivity").unwrap()),
            count num_thresholds, count class_id
        ),
        "precision_at_recall" => set!(
            PrecisionAtRecall::new(number("recall").unwrap()),
            count num_thresholds, count class_id
        ),
        "recall_at_precision" => set!(
            RecallAtPrecision::new(number("precision").unwrap()),
            count num_thresholds, count class_id
        ),
        "f1_score" | "fbeta_score" => {
            let average = Average::from_name(options["average"].as_str().unwrap()).unwrap();
            set!(FBetaScore::new().average(average), number beta, number threshold)
        }
        "one_hot_io_u" | "binary_io_u" => {
            let mut iou = MeanIoU::new();
            if options["target_class_ids"].is_array() {
                let ids = numbers(&options["target_class_ids"]).into_iter();
                iou = iou.target_class_ids(ids.map(|id| id as usize).collect::<Vec<usize>>());
            }
            set!(iou, number threshold)
        }
        "r2_score" => {
            let mut score = R2Score::new();
            if let Some(name) = options["class_aggregation"].as_str() {
                score = score.class_aggregation(Aggregation::from_name(name).unwrap());
            }
            set!(score, count num_regressors)
        }
        "binary_accuracy" => set!(BinaryAccuracy::new(), number threshold),
        "top_k_categorical_accuracy" | "sparse_top_k_categorical_accuracy" => {
            set!(TopKCategoricalAccuracy::new(), count k)
        }
        _ => AnyMetric::from_name(name).unwrap(),
    }
}
