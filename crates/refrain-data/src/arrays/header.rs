//! What an array's header claims, and reading the numbers behind it.

use std::io::Read;

use refrain_core::{Error, Result};

use super::element::{Element, Encoding};
use crate::stop::{Stopped, interrupted};

/// Deflate makes at most this of a byte.
const LARGEST_RATIO: u64 = 1032;

/// Numbers with a shape, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Lengths of the axes; the first is the sample.
    pub shape: Vec<usize>,
    /// What the numbers were in the file.
    pub element: Element,
    /// The numbers.
    pub values: Vec<f32>,
}

/// What stands before the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) shape: Vec<usize>,
    pub(crate) encoding: Encoding,
    /// Column-major, as Fortran has it.
    pub(crate) is_fortran: bool,
    /// Bytes before the first number.
    pub(crate) data_start: u64,
}

/// How much there can be behind a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many bytes in all, header included.
    Exactly(u64),
    /// What so many compressed bytes unpack to.
    Compressed(u64),
}

impl Header {
    /// Bytes of all numbers.
    fn bytes(&self) -> Result<u64> {
        let size = self.encoding.element.size() as u64;
        // An axis of 0 must not hide that the others are too long for a row.
        let most = self.shape.iter().try_fold(size, |n, &axis| n.checked_mul(axis.max(1) as u64));
        if most.is_none_or(|most| isize::try_from(most).is_err()) {
            let shape = &self.shape;
            return Err(Error::data(format!(
                "the header claims the shape {shape:?}, which no file has"
            )));
        }
        Ok(self.shape.iter().fold(size, |n, &axis| n * axis as u64))
    }

    /// Refuses a header that claims more, or less, than there is.
    pub(crate) fn check(&self, length: Length) -> Result {
        let claimed = self.bytes()?;
        let element = self.encoding.element;
        let shape = &self.shape;
        match length {
            Length::Exactly(length) => {
                let there = length.saturating_sub(self.data_start);
                if claimed == there {
                    return Ok(());
                }
                let what = if claimed > there { "the file is cut off" } else { "more follows" };
                Err(Error::data(format!(
                    "the header claims the shape {shape:?} of {element}, {claimed} bytes from byte \
                     {}, and there are {there}: {what}",
                    self.data_start
                )))
            }
            Length::Compressed(length) => {
                let most = length.saturating_mul(LARGEST_RATIO);
                if claimed <= most {
                    return Ok(());
                }
                Err(Error::data(format!(
                    "the header claims the shape {shape:?} of {element}, {claimed} bytes, and \
                     {length} compressed bytes unpack to {most} at most"
                )))
            }
        }
    }

    /// Refuses what follows the numbers, which end at byte `end`. Also reads the checksum at the end
    /// of what was compressed.
    pub(crate) fn check_end(&self, reader: &mut dyn Read, end: u64) -> Result {
        let mut one = [0];
        match reader.read(&mut one) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Error::data(format!(
                "more follows from byte {end}, where the shape {:?} ends",
                self.shape
            ))),
            Err(error) => Err(broken(end, &error)),
        }
    }

    /// Reads the numbers from where they begin. The header was [checked](Self::check): memory grows
    /// with what is really there.
    pub(crate) fn read(self, reader: &mut dyn Read, length: Length) -> Result<Array> {
        let bytes = self.bytes()?;
        let size = self.encoding.element.size();
        let elements = usize::try_from(bytes / size as u64).unwrap_or(usize::MAX);
        let mut values = Vec::new();
        if matches!(length, Length::Exactly(_)) {
            values.try_reserve_exact(elements).map_err(|_| too_large(elements))?;
        }
        let mut buffer = vec![0; 1 << 16];
        let mut left = bytes;
        while left > 0 {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let Some(chunk) = buffer.get_mut(..n) else { break };
            let at = self.data_start + (bytes - left);
            read_exactly(reader, chunk, at)?;
            values.try_reserve(n / size).map_err(|_| too_large(elements))?;
            self.encoding.decode(chunk, &mut values);
            left -= n as u64;
        }
        self.check_end(reader, self.data_start + bytes)?;
        if self.is_fortran {
            values = to_row_major(&self.shape, &values);
        }
        Ok(Array { shape: self.shape, element: self.encoding.element, values })
    }
}

/// Fills `bytes`, which begin at byte `at`.
pub(crate) fn read_exactly(reader: &mut dyn Read, bytes: &mut [u8], at: u64) -> Result {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => {
                return Err(Error::data(format!(
                    "the file is cut off at byte {}",
                    at + filled as u64
                )));
            }
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(at + filled as u64, &error)),
        }
    }
    Ok(())
}

fn broken(at: u64, error: &std::io::Error) -> Error {
    if Stopped::is_cause_of(error) {
        return interrupted(format_args!("reading from byte {at} on"));
    }
    Error::data(format!("cannot be read from byte {at} on: {error}"))
}

fn too_large(elements: usize) -> Error {
    Error::data(format!(
        "{elements} numbers do not fit in memory; train on them with in_memory = false"
    ))
}

/// The same array with the last axis varying fastest.
fn to_row_major(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &axis in shape {
        strides.push(stride);
        stride *= axis;
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    let mut ordered = Vec::with_capacity(values.len());
    while ordered.len() < values.len() {
        ordered.extend(values.get(at));
        // The next index, last axis first.
        for ((i, &axis), &stride) in index.iter_mut().zip(shape).zip(&strides).rev() {
            *i += 1;
            at += stride;
            if *i < axis {
                break;
            }
            at -= stride * *i;
            *i = 0;
        }
    }
    ordered
}
