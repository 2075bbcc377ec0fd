//! Names of layers.

use std::collections::{HashMap, HashSet};

use refrain_core::{Error, Escaped, Result};

use super::LayerConfig;

/// Names of a model's layers: given, or `dense`, `dense_1`, ... as in Keras.
#[derive(Debug, Default)]
pub(crate) struct Names {
    counts: HashMap<&'static str, usize>,
    taken: HashSet<String>,
}

impl Names {
    /// The name of the next layer.
    pub(super) fn name(&mut self, config: &LayerConfig) -> Result<String> {
        let name = match config.name() {
            Some(given) => given.to_owned(),
            None => {
                let count = self.counts.entry(config.type_name()).or_default();
                *count += 1;
                match *count {
                    1 => config.type_name().to_owned(),
                    n => format!("{}_{}", config.type_name(), n - 1),
                }
            }
        };
        // A dot would read as the name of a layer within a layer.
        if name.is_empty() || name.chars().any(|c| c == '.' || c == '/' || c.is_control()) {
            return Err(Error::config(format!(
                "a layer is named `{}`; allowed: at least one character, no dots, slashes or \
                 control characters",
                Escaped(&name)
            )));
        }
        if !self.taken.insert(name.clone()) {
            return Err(Error::config(format!(
                "two layers are named `{name}`; give one of them another `name`"
            )));
        }
        Ok(name)
    }
}
