//! Named numbers of an epoch or a batch.

/// Named numbers in a fixed order: `loss`, the metrics, `val_*`, `learning_rate`, then
/// whatever callbacks add.
///
/// # Example
/// ```
/// use refrain_core::Logs;
/// let mut logs = Logs::from([("loss", 0.5), ("val_loss", 0.6)]);
/// logs.insert("gap", 0.1);
/// assert_eq!(logs.get("val_loss"), Some(0.6));
/// assert_eq!(logs.names().collect::<Vec<_>>(), ["loss", "val_loss", "gap"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs {
    // A dozen entries at most: a linear search beats hashing, and keeps the order.
    entries: Vec<(String, f64)>,
}

impl Logs {
    /// Empty logs.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`; `None` where this epoch has none (validation that was not due).
    pub fn get(&self, name: &str) -> Option<f64> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// Sets `name`; a new name goes to the end, an old one keeps its place.
    pub fn insert(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.entries.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name, value)),
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the entries of `other` under `val_` + name.
    pub fn insert_validation(&mut self, other: &Logs) {
        for (name, value) in other.iter() {
            self.insert(format!("val_{name}"), value);
        }
    }
}

/// What JSON, which has no word for it, is told of a value that is not finite: `NaN`, `Infinity` or
/// `-Infinity`.
pub(crate) fn non_finite_kind(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ if value.is_nan() => Some("NaN"),
        _ => None,
    }
}

impl<S: Into<String>, const N: usize> From<[(S, f64); N]> for Logs {
    fn from(entries: [(S, f64); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<S: Into<String>> FromIterator<(S, f64)> for Logs {
    fn from_iter<I: IntoIterator<Item = (S, f64)>>(entries: I) -> Self {
        let mut logs = Logs::new();
        for (name, value) in entries {
            logs.insert(name, value);
        }
        logs
    }
}
