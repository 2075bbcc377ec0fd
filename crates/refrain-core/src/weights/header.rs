//! The header of a safetensors file: which tensors lie where. Anybody may have written it, so time
//! and memory are of the order of the file's length, whatever it claims.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::WeightDtype;
use crate::error::{Error, Escaped, Result};

/// The name in the header that no tensor may have.
pub(super) const METADATA: &str = "__metadata__";
/// The format's own limit.
pub(super) const MOST_BYTES: usize = 100_000_000;
/// Bytes of the header's length in front of it.
const LENGTH: usize = 8;

/// A tensor as the header has it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: WeightDtype,
    /// Where its elements lie behind the header.
    pub(super) place: Range<usize>,
}

/// The tensors of a file in the order of their elements, and all elements.
pub(super) fn read(file: &[u8]) -> Result<(Vec<Entry>, &[u8])> {
    split(file).map_err(|what| Error::data(format!("not a safetensors file: {what}")))
}

fn split(file: &[u8]) -> Result<(Vec<Entry>, &[u8]), String> {
    let Some((length, rest)) = file.split_first_chunk::<LENGTH>() else {
        return Err(format!("it has {} bytes, its length alone would take {LENGTH}", file.len()));
    };
    let claimed = u64::from_le_bytes(*length);
    let length = usize::try_from(claimed).ok().filter(|length| *length <= MOST_BYTES);
    let Some((header, data)) = length.and_then(|length| rest.split_at_checked(length)) else {
        return Err(format!(
            "the header claims {claimed} bytes; allowed: at most {}, what is left of the file",
            rest.len().min(MOST_BYTES)
        ));
    };
    let Header(mut entries) =
        serde_json::from_slice(header).map_err(|e| format!("the header cannot be read: {e}"))?;
    // What is empty keeps its place in the header's order.
    entries.sort_by_key(|entry| (entry.place.start, entry.place.end));
    let mut end = 0;
    for entry in &entries {
        let (name, place) = (Escaped(&entry.name), &entry.place);
        if place.start != end {
            return Err(format!(
                "tensor `{name}` lies at {place:?}; expected at {end}: without gap or overlap"
            ));
        }
        if byte_length(entry.dtype, &entry.shape) != place.end.checked_sub(place.start) {
            return Err(format!(
                "tensor `{name}` lies at {place:?}, which are not the bytes of {:?} of the shape {:?}",
                entry.dtype,
                Shape(&entry.shape)
            ));
        }
        end = place.end;
    }
    if end != data.len() {
        return Err(format!("its tensors have {end} bytes, behind the header are {}", data.len()));
    }
    Ok((entries, data))
}

/// Bytes of so many elements; `None`: more than any memory has.
pub(super) fn byte_length(dtype: WeightDtype, shape: &[usize]) -> Option<usize> {
    let elements = shape.iter().try_fold(1_usize, |n, length| n.checked_mul(*length))?;
    elements.checked_mul(dtype.bits() / 8)
}

/// The beginning of a shape: it may be as long as the file.
struct Shape<'a>(&'a [usize]);

impl fmt::Debug for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..8) {
            Some(first) if self.0.len() > 8 => write!(f, "{first:?} and {} more", self.0.len() - 8),
            _ => write!(f, "{:?}", self.0),
        }
    }
}

struct Header(Vec<Entry>);

/// The fields of a tensor as the format names them.
#[derive(Deserialize)]
struct Fields {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one field per tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut names = HashSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    // The format lets a parser take either of two; another would take the other.
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("`{}` comes twice", Escaped(&name))));
                    }
                    if name == METADATA {
                        // For people; nothing here depends on it.
                        map.next_value::<Option<HashMap<String, String>>>()?;
                        continue;
                    }
                    entries.push(entry(name, &mut map)?);
                }
                Ok(Header(entries))
            }
        }
        from.deserialize_map(Entries)
    }
}

fn entry<'de, A: MapAccess<'de>>(name: String, map: &mut A) -> Result<Entry, A::Error> {
    let shown = Escaped(&name);
    let fields: Fields =
        map.next_value().map_err(|e| A::Error::custom(format!("tensor `{shown}`: {e}")))?;
    let Some(dtype) = WeightDtype::from_name(&fields.dtype) else {
        return Err(A::Error::custom(format!(
            "tensor `{shown}` has the element type `{}`; allowed: {}",
            Escaped(&fields.dtype),
            WeightDtype::ALL.map(WeightDtype::name).join(", ")
        )));
    };
    let (start, end) = fields.data_offsets;
    Ok(Entry { name, shape: fields.shape, dtype, place: start..end })
}
