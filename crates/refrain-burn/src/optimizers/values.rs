//! The numbers of one parameter during an update, and one pass over several of them in place.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::simd;

/// Below this many elements a second thread costs more than it saves.
const ELEMENTS_PER_TASK: usize = 1 << 16;

/// The weights, the gradient or an optimizer's state of one parameter, flattened.
///
/// f32 on the CPU is held as host memory, so that an update is one pass in place: no copy, no
/// allocation, no reshape. Anything else is a tensor.
#[derive(Clone, Debug)]
pub struct Values(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Of any shape; what counts is the order of the elements.
    Host(TensorData),
    Device(Tensor<1>),
}

impl Values {
    /// Takes the numbers out of a tensor without autodiff. No read back from a device: on the CPU
    /// this is the tensor's own memory.
    pub(crate) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        if tensor.dtype() == DType::F32 && tensor.device() == Device::flex() {
            return Self(Kind::Host(tensor.into_data()));
        }
        let elements = tensor.shape().num_elements();
        Self(Kind::Device(tensor.reshape([elements])))
    }

    /// Back into a tensor of `shape`, without autodiff.
    pub(crate) fn into_shape<const D: usize>(self, shape: [usize; D]) -> Tensor<D> {
        match self.0 {
            Kind::Host(data) if data.shape()[..] == shape => {
                Tensor::from_data(data, (&Device::flex(), DType::F32))
            }
            _ => self.into_tensor().reshape(shape),
        }
    }

    /// The numbers as a tensor: `[elements]`.
    pub fn into_tensor(self) -> Tensor<1> {
        match self.0 {
            Kind::Host(data) => {
                let elements = data.num_elements();
                let flat = TensorData::from_bytes(data.into_bytes(), [elements], DType::F32);
                Tensor::from_data(flat, (&Device::flex(), DType::F32))
            }
            Kind::Device(tensor) => tensor,
        }
    }

    /// Zeros, as many and in the same place.
    pub fn zeros_like(&self) -> Self {
        match &self.0 {
            Kind::Host(data) => {
                Self(Kind::Host(TensorData::zeros::<f32, _>([data.num_elements()])))
            }
            Kind::Device(tensor) => Self(Kind::Device(tensor.zeros_like())),
        }
    }

    /// One number, as many times and in the same place.
    pub(crate) fn full_like(&self, value: f32) -> Self {
        match &self.0 {
            _ if value == 0.0 => self.zeros_like(),
            Kind::Host(data) => {
                let elements = data.num_elements();
                Self(Kind::Host(TensorData::new(vec![value; elements], [elements])))
            }
            Kind::Device(tensor) => Self(Kind::Device(tensor.zeros_like() + value)),
        }
    }

    /// How many numbers there are.
    pub fn elements(&self) -> usize {
        match &self.0 {
            Kind::Host(data) => data.num_elements(),
            Kind::Device(tensor) => tensor.shape().num_elements(),
        }
    }

    /// Zeros, so many of them, in the same place.
    pub(crate) fn zeros(&self, elements: usize) -> Self {
        match &self.0 {
            Kind::Host(_) => Self(Kind::Host(TensorData::zeros::<f32, _>([elements]))),
            Kind::Device(tensor) => {
                Self(Kind::Device(Tensor::zeros([elements], (&tensor.device(), tensor.dtype()))))
            }
        }
    }

    /// `keep` × these + (1 − `keep`) × `others`, which are left as they are.
    pub(crate) fn moved_towards(mut self, others: &mut Self, keep: f32) -> Self {
        let new = 1.0 - keep;
        let done = in_place([&mut self, others], |[values, others]| {
            for (value, other) in values.iter_mut().zip(others) {
                *value = keep * *value + new * *other;
            }
        });
        if done {
            return self;
        }
        (self.into_tensor() * keep + others.clone().into_tensor() * new).into()
    }

    /// The sum with `other`, of the same length and place.
    pub(crate) fn plus(mut self, mut other: Self) -> Self {
        let done = in_place([&mut self, &mut other], |[sum, other]| {
            for (sum, other) in sum.iter_mut().zip(other) {
                *sum += *other;
            }
        });
        if done { self } else { (self.into_tensor() + other.into_tensor()).into() }
    }

    /// Each number divided by `divisor`.
    pub(crate) fn divided_by(mut self, divisor: f32) -> Self {
        let done = in_place([&mut self], |[values]| {
            for value in values {
                *value /= divisor;
            }
        });
        if done { self } else { self.into_tensor().div_scalar(divisor).into() }
    }

    /// Where they are host memory.
    pub(super) fn host(&mut self) -> Option<&mut [f32]> {
        match &mut self.0 {
            Kind::Host(data) => data.as_mut_slice().ok(),
            Kind::Device(_) => None,
        }
    }
}

impl From<Tensor<1>> for Values {
    fn from(tensor: Tensor<1>) -> Self {
        Self::of(tensor)
    }
}

/// Runs `each` over the elements of `N` parameters' values at once, where all of them are host
/// memory; false, and nothing done, where not.
///
/// `each` gets the same part of all of them, and must treat elements independently of each other,
/// so that results do not depend on the number of threads.
///
/// A chain of tensor operations would be a dozen passes and as many allocations for Adam.
pub(super) fn in_place<const N: usize>(
    values: [&mut Values; N],
    each: impl Fn([&mut [f32]; N]) + Sync,
) -> bool {
    in_tasks(values, |slices| simd::dispatch(Vectorized { slices, each: &each }))
}

/// [`in_place`], where `each` chooses its vectors itself.
pub(super) fn in_tasks<const N: usize>(
    values: [&mut Values; N],
    each: impl Fn([&mut [f32]; N]) + Sync,
) -> bool {
    let mut slices: [&mut [f32]; N] = std::array::from_fn(|_| [].as_mut_slice());
    for (slot, values) in slices.iter_mut().zip(values) {
        match values.host() {
            Some(slice) => *slot = slice,
            None => return false,
        }
    }
    let len = slices.first().map_or(0, |slice| slice.len());
    if slices.iter().any(|slice| slice.len() != len) {
        return false;
    }
    split(slices, &each);
    true
}

fn split<const N: usize>(slices: [&mut [f32]; N], each: &(impl Fn([&mut [f32]; N]) + Sync)) {
    let len = slices.first().map_or(0, |slice| slice.len());
    if len <= ELEMENTS_PER_TASK {
        return each(slices);
    }
    let mut right: [&mut [f32]; N] = std::array::from_fn(|_| [].as_mut_slice());
    let mut rest = right.iter_mut();
    let left = slices.map(|slice| {
        let (left, right) = slice.split_at_mut(len / 2);
        if let Some(slot) = rest.next() {
            *slot = right;
        }
        left
    });
    rayon::join(|| split(left, each), || split(right, each));
}

/// One task's part, compiled once for each width of vectors and run with the widest that the
/// processor has. Nothing is fused or reordered: the bits are the same with all of them.
struct Vectorized<'a, 'e, F, const N: usize> {
    slices: [&'a mut [f32]; N],
    each: &'e F,
}

impl<F: Fn([&mut [f32]; N]), const N: usize> pulp::NullaryFnOnce for Vectorized<'_, '_, F, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        (self.each)(self.slices);
    }
}
