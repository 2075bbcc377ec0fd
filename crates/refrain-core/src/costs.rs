//! Where a run's time goes.

use std::fmt;
use std::time::{Duration, Instant};

/// Where the time of a run went: steps, data, evaluation, each callback. Measured at
/// [`verbose(2)`](crate::Fit::verbose); what is left is the loop itself.
///
/// # Example
/// ```
/// use refrain_core::testing::{Script, Trace};
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[1.0]);
/// let (console, _) = refrain_core::console::Console::memory();
/// let mut trainer =
///     Trainer::new(script.learner(), 0.1).console(console).callback(Trace::new("trace"));
/// trainer.fit(&script.data(), Fit::epochs(1).verbose(2))?;
/// let costs = trainer.costs().expect("measured");
/// assert_eq!(costs.callbacks[0].0, "trace");
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Forward and backward passes, and updates.
    pub steps: Duration,
    /// Making batches.
    pub data: Duration,
    /// Evaluation, its batches included.
    pub evaluation: Duration,
    /// Each callback by name, in list order; what a background callback does in its thread is not
    /// in it.
    pub callbacks: Vec<(String, Duration)>,
    /// The whole run.
    pub total: Duration,
}

impl Costs {
    /// What is left for the loop itself.
    pub fn rest(&self) -> Duration {
        let callbacks: Duration = self.callbacks.iter().map(|(_, time)| *time).sum();
        self.total.saturating_sub(self.steps + self.data + self.evaluation + callbacks)
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("steps", self.steps), ("data", self.data), ("evaluation", self.evaluation)];
        let callbacks = self.callbacks.iter().map(|(name, time)| (name.as_str(), *time));
        let rest = std::iter::once(("the loop", self.rest()));
        write!(f, "Time of the run: {:.3} s", self.total.as_secs_f64())?;
        for (name, time) in parts.into_iter().chain(callbacks).chain(rest) {
            let share = if self.total.is_zero() {
                0.0
            } else {
                100.0 * time.as_secs_f64() / self.total.as_secs_f64()
            };
            write!(f, "\n  {name:<28} {:>10.3} ms {share:>5.1} %", time.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

/// Runs `f`, and adds its time to `sum` where there is one: measuring costs two readings of the
/// clock, which a loop that nobody asks should not pay.
pub(crate) fn timed<T>(sum: Option<&mut Duration>, f: impl FnOnce() -> T) -> T {
    let Some(sum) = sum else {
        return f();
    };
    let began = Instant::now();
    let value = f();
    *sum += began.elapsed();
    value
}
