//! Wrappers around callbacks: they forward everything, the state included, and change one thing.

mod after;
mod background;
mod conditional;
mod event_queue;
mod every;
mod every_seconds;
mod every_steps;
mod named;
mod once;
mod policy;
mod when;

pub use background::Background;
pub use conditional::Conditional;
pub use named::Named;
pub use policy::WithPolicy;

use crate::callback::{Callback, OnFailure};
use crate::run::Run;

/// Forwards the named methods of `Callback` to `self.callback`.
macro_rules! forward {
    ($($method:ident),*) => { $(forward!(@ $method);)* };
    (@ name) => {
        fn name(&self) -> std::borrow::Cow<'static, str> {
            self.callback.name()
        }
    };
    (@ on_event) => {
        fn on_event(
            &mut self,
            run: &mut crate::run::Run<'_>,
            event: &mut crate::event::Event<'_>,
        ) -> crate::error::Result {
            self.callback.on_event(run, event)
        }
    };
    (@ check) => {
        fn check(&self) -> crate::error::Result {
            self.callback.check()
        }
    };
    (@ failure_policy) => {
        fn failure_policy(&self) -> crate::callback::OnFailure {
            self.callback.failure_policy()
        }
    };
    (@ findings) => {
        fn findings(&self, plan: &crate::finding::RunPlan) -> Vec<crate::finding::Finding> {
            self.callback.findings(plan)
        }
    };
    (@ access) => {
        fn access(&self) -> crate::callback::Access {
            self.callback.access()
        }
    };
    (@ rest) => {
        fn save_state(&self) -> crate::error::Result<Option<crate::state::State>> {
            self.callback.save_state()
        }
        fn load_state(&mut self, saved: Option<&crate::state::State>) -> crate::error::Result {
            self.callback.load_state(saved)
        }
        fn inner(&self) -> Option<&dyn Callback> {
            Some(&self.callback)
        }
    };
}
pub(crate) use forward;

/// Wrappers, as methods of every callback.
///
/// They can be nested in any order. Each forwards what it does not change: name, access, checks,
/// failure policy, state. A condition that remembers something ([`once`](Self::once),
/// [`every_seconds`](Self::every_seconds)) saves it together with the callback's state.
///
/// `every`, `every_steps`, `every_seconds`, `after`, `once` and `when` choose which events reach
/// the callback; [`Conditional`] says what is kept together. Several of them: an event must pass
/// all. Read them from left to right: `.every(5).once()` acts in the fifth epoch alone,
/// `.every_steps(100).once()` in the 100th step alone, `.once().every_steps(100)` every 100 steps
/// of the first epoch.
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "json_training_logger"
/// every = 5                 # or every_steps = 100, or every_seconds = 60
/// after = 3
/// once = true
/// background = true
/// name = "sparse_log"
/// on_failure = "disable"    # or "abort"
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::JsonTrainingLogger;
/// use refrain_core::{Callback, CallbackExt as _, OnFailure};
///
/// let logger = JsonTrainingLogger::new("log.json")
///     .every(5)
///     .named("sparse_log")
///     .on_failure(OnFailure::Disable);
/// assert_eq!(logger.name(), "sparse_log");
/// assert_eq!(logger.failure_policy(), OnFailure::Disable);
/// ```
pub trait CallbackExt: Callback + Sized {
    /// Acts in every n-th epoch: the n-th, the 2n-th, … `n` ≥ 1; 1 changes nothing.
    fn every(self, n: usize) -> Conditional {
        Conditional::new(self, every::Every { n })
    }

    /// Acts in the batches of every n-th optimizer step: the n-th, the 2n-th, … `n` ≥ 1.
    ///
    /// Epochs and evaluations are passed on as ever; a callback that acts in no training batch is
    /// refused. Where updates are put off, a callback that acts in `on_train_batch_end` alone sees
    /// the batch that made the step, others all batches that led to it.
    fn every_steps(self, n: u64) -> Conditional {
        Conditional::new(self, every_steps::EverySteps::new(n))
    }

    /// Acts when at least `seconds` have passed since it did last, or since training began.
    /// `seconds`: finite, > 0.
    ///
    /// Chooses among training batches where the callback acts in some, else among epochs; all
    /// other events are passed on. In `replay` and `preview` next to no time passes. State: the
    /// seconds since it acted last.
    fn every_seconds(self, seconds: f64) -> Conditional {
        let access = self.access();
        Conditional::new(self, every_seconds::EverySeconds::new(seconds, &access))
    }

    /// Acts from a later epoch on: the first `epochs` epochs are passed over; 0 changes nothing.
    fn after(self, epochs: usize) -> Conditional {
        Conditional::new(self, after::After { epochs })
    }

    /// Acts once a run: in the first epoch in which something reaches it through the other
    /// conditions; with a condition inside that chooses among batches, in the first such batch.
    ///
    /// State: the epoch in which it acted.
    fn once(self) -> Conditional {
        let counts_batches = conditional::thins_batches(&self);
        Conditional::new(self, once::Once::new(counts_batches))
    }

    /// Acts while `is_due` says so. It is asked when an epoch, a batch, an evaluation or a
    /// prediction begins (at the first hook of it in which the callback acts), and the answer holds
    /// to its end. What the closure remembers is no part of the saved state.
    ///
    /// # Example
    /// ```
    /// use refrain_core::testing::{Script, Trace};
    /// use refrain_core::{CallbackExt as _, Fit, Trainer};
    ///
    /// let script = Script::losses(&[3.0, 2.0, 1.0]);
    /// let trace = Trace::new("late");
    /// let is_low = |run: &refrain_core::Run<'_>| run.learning_rate.get() < 0.1;
    /// let mut trainer = Trainer::new(script.learner(), 0.5).callback(trace.clone().when(is_low));
    /// trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
    /// assert_eq!(trace.text(), "late: on_train_begin\nlate: on_train_end completed\n");
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    fn when(self, is_due: impl FnMut(&Run<'_>) -> bool + Send + 'static) -> Conditional {
        Conditional::new(self, when::When { is_due })
    }

    /// Gives the callback another name: in messages, in checkpoints and in the summary.
    fn named(self, name: impl Into<String>) -> Named<Self> {
        Named::new(self, name)
    }

    /// Says what happens when the callback fails or panics.
    fn on_failure(self, policy: OnFailure) -> WithPolicy<Self> {
        WithPolicy::new(self, policy)
    }

    /// Runs the callback on a thread of its own, so that training does not wait for it: for what
    /// writes to slow disks or sends over a network.
    ///
    /// The thread gets copies of the events: logs, progress, learning rate, history; no model, and
    /// no outputs of `predict`. Where it falls behind, at most 256 events wait
    /// ([`capacity`](Background::capacity)): then batches are dropped at once, and epochs after
    /// 20 ms; how many were is told at the end. The end of training and checkpoints wait for the
    /// thread, for at most 10 s ([`flush_within`](Background::flush_within)).
    ///
    /// A callback that changes the run (rate, weights, gradients, logs, a stop) is refused. When it
    /// fails or panics it is reported at the next event and disabled, whatever its own policy;
    /// `.background().on_failure(..)` says otherwise. [`Trainer::get`](crate::Trainer::get) does
    /// not find it. Conditions best follow it, `.background().every_steps(100)`: what they pass
    /// over is not copied.
    ///
    /// Cost of an event in which the callback acts: a copy of its logs; at the end of a batch a
    /// read from the device, too.
    ///
    /// # Example
    /// ```
    /// use refrain_core::testing::{Script, Trace};
    /// use refrain_core::{CallbackExt as _, Fit, Trainer};
    ///
    /// let script = Script::losses(&[2.0, 1.0]);
    /// let trace = Trace::new("slow");
    /// let mut trainer = Trainer::new(script.learner(), 0.1).callback(trace.clone().background());
    /// trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
    /// assert_eq!(trace.lines().last().unwrap(), "slow: on_train_end completed");
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    fn background(self) -> Background<Self> {
        Background::new(self)
    }
}

impl<C: Callback> CallbackExt for C {}
