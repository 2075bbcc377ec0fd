//! A matrix the other way round in memory.

use pulp::NullaryFnOnce;
use rayon::prelude::*;

use crate::simd;

/// Rows and columns of the blocks that are turned in registers.
const BLOCK: usize = 16;
/// Fewer elements than this are not worth a second thread.
const PER_TASK: usize = 1 << 16;

/// `values` of `rows` rows in, as many columns out. Both axes are 1 or more.
pub(super) fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    let mut target = vec![0.0; values.len()];
    let tasks = (values.len() / PER_TASK).clamp(1, rayon::current_num_threads());
    let each = columns.div_ceil(tasks).next_multiple_of(BLOCK);
    let part = |(part, target): (usize, &mut [f32])| {
        simd::dispatch(Turn { values, columns, rows, first: part * each, target });
    };
    match tasks {
        1 => part((0, &mut target)),
        _ => target.par_chunks_mut(each * rows).enumerate().for_each(part),
    }
    target
}

/// Columns of `values` become rows of `target`, from column `first` on.
struct Turn<'a> {
    values: &'a [f32],
    columns: usize,
    rows: usize,
    first: usize,
    target: &'a mut [f32],
}

impl NullaryFnOnce for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { values, columns, rows, first, target } = self;
        let width = target.len() / rows;
        for row in (0..rows).step_by(BLOCK) {
            for column in (0..width).step_by(BLOCK) {
                let from = &values[row * columns + first + column..];
                let to = &mut target[column * rows + row..];
                let (height, width) = (BLOCK.min(rows - row), BLOCK.min(width - column));
                if (height, width) == (BLOCK, BLOCK) {
                    whole_block(from, columns, to, rows);
                } else {
                    for i in 0..height {
                        for j in 0..width {
                            to[j * rows + i] = from[i * columns + j];
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn whole_block(from: &[f32], columns: usize, to: &mut [f32], rows: usize) {
    let mut block = [[0.0; BLOCK]; BLOCK];
    for i in 0..BLOCK {
        block[i].copy_from_slice(&from[i * columns..][..BLOCK]);
    }
    for j in 0..BLOCK {
        let mut turned = [0.0; BLOCK];
        for i in 0..BLOCK {
            turned[i] = block[i][j];
        }
        to[j * rows..][..BLOCK].copy_from_slice(&turned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_changes_places() {
        for [rows, columns] in [[1, 1], [1, 40], [16, 16], [15, 33], [48, 17], [300, 260]] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let turned = transposed(&values, rows);
            assert_eq!(turned.len(), values.len());
            for (at, value) in values.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                assert_eq!(turned[column * rows + row], *value, "{rows} × {columns}");
            }
        }
    }
}
