//! What a callback remembers between events, in the form in which it is saved.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::weights::Weights;

/// A callback's state, saved: one serialisable struct and, where it keeps some, weights.
///
/// # Example
/// ```
/// use refrain_core::State;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize, PartialEq, Debug)]
/// #[serde(default)]
/// struct Patience { wait: u32 }
///
/// let saved = State::new(&Patience { wait: 3 })?;
/// assert_eq!(State::load_or_default::<Patience>(Some(&saved))?, Patience { wait: 3 });
/// assert_eq!(State::load_or_default::<Patience>(None)?, Patience { wait: 0 });
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    value: serde_json::Value,
    weights: Option<Arc<Weights>>,
}

impl State {
    /// Saves `value`.
    ///
    /// Floats that may be NaN or infinite need [`exact_float`], JSON has no word for them.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn new(value: &impl Serialize) -> Result<Self> {
        let value = serde_json::to_value(value).map_err(Error::wrap)?;
        Ok(Self { value, weights: None })
    }

    /// Saves weights beside the value. Shared, so that a checkpoint needs no copy of what a callback
    /// keeps.
    pub fn with_weights(mut self, weights: Option<Arc<Weights>>) -> Self {
        self.weights = weights;
        self
    }

    /// The value, as JSON: what `replay` and tests print.
    pub fn value(&self) -> &serde_json::Value {
        &self.value
    }

    /// The weights saved beside the value.
    pub fn weights(&self) -> Option<&Arc<Weights>> {
        self.weights.as_ref()
    }

    /// Reads the value back; `None` gives the default, which is how every `fit` starts.
    ///
    /// # Errors
    /// When the saved value is not of this type.
    pub fn load_or_default<T: DeserializeOwned + Default>(saved: Option<&State>) -> Result<T> {
        match saved {
            None => Ok(T::default()),
            Some(state) => T::deserialize(&state.value)
                .map_err(|e| Error::data(format!("saved state does not fit: {e}"))),
        }
    }
}

/// An `Option<f64>` that survives JSON to the bit, also NaN and infinities: for
/// `#[serde(with = "refrain_core::state::exact_float")]`.
pub mod exact_float {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Exact {
        Number(f64),
        Bits { bits: u64 },
    }

    /// Finite values as numbers, others by their bits.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value
            .map(
                |x| {
                    if x.is_finite() { Exact::Number(x) } else { Exact::Bits { bits: x.to_bits() } }
                },
            )
            .serialize(serializer)
    }

    /// The reverse of [`serialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Exact>::deserialize(deserializer)?.map(|exact| match exact {
            Exact::Number(x) => x,
            Exact::Bits { bits } => f64::from_bits(bits),
        }))
    }

    #[cfg(test)]
    mod tests {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Best(#[serde(with = "super")] Option<f64>);

        #[test]
        fn every_float_survives() {
            for x in [0.1, -0.0, 1e-308, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let json = serde_json::to_string(&Best(Some(x))).unwrap();
                let back: Best = serde_json::from_str(&json).unwrap();
                assert_eq!(back.0.unwrap().to_bits(), x.to_bits(), "{json}");
            }
        }
    }
}
