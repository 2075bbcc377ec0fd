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
    /// Options of the layers that have defaults, by dotted key below `model`.
    pub(super) settings: Vec<(String, String)>,
    /// As written: relative to the recipe's folder.
    pub(super) weights: Option<PathBuf>,
    /// The run goes on from a checkpoint: the file is not read.
    pub(super) leaves_weights_out: bool,
}

impl Model {
    /// The file of initial weights that is read.
    pub(super) fn read_weights(&self) -> Option<&PathBuf> {
        self.weights.as_ref().filter(|_| !self.leaves_weights_out)
    }
}

pub(super) fn read(section: &Section<'_>) -> Result<Model> {
    let value = section.require("layers", "layers = [{ type = \"flatten\" }, ..]")?;
    let items = value.items()?;
    if items.is_empty() {
        return Err(value.out_of_range("empty", "one layer or more"));
    }
    let mut layers = Vec::new();
    let mut settings = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let (layer, options) = layer(item, i)?;
        layers.push(layer);
        settings
            .extend(options.into_iter().map(|(key, value)| (format!("layers.{i}.{key}"), value)));
    }
    let weights = section.get("weights");
    let weights = weights.map(|file| file.str().map(PathBuf::from)).transpose()?;
    section.finish()?;
    Ok(Model { layers, settings, weights, leaves_weights_out: false })
}

/// Options with defaults, as they are.
type Options = Vec<(&'static str, String)>;

fn layer(value: &Value<'_>, index: usize) -> Result<(LayerConfig, Options)> {
    let section = value.section(&format!("layer {}", index + 1))?;
    let kind = section.require("type", "type = \"dense\"")?;
    let known = |name: &str| LayerConfig::TYPES.iter().copied().find(|known| *known == name);
    let kind = kind.look_up("layer type", LayerConfig::TYPES, known)?;
    let mut options = Options::new();
    let layer = match kind {
        "dense" => {
            let (layer, of_layer) = dense(&section)?;
            options = of_layer;
            layer
        }
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
    Ok((layer, options))
}

fn dense(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let units = section.require("units", "units = 128")?.usize(1)?;
    let function = section.get("activation");
    let function = function.map_or(Ok(Activation::Linear), |value| activation(&value))?;
    let use_bias = section.get("use_bias").map_or(Ok(true), |value| value.bool())?;
    let kernel = section.get("kernel_initializer");
    let kernel = kernel.map_or(Ok(Initializer::GlorotUniform), |value| initializer(&value))?;
    let bias = section.get("bias_initializer");
    let bias = bias.map_or(Ok(Initializer::Zeros), |value| initializer(&value))?;
    let mut layer = Dense::new(units)
        .activation(function)
        .use_bias(use_bias)
        .kernel_initializer(kernel)
        .bias_initializer(bias);
    if let Some(name) = name(section)? {
        layer = layer.named(name);
    }
    let options = vec![
        ("activation", function.name().to_owned()),
        ("use_bias", use_bias.to_string()),
        ("kernel_initializer", kernel.name().to_owned()),
        ("bias_initializer", bias.name().to_owned()),
    ];
    Ok((layer.into(), options))
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
