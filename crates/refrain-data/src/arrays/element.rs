//! What the numbers in a file are.

use std::fmt;

/// The type of the numbers in a file. All are read as `f32`, the nearest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Element {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl Element {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether it holds whole numbers alone.
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::F32 | Self::F64)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::U8 => "u1",
            Self::I8 => "i1",
            Self::U16 => "u2",
            Self::I16 => "i2",
            Self::U32 => "u4",
            Self::I32 => "i4",
            Self::U64 => "u8",
            Self::I64 => "i8",
            Self::F16 => "f2",
            Self::F32 => "f4",
            Self::F64 => "f8",
        })
    }
}

/// How numbers lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) element: Element,
    pub(crate) is_big_endian: bool,
}

impl Encoding {
    /// Appends the numbers in `bytes`, which are whole ones.
    pub(crate) fn decode(self, bytes: &[u8], values: &mut Vec<f32>) {
        /// `$wide`: the number as it lies there; `$narrow`: as an `f32`.
        macro_rules! decode {
            ($type:ty, $narrow:expr) => {{
                let (chunks, _) = bytes.as_chunks();
                let narrow: fn($type) -> f32 = $narrow;
                if self.is_big_endian {
                    values
                        .extend(chunks.iter().map(|chunk| narrow(<$type>::from_be_bytes(*chunk))));
                } else {
                    values
                        .extend(chunks.iter().map(|chunk| narrow(<$type>::from_le_bytes(*chunk))));
                }
            }};
        }
        match self.element {
            Element::Bool => decode!(u8, |x| f32::from(u8::from(x != 0))),
            Element::U8 => decode!(u8, f32::from),
            Element::I8 => decode!(i8, f32::from),
            Element::U16 => decode!(u16, f32::from),
            Element::I16 => decode!(i16, f32::from),
            Element::U32 => decode!(u32, |x| x as f32),
            Element::I32 => decode!(i32, |x| x as f32),
            Element::U64 => decode!(u64, |x| x as f32),
            Element::I64 => decode!(i64, |x| x as f32),
            Element::F16 => decode!(u16, from_f16),
            Element::F32 => decode!(f32, |x| x),
            Element::F64 => decode!(f64, |x| x as f32),
        }
    }
}

/// IEEE 754 binary16.
fn from_f16(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (fraction + 1024.0) * 2_f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_as_they_went_in() {
        let cases: &[(Element, Vec<u8>, f32)] = &[
            (Element::Bool, vec![1], 1.0),
            (Element::U8, vec![200], 200.0),
            (Element::I8, vec![0xff], -1.0),
            (Element::U16, 65_000_u16.to_le_bytes().to_vec(), 65_000.0),
            (Element::I16, (-2_i16).to_le_bytes().to_vec(), -2.0),
            (Element::U32, 70_000_u32.to_le_bytes().to_vec(), 70_000.0),
            (Element::I32, (-70_000_i32).to_le_bytes().to_vec(), -70_000.0),
            (Element::U64, u64::MAX.to_le_bytes().to_vec(), u64::MAX as f32),
            (Element::I64, (-5_i64).to_le_bytes().to_vec(), -5.0),
            // 1/3, the largest, the smallest subnormal and −0 of binary16.
            (Element::F16, 0x3555_u16.to_le_bytes().to_vec(), 0.333_251_95),
            (Element::F16, 0x7bff_u16.to_le_bytes().to_vec(), 65_504.0),
            (Element::F16, 0x0001_u16.to_le_bytes().to_vec(), 5.960_464_5e-8),
            (Element::F16, 0xfc00_u16.to_le_bytes().to_vec(), f32::NEG_INFINITY),
            (Element::F32, 0.1_f32.to_le_bytes().to_vec(), 0.1),
            (Element::F64, 0.1_f64.to_le_bytes().to_vec(), 0.1),
        ];
        for (element, bytes, expected) in cases {
            let decode = |bytes: &[u8], is_big_endian| {
                let mut values = Vec::new();
                Encoding { element: *element, is_big_endian }.decode(bytes, &mut values);
                values
            };
            let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
            assert_eq!(decode(bytes, false), [*expected], "{element}");
            assert_eq!(decode(&reversed, true), [*expected], "{element}, big endian");
            assert_eq!(bytes.len(), element.size());
        }
        assert!(from_f16(0x7e00).is_nan());
    }
}
