//! Wrappers around callbacks: they forward everything, the state included, and change one thing.

mod every;
mod named;
mod policy;

pub use every::Every;
pub use named::Named;
pub use policy::WithPolicy;

use crate::callback::{Callback, OnFailure};

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
    (@ rest) => {
        fn access(&self) -> crate::callback::Access {
            self.callback.access()
        }
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
    /// Lets the callback see only every n-th epoch: the n-th, the 2n-th, … `n` ≥ 1. It still sees
    /// the beginning and the end of training.
    fn every(self, n: usize) -> Every<Self> {
        Every::new(self, n)
    }

    /// Gives the callback another name: in messages, in checkpoints and in the summary.
    fn named(self, name: impl Into<String>) -> Named<Self> {
        Named::new(self, name)
    }

    /// Says what happens when the callback fails or panics.
    fn on_failure(self, policy: OnFailure) -> WithPolicy<Self> {
        WithPolicy::new(self, policy)
    }
}

impl<C: Callback> CallbackExt for C {}
