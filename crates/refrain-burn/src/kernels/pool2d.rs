//! Max pooling on the CPU, with the positions of the largest kept for the backward pass.

use crate::layers::Windows;

/// In place of a position: nothing of the window takes a gradient.
pub(super) const NONE: u32 = u32::MAX;

/// The largest of each window of one channel, and its position; the first of several.
#[inline(always)]
pub(super) fn largest(windows: &Windows, input: &[f32], output: &mut [f32], at: &mut [u32]) {
    let [_, width] = windows.input;
    let [output_height, output_width] = windows.output;
    if windows.size == [2, 2] && windows.strides == [2, 2] && windows.padding == [(0, 0); 2] {
        for row in 0..output_height {
            let first = 2 * row * width;
            let above = input[first..][..2 * output_width].as_chunks::<2>().0;
            let below = input[first + width..][..2 * output_width].as_chunks::<2>().0;
            let output = &mut output[row * output_width..][..output_width];
            let at = &mut at[row * output_width..][..output_width];
            for (column, ((above, below), (output, at))) in
                above.iter().zip(below).zip(output.iter_mut().zip(at)).enumerate()
            {
                let place = (first + 2 * column) as u32;
                let (upper, upper_at) = larger((above[0], place), (above[1], place + 1));
                let place = place + width as u32;
                let (lower, lower_at) = larger((below[0], place), (below[1], place + 1));
                (*output, *at) = larger((upper, upper_at), (lower, lower_at));
            }
        }
        return;
    }
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

/// `relu` of what was pooled; where it cuts off, no position takes the gradient.
#[inline(always)]
pub(super) fn relu(output: &mut [f32], at: &mut [u32]) {
    for (output, at) in output.iter_mut().zip(at) {
        // A NaN stays one.
        let cut = *output <= 0.0;
        *output = if cut { 0.0 } else { *output };
        *at = if cut { NONE } else { *at };
    }
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
