//! Replacing files behind the back of whoever trains: a disk makes one wait for milliseconds, and an
//! epoch may not take longer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::Files;
use crate::error::{Error, Result};

/// How long the thread waits for more: threads are dear beside small files.
const PATIENCE: Duration = Duration::from_millis(500);

/// Files that are being replaced. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is to be written, the newest of each path.
    waiting: Vec<(PathBuf, Vec<u8>)>,
    writing: Option<PathBuf>,
    failed: Vec<(PathBuf, Error)>,
    /// Whether there is a thread that writes; it ends when nothing has come for a while.
    has_thread: bool,
}

impl State {
    fn take_failure(&mut self, path: &Path) -> Option<Error> {
        let place = self.failed.iter().position(|(failed, _)| failed == path)?;
        Some(self.failed.swap_remove(place).1)
    }

    fn is_open(&self, path: &Path) -> bool {
        self.writing.as_deref() == Some(path) || self.waiting.iter().any(|(other, _)| other == path)
    }
}

impl Behind {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `path` replaced by `bytes` soon; what waits for it to be replaced by others is dropped.
    /// `files` write at once.
    ///
    /// # Errors
    /// When an earlier one could not be written.
    pub(super) fn write(&self, files: &Files, path: &Path, bytes: Vec<u8>) -> Result {
        let mut state = self.state();
        if let Some(error) = state.take_failure(path) {
            return Err(error);
        }
        match state.waiting.iter_mut().find(|(other, _)| other == path) {
            Some((_, waiting)) => *waiting = bytes,
            None => state.waiting.push((path.to_owned(), bytes)),
        }
        if std::mem::replace(&mut state.has_thread, true) {
            self.0.changed.notify_all();
            return Ok(());
        }
        drop(state);
        let (mine, its_files) = (self.clone(), files.clone());
        let name = "refrain-write".to_owned();
        let thread =
            thread::Builder::new().name(name).spawn(move || mine.write_all(&its_files, PATIENCE));
        if thread.is_err() {
            // No thread is to be had: not worth a log.
            self.write_all(files, Duration::ZERO);
            return self.flush(path);
        }
        Ok(())
    }

    /// Waits until `path` is written.
    ///
    /// # Errors
    /// When it could not be.
    pub(super) fn flush(&self, path: &Path) -> Result {
        let mut state = self.state();
        while state.is_open(path) {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.take_failure(path).map_or(Ok(()), Err)
    }

    /// Waits until nothing is to be written. Failures are kept for who asks for them.
    pub(super) fn finish(&self) {
        let mut state = self.state();
        while state.writing.is_some() || !state.waiting.is_empty() {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread: writes until nothing has come for a while.
    fn write_all(&self, files: &Files, patience: Duration) {
        loop {
            let state = self.state();
            let waited =
                self.0.changed.wait_timeout_while(state, patience, |s| s.waiting.is_empty());
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                state.has_thread = false;
                return;
            }
            let (path, bytes) = state.waiting.remove(0);
            state.writing = Some(path.clone());
            drop(state);
            let written = catch_unwind(AssertUnwindSafe(|| files.write_atomically(&path, &bytes)));
            let mut state = self.state();
            state.writing = None;
            let panicked = || Err(Error::msg(format!("writing `{}` panicked", path.display())));
            if let Err(error) = written.unwrap_or_else(|_| panicked()) {
                // The first is the one to report.
                if !state.failed.iter().any(|(failed, _)| *failed == path) {
                    state.failed.push((path, error));
                }
            }
            self.0.changed.notify_all();
        }
    }
}
