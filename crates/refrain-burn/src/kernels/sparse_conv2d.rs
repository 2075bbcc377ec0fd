//! The backward pass of a convolution before a max pooling. Of each window of the pooling one position
//! alone has a gradient: products with all positions would be products with 0, for the most part.
//!
//! Images are turned so that the channels of a pixel lie side by side. What a kernel sees of an image
//! is a few runs of numbers then, which are read and added to where they are.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::conv2d::{Conv2d, Kept};
use super::tiles::MAX_LANES;
use crate::layers::Windows;

/// Vectors of a run that are worked on at once: sums and kernels stay in registers.
const VECTORS: usize = 6;
/// Elements of the part of an image that all filters go over before the next part: half of a
/// first-level cache of 32 KiB.
const BAND: usize = 1 << 12;

/// Where kernels lie on images whose channels are side by side, of one group of channels.
pub(super) struct SparseConv2d<'a> {
    conv: &'a Conv2d,
    channels: usize,
    /// Elements of a row of the image, with its padding.
    row: usize,
    /// Elements of the image with its padding, and of a run behind its end.
    image: usize,
    /// Where in a window the runs of a kernel begin.
    runs: Vec<usize>,
    /// Elements of a run, with those that make it whole vectors.
    padded: usize,
    /// Where the window of each position begins.
    starts: Vec<u32>,
    /// Rows of the pooled output that a band has.
    band: usize,
}

impl<'a> SparseConv2d<'a> {
    /// `None` where products with all positions are as fast.
    pub(super) fn new(conv: &'a Conv2d) -> Option<Self> {
        let pool = conv.pool?;
        let Windows { input, output, size, strides, dilation, padding, .. } = conv.windows;
        let channels = conv.windows.channels / conv.groups;
        let [padded_height, padded_width] =
            [0, 1].map(|axis| input[axis] + padding[axis].0 + padding[axis].1);
        let row = padded_width * channels;
        // Neighbours in a kernel's row are neighbours in the image.
        let joined = dilation[1] == 1;
        let run = if joined { size[1] * channels } else { channels };
        let in_a_row = if joined { 1 } else { size[1] };
        let runs = (0..size[0]).flat_map(|y| (0..in_a_row).map(move |x| (y, x)));
        let runs: Vec<usize> =
            runs.map(|(y, x)| y * dilation[0] * row + x * dilation[1] * channels).collect();
        let padded = run.next_multiple_of(MAX_LANES);
        let image = padded_height * row + padded;
        u32::try_from(image).ok()?;

        let all = conv.depth() * output[0] * output[1];
        let few = runs.len() * padded * pool.output[0] * pool.output[1];
        if 2 * few > all {
            return None;
        }
        let starts = (0..output[0]).flat_map(|y| {
            (0..output[1]).map(move |x| (y * strides[0] * row + x * strides[1] * channels) as u32)
        });
        let rows_of_image = |rows: usize| {
            ((rows - 1) * pool.strides[0] + pool.size[0]) * strides[0] + size[0] * dilation[0]
        };
        let band =
            (1..=pool.output[0]).take_while(|&rows| rows_of_image(rows) * row <= BAND).last();
        Some(Self {
            conv,
            channels,
            row,
            image,
            starts: starts.collect(),
            runs,
            padded,
            band: band.unwrap_or(1),
        })
    }

    /// In how many parts an image is gone over.
    #[cfg(test)]
    pub(super) fn bands(&self) -> usize {
        self.conv.pool.map_or(0, |pool| pool.output[0].div_ceil(self.band))
    }

    /// Elements of a kernel with its runs as whole vectors.
    fn kernel(&self) -> usize {
        self.runs.len() * self.padded
    }

    /// Where in such a kernel each weight of a filter is.
    fn order(&self) -> impl Iterator<Item = usize> + '_ {
        let [height, width] = self.conv.windows.size;
        let joined = self.runs.len() == height;
        (0..self.channels).flat_map(move |channel| {
            (0..height).flat_map(move |y| {
                (0..width).map(move |x| match joined {
                    true => y * self.padded + x * self.channels + channel,
                    false => (y * width + x) * self.padded + channel,
                })
            })
        })
    }

    /// Kernels in runs, with zeros behind each.
    pub(super) fn in_runs(&self, weight: &[f32]) -> Vec<f32> {
        let mut kernels = vec![0.0; self.conv.filters * self.kernel()];
        let rows = kernels.chunks_exact_mut(self.kernel());
        for (kernel, weight) in rows.zip(weight.chunks_exact(self.conv.depth())) {
            self.order().zip(weight).for_each(|(at, weight)| kernel[at] = *weight);
        }
        kernels
    }

    /// The reverse.
    fn out_of_runs(&self, kernels: &[f32]) -> Vec<f32> {
        let kernels = kernels.chunks_exact(self.kernel());
        kernels.flat_map(|kernel| self.order().map(|at| kernel[at])).collect()
    }

    /// Each row of an image: of its channels one by one, and with the channels side by side.
    fn rows(&self) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let Windows { input: [height, width], padding: [above, left], .. } = self.conv.windows;
        let (row, channels) = (self.row, self.channels);
        (0..height).map(move |y| {
            let start = (y + above.0) * row + left.0 * channels;
            (y * width, start..start + width * channels)
        })
    }
}

/// Some samples. Gives the gradients of weight and bias.
pub(super) struct SparseTask<'a> {
    pub sparse: &'a SparseConv2d<'a>,
    /// In runs; empty where the gradient of the input is not wanted.
    pub kernels: &'a [f32],
    pub kept: Kept<'a>,
    pub gradient: &'a [f32],
    pub by_input: &'a mut [f32],
}

impl WithSimd for SparseTask<'_> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { sparse, kernels, kept, gradient, by_input } = self;
        let conv = sparse.conv;
        let filters = conv.filters / conv.groups;
        let channels = conv.input_len() / conv.groups;
        let pixels = channels / sparse.channels;
        let kernel = sparse.kernel();
        let [height, width] = conv.pool.map_or([0; 2], |pool| pool.output);
        let positions = height * width;
        let (wants_weight, wants_input) = (!kept.input.is_empty(), !kernels.is_empty());

        let mut by_kernel = vec![0.0; conv.filters * kernel];
        let mut by_bias = vec![0.0; conv.filters];
        let mut image = vec![0.0; sparse.image];
        let mut by_image = vec![0.0; if wants_input { sparse.image } else { 0 }];
        let mut few = Few::default();
        // Groups of samples one after another.
        for at in 0..gradient.len() / (filters * positions).max(1) {
            let group = at % conv.groups;
            let outputs = at * filters * positions..(at + 1) * filters * positions;
            let (gradient, largest) = (&gradient[outputs.clone()], &kept.largest[outputs]);
            if wants_weight {
                turn(sparse, &kept.input[at * channels..][..channels], pixels, &mut image);
            }
            by_image.fill(0.0);
            for first in (0..height).step_by(sparse.band) {
                let band = first * width..height.min(first + sparse.band) * width;
                for filter in 0..filters {
                    let outputs = filter * positions + band.start..filter * positions + band.end;
                    few.collect(&sparse.starts, &gradient[outputs.clone()], &largest[outputs]);
                    let filter = group * filters + filter;
                    if wants_weight {
                        by_bias[filter] += few.sum();
                        let sums = &mut by_kernel[filter * kernel..][..kernel];
                        for (at, sums) in
                            sparse.runs.iter().zip(sums.chunks_exact_mut(sparse.padded))
                        {
                            few.weigh(simd, &image[*at..], sums);
                        }
                    }
                    if wants_input {
                        let kernels =
                            kernels[filter * kernel..][..kernel].chunks_exact(sparse.padded);
                        for (at, kernel) in sparse.runs.iter().zip(kernels) {
                            few.spread(simd, kernel, &mut by_image[*at..]);
                        }
                    }
                }
            }
            if wants_input {
                turn_back(sparse, &by_image, pixels, &mut by_input[at * channels..][..channels]);
            }
        }
        (sparse.out_of_runs(&by_kernel), by_bias)
    }
}

/// Channels one by one in, side by side out. The padding stays.
#[inline(always)]
fn turn(sparse: &SparseConv2d<'_>, image: &[f32], pixels: usize, target: &mut [f32]) {
    let width = sparse.conv.windows.input[1];
    for (from, to) in sparse.rows() {
        let target = &mut target[to];
        for (channel, image) in image.chunks_exact(pixels).enumerate() {
            let targets = target.chunks_exact_mut(sparse.channels);
            for (target, value) in targets.zip(&image[from..from + width]) {
                target[channel] = *value;
            }
        }
    }
}

/// The reverse.
#[inline(always)]
fn turn_back(sparse: &SparseConv2d<'_>, image: &[f32], pixels: usize, target: &mut [f32]) {
    let width = sparse.conv.windows.input[1];
    for (to, from) in sparse.rows() {
        let image = &image[from];
        for (channel, target) in target.chunks_exact_mut(pixels).enumerate() {
            let values = image.chunks_exact(sparse.channels);
            for (target, value) in target[to..to + width].iter_mut().zip(values) {
                *target = value[channel];
            }
        }
    }
}

/// The gradients of a filter that are not 0, each with where its window begins.
#[derive(Default)]
struct Few {
    gradients: Vec<f32>,
    starts: Vec<u32>,
    len: usize,
}

impl Few {
    /// From those of the outputs of the pooling, and which position each is of.
    #[inline(always)]
    fn collect(&mut self, starts: &[u32], gradient: &[f32], largest: &[u32]) {
        self.gradients.resize(gradient.len(), 0.0);
        self.starts.resize(gradient.len(), 0);
        let mut len = 0;
        for (&gradient, &largest) in gradient.iter().zip(largest) {
            // Which outputs are 0 cannot be foreseen: written in any case, and written over.
            let start = starts.get(largest as usize);
            self.gradients[len] = gradient;
            self.starts[len] = start.copied().unwrap_or_default();
            len += usize::from(start.is_some() & (gradient != 0.0));
        }
        self.len = len;
    }

    #[inline(always)]
    fn each(&self) -> impl Iterator<Item = (f32, usize)> {
        let starts = self.starts[..self.len].iter().map(|start| *start as usize);
        self.gradients[..self.len].iter().copied().zip(starts)
    }

    #[inline(always)]
    fn sum(&self) -> f32 {
        self.gradients[..self.len].iter().sum()
    }

    /// Adds gradients × what a run of the kernel saw of the image, which begins where the run does.
    #[inline(always)]
    fn weigh<S: Simd>(&self, simd: S, image: &[f32], sums: &mut [f32]) {
        let (sums, _) = S::as_mut_simd_f32s(sums);
        let mut first = 0;
        for sums in sums.chunks_mut(VECTORS) {
            by_rows!(sums.len(), |V| {
                let mut local = [simd.splat_f32s(0.0); V];
                local.copy_from_slice(sums);
                for (gradient, start) in self.each() {
                    let gradient = simd.splat_f32s(gradient);
                    let seen = &image[start + first..][..V * S::F32_LANES];
                    let (seen, _) = S::as_simd_f32s(seen);
                    for vector in 0..V {
                        local[vector] = simd.mul_add_f32s(gradient, seen[vector], local[vector]);
                    }
                }
                sums.copy_from_slice(&local);
                first += V * S::F32_LANES;
            });
        }
    }

    /// Adds gradients × a run of the kernel to what it saw of the image.
    #[inline(always)]
    fn spread<S: Simd>(&self, simd: S, kernel: &[f32], image: &mut [f32]) {
        let (kernel, _) = S::as_simd_f32s(kernel);
        let mut first = 0;
        for kernel in kernel.chunks(VECTORS) {
            by_rows!(kernel.len(), |V| {
                let mut local = [simd.splat_f32s(0.0); V];
                local.copy_from_slice(kernel);
                for (gradient, start) in self.each() {
                    let gradient = simd.splat_f32s(gradient);
                    let seen = &mut image[start + first..][..V * S::F32_LANES];
                    let (seen, _) = S::as_mut_simd_f32s(seen);
                    for vector in 0..V {
                        seen[vector] = simd.mul_add_f32s(gradient, local[vector], seen[vector]);
                    }
                }
                first += V * S::F32_LANES;
            });
        }
    }
}
