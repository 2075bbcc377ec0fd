//! Histograms of weights, with the buckets of TensorFlow's `summary.histogram`.

use crate::weights::{WeightDtype, WeightTensor};

/// TensorFlow's default.
const BUCKETS: usize = 30;

/// How often values of an array fall into each of some ranges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) sum_of_squares: f64,
    /// Upper end of each bucket.
    pub(super) limits: Vec<f64>,
    /// Values in each bucket.
    pub(super) counts: Vec<f64>,
}

impl Histogram {
    /// 30 buckets of the same width from the least value to the greatest. A value between two
    /// belongs to the upper one, the greatest to the last; where all are the same they are in the
    /// last. Values that are not finite are left out; `None` where no others are there.
    pub(super) fn of(tensor: &WeightTensor) -> Option<Self> {
        let mut values = elements(tensor);
        values.retain(|x| x.is_finite());
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        // Halves: the difference of two large numbers may be infinite.
        let half_range = max / 2.0 - min / 2.0;
        let mut counts = vec![0.0; BUCKETS];
        for x in &values {
            let position = (x / 2.0 - min / 2.0) / half_range * BUCKETS as f64;
            // NaN where all values are the same.
            let bucket = if position < BUCKETS as f64 { position as usize } else { BUCKETS - 1 };
            counts[bucket] += 1.0;
        }
        let width = half_range / BUCKETS as f64 * 2.0;
        let inner = (1..BUCKETS).map(|bucket| min + width * bucket as f64);
        Some(Self {
            min,
            max,
            count: values.len() as f64,
            sum: values.iter().sum(),
            sum_of_squares: values.iter().map(|x| x * x).sum(),
            limits: inner.chain([max]).collect(),
            counts,
        })
    }
}

/// The elements, whatever their type.
fn elements(tensor: &WeightTensor) -> Vec<f64> {
    /// `bytes` in pieces of `N`, each read.
    fn read<const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks().0.iter().map(|bytes| element(*bytes)).collect()
    }
    let bytes = &tensor.bytes;
    match tensor.dtype {
        WeightDtype::F64 => read(bytes, f64::from_le_bytes),
        WeightDtype::F32 => read(bytes, |b| f32::from_le_bytes(b).into()),
        WeightDtype::F16 => read(bytes, |b| f16_to_f64(u16::from_le_bytes(b))),
        // The upper half of an f32.
        WeightDtype::BF16 => {
            read(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16).into())
        }
        WeightDtype::I64 => read(bytes, |b| i64::from_le_bytes(b) as f64),
        WeightDtype::I32 => read(bytes, |b| i32::from_le_bytes(b).into()),
        WeightDtype::I16 => read(bytes, |b| i16::from_le_bytes(b).into()),
        WeightDtype::I8 => read(bytes, |b| i8::from_le_bytes(b).into()),
        WeightDtype::U64 => read(bytes, |b| u64::from_le_bytes(b) as f64),
        WeightDtype::U32 => read(bytes, |b| u32::from_le_bytes(b).into()),
        WeightDtype::U16 => read(bytes, |b| u16::from_le_bytes(b).into()),
        WeightDtype::U8 | WeightDtype::Bool => read(bytes, |[b]: [u8; 1]| b.into()),
    }
}

/// Sign, 5 bits of exponent, 10 of fraction.
fn f16_to_f64(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f64::from(bits & 0x3ff);
    sign * match bits >> 10 & 0x1f {
        0 => fraction * 2.0_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        exponent => (1024.0 + fraction) * 2.0_f64.powi(i32::from(exponent) - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;

    fn of(elements: &[f32]) -> Option<Histogram> {
        let weights = Weights::from_f32([("w", vec![elements.len()], elements.to_vec())]);
        Histogram::of(&weights.tensors[0])
    }

    #[test]
    fn buckets_are_as_wide_as_each_other() {
        // One value at the lower end of each bucket, and the greatest.
        let values: Vec<f32> = (0..=30).map(|i| i as f32).collect();
        let histogram = of(&values).unwrap();
        assert_eq!(histogram.limits, (1..=30).map(f64::from).collect::<Vec<_>>());
        let mut counts = vec![1.0; 30];
        counts[29] = 2.0;
        assert_eq!(histogram.counts, counts);
        assert_eq!((histogram.min, histogram.max, histogram.count), (0.0, 30.0, 31.0));
        assert_eq!((histogram.sum, histogram.sum_of_squares), (465.0, 9455.0));
    }

    #[test]
    fn values_that_are_not_finite_are_left_out() {
        let histogram = of(&[f32::NAN, 1.0, f32::INFINITY, 2.0, f32::NEG_INFINITY]).unwrap();
        assert_eq!((histogram.min, histogram.max, histogram.count), (1.0, 2.0, 2.0));
        for nothing in [&[][..], &[f32::NAN, f32::INFINITY]] {
            assert_eq!(of(nothing), None);
        }
    }

    #[test]
    fn extreme_values_have_a_bucket() {
        for values in [&[0.5; 7][..], &[f32::MIN, 0.0, f32::MAX], &[-0.0, 0.0], &[1e-45, 0.0]] {
            let histogram = of(values).unwrap();
            assert_eq!(histogram.counts.iter().sum::<f64>(), values.len() as f64);
            assert!(histogram.limits.is_sorted(), "{:?}", histogram.limits);
            assert!(histogram.counts[29] > 0.0);
        }
        let weights = [f64::MIN, f64::MAX].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = WeightTensor {
            name: "w".into(),
            shape: vec![2],
            dtype: WeightDtype::F64,
            bytes: weights,
        };
        let histogram = Histogram::of(&tensor).unwrap();
        assert_eq!((histogram.counts[0], histogram.counts[29]), (1.0, 1.0));
    }

    #[test]
    fn every_element_type_is_read() {
        let one = |dtype, bytes: &[u8]| {
            let bytes = bytes.to_vec();
            elements(&WeightTensor { name: "w".into(), shape: vec![1], dtype, bytes: bytes.into() })
        };
        for (dtype, bytes, expected) in [
            (WeightDtype::F64, &2.5_f64.to_le_bytes()[..], 2.5),
            (WeightDtype::F32, &2.5_f32.to_le_bytes(), 2.5),
            (WeightDtype::F16, &[0x00, 0xc1], -2.5),
            (WeightDtype::F16, &[0x01, 0x00], 2.0_f64.powi(-24)),
            (WeightDtype::F16, &[0xff, 0x7b], 65504.0),
            (WeightDtype::F16, &[0x00, 0x7c], f64::INFINITY),
            (WeightDtype::BF16, &[0x20, 0x40], 2.5),
            (WeightDtype::I64, &(-3_i64).to_le_bytes(), -3.0),
            (WeightDtype::I32, &(-3_i32).to_le_bytes(), -3.0),
            (WeightDtype::I16, &(-3_i16).to_le_bytes(), -3.0),
            (WeightDtype::I8, &(-3_i8).to_le_bytes(), -3.0),
            (WeightDtype::U64, &3_u64.to_le_bytes(), 3.0),
            (WeightDtype::U32, &3_u32.to_le_bytes(), 3.0),
            (WeightDtype::U16, &3_u16.to_le_bytes(), 3.0),
            (WeightDtype::U8, &[3], 3.0),
            (WeightDtype::Bool, &[1], 1.0),
        ] {
            assert_eq!(one(dtype, bytes), [expected], "{dtype:?}");
        }
        assert!(one(WeightDtype::F16, &[0x01, 0x7c])[0].is_nan());
    }
}
