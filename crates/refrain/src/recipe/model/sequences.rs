//! Layers for sequences.

use refrain_burn::layers::{Bidirectional, Gru, Lstm, MergeMode, MultiHeadAttention, SimpleRnn};
use refrain_burn::{Activation, Initializer, LayerConfig};
use refrain_core::Result;

use super::entry::Entry;
use super::named;
use super::rules::with_rules;

/// A recurrent layer with the options that all of them have.
macro_rules! recurrent {
    ($layer:ident, $entry:expr) => {{
        let entry = &mut *$entry;
        let layer = $layer::new(entry.count("units", "units = 128")?)
            .activation(entry.activation_or("activation", Activation::Tanh)?)
            .use_bias(entry.bool_or("use_bias", true)?)
            .kernel_initializer(
                entry.initializer_or("kernel_initializer", Initializer::GlorotUniform)?,
            )
            .recurrent_initializer(
                entry.initializer_or("recurrent_initializer", Initializer::Orthogonal)?,
            )
            .bias_initializer(entry.initializer_or("bias_initializer", Initializer::Zeros)?)
            .return_sequences(entry.bool_or("return_sequences", false)?)
            .go_backwards(entry.bool_or("go_backwards", false)?);
        with_rules!(
            entry,
            layer,
            kernel_regularizer,
            kernel_constraint;
            recurrent_regularizer,
            recurrent_constraint;
            bias_regularizer,
            bias_constraint
        )
    }};
}

pub(super) fn lstm(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let layer = recurrent!(Lstm, entry)
        .recurrent_activation(entry.activation_or("recurrent_activation", Activation::Sigmoid)?)
        .unit_forget_bias(entry.bool_or("unit_forget_bias", true)?);
    Ok(named!(entry, layer))
}

pub(super) fn gru(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let layer = recurrent!(Gru, entry)
        .recurrent_activation(entry.activation_or("recurrent_activation", Activation::Sigmoid)?)
        .reset_after(entry.bool_or("reset_after", true)?);
    Ok(named!(entry, layer))
}

pub(super) fn simple_rnn(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let layer = recurrent!(SimpleRnn, entry);
    Ok(named!(entry, layer))
}

pub(super) fn bidirectional(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    const ALLOWED: &str = "a layer of type lstm, gru or simple_rnn";
    let value = entry.require("layer", "layer = { type = \"lstm\", units = 64 }")?;
    let (layer, options) = super::layer(&value, format!("{}, its layer", entry.label))?;
    entry.settings.extend(options.into_iter().map(|(key, value)| (format!("layer.{key}"), value)));
    let layer = match layer {
        LayerConfig::Lstm(layer) => Bidirectional::new(layer),
        LayerConfig::Gru(layer) => Bidirectional::new(layer),
        LayerConfig::SimpleRnn(layer) => Bidirectional::new(layer),
        other => return Err(value.out_of_range(other.type_name(), ALLOWED)),
    };
    let mode = entry.name_or(
        "merge_mode",
        MergeMode::Concat,
        MergeMode::NAMES,
        MergeMode::from_name,
        |mode| mode.name(),
    )?;
    Ok(named!(entry, layer.merge_mode(mode)))
}

pub(super) fn multi_head_attention(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let heads = entry.count("num_heads", "num_heads = 4")?;
    let key_dim = entry.count("key_dim", "key_dim = 16")?;
    let mut layer = MultiHeadAttention::new(heads, key_dim)
        .value_dim(entry.usize_or("value_dim", key_dim, 1)?)
        .dropout(entry.number_or("dropout", 0.0, "0 or more, and below 1", |rate| {
            (0.0..1.0).contains(&rate)
        })?)
        .use_bias(entry.bool_or("use_bias", true)?)
        .use_causal_mask(entry.bool_or("use_causal_mask", false)?)
        .kernel_initializer(entry.initializer_or("kernel_initializer", Initializer::GlorotUniform)?)
        .bias_initializer(entry.initializer_or("bias_initializer", Initializer::Zeros)?);
    if let Some(output_shape) = entry.get("output_shape") {
        layer = layer.output_shape(output_shape.usize(1)?);
    }
    let layer = with_rules!(
        entry,
        layer,
        kernel_regularizer,
        kernel_constraint;
        bias_regularizer,
        bias_constraint
    );
    Ok(named!(entry, layer))
}
