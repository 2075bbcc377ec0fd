//! Keeps the logs of every epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plain_state;
use crate::callback::{Access, Callback};
use crate::error::Result;
use crate::event::{EpochEnd, Hook};
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;
use crate::state::exact_float;

/// Keeps the logs of every epoch, as Keras' `History` does.
///
/// `fit` returns a [`History`](crate::History) without it. This one is for what that cannot do: to
/// see the logs as they are at its place in the list, and to keep them over a resume.
///
/// - Reads: all logs that are there when its turn comes; list it after callbacks that add some
/// - Writes: nothing
/// - Requests: nothing
/// - State: the epochs and the values of each key
/// - Cost: one number per epoch and key
///
/// # Options
/// None.
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "history"
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::History;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[0.5, 0.25]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(History::new());
/// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// let history = trainer.get::<History>().unwrap();
/// assert_eq!(history.epoch(), [0, 1]);
/// assert_eq!(history.history()["loss"], [Some(0.5), Some(0.25)]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - Columns stay aligned with the epochs: an epoch without validation has `None`, where Keras'
///   lists just get shorter.
/// - A second `fit` begins with an empty one; Keras clears the epochs and keeps the values.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.History`.
#[derive(Clone, Debug, Default)]
pub struct History {
    state: HistoryState,
}

/// State of [`History`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryState {
    epoch: Vec<usize>,
    columns: BTreeMap<String, Vec<Cell>>,
}

/// A value that survives JSON to the bit; none where the epoch has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Cell(#[serde(with = "exact_float")] Option<f64>);

impl History {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The epochs, counted from 0.
    pub fn epoch(&self) -> &[usize] {
        &self.state.epoch
    }

    /// The values of each key, one an epoch.
    pub fn history(&self) -> BTreeMap<&str, Vec<Option<f64>>> {
        let columns = self.state.columns.iter();
        columns
            .map(|(key, cells)| (key.as_str(), cells.iter().map(|cell| cell.0).collect()))
            .collect()
    }
}

impl Callback for History {
    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let state = &mut self.state;
        let before = state.epoch.len();
        state.epoch.push(run.progress.epoch);
        for (key, value) in epoch.logs.iter() {
            if !state.columns.contains_key(key) {
                state.columns.insert(key.to_owned(), vec![Cell(None); before]);
            }
            if let Some(cells) = state.columns.get_mut(key) {
                cells.push(Cell(Some(value)));
            }
        }
        for cells in state.columns.values_mut() {
            cells.resize(before + 1, Cell(None));
        }
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::EpochEnd]).observes()
    }

    plain_state!();
}

impl FromOptions for History {
    const NAME: &'static str = "history";

    fn from_options(_: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        Ok(Self::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;
    use crate::{Fit, Trainer};

    #[test]
    fn columns_stay_aligned_and_survive_the_state() {
        let script = Script::losses(&[f64::NAN, 2.0, f64::INFINITY]);
        let data = script.data();
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(History::new());
        for _ in 0..2 {
            let fit = Fit::epochs(5).initial_epoch(2).validation_data(&data).validation_freq(2);
            trainer.fit(&data, fit.verbose(0)).unwrap();
        }
        let history = trainer.get::<History>().unwrap();
        assert_eq!(history.epoch(), [2, 3, 4]);
        assert_eq!(history.history()["val_loss"].len(), 3);
        assert!(history.history()["val_loss"][1].is_some());
        assert_eq!(history.history()["val_loss"][2], None);
        let saved = history.save_state().unwrap();
        let mut again = History::new();
        again.load_state(saved.as_ref()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{history:?}"));
    }
}
