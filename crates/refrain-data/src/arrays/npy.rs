//! NPY, numpy's format of one array.

use std::io::Read;

use refrain_core::{Error, Result};

use super::element::{Element, Encoding};
use super::header::{Array, Header, Length, read_exactly};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// A header longer than this describes no plain array; numpy itself reads 10,000 bytes.
const LONGEST_HEADER: u32 = 1 << 16;
/// As numpy.
const MOST_AXES: usize = 64;
const TYPES: &str = "b1, u1, u2, u4, u8, i1, i2, i4, i8, f2, f4, f8 of either byte order";

/// Reads an NPY array that is in memory: versions 1 to 3, C and Fortran order.
///
/// # Errors
/// When it is none, naming the byte; when there is less or more behind the header than it claims;
/// when it holds anything but numbers.
///
/// # Example
/// ```
/// let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }\n";
/// let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
/// bytes.extend((header.len() as u16).to_le_bytes());
/// bytes.extend(header.bytes());
/// bytes.extend([1, 0, 2, 0, 3, 1]);
/// assert_eq!(refrain_data::read_npy(&bytes)?.values, [1.0, 2.0, 259.0]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub fn read_npy(bytes: &[u8]) -> Result<Array> {
    let mut rest = bytes;
    let length = Length::Exactly(bytes.len() as u64);
    let header = header(&mut rest)?;
    header.check(length)?;
    header.read(&mut rest, length)
}

/// Reads the header of an NPY file.
pub(crate) fn header(reader: &mut dyn Read) -> Result<Header> {
    let mut start = [0; 8];
    read_exactly(reader, &mut start, 0)?;
    if !start.starts_with(MAGIC) {
        return Err(Error::data("no NPY file: it does not begin with \\x93NUMPY"));
    }
    let [.., version, _] = start;
    let (length, text_start) = match version {
        1 => {
            let mut length = [0; 2];
            read_exactly(reader, &mut length, 8)?;
            (u32::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            read_exactly(reader, &mut length, 8)?;
            (u32::from_le_bytes(length), 12)
        }
        _ => {
            return Err(Error::data(format!(
                "byte 6 is {version}, the format's version; allowed: 1 to 3"
            )));
        }
    };
    if length > LONGEST_HEADER {
        return Err(Error::data(format!(
            "byte 8 claims a header of {length} bytes; allowed: at most {LONGEST_HEADER}"
        )));
    }
    let mut text = vec![0; length as usize];
    read_exactly(reader, &mut text, text_start)?;
    let mut header = Text { text: &text, at: 0, text_start }.dictionary()?;
    header.data_start = text_start + u64::from(length);
    Ok(header)
}

/// A Python dictionary of three keys, being read.
struct Text<'a> {
    text: &'a [u8],
    at: usize,
    /// Offset of the text in the file, for messages.
    text_start: u64,
}

impl<'a> Text<'a> {
    fn dictionary(&mut self) -> Result<Header> {
        let (mut encoding, mut is_fortran, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.take(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            match key {
                b"descr" => encoding = Some(self.encoding()?),
                b"fortran_order" => is_fortran = Some(self.bool()?),
                b"shape" => shape = Some(self.shape()?),
                _ => {
                    return Err(self.error("is no key of an NPY header"));
                }
            }
            if !self.take(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        let missing = |key| self.error(&format!("the header ends without '{key}'"));
        Ok(Header {
            encoding: encoding.ok_or_else(|| missing("descr"))?,
            is_fortran: is_fortran.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            data_start: 0,
        })
    }

    fn error(&self, what: &str) -> Error {
        Error::data(format!("the NPY header at byte {}: {what}", self.text_start + self.at as u64))
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// Passes over `byte` where it comes next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_next = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result {
        if self.take(byte) {
            return Ok(());
        }
        Err(self.error(&format!("`{}` is missing", char::from(byte))))
    }

    fn string(&mut self) -> Result<&'a [u8]> {
        let quote = if self.take(b'"') { b'"' } else { b'\'' };
        if quote == b'\'' {
            self.expect(b'\'')?;
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == quote);
        let text = end.and_then(|end| rest.get(..end));
        let text = text.ok_or_else(|| self.error("a string without its end"))?;
        self.at += text.len() + 1;
        Ok(text)
    }

    fn encoding(&mut self) -> Result<Encoding> {
        self.skip_space();
        if self.text.get(self.at) == Some(&b'[') {
            let what = format!("the array has fields (a structured type); allowed: {TYPES}");
            return Err(self.error(&what));
        }
        let name = self.string()?;
        let (order, kind) = match name {
            [order @ (b'<' | b'>' | b'|' | b'='), kind @ ..] => (*order, kind),
            kind => (b'|', kind),
        };
        let element = match kind {
            b"b1" | b"?" => Element::Bool,
            b"u1" | b"B" => Element::U8,
            b"i1" | b"b" => Element::I8,
            b"u2" => Element::U16,
            b"i2" => Element::I16,
            b"u4" => Element::U32,
            b"i4" => Element::I32,
            b"u8" => Element::U64,
            b"i8" => Element::I64,
            b"f2" => Element::F16,
            b"f4" => Element::F32,
            b"f8" => Element::F64,
            _ => {
                let what = match kind.first() {
                    Some(b'O') => "Python objects, which only Python can read",
                    Some(b'U' | b'S' | b'a') => "text; give classes as numbers",
                    Some(b'c') => "complex numbers",
                    Some(b'm' | b'M') => "times",
                    _ => "something else",
                };
                let name = String::from_utf8_lossy(name);
                return Err(self.error(&format!("the type '{name}' is {what}; allowed: {TYPES}")));
            }
        };
        Ok(Encoding { element, is_big_endian: order == b'>' })
    }

    fn bool(&mut self) -> Result<bool> {
        self.skip_space();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.error("'fortran_order' is neither True nor False"))
    }

    fn shape(&mut self) -> Result<Vec<usize>> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while !self.take(b')') {
            self.skip_space();
            let rest = self.text.get(self.at..).unwrap_or_default();
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let digits = std::str::from_utf8(rest.get(..digits).unwrap_or_default());
            let axis = digits.ok().and_then(|digits| Some((digits.len(), digits.parse().ok()?)));
            let Some((length, axis)) = axis else {
                return Err(self.error("an axis of 'shape' is no whole number that fits"));
            };
            self.at += length;
            // Of Python 2.
            self.take(b'L');
            shape.push(axis);
            if shape.len() > MOST_AXES {
                return Err(self.error(&format!("more than {MOST_AXES} axes")));
            }
            if !self.take(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }
}
