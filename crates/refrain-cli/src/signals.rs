//! Signals: SIGINT, SIGTERM and SIGHUP ask the run to stop, a second one ends the process; SIGUSR1
//! asks for a checkpoint. Where nothing is trained they end the process, and what is half converted
//! goes with it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use refrain::checkpoint::SaveHandle;
use refrain::event::{BatchEnd, Hook};
use refrain::{Access, Callback, Error, Outcome, Result, Run, StopHandle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// What a shell reports for a process that a signal ended: 128 + its number.
const BASE_STATUS: u8 = 128;

/// What signals ask for.
pub(crate) struct Signals {
    stop: StopHandle,
    save: SaveHandle,
    /// The signal that came.
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Handles the signals of this process from here on.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn handle() -> Result<Self> {
        let signals = Self {
            stop: StopHandle::default(),
            save: SaveHandle::default(),
            received: Arc::default(),
        };
        signals.register().map_err(Error::wrap)?;
        Ok(signals)
    }

    fn register(&self) -> std::io::Result<()> {
        // Not the stop itself, which is taken back when the run has obeyed.
        let has_come = Arc::new(AtomicBool::new(false));
        let stops_at = |signal: i32| -> std::io::Result<()> {
            let status = i32::from(BASE_STATUS) + signal;
            // In this order: the first signal finds the flag down and raises it, the second finds
            // it raised and ends the process.
            flag::register_conditional_shutdown(signal, status, Arc::clone(&has_come))?;
            flag::register(signal, Arc::clone(&has_come))?;
            flag::register_usize(signal, Arc::clone(&self.received), signal as usize)?;
            flag::register(signal, self.stop.flag())?;
            Ok(())
        };
        [SIGINT, SIGTERM].into_iter().try_for_each(stops_at)?;
        #[cfg(unix)]
        {
            use signal_hook::consts::{SIGHUP, SIGUSR1, SIGXFSZ};
            // Who started the command with `nohup` wants it to go on.
            if !is_ignored(SIGHUP) {
                stops_at(SIGHUP)?;
            }
            flag::register(SIGUSR1, self.save.flag())?;
            // Where files may not grow further, writing one shall fail with an error, and cost the
            // run that file alone: without a handler the signal would end the process.
            flag::register(SIGXFSZ, Arc::default())?;
        }
        Ok(())
    }

    /// What stops the run.
    pub(crate) fn stop(&self) -> StopHandle {
        self.stop.clone()
    }

    /// What asks it for a checkpoint.
    pub(crate) fn save(&self) -> SaveHandle {
        self.save.clone()
    }

    /// Whether one came that ends the run.
    pub(crate) fn is_stopped(&self) -> bool {
        self.received.load(Ordering::Acquire) != 0
    }

    /// Exit status of an interrupted run: 130, 143 or 129.
    pub(crate) fn status(&self) -> u8 {
        let signal = match self.received.load(Ordering::Acquire) {
            0 => SIGINT as usize,
            signal => signal,
        };
        u8::try_from(signal).map_or(u8::MAX, |signal| BASE_STATUS + signal)
    }

    /// A callback that says, once, that the run is about to end.
    pub(crate) fn notice(&self) -> impl Callback + use<> {
        Notice { stop: self.stop.clone(), is_given: false }
    }
}

/// The signals of a command that reads data and trains nothing: they end the process at once, as they
/// do by themselves, but for what is half converted then, which is removed first.
pub(crate) struct Interrupts {
    stop: StopHandle,
    /// Whether the next signal ends the process at once.
    ends_at_once: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
}

impl Interrupts {
    /// Handles the signals of this process from here on.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn handle() -> Result<Self> {
        let interrupts = Self {
            stop: StopHandle::default(),
            ends_at_once: Arc::new(AtomicBool::new(true)),
            received: Arc::default(),
        };
        interrupts.register().map_err(Error::wrap)?;
        Ok(interrupts)
    }

    fn register(&self) -> std::io::Result<()> {
        let ends_at = |signal: i32| -> std::io::Result<()> {
            // In this order: while data is read, the first signal finds the flag down and raises it.
            flag::register_conditional_default(signal, Arc::clone(&self.ends_at_once))?;
            flag::register(signal, Arc::clone(&self.ends_at_once))?;
            flag::register_usize(signal, Arc::clone(&self.received), signal as usize)?;
            flag::register(signal, self.stop.flag())?;
            Ok(())
        };
        [SIGINT, SIGTERM].into_iter().try_for_each(ends_at)?;
        #[cfg(unix)]
        if !is_ignored(signal_hook::consts::SIGHUP) {
            ends_at(signal_hook::consts::SIGHUP)?;
        }
        Ok(())
    }

    /// What breaks off the reading of data.
    pub(crate) fn stop(&self) -> &StopHandle {
        &self.stop
    }

    /// Reads data with `read`, which looks at [`stop`](Self::stop). Where a signal came meanwhile, the
    /// process ends here as by that signal.
    pub(crate) fn while_reading<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        self.ends_at_once.store(false, Ordering::SeqCst);
        let done = read();
        self.ends_at_once.store(true, Ordering::SeqCst);
        // Also where all was read by then: nobody else would look.
        match i32::try_from(self.received.load(Ordering::Acquire)) {
            Ok(signal) if signal != 0 => {
                low_level::emulate_default_handler(signal).map_err(Error::wrap)?;
            }
            _ => {}
        }
        done
    }
}

/// Whether this process was started with a signal ignored. Where that cannot be known, the signal
/// keeps what it does.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (signal - 1) & 1 == 1)
}

struct Notice {
    stop: StopHandle,
    is_given: bool,
}

impl Notice {
    fn give(&mut self, run: &mut Run<'_>, what: &str) -> Result {
        if self.stop.is_stopped() && !std::mem::replace(&mut self.is_given, true) {
            run.print(&format!("interrupt received: {what}; press Ctrl-C again to stop at once"));
        }
        Ok(())
    }
}

const SAVING: &str = "finishing the batch, saving";

impl Callback for Notice {
    fn name(&self) -> Cow<'static, str> {
        "signals".into()
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::TrainBatchEnd, Hook::TestBatchEnd, Hook::TrainEnd])
    }

    fn on_train_batch_end(&mut self, run: &mut Run<'_>, _: &BatchEnd) -> Result {
        self.give(run, SAVING)
    }

    fn on_test_batch_end(&mut self, run: &mut Run<'_>, _: &BatchEnd) -> Result {
        self.give(run, SAVING)
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, outcome: &Outcome<'_>) -> Result {
        match outcome {
            // It came between two epochs.
            Outcome::Interrupted => self.give(run, "ending the run"),
            _ => Ok(()),
        }
    }
}
