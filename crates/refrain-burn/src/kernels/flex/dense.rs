//! A dense layer as one operation: product, bias and `relu`; backward, two products and one pass.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::super::product::{Matrix, multiply};
use super::super::transpose::transposed;
use super::{PER_TASK, Place, Tracked, place, plain, with_node};
use crate::simd;

/// Rows whose gradients of the bias are summed for themselves: the same with any number of threads.
const ROWS: usize = 64;
/// Fewer samples, inputs or units than this are not worth a copy the other way round.
const TURNED: usize = 32;

/// `relu(x × weight + bias)`, or without `relu`; `None` where no kernel of ours works.
pub(in crate::kernels) fn dense(
    x: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    relu: bool,
) -> Option<Tensor<2>> {
    let at = place(x)?;
    if place(weight) != Some(at) || bias.is_some_and(|bias| place(bias) != Some(at)) {
        return None;
    }
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
    match at {
        Place::Plain => {
            let (x, weight, bias) = (plain(x), plain(weight), bias.map(plain));
            let output = forward(&x, &weight, bias.as_ref(), relu);
            Some(Tensor::from_primitive::<Flex>(output))
        }
        Place::Autodiff => {
            let ((x, x_node), (weight, weight_node)) = (with_node(x), with_node(weight));
            Some(match bias.map(with_node) {
                Some((bias, bias_node)) => {
                    tracked(x, weight, Some(&bias), [x_node, weight_node, bias_node], relu)
                }
                None => tracked(x, weight, None, [x_node, weight_node], relu),
            })
        }
    }
}

fn tracked<const N: usize>(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<&FlexTensor>,
    nodes: [NodeGuard; N],
    relu: bool,
) -> Tensor<2>
where
    DenseBackward: Backward<Flex, N, State = State>,
{
    let output = forward(&x, &weight, bias, relu);
    let prepared = DenseBackward.prepare::<NoCheckpointing>(nodes).compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prepared) => {
            let state = State { x, weight, output: relu.then(|| output.clone()) };
            prepared.finish(state, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Tracked>(output)
}

fn forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    relu: bool,
) -> FlexTensor {
    let [samples, units] = [x.layout().shape()[0], weight.layout().shape()[1]];
    let mut output = multiply(Matrix::of(x), Matrix::of(weight));
    let bias = bias.map(FlexTensor::to_contiguous);
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    if bias.is_some() || relu {
        in_rows(&mut output, units, |rows| {
            simd::dispatch(Finish { rows, units, bias, relu });
        });
    }
    FlexTensor::from_data(TensorData::new(output, [samples, units]))
}

/// Runs `each` on parts of whole rows.
fn in_rows(values: &mut [f32], columns: usize, each: impl Fn(&mut [f32]) + Send + Sync) {
    let tasks = (values.len() / PER_TASK).clamp(1, rayon::current_num_threads());
    if tasks == 1 || columns == 0 {
        return each(values);
    }
    let rows = (values.len() / columns).div_ceil(tasks);
    values.par_chunks_mut(rows * columns).for_each(each);
}

/// Adds the bias to rows, and cuts them off at 0.
struct Finish<'a> {
    rows: &'a mut [f32],
    units: usize,
    bias: Option<&'a [f32]>,
    relu: bool,
}

impl pulp::NullaryFnOnce for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { rows, units, bias, relu } = self;
        for row in rows.chunks_exact_mut(units.max(1)) {
            if let Some(bias) = bias {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
            if relu {
                for value in row {
                    // In this order a NaN stays one.
                    *value = if *value < 0.0 { 0.0 } else { *value };
                }
            }
        }
    }
}

#[derive(Debug)]
struct DenseBackward;

#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    weight: FlexTensor,
    /// With `relu`, which shows in it.
    output: Option<FlexTensor>,
}

impl<const N: usize> Backward<Flex, N> for DenseBackward {
    type State = State;

    fn backward(self, ops: Ops<State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let mut gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let State { x, weight, output } = ops.state;
        let mut parents = ops.parents.into_iter();
        let (by_input, by_weight, by_bias) = (parents.next(), parents.next(), parents.next());
        let by_bias = by_bias.flatten();
        let units = gradient.layout().shape()[1];
        if output.is_some() || by_bias.is_some() {
            let output = output.as_ref().map(|output| output.storage::<f32>());
            let sums = before_relu(gradient.storage_mut(), output, units, by_bias.is_some());
            if let Some(node) = by_bias {
                let sums = FlexTensor::from_data(TensorData::new(sums, [units]));
                gradients.register::<Flex>(node.id, sums);
            }
        }
        if let Some(node) = by_input.flatten() {
            let values = input_gradient(&gradient, &weight);
            let values = TensorData::new(values, x.layout().shape().clone());
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
        if let Some(node) = by_weight.flatten() {
            let values = multiply(Matrix::of(&x).transposed(), Matrix::of(&gradient));
            let values = TensorData::new(values, weight.layout().shape().clone());
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
    }
}

/// `gradient × weightᵀ`.
fn input_gradient(gradient: &FlexTensor, weight: &FlexTensor) -> Vec<f32> {
    let [samples, units] = [0, 1].map(|axis| gradient.layout().shape()[axis]);
    let inputs = weight.layout().shape()[0];
    let kernel = Matrix::of(weight);
    if samples < TURNED || units < TURNED || inputs < TURNED {
        return multiply(Matrix::of(gradient), kernel.transposed());
    }
    // The product takes twice as long where columns of the right factor lie side by side. The
    // smaller is copied the other way round: the weight, or the gradient and the result.
    if inputs * units < samples * (inputs + units) {
        let weight = weight.to_contiguous();
        let turned = transposed(weight.storage(), inputs);
        return multiply(Matrix::of(gradient), Matrix::new(&turned, units, inputs));
    }
    let turned = transposed(gradient.storage(), samples);
    transposed(&multiply(kernel, Matrix::new(&turned, units, samples)), inputs)
}

/// Takes `relu` back from the gradient of its output; gives the sum of each column, if wanted.
fn before_relu(
    gradient: &mut [f32],
    output: Option<&[f32]>,
    units: usize,
    wants_sums: bool,
) -> Vec<f32> {
    let mut total = vec![0.0; if wants_sums { units } else { 0 }];
    let block = ROWS * units.max(1);
    let part = |at: usize, gradient: &mut [f32]| {
        let output = output.map(|output| &output[at * block..][..gradient.len()]);
        let mut sums = vec![0.0; if wants_sums { units } else { 0 }];
        simd::dispatch(Before { gradient, output, sums: &mut sums, units });
        sums
    };
    let sums: Vec<Vec<f32>> = match gradient.len() < PER_TASK {
        true => gradient.chunks_mut(block).enumerate().map(|(at, rows)| part(at, rows)).collect(),
        false => {
            gradient.par_chunks_mut(block).enumerate().map(|(at, rows)| part(at, rows)).collect()
        }
    };
    for sums in sums {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

struct Before<'a> {
    gradient: &'a mut [f32],
    output: Option<&'a [f32]>,
    sums: &'a mut [f32],
    units: usize,
}

impl pulp::NullaryFnOnce for Before<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { gradient, output, sums, units } = self;
        if let Some(output) = output {
            for (gradient, output) in gradient.iter_mut().zip(output) {
                *gradient = if *output > 0.0 { *gradient } else { 0.0 };
            }
        }
        for row in gradient.chunks_exact(units.max(1)) {
            for (sum, gradient) in sums.iter_mut().zip(row) {
                *sum += gradient;
            }
        }
    }
}
