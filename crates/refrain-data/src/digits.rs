//! The digits that are inside the binary.

use std::io::Read as _;

use flate2::read::GzDecoder;
use refrain_core::{Error, Result};

use crate::images::Images;

const PACKED: &[u8] = include_bytes!("../data/digits.csv.gz");
const PIXELS: usize = 64;
/// The darkest pixel in the file.
const INK: f32 = 16.0;

/// 1,797 handwritten digits of 8 × 8 pixels, in the file's order, scaled to 0..1.
///
/// Needs no file and no network: the data is inside the binary, 57 kB compressed. Cost: under
/// 10 ms to unpack.
///
/// # Errors
/// Never with an intact binary; a damaged one is told apart from wrong data.
///
/// # Source
/// UCI "Optical Recognition of Handwritten Digits" as shipped by scikit-learn, CC BY 4.0; see
/// `data/README.md`.
///
/// # Example
/// ```
/// let digits = refrain_data::digits()?;
/// assert_eq!((digits.len(), digits.shape), (1797, [1, 8, 8]));
/// assert_eq!(digits.labels[..3], [0, 1, 2]);
/// assert_eq!(digits.pixels[2], 5.0 / 16.0);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub fn digits() -> Result<Images> {
    let mut text = String::new();
    GzDecoder::new(PACKED)
        .read_to_string(&mut text)
        .map_err(|e| Error::data(format!("the embedded digits are damaged: {e}")))?;
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for (row, line) in text.lines().enumerate() {
        let damaged = || Error::data(format!("the embedded digits are damaged in row {}", row + 1));
        let mut numbers = line.split(',').map(str::parse::<u8>);
        for _ in 0..PIXELS {
            let pixel = numbers.next().and_then(std::result::Result::ok).ok_or_else(damaged)?;
            pixels.push(f32::from(pixel) / INK);
        }
        let label = numbers.next().and_then(std::result::Result::ok).ok_or_else(damaged)?;
        labels.push(u32::from(label));
    }
    Ok(Images { shape: [1, 8, 8], pixels, labels, classes: 10 })
}
