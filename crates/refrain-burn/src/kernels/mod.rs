//! What layers compute. Images are rows here, `[samples, channels × height × width]`.

#[macro_use]
mod tiles;
mod columns;
mod composed;
mod conv2d;
mod flex;
mod functions;
mod panels;
mod pool2d;
mod product;
mod recurrence;
mod sparse_conv2d;
#[cfg(test)]
mod tests;
mod transpose;

use burn::tensor::{Int, Tensor, activation};

use crate::layers::Windows;

pub(crate) use conv2d::Conv2d;
pub(crate) use recurrence::{Cell, Recurrence};

/// `relu(x × weight + bias)`, or without `relu`: `[samples, inputs]` in, `[samples, units]` out.
pub(crate) fn dense(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    relu: bool,
) -> Tensor<2> {
    flex::dense(&x, &weight, bias.as_ref(), relu)
        .unwrap_or_else(|| composed::dense(x, weight, bias, relu))
}

/// Minus the logarithm of the softmax of `logits` `[samples, classes]` at each sample's label:
/// `[samples]`.
pub(crate) fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    flex::cross_entropy(&logits, &labels).unwrap_or_else(|| composed::cross_entropy(logits, labels))
}

/// The softmax along the last axis.
pub(crate) fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    flex::softmax(&x).unwrap_or_else(|| activation::softmax(x, D.saturating_sub(1)))
}

/// The convolution of images and what follows it.
pub(crate) fn conv2d(
    x: Tensor<2>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    conv: &Conv2d,
) -> Tensor<2> {
    flex::conv2d(&x, &weight, bias.as_ref(), conv)
        .unwrap_or_else(|| composed::conv2d(x, weight, bias, conv))
}

/// The transposed convolution: what the convolution that `conv` describes would give back as the
/// gradient of its input, were `x` that of its output.
pub(crate) fn conv2d_transpose(x: Tensor<2>, weight: Tensor<4>, conv: &Conv2d) -> Tensor<2> {
    flex::conv2d_transpose(&x, &weight, conv)
        .unwrap_or_else(|| composed::conv2d_transpose(x, weight, conv))
}

/// The largest of each window.
pub(crate) fn max_pool2d(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    composed::max_pool2d(x, windows)
}

/// The mean of each window, without its padding.
pub(crate) fn average_pool2d(x: Tensor<2>, windows: &Windows) -> Tensor<2> {
    composed::average_pool2d(x, windows)
}

/// The outputs of all steps, `[samples, steps × units]`, of a recurrent layer: `x` is
/// `[samples × steps, features]`. `biases` has a row for the product with the kernel, and maybe one for
/// that with the recurrent kernel.
pub(crate) fn recurrence(
    x: Tensor<2>,
    kernel: Tensor<2>,
    recurrent: Tensor<2>,
    biases: Option<Tensor<2>>,
    recurrence: &Recurrence,
) -> Tensor<2> {
    let [_, width] = kernel.dims();
    let rows = biases.as_ref().map_or(0, |biases| biases.dims()[0]);
    let row = |at: usize| {
        let biases = biases.clone().filter(|_| at < rows);
        biases.map(|biases| biases.narrow(0, at, 1).reshape([width]))
    };
    let (bias, recurrent_bias) = (row(0), row(1));
    let at = flex::place_of_recurrence(&x, &recurrent, bias.as_ref(), recurrence);
    let Some(at) = at else {
        let x = dense(x, kernel, bias, false);
        return composed::recurrence(x, recurrent, recurrent_bias, recurrence);
    };
    // Where both products are added, so may the bias be later: a pass less over all steps' inputs.
    let later = rows == 1 && recurrence.cell.adds_products();
    let (early, late) = if later { (None, bias) } else { (bias, recurrent_bias) };
    flex::recurrence(at, dense(x, kernel, early, false), recurrent, late, recurrence)
}
