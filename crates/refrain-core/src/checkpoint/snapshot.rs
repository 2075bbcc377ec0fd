//! All that a run is made of at one instant: what a checkpoint holds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exact;
use super::manifest::Verified;
use super::store::{OPTIMIZER, Put, STATE, TENSORS, WEIGHTS, name};
use crate::error::{Error, Result};
use crate::learning_rate::LearningRate;
use crate::logs::Logs;
use crate::outcome::StopReason;
use crate::state::State;
use crate::trial::Trial;
use crate::weights::Weights;

/// Where a run is between two events: in front of a batch, or of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The epoch under way, or the next one, from 0.
    pub(crate) epoch: usize,
    /// Whether it is under way.
    pub(crate) in_epoch: bool,
    /// Its batches that were trained.
    pub(crate) batch: usize,
    /// Updates of the weights so far.
    pub(crate) step: u64,
    /// Samples trained on so far.
    pub(crate) samples: u64,
}

impl Position {
    /// Epochs that have ended.
    pub(crate) fn epochs(&self) -> usize {
        self.epoch
    }

    /// Batches of the epoch under way that were trained.
    pub(crate) fn batch_in_epoch(&self) -> usize {
        if self.in_epoch { self.batch } else { 0 }
    }
}

/// The part of a snapshot that is no tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunState {
    pub(crate) position: Position,
    /// Training means of the epoch under way, where they were read before its end.
    #[serde(with = "exact::optional_logs")]
    pub(crate) epoch_logs: Option<Logs>,
    /// The rate of the last update.
    pub(crate) rate_used: f64,
    /// The rate that the run was begun with.
    #[serde(default)]
    pub(crate) initial_rate: Option<f64>,
    /// The learning rate's base and factors.
    pub(crate) base: f64,
    pub(crate) factors: Vec<(String, f64)>,
    /// How often the run went back to a checkpoint.
    #[serde(default)]
    pub(crate) rollbacks: usize,
    /// The stop that was asked for.
    pub(crate) stop: Option<SavedStop>,
    /// What the trial of learning rates found.
    pub(crate) trial: Option<Trial>,
    /// The epochs that have ended, counted from 0, with their logs.
    #[serde(with = "exact::epochs")]
    pub(crate) history: Vec<(usize, Logs)>,
    /// The callbacks in list order.
    pub(crate) callbacks: Vec<SavedCallback>,
}

/// A stop that was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedStop {
    by: String,
    reason: String,
}

impl From<&StopReason> for SavedStop {
    fn from(stop: &StopReason) -> Self {
        Self { by: stop.by.clone(), reason: stop.reason.clone() }
    }
}

impl From<SavedStop> for StopReason {
    fn from(stop: SavedStop) -> Self {
        Self { by: stop.by, reason: stop.reason }
    }
}

/// A callback's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedCallback {
    pub(crate) name: String,
    /// `None`: it has no state.
    pub(crate) state: Option<Value>,
    /// The error that disabled it.
    pub(crate) disabled: Option<String>,
    /// The epoch in which it did.
    #[serde(default)]
    pub(crate) disabled_in: Option<usize>,
}

/// All that a run is made of at one instant.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) state: RunState,
    pub(crate) weights: Weights,
    pub(crate) optimizer: Weights,
    /// What the learner keeps between steps beside them.
    pub(crate) step_state: Weights,
    /// Weights that callbacks keep, by the callback's place in the list.
    pub(crate) callback_weights: Vec<(usize, Arc<Weights>)>,
    /// What must be the same when the run goes on.
    pub(crate) config: BTreeMap<String, String>,
    /// The loss so far in the epoch, where it is known.
    pub(crate) loss: Option<f64>,
    /// Whether it was due; else somebody asked for it, or the run ended here.
    pub(crate) is_due: bool,
}

const STEP: &str = "step/";

fn prefix(callback: usize) -> String {
    format!("callback/{callback}/")
}

/// Writes one file of a checkpoint: its name, and what writes it.
type PutFile<'a> = dyn FnMut(&str, &dyn Fn(&mut Put<'_>) -> io::Result<()>) -> Result + 'a;

impl Snapshot {
    /// Writes all files, without a second copy of the tensors.
    pub(super) fn write(&self, put: &mut PutFile<'_>) -> Result {
        let state = serde_json::to_vec(&self.state).map_err(Error::wrap)?;
        put(STATE, &|put| put(&state))?;
        put(WEIGHTS, &|put| Weights::write(&[("", &self.weights)], put))?;
        if !self.optimizer.tensors.is_empty() {
            put(OPTIMIZER, &|put| Weights::write(&[("", &self.optimizer)], put))?;
        }
        let prefixes: Vec<String> = self.callback_weights.iter().map(|(i, _)| prefix(*i)).collect();
        let kept = self.callback_weights.iter().map(|(_, weights)| &**weights);
        let mut all = vec![(STEP, &self.step_state)];
        all.extend(prefixes.iter().map(String::as_str).zip(kept));
        if all.iter().any(|(_, weights)| !weights.tensors.is_empty()) {
            put(TENSORS, &|put| Weights::write(&all, put))?;
        }
        Ok(())
    }

    /// Why this must not take the place of an earlier one, if it must not.
    pub(crate) fn flaw(&self) -> Option<String> {
        if let Some(loss) = self.loss.filter(|loss| !loss.is_finite()) {
            return Some(format!("the loss is {loss}"));
        }
        let tensor = self.weights.not_finite()?;
        Some(format!("the weights `{tensor}` are not finite"))
    }
}

/// No run comes to so many epochs, batches or samples: they can be counted on from below.
const MOST_COUNTED: u64 = 1 << 53;

/// What a checkpoint held.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: RunState,
    pub(crate) weights: Weights,
    pub(crate) optimizer: Weights,
    pub(crate) step_state: Weights,
    /// The learning rates of the last updates of epochs, where they are known.
    pub(crate) rates: BTreeMap<usize, LearningRate>,
    tensors: Weights,
}

impl Loaded {
    /// Reads the files of a checkpoint.
    ///
    /// # Errors
    /// When they are as they were written, and no run's state all the same; the message names the
    /// checkpoint.
    pub(super) fn new(verified: &Verified) -> Result<Self> {
        Self::read(verified).map_err(|e| {
            e.context(format!(
                "checkpoint {} cannot be used; move it away to go on from the one before",
                name(verified.manifest.number)
            ))
        })
    }

    fn read(verified: &Verified) -> Result<Self> {
        let part = |name: &str| verified.parts.get(name).map(Vec::as_slice);
        let tensors = |name: &str| {
            let weights = part(name).map_or(Ok(Weights::default()), Weights::from_safetensors);
            weights.map_err(|e| e.context(name))
        };
        let state = part(STATE).ok_or_else(|| Error::data(format!("{STATE} is missing")))?;
        let state: RunState = serde_json::from_slice(state)
            .map_err(|e| Error::data(format!("{STATE} cannot be read: {e}")))?;
        let (place, manifest) = (&state.position, &verified.manifest);
        let is_its_own = (place.epochs(), place.batch_in_epoch(), place.step)
            == (manifest.epochs, manifest.batch, manifest.step);
        let counts = [place.epoch as u64, place.batch as u64, place.step, place.samples];
        if !is_its_own || counts.iter().any(|count| *count > MOST_COUNTED) {
            return Err(Error::data(format!(
                "{STATE} is at epoch {}, batch {}, step {}; expected what the manifest says, \
                 epoch {}, batch {}, step {}, and none above {MOST_COUNTED}",
                place.epochs(),
                place.batch_in_epoch(),
                place.step,
                manifest.epochs,
                manifest.batch,
                manifest.step
            )));
        }
        let others = tensors(TENSORS)?;
        Ok(Self {
            state,
            weights: tensors(WEIGHTS)?,
            optimizer: tensors(OPTIMIZER)?,
            step_state: others.with_prefix(STEP).unwrap_or_default(),
            rates: BTreeMap::new(),
            tensors: others,
        })
    }

    /// The state of the callback at this place.
    pub(crate) fn callback_state(&self, index: usize) -> Result<Option<State>> {
        let saved = self.state.callbacks.get(index).and_then(|saved| saved.state.as_ref());
        let weights = self.tensors.with_prefix(&prefix(index)).map(Arc::new);
        saved.map(|value| Ok(State::new(value)?.with_weights(weights))).transpose()
    }
}
