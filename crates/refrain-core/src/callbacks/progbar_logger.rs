//! Shows progress: a live bar on a terminal, a line per epoch elsewhere.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{BatchEnd, EpochEnd, Hook};
use crate::logs::Logs;
use crate::options::Section;
use crate::outcome::Outcome;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// Characters of the bar, as in Keras.
#[cfg(feature = "progress")]
const BAR_WIDTH: usize = 20;

/// Shows a live bar with time per step, loss and metrics on a terminal, and one plain line per epoch
/// elsewhere.
///
/// `fit` appends one to the list unless `verbose` is 0 or one is in it already.
///
/// - Reads: all logs
/// - Writes: nothing but what it prints
/// - Requests: nothing
/// - State: none
/// - Cost: running metrics are read from the device when the bar is redrawn, at most 20 times a
///   second; without a terminal never
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `verbose` | 1 | 1, 2 | 1: the bar where there is a terminal; 2: always a line per epoch |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "progbar_logger"
/// verbose = 2
/// ```
///
/// # Example
/// ```
/// use refrain_core::console::Console;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// let script = Script::losses(&[0.5]);
/// let (console, printed) = Console::memory();
/// let mut trainer = Trainer::new(script.learner(), 0.1).console(console);
/// trainer.fit(&script.data(), Fit::epochs(1))?;
/// assert!(printed.contents().starts_with("Epoch 1/1 - 1/1 - 0s"));
/// assert!(printed.contents().ends_with("loss: 0.5000 - learning_rate: 0.1000\n"));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - Without a terminal there is no bar and no colour: one line per epoch.
///
/// # Source
/// Keras 3.15.1, `keras.callbacks.ProgbarLogger`.
#[derive(Debug)]
pub struct ProgbarLogger {
    verbose: u8,
    /// When the epoch began, or went on where it was begun before.
    epoch_began: Instant,
    /// Time of the training steps since then.
    trained: Duration,
    /// Batches of the epoch that were trained before.
    before: usize,
    /// Batches of the epoch that are trained.
    steps: usize,
    #[cfg(feature = "progress")]
    redraw: Instant,
}

impl ProgbarLogger {
    /// `verbose`: 1 or 2, as in `fit`.
    pub fn new(verbose: u8) -> Self {
        Self {
            verbose,
            epoch_began: Instant::now(),
            trained: Duration::ZERO,
            before: 0,
            steps: 0,
            #[cfg(feature = "progress")]
            redraw: Instant::now(),
        }
    }

    /// The epoch begins, or goes on after `before` batches.
    fn begin(&mut self, before: usize) {
        let now = Instant::now();
        self.epoch_began = now;
        self.trained = Duration::ZERO;
        (self.before, self.steps) = (before, before);
        #[cfg(feature = "progress")]
        {
            self.redraw = now;
        }
    }

    /// Time of a step, of those of this process.
    fn per_step(&self) -> Duration {
        let steps = u32::try_from(self.steps - self.before).unwrap_or(u32::MAX);
        self.trained / steps.max(1)
    }

    fn step_time(&self) -> String {
        let step = self.per_step().as_secs_f64();
        if step >= 1.0 {
            format!("{step:.0}s/step")
        } else if step >= 1e-3 {
            format!("{:.0}ms/step", step * 1e3)
        } else {
            format!("{:.0}us/step", step * 1e6)
        }
    }

    #[cfg(feature = "progress")]
    fn is_live(&self, run: &mut Run<'_>) -> bool {
        self.verbose == 1 && run.console().is_terminal()
    }

    #[cfg(feature = "progress")]
    fn open_bar(run: &mut Run<'_>) {
        use indicatif::{ProgressBar, ProgressStyle};
        let (epoch, epochs) = (run.progress.epoch + 1, run.progress.epochs);
        run.print(&format!("Epoch {epoch}/{epochs}"));
        let steps = run.progress.steps_per_epoch as u64;
        let console = run.console();
        let target = console.draw_target();
        let (length, template) = match steps {
            0 => (None, "{pos}/Unknown {msg}"),
            _ => (Some(steps), "{pos}/{len} {bar:20.green/white} {msg}"),
        };
        let bar = ProgressBar::with_draw_target(length, target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━━"));
        }
        console.bar = Some(bar);
    }

    /// Moves the bar; looks at the metrics only when it is due to be redrawn.
    #[cfg(feature = "progress")]
    fn move_bar(&mut self, run: &mut Run<'_>) -> Result {
        const REDRAW: Duration = Duration::from_millis(50);
        if run.console().bar.is_none() || self.redraw.elapsed() < REDRAW {
            return Ok(());
        }
        self.redraw = Instant::now();
        let left = match run.progress.steps_per_epoch.checked_sub(self.steps) {
            Some(steps) => seconds(self.per_step() * u32::try_from(steps).unwrap_or(u32::MAX)),
            None => seconds(self.epoch_began.elapsed()),
        };
        let logs = numbers(run.batch_logs()?);
        let message = format!("{left} {}{logs}", self.step_time());
        let steps = self.steps as u64;
        if let Some(bar) = &run.console().bar {
            bar.set_message(message);
            bar.set_position(steps);
        }
        Ok(())
    }

    /// Replaces the live bar by a line that stays, whatever the terminal's width.
    #[cfg(feature = "progress")]
    fn close_bar(&self, run: &mut Run<'_>, logs: &str) -> bool {
        let Some(bar) = run.console().bar.take() else {
            return false;
        };
        bar.finish_and_clear();
        let steps = self.steps;
        let full = "━".repeat(BAR_WIDTH);
        let time = seconds(self.epoch_began.elapsed());
        run.print(&format!("{steps}/{steps} {full} {time} {}{logs}", self.step_time()));
        true
    }
}

impl Callback for ProgbarLogger {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        // In the middle of an epoch where the run goes on from there; that epoch does not begin again.
        self.begin(run.progress.batch);
        // Of an epoch that the run went back from.
        #[cfg(feature = "progress")]
        if let Some(bar) = run.console().bar.take() {
            bar.finish_and_clear();
        }
        Ok(())
    }

    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        self.begin(0);
        #[cfg(feature = "progress")]
        if self.is_live(run) {
            Self::open_bar(run);
        }
        #[cfg(not(feature = "progress"))]
        let _ = run;
        Ok(())
    }

    fn on_train_batch_end(&mut self, run: &mut Run<'_>, _: &BatchEnd) -> Result {
        self.steps += 1;
        self.trained = self.epoch_began.elapsed();
        #[cfg(feature = "progress")]
        {
            // Not opened yet where the epoch was begun before.
            if run.console().bar.is_none() && self.is_live(run) {
                Self::open_bar(run);
            }
            self.move_bar(run)?;
        }
        #[cfg(not(feature = "progress"))]
        let _ = run;
        Ok(())
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let logs = numbers(epoch.logs);
        #[cfg(feature = "progress")]
        if self.close_bar(run, &logs) {
            return Ok(());
        }
        let line = format!(
            "Epoch {}/{} - {}/{} - {} - {}{logs}",
            run.progress.epoch + 1,
            run.progress.epochs,
            self.steps,
            run.progress.steps_per_epoch.max(self.steps),
            seconds(self.epoch_began.elapsed()),
            self.step_time(),
        );
        run.print(&line);
        Ok(())
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, _: &Outcome<'_>) -> Result {
        // Of an epoch that did not end.
        #[cfg(feature = "progress")]
        if let Some(bar) = run.console().bar.take() {
            bar.finish_and_clear();
        }
        #[cfg(not(feature = "progress"))]
        let _ = run;
        Ok(())
    }

    fn access(&self) -> Access {
        let hooks = [
            Hook::TrainBegin,
            Hook::EpochBegin,
            Hook::TrainBatchEnd,
            Hook::EpochEnd,
            Hook::TrainEnd,
        ];
        // A terminal that cannot be drawn on is no reason to lose a run.
        Access::new().acts_in(hooks).observes()
    }

    fn check(&self) -> Result {
        if matches!(self.verbose, 1 | 2) {
            return Ok(());
        }
        Err(Error::config(format!("verbose is {}; allowed: 1 or 2", self.verbose)))
    }
}

impl FromOptions for ProgbarLogger {
    const NAME: &'static str = "progbar_logger";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let Some(verbose) = options.get("verbose") else {
            return Ok(Self::new(1));
        };
        match verbose.usize(0)? {
            1 => Ok(Self::new(1)),
            2 => Ok(Self::new(2)),
            other => Err(verbose.out_of_range(other, "1 or 2")),
        }
    }
}

/// ` - loss: 0.2500 - accuracy: 0.9000`: four decimals, or an exponent where they say nothing.
fn numbers(logs: &Logs) -> String {
    let mut text = String::new();
    for (name, value) in logs.iter() {
        let _ = if value == 0.0 || (1e-3..1e6).contains(&value.abs()) || !value.is_finite() {
            write!(text, " - {name}: {value:.4}")
        } else {
            write!(text, " - {name}: {value:.4e}")
        };
    }
    text
}

/// `7s`, `1:07`, `2:01:07`.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_say_something() {
        for (value, text) in [
            (0.25, "0.2500"),
            (-3.5, "-3.5000"),
            (0.0, "0.0000"),
            (1e-5, "1.0000e-5"),
            (-1e-5, "-1.0000e-5"),
            (123_456_789.0, "1.2346e8"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(numbers(&Logs::from([("x", value)])), format!(" - x: {text}"));
        }
    }

    #[test]
    fn verbose_is_1_or_2() {
        for verbose in 0..4 {
            let is_allowed = ProgbarLogger::new(verbose).check().is_ok();
            assert_eq!(is_allowed, verbose == 1 || verbose == 2);
        }
    }

    #[test]
    fn times_read_like_a_clock() {
        for (s, text) in [(0, "0s"), (59, "59s"), (67, "1:07"), (7267, "2:01:07")] {
            assert_eq!(seconds(Duration::from_secs(s)), text);
        }
    }
}
