//! `.once()`: the first time only.

use serde_json::Value;

use super::conditional::{Part, Rule, load_own};
use crate::error::{Error, Result};
use crate::event::Hook;
use crate::run::Run;

pub(super) struct Once {
    /// Whether a single batch is meant, or an epoch.
    counts_batches: bool,
    /// The epoch, from 0, in which the callback acted.
    acted_in: Option<usize>,
}

impl Once {
    pub(super) fn new(counts_batches: bool) -> Self {
        Self { counts_batches, acted_in: None }
    }
}

impl Rule for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn is_due(&mut self, part: Part, _: Hook, run: &Run<'_>) -> bool {
        match (self.acted_in, self.counts_batches) {
            (None, _) => true,
            (Some(_), true) => part != Part::Batch,
            (Some(epoch), false) => epoch == run.progress.epoch,
        }
    }

    fn thins_batches(&self) -> bool {
        self.counts_batches
    }

    fn acted(&mut self, part: Part, epoch: usize) {
        if self.acted_in.is_none() && (part == Part::Batch || !self.counts_batches) {
            self.acted_in = Some(epoch);
        }
    }

    fn save(&self) -> Result<Option<Value>> {
        serde_json::to_value(self.acted_in).map(Some).map_err(Error::wrap)
    }

    fn load(&mut self, saved: Option<&Value>) -> Result {
        self.acted_in = load_own(saved)?;
        Ok(())
    }
}
