//! `[model]`: layers and initial weights.

mod augmentation;
mod convolution;
mod entry;
mod other;
mod rules;
mod sequences;

use std::path::PathBuf;

use refrain_burn::LayerConfig;
use refrain_burn::layers::{
    AveragePooling1d, AveragePooling2d, BatchNormalization, Flatten, GlobalAveragePooling1d,
    GlobalAveragePooling2d, GlobalMaxPooling1d, GlobalMaxPooling2d, GroupNormalization,
    LayerNormalization, MaxPooling1d, MaxPooling2d, Softmax,
};
use refrain_core::Result;
use refrain_core::options::{Section, Value};

use entry::Entry;

/// The layer with the name that its entry gives it.
macro_rules! named {
    ($entry:expr, $layer:expr) => {{
        let layer = $layer;
        refrain_burn::LayerConfig::from(match $entry.name()? {
            Some(name) => layer.named(name),
            None => layer,
        })
    }};
}

use named;

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
    let Layers { layers, settings } = layers(&value, "")?;
    let weights = section.get("weights");
    let weights = weights.map(|file| file.str().map(PathBuf::from)).transpose()?;
    section.finish()?;
    Ok(Model { layers, settings, weights, leaves_weights_out: false })
}

/// A list of layers, with their options by dotted key.
struct Layers {
    layers: Vec<LayerConfig>,
    settings: Vec<(String, String)>,
}

/// `within`: the layer that holds them, for messages.
fn layers(value: &Value<'_>, within: &str) -> Result<Layers> {
    let items = value.items()?;
    if items.is_empty() {
        return Err(value.out_of_range("empty", "one layer or more"));
    }
    let (mut layers, mut settings) = (Vec::new(), Vec::new());
    for (i, item) in items.iter().enumerate() {
        let (layer, options) = layer(item, format!("{within}layer {}", i + 1))?;
        layers.push(layer);
        settings
            .extend(options.into_iter().map(|(key, value)| (format!("layers.{i}.{key}"), value)));
    }
    Ok(Layers { layers, settings })
}

/// A layer, with its options by dotted key. `label`: what it is called in messages.
fn layer(value: &Value<'_>, label: String) -> Result<(LayerConfig, Vec<(String, String)>)> {
    let section = value.section(&label)?;
    let kind = section.require("type", "type = \"dense\"")?;
    let known = |name: &str| LayerConfig::TYPES.iter().copied().find(|known| *known == name);
    let kind = kind.look_up("layer type", LayerConfig::TYPES, known)?;
    let mut entry = Entry::new(&section, label);
    let layer = of_kind(kind, &mut entry)?;
    section.finish()?;
    Ok((layer, entry.settings))
}

fn of_kind(kind: &str, entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    match kind {
        "dense" => other::dense(entry),
        "dropout" => other::dropout(entry),
        "activation" => other::activation(entry),
        "prelu" => other::prelu(entry),
        "leaky_relu" => other::leaky_relu(entry),
        "elu" => other::elu(entry),
        "relu" => other::relu(entry),
        "softmax" => Ok(named!(entry, Softmax::new())),
        "conv1d" => convolution::conv1d(entry),
        "conv2d" => convolution::conv2d(entry),
        "conv2d_transpose" => convolution::conv2d_transpose(entry),
        "depthwise_conv2d" => convolution::depthwise_conv2d(entry),
        "separable_conv1d" => convolution::separable_conv1d(entry),
        "separable_conv2d" => convolution::separable_conv2d(entry),
        "max_pooling1d" => convolution::pooling1d!(MaxPooling1d, entry),
        "average_pooling1d" => convolution::pooling1d!(AveragePooling1d, entry),
        "max_pooling2d" => convolution::pooling2d!(MaxPooling2d, entry),
        "average_pooling2d" => convolution::pooling2d!(AveragePooling2d, entry),
        "global_average_pooling1d" => Ok(named!(entry, GlobalAveragePooling1d::new())),
        "global_max_pooling1d" => Ok(named!(entry, GlobalMaxPooling1d::new())),
        "global_average_pooling2d" => Ok(named!(entry, GlobalAveragePooling2d::new())),
        "global_max_pooling2d" => Ok(named!(entry, GlobalMaxPooling2d::new())),
        "reshape" => other::reshape(entry),
        "permute" => other::permute(entry),
        "lstm" => sequences::lstm(entry),
        "gru" => sequences::gru(entry),
        "simple_rnn" => sequences::simple_rnn(entry),
        "bidirectional" => sequences::bidirectional(entry),
        "multi_head_attention" => sequences::multi_head_attention(entry),
        "embedding" => other::embedding(entry),
        "residual" => other::residual(entry),
        "spatial_dropout2d" => other::spatial_dropout2d(entry),
        "gaussian_noise" => other::gaussian_noise(entry),
        "rescaling" => other::rescaling(entry),
        "normalization" => other::normalization(entry),
        "layer_normalization" => {
            let layer = other::with_gamma_and_beta!(entry, LayerNormalization::new());
            Ok(named!(entry, layer))
        }
        "batch_normalization" => {
            let layer = other::with_gamma_and_beta!(entry, BatchNormalization::new());
            let momentum =
                entry.number_or("momentum", 0.99, "0 to 1", |x| (0.0..=1.0).contains(&x))?;
            Ok(named!(entry, layer.momentum(momentum)))
        }
        "group_normalization" => {
            let groups = entry.usize_or("groups", 32, 1)?;
            let layer = other::with_gamma_and_beta!(entry, GroupNormalization::new(groups));
            Ok(named!(entry, layer))
        }
        "rms_normalization" => other::rms_normalization(entry),
        "random_flip" => augmentation::random_flip(entry),
        "random_translation" => augmentation::random_translation(entry),
        "random_rotation" => augmentation::random_rotation(entry),
        "random_zoom" => augmentation::random_zoom(entry),
        _ => Ok(named!(entry, Flatten::new())),
    }
}
