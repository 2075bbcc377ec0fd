//! `.every_seconds(s)`: when some time has passed.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::conditional::{Part, Rule, load_own};
use crate::callback::Access;
use crate::error::{Error, Result};
use crate::event::Hook;
use crate::run::Run;

pub(super) struct EverySeconds {
    seconds: f64,
    /// What is chosen among: batches where the callback acts in some, else epochs.
    part: Part,
    /// When it was due last, or training began.
    last: Option<Instant>,
}

impl EverySeconds {
    pub(super) fn new(seconds: f64, access: &Access) -> Self {
        let part = if Part::Batch.is_handled(access) { Part::Batch } else { Part::Epoch };
        Self { seconds, part, last: None }
    }
}

impl Rule for EverySeconds {
    fn name(&self) -> &'static str {
        "every_seconds"
    }

    fn is_due(&mut self, part: Part, _: Hook, _: &Run<'_>) -> bool {
        if part != self.part {
            return true;
        }
        let now = Instant::now();
        let last = *self.last.get_or_insert(now);
        let is_due = now.duration_since(last).as_secs_f64() >= self.seconds;
        if is_due {
            self.last = Some(now);
        }
        is_due
    }

    fn thins_batches(&self) -> bool {
        self.part == Part::Batch
    }

    fn decides_once(&self) -> bool {
        self.part == Part::Epoch
    }

    fn see(&mut self, hook: Hook, _: &Run<'_>) {
        if hook == Hook::TrainBegin {
            self.last.get_or_insert_with(Instant::now);
        }
    }

    fn check(&self, access: &Access) -> Result {
        if !(self.seconds.is_finite() && self.seconds > 0.0) {
            return Err(Error::config(format!(
                "every_seconds is {}; allowed: a finite number above 0",
                self.seconds
            )));
        }
        if !self.part.is_handled(access) {
            return Err(Error::config(
                "every_seconds chooses among batches or epochs, and the callback acts in neither; \
                 leave it out",
            ));
        }
        Ok(())
    }

    /// Seconds that have passed: an instant means nothing to another process.
    fn save(&self) -> Result<Option<Value>> {
        let passed = self.last.map(|last| last.elapsed().as_secs_f64());
        serde_json::to_value(passed).map(Some).map_err(Error::wrap)
    }

    fn load(&mut self, saved: Option<&Value>) -> Result {
        let passed: Option<f64> = load_own(saved)?;
        self.last = passed.and_then(|passed| {
            let passed = Duration::try_from_secs_f64(passed).ok()?;
            Instant::now().checked_sub(passed)
        });
        Ok(())
    }
}
