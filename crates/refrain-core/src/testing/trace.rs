//! A callback that writes down what it is told.

use std::sync::{Arc, Mutex, PoisonError};

use crate::callback::Callback;
use crate::error::Result;
use crate::event::Event;
use crate::run::Run;

/// Writes down every event that it sees, and who saw it: `first: on_epoch_end`.
///
/// Clones share one record, so several in a list show the order.
///
/// # Example
/// ```
/// use refrain_core::testing::{Script, Trace};
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[1.0]);
/// let trace = Trace::new("first");
/// let mut trainer = Trainer::new(script.learner(), 0.1)
///     .callback(trace.clone())
///     .callback(trace.called("second"));
/// trainer.fit(&script.data(), Fit::epochs(1).verbose(0))?;
/// assert_eq!(trace.lines()[..2], ["first: on_train_begin", "second: on_train_begin"]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Trace {
    name: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    /// An empty record.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), lines: Arc::default() }
    }

    /// Another callback that writes into the same record.
    pub fn called(&self, name: &str) -> Self {
        Self { name: name.to_owned(), lines: Arc::clone(&self.lines) }
    }

    /// What was written down so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same as one text, a line each; what a snapshot test compares.
    pub fn text(&self) -> String {
        self.lines().into_iter().map(|line| line + "\n").collect()
    }

    /// Writes down a line of your own.
    pub fn note(&self, line: &str) {
        let line = format!("{}: {line}", self.name);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Callback for Trace {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        self.name.clone().into()
    }

    fn on_event(&mut self, _: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        let hook = event.hook();
        match event {
            Event::TrainEnd(outcome) | Event::PredictEnd(outcome) => {
                self.note(&format!("{hook} {}", outcome.as_str()));
            }
            Event::TestEnd(test) => self.note(&format!("{hook} {}", test.outcome.as_str())),
            _ => self.note(hook.as_str()),
        }
        Ok(())
    }
}
