//! Softmax as one operation. Burn's own hands every 64 rows to another thread, however short they are,
//! and waits: for the probabilities of a batch that takes longer than to compute them.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, TensorData};
use pulp::NullaryFnOnce;
use rayon::prelude::*;

use super::super::functions::exp;
use super::{PER_TASK, Place, Tracked, place, plain, with_node};
use crate::simd;

/// Sums and maxima of a row are taken in so many, so that they become vectors.
const LANES: usize = 16;

/// The softmax along the last axis; `None` where no kernel of ours works.
pub(in crate::kernels) fn softmax<const D: usize>(x: &Tensor<D>) -> Option<Tensor<D>> {
    let at = place(x)?;
    if x.dims().contains(&0) {
        return None;
    }
    let x = x.clone();
    if at == Place::Plain {
        return Some(Tensor::from_primitive::<Flex>(forward(&plain(x))));
    }
    let (x, node) = with_node(x);
    let output = forward(&x);
    let prepared = SoftmaxBackward.prepare::<NoCheckpointing>([node]).compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(output.clone(), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Some(Tensor::from_primitive::<Tracked>(output))
}

fn forward(x: &FlexTensor) -> FlexTensor {
    let x = x.to_contiguous();
    let shape = x.layout().shape().clone();
    let classes = last_axis(&x);
    let mut values = x.storage::<f32>().to_vec();
    let each = rows_each(values.len(), classes);
    values.par_chunks_mut(each).for_each(|rows| simd::dispatch(Forward { rows, classes }));
    FlexTensor::from_data(TensorData::new(values, shape))
}

fn last_axis(x: &FlexTensor) -> usize {
    x.layout().shape().last().copied().unwrap_or(1).max(1)
}

/// Elements of whole rows that one task takes.
fn rows_each(elements: usize, classes: usize) -> usize {
    let tasks = (elements / PER_TASK).clamp(1, rayon::current_num_threads());
    (elements / classes).div_ceil(tasks).max(1) * classes
}

struct Forward<'a> {
    rows: &'a mut [f32],
    classes: usize,
}

impl NullaryFnOnce for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { rows, classes } = self;
        for row in rows.chunks_exact_mut(classes) {
            // In this order a NaN is found or comes out of the differences.
            let mut most = [f32::NEG_INFINITY; LANES];
            let (vectors, rest) = row.as_chunks::<LANES>();
            for vector in vectors {
                for (most, x) in most.iter_mut().zip(vector) {
                    *most = if *x > *most { *x } else { *most };
                }
            }
            let mut largest = f32::NEG_INFINITY;
            for x in most.iter().chain(rest) {
                largest = if *x > largest { *x } else { largest };
            }
            for x in row {
                *x -= largest;
            }
        }
        for x in rows.iter_mut() {
            // Below, it is no normal number, which costs a hundred times as much to compute with.
            *x = if *x < -87.0 { 0.0 } else { exp(*x) };
        }
        for row in rows.chunks_exact_mut(classes) {
            let mut sums = [0.0; LANES];
            let (vectors, rest) = row.as_chunks::<LANES>();
            for vector in vectors {
                for (sum, x) in sums.iter_mut().zip(vector) {
                    *sum += x;
                }
            }
            let mut sum = 0.0;
            for x in sums.iter().chain(rest) {
                sum += x;
            }
            for x in row {
                *x /= sum;
            }
        }
    }
}

#[derive(Debug)]
struct SoftmaxBackward;

impl Backward<Flex, 1> for SoftmaxBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let mut gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [Some(node)] = ops.parents else { return };
        let output = ops.state.to_contiguous();
        let (output, classes) = (output.storage::<f32>(), last_axis(&gradient));
        let values = gradient.storage_mut::<f32>();
        let each = rows_each(values.len(), classes);
        values.par_chunks_mut(each).zip(output.par_chunks(each)).for_each(|(gradient, output)| {
            simd::dispatch(Before { gradient, output, classes });
        });
        gradients.register::<Flex>(node.id, gradient);
    }
}

/// The gradient of the output becomes that of the input.
struct Before<'a> {
    gradient: &'a mut [f32],
    output: &'a [f32],
    classes: usize,
}

impl NullaryFnOnce for Before<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { gradient, output, classes } = self;
        let rows = gradient.chunks_exact_mut(classes).zip(output.chunks_exact(classes));
        for (gradient, output) in rows {
            let mut sums = [0.0; LANES];
            let (vectors, rest) = gradient.as_chunks::<LANES>();
            let (by, by_rest) = output.as_chunks::<LANES>();
            for (vector, by) in vectors.iter().zip(by) {
                for ((sum, x), by) in sums.iter_mut().zip(vector).zip(by) {
                    *sum += x * by;
                }
            }
            let mut sum = 0.0;
            for x in sums {
                sum += x;
            }
            for (x, by) in rest.iter().zip(by_rest) {
                sum += x * by;
            }
            for (x, by) in gradient.iter_mut().zip(output) {
                *x = (*x - sum) * by;
            }
        }
    }
}
