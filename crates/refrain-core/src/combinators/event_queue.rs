//! Events copied out of the run, and the bounded queue in which they wait for a thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::event::{BatchEnd, Event, EventParts, Hook};
use crate::learning_rate::LearningRate;
use crate::logs::Logs;
use crate::outcome::{Ending, Outcome};
use crate::progress::Progress;
use crate::run::Run;

/// An event with everything that it borrows from the run, owned.
pub(super) struct OwnedEvent {
    hook: Hook,
    /// Batch within the epoch and samples in it.
    batch: (usize, usize),
    logs: Logs,
    outcome: OwnedOutcome,
    pub(super) progress: Progress,
    pub(super) learning_rate: LearningRate,
    /// The rate that the epoch was trained with, where one ended.
    used: Option<LearningRate>,
    pub(super) batch_logs: Option<Logs>,
    /// Epochs that entered the history since the last event.
    pub(super) news: Vec<(usize, Logs)>,
}

enum OwnedOutcome {
    Ended(Ending),
    Failed(Error),
}

impl OwnedOutcome {
    fn of(outcome: &Outcome<'_>) -> Self {
        match outcome {
            Outcome::Completed => OwnedOutcome::Ended(Ending::Completed),
            Outcome::Stopped(reason) => OwnedOutcome::Ended(Ending::Stopped((*reason).clone())),
            Outcome::Interrupted => OwnedOutcome::Ended(Ending::Interrupted),
            Outcome::Failed(error) => OwnedOutcome::Failed((*error).clone()),
        }
    }

    fn outcome(&self) -> Outcome<'_> {
        match self {
            OwnedOutcome::Ended(ending) => ending.outcome(),
            OwnedOutcome::Failed(error) => Outcome::Failed(error),
        }
    }
}

impl OwnedEvent {
    pub(super) fn new(
        event: &Event<'_>,
        run: &Run<'_>,
        batch_logs: Option<Logs>,
        news: Vec<(usize, Logs)>,
    ) -> Self {
        let batch = match event {
            Event::TrainBatchEnd(batch) | Event::TestBatchEnd(batch) => (batch.index, batch.size),
            Event::PredictBatchEnd(batch) => (batch.index, batch.size),
            _ => (0, 0),
        };
        let logs = match event {
            Event::TestEnd(test) => test.logs.clone(),
            Event::EpochEnd(epoch) => epoch.logs.clone(),
            _ => Logs::new(),
        };
        let used = match event {
            Event::EpochEnd(epoch) => Some(epoch.learning_rate.clone()),
            _ => None,
        };
        let outcome = match event {
            Event::TestEnd(test) => OwnedOutcome::of(&test.outcome),
            Event::TrainEnd(outcome) | Event::PredictEnd(outcome) => OwnedOutcome::of(outcome),
            _ => OwnedOutcome::Ended(Ending::Completed),
        };
        Self {
            hook: event.hook(),
            batch,
            logs,
            outcome,
            progress: run.progress,
            learning_rate: run.learning_rate.clone(),
            used,
            batch_logs,
            news,
        }
    }

    pub(super) fn hook(&self) -> Hook {
        self.hook
    }

    /// Lends the event in the form that hooks take. What a hook adds to the logs goes nowhere.
    pub(super) fn with(&mut self, f: impl FnOnce(&mut Event<'_>) -> Result) -> Result {
        let (index, size) = self.batch;
        let outcome = self.outcome.outcome();
        let parts = EventParts {
            batch: BatchEnd { index, size },
            logs: &mut self.logs,
            learning_rate: self.used.as_ref().unwrap_or(&self.learning_rate),
            outcome,
            outputs: &(),
        };
        let mut event = parts.event(self.hook);
        f(&mut event)
    }
}

/// One end is training, the other the thread.
pub(super) struct EventQueue {
    capacity: usize,
    inside: Mutex<Inside>,
    /// Something was put in, or the queue was closed.
    filled: Condvar,
    /// Something was handled.
    emptied: Condvar,
}

#[derive(Default)]
struct Inside {
    events: VecDeque<OwnedEvent>,
    /// Whether the thread has an event in its hands.
    is_busy: bool,
    is_closed: bool,
    printed: Vec<String>,
    failure: Option<Error>,
}

impl Inside {
    fn left(&self) -> usize {
        self.events.len() + usize::from(self.is_busy)
    }
}

impl EventQueue {
    pub(super) fn new(capacity: usize) -> Self {
        let inside = Inside { events: VecDeque::with_capacity(capacity), ..Inside::default() };
        let (filled, emptied) = (Condvar::new(), Condvar::new());
        Self { capacity, inside: Mutex::new(inside), filled, emptied }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `is_waiting`, for at most `limit`.
    fn wait(
        &self,
        limit: Duration,
        is_waiting: impl Fn(&Inside) -> bool,
    ) -> MutexGuard<'_, Inside> {
        let deadline = Instant::now() + limit;
        let mut inside = self.lock();
        while is_waiting(&inside) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            if left.is_zero() {
                break;
            }
            let waited = self.emptied.wait_timeout(inside, left);
            inside = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inside
    }

    /// Whether there is room for so many events, within `limit`. Nobody else puts any in.
    pub(super) fn wait_for_room(&self, places: usize, limit: Duration) -> bool {
        let is_full = |inside: &Inside| inside.events.len() + places > self.capacity;
        let inside = self.wait(limit, is_full);
        !is_full(&inside)
    }

    pub(super) fn push(&self, event: OwnedEvent) {
        self.lock().events.push_back(event);
        self.filled.notify_one();
    }

    /// The next event, for the thread; `None`: the queue is empty and closed.
    pub(super) fn pop(&self) -> Option<OwnedEvent> {
        let mut inside = self.lock();
        loop {
            if let Some(event) = inside.events.pop_front() {
                inside.is_busy = true;
                return Some(event);
            }
            if inside.is_closed {
                return None;
            }
            inside = self.filled.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread has handled what it took.
    pub(super) fn done(&self) {
        self.lock().is_busy = false;
        self.emptied.notify_all();
    }

    /// Waits until everything was handled; events that were not, within `limit`.
    pub(super) fn drain(&self, limit: Duration) -> usize {
        self.wait(limit, |inside| inside.left() > 0).left()
    }

    /// Drains and ends the thread; what is left is thrown away.
    pub(super) fn finish(&self, limit: Duration) -> usize {
        let left = self.drain(limit);
        self.close();
        left
    }

    /// Ends the thread after the event in its hands.
    pub(super) fn close(&self) {
        let mut inside = self.lock();
        inside.is_closed = true;
        inside.events.clear();
        drop(inside);
        self.filled.notify_all();
    }

    /// Keeps the first failure until somebody takes it.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
    }

    pub(super) fn take_failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    pub(super) fn print<'l>(&self, lines: impl Iterator<Item = &'l str>) {
        self.lock().printed.extend(lines.map(str::to_owned));
    }

    pub(super) fn take_printed(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().printed)
    }
}
