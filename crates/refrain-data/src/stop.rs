//! Breaking off what takes long.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use refrain_core::files::{Files, Lock};
use refrain_core::{Error, Result, StopHandle};

/// How often it is looked whether a stop was asked for.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// An error where a stop was asked for while `what` is read.
pub(crate) fn check_stop(stop: &StopHandle, what: impl Display) -> Result {
    if stop.is_stopped() { Err(interrupted(format_args!("reading {what}"))) } else { Ok(()) }
}

pub(crate) fn interrupted(what: impl Display) -> Error {
    Error::msg(format!("{what} was interrupted"))
}

/// Waits for the lock of a file, which is made where it is missing; `None` where a stop was asked for
/// before. Where another process has it, `on_wait` is called once.
pub(crate) fn wait_for_lock(
    files: &Files,
    path: &Path,
    stop: &StopHandle,
    on_wait: impl FnOnce(),
) -> Result<Option<Lock>> {
    let mut on_wait = Some(on_wait);
    loop {
        let lock = files.disk().lock(path).map_err(|e| Error::file("lock", path, e))?;
        if let Some(lock) = lock {
            return Ok(Some(lock));
        }
        if stop.is_stopped() {
            return Ok(None);
        }
        if let Some(on_wait) = on_wait.take() {
            on_wait();
        }
        std::thread::sleep(POLL);
    }
}
