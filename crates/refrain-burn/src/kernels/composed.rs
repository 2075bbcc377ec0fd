//! The same in Burn's own operations: for devices that have no kernel of ours, and what our kernels
//! are tested against.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module;
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};

use super::conv2d::Conv2d;
use crate::layers::Windows;

pub(super) fn conv2d(
    x: Tensor<2>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    conv: &Conv2d,
) -> Tensor<2> {
    let Windows { strides, padding, dilation, .. } = conv.windows;
    let options = ConvOptions::new_with_padding(strides, padding, dilation, conv.groups);
    let x = rows(module::conv2d(images(x, &conv.windows), weight, bias, options));
    let x = if conv.relu { relu(x) } else { x };
    match &conv.pool {
        Some(pool) => max_pool2d(x, pool),
        None => x,
    }
}

pub(super) fn max_pool2d(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    let options = MaxPoolOptions::new(windows.size)
        .with_stride(windows.strides)
        .with_padding_pairs(windows.padding);
    rows(module::max_pool2d(images(x, windows), options))
}

pub(super) fn average_pool2d(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    let options = AvgPoolOptions::new(windows.size)
        .with_stride(windows.strides)
        .with_padding_pairs(windows.padding)
        .with_count_include_pad(false);
    rows(module::avg_pool2d(images(x, windows), options))
}

fn images(x: Tensor<2>, windows: &Windows) -> Tensor<4> {
    let [height, width] = windows.input;
    let samples = x.dims()[0];
    x.reshape([samples, windows.channels, height, width])
}

fn rows(x: Tensor<4>) -> Tensor<2> {
    let [samples, channels, height, width] = x.dims();
    x.reshape([samples, channels * height * width])
}
