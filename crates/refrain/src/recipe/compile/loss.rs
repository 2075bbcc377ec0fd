//! The loss by its name, with options.

use refrain_burn::{
    AnyLoss, BinaryFocalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy, Circle, Huber, Tversky,
};
use refrain_core::Result;
use refrain_core::options::Value;

use super::options::{Options, is_not_negative};
use crate::registry::Registry;

type Losses = (AnyLoss, Vec<(String, String)>);

/// `"mse"`, or a table with options; and these by dotted key.
pub(super) fn read(value: &Value<'_>, registry: &Registry) -> Result<Losses> {
    let mut names = AnyLoss::NAMES.to_vec();
    names.extend(registry.losses.iter().map(|(name, _)| name.as_str()));
    let own = |name: &str| {
        let own = registry.losses.iter().find(|(known, _)| known == name);
        own.map(|(_, loss)| loss.clone())
    };
    let known = |name: &str| {
        let found = own(name).or_else(|| AnyLoss::from_name(name))?;
        Some((name.to_owned(), found))
    };
    value.name_or_table("{ type = \"huber\", delta = 2.0 }")?;
    if !value.is_table() {
        let (kind, loss) = value.look_up("loss", &names, known)?;
        return match own(&kind) {
            Some(loss) => Ok((loss, Vec::new())),
            None => {
                let mut options = Options::below("compile.loss", None);
                Ok((with_options(&kind, loss, &mut options)?, options.settings))
            }
        };
    }
    let section = value.section("the loss")?;
    let kind = section.require("type", "type = \"sparse_categorical_crossentropy\"")?;
    let (kind, loss) = kind.look_up("loss", &names, known)?;
    let mut options = Options::below("compile.loss", Some(&section));
    let loss = match own(&kind) {
        Some(loss) => loss,
        None => with_options(&kind, loss, &mut options)?,
    };
    section.finish()?;
    Ok((loss, options.settings))
}

/// A loss with its options.
pub(super) fn with_options(
    kind: &str,
    loss: AnyLoss,
    options: &mut Options<'_, '_>,
) -> Result<AnyLoss> {
    let loss = match (kind, loss) {
        (_, AnyLoss::SparseCategoricalCrossentropy(loss)) => {
            AnyLoss::SparseCategoricalCrossentropy(match options.get("ignore_class") {
                None => loss,
                Some(class) => {
                    let allowed = "a whole number, −1 or more";
                    let is_allowed = |x: f64| x.fract() == 0.0 && (-1.0..16_777_216.0).contains(&x);
                    let class = class.f64_in(allowed, is_allowed)?;
                    options.note("ignore_class", class);
                    loss.ignore_class(class as i64)
                }
            })
        }
        (_, AnyLoss::CategoricalCrossentropy(loss)) => {
            let smoothing = options.unit("label_smoothing", 0.0)?;
            AnyLoss::CategoricalCrossentropy(loss.label_smoothing(smoothing))
        }
        (_, AnyLoss::BinaryCrossentropy(loss)) => {
            let smoothing = options.unit("label_smoothing", 0.0)?;
            AnyLoss::BinaryCrossentropy(loss.label_smoothing(smoothing))
        }
        ("huber", _) => AnyLoss::of_rows(Huber::new().delta(options.positive("delta", 1.0)?)),
        ("binary_focal_crossentropy", _) => AnyLoss::of_class_rows(
            BinaryFocalCrossentropy::new()
                .apply_class_balancing(options.bool("apply_class_balancing")?)
                .alpha(options.unit("alpha", 0.25)?)
                .gamma(options.number("gamma", 2.0, "0 or more", is_not_negative)?)
                .from_logits(options.bool("from_logits")?)
                .label_smoothing(options.unit("label_smoothing", 0.0)?),
        ),
        ("categorical_focal_crossentropy", _) => AnyLoss::of_class_rows(
            CategoricalFocalCrossentropy::new()
                .alpha(options.unit("alpha", 0.25)?)
                .gamma(options.number("gamma", 2.0, "0 or more", is_not_negative)?)
                .from_logits(options.bool("from_logits")?)
                .label_smoothing(options.unit("label_smoothing", 0.0)?),
        ),
        ("dice", _) => {
            AnyLoss::of_class_rows(Tversky::dice().per_sample(options.bool("per_sample")?))
        }
        ("tversky", _) => AnyLoss::of_class_rows(
            Tversky::new()
                .alpha(options.number("alpha", 0.5, "0 or more", is_not_negative)?)
                .beta(options.number("beta", 0.5, "0 or more", is_not_negative)?)
                .per_sample(options.bool("per_sample")?),
        ),
        ("circle", _) => AnyLoss::of_labels(
            Circle::new()
                .gamma(options.positive("gamma", 80.0)?)
                .margin(options.unit("margin", 0.4)?)
                .remove_diagonal(options.bool_or("remove_diagonal", true)?),
        ),
        ("categorical_generalized_cross_entropy", _) => {
            let q = options.number("q", 0.5, "above 0 and below 1", |q| q > 0.0 && q < 1.0)?;
            AnyLoss::of_labels(CategoricalGeneralizedCrossEntropy::new().q(q))
        }
        (_, loss) => loss,
    };
    let has_choice = loss.takes_logits().is_some() && !matches!(loss, AnyLoss::Ctc { .. });
    if !has_choice {
        return Ok(loss);
    }
    // It stands under its key in any case: whether the loss takes logits is asked of the loss.
    match options.get("from_logits") {
        Some(from_logits) => Ok(loss.from_logits(from_logits.bool()?)),
        None => Ok(loss),
    }
}
