//! The logs of all epochs; always kept.

use crate::logs::Logs;
use crate::outcome::Ending;

/// The logs of every epoch that ended, and how the run ended. Kept for every run; `fit` returns it.
///
/// # Example
/// ```
/// use refrain_core::{History, Logs};
/// let mut history = History::default();
/// history.push(0, Logs::from([("loss", 0.5)]));
/// history.push(1, Logs::from([("loss", 0.4), ("val_loss", 0.6)]));
/// assert_eq!(history.column("loss"), [Some(0.5), Some(0.4)]);
/// assert_eq!(history.column("val_loss"), [None, Some(0.6)]);
/// ```
///
/// # Differs from Keras
/// Columns stay aligned with the epochs: an epoch without validation has `None`, where Keras'
/// lists just get shorter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    epochs: Vec<usize>,
    logs: Vec<Logs>,
    /// How the run ended.
    pub ending: Ending,
}

impl History {
    /// Adds an epoch, counted from 0.
    pub fn push(&mut self, epoch: usize, logs: Logs) {
        self.epochs.push(epoch);
        self.logs.push(logs);
    }

    /// Number of epochs that ended.
    pub fn len(&self) -> usize {
        self.epochs.len()
    }

    /// Whether no epoch has ended.
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Epochs, counted from 0, with their logs.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Logs)> {
        self.epochs.iter().copied().zip(&self.logs)
    }

    /// Logs of the last epoch.
    pub fn last(&self) -> Option<&Logs> {
        self.logs.last()
    }

    /// Names of all columns, in the order in which they first appeared.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.logs.iter().flat_map(Logs::names) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// One value an epoch; `None` where the epoch has none.
    pub fn column(&self, name: &str) -> Vec<Option<f64>> {
        self.logs.iter().map(|logs| logs.get(name)).collect()
    }
}
