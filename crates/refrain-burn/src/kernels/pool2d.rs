//! Max pooling on the CPU, with the positions of the largest kept for the backward pass.

use pulp::Simd;

use super::tiles::{MAX_LANES, store, store_u32};
use crate::layers::Windows;

/// In place of a position: nothing of the window takes a gradient.
pub(super) const NONE: u32 = u32::MAX;

/// Max pooling of one channel after another.
pub(super) struct MaxPool {
    windows: Windows,
    relu: bool,
    /// Windows of 2 × 2, side by side: the four values of all windows as four rows of whole vectors.
    fours: Option<Fours>,
}

struct Fours {
    values: [Vec<f32>; 4],
    /// Where the first of each window is.
    at: Vec<u32>,
}

impl MaxPool {
    /// With `relu` of what was pooled, where that is asked for.
    pub(super) fn new(windows: &Windows, relu: bool) -> Self {
        let [_, width] = windows.input;
        let [output_height, output_width] = windows.output;
        let is_fours =
            windows.size == [2, 2] && windows.strides == [2, 2] && windows.padding == [(0, 0); 2];
        let fours = is_fours.then(|| {
            let len = (output_height * output_width).next_multiple_of(MAX_LANES);
            let mut at: Vec<u32> = (0..output_height)
                .flat_map(|row| (0..output_width).map(move |column| (row, column)))
                .map(|(row, column)| (2 * row * width + 2 * column) as u32)
                .collect();
            at.resize(len, 0);
            Fours { values: std::array::from_fn(|_| vec![0.0; len]), at }
        });
        Self { windows: *windows, relu, fours }
    }

    /// The largest of each window, and its position; the first of several.
    #[inline(always)]
    pub(super) fn largest<S: Simd>(
        &mut self,
        simd: S,
        input: &[f32],
        output: &mut [f32],
        at: &mut [u32],
    ) {
        let Self { windows, relu, fours } = self;
        match fours {
            Some(fours) => {
                fours.gather(windows, input);
                fours.largest(simd, windows.input[1] as u32, *relu, output, at);
            }
            None => largest(windows, *relu, input, output, at),
        }
    }
}

impl Fours {
    #[inline(always)]
    fn gather(&mut self, windows: &Windows, input: &[f32]) {
        let [_, width] = windows.input;
        let [output_height, output_width] = windows.output;
        let [a, b, c, d] = &mut self.values;
        for row in 0..output_height {
            let first = 2 * row * width;
            let above = input[first..][..2 * output_width].as_chunks::<2>().0;
            let below = input[first + width..][..2 * output_width].as_chunks::<2>().0;
            let target = row * output_width..(row + 1) * output_width;
            for (([left, right], a), b) in
                above.iter().zip(&mut a[target.clone()]).zip(&mut b[target.clone()])
            {
                (*a, *b) = (*left, *right);
            }
            for (([left, right], c), d) in
                below.iter().zip(&mut c[target.clone()]).zip(&mut d[target])
            {
                (*c, *d) = (*left, *right);
            }
        }
    }

    #[inline(always)]
    fn largest<S: Simd>(
        &self,
        simd: S,
        width: u32,
        relu: bool,
        output: &mut [f32],
        at: &mut [u32],
    ) {
        let [a, b, c, d] = self.values.each_ref().map(|values| S::as_simd_f32s(values).0);
        let (places, _) = S::as_simd_u32s(&self.at);
        let len = output.len();
        let targets = output.chunks_mut(S::F32_LANES).zip(at.chunks_mut(S::U32_LANES));
        for (i, (output, at)) in targets.enumerate().take(len.div_ceil(S::F32_LANES)) {
            let place = |offset: u32| simd.add_u32s(places[i], simd.splat_u32s(offset));
            let mut best = (a[i], places[i]);
            for (value, offset) in [(b[i], 1), (c[i], width), (d[i], width + 1)] {
                // NaN is larger than anything.
                let is_number = simd.equal_f32s(value, value);
                let larger = simd.less_than_f32s(best.0, value);
                let wins = simd.or_m32s(larger, simd.not_m32s(is_number));
                best.0 = simd.select_f32s(wins, value, best.0);
                best.1 = simd.select_u32s(wins, place(offset), best.1);
            }
            if relu {
                let zero = simd.splat_f32s(0.0);
                let cut = simd.less_than_or_equal_f32s(best.0, zero);
                best.0 = simd.select_f32s(cut, zero, best.0);
                best.1 = simd.select_u32s(cut, simd.splat_u32s(NONE), best.1);
            }
            store::<S>(output, best.0);
            store_u32::<S>(at, best.1);
        }
    }
}

/// For windows of any kind.
#[inline(always)]
fn largest(windows: &Windows, relu: bool, input: &[f32], output: &mut [f32], at: &mut [u32]) {
    let [_, width] = windows.input;
    let [output_height, output_width] = windows.output;
    let mut outputs = output.iter_mut().zip(at);
    for row in 0..output_height {
        let rows = within(windows, 0, row);
        for column in 0..output_width {
            let columns = within(windows, 1, column);
            let mut best = (f32::NEG_INFINITY, NONE);
            for y in rows.clone() {
                for x in columns.clone() {
                    let place = y * width + x;
                    let candidate = (input[place], place as u32);
                    best = if best.1 == NONE { candidate } else { larger(best, candidate) };
                }
            }
            // A NaN stays one.
            if relu && best.0 <= 0.0 {
                best = (0.0, NONE);
            }
            if let Some((output, at)) = outputs.next() {
                (*output, *at) = best;
            }
        }
    }
}

/// The part of a window within the image, along an axis.
#[inline(always)]
fn within(windows: &Windows, axis: usize, window: usize) -> std::ops::Range<usize> {
    let start = window * windows.strides[axis];
    let before = windows.padding[axis].0;
    start.saturating_sub(before)
        ..(start + windows.size[axis]).saturating_sub(before).min(windows.input[axis])
}

/// NaN is larger than anything.
#[inline(always)]
fn larger(a: (f32, u32), b: (f32, u32)) -> (f32, u32) {
    if b.0 > a.0 || b.0.is_nan() { b } else { a }
}

/// Adds the gradients of one channel to the positions that they belong to.
#[inline(always)]
pub(super) fn spread(gradient: &[f32], at: &[u32], target: &mut [f32]) {
    for (gradient, at) in gradient.iter().zip(at) {
        if let Some(target) = target.get_mut(*at as usize) {
            *target += gradient;
        }
    }
}
