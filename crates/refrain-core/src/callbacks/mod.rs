//! The callbacks that come with Refrain; one file each.

mod early_stopping;
mod json_training_logger;
mod lambda;
mod progbar_logger;
mod step_lr_scheduler;
mod warmup_cosine_scheduler;

pub use early_stopping::{EarlyStopping, EarlyStoppingState};
pub use json_training_logger::{JsonTrainingLogger, JsonTrainingLoggerState};
pub use lambda::LambdaCallback;
pub use progbar_logger::ProgbarLogger;
pub use step_lr_scheduler::{StepLrScheduler, StepLrSchedulerState};
pub use warmup_cosine_scheduler::WarmupCosineScheduler;

/// Implements `save_state` and `load_state` for a callback whose field `state` is all it remembers.
macro_rules! plain_state {
    () => {
        fn save_state(&self) -> crate::error::Result<Option<crate::state::State>> {
            crate::state::State::new(&self.state).map(Some)
        }

        fn load_state(&mut self, saved: Option<&crate::state::State>) -> crate::error::Result {
            self.state = crate::state::State::load_or_default(saved)?;
            Ok(())
        }
    };
}
use plain_state;
