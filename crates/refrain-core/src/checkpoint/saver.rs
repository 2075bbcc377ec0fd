//! Writes snapshots, one at a time, in a thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::journal::{Journal, Record};
use super::snapshot::Snapshot;
use super::store::{Committed, Store, locked};
use crate::error::{Error, Result};
use crate::slot::panic_text;

/// What became of a snapshot.
#[derive(Debug)]
pub(super) enum Saved {
    /// It is durable. The second: what could not be removed of older ones.
    Committed(Committed, Option<Error>),
    /// It must not take the place of an earlier one.
    Flawed { step: u64, flaw: String },
    /// It could not be written.
    Failed(Error),
}

/// Writes snapshots, one at a time.
#[derive(Debug)]
pub(super) struct Saver {
    store: Arc<Mutex<Store>>,
    journal: Arc<Mutex<Journal>>,
    under_way: Option<Work>,
}

/// A snapshot that is being written, or has been.
#[derive(Debug)]
enum Work {
    Thread(JoinHandle<Saved>),
    Done(Saved),
}

impl Saver {
    pub(super) fn new(store: Store) -> Self {
        let journal = store.journal();
        Self { store: Arc::new(Mutex::new(store)), journal, under_way: None }
    }

    /// Whether one is being written.
    pub(super) fn is_busy(&self) -> bool {
        matches!(&self.under_way, Some(Work::Thread(thread)) if !thread.is_finished())
    }

    /// What became of the last one, once it is known; told once.
    pub(super) fn poll(&mut self) -> Option<Saved> {
        if self.is_busy() { None } else { self.wait() }
    }

    /// Waits for the one that is being written.
    pub(super) fn wait(&mut self) -> Option<Saved> {
        Some(match self.under_way.take()? {
            Work::Done(saved) => saved,
            Work::Thread(thread) => thread.join().unwrap_or_else(|panic| {
                Saved::Failed(Error::msg(format!("saving panicked: {}", panic_text(&*panic))))
            }),
        })
    }

    /// Begins to write a snapshot; none is being written.
    pub(super) fn submit(&mut self, snapshot: Snapshot) {
        let store = Arc::clone(&self.store);
        let snapshot = Arc::new(Mutex::new(Some(snapshot)));
        let mine = Arc::clone(&snapshot);
        let work = move || write(&store, &mine);
        let thread = thread::Builder::new().name("refrain-save".to_owned()).spawn(work);
        self.under_way = Some(match thread {
            Ok(thread) => Work::Thread(thread),
            // No thread is to be had: not worth a run.
            Err(_) => Work::Done(write(&self.store, &snapshot)),
        });
    }

    /// Writes a snapshot at once; none is being written.
    pub(super) fn save(&mut self, snapshot: Snapshot) -> Saved {
        write(&self.store, &Mutex::new(Some(snapshot)))
    }

    /// Appends to the journal.
    pub(super) fn record(&self, record: &Record) -> Result {
        locked(&self.journal).append(record)
    }

    /// Makes the journal durable.
    pub(super) fn sync(&self) -> Result {
        locked(&self.journal).sync()
    }

    /// The store, while nothing is being written.
    pub(super) fn with_store<T>(&mut self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Saver {
    /// A run that ends with a panic gives up no checkpoint.
    fn drop(&mut self) {
        drop(self.wait());
    }
}

fn write(store: &Mutex<Store>, snapshot: &Mutex<Option<Snapshot>>) -> Saved {
    let snapshot = snapshot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(snapshot) = snapshot else {
        return Saved::Failed(Error::msg("there is nothing to save"));
    };
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(flaw) = snapshot.flaw() {
        let step = snapshot.state.position.step;
        let record = Record::Unsaved { step, reason: flaw.clone() };
        return match locked(&store.journal()).append(&record) {
            Ok(()) => Saved::Flawed { step, flaw },
            Err(error) => Saved::Failed(error),
        };
    }
    match store.commit(&snapshot) {
        Ok(committed) => {
            // The copy is not needed to remove older ones.
            drop(snapshot);
            Saved::Committed(committed, store.drop_oldest().err())
        }
        Err(error) => Saved::Failed(error),
    }
}
