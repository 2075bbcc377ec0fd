#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
pub mod checkpoint;
mod checksum;
mod costs;
mod fit;
mod session;
mod slot;
mod trainer;
mod trial;

mod callback;
mod error;
pub mod event;
mod finding;
mod history;
mod learning_rate;
mod logs;
mod monitor;
mod outcome;
mod progress;
mod run;
pub mod state;

mod dataset;
mod learner;
mod prefetch;
pub mod schedule;
pub mod weights;

pub mod callbacks;
mod combinators;
pub mod options;
mod registry;
mod replay;
mod report;
pub mod testing;

pub mod console;
pub mod files;
mod random;

pub use callback::{Access, Callback, OnFailure, RateAccess};
pub use callbacks::LambdaCallback;
pub use check::{nearest, no_metric};
pub use combinators::{Background, CallbackExt, Conditional, Named, WithPolicy};
pub use costs::Costs;
pub use dataset::{Dataset, Got, Items, Part, RowSource};
pub use error::{Error, Escaped, Result, list_names};
pub use event::{BackwardEnd, BatchEnd, EpochEnd, Event, PredictBatchEnd, TestEnd};
pub use finding::{Finding, RunPlan, Severity};
pub use fit::{Fit, ValidationFreq, validation_split_at};
pub use history::History;
pub use learner::{Clip, IntoLearner, Learner, ModelAccess, TrackMetric, TrainStep};
pub use learning_rate::LearningRate;
pub use logs::Logs;
pub use monitor::{Direction, Monitor};
pub use outcome::{Ending, Outcome, StopHandle, StopReason};
pub use prefetch::{Ahead, Prefetched};
pub use progress::Progress;
pub use registry::{BuildContext, CallbackRegistry, FromOptions};
pub use replay::{RecordedLearner, Replay, Replayed, ReplayedEpoch};
pub use report::{Check, CheckedCallback};
pub use run::{Requests, Run};
pub use session::{Epochs, Session};
pub use state::State;
pub use trainer::Trainer;
pub use trial::{Trial, TrialPoint};
