//! Logs in JSON, exact to the bit: a value that is not finite by its bits.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::logs::Logs;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Bits { bits: u64 },
}

impl From<f64> for Number {
    fn from(x: f64) -> Self {
        if x.is_finite() { Self::Finite(x) } else { Self::Bits { bits: x.to_bits() } }
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Finite(x) => x,
            Number::Bits { bits } => Self::from_bits(bits),
        }
    }
}

type Entries = Vec<(String, Number)>;

fn to_entries(logs: &Logs) -> Entries {
    logs.iter().map(|(name, x)| (name.to_owned(), x.into())).collect()
}

fn to_logs(entries: Entries) -> Logs {
    entries.into_iter().map(|(name, x)| (name, f64::from(x))).collect()
}

/// For `#[serde(with = ..)]` on an `Option<Logs>`.
pub(super) mod optional_logs {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(logs: &Option<Logs>, to: S) -> Result<S::Ok, S::Error> {
        logs.as_ref().map(to_entries).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Logs>, D::Error> {
        Ok(Option::<Entries>::deserialize(from)?.map(to_logs))
    }
}

/// For `#[serde(with = ..)]` on epochs with their logs.
pub(super) mod epochs {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        epochs: &[(usize, Logs)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(epochs.iter().map(|(epoch, logs)| (epoch, to_entries(logs))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(usize, Logs)>, D::Error> {
        let epochs = Vec::<(usize, Entries)>::deserialize(from)?;
        Ok(epochs.into_iter().map(|(epoch, entries)| (epoch, to_logs(entries))).collect())
    }
}
