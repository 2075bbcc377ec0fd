//! Writes snapshots, one at a time, in a thread.

use std::sync::mpsc::{self, Receiver, SendError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::journal::Record;
use super::shared_journal::SharedJournal;
use super::snapshot::Snapshot;
use super::store::{Committed, Store};
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
    journal: Arc<SharedJournal>,
    /// The thread that writes, from the first snapshot on.
    thread: Option<SavingThread>,
    work: Work,
}

#[derive(Debug)]
struct SavingThread {
    snapshots: Sender<Snapshot>,
    saved: Receiver<Saved>,
    handle: JoinHandle<()>,
}

/// The snapshot that was handed over last.
#[derive(Debug)]
enum Work {
    /// There is none, or it was told what became of it.
    None,
    UnderWay,
    Done(Saved),
}

impl Saver {
    pub(super) fn new(store: Store) -> Self {
        let journal = store.journal();
        Self { store: Arc::new(Mutex::new(store)), journal, thread: None, work: Work::None }
    }

    /// Whether one is being written.
    pub(super) fn is_busy(&mut self) -> bool {
        if let (Work::UnderWay, Some(thread)) = (&self.work, &self.thread) {
            match thread.saved.try_recv() {
                Ok(saved) => self.work = Work::Done(saved),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => self.work = Work::Done(self.panicked()),
            }
        }
        false
    }

    /// What became of the last one, once it is known; told once.
    pub(super) fn poll(&mut self) -> Option<Saved> {
        if self.is_busy() { None } else { self.wait() }
    }

    /// Waits for the one that is being written.
    pub(super) fn wait(&mut self) -> Option<Saved> {
        match std::mem::replace(&mut self.work, Work::None) {
            Work::None => None,
            Work::Done(saved) => Some(saved),
            Work::UnderWay => {
                let saved = self.thread.as_ref().and_then(|thread| thread.saved.recv().ok());
                Some(saved.unwrap_or_else(|| self.panicked()))
            }
        }
    }

    /// The thread has ended with a panic; the next snapshot gets another.
    fn panicked(&mut self) -> Saved {
        let ended = self.thread.take().map(|thread| thread.handle.join());
        let text = match &ended {
            Some(Err(panic)) => panic_text(&**panic),
            _ => "for no reason",
        };
        Saved::Failed(Error::msg(format!("saving panicked: {text}")))
    }

    /// Begins to write a snapshot; none is being written.
    pub(super) fn submit(&mut self, snapshot: Snapshot) {
        if self.thread.is_none() {
            self.thread = spawn(&self.store);
        }
        let sent = match &self.thread {
            Some(thread) => thread.snapshots.send(snapshot).map_err(|SendError(snapshot)| snapshot),
            // No thread is to be had: not worth a run.
            None => Err(snapshot),
        };
        self.work = match sent {
            Ok(()) => Work::UnderWay,
            Err(snapshot) => Work::Done(write(&self.store, snapshot)),
        };
    }

    /// Writes a snapshot at once; none is being written.
    pub(super) fn save(&mut self, snapshot: Snapshot) -> Saved {
        write(&self.store, snapshot)
    }

    /// Appends to the journal, without waiting for the disk.
    pub(super) fn record(&self, record: &Record) -> Result {
        self.journal.record(record)
    }

    /// Makes the journal durable.
    pub(super) fn sync(&self) -> Result {
        self.journal.sync()
    }

    /// The store, while nothing is being written.
    pub(super) fn with_store<T>(&mut self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Saver {
    /// A run that ends with a panic gives up no checkpoint.
    fn drop(&mut self) {
        if let Some(SavingThread { snapshots, handle, .. }) = self.thread.take() {
            // It ends when there is nobody any more to send one.
            drop(snapshots);
            let _ = handle.join();
        }
    }
}

fn spawn(store: &Arc<Mutex<Store>>) -> Option<SavingThread> {
    let (snapshots, given) = mpsc::channel();
    let (results, saved) = mpsc::channel();
    let store = Arc::clone(store);
    let work = move || {
        for snapshot in given {
            if results.send(write(&store, snapshot)).is_err() {
                break;
            }
        }
    };
    let handle = thread::Builder::new().name("refrain-save".to_owned()).spawn(work).ok()?;
    Some(SavingThread { snapshots, saved, handle })
}

fn write(store: &Mutex<Store>, snapshot: Snapshot) -> Saved {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(flaw) = snapshot.flaw() {
        let step = snapshot.state.position.step;
        let record = Record::Unsaved { step, reason: flaw.clone() };
        return match store.journal().append(&record) {
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
