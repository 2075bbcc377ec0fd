//! TensorBoard's events in the form of protocol buffers, written by hand: a dozen fields of
//! `event.proto`, `summary.proto` and `tensor.proto`, the only ones that we send.

use super::histogram::Histogram;

/// A tag in pieces, so that none has to be put together for each step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'a> {
    pub(super) prefix: &'a str,
    pub(super) name: &'a str,
    pub(super) suffix: &'a str,
}

impl<'a> Tag<'a> {
    pub(super) fn new(prefix: &'a str, name: &'a str, suffix: &'a str) -> Self {
        Self { prefix, name, suffix }
    }
}

/// Encodes events. Its buffers are kept, so that an event allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    value: Vec<u8>,
    summary: Vec<u8>,
    event: Vec<u8>,
}

impl Encoder {
    /// The first event of every file.
    pub(super) fn file_version(&mut self, wall_time: f64) -> &[u8] {
        self.event.clear();
        put_f64(&mut self.event, 1, wall_time);
        put_bytes(&mut self.event, 3, b"brain.Event:2");
        &self.event
    }

    /// The run goes on here, and what a reader has seen of this step and later ones is superseded: what
    /// TensorFlow's writers send with a `purge_step`.
    pub(super) fn session_start(&mut self, wall_time: f64, step: u64) -> &[u8] {
        /// `status: START`.
        const START: [u8; 2] = [0x08, 1];
        self.event.clear();
        put_f64(&mut self.event, 1, wall_time);
        if step > 0 {
            put_varint_field(&mut self.event, 2, step);
        }
        put_bytes(&mut self.event, 7, &START);
        &self.event
    }

    /// A number, as `simple_value`: what importers other than TensorBoard read too.
    pub(super) fn scalar(&mut self, wall_time: f64, step: u64, tag: Tag<'_>, x: f64) -> &[u8] {
        self.begin_value(tag);
        // TensorBoard's scalars are f32.
        put_f32(&mut self.value, 2, x as f32);
        self.end_event(wall_time, step)
    }

    pub(super) fn histogram(
        &mut self,
        wall_time: f64,
        step: u64,
        tag: Tag<'_>,
        histogram: &Histogram,
    ) -> &[u8] {
        let mut proto = Vec::new();
        put_f64(&mut proto, 1, histogram.min);
        put_f64(&mut proto, 2, histogram.max);
        put_f64(&mut proto, 3, histogram.count);
        put_f64(&mut proto, 4, histogram.sum);
        put_f64(&mut proto, 5, histogram.sum_of_squares);
        put_f64s(&mut proto, 6, &histogram.limits);
        put_f64s(&mut proto, 7, &histogram.counts);
        self.begin_value(tag);
        put_bytes(&mut self.value, 5, &proto);
        self.end_event(wall_time, step)
    }

    /// A message to one of TensorBoard's plugins: its content travels as metadata of an empty
    /// tensor.
    pub(super) fn plugin(
        &mut self,
        wall_time: f64,
        tag: Tag<'_>,
        plugin: &str,
        content: &[u8],
    ) -> &[u8] {
        /// `dtype: DT_FLOAT, tensor_shape { dim { size: 0 } }`.
        const EMPTY_TENSOR: [u8; 8] = [0x08, 1, 0x12, 4, 0x12, 2, 0x08, 0];
        let mut data = Vec::new();
        put_bytes(&mut data, 1, plugin.as_bytes());
        put_bytes(&mut data, 2, content);
        let mut metadata = Vec::new();
        put_bytes(&mut metadata, 1, &data);
        self.begin_value(tag);
        put_bytes(&mut self.value, 9, &metadata);
        put_bytes(&mut self.value, 8, &EMPTY_TENSOR);
        self.end_event(wall_time, 0)
    }

    fn begin_value(&mut self, tag: Tag<'_>) {
        self.value.clear();
        put_key(&mut self.value, 1, LENGTH_DELIMITED);
        let pieces = [tag.prefix, tag.name, tag.suffix];
        put_varint(&mut self.value, pieces.iter().map(|piece| piece.len() as u64).sum());
        for piece in pieces {
            self.value.extend_from_slice(piece.as_bytes());
        }
    }

    fn end_event(&mut self, wall_time: f64, step: u64) -> &[u8] {
        self.summary.clear();
        put_bytes(&mut self.summary, 1, &self.value);
        self.event.clear();
        put_f64(&mut self.event, 1, wall_time);
        // As protocol buffers do: a zero is left out.
        if step > 0 {
            put_varint_field(&mut self.event, 2, step);
        }
        put_bytes(&mut self.event, 5, &self.summary);
        &self.event
    }
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

fn put_key(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(out, field << 3 | wire_type);
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn put_varint_field(out: &mut Vec<u8>, field: u64, n: u64) {
    put_key(out, field, VARINT);
    put_varint(out, n);
}

pub(super) fn put_f64(out: &mut Vec<u8>, field: u64, x: f64) {
    put_key(out, field, FIXED_64);
    out.extend_from_slice(&x.to_le_bytes());
}

fn put_f32(out: &mut Vec<u8>, field: u64, x: f32) {
    put_key(out, field, FIXED_32);
    out.extend_from_slice(&x.to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(out, field, LENGTH_DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_f64s(out: &mut Vec<u8>, field: u64, xs: &[f64]) {
    put_key(out, field, LENGTH_DELIMITED);
    put_varint(out, 8 * xs.len() as u64);
    out.extend(xs.iter().flat_map(|x| x.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::super::record::put_record;
    use super::*;

    /// The whole record of an event, as hexadecimal digits.
    pub(in super::super) fn hex(event: &[u8]) -> String {
        let mut record = Vec::new();
        put_record(&mut record, event);
        record.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // Records that TensorBoard 2.21's own reader was seen to accept.

    #[test]
    fn a_file_begins_with_its_version() {
        assert_eq!(
            hex(Encoder::default().file_version(1.0)),
            "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a"
        );
    }

    #[test]
    fn a_scalar_is_a_simple_value() {
        let mut encoder = Encoder::default();
        // Twice: what was left in the buffers does not show.
        for _ in 0..2 {
            assert_eq!(
                hex(encoder.scalar(2.0, 7, Tag::new("l", "os", "s"), 0.5)),
                "1a00000000000000129bd82d09000000000000004010072a0d0a0b0a046c6f7373150000003fc33fc24a"
            );
        }
    }

    #[test]
    fn a_histogram_has_its_moments_and_buckets() {
        let histogram = Histogram {
            min: -1.0,
            max: 1.0,
            count: 8.0,
            sum: 1.0,
            sum_of_squares: 4.0,
            limits: vec![0.0, 1.0],
            counts: vec![3.0, 5.0],
        };
        assert_eq!(
            hex(Encoder::default().histogram(2.0, 3, Tag::new("", "w", ""), &histogram)),
            "6500000000000000ebd05a6909000000000000004010032a580a560a01772a5109000000000000f0bf11\
             000000000000f03f19000000000000204021000000000000f03f29000000000000104032100000000000\
             000000000000000000f03f3a1000000000000008400000000000001440177737e1"
        );
    }

    #[test]
    fn a_step_may_be_large() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert_eq!(out, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        out.clear();
        put_varint(&mut out, 300);
        assert_eq!(out, [0xac, 2]);
    }
}
