//! Our kernels as operations of Burn, for f32 on its CPU backend, with their backward passes.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex, GradientCheckpointingStrategy};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::conv2d::{Conv2d, Kept};
use super::recurrence::{Outputs, Recurrence};

mod cross_entropy;
mod dense;
mod softmax;

pub(super) use cross_entropy::cross_entropy;
pub(super) use dense::dense;
pub(super) use softmax::softmax;

/// Fewer elements than this are not worth a second thread.
const PER_TASK: usize = 1 << 16;

/// Where tensors are, if our kernels work there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Plain,
    Autodiff,
}

fn place<const D: usize>(tensor: &Tensor<D>) -> Option<Place> {
    let device = tensor.device();
    if tensor.dtype() != DType::F32 || device != Device::flex() {
        return None;
    }
    match device.gradient_checkpointing_strategy() {
        None => Some(Place::Plain),
        Some(GradientCheckpointingStrategy::Disabled) => Some(Place::Autodiff),
        // Recomputes what it needs, and so wants to see operations of Burn's.
        Some(_) => None,
    }
}

type Tracked = Autodiff<Flex>;

/// The tensor of Burn's CPU backend that a tensor is of which [`place`] says so.
fn plain<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    match tensor.try_into_primitive::<Flex>() {
        Ok(tensor) => tensor,
        Err(error) => unreachable!("its device is the CPU's: {error:?}"),
    }
}

/// The same with autodiff, and its node in the graph.
fn with_node<const D: usize>(tensor: Tensor<D>) -> (FlexTensor, NodeGuard) {
    match tensor.try_into_primitive::<Tracked>() {
        Ok(tensor) => tensor.into_parts(),
        Err(error) => unreachable!("its device is the CPU's, with autodiff: {error:?}"),
    }
}

/// The convolution; `None` where no kernel of ours works.
pub(super) fn conv2d(
    x: &Tensor<2>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    conv: &Conv2d,
) -> Option<Tensor<2>> {
    let at = place(x)?;
    if place(weight) != Some(at) || bias.is_some_and(|bias| place(bias) != Some(at)) {
        return None;
    }
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
    match at {
        Place::Plain => {
            let (x, weight, bias) = (plain(x), plain(weight), bias.map(plain));
            let (output, _) = conv2d_forward(&x, &weight, bias.as_ref(), conv);
            Some(Tensor::from_primitive::<Flex>(output))
        }
        Place::Autodiff => {
            let ((x, x_node), (weight, weight_node)) = (with_node(x), with_node(weight));
            Some(match bias.map(with_node) {
                Some((bias, bias_node)) => {
                    let nodes = [x_node, weight_node, bias_node];
                    conv2d_tracked(x, weight, Some(bias), nodes, conv)
                }
                None => conv2d_tracked(x, weight, None, [x_node, weight_node], conv),
            })
        }
    }
}

fn conv2d_tracked<const N: usize>(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    nodes: [NodeGuard; N],
    conv: &Conv2d,
) -> Tensor<2>
where
    Conv2dBackward: Backward<Flex, N, State = Conv2dState>,
{
    let (output, largest) = conv2d_forward(&x, &weight, bias.as_ref(), conv);
    let prepared = Conv2dBackward.prepare::<NoCheckpointing>(nodes).compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prepared) => {
            // `relu` shows in the output; behind a pooling, in the positions.
            let kept_output = (conv.relu && conv.pool.is_none()).then(|| output.clone());
            let state = Conv2dState { x, weight, output: kept_output, largest, conv: *conv };
            prepared.finish(state, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Tracked>(output)
}

fn conv2d_forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    conv: &Conv2d,
) -> (FlexTensor, Vec<u32>) {
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let bias = bias.map(FlexTensor::to_contiguous);
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let result = conv.forward(x.storage::<f32>(), weight.storage::<f32>(), bias);
    let rows = [x.layout().shape()[0], conv.output_len()];
    (FlexTensor::from_data(TensorData::new(result.output, rows)), result.largest)
}

#[derive(Debug)]
struct Conv2dBackward;

#[derive(Clone, Debug)]
struct Conv2dState {
    x: FlexTensor,
    weight: FlexTensor,
    output: Option<FlexTensor>,
    largest: Vec<u32>,
    conv: Conv2d,
}

impl<const N: usize> Backward<Flex, N> for Conv2dBackward {
    type State = Conv2dState;

    fn backward(self, ops: Ops<Conv2dState, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let Conv2dState { x, weight, output, largest, conv } = ops.state;
        let mut parents = ops.parents.into_iter();
        let (by_input, by_weight, by_bias) = (parents.next(), parents.next(), parents.next());
        let (by_weight, by_bias) = (by_weight.flatten(), by_bias.flatten());
        let (x, kernel) = (x.to_contiguous(), weight.to_contiguous());
        let is_frozen = by_weight.is_none() && by_bias.is_none();
        let kept = Kept {
            input: if is_frozen { &[] } else { x.storage::<f32>() },
            weight: kernel.storage::<f32>(),
            output: output.as_ref().map_or(&[], |output| output.storage::<f32>()),
            largest: &largest,
        };
        let by_input = by_input.flatten();
        let result = conv.backward(kept, gradient.storage::<f32>(), by_input.is_some());
        if let (Some(node), Some(values)) = (by_input, result.input) {
            let values = TensorData::new(values, x.layout().shape().clone());
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
        if let Some(node) = by_weight {
            let values = TensorData::new(result.weight, weight.layout().shape().clone());
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
        if let Some(node) = by_bias {
            let filters = result.bias.len();
            let values = TensorData::new(result.bias, [filters]);
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
    }
}

/// The transposed convolution; `None` where no kernel of ours works.
pub(super) fn conv2d_transpose(
    x: &Tensor<2>,
    weight: &Tensor<4>,
    conv: &Conv2d,
) -> Option<Tensor<2>> {
    let at = place(x)?;
    if place(weight) != Some(at) {
        return None;
    }
    let (x, weight) = (x.clone(), weight.clone());
    if at == Place::Plain {
        let x = plain(x).to_contiguous();
        let weight = plain(weight).to_contiguous();
        return Some(Tensor::from_primitive::<Flex>(transpose_forward(&x, &weight, conv)));
    }
    let ((x, x_node), (weight, weight_node)) = (with_node(x), with_node(weight));
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let output = transpose_forward(&x, &weight, conv);
    let nodes = [x_node, weight_node];
    let prepared = TransposeBackward.prepare::<NoCheckpointing>(nodes).compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prepared) => {
            prepared.finish(TransposeState { x, weight, conv: *conv }, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Some(Tensor::from_primitive::<Tracked>(output))
}

/// The gradient of the input of the convolution that `conv` describes.
fn transpose_forward(x: &FlexTensor, weight: &FlexTensor, conv: &Conv2d) -> FlexTensor {
    let kept = Kept { input: &[], weight: weight.storage::<f32>(), output: &[], largest: &[] };
    let output = conv.backward(kept, x.storage::<f32>(), true).input.unwrap_or_default();
    let rows = [x.layout().shape()[0], conv.input_len()];
    FlexTensor::from_data(TensorData::new(output, rows))
}

#[derive(Debug)]
struct TransposeBackward;

#[derive(Clone, Debug)]
struct TransposeState {
    x: FlexTensor,
    weight: FlexTensor,
    conv: Conv2d,
}

impl Backward<Flex, 2> for TransposeBackward {
    type State = TransposeState;

    fn backward(
        self,
        ops: Ops<TransposeState, 2>,
        gradients: &mut Gradients,
        _: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let TransposeState { x, weight, conv } = ops.state;
        let [by_input, by_weight] = ops.parents;
        let kernel = weight.storage::<f32>();
        if let Some(node) = by_input {
            let values = conv.forward(gradient.storage::<f32>(), kernel, None).output;
            let values = TensorData::new(values, x.layout().shape().clone());
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
        if let Some(node) = by_weight {
            // Input and gradient of the convolution have changed places.
            let input = gradient.storage::<f32>();
            let kept = Kept { input, weight: kernel, output: &[], largest: &[] };
            let values = conv.backward(kept, x.storage::<f32>(), false).weight;
            let values = TensorData::new(values, weight.layout().shape().clone());
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
    }
}

/// Where [`recurrence`] works.
pub(super) fn place_of_recurrence(
    x: &Tensor<2>,
    recurrent: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    recurrence: &Recurrence,
) -> Option<Place> {
    place(x).filter(|&at| {
        recurrence.has_kernel()
            && place(recurrent) == Some(at)
            && bias.is_none_or(|bias| place(bias) == Some(at))
    })
}

/// The outputs of all steps. The memory of `x` is written over where nobody else has it.
pub(super) fn recurrence(
    at: Place,
    x: Tensor<2>,
    recurrent: Tensor<2>,
    bias: Option<Tensor<1>>,
    recurrence: &Recurrence,
) -> Tensor<2> {
    match at {
        Place::Plain => {
            let (x, recurrent, bias) = (plain(x), plain(recurrent), bias.map(plain));
            let (_, output, _) = recurrence_forward(x, &recurrent, bias.as_ref(), recurrence);
            Tensor::from_primitive::<Flex>(output)
        }
        Place::Autodiff => {
            let ((x, x_node), (recurrent, recurrent_node)) = (with_node(x), with_node(recurrent));
            match bias.map(with_node) {
                Some((bias, bias_node)) => {
                    let nodes = [x_node, recurrent_node, bias_node];
                    recurrence_tracked(x, recurrent, Some(&bias), nodes, recurrence)
                }
                None => {
                    recurrence_tracked(x, recurrent, None, [x_node, recurrent_node], recurrence)
                }
            }
        }
    }
}

fn recurrence_tracked<const N: usize>(
    x: FlexTensor,
    recurrent: FlexTensor,
    bias: Option<&FlexTensor>,
    nodes: [NodeGuard; N],
    recurrence: &Recurrence,
) -> Tensor<2>
where
    RecurrenceBackward: Backward<Flex, N, State = RecurrenceState>,
{
    let (gates, output, extra) = recurrence_forward(x, &recurrent, bias, recurrence);
    let prepared = RecurrenceBackward.prepare::<NoCheckpointing>(nodes).compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prepared) => {
            let (outputs, recurrence) = (output.clone(), *recurrence);
            let state = RecurrenceState { recurrent, gates, outputs, extra, recurrence };
            prepared.finish(state, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Tracked>(output)
}

/// The gates, the outputs, and what else the backward pass needs.
fn recurrence_forward(
    x: FlexTensor,
    recurrent: &FlexTensor,
    bias: Option<&FlexTensor>,
    recurrence: &Recurrence,
) -> (FlexTensor, FlexTensor, Vec<f32>) {
    let mut gates = x.to_contiguous();
    // Or its memory would have two owners.
    drop(x);
    let bias = bias.map(FlexTensor::to_contiguous);
    let bias = bias.as_ref().map_or(&[][..], |bias| bias.storage::<f32>());
    let [units, width] = [0, 1].map(|axis| recurrent.layout().shape()[axis]);
    let recurrent = recurrent.to_contiguous();
    let Outputs { outputs, extra } =
        recurrence.forward(gates.storage_mut(), recurrent.storage(), bias);
    let rows = gates.layout().shape()[0] / recurrence.steps;
    debug_assert_eq!(gates.layout().shape()[1], width);
    let outputs = TensorData::new(outputs, [rows, recurrence.steps * units]);
    (gates, FlexTensor::from_data(outputs), extra)
}

#[derive(Debug)]
struct RecurrenceBackward;

#[derive(Clone, Debug)]
struct RecurrenceState {
    recurrent: FlexTensor,
    gates: FlexTensor,
    outputs: FlexTensor,
    extra: Vec<f32>,
    recurrence: Recurrence,
}

impl<const N: usize> Backward<Flex, N> for RecurrenceBackward {
    type State = RecurrenceState;

    fn backward(
        self,
        ops: Ops<RecurrenceState, N>,
        gradients: &mut Gradients,
        _: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let RecurrenceState { recurrent, mut gates, outputs, extra, recurrence } = ops.state;
        let recurrent = recurrent.to_contiguous();
        let shape = recurrent.layout().shape().clone();
        let width = shape[1];
        let result = recurrence.backward(
            gates.storage_mut(),
            outputs.storage(),
            extra,
            recurrent.storage(),
            gradient.storage(),
        );
        let mut parents = ops.parents.into_iter();
        let (by_input, by_recurrent, by_bias) = (parents.next(), parents.next(), parents.next());
        if let Some(node) = by_input.flatten() {
            gradients.register::<Flex>(node.id, gates);
        }
        if let Some(node) = by_recurrent.flatten() {
            let values = TensorData::new(result.recurrent, shape);
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
        if let Some(node) = by_bias.flatten() {
            let values = TensorData::new(result.bias, [width]);
            gradients.register::<Flex>(node.id, FlexTensor::from_data(values));
        }
    }
}
