//! Where a run goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use super::journal::Accepted;
use super::manifest::Manifest;
use crate::error::Escaped;

/// Where a run goes on, and how old that point is; from [`Trainer::resume`](crate::Trainer::resume).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResumePoint {
    manifest: Option<Manifest>,
    /// What must be the same, where that was changed after the checkpoint.
    pub(super) accepted: Accepted,
    /// Epochs in the journal that come after the checkpoint.
    pub(super) later_epochs: usize,
    pub(super) was_overwritten: bool,
    pub(super) notes: Vec<String>,
    /// Epochs that are planned, once that is known.
    pub(super) planned: Option<usize>,
}

/// Something that is no longer as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub key: String,
    /// As it was; `None`: it was not there.
    pub old: Option<String>,
    /// As it is; `None`: it is gone.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let (old, new) = (value(&self.old), value(&self.new));
        write!(f, "{}: {} → {}", Escaped(&self.key), Escaped(&old), Escaped(&new))
    }
}

impl ResumePoint {
    pub(super) fn new(manifest: Option<Manifest>, later_epochs: usize, notes: Vec<String>) -> Self {
        Self { manifest, later_epochs, notes, ..Self::default() }
    }

    /// The checkpoint that it goes on from; `None`: the run starts from the beginning.
    pub fn checkpoint(&self) -> Option<u64> {
        self.manifest.as_ref().map(|manifest| manifest.number)
    }

    /// Epochs that have ended.
    pub fn epochs(&self) -> usize {
        self.manifest.as_ref().map_or(0, |manifest| manifest.epochs)
    }

    /// Batches of the epoch under way that were trained.
    pub fn batch(&self) -> usize {
        self.manifest.as_ref().map_or(0, |manifest| manifest.batch)
    }

    /// Updates of the weights that were made.
    pub fn step(&self) -> u64 {
        self.manifest.as_ref().map_or(0, |manifest| manifest.step)
    }

    /// How old the checkpoint is, by the clock of this machine; `None` where that was set back.
    pub fn age(&self) -> Option<Duration> {
        let time = humantime::parse_rfc3339(&self.manifest.as_ref()?.time).ok()?;
        SystemTime::now().duration_since(time).ok()
    }

    /// Whether a run was being [overwritten](super::Checkpoints::overwrite) here when its process
    /// ended: what the library had left of it is gone now, and another begins.
    pub fn was_overwritten(&self) -> bool {
        self.was_overwritten
    }

    /// What was damaged, moved or cut off.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What must be the same, as it was: at the checkpoint, or as it was accepted after it.
    pub fn config(&self) -> Option<&BTreeMap<String, String>> {
        self.accepted.begun.as_ref().or(self.manifest.as_ref().map(|manifest| &manifest.config))
    }

    /// Whether the checkpoint was taken with other settings than these.
    pub(super) fn is_of_other_settings(&self, now: &BTreeMap<String, String>) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.config != *now)
    }

    /// What is different now, in the order of the keys.
    pub fn changes(&self, now: &BTreeMap<String, String>) -> Vec<Change> {
        let Some(then) = self.config().filter(|_| self.accepted.pending.as_ref() != Some(now))
        else {
            return Vec::new();
        };
        let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        let change = |key: &&String| {
            let (old, new) = (then.get(*key).cloned(), now.get(*key).cloned());
            (old != new).then(|| Change { key: (*key).clone(), old, new })
        };
        keys.iter().filter_map(change).collect()
    }
}

impl fmt::Display for ResumePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(manifest) = &self.manifest else {
            return f
                .write_str("there is no checkpoint to go on from: starting from the beginning");
        };
        if manifest.batch == 0 && self.planned.is_some_and(|planned| manifest.epochs >= planned) {
            // Only the end is left to be done.
            write!(f, "resuming after epoch {}, the last", manifest.epochs)?;
        } else {
            write!(f, "resuming at epoch {}", manifest.epochs.saturating_add(1))?;
        }
        if manifest.batch > 0 {
            write!(f, ", batch {}", manifest.batch.saturating_add(1))?;
        }
        write!(f, " (step {}) from checkpoint {:06}", manifest.step, manifest.number)?;
        match self.age() {
            Some(age) if age < Duration::from_secs(1) => f.write_str(", taken just now")?,
            Some(age) => {
                let age = Duration::from_secs(age.as_secs());
                write!(f, ", taken {} ago", humantime::format_duration(age))?;
            }
            None => write!(f, ", taken at {}", Escaped(&manifest.time))?,
        }
        if self.later_epochs > 0 {
            let plural = if self.later_epochs == 1 { "" } else { "s" };
            write!(f, "; {} later epoch{plural} will be trained again", self.later_epochs)?;
        }
        Ok(())
    }
}
