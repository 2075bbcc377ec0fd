//! Why a run ended, and asking it to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// Who asked a run to stop, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReason {
    /// Name of the callback: `early_stopping`.
    pub by: String,
    /// One line for people.
    pub reason: String,
}

/// How a run ended; told to every callback in `on_train_end`.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// All epochs were run.
    Completed,
    /// A callback asked for the stop.
    Stopped(&'a StopReason),
    /// Somebody outside asked for the stop: Ctrl-C, a [`StopHandle`], a loop left early.
    Interrupted,
    /// An error or a panic ended it.
    Failed(&'a Error),
}

impl Outcome<'_> {
    /// `completed`, `stopped`, `interrupted` or `failed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Stopped(_) => "stopped",
            Outcome::Interrupted => "interrupted",
            Outcome::Failed(_) => "failed",
        }
    }
}

/// How a run that did not fail ended; kept in [`History`](crate::History).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// All epochs were run.
    #[default]
    Completed,
    /// A callback asked for the stop.
    Stopped(StopReason),
    /// Somebody outside asked for the stop.
    Interrupted,
}

impl Ending {
    /// The same as callbacks are told it.
    pub fn outcome(&self) -> Outcome<'_> {
        match self {
            Ending::Completed => Outcome::Completed,
            Ending::Stopped(reason) => Outcome::Stopped(reason),
            Ending::Interrupted => Outcome::Interrupted,
        }
    }
}

/// Stops a run from outside: another thread, a signal handler, a user interface.
///
/// The run finishes its current batch, ends its callbacks with [`Outcome::Interrupted`] and
/// returns. A stop asked for before `fit` ends that `fit` before its first batch.
///
/// # Example
/// ```
/// use refrain_core::StopHandle;
/// let handle = StopHandle::default();
/// let for_the_signal_handler = handle.clone();
/// for_the_signal_handler.stop();
/// assert!(handle.is_stopped());
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// Asks the run to stop. Safe to call from a signal handler: one atomic store.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether a stop was asked for and not yet obeyed.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The flag itself, for libraries that set one on a signal.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    pub(crate) fn reset(&self) {
        self.0.store(false, Ordering::Release);
    }
}
