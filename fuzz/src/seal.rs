//! Checksums as the formats have them, so that what is made up passes for what was written.

use serde_json::{Map, Value};

/// A line of these fields with its checksum.
pub fn seal(fields: &Map<String, Value>) -> Vec<u8> {
    let mut line = Value::Object(fields.clone()).to_string().into_bytes();
    line.pop();
    seal_text(line)
}

/// A line of this text, an object without its last brace, with its checksum.
pub fn seal_text(mut line: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&line);
    line.extend(format!(",\"crc32c\":\"{crc:08x}\"}}\n").bytes());
    line
}

/// CRC-32C (Castagnoli), bit by bit: another way than the one that is tested.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}
