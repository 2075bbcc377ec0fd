//! A callback in its place in the list, and delivering events to it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::callback::{Callback, OnFailure, RateAccess};
use crate::costs::timed;
use crate::error::{Error, Result};
use crate::event::{Event, Hook, Scope, TestEnd};
use crate::logs::Logs;
use crate::outcome::Outcome;
use crate::run::Run;
use crate::state::State;

/// A callback with what the loop remembers of it.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) entry: Entry,
}

/// The part of a slot that changes; its own struct, so that the name can be lent out meanwhile.
pub(crate) struct Entry {
    pub(crate) callback: Box<dyn Callback>,
    policy: OnFailure,
    /// The hooks it acts in, one bit each.
    hooks: u16,
    /// Scopes that began and have not ended, by `Scope as usize`.
    began: [bool; 3],
    /// The error that disabled it, and the epoch in which it did.
    pub(crate) disabled: Option<Error>,
    pub(crate) disabled_in: Option<usize>,
    /// The first epoch that it has missed, where it was disabled and gets another chance.
    pub(crate) missed_since: Option<usize>,
    /// Time in its hooks, where it is measured.
    pub(crate) time: Option<Duration>,
}

impl Slot {
    pub(crate) fn new(callback: Box<dyn Callback>) -> Self {
        let name = callback.name().into_owned();
        let policy = callback.failure_policy();
        let access = callback.access();
        let acts = |hook: &Hook| access.handles(*hook);
        let hooks = Hook::ALL.into_iter().filter(acts).fold(0, |bits, hook| bits | bit(hook));
        let entry = Entry {
            callback,
            policy,
            hooks,
            began: [false; 3],
            disabled: None,
            disabled_in: None,
            missed_since: None,
            time: None,
        };
        Self { name, entry }
    }

    /// Ready for a new run.
    pub(crate) fn reset(&mut self) -> Result {
        self.entry.began = [false; 3];
        (self.entry.disabled, self.entry.disabled_in) = (None, None);
        self.entry.missed_since = None;
        let loaded = self.entry.restore(None);
        loaded.map_err(|e| e.context(format!("callback `{}`", self.name)))
    }

    /// The callback's state, as a checkpoint keeps it.
    pub(crate) fn save_state(&self) -> Result<Option<State>> {
        caught(|| self.entry.callback.save_state())
            .map_err(|e| e.context(format!("state of callback `{}`", self.name)))
    }

    /// The callback as a `C`, looking through wrappers.
    pub(crate) fn find<C: Callback>(&self) -> Option<&C> {
        let mut callback: &dyn Callback = &*self.entry.callback;
        loop {
            if let Some(found) = (callback as &dyn Any).downcast_ref::<C>() {
                return Some(found);
            }
            callback = callback.inner()?;
        }
    }
}

impl Entry {
    /// Delivers an event, unless the callback is disabled or has not begun.
    ///
    /// An error that disables the callback is kept in the slot; only one that ends the run is
    /// returned.
    pub(crate) fn deliver(
        &mut self,
        name: &str,
        run: &mut Run<'_>,
        event: &mut Event<'_>,
    ) -> Result {
        let hook = event.hook();
        let scope = hook.scope() as usize;
        if self.disabled.is_some() || (!hook.is_begin() && !self.began[scope]) {
            return Ok(());
        }
        if hook.is_end() {
            // Before the call: whatever the hook does, it is not called again.
            self.began[scope] = false;
        }
        if self.hooks & bit(hook) == 0 {
            if hook.is_begin() {
                self.began[scope] = true;
            }
            return Ok(());
        }
        match self.call(name, run, event) {
            Ok(()) => {
                if hook.is_begin() {
                    self.began[scope] = true;
                }
                Ok(())
            }
            Err(error) if self.policy == OnFailure::Disable => {
                self.disable(name, run, error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the callback's state to a saved one.
    pub(crate) fn restore(&mut self, saved: Option<&State>) -> Result {
        caught(|| self.callback.load_state(saved))
    }

    /// The base rate was changed: by its owner, or by nobody's leave.
    pub(crate) fn check_base_change(&self, name: &str, owner: Option<&str>) -> Result {
        match owner {
            Some(owner) if self.callback.access().rate() != RateAccess::Base => {
                Err(Error::config(format!(
                    "callback `{name}` set the base learning rate, which {owner} sets; scale it by \
                     a factor of its own (set_factor), or declare sets_base_rate() and keep one"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether `hook` is nothing to it: it does not act in it, and nothing begins or ends there.
    pub(crate) fn passes_over(&self, hook: Hook) -> bool {
        !self.acts_in(hook) && !hook.is_begin() && !hook.is_end()
    }

    /// Whether it acts in `hook`.
    pub(crate) fn acts_in(&self, hook: Hook) -> bool {
        self.hooks & bit(hook) != 0
    }

    fn call(&mut self, name: &str, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        let hook = event.hook();
        let callback = &mut self.callback;
        let result = timed(self.time.as_mut(), || caught(|| callback.on_event(run, event)));
        result.map_err(|e| e.in_callback(name, hook, &run.progress))
    }

    /// Ends a failed callback with its own error, so that it can close what it opened; then it is
    /// not called again.
    fn disable(&mut self, name: &str, run: &mut Run<'_>, error: Error) {
        let mut further = Vec::new();
        let logs = Logs::new();
        for scope in [Scope::Test, Scope::Predict, Scope::Train] {
            if !std::mem::take(&mut self.began[scope as usize]) {
                continue;
            }
            let outcome = Outcome::Failed(&error);
            let mut end = match scope {
                Scope::Test => Event::TestEnd(TestEnd { logs: &logs, outcome }),
                Scope::Predict => Event::PredictEnd(outcome),
                Scope::Train => Event::TrainEnd(outcome),
            };
            if self.acts_in(end.hook())
                && let Err(error) = self.call(name, run, &mut end)
            {
                further.push(error);
            }
        }
        let error = error.with_further(further);
        run.print(&format!("warning: {error}; the run goes on without it"));
        (self.disabled, self.disabled_in) = (Some(error), Some(run.progress.epoch));
    }

    /// Whether all that it does follows from the logs of epochs: then epochs that it has missed can
    /// be told to it later.
    pub(crate) fn follows_epochs(&self) -> bool {
        let of_epochs = [Hook::TrainBegin, Hook::EpochBegin, Hook::EpochEnd, Hook::TrainEnd];
        let all = of_epochs.into_iter().fold(0, |bits, hook| bits | bit(hook));
        self.hooks & !all == 0 && !self.callback.access().is_reading_model()
    }
}

/// Calls a callback; a panic becomes an error.
fn caught<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(Error::msg(format!("panicked: {}", panic_text(&*panic)))))
}

fn bit(hook: Hook) -> u16 {
    1 << hook as u16
}

/// Runs engine or data code; a panic (Burn's answer to shapes that do not fit) becomes an error.
pub(crate) fn guard<T>(what: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        Err(Error::engine(format!("{what} panicked: {}", panic_text(&*panic))))
    })
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
