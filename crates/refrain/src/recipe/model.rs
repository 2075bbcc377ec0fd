//! `[model]`: layers and initial weights.

use std::path::PathBuf;

use refrain_burn::layers::{
    self, AveragePooling2d, BatchNormalization, Conv2d, Dense, DepthwiseConv2d, Dropout, Embedding,
    Flatten, GaussianNoise, GlobalAveragePooling2d, GlobalMaxPooling2d, GroupNormalization, Gru,
    HeightWidth, LayerNormalization, Lstm, MaxPooling2d, Padding, Permute, Rescaling, Reshape,
    RmsNormalization, SimpleRnn, SpatialDropout2d,
};
use refrain_burn::{Activation, Initializer, LayerConfig};
use refrain_core::Result;

use refrain_core::options::{Section, Value};

/// The layer with the name that the section gives it.
macro_rules! named {
    ($layer:expr, $section:expr) => {{
        let layer = $layer;
        LayerConfig::from(match name($section)? {
            Some(name) => layer.named(name),
            None => layer,
        })
    }};
}

/// A pooling with the section's options.
macro_rules! pooling {
    ($layer:ident, $section:expr) => {{
        let section = $section;
        let size = section.get("pool_size");
        let size = size.map_or(Ok(HeightWidth::from(2)), |value| height_width(&value))?;
        let strides = section.get("strides").map_or(Ok(size), |value| height_width(&value))?;
        let padding = section.get("padding").map_or(Ok(Padding::Valid), |value| padding(&value))?;
        let layer = $layer::new(size).strides(strides).padding(padding);
        let options = vec![
            ("pool_size", size.to_string()),
            ("strides", strides.to_string()),
            ("padding", padding.name().to_owned()),
        ];
        (named!(layer, section), options)
    }};
}

/// A recurrent layer with the section's options that all of them have.
macro_rules! recurrent {
    ($layer:ident, $section:expr) => {{
        let section = $section;
        let units = section.require("units", "units = 128")?.usize(1)?;
        let function = activation_or(section, "activation", Activation::Tanh)?;
        let use_bias = bool_or(section, "use_bias", true)?;
        let kernel = initializer_or(section, "kernel_initializer", Initializer::GlorotUniform)?;
        let recurrent = initializer_or(section, "recurrent_initializer", Initializer::Orthogonal)?;
        let bias = initializer_or(section, "bias_initializer", Initializer::Zeros)?;
        let return_sequences = bool_or(section, "return_sequences", false)?;
        let go_backwards = bool_or(section, "go_backwards", false)?;
        let layer = $layer::new(units)
            .activation(function)
            .use_bias(use_bias)
            .kernel_initializer(kernel)
            .recurrent_initializer(recurrent)
            .bias_initializer(bias)
            .return_sequences(return_sequences)
            .go_backwards(go_backwards);
        let options = vec![
            ("activation", function.name().to_owned()),
            ("use_bias", use_bias.to_string()),
            ("kernel_initializer", kernel.name().to_owned()),
            ("recurrent_initializer", recurrent.name().to_owned()),
            ("bias_initializer", bias.name().to_owned()),
            ("return_sequences", return_sequences.to_string()),
            ("go_backwards", go_backwards.to_string()),
        ];
        (layer, options)
    }};
}

/// A layer with the section's options that all normalizations with `gamma` and `beta` have.
macro_rules! normalization {
    ($layer:expr, $section:expr) => {{
        let section = $section;
        let epsilon = epsilon_or(section, 1e-3)?;
        let center = bool_or(section, "center", true)?;
        let scale = bool_or(section, "scale", true)?;
        let beta = initializer_or(section, "beta_initializer", Initializer::Zeros)?;
        let gamma = initializer_or(section, "gamma_initializer", Initializer::Ones)?;
        let layer = $layer
            .epsilon(epsilon)
            .center(center)
            .scale(scale)
            .beta_initializer(beta)
            .gamma_initializer(gamma);
        let options = vec![
            ("epsilon", epsilon.to_string()),
            ("center", center.to_string()),
            ("scale", scale.to_string()),
            ("beta_initializer", beta.name().to_owned()),
            ("gamma_initializer", gamma.name().to_owned()),
        ];
        (layer, options)
    }};
}

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
    let plain = |layer: LayerConfig| (layer, Options::new());
    let (layer, options) = match kind {
        "dense" => dense(&section)?,
        "dropout" => plain(dropout(&section)?),
        "activation" => {
            let function = section.require("activation", "activation = \"relu\"")?;
            plain(named!(layers::Activation::new(activation(&function)?), &section))
        }
        "conv2d" => conv2d(&section)?,
        "depthwise_conv2d" => depthwise_conv2d(&section)?,
        "max_pooling2d" => pooling!(MaxPooling2d, &section),
        "average_pooling2d" => pooling!(AveragePooling2d, &section),
        "global_average_pooling2d" => plain(named!(GlobalAveragePooling2d::new(), &section)),
        "global_max_pooling2d" => plain(named!(GlobalMaxPooling2d::new(), &section)),
        "reshape" => plain(reshape(&section)?),
        "permute" => plain(permute(&section)?),
        "lstm" => lstm(&section)?,
        "gru" => gru(&section)?,
        "embedding" => embedding(&section)?,
        "spatial_dropout2d" => {
            let rate = rate(&section)?;
            plain(named!(SpatialDropout2d::new(rate), &section))
        }
        "gaussian_noise" => {
            let stddev = section.require("stddev", "stddev = 0.1")?;
            let stddev = stddev.f64_in("0 to 1", |stddev| (0.0..=1.0).contains(&stddev))?;
            plain(named!(GaussianNoise::new(stddev), &section))
        }
        "rescaling" => rescaling(&section)?,
        "layer_normalization" => {
            let (layer, options) = normalization!(LayerNormalization::new(), &section);
            (named!(layer, &section), options)
        }
        "batch_normalization" => batch_normalization(&section)?,
        "group_normalization" => group_normalization(&section)?,
        "rms_normalization" => rms_normalization(&section)?,
        "simple_rnn" => {
            let (layer, options) = recurrent!(SimpleRnn, &section);
            (named!(layer, &section), options)
        }
        _ => plain(named!(Flatten::new(), &section)),
    };
    section.finish()?;
    Ok((layer, options))
}

fn dense(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let units = section.require("units", "units = 128")?.usize(1)?;
    let Affine { function, use_bias, kernel, bias, options } = affine(section)?;
    let layer = Dense::new(units)
        .activation(function)
        .use_bias(use_bias)
        .kernel_initializer(kernel)
        .bias_initializer(bias);
    Ok((named!(layer, section), options))
}

/// What layers have in common that multiply by weights.
struct Affine {
    function: Activation,
    use_bias: bool,
    kernel: Initializer,
    bias: Initializer,
    options: Options,
}

fn affine(section: &Section<'_>) -> Result<Affine> {
    let function = activation_or(section, "activation", Activation::Linear)?;
    let use_bias = bool_or(section, "use_bias", true)?;
    let kernel = initializer_or(section, "kernel_initializer", Initializer::GlorotUniform)?;
    let bias = initializer_or(section, "bias_initializer", Initializer::Zeros)?;
    let options = vec![
        ("activation", function.name().to_owned()),
        ("use_bias", use_bias.to_string()),
        ("kernel_initializer", kernel.name().to_owned()),
        ("bias_initializer", bias.name().to_owned()),
    ];
    Ok(Affine { function, use_bias, kernel, bias, options })
}

fn dropout(section: &Section<'_>) -> Result<LayerConfig> {
    let rate = rate(section)?;
    Ok(named!(Dropout::new(rate), section))
}

fn rate(section: &Section<'_>) -> Result<f64> {
    let rate = section.require("rate", "rate = 0.2")?;
    rate.f64_in("0 or more, and below 1", |rate| (0.0..1.0).contains(&rate))
}

fn embedding(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let input_dim = section.require("input_dim", "input_dim = 1000")?.usize(1)?;
    let output_dim = section.require("output_dim", "output_dim = 64")?.usize(1)?;
    let table = initializer_or(section, "embeddings_initializer", Initializer::RandomUniform)?;
    let layer = Embedding::new(input_dim, output_dim).embeddings_initializer(table);
    let options = vec![("embeddings_initializer", table.name().to_owned())];
    Ok((named!(layer, section), options))
}

fn rescaling(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let allowed = "a finite number";
    let scale = section.require("scale", "scale = 2.0")?.f64_in(allowed, f64::is_finite)?;
    let offset = section.get("offset");
    let offset = offset.map_or(Ok(0.0), |value| value.f64_in(allowed, f64::is_finite))?;
    let options = vec![("offset", offset.to_string())];
    Ok((named!(Rescaling::new(scale).offset(offset), section), options))
}

fn conv2d(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let filters = section.require("filters", "filters = 32")?.usize(1)?;
    let size = height_width(&section.require("kernel_size", "kernel_size = 3")?)?;
    let one = || HeightWidth::from(1);
    let strides = section.get("strides").map_or(Ok(one()), |value| height_width(&value))?;
    let dilation = section.get("dilation_rate").map_or(Ok(one()), |value| height_width(&value))?;
    let padding = section.get("padding").map_or(Ok(Padding::Valid), |value| padding(&value))?;
    let groups = section.get("groups").map_or(Ok(1), |value| value.usize(1))?;
    let Affine { function, use_bias, kernel, bias, mut options } = affine(section)?;
    options.extend([
        ("kernel_size", size.to_string()),
        ("strides", strides.to_string()),
        ("padding", padding.name().to_owned()),
        ("dilation_rate", dilation.to_string()),
        ("groups", groups.to_string()),
    ]);
    let layer = Conv2d::new(filters, size)
        .strides(strides)
        .padding(padding)
        .dilation_rate(dilation)
        .groups(groups)
        .activation(function)
        .use_bias(use_bias)
        .kernel_initializer(kernel)
        .bias_initializer(bias);
    Ok((named!(layer, section), options))
}

fn depthwise_conv2d(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let size = height_width(&section.require("kernel_size", "kernel_size = 3")?)?;
    let one = || HeightWidth::from(1);
    let strides = section.get("strides").map_or(Ok(one()), |value| height_width(&value))?;
    let dilation = section.get("dilation_rate").map_or(Ok(one()), |value| height_width(&value))?;
    let padding = section.get("padding").map_or(Ok(Padding::Valid), |value| padding(&value))?;
    let multiplier = section.get("depth_multiplier").map_or(Ok(1), |value| value.usize(1))?;
    let function = activation_or(section, "activation", Activation::Linear)?;
    let use_bias = bool_or(section, "use_bias", true)?;
    let kernel = initializer_or(section, "depthwise_initializer", Initializer::GlorotUniform)?;
    let bias = initializer_or(section, "bias_initializer", Initializer::Zeros)?;
    let options = vec![
        ("kernel_size", size.to_string()),
        ("strides", strides.to_string()),
        ("padding", padding.name().to_owned()),
        ("dilation_rate", dilation.to_string()),
        ("depth_multiplier", multiplier.to_string()),
        ("activation", function.name().to_owned()),
        ("use_bias", use_bias.to_string()),
        ("depthwise_initializer", kernel.name().to_owned()),
        ("bias_initializer", bias.name().to_owned()),
    ];
    let layer = DepthwiseConv2d::new(size)
        .strides(strides)
        .padding(padding)
        .dilation_rate(dilation)
        .depth_multiplier(multiplier)
        .activation(function)
        .use_bias(use_bias)
        .depthwise_initializer(kernel)
        .bias_initializer(bias);
    Ok((named!(layer, section), options))
}

fn lstm(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let (layer, mut options) = recurrent!(Lstm, section);
    let gates = activation_or(section, "recurrent_activation", Activation::Sigmoid)?;
    let unit_forget_bias = bool_or(section, "unit_forget_bias", true)?;
    options.extend([
        ("recurrent_activation", gates.name().to_owned()),
        ("unit_forget_bias", unit_forget_bias.to_string()),
    ]);
    let layer = layer.recurrent_activation(gates).unit_forget_bias(unit_forget_bias);
    Ok((named!(layer, section), options))
}

fn gru(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let (layer, mut options) = recurrent!(Gru, section);
    let gates = activation_or(section, "recurrent_activation", Activation::Sigmoid)?;
    let reset_after = bool_or(section, "reset_after", true)?;
    options.extend([
        ("recurrent_activation", gates.name().to_owned()),
        ("reset_after", reset_after.to_string()),
    ]);
    let layer = layer.recurrent_activation(gates).reset_after(reset_after);
    Ok((named!(layer, section), options))
}

fn batch_normalization(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let (layer, mut options) = normalization!(BatchNormalization::new(), section);
    let momentum = section.get("momentum").map_or(Ok(0.99), |value| {
        value.f64_in("0 to 1", |momentum| (0.0..=1.0).contains(&momentum))
    })?;
    options.push(("momentum", momentum.to_string()));
    Ok((named!(layer.momentum(momentum), section), options))
}

fn group_normalization(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let groups = section.get("groups").map_or(Ok(32), |value| value.usize(1))?;
    let (layer, mut options) = normalization!(GroupNormalization::new(groups), section);
    options.push(("groups", groups.to_string()));
    Ok((named!(layer, section), options))
}

fn rms_normalization(section: &Section<'_>) -> Result<(LayerConfig, Options)> {
    let epsilon = epsilon_or(section, 1e-6)?;
    let options = vec![("epsilon", epsilon.to_string())];
    Ok((named!(RmsNormalization::new().epsilon(epsilon), section), options))
}

fn reshape(section: &Section<'_>) -> Result<LayerConfig> {
    let value = section.require("target_shape", "target_shape = [28, 28]")?;
    let length = |value: &Value<'_>| {
        let allowed = "a whole number, 1 or more, or -1 for what is left";
        let length = value.f64_in(allowed, |x| x == -1.0 || (x >= 1.0 && x.fract() == 0.0))?;
        Ok(length as isize)
    };
    let target = value.items()?.iter().map(length).collect::<Result<Vec<_>>>()?;
    Ok(named!(Reshape::new(target), section))
}

fn permute(section: &Section<'_>) -> Result<LayerConfig> {
    let value = section.require("dims", "dims = [2, 1]")?;
    let dims = value.items()?.iter().map(|axis| axis.usize(1)).collect::<Result<Vec<_>>>()?;
    Ok(named!(Permute::new(dims), section))
}

/// `3`, or `[3, 5]`: height and width.
fn height_width(value: &Value<'_>) -> Result<HeightWidth> {
    if !value.is_array() {
        return Ok(value.usize(1)?.into());
    }
    match value.items()?.as_slice() {
        [height, width] => Ok([height.usize(1)?, width.usize(1)?].into()),
        items => Err(value.out_of_range(
            format!("an array of {}", items.len()),
            "a whole number, or two of them: [height, width]",
        )),
    }
}

fn padding(value: &Value<'_>) -> Result<Padding> {
    value.look_up("padding", Padding::NAMES, Padding::from_name)
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

fn epsilon_or(section: &Section<'_>, default: f64) -> Result<f64> {
    section.get("epsilon").map_or(Ok(default), |value| {
        value.f64_in("a finite number above 0", |epsilon| epsilon.is_finite() && epsilon > 0.0)
    })
}

fn bool_or(section: &Section<'_>, key: &'static str, default: bool) -> Result<bool> {
    section.get(key).map_or(Ok(default), |value| value.bool())
}

fn activation_or(
    section: &Section<'_>,
    key: &'static str,
    default: Activation,
) -> Result<Activation> {
    section.get(key).map_or(Ok(default), |value| activation(&value))
}

fn initializer_or(
    section: &Section<'_>,
    key: &'static str,
    default: Initializer,
) -> Result<Initializer> {
    section.get(key).map_or(Ok(default), |value| initializer(&value))
}

fn activation(value: &Value<'_>) -> Result<Activation> {
    let names: Vec<&str> = Activation::names().collect();
    value.look_up("activation", &names, Activation::from_name)
}

fn initializer(value: &Value<'_>) -> Result<Initializer> {
    let names: Vec<&str> = Initializer::names().collect();
    value.look_up("initializer", &names, Initializer::from_name)
}
