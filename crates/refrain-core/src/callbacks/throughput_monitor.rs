//! Measures samples and steps per second.

use std::time::{Duration, Instant};

use crate::callback::{Access, Callback};
use crate::error::Result;
use crate::event::{EpochEnd, Hook, TestEnd};
use crate::options::Section;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// Writes how fast training is into the logs of every epoch.
///
/// Measured is the training part of the epoch: from `on_epoch_begin` to `on_epoch_end`, without
/// the time between `on_test_begin` and `on_test_end`. Reading the data, other callbacks' work
/// between batches and waiting for the device are in it. List it before callbacks that log: they
/// then log its numbers too.
///
/// - Reads: nothing
/// - Writes: `samples_per_second`, `steps_per_second` (optimizer steps), `seconds`
/// - Requests: nothing
/// - State: nothing
/// - Cost: four looks at the clock an epoch
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `verbose` | false | true, false | whether a line is printed after each epoch |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "throughput_monitor"
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::ThroughputMonitor;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1).callback(ThroughputMonitor::new());
/// let history = trainer.fit(&script.samples(64), Fit::epochs(2).batch_size(16).verbose(0))?;
///
/// for (_, logs) in history.iter() {
///     let samples = logs.get("samples_per_second").unwrap() * logs.get("seconds").unwrap();
///     assert_eq!(samples.round(), 64.0);
/// }
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// Refrain's own; Lightning's `ThroughputMonitor` measures the same.
#[derive(Clone, Debug, Default)]
pub struct ThroughputMonitor {
    verbose: bool,
    epoch: Option<Measurement>,
}

/// What is known of the epoch under way.
#[derive(Clone, Copy, Debug)]
struct Measurement {
    /// Time spent on training up to the last validation.
    trained: Duration,
    /// When training began or went on; none during a validation.
    since: Option<Instant>,
    /// Counts at the epoch's beginning.
    samples: u64,
    steps: u64,
}

impl ThroughputMonitor {
    /// Writes into the logs alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a line is printed after each epoch. Default false.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }
}

impl Measurement {
    /// Begins to measure an epoch, or what is left of it where a run goes on.
    fn begin(run: &Run<'_>) -> Self {
        Self {
            trained: Duration::ZERO,
            since: Some(Instant::now()),
            samples: run.progress.samples,
            steps: run.progress.step,
        }
    }

    fn pause(&mut self) {
        self.trained += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }
}

impl Callback for ThroughputMonitor {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        // An epoch that was interrupted never ended. One that is gone on with does not begin again.
        self.epoch = run.is_resumed().then(|| Measurement::begin(run));
        Ok(())
    }

    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        self.epoch = Some(Measurement::begin(run));
        Ok(())
    }

    fn on_test_begin(&mut self, _: &mut Run<'_>) -> Result {
        // None where somebody evaluates outside of training.
        if let Some(epoch) = &mut self.epoch {
            epoch.pause();
        }
        Ok(())
    }

    fn on_test_end(&mut self, _: &mut Run<'_>, _: &TestEnd<'_>) -> Result {
        if let Some(epoch) = &mut self.epoch {
            epoch.since = Some(Instant::now());
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, end: &mut EpochEnd<'_>) -> Result {
        let Some(mut epoch) = self.epoch.take() else {
            return Ok(());
        };
        epoch.pause();
        // The clock's step, so that no rate is infinite.
        let seconds = epoch.trained.as_secs_f64().max(1e-9);
        let samples_per_second = (run.progress.samples - epoch.samples) as f64 / seconds;
        let steps_per_second = (run.progress.step - epoch.steps) as f64 / seconds;
        end.logs.insert("samples_per_second", samples_per_second);
        end.logs.insert("steps_per_second", steps_per_second);
        end.logs.insert("seconds", seconds);
        if self.verbose {
            run.print(&format!(
                "Epoch {}: {samples_per_second:.0} samples/s, {steps_per_second:.1} steps/s",
                run.progress.epoch + 1
            ));
        }
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new()
            .acts_in([
                Hook::TrainBegin,
                Hook::EpochBegin,
                Hook::TestBegin,
                Hook::TestEnd,
                Hook::EpochEnd,
            ])
            .writes_measured("samples_per_second")
            .writes_measured("steps_per_second")
            .writes_measured("seconds")
            .observes()
    }
}

impl FromOptions for ThroughputMonitor {
    const NAME: &'static str = "throughput_monitor";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut monitor = Self::new();
        if let Some(verbose) = options.get("verbose") {
            monitor = monitor.verbose(verbose.bool()?);
        }
        Ok(monitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Console;
    use crate::testing::Script;
    use crate::{Fit, LambdaCallback, Logs, Trainer};

    /// Time that a slow hook takes: enough for any clock.
    const LONG: Duration = Duration::from_millis(30);

    fn wait() {
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }

    /// Logs of an epoch, and how long `fit` took.
    fn run(slow: LambdaCallback) -> (Logs, Duration) {
        let script = Script::losses(&[1.0]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(ThroughputMonitor::new()).callback(slow);
        let data = script.samples(6);
        let fit = Fit::epochs(1).batch_size(2).validation_data(&data).verbose(0);
        let began = Instant::now();
        let history = trainer.fit(&data, fit).unwrap();
        (history.last().unwrap().clone(), began.elapsed())
    }

    #[test]
    fn batches_are_measured_and_validation_is_not() {
        let slow = || LambdaCallback::new("slow");
        let seconds = |logs: &Logs| Duration::from_secs_f64(logs.get("seconds").unwrap());
        let (logs, took) = run(slow().on_train_batch_end(|_, _| {
            wait();
            Ok(())
        }));
        assert!((3 * LONG..=took).contains(&seconds(&logs)));
        // However slow the machine is: the rest of the run had no more than what was left.
        let (logs, took) = run(slow().on_test_begin(|_| {
            wait();
            Ok(())
        }));
        assert!(seconds(&logs) + LONG <= took);
    }

    #[test]
    fn rates_are_counts_of_the_epoch_by_its_seconds() {
        let (logs, _) = run(LambdaCallback::new("no-op"));
        let count = |name| (logs.get(name).unwrap() * logs.get("seconds").unwrap()).round();
        assert_eq!((count("samples_per_second"), count("steps_per_second")), (6.0, 3.0));
    }

    #[test]
    fn verbose_prints_a_line_an_epoch() {
        let script = Script::losses(&[1.0]);
        let (console, printed) = Console::memory();
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .console(console)
            .callback(ThroughputMonitor::new().verbose(true));
        trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
        trainer.evaluate(&script.data(), 1).unwrap();
        let printed = printed.contents();
        let epochs: Vec<&str> = printed.lines().map(|line| &line[..8]).collect();
        assert_eq!(epochs, ["Epoch 1:", "Epoch 2:"]);
    }
}
