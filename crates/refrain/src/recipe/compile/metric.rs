//! A metric by its name, with options.

use refrain_burn::metrics::{
    Aggregation, Auc, Average, BinaryAccuracy, Confusion, Curve, FBetaScore, FalseNegatives,
    FalsePositives, MeanIoU, Precision, PrecisionAtRecall, R2Score, Recall, RecallAtPrecision,
    SensitivityAtSpecificity, SpecificityAtSensitivity, Summation, TopKCategoricalAccuracy,
    TrueNegatives, TruePositives,
};
use refrain_burn::{AnyLoss, AnyMetric};
use refrain_core::Result;
use refrain_core::options::Value;

use super::loss;
use super::options::{Options, is_not_negative, is_positive};
use crate::registry::Registry;

/// Those that have an option without a default.
const WITH_OPTIONS: [&str; 7] = [
    "confusion_matrix",
    "io_u",
    "one_hot_io_u",
    "precision_at_recall",
    "recall_at_precision",
    "sensitivity_at_specificity",
    "specificity_at_sensitivity",
];

/// A metric, whether it is the registry's, and its options by dotted key.
type Read = (AnyMetric, bool, Vec<(String, String)>);

/// `"auc"`, or a table with `type`, `name` and options.
pub(super) fn read(value: &Value<'_>, path: &str, registry: &Registry) -> Result<Read> {
    let mut names: Vec<&str> = AnyMetric::names().chain(WITH_OPTIONS).collect();
    names.extend(registry.metrics.iter().map(|(name, _)| name.as_str()));
    let own = |name: &str| {
        let own = registry.metrics.iter().find(|(known, _)| known == name);
        own.map(|(_, metric)| metric.clone())
    };
    let known = |name: &str| names.contains(&name).then(|| name.to_owned());
    value.name_or_table("{ type = \"auc\", curve = \"PR\" }")?;
    if !value.is_table() {
        let kind = value.look_up("metric", &names, known)?;
        if let Some(own) = own(&kind) {
            return Ok((own, true, Vec::new()));
        }
        let mut options = Options::below(path, None);
        options.note("type", &kind);
        let metric = with_options(&kind, value, &mut options)?;
        return Ok((metric, false, options.settings));
    }
    let section = value.section("the metric")?;
    let kind = section.require("type", "type = \"auc\"")?.look_up("metric", &names, known)?;
    let mut options = Options::below(path, Some(&section));
    options.note("type", &kind);
    let own = own(&kind);
    let is_own = own.is_some();
    let mut metric = match own {
        Some(own) => own,
        None => with_options(&kind, value, &mut options)?,
    };
    if let Some(name) = section.get("name") {
        let name = name.str()?;
        metric = metric.named(name);
    }
    section.finish()?;
    Ok((metric, is_own, options.settings))
}

/// Options of a metric that is the best of one rate where another is at least so much.
macro_rules! at_least {
    ($metric:ident, $rate:literal, $value:expr, $options:expr) => {{
        let rate = $options.maybe_unit($rate)?.ok_or_else(|| {
            $value.error(format!("`{}` is missing: the rate to be had at least, 0 to 1", $rate))
        })?;
        let mut metric =
            $metric::new(rate).num_thresholds($options.count("num_thresholds", 200, 2)?);
        if let Some(class) = $options.maybe_count("class_id", 0)? {
            metric = metric.class_id(class);
        }
        AnyMetric::custom(metric)
    }};
}

fn with_options(kind: &str, value: &Value<'_>, options: &mut Options<'_, '_>) -> Result<AnyMetric> {
    let metric = match kind {
        "auc" => auc(options)?,
        "binary_accuracy" => {
            let any = |x: f64| x.is_finite();
            let threshold = options.number("threshold", 0.5, "a finite number", any)?;
            AnyMetric::custom(BinaryAccuracy::new().threshold(threshold))
        }
        "top_k_categorical_accuracy" | "sparse_top_k_categorical_accuracy" => {
            AnyMetric::custom(TopKCategoricalAccuracy::new().k(options.count("k", 5, 1)?))
        }
        "precision" | "recall" => precision_or_recall(kind, options)?,
        "true_positives" | "false_positives" | "true_negatives" | "false_negatives" => {
            let threshold = options.unit("thresholds", 0.5)?;
            match kind {
                "true_positives" => AnyMetric::custom(TruePositives::new().thresholds(threshold)),
                "false_positives" => AnyMetric::custom(FalsePositives::new().thresholds(threshold)),
                "true_negatives" => AnyMetric::custom(TrueNegatives::new().thresholds(threshold)),
                _ => AnyMetric::custom(FalseNegatives::new().thresholds(threshold)),
            }
        }
        "f1_score" | "fbeta_score" => f_score(kind, options)?,
        "sensitivity_at_specificity" => {
            at_least!(SensitivityAtSpecificity, "specificity", value, options)
        }
        "specificity_at_sensitivity" => {
            at_least!(SpecificityAtSensitivity, "sensitivity", value, options)
        }
        "precision_at_recall" => at_least!(PrecisionAtRecall, "recall", value, options),
        "recall_at_precision" => at_least!(RecallAtPrecision, "precision", value, options),
        "io_u" | "one_hot_io_u" | "mean_io_u" | "one_hot_mean_io_u" | "binary_io_u" => {
            iou(kind, value, options)?
        }
        "confusion_matrix" => {
            let class = |options: &mut Options<'_, '_>, key| {
                let example = "{ type = \"confusion_matrix\", actual = 4, predicted = 9 }";
                let class = options.maybe_count(key, 0)?;
                class.ok_or_else(|| {
                    value.error(format!(
                        "a log holds one number of the matrix: say which, for example {example}; \
                     `{key}` is missing"
                    ))
                })
            };
            let (actual, predicted) = (class(options, "actual")?, class(options, "predicted")?);
            // Under its own name, which says which cell it is.
            return Ok(AnyMetric::custom(Confusion::new(actual, predicted)));
        }
        "r2_score" => {
            let aggregation =
                options.one_of("class_aggregation", Aggregation::NAMES, Aggregation::from_name)?;
            let regressors = options.count("num_regressors", 0, 0)?;
            let score = R2Score::new().class_aggregation(aggregation);
            AnyMetric::custom(score.num_regressors(regressors))
        }
        _ => match AnyLoss::from_name(kind).filter(|_| !AnyMetric::NAMES.contains(&kind)) {
            Some(loss) => AnyMetric::of_loss(loss::with_options(kind, loss, options)?),
            None => AnyMetric::from_name(kind)
                .ok_or_else(|| value.error(format!("there is no metric `{kind}`")))?,
        },
    };
    Ok(metric.named(kind))
}

fn auc(options: &mut Options<'_, '_>) -> Result<AnyMetric> {
    let mut auc = Auc::new();
    auc = match (options.get("thresholds"), options.get("num_thresholds")) {
        (None, _) => auc.num_thresholds(options.count("num_thresholds", 200, 2)?),
        (Some(_), Some(number)) => {
            return Err(number.error(
                "`num_thresholds` and `thresholds` are both given; give one of them: how many there \
                 are, evenly spaced, or which",
            ));
        }
        (Some(own), None) => {
            let threshold = |value: &Value<'_>| {
                value.f64_in("0 to 1", |x| (0.0..=1.0).contains(&x)).map(|x| x as f32)
            };
            let thresholds = own.items()?.iter().map(threshold).collect::<Result<Vec<_>>>()?;
            if thresholds.is_empty() {
                return Err(own.out_of_range("empty", "one number or more, 0 to 1"));
            }
            options.note("thresholds", format!("{thresholds:?}"));
            auc.thresholds(thresholds)
        }
    };
    auc = auc
        .curve(options.one_of("curve", Curve::NAMES, Curve::from_name)?)
        .summation_method(options.one_of(
            "summation_method",
            Summation::NAMES,
            Summation::from_name,
        )?)
        .multi_label(options.bool("multi_label")?)
        .from_logits(options.bool("from_logits")?);
    if let Some(weights) = options.get("label_weights") {
        let weight = |weight: &Value<'_>| {
            weight.f64_in("a finite number, 0 or more", is_not_negative).map(|w| w as f32)
        };
        let weights: Vec<f32> = weights.items()?.iter().map(weight).collect::<Result<_>>()?;
        options.note("label_weights", format!("{weights:?}"));
        auc = auc.label_weights(weights);
    }
    Ok(AnyMetric::custom(auc))
}

fn precision_or_recall(kind: &str, options: &mut Options<'_, '_>) -> Result<AnyMetric> {
    let threshold = options.maybe_unit("thresholds")?;
    let top_k = options.maybe_count("top_k", 1)?;
    let class = options.maybe_count("class_id", 0)?;
    macro_rules! build {
        ($metric:ident) => {{
            let mut metric = $metric::new();
            if let Some(threshold) = threshold {
                metric = metric.thresholds(threshold);
            }
            if let Some(k) = top_k {
                metric = metric.top_k(k);
            }
            if let Some(class) = class {
                metric = metric.class_id(class);
            }
            AnyMetric::custom(metric)
        }};
    }
    Ok(if kind == "precision" { build!(Precision) } else { build!(Recall) })
}

fn f_score(kind: &str, options: &mut Options<'_, '_>) -> Result<AnyMetric> {
    let average = options.one_of("average", Average::NAMES, Average::from_name)?;
    let mut score = FBetaScore::new().average(average);
    if kind == "fbeta_score" {
        score = score.beta(options.number("beta", 1.0, "a finite number above 0", is_positive)?);
    }
    if let Some(threshold) =
        options.maybe("threshold", "above 0, at most 1", |x| x > 0.0 && x <= 1.0)?
    {
        score = score.threshold(threshold);
    }
    Ok(AnyMetric::custom(score))
}

fn iou(kind: &str, value: &Value<'_>, options: &mut Options<'_, '_>) -> Result<AnyMetric> {
    let ids = match options.get("target_class_ids") {
        Some(ids) => Some(ids.items()?.iter().map(|id| id.usize(0)).collect::<Result<Vec<_>>>()?),
        None => None,
    };
    if ids.is_none() && matches!(kind, "io_u" | "one_hot_io_u") {
        return Err(value.error(
            "`target_class_ids` is missing: the classes to average over, for example \
             target_class_ids = [0, 1]; `mean_io_u` takes all",
        ));
    }
    let mut iou = MeanIoU::new();
    if let Some(ids) = ids {
        options.note("target_class_ids", format!("{ids:?}"));
        iou = iou.target_class_ids(ids);
    }
    if let Some(classes) = options.maybe_count("num_classes", 2)? {
        iou = iou.num_classes(classes);
    }
    if kind == "binary_io_u" {
        iou = iou.threshold(options.unit("threshold", 0.5)?);
    }
    Ok(AnyMetric::custom(iou))
}
