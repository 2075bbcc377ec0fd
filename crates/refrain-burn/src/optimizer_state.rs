//! An optimizer's state by names: `dense.weight/velocity`, `step`, and other numbers.

use std::collections::HashSet;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData, Transaction};
use refrain_core::weights::{WeightDtype, WeightTensor, Weights};
use refrain_core::{Error, Escaped, Result};

use crate::optimizers::{Optimizer, OptimizerSlot, OptimizerState, Values};
use crate::weights::{Parameter, bytes_of, parameters, to_weight_dtype};

const STEP: &str = "step";
const MOMENTUM: &str = "momentum";

/// What `optimizer` remembers of the parameters of `model`. One read from the device.
pub(crate) fn export<M: Module>(model: &M, optimizer: &dyn Optimizer) -> Result<Weights> {
    let OptimizerState { step, momentum, numbers, mut slots } = optimizer.state();
    let mut tensors = Vec::with_capacity(slots.len() + 2);
    if let Some(step) = step {
        tensors.push(scalar(STEP, WeightDtype::U64, step.to_le_bytes()));
    }
    if let Some(momentum) = momentum {
        tensors.push(scalar(MOMENTUM, WeightDtype::F64, momentum.to_le_bytes()));
    }
    for (name, number) in numbers {
        tensors.push(scalar(&name, WeightDtype::F64, number.to_le_bytes()));
    }
    slots.sort_by(|a, b| a.name.cmp(&b.name));
    let mut transaction = Transaction::default();
    let mut shapes = Vec::with_capacity(slots.len());
    for Parameter { id, name, shape, .. } in parameters(model) {
        let (of_it, rest): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|slot| slot.parameter == id);
        slots = rest;
        for OptimizerSlot { name: slot, values, .. } in of_it {
            // Some keep less than a number for each element.
            let elements = values.elements();
            let is_whole = elements == shape.iter().product::<usize>();
            let shape = if is_whole { shape.clone() } else { vec![elements] };
            transaction = transaction.register(values.into_tensor());
            shapes.push((format!("{name}/{slot}"), shape));
        }
    }
    let read = transaction.try_execute().map_err(|error| {
        Error::engine("the optimizer's state cannot be read from the device").with_source(error)
    })?;
    for ((name, shape), data) in shapes.into_iter().zip(read) {
        let dtype = to_weight_dtype(data.dtype()).ok_or_else(|| {
            Error::engine(format!("the optimizer keeps `{name}` quantised; it cannot be saved"))
        })?;
        tensors.push(WeightTensor { name, shape, dtype, bytes: data.as_bytes().to_vec() });
    }
    Ok(Weights { tensors })
}

/// Gives `optimizer` a state that was [exported](export).
pub(crate) fn import<M: Module>(
    model: &M,
    optimizer: &mut dyn Optimizer,
    given: &Weights,
) -> Result {
    let parameters = parameters(model);
    let mut seen = HashSet::new();
    let mut state = OptimizerState::default();
    for tensor in &given.tensors {
        if !seen.insert(&tensor.name) {
            return Err(misfit(tensor, "is there twice"));
        }
        match tensor.name.as_str() {
            STEP => {
                state.step = Some(u64::from_le_bytes(scalar_bytes(tensor, WeightDtype::U64)?));
            }
            MOMENTUM => {
                state.momentum = Some(f64::from_le_bytes(scalar_bytes(tensor, WeightDtype::F64)?));
            }
            name if !name.contains('/') => {
                let number = f64::from_le_bytes(scalar_bytes(tensor, WeightDtype::F64)?);
                state.numbers.insert(name.to_owned(), number);
            }
            _ => state.slots.push(slot(&parameters, tensor)?),
        }
    }
    optimizer.set_state(state)
}

fn slot(parameters: &[Parameter], tensor: &WeightTensor) -> Result<OptimizerSlot> {
    let found = tensor.name.rsplit_once('/').and_then(|(parameter, slot)| {
        Some((parameters.iter().find(|known| known.name == parameter)?, slot))
    });
    let Some((parameter, name)) = found else {
        return Err(misfit(tensor, "belongs to no parameter of the model"));
    };
    let Parameter { id, shape, dtype, device, .. } = parameter;
    // How many numbers a slot without the parameter's shape must have, the optimizer knows.
    let is_list = tensor.shape.len() == 1;
    if tensor.shape != *shape && !is_list {
        let problem = format!("has the shape {:?}, and the parameter's is {shape:?}", tensor.shape);
        return Err(misfit(tensor, &problem));
    }
    if Some(tensor.dtype) != to_weight_dtype(*dtype) {
        let problem = format!("is {:?}, and the parameter is {dtype:?}", tensor.dtype);
        return Err(misfit(tensor, &problem));
    }
    let bytes = bytes_of(&tensor.shape, tensor.dtype);
    if tensor.bytes.len() != bytes {
        let problem = format!("has {} bytes; allowed: {bytes}", tensor.bytes.len());
        return Err(misfit(tensor, &problem));
    }
    let elements: usize = tensor.shape.iter().product();
    let data = TensorData::from_bytes_vec(tensor.bytes.clone(), [elements], *dtype);
    let values = Values::of(Tensor::<1>::from_data(data, (device, *dtype)));
    Ok(OptimizerSlot { parameter: *id, name: name.to_owned(), values })
}

fn scalar<const N: usize>(name: &str, dtype: WeightDtype, bytes: [u8; N]) -> WeightTensor {
    WeightTensor { name: name.to_owned(), shape: Vec::new(), dtype, bytes: bytes.to_vec() }
}

fn scalar_bytes<const N: usize>(tensor: &WeightTensor, dtype: WeightDtype) -> Result<[u8; N]> {
    let bytes = tensor.bytes.as_slice().try_into().ok();
    bytes
        .filter(|_| tensor.dtype == dtype && tensor.shape.is_empty())
        .ok_or_else(|| misfit(tensor, &format!("is no single {dtype:?}")))
}

fn misfit(tensor: &WeightTensor, problem: &str) -> Error {
    Error::data(format!(
        "the state does not fit the optimizer: `{}` {problem}",
        Escaped(&tensor.name)
    ))
}
