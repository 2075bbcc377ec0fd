//! SIGINT and SIGTERM: the first asks the run to stop, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use refrain::{Error, Result, StopHandle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What a shell reports for a process that a signal ended: 128 + its number.
const BASE_STATUS: u8 = 128;

/// Remembers which signal came.
pub(crate) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Wires the signals to `stop`.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn stop(stop: &StopHandle) -> Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let wire = |signal: i32| -> std::io::Result<()> {
            let status = i32::from(BASE_STATUS) + signal;
            // In this order: the first signal finds the flag down and raises it, the second finds
            // it raised and ends the process.
            flag::register_conditional_shutdown(signal, status, stop.flag())?;
            flag::register_usize(signal, Arc::clone(&received), signal as usize)?;
            flag::register(signal, stop.flag())?;
            Ok(())
        };
        [SIGINT, SIGTERM].into_iter().try_for_each(wire).map_err(Error::wrap)?;
        // Where files may not grow further, writing one shall fail with an error, and cost the run
        // that file alone: without a handler the signal would end the process.
        #[cfg(unix)]
        flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).map_err(Error::wrap)?;
        Ok(Self(received))
    }

    /// Exit status of an interrupted run: 130 or 143.
    pub(crate) fn status(&self) -> u8 {
        let signal = match self.0.load(Ordering::Acquire) {
            0 => SIGINT as usize,
            signal => signal,
        };
        u8::try_from(signal).map_or(u8::MAX, |signal| BASE_STATUS + signal)
    }
}
