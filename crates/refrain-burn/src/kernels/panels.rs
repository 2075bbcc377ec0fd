//! Products with one right factor again and again, by one thread: its columns are laid out once.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::tiles::{MAX_LANES, ROWS, VECTORS, split};

/// Columns of a panel: a tile of the longest vectors.
const PANEL: usize = VECTORS * MAX_LANES;
/// Rows of a panel that are worked on at once: with [`PANEL`] columns, half of a first-level cache of
/// 32 KiB.
const DEPTH: usize = 128;

/// Some columns of a matrix, [`PANEL`] of them side by side after the other.
pub(super) struct Panels {
    columns: usize,
    /// By panel, row, column; behind the last column zeros.
    values: Vec<f32>,
    /// Rows of the matrix.
    rows: usize,
}

/// Rows of numbers, the first at the beginning of a slice.
#[derive(Clone, Copy)]
pub(super) struct Spacing {
    pub rows: usize,
    /// From the begin of one to that of the next.
    pub stride: usize,
}

impl Panels {
    /// Of a matrix whose rows have `width` elements, 1 or more.
    pub(super) fn new(matrix: &[f32], width: usize, columns: Range<usize>) -> Self {
        let rows = matrix.len() / width;
        let mut values = vec![0.0; columns.len().div_ceil(PANEL) * rows * PANEL];
        let panels = values.chunks_exact_mut((rows * PANEL).max(1));
        for (panel, first) in panels.zip(columns.clone().step_by(PANEL)) {
            let len = PANEL.min(columns.end - first);
            for (target, row) in panel.chunks_exact_mut(PANEL).zip(matrix.chunks_exact(width)) {
                target[..len].copy_from_slice(&row[first..first + len]);
            }
        }
        Self { columns: columns.len(), values, rows }
    }

    /// Adds `left` × the matrix to `target`. `spacing` is that of `left` and `target`, which have as
    /// many rows.
    #[inline(always)]
    pub(super) fn add_product<S: Simd>(
        &self,
        simd: S,
        left: (&[f32], Spacing),
        target: (&mut [f32], Spacing),
    ) {
        if !self.values.is_empty() {
            simd.vectorize(AddProduct { panels: self, left, target });
        }
    }
}

/// A function of its own: the sums need all registers.
struct AddProduct<'a> {
    panels: &'a Panels,
    left: (&'a [f32], Spacing),
    target: (&'a mut [f32], Spacing),
}

impl WithSimd for AddProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { panels: Panels { columns, values, rows: depth }, left, target } = self;
        let (left, Spacing { rows, stride }) = left;
        let (target, Spacing { stride: target_stride, .. }) = target;
        for (panel, first_column) in
            values.chunks_exact(depth * PANEL).zip((0..*columns).step_by(PANEL))
        {
            let width = PANEL.min(columns - first_column);
            for (block, start) in panel.chunks(DEPTH * PANEL).zip((0..*depth).step_by(DEPTH)) {
                let block = block.as_chunks::<PANEL>().0;
                for (first, rows) in split(rows, ROWS) {
                    by_rows!(rows, |M| {
                        let mut tile = [&left[..0]; M];
                        for row in 0..M {
                            tile[row] = &left[(first + row) * stride + start..][..block.len()];
                        }
                        let mut at = 0;
                        while at < width {
                            let sums = outer::<S, M>(simd, tile, block, at);
                            for row in 0..M {
                                let start = (first + row) * target_stride + first_column;
                                let target = &mut target[start..][at..width];
                                for (target, sum) in target.chunks_mut(S::F32_LANES).zip(sums[row])
                                {
                                    add::<S>(simd, target, sum);
                                }
                            }
                            at += VECTORS * S::F32_LANES;
                        }
                    });
                }
            }
        }
    }
}

/// `sums[row][column] = Σ left[row][k] × right[k][at + column]`.
#[inline(always)]
fn outer<S: Simd, const M: usize>(
    simd: S,
    left: [&[f32]; M],
    right: &[[f32; PANEL]],
    at: usize,
) -> [[S::f32s; VECTORS]; M] {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; M];
    let mut rows = left;
    for row in 0..M {
        rows[row] = &left[row][..right.len()];
    }
    for (k, right) in right.iter().enumerate() {
        let (right, _) = S::as_simd_f32s(&right[at..][..VECTORS * S::F32_LANES]);
        for row in 0..M {
            let left = simd.splat_f32s(rows[row][k]);
            for vector in 0..VECTORS {
                sums[row][vector] = simd.mul_add_f32s(left, right[vector], sums[row][vector]);
            }
        }
    }
    sums
}

/// Adds what there is room for.
#[inline(always)]
fn add<S: Simd>(simd: S, target: &mut [f32], values: S::f32s) {
    if let [vector, ..] = S::as_mut_simd_f32s(target).0 {
        *vector = simd.add_f32s(*vector, values);
        return;
    }
    let mut all = [0.0; MAX_LANES];
    super::tiles::store::<S>(&mut all, values);
    for (target, value) in target.iter_mut().zip(all) {
        *target += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd;

    struct Run<'a>(&'a Panels, (&'a [f32], Spacing), (&'a mut [f32], Spacing));

    impl WithSimd for Run<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.0.add_product(simd, self.1, self.2);
        }
    }

    #[test]
    fn all_sizes_and_spacings() {
        let value = |i: usize| ((i * 7919) % 101) as f32 / 50.0 - 1.0;
        for [rows, depth, columns] in [
            [1, 1, 1],
            [5, 3, 31],
            [7, 128, 32],
            [13, 129, 33],
            [64, 300, 100],
            [0, 4, 4],
            [4, 0, 4],
        ] {
            let (before, behind) = (2, 3);
            let width = before + columns + behind;
            let matrix: Vec<f32> = (0..depth * width).map(value).collect();
            let (stride, target_stride) = (depth + 1, columns + 5);
            let left: Vec<f32> = (0..rows * stride).map(|i| value(i + 1)).collect();
            let mut target = vec![1.0; rows * target_stride];
            let panels = Panels::new(&matrix, width, before..before + columns);
            simd::dispatch(Run(
                &panels,
                (&left, Spacing { rows, stride }),
                (&mut target, Spacing { rows, stride: target_stride }),
            ));
            for (at, got) in target.iter().enumerate() {
                let (row, column) = (at / target_stride, at % target_stride);
                let terms = (0..depth).map(|k| {
                    f64::from(left[row * stride + k])
                        * f64::from(matrix[k * width + before + column])
                });
                // What lies between the rows stays.
                let exact = if column < columns { 1.0 + terms.sum::<f64>() } else { 1.0 };
                let what = (rows, depth, columns, row, column);
                assert!((f64::from(*got) - exact).abs() < 1e-4, "{what:?}: {got} {exact}");
            }
        }
    }
}
