//! Softmax and cross-entropy against labels as one operation, whose gradient is the probabilities
//! less 1 at the label.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Int, Tensor, TensorData};
use pulp::NullaryFnOnce;

use super::super::functions::exp;
use super::{Place, Tracked, place};
use crate::simd;

/// Minus the logarithm of the softmax of `logits` at each sample's label; `None` where no kernel of
/// ours works.
pub(in crate::kernels) fn cross_entropy(
    logits: &Tensor<2>,
    labels: &Tensor<1, Int>,
) -> Option<Tensor<1>> {
    let at = place(logits)?;
    let [samples, classes] = logits.dims();
    let (logits, labels) = (logits.clone(), labels.clone());
    if at == Place::Plain {
        let logits = logits.try_into_primitive::<Flex>().ok()?;
        let labels = indices(&labels.try_into_primitive::<Flex>().ok()?, samples, classes)?;
        let (values, _) = forward(&logits, &labels);
        return Some(Tensor::from_primitive::<Flex>(values));
    }
    let labels = indices(&labels.try_into_primitive::<Tracked>().ok()?, samples, classes)?;
    let (logits, node) = logits.try_into_primitive::<Tracked>().ok()?.into_parts();
    let (values, probabilities) = forward(&logits, &labels);
    let prepared = CrossEntropyBackward.prepare::<NoCheckpointing>([node]).compute_bound();
    let values = match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(State { probabilities, labels }, values),
        OpsKind::UnTracked(prepared) => prepared.finish(values),
    };
    Some(Tensor::from_primitive::<Tracked>(values))
}

/// One label for each sample, each of them a class.
fn indices(labels: &FlexTensor, samples: usize, classes: usize) -> Option<Vec<usize>> {
    let labels = labels.to_contiguous();
    let is_class = |label: &usize| *label < classes;
    let read = |label: Option<usize>| label.filter(is_class);
    let labels: Option<Vec<usize>> = match labels.dtype() {
        DType::I64 => labels.storage::<i64>().iter().map(|x| read((*x).try_into().ok())).collect(),
        DType::I32 => labels.storage::<i32>().iter().map(|x| read((*x).try_into().ok())).collect(),
        _ => None,
    };
    labels.filter(|labels| labels.len() == samples)
}

/// The values of all samples, and the probabilities.
fn forward(logits: &FlexTensor, labels: &[usize]) -> (FlexTensor, Vec<f32>) {
    let logits = logits.to_contiguous();
    let classes = logits.layout().shape()[1];
    let logits = logits.storage::<f32>();
    let mut probabilities = vec![0.0; logits.len()];
    let mut values = vec![0.0; labels.len()];
    let (target, result) = (&mut probabilities, &mut values);
    simd::dispatch(Forward { logits, labels, classes, probabilities: target, values: result });
    let samples = values.len();
    (FlexTensor::from_data(TensorData::new(values, [samples])), probabilities)
}

struct Forward<'a> {
    logits: &'a [f32],
    labels: &'a [usize],
    classes: usize,
    probabilities: &'a mut [f32],
    values: &'a mut [f32],
}

impl NullaryFnOnce for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { logits, labels, classes, probabilities, values } = self;
        let rows = logits.chunks_exact(classes).zip(probabilities.chunks_exact_mut(classes));
        for (((logits, row), label), value) in rows.zip(labels).zip(&mut *values) {
            // In this order a NaN is found or comes out of the differences.
            let most =
                logits.iter().fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
            for (target, x) in row.iter_mut().zip(logits) {
                *target = x - most;
            }
            *value = -row[*label];
        }
        for x in probabilities.iter_mut() {
            // Below, what a gradient makes of it is no normal number, which costs a hundred times as
            // much to compute with.
            *x = if *x < -80.0 { 0.0 } else { exp(*x) };
        }
        for (row, value) in probabilities.chunks_exact_mut(classes).zip(values) {
            let sum: f32 = row.iter().sum();
            *value += sum.ln();
            let share = 1.0 / sum;
            for x in row {
                *x *= share;
            }
        }
    }
}

#[derive(Debug)]
struct CrossEntropyBackward;

#[derive(Clone, Debug)]
struct State {
    probabilities: Vec<f32>,
    labels: Vec<usize>,
}

impl Backward<Flex, 1> for CrossEntropyBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [Some(node)] = ops.parents else { return };
        let State { mut probabilities, labels } = ops.state;
        let samples = labels.len();
        let classes = probabilities.len() / samples.max(1);
        let rows = probabilities.chunks_exact_mut(classes.max(1));
        for ((row, label), gradient) in rows.zip(labels).zip(gradient.storage::<f32>()) {
            row[label] -= 1.0;
            for x in row {
                *x *= gradient;
            }
        }
        let values = TensorData::new(probabilities, [samples, classes]);
        gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
    }
}
