//! Convolutions and poolings.

use refrain_burn::layers::{
    Conv1d, Conv2d, Conv2dTranspose, DepthwiseConv2d, Padding, SeparableConv1d, SeparableConv2d,
};
use refrain_burn::{Activation, Initializer, LayerConfig};
use refrain_core::Result;

use super::entry::{Entry, height_width};
use super::named;
use super::rules::{with_activity, with_rules};

/// A pooling of images with the entry's options.
macro_rules! pooling2d {
    ($layer:ident, $entry:expr) => {{
        let size = $entry.height_width_or("pool_size", 2.into())?;
        let strides = $entry.height_width_or("strides", size)?;
        let padding = crate::recipe::model::convolution::padding($entry)?;
        Ok(named!($entry, $layer::new(size).strides(strides).padding(padding)))
    }};
}

/// A pooling of sequences with the entry's options.
macro_rules! pooling1d {
    ($layer:ident, $entry:expr) => {{
        let size = $entry.usize_or("pool_size", 2, 1)?;
        let strides = $entry.usize_or("strides", size, 1)?;
        let padding = crate::recipe::model::convolution::padding($entry)?;
        Ok(named!($entry, $layer::new(size).strides(strides).padding(padding)))
    }};
}

pub(super) use {pooling1d, pooling2d};

pub(super) fn padding(entry: &mut Entry<'_, '_>) -> Result<Padding> {
    padding_of(entry, Padding::NAMES)
}

fn padding_of(entry: &mut Entry<'_, '_>, names: &[&str]) -> Result<Padding> {
    let known = |name: &str| Padding::from_name(name).filter(|_| names.contains(&name));
    entry.name_or("padding", Padding::Valid, names, known, |padding| padding.name())
}

/// A layer with the options that all convolutions have but for the kernel's.
macro_rules! convolution {
    ($entry:expr, $layer:expr) => {{
        let entry = &mut *$entry;
        let activation = entry.activation_or("activation", Activation::Linear)?;
        let use_bias = entry.bool_or("use_bias", true)?;
        let bias = entry.initializer_or("bias_initializer", Initializer::Zeros)?;
        let layer = $layer.activation(activation).use_bias(use_bias).bias_initializer(bias);
        let layer = with_rules!(entry, layer, bias_regularizer, bias_constraint);
        with_activity!(entry, layer)
    }};
}

/// A layer with the options of kernels for each channel, and of one across them.
macro_rules! separable {
    ($entry:expr, $layer:expr) => {{
        let entry = &mut *$entry;
        let depthwise = entry.initializer_or("depthwise_initializer", Initializer::GlorotUniform)?;
        let pointwise = entry.initializer_or("pointwise_initializer", Initializer::GlorotUniform)?;
        let layer = $layer
            .padding(padding(entry)?)
            .depth_multiplier(entry.usize_or("depth_multiplier", 1, 1)?)
            .depthwise_initializer(depthwise)
            .pointwise_initializer(pointwise);
        let layer = with_rules!(
            entry,
            layer,
            depthwise_regularizer,
            depthwise_constraint;
            pointwise_regularizer,
            pointwise_constraint
        );
        Ok(named!(entry, convolution!(entry, layer)))
    }};
}

/// A layer with the options of a `kernel`.
macro_rules! with_kernel {
    ($entry:expr, $layer:expr) => {{
        let entry = &mut *$entry;
        let kernel = entry.initializer_or("kernel_initializer", Initializer::GlorotUniform)?;
        let layer = $layer.kernel_initializer(kernel);
        with_rules!(entry, layer, kernel_regularizer, kernel_constraint)
    }};
}

pub(super) fn conv1d(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let filters = entry.count("filters", "filters = 32")?;
    let size = entry.count("kernel_size", "kernel_size = 3")?;
    let layer = Conv1d::new(filters, size)
        .strides(entry.usize_or("strides", 1, 1)?)
        .dilation_rate(entry.usize_or("dilation_rate", 1, 1)?)
        .padding(padding_of(entry, Padding::CONV1D_NAMES)?)
        .groups(entry.usize_or("groups", 1, 1)?);
    let layer = with_kernel!(entry, layer);
    Ok(named!(entry, convolution!(entry, layer)))
}

pub(super) fn conv2d(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let filters = entry.count("filters", "filters = 32")?;
    let size = height_width(&entry.require("kernel_size", "kernel_size = 3")?, 1)?;
    entry.note("kernel_size", size);
    let layer = Conv2d::new(filters, size)
        .strides(entry.height_width_or("strides", 1.into())?)
        .dilation_rate(entry.height_width_or("dilation_rate", 1.into())?)
        .padding(padding(entry)?)
        .groups(entry.usize_or("groups", 1, 1)?);
    let layer = with_kernel!(entry, layer);
    Ok(named!(entry, convolution!(entry, layer)))
}

pub(super) fn conv2d_transpose(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let filters = entry.count("filters", "filters = 32")?;
    let size = height_width(&entry.require("kernel_size", "kernel_size = 3")?, 1)?;
    entry.note("kernel_size", size);
    let mut layer = Conv2dTranspose::new(filters, size)
        .strides(entry.height_width_or("strides", 1.into())?)
        .dilation_rate(entry.height_width_or("dilation_rate", 1.into())?)
        .padding(padding(entry)?);
    if let Some(output_padding) = entry.get("output_padding") {
        layer = layer.output_padding(height_width(&output_padding, 0)?);
    }
    let layer = with_kernel!(entry, layer);
    Ok(named!(entry, convolution!(entry, layer)))
}

pub(super) fn depthwise_conv2d(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let size = height_width(&entry.require("kernel_size", "kernel_size = 3")?, 1)?;
    entry.note("kernel_size", size);
    let layer = DepthwiseConv2d::new(size)
        .strides(entry.height_width_or("strides", 1.into())?)
        .dilation_rate(entry.height_width_or("dilation_rate", 1.into())?)
        .padding(padding(entry)?)
        .depth_multiplier(entry.usize_or("depth_multiplier", 1, 1)?)
        .depthwise_initializer(
            entry.initializer_or("depthwise_initializer", Initializer::GlorotUniform)?,
        );
    let layer = with_rules!(entry, layer, depthwise_regularizer, depthwise_constraint);
    Ok(named!(entry, convolution!(entry, layer)))
}

pub(super) fn separable_conv1d(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let filters = entry.count("filters", "filters = 32")?;
    let size = entry.count("kernel_size", "kernel_size = 3")?;
    let layer = SeparableConv1d::new(filters, size)
        .strides(entry.usize_or("strides", 1, 1)?)
        .dilation_rate(entry.usize_or("dilation_rate", 1, 1)?);
    separable!(entry, layer)
}

pub(super) fn separable_conv2d(entry: &mut Entry<'_, '_>) -> Result<LayerConfig> {
    let filters = entry.count("filters", "filters = 32")?;
    let size = height_width(&entry.require("kernel_size", "kernel_size = 3")?, 1)?;
    entry.note("kernel_size", size);
    let layer = SeparableConv2d::new(filters, size)
        .strides(entry.height_width_or("strides", 1.into())?)
        .dilation_rate(entry.height_width_or("dilation_rate", 1.into())?);
    separable!(entry, layer)
}
