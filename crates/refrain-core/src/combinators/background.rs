//! `.background()`: on a thread of its own.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::conditional::Part;
use super::event_queue::{EventQueue, OwnedEvent};
use crate::callback::{Access, Callback, OnFailure, RateAccess};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::event::{Event, Hook, Scope};
use crate::files::Files;
use crate::finding::{Finding, RunPlan};
use crate::history::History;
use crate::learner::{Clip, ModelAccess};
use crate::logs::Logs;
use crate::run::{Requests, Run};
use crate::slot::panic_text;
use crate::state::State;
use crate::weights::Weights;

/// A callback on a thread of its own; see
/// [`CallbackExt::background`](super::CallbackExt::background).
pub struct Background<C> {
    callback: Arc<Mutex<C>>,
    name: Cow<'static, str>,
    access: Access,
    capacity: usize,
    patience: Duration,
    flush_within: Duration,
    worker: Option<Worker>,
    /// The state as it was saved or loaded last, for a checkpoint that the thread is too late for.
    last_state: Mutex<Option<State>>,
}

/// The thread of one run, seen from training.
struct Worker {
    queue: Arc<EventQueue>,
    /// What began the thread and will end it.
    scope: Scope,
    /// Epochs of the history that the thread was told of.
    told: usize,
    /// Whether the part under way was dropped, by `Part as usize`.
    dropping: [bool; Part::COUNT],
    dropped_batches: u64,
    dropped_others: u64,
}

impl<C: Callback> Background<C> {
    pub(super) fn new(callback: C) -> Self {
        Self {
            name: callback.name(),
            access: callback.access(),
            callback: Arc::new(Mutex::new(callback)),
            capacity: 256,
            patience: Duration::from_millis(20),
            flush_within: Duration::from_secs(10),
            worker: None,
            last_state: Mutex::default(),
        }
    }

    /// Events that may wait for the thread, ≥ 8. Default 256.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// How long the end of training, or a checkpoint, waits for what is in the queue. Default 10 s.
    pub fn flush_within(mut self, limit: Duration) -> Self {
        self.flush_within = limit;
        self
    }

    /// The callback, unless its thread keeps it for longer than the limit.
    fn lock(&self) -> Result<MutexGuard<'_, C>> {
        let deadline = Instant::now() + self.flush_within;
        loop {
            match self.callback.try_lock() {
                Ok(callback) => return Ok(callback),
                Err(TryLockError::Poisoned(callback)) => return Ok(callback.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => return Err(self.is_late("it is still at work")),
            }
        }
    }

    fn last_state(&self) -> MutexGuard<'_, Option<State>> {
        self.last_state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_late(&self, what: &str) -> Error {
        let limit = self.flush_within.as_secs_f64();
        Error::msg(format!("{what} after {limit} s in the background"))
    }

    fn begin(&mut self, scope: Scope, run: &Run<'_>) -> Result {
        let queue = Arc::new(EventQueue::new(self.capacity));
        let stage = Stage {
            callback: Arc::clone(&self.callback),
            queue: Arc::clone(&queue),
            name: run.callback_name().to_owned(),
            is_rehearsal: run.is_rehearsal(),
            is_resumed: run.is_resumed(),
            rollbacks: run.rollbacks(),
            files: run.files().clone(),
        };
        thread::Builder::new()
            .name("refrain-background".to_owned())
            .spawn(move || stage.work())
            .map_err(|e| Error::msg(format!("no thread for the background: {e}")))?;
        self.worker = Some(Worker {
            queue,
            scope,
            told: 0,
            dropping: [false; Part::COUNT],
            dropped_batches: 0,
            dropped_others: 0,
        });
        Ok(())
    }

    /// Waits for the thread, tells what was dropped, and reports what failed.
    fn end(&mut self, run: &mut Run<'_>) -> Result {
        let Some(worker) = self.worker.take() else {
            return Ok(());
        };
        let left = worker.queue.finish(self.flush_within);
        print_all(&worker.queue, run);
        let (batches, others) = (worker.dropped_batches, worker.dropped_others);
        if batches + others > 0 {
            run.print(&format!(
                "callback `{}` in the background was too slow: {batches} events of batches and \
                 {others} others were dropped",
                run.callback_name()
            ));
        }
        match worker.queue.take_failure() {
            Some(failure) => Err(failure),
            None if left > 0 => Err(self.is_late(&format!("{left} events are not handled"))),
            None => Ok(()),
        }
    }
}

fn print_all(queue: &EventQueue, run: &mut Run<'_>) {
    for line in queue.take_printed() {
        run.print(&line);
    }
}

impl Worker {
    /// Copies an event for the thread, or drops it: training does not wait for a thread that is
    /// behind.
    fn send(
        &mut self,
        event: &Event<'_>,
        run: &mut Run<'_>,
        access: &Access,
        patience: Duration,
    ) -> Result {
        let hook = event.hook();
        let part = Part::of(hook);
        let is_batch = matches!(
            hook,
            Hook::TrainBatchBegin
                | Hook::BackwardEnd
                | Hook::TrainBatchEnd
                | Hook::TestBatchBegin
                | Hook::TestBatchEnd
                | Hook::PredictBatchBegin
                | Hook::PredictBatchEnd
        );
        // What belongs together is dropped together: places for all of a part's hooks, or none.
        let (is_opening, places) = match part {
            Some(part @ (Part::Epoch | Part::Batch)) => {
                let mut hooks = Hook::ALL
                    .into_iter()
                    .filter(|hook| Part::of(*hook) == Some(part) && access.handles(*hook));
                let is_opening = hooks.next() == Some(hook);
                (is_opening, if is_opening && is_batch { 1 + hooks.count() } else { 1 })
            }
            Some(_) => (hook.is_begin(), 1),
            None => (false, 1),
        };
        let dropping = part.map(|part| part as usize);
        let was_dropped = dropping.is_some_and(|part| self.dropping[part]) && !is_opening;
        let wait = if is_batch { Duration::ZERO } else { patience };
        // The ends have a place whatever happens: one each, and whoever began is ended.
        let has_room = !was_dropped && (hook.is_end() || self.queue.wait_for_room(places, wait));
        if let Some(part) = dropping
            && (is_opening || !has_room && part == Part::Batch as usize)
        {
            self.dropping[part] = !has_room;
        }
        if !has_room {
            *(if is_batch { &mut self.dropped_batches } else { &mut self.dropped_others }) += 1;
            return Ok(());
        }
        let reads_batch =
            matches!(hook, Hook::BackwardEnd | Hook::TrainBatchEnd | Hook::TestBatchEnd);
        let batch_logs = if reads_batch { Some(run.batch_logs()?.clone()) } else { None };
        let news = run.history.iter().skip(self.told);
        let news: Vec<(usize, Logs)> = news.map(|(epoch, logs)| (epoch, logs.clone())).collect();
        self.told = run.history.len();
        self.queue.push(OwnedEvent::new(event, run, batch_logs, news));
        Ok(())
    }
}

impl<C: Callback> Callback for Background<C> {
    fn name(&self) -> Cow<'static, str> {
        self.name.clone()
    }

    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        let hook = event.hook();
        if self.worker.is_none() && hook.is_begin() {
            self.begin(hook.scope(), run)?;
        }
        let Some(worker) = &mut self.worker else {
            return Ok(());
        };
        print_all(&worker.queue, run);
        let is_last = hook.is_end() && hook.scope() == worker.scope;
        if !is_last && let Some(failure) = worker.queue.take_failure() {
            return Err(failure);
        }
        if self.access.handles(hook) {
            worker.send(event, run, &self.access, self.patience)?;
        }
        if is_last { self.end(run) } else { Ok(()) }
    }

    fn access(&self) -> Access {
        // The thread is begun and ended with whatever the callback acts in.
        let acts_in = |scope: Scope| {
            Hook::ALL.into_iter().any(|hook| hook.scope() == scope && self.access.handles(hook))
        };
        let hooks = Hook::ALL
            .into_iter()
            .filter(|hook| (hook.is_begin() || hook.is_end()) && acts_in(hook.scope()));
        self.access.clone().also_acts_in(hooks).observes()
    }

    fn check(&self) -> Result {
        let access = &self.access;
        let refused = [
            (access.rate() != RateAccess::None, "changes the learning rate"),
            (access.stops(), "may ask for a stop"),
            (access.rolls_back(), "may ask the run to go back to a checkpoint"),
            (access.is_setting_weights(), "sets weights"),
            (access.is_reading_model(), "reads the model"),
            (access.is_changing_gradients(), "changes gradients"),
            (!access.written().is_empty(), "adds to the logs"),
        ];
        if let Some((_, what)) = refused.iter().find(|(is_refused, _)| *is_refused) {
            return Err(Error::config(format!(
                "`{}` {what}, which nothing in the background can; leave background out",
                self.name
            )));
        }
        if self.capacity < 8 {
            return Err(Error::config(format!(
                "capacity of the background is {}; allowed: 8 or more",
                self.capacity
            )));
        }
        self.lock()?.check()
    }

    fn findings(&self, plan: &RunPlan) -> Vec<Finding> {
        self.lock().map_or_else(|_| Vec::new(), |callback| callback.findings(plan))
    }

    fn failure_policy(&self) -> OnFailure {
        OnFailure::Disable
    }

    fn save_state(&self) -> Result<Option<State>> {
        if let Some(worker) = &self.worker {
            let left = worker.queue.drain(self.flush_within);
            if left > 0 {
                // A checkpoint is not lost for a callback that hangs: it is reported, and disabled,
                // at the next event. A log that goes on from its state loses what came since.
                let late = self.is_late(&format!("{left} events are not handled"));
                worker.queue.fail(late);
                return Ok(self.last_state().clone());
            }
        }
        // Still held where one that hung was ended: that was reported then.
        let Ok(callback) = self.lock() else {
            return Ok(self.last_state().clone());
        };
        let state = callback.save_state()?;
        self.last_state().clone_from(&state);
        Ok(state)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        // Left by a run that failed while it began.
        if let Some(worker) = self.worker.take() {
            worker.queue.finish(self.flush_within);
        }
        self.lock()?.load_state(saved)?;
        *self.last_state() = saved.cloned();
        Ok(())
    }
}

impl<C> Drop for Background<C> {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.queue.close();
        }
    }
}

/// What the thread works with: a run without a model.
struct Stage<C> {
    callback: Arc<Mutex<C>>,
    queue: Arc<EventQueue>,
    name: String,
    is_rehearsal: bool,
    is_resumed: bool,
    rollbacks: usize,
    files: Files,
}

impl<C: Callback> Stage<C> {
    fn work(self) {
        let mut history = History::default();
        let mut has_failed = false;
        while let Some(mut event) = self.queue.pop() {
            for (epoch, logs) in event.news.drain(..) {
                history.push(epoch, logs);
            }
            // One that failed sees nothing more but its end, as in the foreground.
            if !has_failed || event.hook().is_end() {
                let result = self.hand_over(event, &history);
                has_failed |= result.is_err();
                if let Err(error) = result {
                    self.queue.fail(error);
                }
            }
            self.queue.done();
        }
    }

    fn hand_over(&self, mut event: OwnedEvent, history: &History) -> Result {
        let mut callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut console, text) = Console::memory();
        let mut requests = Requests::default();
        let mut learning_rate = event.learning_rate.clone();
        let mut run = Run {
            progress: event.progress,
            learning_rate: &mut learning_rate,
            model: &mut NoModel,
            history,
            console: &mut console,
            requests: &mut requests,
            batch_logs: &mut event.batch_logs.take(),
            callback: &self.name,
            is_rehearsal: self.is_rehearsal,
            is_resumed: self.is_resumed,
            rollbacks: self.rollbacks,
            files: &self.files,
            trial: None,
        };
        let called = AssertUnwindSafe(|| event.with(|event| callback.on_event(&mut run, event)));
        let result = catch_unwind(called)
            .unwrap_or_else(|panic| Err(Error::msg(format!("panicked: {}", panic_text(&*panic)))));
        self.queue.print(text.contents().lines());
        let hook = event.hook();
        result.map_err(|e| e.context(format!("{hook} in the background")))?;
        let asks =
            requests.stop().is_some() || requests.trial.is_some() || requests.rollback.is_some();
        if asks || learning_rate != event.learning_rate {
            return Err(Error::msg(format!(
                "{hook} asked for a stop, a trial or a way back, or changed the rate, which nothing in the \
                 background can"
            )));
        }
        Ok(())
    }
}

/// Stands where the model would: the thread cannot wait for it, nor it for the thread.
struct NoModel;

fn unavailable<T>() -> Result<T> {
    Err(Error::engine("the model is not available in the background; leave background out"))
}

impl ModelAccess for NoModel {
    fn weights(&self) -> Result<Weights> {
        unavailable()
    }
    fn set_weights(&mut self, _: &Weights) -> Result {
        unavailable()
    }
    fn gradient_norm(&mut self) -> Result<f64> {
        unavailable()
    }
    fn gradient_norms(&mut self) -> Result<Vec<(String, f64)>> {
        unavailable()
    }
    fn clip_gradients(&mut self, _: Clip) -> Result {
        unavailable()
    }
    fn set_momentum(&mut self, _: f64) -> Result {
        unavailable()
    }
    fn optimizer_state(&self) -> Result<Weights> {
        unavailable()
    }
    fn set_optimizer_state(&mut self, _: &Weights) -> Result {
        unavailable()
    }
    fn read_metrics(&mut self, _: &mut Logs) -> Result {
        unavailable()
    }
}
