//! One pass over the buffers of several tensors, in place.

use burn::tensor::{DType, Device, Tensor};

/// Below this many elements a second thread costs more than it saves.
const ELEMENTS_PER_TASK: usize = 1 << 16;

/// Runs `each` over the elements of `N` tensors at once, where they can be had as host memory:
/// f32 on the CPU. `None`, and the tensors as they were, where not.
///
/// `each` gets the same part of every tensor, and must treat elements independently of each
/// other, so that results do not depend on the number of threads.
///
/// Buffers that nobody else holds are neither copied nor allocated anew: a chain of tensor
/// operations would be a dozen passes and as many allocations for Adam.
pub(super) fn in_place<const N: usize>(
    tensors: [Tensor<1>; N],
    each: impl Fn([&mut [f32]; N]) + Sync,
) -> Result<[Tensor<1>; N], [Tensor<1>; N]> {
    let cpu = Device::flex();
    let len = tensors.first().map_or(0, |tensor| tensor.dims()[0]);
    let fits = tensors.iter().all(|tensor| {
        tensor.dtype() == DType::F32 && tensor.dims()[0] == len && tensor.device() == cpu
    });
    if !fits {
        return Err(tensors);
    }

    // No read back from a device: this is the tensor's own memory, handed out and back.
    let mut data = tensors.map(Tensor::into_data);
    let mut slices: [&mut [f32]; N] = std::array::from_fn(|_| [].as_mut_slice());
    let mut found = 0;
    for (slot, data) in slices.iter_mut().zip(&mut data) {
        if let Ok(slice) = data.as_mut_slice::<f32>() {
            *slot = slice;
            found += 1;
        }
    }
    let done = found == N;
    if done {
        split(slices, &each);
    }
    let tensors = data.map(|data| Tensor::from_data(data, (&cpu, DType::F32)));
    if done { Ok(tensors) } else { Err(tensors) }
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
