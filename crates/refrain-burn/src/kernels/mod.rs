//! What layers compute. Images are rows here, `[samples, channels × height × width]`.

mod composed;

use burn::tensor::Tensor;

use crate::layers::Windows;

/// The convolution of images, `[filters × height × width]` for each sample.
pub(crate) fn conv2d(
    x: Tensor<2>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    windows: &Windows,
    groups: usize,
) -> Tensor<2> {
    composed::conv2d(x, weight, bias, windows, groups)
}

/// The largest of each window.
pub(crate) fn max_pool2d(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    composed::max_pool2d(x, windows)
}

/// The mean of each window, without its padding.
pub(crate) fn average_pool2d(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    composed::average_pool2d(x, windows)
}
