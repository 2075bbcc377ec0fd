//! Convolution on the CPU, forward and backward, with what follows it: bias, `relu`, max pooling.
//!
//! Each sample is a matrix product: kernels `[filters, k]` times columns `[k, positions]`, where `k`
//! counts channels and places of a kernel ([`Columns`]). A sample's columns and outputs stay in the
//! second cache; where a pooling follows, the outputs before it are never in memory as a whole,
//! neither forward nor backward.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::columns::Columns;
use super::pool2d::{self, MaxPool};
use super::sparse_conv2d::{SparseConv2d, SparseTask};
use super::tiles::{MAX_LANES, ROWS, VECTORS, inner, outer, split, store};
use crate::layers::Windows;
use crate::simd;

/// Fewer multiplications than this are not worth a second thread.
const PER_TASK: usize = 1 << 20;
/// Elements of the columns and gradients of the samples that the backward pass works on at once:
/// half of a second cache of 512 KiB.
const CHUNK: usize = 1 << 17;

/// A convolution and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conv2d {
    pub windows: Windows,
    pub filters: usize,
    pub groups: usize,
    pub relu: bool,
    /// Max pooling of the output.
    pub pool: Option<Windows>,
}

/// What the forward pass gives.
pub(crate) struct Forward {
    pub output: Vec<f32>,
    /// With pooling, for each output the position that was largest.
    pub largest: Vec<u32>,
}

/// What the backward pass gives.
pub(crate) struct Backward {
    /// Where it was asked for.
    pub input: Option<Vec<f32>>,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// What of the forward pass the backward pass needs.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    /// Empty where the gradient of the weight is not wanted; that of the bias is 0 then, too.
    pub input: &'a [f32],
    pub weight: &'a [f32],
    /// Of the forward pass.
    pub output: &'a [f32],
    pub largest: &'a [u32],
}

impl Conv2d {
    /// Of one sample.
    pub(super) fn input_len(&self) -> usize {
        self.windows.channels * self.windows.input[0] * self.windows.input[1]
    }

    fn positions(&self) -> usize {
        self.windows.output[0] * self.windows.output[1]
    }

    /// Of one channel, behind the pooling.
    fn output_positions(&self) -> usize {
        let [height, width] = self.pool.map_or(self.windows.output, |pool| pool.output);
        height * width
    }

    /// Of one sample, behind the pooling.
    pub(super) fn output_len(&self) -> usize {
        self.filters * self.output_positions()
    }

    /// Inputs of one filter.
    pub(super) fn depth(&self) -> usize {
        self.windows.channels / self.groups * self.windows.size[0] * self.windows.size[1]
    }

    /// Samples of one task, for at most so many tasks.
    fn samples_each(&self, samples: usize, tasks: usize) -> usize {
        let work = samples.saturating_mul(self.filters * self.depth() * self.positions());
        samples.div_ceil(tasks.min(work / PER_TASK).max(1)).max(1)
    }

    /// `x` holds whole samples; `weight` is `[filters, channels / groups, height, width]`.
    pub(crate) fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Forward {
        let samples = x.len() / self.input_len();
        let mut output = vec![0.0; samples * self.output_len()];
        let mut largest = vec![0; if self.pool.is_some() { output.len() } else { 0 }];
        let columns = Columns::new(&self.windows, self.windows.channels / self.groups);
        let kernels = Kernels::by_filter(self, weight);
        let pass = |x: &[f32], output: &mut [f32], largest: &mut [u32]| {
            let task = ForwardTask { conv: self, columns: &columns, kernels: &kernels, bias, x };
            simd::dispatch(ForwardOnto { task, output, largest });
        };
        let each = self.samples_each(samples, 4 * rayon::current_num_threads());
        if each >= samples {
            pass(x, &mut output, &mut largest);
            return Forward { output, largest };
        }
        let outputs = output.par_chunks_mut(each * self.output_len());
        let tasks = x.par_chunks(each * self.input_len()).zip(outputs);
        if self.pool.is_some() {
            let tasks = tasks.zip(largest.par_chunks_mut(each * self.output_len()));
            tasks.for_each(|((x, output), largest)| pass(x, output, largest));
        } else {
            tasks.for_each(|(x, output)| pass(x, output, &mut []));
        }
        Forward { output, largest }
    }

    /// `gradient` is that of the output. One task for each thread, whose sums are added in order:
    /// the bits depend on the number of threads alone.
    pub(crate) fn backward(&self, kept: Kept<'_>, gradient: &[f32], wants_input: bool) -> Backward {
        let Kept { input, weight, output, largest } = kept;
        let samples = gradient.len() / self.output_len().max(1);
        let columns = Columns::new(&self.windows, self.windows.channels / self.groups);
        let sparse = SparseConv2d::new(self);
        let in_runs = match &sparse {
            Some(sparse) if wants_input => sparse.in_runs(weight),
            _ => Vec::new(),
        };
        let kernels = (wants_input && sparse.is_none()).then(|| Kernels::by_input(self, weight));
        let each = self.samples_each(samples, rayon::current_num_threads());
        let mut by_input = wants_input.then(|| vec![0.0; samples * self.input_len()]);
        let pass = |part: usize, by_input: &mut [f32]| {
            let first = part * each;
            let last = (first + each).min(samples);
            let of = |len: usize| first * len..last * len;
            let gradient = &gradient[of(self.output_len())];
            let kept = Kept {
                input: input.get(of(self.input_len())).unwrap_or_default(),
                weight,
                output: output.get(of(self.output_len())).unwrap_or_default(),
                largest: largest.get(of(self.output_len())).unwrap_or_default(),
            };
            if let Some(sparse) = &sparse {
                let kernels = &in_runs;
                return simd::dispatch(SparseTask { sparse, kernels, kept, gradient, by_input });
            }
            let (columns, kernels) = (&columns, kernels.as_ref());
            simd::dispatch(BackwardTask { conv: self, columns, kernels, kept, gradient, by_input })
        };
        let parts = samples.div_ceil(each).max(1);
        let sums: Vec<(Vec<f32>, Vec<f32>)> = match &mut by_input {
            Some(by_input) if parts > 1 => {
                let by_input = by_input.par_chunks_mut(each * self.input_len()).enumerate();
                by_input.map(|(part, by_input)| pass(part, by_input)).collect()
            }
            None if parts > 1 => {
                (0..parts).into_par_iter().map(|part| pass(part, &mut [])).collect()
            }
            by_input => vec![pass(0, by_input.as_deref_mut().unwrap_or_default())],
        };
        let add = |mut sum: Vec<f32>, other: Vec<f32>| {
            sum.iter_mut().zip(&other).for_each(|(sum, other)| *sum += other);
            sum
        };
        let sums = sums.into_iter().reduce(|(weight, bias), (other_weight, other_bias)| {
            (add(weight, other_weight), add(bias, other_bias))
        });
        let (weight, bias) = sums.unwrap_or_default();
        Backward { input: by_input, weight, bias }
    }
}

/// Kernels in the order in which tiles read them: a tile's rows side by side.
struct Kernels {
    /// Tiles of (first row, rows), of each group.
    tiles: Vec<(usize, usize)>,
    values: Vec<f32>,
    /// Values of one group.
    group: usize,
    /// Length of a tile's rows.
    depth: usize,
}

impl Kernels {
    /// Rows are filters, for the forward pass.
    fn by_filter(conv: &Conv2d, weight: &[f32]) -> Self {
        let depth = conv.depth();
        Self::pack(conv, conv.filters / conv.groups, depth, |group, filter, k| {
            weight[(group * (conv.filters / conv.groups) + filter) * depth + k]
        })
    }

    /// Rows are inputs of filters, for the gradient of the input.
    fn by_input(conv: &Conv2d, weight: &[f32]) -> Self {
        let (depth, filters) = (conv.depth(), conv.filters / conv.groups);
        Self::pack(conv, depth, filters, |group, k, filter| {
            weight[(group * filters + filter) * depth + k]
        })
    }

    fn pack(
        conv: &Conv2d,
        rows: usize,
        depth: usize,
        at: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let tiles: Vec<(usize, usize)> = split(rows, ROWS).collect();
        let mut values = Vec::with_capacity(conv.groups * rows * depth);
        for group in 0..conv.groups {
            for &(first, rows) in &tiles {
                for k in 0..depth {
                    values.extend((first..first + rows).map(|row| at(group, row, k)));
                }
            }
        }
        Self { tiles, values, group: rows * depth, depth }
    }

    #[inline(always)]
    fn tile(&self, group: usize, first: usize, rows: usize) -> &[f32] {
        &self.values[group * self.group + first * self.depth..][..rows * self.depth]
    }
}

/// [`by_rows`], and with the number of vectors in each as a constant.
macro_rules! sized {
    ($rows:expr, $vectors:expr, |$m:ident, $v:ident| $body:expr) => {
        by_rows!($rows, |$m| {
            if $vectors == 1 {
                const $v: usize = 1;
                $body
            } else {
                const $v: usize = VECTORS;
                $body
            }
        })
    };
}

/// Some samples, forward.
struct ForwardTask<'a> {
    conv: &'a Conv2d,
    columns: &'a Columns,
    kernels: &'a Kernels,
    bias: Option<&'a [f32]>,
    x: &'a [f32],
}

struct ForwardOnto<'a> {
    task: ForwardTask<'a>,
    output: &'a mut [f32],
    largest: &'a mut [u32],
}

impl WithSimd for ForwardOnto<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { task, output, largest } = self;
        let ForwardTask { conv, columns, x, .. } = task;
        let positions = conv.positions();
        let (groups, filters) = (conv.groups, conv.filters / conv.groups);
        let mut buffer = vec![0.0; columns.len];
        // Before a pooling there is room for whole vectors of each filter's outputs.
        let stride = match conv.pool {
            Some(_) => positions.next_multiple_of(VECTORS * MAX_LANES),
            None => positions,
        };
        let mut before_pool =
            vec![0.0; if conv.pool.is_some() { conv.filters * stride } else { 0 }];
        let mut pool = conv.pool.map(|pool| MaxPool::new(&pool, conv.relu));
        let mut largest = largest.chunks_exact_mut(conv.output_len().max(1));
        let samples = x.chunks_exact(conv.input_len());
        for (x, output) in samples.zip(output.chunks_exact_mut(conv.output_len().max(1))) {
            let product = if conv.pool.is_some() { &mut before_pool[..] } else { &mut *output };
            for group in 0..groups {
                let channels = conv.input_len() / groups;
                columns.fill(simd, &x[group * channels..][..channels], &mut buffer);
                let product = &mut product[group * filters * stride..][..filters * stride];
                task.group(simd, group, &buffer, product, stride);
            }
            if let (Some(pool), Some(largest)) = (&mut pool, largest.next()) {
                let pooled = conv.output_positions();
                for ((channel, output), largest) in before_pool
                    .chunks_exact(stride)
                    .zip(output.chunks_exact_mut(pooled))
                    .zip(largest.chunks_exact_mut(pooled))
                {
                    pool.largest(simd, channel, output, largest);
                }
            }
        }
    }
}

impl ForwardTask<'_> {
    /// The outputs of one group, `[filters, positions]`, each filter's `stride` behind that of the one
    /// before.
    #[inline(always)]
    fn group<S: Simd>(
        &self,
        simd: S,
        group: usize,
        columns: &[f32],
        output: &mut [f32],
        stride: usize,
    ) {
        let positions = self.conv.positions();
        let filters = self.conv.filters / self.conv.groups;
        // Behind a pooling there are fewer to cut off.
        let relu = self.conv.relu && self.conv.pool.is_none();
        let mut at = 0;
        while at < positions {
            let left = positions - at;
            let vectors = if left > S::F32_LANES { VECTORS } else { 1 };
            let width = (stride - at).min(vectors * S::F32_LANES);
            for &(first, rows) in &self.kernels.tiles {
                let kernels = self.kernels.tile(group, first, rows);
                sized!(rows, vectors, |M, V| {
                    let kernels = kernels.as_chunks::<M>().0;
                    let sums = outer::<S, M, V>(simd, kernels, columns, &self.columns.starts, at);
                    for row in 0..M {
                        let filter = first + row;
                        let bias = self.bias.map_or(0.0, |bias| bias[group * filters + filter]);
                        let bias = simd.splat_f32s(bias);
                        let mut sums = sums[row].map(|sum| simd.add_f32s(sum, bias));
                        if relu {
                            let zero = simd.splat_f32s(0.0);
                            // In this order a NaN stays one.
                            sums = sums.map(|sum| {
                                let is_below = simd.less_than_f32s(sum, zero);
                                simd.select_f32s(is_below, zero, sum)
                            });
                        }
                        let target = &mut output[filter * stride + at..][..width];
                        for (target, sum) in target.chunks_mut(S::F32_LANES).zip(sums) {
                            store::<S>(target, sum);
                        }
                    }
                });
            }
            at += width;
        }
    }
}

/// Some samples, backward. Gives the gradients of weight and bias.
struct BackwardTask<'a> {
    conv: &'a Conv2d,
    columns: &'a Columns,
    /// Where the gradient of the input is wanted.
    kernels: Option<&'a Kernels>,
    kept: Kept<'a>,
    gradient: &'a [f32],
    by_input: &'a mut [f32],
}

impl WithSimd for BackwardTask<'_> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { conv, columns, kernels, kept, gradient, by_input } = self;
        let Kept { input, output, largest, .. } = kept;
        let groups = conv.groups;
        let (filters, depth) = (conv.filters / groups, conv.depth());
        let (inputs, outputs) = (conv.input_len(), conv.output_len());
        let positions = conv.positions();
        // Zeros up to here make whole vectors of each filter's gradients.
        let padded = positions.next_multiple_of(MAX_LANES);
        let samples = gradient.len() / outputs.max(1);
        let wants_weight = !input.is_empty();
        let chunk = (CHUNK / (columns.len + filters * padded)).clamp(1, samples.max(1));

        let mut by_weight = vec![0.0; conv.filters * depth];
        let mut by_bias = vec![0.0; conv.filters];
        let mut buffers = vec![0.0; chunk * columns.len];
        let mut gradients = vec![0.0; chunk * filters * padded];
        let mut by_columns = vec![0.0; if kernels.is_some() { columns.len } else { 0 }];
        for first in (0..samples).step_by(chunk) {
            let chunk = chunk.min(samples - first);
            for group in 0..groups {
                let channels = inputs / groups;
                for sample in 0..chunk {
                    let image = (first + sample) * inputs + group * channels;
                    let buffer = &mut buffers[sample * columns.len..][..columns.len];
                    if wants_weight {
                        columns.fill(simd, &input[image..image + channels], buffer);
                    }

                    let from = (first + sample) * outputs + group * (outputs / groups);
                    let from = from..from + outputs / groups;
                    let target = &mut gradients[sample * filters * padded..][..filters * padded];
                    spread(
                        conv,
                        &gradient[from.clone()],
                        output.get(from.clone()).unwrap_or_default(),
                        largest.get(from).unwrap_or_default(),
                        target,
                        padded,
                    );
                    if wants_weight {
                        let by_bias = &mut by_bias[group * filters..][..filters];
                        for (sum, gradients) in by_bias.iter_mut().zip(target.chunks_exact(padded))
                        {
                            *sum += total(simd, gradients);
                        }
                    }

                    if let Some(kernels) = kernels {
                        by_columns.fill(0.0);
                        multiply_back(
                            simd,
                            columns,
                            kernels,
                            group,
                            target,
                            padded,
                            &mut by_columns,
                        );
                        columns.fold(simd, &by_columns, &mut by_input[image..image + channels]);
                    }
                }
                if wants_weight {
                    let by_weight = &mut by_weight[group * filters * depth..][..filters * depth];
                    let (buffers, gradients) =
                        (&buffers[..chunk * columns.len], &gradients[..chunk * filters * padded]);
                    weigh(simd, columns, buffers, gradients, padded, by_weight);
                }
            }
        }
        (by_weight, by_bias)
    }
}

/// The gradients before `relu` and pooling, `[filters, padded]`, zeros behind the positions.
#[inline(always)]
fn spread(
    conv: &Conv2d,
    gradient: &[f32],
    output: &[f32],
    largest: &[u32],
    target: &mut [f32],
    padded: usize,
) {
    let positions = conv.output_positions();
    let rows = target.chunks_exact_mut(padded).zip(gradient.chunks_exact(positions));
    if conv.pool.is_some() {
        for ((target, gradient), largest) in rows.zip(largest.chunks_exact(positions)) {
            target.fill(0.0);
            pool2d::spread(gradient, largest, target);
        }
    } else if conv.relu {
        for ((target, gradient), output) in rows.zip(output.chunks_exact(positions)) {
            for ((target, gradient), output) in target.iter_mut().zip(gradient).zip(output) {
                *target = if *output > 0.0 { *gradient } else { 0.0 };
            }
        }
    } else {
        for (target, gradient) in rows {
            target[..positions].copy_from_slice(gradient);
        }
    }
}

/// The sum of whole vectors.
#[inline(always)]
fn total<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let (vectors, _) = S::as_simd_f32s(values);
    let sum = vectors.iter().fold(simd.splat_f32s(0.0), |sum, &value| simd.add_f32s(sum, value));
    simd.reduce_sum_f32s(sum)
}

/// Adds kernels × gradients, the gradient of one sample's columns, to `by_columns`.
#[inline(always)]
fn multiply_back<S: Simd>(
    simd: S,
    columns: &Columns,
    kernels: &Kernels,
    group: usize,
    gradients: &[f32],
    padded: usize,
    by_columns: &mut [f32],
) {
    let starts: Vec<usize> = (0..gradients.len() / padded).map(|filter| filter * padded).collect();
    let mut at = 0;
    while at < padded {
        // No more than the zeros behind the positions fill.
        let vectors = if padded - at > S::F32_LANES { VECTORS } else { 1 };
        for &(first, rows) in &kernels.tiles {
            let kernel = kernels.tile(group, first, rows);
            sized!(rows, vectors, |M, V| {
                let kernel = kernel.as_chunks::<M>().0;
                let sums = outer::<S, M, V>(simd, kernel, gradients, &starts, at);
                for row in 0..M {
                    let target = &mut by_columns[columns.starts[first + row] + at..];
                    let (target, _) = S::as_mut_simd_f32s(&mut target[..V * S::F32_LANES]);
                    for vector in 0..V {
                        // Behind the positions the sums are 0: nothing is added to a neighbour.
                        target[vector] = simd.add_f32s(target[vector], sums[row][vector]);
                    }
                }
            });
        }
        at += vectors * S::F32_LANES;
    }
}

/// Adds gradients × columns, `[filters, k]`, summed over the samples and positions.
///
/// Behind a sample's positions there are other values in the place of columns, times gradients of 0.
#[inline(always)]
fn weigh<S: Simd>(
    simd: S,
    columns: &Columns,
    buffers: &[f32],
    gradients: &[f32],
    padded: usize,
    by_weight: &mut [f32],
) {
    let depth = columns.starts.len();
    let filters = by_weight.len() / depth;
    // With the longest vectors come twice as many registers.
    let is_wide = S::F32_LANES == MAX_LANES;
    let most = if is_wide { 4 } else { 3 };
    macro_rules! tile {
        ($m:literal, $n:literal, $filter:expr, $k:expr) => {{
            let mut sums = [[simd.splat_f32s(0.0); $n]; $m];
            for (buffer, gradients) in
                buffers.chunks_exact(columns.len).zip(gradients.chunks_exact(filters * padded))
            {
                let left = std::array::from_fn(|i| &gradients[($filter + i) * padded..][..padded]);
                let right = std::array::from_fn(|j| &buffer[columns.starts[$k + j]..][..padded]);
                inner::<S, $m, $n>(simd, left, right, &mut sums);
            }
            for i in 0..$m {
                for j in 0..$n {
                    by_weight[($filter + i) * depth + $k + j] += simd.reduce_sum_f32s(sums[i][j]);
                }
            }
        }};
    }
    macro_rules! tiles {
        ($m:literal, $filter:expr, $k:expr, $n:expr) => {
            match $n {
                4 if is_wide => tile!($m, 4, $filter, $k),
                1 => tile!($m, 1, $filter, $k),
                2 => tile!($m, 2, $filter, $k),
                _ => tile!($m, 3, $filter, $k),
            }
        };
    }
    for (k, columns_in_tile) in split(depth, most) {
        for (filter, filters_in_tile) in split(filters, most) {
            match filters_in_tile {
                4 if is_wide => tiles!(4, filter, k, columns_in_tile),
                1 => tiles!(1, filter, k, columns_in_tile),
                2 => tiles!(2, filter, k, columns_in_tile),
                _ => tiles!(3, filter, k, columns_in_tile),
            }
        }
    }
}
