//! Breaking off what takes long.

use std::fmt::{self, Display};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use refrain_core::files::{Files, Lock};
use refrain_core::{Error, Result, StopHandle};

/// How often it is looked whether a stop was asked for.
pub(crate) const POLL: Duration = Duration::from_millis(100);

pub(crate) fn interrupted(what: impl Display) -> Error {
    Error::msg(format!("{what} was interrupted"))
}

/// Bytes that are read between two looks whether a stop was asked for.
const AT_ONCE: usize = 1 << 20;

/// A reader that fails with [`Stopped`] where a stop was asked for.
pub(crate) struct Stoppable<'a> {
    pub(crate) reader: &'a mut dyn Read,
    pub(crate) stop: &'a StopHandle,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_stopped() {
            return Err(io::Error::other(Stopped));
        }
        let n = bytes.len().min(AT_ONCE);
        self.reader.read(bytes.get_mut(..n).unwrap_or_default())
    }
}

/// A stop was asked for.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Stopped {
    /// Whether that is why a reader failed.
    pub(crate) fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}

impl Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Stopped {}

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
