//! IDX, the format of MNIST.

use std::io::Read;

use refrain_core::{Error, Result};

use super::element::{Element, Encoding};
use super::header::{Array, Header, Length, read_exactly};

/// More axes than anybody has.
const MOST_AXES: u8 = 8;

/// Reads an IDX array that is in memory.
///
/// IDX: two zero bytes, a byte for the type, a byte for the number of axes, their lengths as
/// big-endian `u32`, then the numbers, big-endian.
///
/// # Errors
/// When it is none, naming the byte; when there is less or more behind the header than it claims.
///
/// # Example
/// ```
/// let labels = refrain_data::read_idx(b"\x00\x00\x08\x01\x00\x00\x00\x03\x07\x02\x01")?;
/// assert_eq!((labels.shape, labels.values), (vec![3], vec![7.0, 2.0, 1.0]));
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub fn read_idx(bytes: &[u8]) -> Result<Array> {
    let mut rest = bytes;
    let length = Length::Exactly(bytes.len() as u64);
    let header = header(&mut rest)?;
    header.check(length)?;
    header.read(&mut rest, length)
}

/// Reads the header of an IDX file.
pub(crate) fn header(reader: &mut dyn Read) -> Result<Header> {
    let mut magic = [0; 4];
    read_exactly(reader, &mut magic, 0)?;
    let [0, 0, kind, axes] = magic else {
        return Err(Error::data(format!(
            "no IDX file: it begins with {magic:02x?}; allowed: 00 00, a type, a number of axes"
        )));
    };
    let element = match kind {
        0x08 => Element::U8,
        0x09 => Element::I8,
        0x0b => Element::I16,
        0x0c => Element::I32,
        0x0d => Element::F32,
        0x0e => Element::F64,
        _ => {
            return Err(Error::data(format!(
                "byte 2 is {kind:02x}, which is no type of an IDX file; allowed: 08, 09, 0b, 0c, 0d, \
                 0e"
            )));
        }
    };
    if !(1..=MOST_AXES).contains(&axes) {
        return Err(Error::data(format!("byte 3 claims {axes} axes; allowed: 1 to {MOST_AXES}")));
    }
    let mut shape = Vec::with_capacity(usize::from(axes));
    for axis in 0..u64::from(axes) {
        let mut length = [0; 4];
        read_exactly(reader, &mut length, 4 + 4 * axis)?;
        shape.push(u32::from_be_bytes(length) as usize);
    }
    let encoding = Encoding { element, is_big_endian: true };
    Ok(Header { shape, encoding, is_fortran: false, data_start: 4 + 4 * u64::from(axes) })
}
