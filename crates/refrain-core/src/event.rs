//! The events of a run, and which of them sees what.
//!
//! Events are emitted in this order; `·` marks what repeats.
//!
//! ```text
//! on_train_begin
//!   · on_epoch_begin
//!     · on_train_batch_begin
//!         forward, backward
//!       on_backward_end              (not in Keras: gradients exist, the update has not run)
//!         update of the weights
//!       on_train_batch_end
//!     on_test_begin                  (where validation is due)
//!       · on_test_batch_begin
//!         on_test_batch_end
//!     on_test_end
//!     on_epoch_end
//! on_train_end
//! ```
//!
//! `evaluate` emits the `on_test_*` part alone, `predict` the same pattern under `on_predict_*`.
//!
//! # Which event sees what
//!
//! | hook | `progress.epoch` | `progress.step` | logs | a requested stop |
//! | --- | --- | --- | --- | --- |
//! | `on_train_begin` | first epoch | 0, or the updates before `initial_epoch` | none | no epoch is run |
//! | `on_epoch_begin` | this epoch | updates so far | none | one batch is trained, then the epoch ends as usual |
//! | `on_train_batch_begin` | this epoch | updates so far | none | this batch is trained, then the epoch ends as usual |
//! | `on_backward_end` | this epoch | updates so far | [`Run::batch_logs`], this batch included | as above |
//! | `on_train_batch_end` | this epoch | this update included | [`Run::batch_logs`], this batch included | no further batch; validation and `on_epoch_end` still run |
//! | `on_test_begin` | this epoch | unchanged | none | validation still runs to its end |
//! | `on_test_batch_begin` | this epoch | unchanged | none | as above |
//! | `on_test_batch_end` | this epoch | unchanged | [`Run::batch_logs`], of this validation | as above |
//! | `on_test_end` | this epoch | unchanged | [`TestEnd::logs`], without `val_` | as above |
//! | `on_epoch_end` | this epoch | unchanged | [`EpochEnd::logs`]: `loss`, metrics, `val_*`, `learning_rate` | no further epoch |
//! | `on_train_end` | last epoch begun | unchanged | [`Run::history`], all epochs | nothing to stop |
//! | `on_predict_*` | unchanged | unchanged | none | prediction still runs to its end |
//!
//! Every callback sees every event, in list order, also where an earlier one asked for a stop or
//! failed. Two exceptions: when `on_train_begin` fails, the callbacks listed after it have not
//! begun, and see nothing; a callback that was disabled sees nothing more.
//!
//! After an error, a panic or a stop from outside, the epoch does not end: `on_epoch_end` is for
//! epochs that were run to their end. `on_test_end`, `on_predict_end` and `on_train_end` always
//! run for whoever began, and are told why.

use std::any::Any;
use std::fmt;

use crate::learning_rate::LearningRate;
use crate::logs::Logs;
use crate::outcome::Outcome;
#[cfg(doc)]
use crate::run::Run;

/// After the backward pass, before the update: gradients can be looked at, the update skipped.
#[derive(Debug, Default)]
pub struct BackwardEnd {
    skip_update: bool,
    accumulate: bool,
}

impl BackwardEnd {
    /// Throws this batch's gradients away; weights, optimizer and step count stay as they are.
    pub fn skip_update(&mut self) {
        self.skip_update = true;
    }

    /// Puts the update off: this batch's gradients are kept, and the next update is made with the
    /// mean of all that were. Weights, optimizer and step count stay as they are.
    pub fn accumulate(&mut self) {
        self.accumulate = true;
    }

    /// Whether a callback asked for the update to be put off.
    pub fn is_accumulating(&self) -> bool {
        self.accumulate
    }

    /// Whether a callback asked for the update to be skipped.
    pub fn is_update_skipped(&self) -> bool {
        self.skip_update
    }
}

/// A batch was trained, evaluated or predicted.
#[derive(Debug)]
#[non_exhaustive]
pub struct BatchEnd {
    /// The batch within the epoch, from 0.
    pub index: usize,
    /// Samples in it.
    pub size: usize,
}

/// An epoch ended; its numbers are final, and callbacks may add their own.
#[derive(Debug)]
#[non_exhaustive]
pub struct EpochEnd<'a> {
    /// `loss`, the metrics, `val_*` where validation ran, and `learning_rate`, the rate used in
    /// this epoch. What a callback adds is seen by those listed after it, by the history and by
    /// the progress line.
    pub logs: &'a mut Logs,
    /// The rate as it was when the epoch's batches were done, with its factors; by now a callback
    /// may have set the next epoch's.
    pub learning_rate: &'a LearningRate,
}

/// An evaluation ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct TestEnd<'a> {
    /// `loss` and the metrics, without `val_`; empty unless the outcome is `Completed`.
    pub logs: &'a Logs,
    /// How it ended.
    pub outcome: Outcome<'a>,
}

/// A batch was predicted.
#[non_exhaustive]
pub struct PredictBatchEnd<'a> {
    /// The batch, from 0.
    pub index: usize,
    /// Samples in it.
    pub size: usize,
    /// The engine's outputs; for the Burn engine the model's output tensor.
    pub outputs: &'a dyn Any,
}

impl fmt::Debug for PredictBatchEnd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PredictBatchEnd")
            .field("index", &self.index)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// What a callback can be told; one variant a hook. See the [module docs](self) for the table.
#[derive(Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is its hook, documented on `Callback`")]
pub enum Event<'a> {
    TrainBegin,
    EpochBegin,
    TrainBatchBegin,
    BackwardEnd(BackwardEnd),
    TrainBatchEnd(BatchEnd),
    TestBegin,
    TestBatchBegin,
    TestBatchEnd(BatchEnd),
    TestEnd(TestEnd<'a>),
    EpochEnd(EpochEnd<'a>),
    TrainEnd(Outcome<'a>),
    PredictBegin,
    PredictBatchBegin,
    PredictBatchEnd(PredictBatchEnd<'a>),
    PredictEnd(Outcome<'a>),
}

impl Event<'_> {
    /// The hook that this event is delivered to.
    pub fn hook(&self) -> Hook {
        match self {
            Event::TrainBegin => Hook::TrainBegin,
            Event::EpochBegin => Hook::EpochBegin,
            Event::TrainBatchBegin => Hook::TrainBatchBegin,
            Event::BackwardEnd(_) => Hook::BackwardEnd,
            Event::TrainBatchEnd(_) => Hook::TrainBatchEnd,
            Event::TestBegin => Hook::TestBegin,
            Event::TestBatchBegin => Hook::TestBatchBegin,
            Event::TestBatchEnd(_) => Hook::TestBatchEnd,
            Event::TestEnd(_) => Hook::TestEnd,
            Event::EpochEnd(_) => Hook::EpochEnd,
            Event::TrainEnd(_) => Hook::TrainEnd,
            Event::PredictBegin => Hook::PredictBegin,
            Event::PredictBatchBegin => Hook::PredictBatchBegin,
            Event::PredictBatchEnd(_) => Hook::PredictBatchEnd,
            Event::PredictEnd(_) => Hook::PredictEnd,
        }
    }
}

/// What the events of a hook are made of, for those who tell a callback without a loop.
pub(crate) struct EventParts<'a> {
    pub(crate) batch: BatchEnd,
    /// Of the epoch or the evaluation that ended.
    pub(crate) logs: &'a mut Logs,
    pub(crate) learning_rate: &'a LearningRate,
    pub(crate) outcome: Outcome<'a>,
    pub(crate) outputs: &'a dyn Any,
}

impl<'a> EventParts<'a> {
    /// The event of `hook`.
    pub(crate) fn event(self, hook: Hook) -> Event<'a> {
        let Self { batch, logs, learning_rate, outcome, outputs } = self;
        match hook {
            Hook::TrainBegin => Event::TrainBegin,
            Hook::EpochBegin => Event::EpochBegin,
            Hook::TrainBatchBegin => Event::TrainBatchBegin,
            Hook::BackwardEnd => Event::BackwardEnd(BackwardEnd::default()),
            Hook::TrainBatchEnd => Event::TrainBatchEnd(batch),
            Hook::TestBegin => Event::TestBegin,
            Hook::TestBatchBegin => Event::TestBatchBegin,
            Hook::TestBatchEnd => Event::TestBatchEnd(batch),
            Hook::TestEnd => Event::TestEnd(TestEnd { logs, outcome }),
            Hook::EpochEnd => Event::EpochEnd(EpochEnd { logs, learning_rate }),
            Hook::TrainEnd => Event::TrainEnd(outcome),
            Hook::PredictBegin => Event::PredictBegin,
            Hook::PredictBatchBegin => Event::PredictBatchBegin,
            Hook::PredictBatchEnd => {
                let BatchEnd { index, size } = batch;
                Event::PredictBatchEnd(PredictBatchEnd { index, size, outputs })
            }
            Hook::PredictEnd => Event::PredictEnd(outcome),
        }
    }
}

/// Name of a hook; displays as the method's name.
///
/// # Example
/// ```
/// use refrain_core::event::Hook;
/// assert_eq!(Hook::EpochEnd.to_string(), "on_epoch_end");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is its hook, documented on `Callback`")]
pub enum Hook {
    TrainBegin,
    EpochBegin,
    TrainBatchBegin,
    BackwardEnd,
    TrainBatchEnd,
    TestBegin,
    TestBatchBegin,
    TestBatchEnd,
    TestEnd,
    EpochEnd,
    TrainEnd,
    PredictBegin,
    PredictBatchBegin,
    PredictBatchEnd,
    PredictEnd,
}

impl Hook {
    /// All hooks, in the order of a run.
    pub const ALL: [Hook; 15] = [
        Hook::TrainBegin,
        Hook::EpochBegin,
        Hook::TrainBatchBegin,
        Hook::BackwardEnd,
        Hook::TrainBatchEnd,
        Hook::TestBegin,
        Hook::TestBatchBegin,
        Hook::TestBatchEnd,
        Hook::TestEnd,
        Hook::EpochEnd,
        Hook::TrainEnd,
        Hook::PredictBegin,
        Hook::PredictBatchBegin,
        Hook::PredictBatchEnd,
        Hook::PredictEnd,
    ];

    /// `on_epoch_end` and so on.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::TrainBegin => "on_train_begin",
            Hook::EpochBegin => "on_epoch_begin",
            Hook::TrainBatchBegin => "on_train_batch_begin",
            Hook::BackwardEnd => "on_backward_end",
            Hook::TrainBatchEnd => "on_train_batch_end",
            Hook::TestBegin => "on_test_begin",
            Hook::TestBatchBegin => "on_test_batch_begin",
            Hook::TestBatchEnd => "on_test_batch_end",
            Hook::TestEnd => "on_test_end",
            Hook::EpochEnd => "on_epoch_end",
            Hook::TrainEnd => "on_train_end",
            Hook::PredictBegin => "on_predict_begin",
            Hook::PredictBatchBegin => "on_predict_batch_begin",
            Hook::PredictBatchEnd => "on_predict_batch_end",
            Hook::PredictEnd => "on_predict_end",
        }
    }

    /// The part of a run whose begin and end this hook belongs to.
    pub(crate) fn scope(self) -> Scope {
        match self {
            Hook::TestBegin | Hook::TestBatchBegin | Hook::TestBatchEnd | Hook::TestEnd => {
                Scope::Test
            }
            Hook::PredictBegin
            | Hook::PredictBatchBegin
            | Hook::PredictBatchEnd
            | Hook::PredictEnd => Scope::Predict,
            _ => Scope::Train,
        }
    }

    pub(crate) fn is_begin(self) -> bool {
        matches!(self, Hook::TrainBegin | Hook::TestBegin | Hook::PredictBegin)
    }

    pub(crate) fn is_end(self) -> bool {
        matches!(self, Hook::TrainEnd | Hook::TestEnd | Hook::PredictEnd)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can begin and end: training, an evaluation, a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Train,
    Test,
    Predict,
}
