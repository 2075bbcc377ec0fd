#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod fit;
mod session;
mod slot;
mod trainer;

mod callback;
mod error;
pub mod event;
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
pub mod schedule;
pub mod weights;

pub mod callbacks;
mod combinators;
pub mod testing;

pub mod console;
pub mod files;
mod random;

pub use callback::{Access, Callback, OnFailure, RateAccess};
pub use callbacks::LambdaCallback;
pub use check::{nearest, no_metric};
pub use combinators::{CallbackExt, Every, Named, WithPolicy};
pub use dataset::Dataset;
pub use error::{Error, Escaped, Result, list_names};
pub use event::{BackwardEnd, BatchEnd, EpochEnd, Event, PredictBatchEnd, TestEnd};
pub use fit::{Fit, ValidationFreq};
pub use history::History;
pub use learner::{IntoLearner, Learner, ModelAccess, TrackMetric, TrainStep};
pub use learning_rate::LearningRate;
pub use logs::Logs;
pub use monitor::{Direction, Monitor};
pub use outcome::{Ending, Outcome, StopHandle, StopReason};
pub use progress::Progress;
pub use run::{Requests, Run};
pub use session::{Epochs, Session};
pub use state::State;
pub use trainer::Trainer;
