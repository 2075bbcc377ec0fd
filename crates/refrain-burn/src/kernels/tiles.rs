//! Matrix products a tile at a time, with the tile's sums in registers.
//!
//! Operands are not copied into panels first: rows of the right one may begin anywhere in a buffer,
//! so that a convolution reads its image where it lies.

use pulp::Simd;

/// Most rows of a tile. With two vectors in each, 12 sums fill the 16 registers of AVX2.
pub(super) const ROWS: usize = 6;
/// Vectors in each row of a tile.
pub(super) const VECTORS: usize = 2;

/// Elements of the longest vectors that there are.
pub(super) const MAX_LANES: usize = 16;

/// Splits `rows` into tiles of at most `most` rows, as equal as can be: (first row, rows).
pub(super) fn split(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let tiles = rows.div_ceil(most);
    (0..tiles).map(move |tile| {
        let first = rows * tile / tiles;
        (first, rows * (tile + 1) / tiles - first)
    })
}

/// Runs `$body` with the number of rows as a constant `$rows`.
macro_rules! by_rows {
    ($count:expr, |$rows:ident| $body:expr) => {{
        macro_rules! with {
            ($n:literal) => {{
                const $rows: usize = $n;
                $body
            }};
        }
        match $count {
            1 => with!(1),
            2 => with!(2),
            3 => with!(3),
            4 => with!(4),
            5 => with!(5),
            _ => with!(6),
        }
    }};
}

/// `sums[row][column] = Σ left[k][row] × right[starts[k] + at + column]`, for `M` rows and `V`
/// vectors of columns.
#[inline(always)]
pub(super) fn outer<S: Simd, const M: usize, const V: usize>(
    simd: S,
    left: &[[f32; M]],
    right: &[f32],
    starts: &[usize],
    at: usize,
) -> [[S::f32s; V]; M] {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    for (left, &start) in left.iter().zip(starts) {
        let right = &right[start + at..][..V * S::F32_LANES];
        let (right, _) = S::as_simd_f32s(right);
        for row in 0..M {
            let left = simd.splat_f32s(left[row]);
            for vector in 0..V {
                sums[row][vector] = simd.mul_add_f32s(left, right[vector], sums[row][vector]);
            }
        }
    }
    sums
}

/// `sums[i][j] += Σ left[i][k] × right[j][k]`, where each lane sums for itself.
#[inline(always)]
pub(super) fn inner<S: Simd, const M: usize, const N: usize>(
    simd: S,
    left: [&[f32]; M],
    right: [&[f32]; N],
    sums: &mut [[S::f32s; N]; M],
) {
    let left = left.map(|row| S::as_simd_f32s(row).0);
    let right = right.map(|row| S::as_simd_f32s(row).0);
    let steps = left[0].len();
    let left = left.map(|row| &row[..steps]);
    let right = right.map(|row| &row[..steps]);
    let mut local = *sums;
    for step in 0..steps {
        for i in 0..M {
            for j in 0..N {
                local[i][j] = simd.mul_add_f32s(left[i][step], right[j][step], local[i][j]);
            }
        }
    }
    *sums = local;
}

/// Stores what there is room for. A masked store would be slow on some processors.
#[inline(always)]
pub(super) fn store<S: Simd>(target: &mut [f32], values: S::f32s) {
    if let [vector, ..] = S::as_mut_simd_f32s(target).0 {
        *vector = values;
        return;
    }
    let mut all = [0.0; MAX_LANES];
    if let [vector, ..] = S::as_mut_simd_f32s(&mut all).0 {
        *vector = values;
    }
    let len = target.len();
    target.copy_from_slice(&all[..len]);
}

/// The same for integers.
#[inline(always)]
pub(super) fn store_u32<S: Simd>(target: &mut [u32], values: S::u32s) {
    if let [vector, ..] = S::as_mut_simd_u32s(target).0 {
        *vector = values;
        return;
    }
    let mut all = [0; MAX_LANES];
    if let [vector, ..] = S::as_mut_simd_u32s(&mut all).0 {
        *vector = values;
    }
    let len = target.len();
    target.copy_from_slice(&all[..len]);
}
