//! Products of matrices, by `gemm`, which Burn's CPU backend uses too.
//!
//! Not through Burn: there, a result is filled with zeros, copied for its alignment, and only then
//! computed, and a right factor whose columns lie side by side takes twice as long.

#![expect(unsafe_code, reason = "`gemm` takes pointers; `multiply` checks what it is given")]

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use rayon::current_num_threads;

/// Multiplications from which on a second thread saves more than it costs.
const SPLIT: usize = 128 * 128 * 128;

/// A matrix of f32 as it lies in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    /// Where the first element is.
    start: usize,
    rows: usize,
    columns: usize,
    /// From one row to the next, and from one column to the next.
    strides: [isize; 2],
}

impl<'a> Matrix<'a> {
    /// `values` row by row.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { values, start: 0, rows, columns, strides: [columns as isize, 1] }
    }

    /// A tensor of f32 and two axes as it lies there.
    ///
    /// # Panics
    /// When it is one of something else.
    pub(super) fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let [rows, columns] = [0, 1].map(|axis| layout.shape()[axis]);
        let strides = [0, 1].map(|axis| layout.strides()[axis]);
        Self { values: tensor.storage(), start: layout.start_offset(), rows, columns, strides }
    }

    /// Some columns; nothing is moved.
    ///
    /// # Panics
    /// When it has not so many.
    pub(super) fn columns(self, columns: Range<usize>) -> Self {
        assert!(columns.end <= self.columns, "columns of a matrix");
        let start = self.start.strict_add_signed(columns.start as isize * self.strides[1]);
        Self { start, columns: columns.len(), ..self }
    }

    /// The transposed matrix; nothing is moved.
    pub(super) fn transposed(self) -> Self {
        let Self { values, start, rows, columns, strides: [row, column] } = self;
        Self { values, start, rows: columns, columns: rows, strides: [column, row] }
    }

    /// Whether every element is in `values`.
    fn is_whole(&self) -> bool {
        if self.rows == 0 || self.columns == 0 {
            return self.start <= self.values.len();
        }
        let (mut first, mut last) = (self.start as i128, self.start as i128);
        for (len, stride) in [self.rows, self.columns].into_iter().zip(self.strides) {
            let way = (len as i128 - 1) * stride as i128;
            first += way.min(0);
            last += way.max(0);
        }
        first >= 0 && last < self.values.len() as i128
    }

    fn pointer(&self) -> *const f32 {
        self.values[self.start..].as_ptr()
    }
}

/// `left × right`, row by row.
///
/// # Panics
/// When the inner lengths differ, or a matrix is larger than its memory.
pub(super) fn multiply(left: Matrix<'_>, right: Matrix<'_>) -> Vec<f32> {
    assert_eq!(left.columns, right.rows, "the inner lengths of a product");
    assert!(left.is_whole() && right.is_whole(), "a matrix is larger than its memory");
    let (rows, columns, inner) = (left.rows, right.columns, left.columns);
    let work = rows.saturating_mul(columns).saturating_mul(inner);
    let parallelism = match work >= SPLIT && current_num_threads() > 1 {
        true => gemm::Parallelism::Rayon(0),
        false => gemm::Parallelism::None,
    };
    let len = rows * columns;
    let mut product: Vec<f32> = Vec::with_capacity(len);
    let [left_row, left_column] = left.strides;
    let [right_row, right_column] = right.strides;
    // SAFETY: `gemm` reads `rows × inner` elements of `left` and `inner × columns` of `right`, at
    // multiples of their strides from their first, all of which are in their slices, as was checked.
    // It writes, and does not read (`read_dst` is false), every one of the `len` elements of
    // `product`, for which there is room; a row is `columns` long. Nobody else has that memory.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            product.as_mut_ptr(),
            1,
            columns as isize,
            false,
            left.pointer(),
            left_column,
            left_row,
            right.pointer(),
            right_column,
            right_row,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
        product.set_len(len);
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_definition(left: Matrix<'_>, right: Matrix<'_>) -> Vec<f32> {
        let at = |m: Matrix<'_>, row: usize, column: usize| {
            let way = row as isize * m.strides[0] + column as isize * m.strides[1];
            f64::from(m.values[m.start.strict_add_signed(way)])
        };
        let mut product = Vec::new();
        for row in 0..left.rows {
            for column in 0..right.columns {
                let terms = (0..left.columns).map(|k| at(left, row, k) * at(right, k, column));
                product.push(terms.sum::<f64>() as f32);
            }
        }
        product
    }

    #[test]
    fn all_layouts_and_sizes() {
        let values: Vec<f32> =
            (0..40_000).map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0).collect();
        let sizes = [[0, 3, 2], [2, 0, 3], [3, 2, 0], [1, 1, 1], [5, 7, 3], [130, 129, 127]];
        for [rows, inner, columns] in sizes {
            for (turned_left, turned_right) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let matrix = |turned: bool, rows: usize, columns: usize| match turned {
                    false => Matrix::new(&values, rows, columns),
                    true => Matrix::new(&values, columns, rows).transposed(),
                };
                let left = matrix(turned_left, rows, inner);
                let mut right = matrix(turned_right, inner, columns);
                if inner > 0 {
                    // The last row first.
                    right.start =
                        right.start.strict_add_signed((inner as isize - 1) * right.strides[0]);
                    right.strides[0] *= -1;
                }
                let (product, exact) = (multiply(left, right), by_definition(left, right));
                assert_eq!(product.len(), exact.len());
                for (got, exact) in product.iter().zip(&exact) {
                    let what = (rows, inner, columns, turned_left, turned_right);
                    assert!((got - exact).abs() < 1e-4, "{what:?}: {got} {exact}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "larger than its memory")]
    fn what_is_behind_the_end_is_not_read() {
        let values = [0.0; 11];
        multiply(Matrix::new(&values, 3, 4), Matrix::new(&values, 4, 2));
    }

    #[test]
    #[should_panic(expected = "larger than its memory")]
    fn what_is_before_the_beginning_is_not_read() {
        let values = [0.0; 12];
        let backwards = Matrix { strides: [-1, 1], ..Matrix::new(&values, 3, 4) };
        multiply(backwards, Matrix::new(&values, 4, 2));
    }
}
