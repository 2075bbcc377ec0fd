//! Numbers that are none.

use refrain_core::{Error, Result};

/// Numbers that are looked at in one go.
const AT_ONCE: usize = 4096;

/// Refuses NaN and infinite numbers among rows of the shape `row_shape`, of which the first is
/// `first_row`.
///
/// # Errors
/// At the first of them, naming row and column as numpy counts them: from 0.
pub(crate) fn check_finite(values: &[f32], first_row: usize, row_shape: &[usize]) -> Result {
    // Without an early exit, which would cost the vector instructions.
    let is_finite = |chunk: &[f32]| chunk.iter().fold(true, |all, x| all & x.is_finite());
    let Some(chunk) = values.chunks(AT_ONCE).position(|chunk| !is_finite(chunk)) else {
        return Ok(());
    };
    let rest = values.get(chunk * AT_ONCE..).unwrap_or_default();
    let Some((offset, value)) = rest.iter().enumerate().find(|(_, x)| !x.is_finite()) else {
        return Ok(());
    };
    let at = chunk * AT_ONCE + offset;
    let width = row_shape.iter().product::<usize>().max(1);
    let row = first_row + at / width;
    let place = match row_shape {
        [] => format!("row {row}"),
        [_] => format!("row {row}, column {}", at % width),
        _ => format!("row {row}, place {:?}", index(at % width, row_shape)),
    };
    let what = if value.is_nan() { "NaN" } else { "infinite, or too large for an f32" };
    Err(Error::data(format!(
        "{place} is {what}; counted from 0. Inputs and targets are finite numbers: correct it, or \
         leave the row out"
    )))
}

/// The index along each axis of an element of a row.
fn index(mut at: usize, row_shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = row_shape
        .iter()
        .rev()
        .map(|&axis| {
            let along = at % axis.max(1);
            at /= axis.max(1);
            along
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_that_is_none_is_named() {
        const NAN: f32 = f32::NAN;
        // Position of what is wrong, the value, the first row, the shape of a row, words.
        #[rustfmt::skip]
        let cases: &[(usize, f32, usize, &[usize], &str)] = &[
            (0, NAN, 0, &[], "row 0 is NaN;"),
            (7, f32::INFINITY, 10, &[], "row 17 is infinite, "),
            (7, f32::NEG_INFINITY, 10, &[3], "row 12, column 1 is infinite, "),
            (4095, NAN, 0, &[4], "row 1023, column 3 is NaN;"),
            (4096, NAN, 0, &[4], "row 1024, column 0 is NaN;"),
            (9_999, NAN, 5, &[2, 3, 4], "row 421, place [1, 0, 3] is NaN;"),
        ];
        for (at, value, first_row, row_shape, words) in cases {
            let mut values = vec![f32::MAX; 10_000];
            check_finite(&values, *first_row, row_shape).unwrap();
            values[*at] = *value;
            // A later one is not told.
            values[9_999] = NAN;
            let error = check_finite(&values, *first_row, row_shape).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
