//! A JSON object on a line, with a checksum: `{"seq":1,…,"crc32c":"0a1b2c3d"}`.

use serde_json::{Map, Value};

use crate::checksum::crc32c;

/// What stands between the fields and the checksum.
const SEAL: &str = ",\"crc32c\":\"";
/// Digits of the checksum.
const DIGITS: usize = 8;
/// What stands behind the checksum.
const END: &str = "\"}\n";

/// The line of an object, which must have fields; with its line end.
pub(super) fn seal(fields: &Map<String, Value>) -> String {
    let mut line = Value::Object(fields.clone()).to_string();
    line.pop();
    let crc = crc32c(line.as_bytes());
    line.push_str(&format!("{SEAL}{crc:08x}{END}"));
    line
}

/// The fields of a line with its line end; `None` where a bit of it is not as it was written.
pub(super) fn unseal(line: &[u8]) -> Option<Map<String, Value>> {
    let (body, seal) =
        line.split_at_checked(line.len().checked_sub(SEAL.len() + DIGITS + END.len())?)?;
    let digits = seal.strip_prefix(SEAL.as_bytes())?.strip_suffix(END.as_bytes())?;
    // Compared as text: no second spelling of the same number passes.
    if format!("{:08x}", crc32c(body)).as_bytes() != digits {
        return None;
    }
    let mut object = body.to_vec();
    object.push(b'}');
    match serde_json::from_slice(&object) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line() -> Vec<u8> {
        let Value::Object(fields) = json!({ "seq": 1, "text": "a\"}\nß", "x": 0.1 }) else {
            unreachable!()
        };
        seal(&fields).into_bytes()
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let line = line();
        let fields = unseal(&line).unwrap();
        assert_eq!(fields.get("x"), Some(&json!(0.1)));
        assert_eq!(serde_json::from_slice::<Value>(&line).unwrap()["text"], "a\"}\nß");
        for bit in 0..line.len() * 8 {
            let mut damaged = line.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&damaged), None, "bit {bit}");
        }
        for length in 0..line.len() {
            assert_eq!(unseal(&line[..length]), None, "{length} bytes");
            assert_eq!(unseal(&line[line.len() - length..]), None, "last {length} bytes");
        }
    }
}
