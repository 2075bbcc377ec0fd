//! The callbacks that come with Refrain; one file each.

mod backup_and_restore;
mod csv_logger;
mod csv_text;
#[cfg(feature = "device-stats")]
mod device_stats;
mod early_stopping;
mod file_template;
mod gradient_accumulation;
mod gradient_clip;
mod gradient_norms;
mod history;
mod json_training_logger;
mod lambda;
mod learning_rate_scheduler;
mod model_checkpoint;
mod progbar_logger;
mod python_format;
mod reduce_lr_on_plateau;
#[cfg(feature = "remote-monitor")]
mod remote_monitor;
mod saved_files;
mod step_lr_scheduler;
mod stochastic_weight_averaging;
mod swap_ema_weights;
mod tensor_board;
mod terminate_on_nan;
mod throughput_monitor;
mod time_limit;
mod warmup_cosine_scheduler;

use crate::registry::CallbackRegistry;

pub use backup_and_restore::BackupAndRestore;
pub use csv_logger::{CsvLogger, CsvLoggerState};
#[cfg(feature = "device-stats")]
pub use device_stats::DeviceStats;
pub use early_stopping::{EarlyStopping, EarlyStoppingState};
pub(crate) use file_template::FileTemplate;
pub use gradient_accumulation::{GradientAccumulation, GradientAccumulationState};
pub use gradient_clip::GradientClip;
pub use gradient_norms::{GradientNorms, GradientNormsState};
pub use history::{History, HistoryState};
pub use json_training_logger::{JsonTrainingLogger, JsonTrainingLoggerState};
pub use lambda::LambdaCallback;
pub use learning_rate_scheduler::{LearningRateScheduler, LearningRateSchedulerState};
pub use model_checkpoint::{ModelCheckpoint, ModelCheckpointState, SaveFreq};
pub use progbar_logger::ProgbarLogger;
pub use reduce_lr_on_plateau::{ReduceLrOnPlateau, ReduceLrOnPlateauState};
#[cfg(feature = "remote-monitor")]
pub use remote_monitor::RemoteMonitor;
pub use saved_files::SavedFile;
pub use step_lr_scheduler::StepLrScheduler;
pub use stochastic_weight_averaging::{StochasticWeightAveraging, StochasticWeightAveragingState};
pub use swap_ema_weights::{SwapEmaWeights, SwapEmaWeightsState};
pub use tensor_board::{EventRecords, HyperParameter, TensorBoard, TensorBoardState, UpdateFreq};
pub use terminate_on_nan::{TerminateOnNan, TerminateOnNanState};
pub use throughput_monitor::ThroughputMonitor;
pub use time_limit::{TimeLimit, TimeLimitState};
pub use warmup_cosine_scheduler::WarmupCosineScheduler;

/// Registers every callback of this crate.
pub(crate) fn register(registry: CallbackRegistry) -> CallbackRegistry {
    #[cfg(feature = "device-stats")]
    let registry = registry.with_comparable::<DeviceStats>();
    #[cfg(feature = "remote-monitor")]
    let registry = registry.with_comparable::<RemoteMonitor>();
    registry
        .with_comparable::<CsvLogger>()
        .with_comparable::<EarlyStopping>()
        .with_comparable::<GradientAccumulation>()
        .with_comparable::<GradientClip>()
        .with_comparable::<GradientNorms>()
        .with_comparable::<History>()
        .with_comparable::<JsonTrainingLogger>()
        .with_comparable::<ModelCheckpoint>()
        .with_comparable::<ProgbarLogger>()
        .with_comparable::<ReduceLrOnPlateau>()
        // Its schedule may be anybody's, and is not shown.
        .with::<LearningRateScheduler>()
        .with_comparable::<StepLrScheduler>()
        .with_comparable::<StochasticWeightAveraging>()
        .with_comparable::<SwapEmaWeights>()
        .with_comparable::<TensorBoard>()
        .with_comparable::<ThroughputMonitor>()
        .with_comparable::<TerminateOnNan>()
        .with_comparable::<TimeLimit>()
        .with_comparable::<WarmupCosineScheduler>()
}

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
