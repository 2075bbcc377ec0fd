//! The journal between two threads.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::journal::{Journal, Record};
use crate::error::Result;

/// A journal that the training thread and the one that saves write.
#[derive(Debug)]
pub(super) struct SharedJournal {
    journal: Mutex<Journal>,
    /// What came while the other thread waited for the disk; written before all else.
    late: Mutex<Vec<Record>>,
}

impl SharedJournal {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal: Mutex::new(journal), late: Mutex::default() }
    }

    /// Appends a record, now or, where the journal is being synced, before the next one: training
    /// does not wait for a disk.
    pub(super) fn record(&self, record: &Record) -> Result {
        match self.journal.try_lock() {
            Err(TryLockError::WouldBlock) => {
                self.late().push(record.clone());
                Ok(())
            }
            Ok(journal) => self.append_to(journal, record),
            Err(TryLockError::Poisoned(journal)) => self.append_to(journal.into_inner(), record),
        }
    }

    /// Appends a record now.
    pub(super) fn append(&self, record: &Record) -> Result {
        self.append_to(self.journal(), record)
    }

    /// Makes the records so far durable.
    pub(super) fn sync(&self) -> Result {
        let mut journal = self.journal();
        self.write_late(&mut journal)?;
        journal.sync()
    }

    fn append_to(&self, mut journal: MutexGuard<'_, Journal>, record: &Record) -> Result {
        let late = self.write_late(&mut journal);
        let appended = journal.append(record);
        late.and(appended)
    }

    fn write_late(&self, journal: &mut Journal) -> Result {
        let late = std::mem::take(&mut *self.late());
        // One that fails is in the journal's backlog.
        late.iter().map(|record| journal.append(record)).fold(Ok(()), Result::and)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        // A panic in between leaves whole records behind; a half one is cut off by the next.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> MutexGuard<'_, Vec<Record>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
