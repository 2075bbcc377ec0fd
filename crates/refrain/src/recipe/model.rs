//! `[model]`: layers and initial weights.

use std::path::PathBuf;

use refrain_burn::layers::{self, Dense, Dropout, Flatten};
use refrain_burn::{Activation, Initializer, LayerConfig};
use refrain_core::Result;

use refrain_core::options::{Section, Value};

/// What `[model]` says.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) layers: Vec<LayerConfig>,
    /// As written: relative to the recipe's folder.
    pub(super) weights: Option<PathBuf>,
}

pub(super) fn read(section: &Section<'_>) -> Result<Model> {
    let value = section.require("layers", "layers = [{ type = \"flatten\" }, ..]")?;
    let items = value.items()?;
    if items.is_empty() {
        return Err(value.out_of_range("empty", "one layer or more"));
    }
    let layers = items.iter().enumerate().map(|(i, item)| layer(item, i)).collect::<Result<_>>()?;
    let weights = section.get("weights");
    let weights = weights.map(|file| file.str().map(PathBuf::from)).transpose()?;
    section.finish()?;
    Ok(Model { layers, weights })
}

fn layer(value: &Value<'_>, index: usize) -> Result<LayerConfig> {
    let section = value.section(&format!("layer {}", index + 1))?;
    let kind = section.require("type", "type = \"dense\"")?;
    let known = |name: &str| LayerConfig::TYPES.iter().copied().find(|known| *known == name);
    let kind = kind.look_up("layer type", LayerConfig::TYPES, known)?;
    let layer = match kind {
        "dense" => dense(&section)?,
        "dropout" => dropout(&section)?,
        "activation" => {
            let function = section.require("activation", "activation = \"relu\"")?;
            let layer = layers::Activation::new(activation(&function)?);
            match name(&section)? {
                Some(name) => layer.named(name),
                None => layer,
            }
            .into()
        }
        _ => {
            let layer = Flatten::new();
            match name(&section)? {
                Some(name) => layer.named(name),
                None => layer,
            }
            .into()
        }
    };
    section.finish()?;
    Ok(layer)
}

fn dense(section: &Section<'_>) -> Result<LayerConfig> {
    let mut layer = Dense::new(section.require("units", "units = 128")?.usize(1)?);
    if let Some(function) = section.get("activation") {
        layer = layer.activation(activation(&function)?);
    }
    if let Some(use_bias) = section.get("use_bias") {
        layer = layer.use_bias(use_bias.bool()?);
    }
    if let Some(kernel) = section.get("kernel_initializer") {
        layer = layer.kernel_initializer(initializer(&kernel)?);
    }
    if let Some(bias) = section.get("bias_initializer") {
        layer = layer.bias_initializer(initializer(&bias)?);
    }
    if let Some(name) = name(section)? {
        layer = layer.named(name);
    }
    Ok(layer.into())
}

fn dropout(section: &Section<'_>) -> Result<LayerConfig> {
    let rate = section.require("rate", "rate = 0.2")?;
    let rate = rate.f64_in("0 or more, and below 1", |rate| (0.0..1.0).contains(&rate))?;
    let layer = Dropout::new(rate);
    Ok(match name(section)? {
        Some(name) => layer.named(name),
        None => layer,
    }
    .into())
}

fn name(section: &Section<'_>) -> Result<Option<String>> {
    let Some(value) = section.get("name") else {
        return Ok(None);
    };
    let name = value.str()?;
    if name.is_empty() {
        return Err(value.out_of_range("empty", "a name"));
    }
    Ok(Some(name.to_owned()))
}

fn activation(value: &Value<'_>) -> Result<Activation> {
    let names: Vec<&str> = Activation::names().collect();
    value.look_up("activation", &names, Activation::from_name)
}

fn initializer(value: &Value<'_>) -> Result<Initializer> {
    let names: Vec<&str> = Initializer::names().collect();
    value.look_up("initializer", &names, Initializer::from_name)
}
