//! Layers for any input.

use refrain_burn::layers::{
    Activation as ActivationLayer, Dense, Dropout, Elu, Embedding, GaussianNoise, LeakyRelu,
    Normalization, Permute, Prelu, Relu, Rescaling, Reshape, Residual, RmsNormalization,
    SpatialDropout2d,
};
use refrain_burn::{Activation, Initializer, LayerConfig};
use refrain_core::Result;
use refrain_core::options::Value;

use super::entry::{self, Entry};
use super::named;
use super::rules::{with_activity, with_rules};

const FINITE: &str = "a finite number";
const NOT_NEGATIVE: &str = "a finite number, 0 or more";

/// A layer with the options that all normalizations with `gamma` and `beta` have.
macro_rules! with_gamma_and_beta {
    ($entry:expr, $layer:expr) => {{
        let entry = &mut *$entry;
        let epsilon = crate::recipe::model::other::epsilon_or(entry, 1e-3)?;
        let layer = $layer
            .epsilon(epsilon)
            .center(entry.bool_or("center", true)?)
            .scale(entry.bool_or("scale", true)?)
            .beta_initializer(
                entry.initializer_or("beta_initializer", refrain_burn::Initializer::Zeros)?,
            )
            .gamma_initializer(
                entry.initializer_or("gamma_initializer", refrain_burn::Initializer::Ones)?,
            );
        crate::recipe::model::rules::with_rules!(
            entry,
            layer,
            beta_regularizer,
            beta_constraint;
            gamma_regularizer,
            gamma_constraint
        )
    }};
}

pub(super) use with_gamma_and_beta;

pub(super) fn dense(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let layer = Dense::new(entry.count("units", "units = 128")?)
        .activation(entry.activation_or("activation", Activation::Linear)?)
        .use_bias(entry.bool_or("use_bias", true)?)
        .kernel_initializer(entry.initializer_or("kernel_initializer", Initializer::GlorotUniform)?)
        .bias_initializer(entry.initializer_or("bias_initializer", Initializer::Zeros)?);
    let layer = with_rules!(
        entry,
        layer,
        kernel_regularizer,
        kernel_constraint;
        bias_regularizer,
        bias_constraint
    );
    Ok(named!(entry, with_activity!(entry, layer)))
}

pub(super) fn prelu(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let alpha = entry.initializer_or("alpha_initializer", Initializer::Zeros)?;
    let mut layer = Prelu::new().alpha_initializer(alpha);
    if let Some(axes) = entry.get("shared_axes") {
        let axes = match axes.is_array() {
            true => axes.items()?.iter().map(|axis| axis.usize(1)).collect::<Result<_>>()?,
            false => vec![axes.usize(1)?],
        };
        layer = layer.shared_axes(axes);
    }
    let layer = with_rules!(entry, layer, alpha_regularizer, alpha_constraint);
    Ok(named!(entry, layer))
}

pub(super) fn leaky_relu(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let slope = entry.number_or("negative_slope", 0.3, NOT_NEGATIVE, entry::is_not_negative)?;
    Ok(named!(entry, LeakyRelu::new().negative_slope(slope)))
}

pub(super) fn elu(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let alpha = entry.number_or("alpha", 1.0, NOT_NEGATIVE, entry::is_not_negative)?;
    Ok(named!(entry, Elu::new().alpha(alpha)))
}

pub(super) fn relu(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let mut layer = Relu::new()
        .negative_slope(entry.number_or(
            "negative_slope",
            0.0,
            NOT_NEGATIVE,
            entry::is_not_negative,
        )?)
        .threshold(entry.number_or("threshold", 0.0, NOT_NEGATIVE, entry::is_not_negative)?);
    if let Some(largest) = entry.get("max_value") {
        layer = layer.max_value(largest.f64_in(NOT_NEGATIVE, entry::is_not_negative)?);
    }
    Ok(named!(entry, layer))
}

pub(super) fn activation(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let function = entry.require("activation", "activation = \"relu\"")?;
    Ok(named!(entry, ActivationLayer::new(entry::activation(&function)?)))
}

pub(super) fn dropout(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    Ok(named!(entry, Dropout::new(rate(entry)?)))
}

pub(super) fn spatial_dropout2d(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    Ok(named!(entry, SpatialDropout2d::new(rate(entry)?)))
}

fn rate(entry: &Entry<'_, '_>) -> Result<f64> {
    let rate = entry.require("rate", "rate = 0.2")?;
    rate.f64_in("0 or more, and below 1", |rate| (0.0..1.0).contains(&rate))
}

pub(super) fn gaussian_noise(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let stddev = entry.require("stddev", "stddev = 0.1")?;
    let stddev = stddev.f64_in("0 to 1", |stddev| (0.0..=1.0).contains(&stddev))?;
    Ok(named!(entry, GaussianNoise::new(stddev)))
}

pub(super) fn embedding(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let input_dim = entry.count("input_dim", "input_dim = 1000")?;
    let output_dim = entry.count("output_dim", "output_dim = 64")?;
    let table = entry.initializer_or("embeddings_initializer", Initializer::RandomUniform)?;
    let layer = Embedding::new(input_dim, output_dim).embeddings_initializer(table);
    let layer = with_rules!(entry, layer, embeddings_regularizer, embeddings_constraint);
    Ok(named!(entry, layer))
}

pub(super) fn rescaling(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let scale = entry.require("scale", "scale = 2.0")?.f64_in(FINITE, f64::is_finite)?;
    let offset = entry.number_or("offset", 0.0, FINITE, f64::is_finite)?;
    Ok(named!(entry, Rescaling::new(scale).offset(offset)))
}

pub(super) fn residual(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let value = entry.require("layers", "layers = [{ type = \"dense\", units = 64 }]")?;
    let super::Layers { layers, settings } = super::layers(&value, &format!("{}, ", entry.label))?;
    entry.settings.extend(settings);
    Ok(named!(entry, Residual::new(layers)))
}

pub(super) fn normalization(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let layer = Normalization::new().invert(entry.bool_or("invert", false)?);
    let layer = match (entry.get("mean"), entry.get("variance")) {
        (None, None) => layer,
        (Some(mean), Some(variance)) => {
            let mean = numbers(&mean, FINITE, f64::is_finite)?;
            let allowed = "a finite number, 0 or more";
            layer.statistics(mean, numbers(&variance, allowed, entry::is_not_negative)?)
        }
        (Some(given), None) => {
            return Err(given.error("`mean` is given without `variance`; give both, or neither"));
        }
        (None, Some(given)) => {
            return Err(given.error("`variance` is given without `mean`; give both, or neither"));
        }
    };
    Ok(named!(entry, layer))
}

/// One number, or an array.
fn numbers(value: &Value<'_>, allowed: &str, is_allowed: fn(f64) -> bool) -> Result<Vec<f32>> {
    let number = |value: &Value<'_>| {
        value.f64_in(allowed, |x| is_allowed(x) && (x as f32).is_finite()).map(|x| x as f32)
    };
    if value.is_array() {
        value.items()?.iter().map(number).collect()
    } else {
        Ok(vec![number(value)?])
    }
}

pub(super) fn rms_normalization(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let epsilon = epsilon_or(entry, 1e-6)?;
    Ok(named!(entry, RmsNormalization::new().epsilon(epsilon)))
}

pub(super) fn epsilon_or(entry: &mut Entry<'_, '_>, default: f64) -> Result<f64> {
    entry.number_or("epsilon", default, "a finite number above 0", |epsilon| {
        epsilon.is_finite() && epsilon > 0.0
    })
}

pub(super) fn reshape(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let value = entry.require("target_shape", "target_shape = [28, 28]")?;
    let length = |value: &Value<'_>| {
        let allowed = "a whole number, 1 or more, or -1 for what is left";
        let length = value.f64_in(allowed, |x| x == -1.0 || (x >= 1.0 && x.fract() == 0.0))?;
        Ok(length as isize)
    };
    let target = value.items()?.iter().map(length).collect::<Result<Vec<_>>>()?;
    Ok(named!(entry, Reshape::new(target)))
}

pub(super) fn permute(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let value = entry.require("dims", "dims = [2, 1]")?;
    let dims = value.items()?.iter().map(|axis| axis.usize(1)).collect::<Result<Vec<_>>>()?;
    Ok(named!(entry, Permute::new(dims)))
}
