//! The same in Burn's own operations: for devices that have no kernel of ours, and what our kernels
//! are tested against.

use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::module;
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{Int, Tensor};

use super::conv2d::Conv2d;
use super::recurrence::{Cell, Recurrence};
use crate::layers::Windows;

pub(super) fn dense(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    with_relu: bool,
) -> Tensor<2> {
    let x = module::linear(x, weight, bias);
    if with_relu { relu(x) } else { x }
}

pub(super) fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1)).squeeze_dim::<1>(1).neg()
}

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

pub(super) fn conv2d_transpose(x: Tensor<2>, weight: Tensor<4>, conv: &Conv2d) -> Tensor<2> {
    let Windows { input, output: [height, width], strides, dilation, padding, .. } = conv.windows;
    let options = ConvTransposeOptions::new(strides, [0, 0], [0, 0], dilation, conv.groups);
    let samples = x.dims()[0];
    let x = x.reshape([samples, conv.filters, height, width]);
    // Whole, then cut to what the convolution would have seen, or widened.
    let x = module::conv_transpose2d(x, weight, None, options);
    let x = cut(x, 2, padding[0].0, input[0]);
    rows(cut(x, 3, padding[1].0, input[1]))
}

/// So many places from `first` on; zeros behind the end.
fn cut(x: Tensor<4>, axis: usize, first: usize, len: usize) -> Tensor<4> {
    let there = x.dims()[axis].saturating_sub(first).min(len);
    let x = x.narrow(axis, first, there);
    if there == len {
        return x;
    }
    let mut shape = x.dims();
    shape[axis] = len - there;
    let zeros = Tensor::zeros(shape, &x.device());
    Tensor::cat(vec![x, zeros], axis)
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

/// Step by step.
pub(super) fn recurrence(
    x: Tensor<2>,
    recurrent: Tensor<2>,
    bias: Option<Tensor<1>>,
    recurrence: &Recurrence,
) -> Tensor<2> {
    let Recurrence { cell, steps, activation, recurrent_activation } = *recurrence;
    let [units, width] = recurrent.dims();
    let [rows, _] = x.dims();
    let samples = rows / steps;
    let x = x.reshape([samples, steps, width]);
    let gate = |x: &Tensor<2>, gate: usize| x.clone().narrow(1, gate * units, units);
    let mut last = Tensor::zeros([samples, units], &x.device());
    let mut state = last.clone();
    let mut outputs = Vec::with_capacity(steps);
    for step in 0..steps {
        let x = x.clone().narrow(1, step, 1).reshape([samples, width]);
        let product = |x: Tensor<2>, recurrent: Tensor<2>| {
            let product = x.matmul(recurrent);
            match &bias {
                Some(bias) => product + bias.clone().unsqueeze(),
                None => product,
            }
        };
        last = match cell {
            Cell::Lstm => {
                let x = x + product(last, recurrent.clone());
                let [input, forget, output] =
                    [0, 1, 3].map(|i| recurrent_activation.forward(gate(&x, i)));
                state = forget * state + input * activation.forward(gate(&x, 2));
                output * activation.forward(state.clone())
            }
            Cell::Gru { reset_after: true } => {
                let product = product(last.clone(), recurrent.clone());
                let [update, reset] =
                    [0, 1].map(|i| recurrent_activation.forward(gate(&x, i) + gate(&product, i)));
                let candidate = activation.forward(gate(&x, 2) + reset * gate(&product, 2));
                update.clone() * last + (update.neg() + 1.0) * candidate
            }
            Cell::Gru { reset_after: false } => {
                let [update, reset] = [0, 1].map(|i| {
                    let product = product(last.clone(), gate(&recurrent, i));
                    recurrent_activation.forward(gate(&x, i) + product)
                });
                let product = product(reset * last.clone(), gate(&recurrent, 2));
                let candidate = activation.forward(gate(&x, 2) + product);
                update.clone() * last + (update.neg() + 1.0) * candidate
            }
            Cell::Simple => activation.forward(x + product(last, recurrent.clone())),
        };
        outputs.push(last.clone());
    }
    Tensor::cat(outputs, 1)
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
