//! Weights of a model by name: out of the module, and back into it.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId, ParameterValue};
use burn::tensor::kind::{Basic, Transaction as InTransaction};
use burn::tensor::{Bool, BoolStore, DType, Device, Int, Shape, Tensor, TensorData, Transaction};
use refrain_core::weights::{WeightDtype, WeightTensor, Weights};
use refrain_core::{Error, Escaped, Result, list_names};

use crate::optimizers::ParameterInfo;

/// How many of the tensors that do not fit a message names.
const NAMED_AT_MOST: usize = 5;

/// All weights of `model`. One read from the device.
pub(crate) fn export<M: Module>(model: &M) -> Result<Weights> {
    let mut reader = Reader::default();
    model.visit(&mut reader);
    let data = reader.transaction.try_execute().map_err(|error| {
        Error::engine("the weights cannot be read from the device").with_source(error)
    })?;
    let mut tensors = Vec::with_capacity(data.len());
    for (name, data) in reader.names.into_iter().zip(data) {
        let dtype = to_weight_dtype(data.dtype()).ok_or_else(|| {
            Error::engine(format!(
                "tensor `{name}` is {:?}, which cannot be \
                written as weights; dequantise it first",
                data.dtype()
            ))
        })?;
        let shape = data.shape().to_vec();
        let bytes = match data.dtype() {
            DType::Bool(BoolStore::U32) => {
                data.as_bytes().chunks_exact(4).map(|word| u8::from(word != [0; 4])).collect()
            }
            _ => data.as_bytes().to_vec(),
        };
        tensors.push(WeightTensor { name, shape, dtype, bytes });
    }
    Ok(Weights { tensors })
}

/// Checks that `weights` are the model's: all names, shapes, element types, and nothing else.
pub(crate) fn check<M: Module>(model: &M, weights: &Weights) -> Result {
    let mut slots = Slots::default();
    model.visit(&mut slots);

    let mut problems = Vec::new();
    let mut missing = Vec::new();
    let mut given: HashMap<&str, &WeightTensor> = HashMap::new();
    for tensor in &weights.tensors {
        if given.insert(&tensor.name, tensor).is_some() {
            problems.push(format!("`{}` is there twice", Escaped(&tensor.name)));
        }
    }
    for slot in &slots.found {
        let Some(tensor) = given.remove(slot.name.as_str()) else {
            missing.push(format!("`{}`", slot.name));
            continue;
        };
        let name = &slot.name;
        let shape = &slot.shape;
        if tensor.shape != *shape {
            problems.push(format!(
                "`{name}` has the shape {:?}, and the model's is {shape:?}",
                tensor.shape
            ));
        } else if Some(tensor.dtype) != slot.dtype {
            let expected = slot.dtype.map_or("quantised".to_owned(), |dtype| format!("{dtype:?}"));
            problems.push(format!("`{name}` is {:?}, and the model's is {expected}", tensor.dtype));
        } else if tensor.bytes.len() != bytes_of(shape, tensor.dtype) {
            problems.push(format!(
                "`{name}` has {} bytes, and {shape:?} of {:?} make {}",
                tensor.bytes.len(),
                tensor.dtype,
                bytes_of(shape, tensor.dtype)
            ));
        }
    }
    let unexpected: Vec<&str> = weights.names().filter(|name| given.contains_key(name)).collect();
    if !missing.is_empty() {
        problems.push(format!("missing: {}", shorten(&missing)));
    }
    if !unexpected.is_empty() {
        let names: Vec<String> =
            unexpected.iter().map(|name| format!("`{}`", Escaped(name))).collect();
        let model = list_names(slots.found.iter().take(NAMED_AT_MOST).map(|slot| &slot.name));
        let more = if slots.found.len() > NAMED_AT_MOST { ", ..." } else { "" };
        problems
            .push(format!("not in the model: {}; the model has {model}{more}", shorten(&names)));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::data(format!("weights do not fit the model: {}", shorten(&problems))))
}

/// The model with `weights`, which must have been [checked](check).
pub(crate) fn import<M: Module>(model: M, weights: &Weights) -> M {
    let given = weights.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    model.map(&mut Writer { path: Vec::new(), given })
}

/// Elements of all float parameters: (those that are trained, the others).
pub(crate) fn count<M: Module>(model: &M) -> (usize, usize) {
    let mut shapes = Shapes::default();
    model.visit(&mut shapes);
    (shapes.trained_len(), shapes.frozen)
}

/// What a model with autodiff trains, by shape, and how much it does not. Counts do not overflow.
#[derive(Default)]
pub(crate) struct Shapes {
    pub(crate) trained: Vec<(ParamId, Vec<usize>)>,
    pub(crate) frozen: usize,
}

impl Shapes {
    pub(crate) fn trained_len(&self) -> usize {
        self.trained.iter().map(|(_, shape)| len(shape)).fold(0, usize::saturating_add)
    }
}

impl ModuleVisitor for Shapes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().to_vec();
        if param.is_require_grad() {
            self.trained.push((param.id, shape));
        } else {
            self.frozen = self.frozen.saturating_add(len(&shape));
        }
    }
}

fn len(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &axis| n.saturating_mul(axis))
}

/// A float parameter: what an optimizer may remember something of.
pub(crate) struct Parameter {
    pub(crate) id: ParamId,
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    /// Without autodiff.
    pub(crate) device: Device,
}

/// All float parameters, in the model's order.
pub(crate) fn parameters<M: Module>(model: &M) -> Vec<Parameter> {
    #[derive(Default)]
    struct Parameters {
        path: Vec<String>,
        found: Vec<Parameter>,
    }

    impl ModuleVisitor for Parameters {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.push(Parameter {
                id: param.id,
                name: self.path.join("."),
                shape: param.lazy_shape().to_vec(),
                dtype: param.dtype(),
                device: param.lazy_device().without_autodiff(),
            });
        }
    }

    let mut parameters = Parameters::default();
    model.visit(&mut parameters);
    parameters.found
}

/// What an optimizer is told of them.
pub(crate) fn parameter_infos<M: Module>(model: &M) -> Vec<ParameterInfo> {
    let info = |Parameter { id, name, shape, .. }| ParameterInfo { id, name, shape };
    parameters(model).into_iter().map(info).collect()
}

#[derive(Default)]
struct Reader {
    path: Vec<String>,
    names: Vec<String>,
    transaction: Transaction,
}

impl Reader {
    fn read<const D: usize, K: InTransaction>(&mut self, tensor: Tensor<D, K>) {
        self.names.push(self.path.join("."));
        self.transaction = std::mem::take(&mut self.transaction).register(tensor);
    }
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.read(param.base().without_autodiff());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.read(param.base().without_autodiff());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.read(param.base().without_autodiff());
    }
}

/// What a model has room for, without reading a value.
#[derive(Default)]
struct Slots {
    path: Vec<String>,
    found: Vec<Slot>,
}

struct Slot {
    name: String,
    shape: Vec<usize>,
    dtype: Option<WeightDtype>,
}

impl Slots {
    fn note(&mut self, shape: Shape, dtype: DType) {
        self.found.push(Slot {
            name: self.path.join("."),
            shape: shape.to_vec(),
            dtype: to_weight_dtype(dtype),
        });
    }
}

impl ModuleVisitor for Slots {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.note(param.lazy_shape(), param.dtype());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.note(param.lazy_shape(), param.dtype());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.note(param.lazy_shape(), param.dtype());
    }
}

struct Writer<'a> {
    path: Vec<String>,
    given: HashMap<&'a str, &'a WeightTensor>,
}

impl Writer<'_> {
    /// The given tensor in place of `old`, on its device.
    fn write<const D: usize, K: Basic>(
        &self,
        param: Param<Tensor<D, K>>,
        keep: impl FnOnce(&Tensor<D, K>, Tensor<D, K>) -> Tensor<D, K>,
    ) -> Param<Tensor<D, K>>
    where
        Tensor<D, K>: ParameterValue,
    {
        let (id, old, mapper) = param.consume();
        let Some(given) = self.given.get(self.path.join(".").as_str()) else {
            return Param::from_mapped_value(id, old, mapper);
        };
        let bytes = match old.dtype() {
            DType::Bool(BoolStore::U32) => {
                given.bytes.iter().flat_map(|&byte| u32::from(byte).to_le_bytes()).collect()
            }
            _ => given.bytes.clone(),
        };
        let data = TensorData::from_bytes_vec(bytes, given.shape.clone(), old.dtype());
        let device: Device = old.device().without_autodiff();
        let new = Tensor::from_data(data, (&device, old.dtype()));
        Param::from_mapped_value(id, keep(&old, new), mapper)
    }
}

impl ModuleMapper for Writer<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.write(param, |old, new| match old.gradient_checkpointing_strategy() {
            None => new,
            Some(strategy) => new
                .autodiff()
                .with_gradient_checkpointing_strategy(strategy)
                .set_require_grad(old.is_require_grad()),
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.write(param, |old, new| if old.is_autodiff() { new.autodiff() } else { new })
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        self.write(param, |old, new| if old.is_autodiff() { new.autodiff() } else { new })
    }
}

pub(crate) fn to_weight_dtype(dtype: DType) -> Option<WeightDtype> {
    Some(match dtype {
        DType::F64 => WeightDtype::F64,
        DType::F32 | DType::Flex32 => WeightDtype::F32,
        DType::F16 => WeightDtype::F16,
        DType::BF16 => WeightDtype::BF16,
        DType::I64 => WeightDtype::I64,
        DType::I32 => WeightDtype::I32,
        DType::I16 => WeightDtype::I16,
        DType::I8 => WeightDtype::I8,
        DType::U64 => WeightDtype::U64,
        DType::U32 => WeightDtype::U32,
        DType::U16 => WeightDtype::U16,
        DType::U8 => WeightDtype::U8,
        DType::Bool(_) => WeightDtype::Bool,
        DType::QFloat(_) => return None,
    })
}

pub(crate) fn bytes_of(shape: &[usize], dtype: WeightDtype) -> usize {
    let size = match dtype {
        WeightDtype::F64 | WeightDtype::I64 | WeightDtype::U64 => 8,
        WeightDtype::F32 | WeightDtype::I32 | WeightDtype::U32 => 4,
        WeightDtype::F16 | WeightDtype::BF16 | WeightDtype::I16 | WeightDtype::U16 => 2,
        WeightDtype::I8 | WeightDtype::U8 | WeightDtype::Bool => 1,
    };
    shape.iter().product::<usize>() * size
}

/// The first of many, and how many more there are.
fn shorten(parts: &[String]) -> String {
    let shown = parts.iter().take(NAMED_AT_MOST).cloned().collect::<Vec<_>>().join(", ");
    match parts.len().saturating_sub(NAMED_AT_MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
