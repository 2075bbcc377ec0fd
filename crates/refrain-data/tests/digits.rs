//! The embedded digits are the file they say they are.

use std::io::Read as _;

use sha2::{Digest as _, Sha256};

/// Of the unpacked `digits.csv` that scikit-learn 1.9.1 ships.
const DIGITS_SHA256: &str = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8";

#[test]
fn is_scikit_learns_file() {
    let packed = include_bytes!("../data/digits.csv.gz");
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut text).unwrap();
    let hash: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, DIGITS_SHA256);
}

#[test]
fn holds_every_digit_about_equally_often() {
    let digits = refrain_data::digits().unwrap();
    assert!(digits.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    let mut counts = [0; 10];
    for label in &digits.labels {
        counts[*label as usize] += 1;
    }
    // As scikit-learn documents them.
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
}
