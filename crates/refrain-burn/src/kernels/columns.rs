//! The columns of a convolution: for each input `k` of a filter, a row with its value at each
//! position of the output.

use pulp::{Simd, WithSimd};

use crate::layers::Windows;

/// Behind the last column, for vectors that reach beyond it.
const SLACK: usize = 64;

/// Where the rows of a sample's columns begin in a buffer.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    windows: Windows,
    channels: usize,
    /// Rows of the image with its padding; of the output where nothing is shared.
    height: usize,
    /// Whether rows of columns overlap: with strides of 1, those of the places along a kernel's
    /// height are one image, some rows further down.
    shared: bool,
    /// By channel, place along the height, place along the width.
    pub(super) starts: Vec<usize>,
    /// Of the buffer.
    pub(super) len: usize,
}

impl Columns {
    /// For the channels of one group.
    pub(super) fn new(windows: &Windows, channels: usize) -> Self {
        let [kernel_height, kernel_width] = windows.size;
        let [output_height, output_width] = windows.output;
        let shared = windows.strides == [1, 1];
        let (before, behind) = windows.padding[0];
        let height = if shared { windows.input[0] + before + behind } else { output_height };
        let image = height * output_width;
        let mut starts = Vec::with_capacity(channels * kernel_height * kernel_width);
        for channel in 0..channels {
            for y in 0..kernel_height {
                for x in 0..kernel_width {
                    starts.push(if shared {
                        (x * channels + channel) * image + y * windows.dilation[0] * output_width
                    } else {
                        starts.len() * image
                    });
                }
            }
        }
        let images = if shared { channels * kernel_width } else { starts.len() };
        Self { windows: *windows, channels, height, shared, starts, len: images * image + SLACK }
    }

    /// Fills the buffer from an image. What the buffer holds behind the columns stays.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(&self, simd: S, image: &[f32], buffer: &mut [f32]) {
        let visitor = Fill { width: self.windows.output[1], image, buffer };
        simd.vectorize(Each { columns: self, visitor });
    }

    /// Adds each column to where it came from: the reverse of [`fill`](Self::fill).
    #[inline(always)]
    pub(super) fn fold<S: Simd>(&self, simd: S, buffer: &[f32], image: &mut [f32]) {
        simd.vectorize(Each { columns: self, visitor: Fold { buffer, image } });
    }

    /// Each row of each image in the buffer, by its place, and where in the image it comes from;
    /// `None` within the padding.
    #[inline(always)]
    fn each(&self, mut visitor: impl Visitor) {
        let Windows { input: [_, input_width], strides, dilation, padding, size, output, .. } =
            self.windows;
        let input_height = self.windows.input[0];
        let heights = if self.shared { 1 } else { size[0] };
        for channel in 0..self.channels {
            for y in 0..heights {
                for x in 0..size[1] {
                    let shift = x * dilation[1];
                    // Outputs whose input lies within the image's width.
                    let first = padding[1].0.saturating_sub(shift).div_ceil(strides[1]);
                    let end = (input_width + padding[1].0).saturating_sub(shift);
                    let end = end.div_ceil(strides[1]).min(output[1]);
                    let first = first.min(end);
                    let start = self.starts[(channel * size[0] + y) * size[1] + x];
                    for row in 0..self.height {
                        let from = row * strides[0] + y * dilation[0];
                        let from = from.checked_sub(padding[0].0).filter(|&y| y < input_height);
                        let span = from.filter(|_| first < end).map(|from| {
                            let column = first * strides[1] + shift - padding[1].0;
                            Span {
                                at: (channel * input_height + from) * input_width + column,
                                first,
                                len: end - first,
                                stride: strides[1],
                            }
                        });
                        visitor.row(start + row * output[1], span);
                    }
                }
            }
        }
    }
}

/// Neighbours, or each `stride`th, in a row of an image.
#[derive(Clone, Copy)]
struct Span {
    at: usize,
    /// The output that the first is for.
    first: usize,
    len: usize,
    stride: usize,
}

/// A function of its own: within the loops of the products it would take their registers.
struct Each<'a, V> {
    columns: &'a Columns,
    visitor: V,
}

impl<V: Visitor> WithSimd for Each<'_, V> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.columns.each(self.visitor);
    }
}

/// Not a closure: those are not compiled for the vectors of the function around them.
trait Visitor {
    /// The row at `at` of the buffer, and where its values are in the image.
    fn row(&mut self, at: usize, span: Option<Span>);
}

struct Fill<'a> {
    width: usize,
    image: &'a [f32],
    buffer: &'a mut [f32],
}

impl Visitor for Fill<'_> {
    #[inline(always)]
    fn row(&mut self, at: usize, span: Option<Span>) {
        let target = &mut self.buffer[at..at + self.width];
        let Some(Span { at, first, len, stride }) = span else {
            return target.fill(0.0);
        };
        target[..first].fill(0.0);
        target[first + len..].fill(0.0);
        let target = &mut target[first..first + len];
        if stride == 1 {
            return copy(target, &self.image[at..at + len]);
        }
        for (target, source) in target.iter_mut().zip(self.image[at..].iter().step_by(stride)) {
            *target = *source;
        }
    }
}

struct Fold<'a> {
    buffer: &'a [f32],
    image: &'a mut [f32],
}

impl Visitor for Fold<'_> {
    #[inline(always)]
    fn row(&mut self, at: usize, span: Option<Span>) {
        let Some(Span { at: target, first, len, stride }) = span else {
            return;
        };
        let source = &self.buffer[at + first..at + first + len];
        if stride == 1 {
            for (target, source) in self.image[target..target + len].iter_mut().zip(source) {
                *target += source;
            }
            return;
        }
        for (target, source) in self.image[target..].iter_mut().step_by(stride).zip(source) {
            *target += source;
        }
    }
}

/// Rows are short: a call to copy one costs more than the copy.
#[inline(always)]
fn copy(target: &mut [f32], source: &[f32]) {
    let (target_eights, target) = target.as_chunks_mut::<8>();
    let (source_eights, source) = source.as_chunks::<8>();
    for (target, source) in target_eights.iter_mut().zip(source_eights) {
        *target = *source;
    }
    for (target, source) in target.iter_mut().zip(source) {
        *target = *source;
    }
}
