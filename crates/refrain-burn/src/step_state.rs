//! What the learner keeps between two steps beside weights and optimizer, by names: `sum/loss`,
//! `samples`, `weight`, `kept/dense.weight`, `batches`.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, Transaction};
use refrain_core::weights::{WeightDtype, WeightTensor, Weights};
use refrain_core::{Error, Escaped, Result};

use crate::gradients::Kept;
use crate::optimizers::Values;
use crate::weights::{Parameter, bytes, bytes_of, parameters, to_weight_dtype};

const SUM: &str = "sum/";
const SAMPLES: &str = "samples";
const WEIGHT: &str = "weight";
const KEPT: &str = "kept/";
const BATCHES: &str = "batches";

/// Sums over samples, by metric, and gradients of batches whose update was put off.
#[derive(Default)]
pub(crate) struct StepState {
    pub(crate) sums: Vec<Tensor<1>>,
    pub(crate) counted: Counted,
    pub(crate) kept: Kept,
}

/// How many samples the sums are over, and what these weigh together.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) samples: usize,
    pub(crate) weight: f64,
}

/// One read from the device; nothing where nothing is kept.
pub(crate) fn export<M: Module>(
    model: &M,
    names: &[String],
    sums: &[Tensor<1>],
    counted: Counted,
    kept: &Kept,
) -> Result<Weights> {
    let mut transaction = Transaction::default();
    let mut shapes = Vec::new();
    for (name, sum) in names.iter().zip(sums) {
        transaction = transaction.register(sum.clone());
        shapes.push((format!("{SUM}{name}"), sum.dims().to_vec()));
    }
    for Parameter { id, name, shape, .. } in parameters(model) {
        if let Some(values) = kept.sum(id) {
            transaction = transaction.register(values.clone().into_tensor());
            shapes.push((format!("{KEPT}{name}"), shape));
        }
    }
    if shapes.is_empty() {
        return Ok(Weights::default());
    }
    let read = transaction.try_execute().map_err(|error| {
        Error::engine("sums and gradients cannot be read from the device").with_source(error)
    })?;
    let weight = WeightTensor {
        name: WEIGHT.to_owned(),
        shape: Vec::new(),
        dtype: WeightDtype::F64,
        bytes: counted.weight.to_le_bytes().to_vec().into(),
    };
    let mut tensors = vec![count(SAMPLES, counted.samples), weight, count(BATCHES, kept.batches())];
    for ((name, shape), data) in shapes.into_iter().zip(read) {
        let dtype = to_weight_dtype(data.dtype())
            .ok_or_else(|| Error::engine(format!("`{name}` is quantised; it cannot be saved")))?;
        tensors.push(WeightTensor { name, shape, dtype, bytes: bytes(data) });
    }
    Ok(Weights { tensors })
}

/// The reverse of [`export`].
pub(crate) fn import<M: Module>(
    model: &M,
    names: &[String],
    device: &Device,
    given: &Weights,
) -> Result<StepState> {
    let mut state = StepState::default();
    if given.tensors.is_empty() {
        return Ok(state);
    }
    let parameters = parameters(model);
    let mut kept = Vec::new();
    let mut sums = vec![None; names.len()];
    for tensor in &given.tensors {
        if [SAMPLES, WEIGHT, BATCHES].contains(&tensor.name.as_str()) {
            continue;
        }
        let metric = tensor.name.strip_prefix(SUM);
        let place = metric.and_then(|metric| names.iter().position(|name| name == metric));
        if let Some(sum) = place.and_then(|place| sums.get_mut(place)) {
            // How many sums a metric has shows with the first batch, which is compared with these.
            let [length] = tensor.shape.as_slice() else {
                return Err(misfit(tensor, "is no list of sums"));
            };
            let dtype = float(tensor, &[*length])?;
            let data = TensorData::from_bytes_vec(tensor.bytes.to_vec(), [*length], dtype);
            *sum = Some(Tensor::<1>::from_data(data, (device, dtype)));
            continue;
        }
        let parameter = tensor.name.strip_prefix(KEPT);
        let parameter = parameter.and_then(|name| parameters.iter().find(|p| p.name == name));
        let parameter = parameter.ok_or_else(|| misfit(tensor, "belongs to nothing here"))?;
        let Parameter { id, shape, device, .. } = parameter;
        let dtype = float(tensor, shape)?;
        let elements: usize = shape.iter().product();
        let data = TensorData::from_bytes_vec(tensor.bytes.to_vec(), [elements], dtype);
        kept.push((*id, Values::of(Tensor::<1>::from_data(data, (device, dtype)))));
    }
    let samples = counted(given, SAMPLES)?;
    // Checkpoints of before metrics could be weighted have none.
    let weight = given.get(WEIGHT).map_or(Ok(samples as f64), weight)?;
    state.counted = Counted { samples, weight };
    state.kept = Kept::of(kept, counted(given, BATCHES)?);
    if samples > 0 {
        let missing = || Error::data("the state does not fit the metrics: a sum is missing");
        state.sums = sums.into_iter().collect::<Option<_>>().ok_or_else(missing)?;
    }
    Ok(state)
}

/// The element type of a float tensor that has this shape.
fn float(tensor: &WeightTensor, shape: &[usize]) -> Result<burn::tensor::DType> {
    let dtype = match tensor.dtype {
        WeightDtype::F64 => burn::tensor::DType::F64,
        WeightDtype::F32 => burn::tensor::DType::F32,
        WeightDtype::F16 => burn::tensor::DType::F16,
        WeightDtype::BF16 => burn::tensor::DType::BF16,
        other => return Err(misfit(tensor, &format!("is {other:?}, and no float"))),
    };
    if tensor.shape != shape || tensor.bytes.len() != bytes_of(shape, tensor.dtype) {
        let problem = format!("has the shape {:?}; allowed: {shape:?}", tensor.shape);
        return Err(misfit(tensor, &problem));
    }
    Ok(dtype)
}

fn count(name: &str, count: usize) -> WeightTensor {
    let bytes = (count as u64).to_le_bytes().to_vec().into();
    WeightTensor { name: name.to_owned(), shape: Vec::new(), dtype: WeightDtype::U64, bytes }
}

fn counted(given: &Weights, name: &str) -> Result<usize> {
    let tensor = given.get(name).filter(|tensor| tensor.dtype == WeightDtype::U64);
    let bytes = tensor.and_then(|tensor| (&*tensor.bytes).try_into().ok());
    let count = bytes.and_then(|bytes| usize::try_from(u64::from_le_bytes(bytes)).ok());
    count.ok_or_else(|| Error::data(format!("the state does not fit: no count `{name}`")))
}

fn weight(tensor: &WeightTensor) -> Result<f64> {
    let bytes = (&*tensor.bytes).try_into().ok();
    let bytes = bytes.filter(|_| tensor.dtype == WeightDtype::F64);
    bytes.map(f64::from_le_bytes).ok_or_else(|| misfit(tensor, "is no single F64"))
}

fn misfit(tensor: &WeightTensor, problem: &str) -> Error {
    Error::data(format!("the state does not fit the run: `{}` {problem}", Escaped(&tensor.name)))
}
