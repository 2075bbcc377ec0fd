//! The journal between two threads.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::journal::{Journal, Record};
use crate::error::Result;

/// A journal that the training thread and the one that saves write.
#[derive(Debug)]
pub(super) struct SharedJournal {
    journal: Mutex<Journal>,
    /// What came while the other thread held the journal; written before all else.
    late: Mutex<Vec<Record>>,
}

impl SharedJournal {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal: Mutex::new(journal), late: Mutex::default() }
    }

    /// Appends a record now or, where the other thread holds the journal for the disk's sake, when
    /// that one is done with it: training does not wait for a disk.
    pub(super) fn record(&self, record: &Record) -> Result {
        match self.try_journal() {
            Some(mut journal) => {
                let appended = self.append_to(&mut journal, record);
                drop(journal);
                appended.and(self.write_what_came())
            }
            None => {
                self.late().push(record.clone());
                // The other thread may be done since.
                self.write_what_came()
            }
        }
    }

    /// Appends a record now.
    pub(super) fn append(&self, record: &Record) -> Result {
        let appended = self.append_to(&mut self.journal(), record);
        appended.and(self.write_what_came())
    }

    /// Makes the records so far durable.
    pub(super) fn sync(&self) -> Result {
        let synced = {
            let mut journal = self.journal();
            let late = self.write_late(&mut journal);
            late.and_then(|()| journal.sync())
        };
        synced.and(self.write_what_came())
    }

    fn append_to(&self, journal: &mut Journal, record: &Record) -> Result {
        let late = self.write_late(journal);
        let appended = journal.append(record);
        late.and(appended)
    }

    /// Writes what came while this thread held the journal. Whoever gives a record late looks after
    /// it whether the journal is free, and whoever had it looks here: none is left lying.
    fn write_what_came(&self) -> Result {
        while !self.late().is_empty() {
            let Some(mut journal) = self.try_journal() else { break };
            self.write_late(&mut journal)?;
        }
        Ok(())
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

    /// The journal, unless the other thread holds it.
    fn try_journal(&self) -> Option<MutexGuard<'_, Journal>> {
        match self.journal.try_lock() {
            Ok(journal) => Some(journal),
            Err(TryLockError::Poisoned(journal)) => Some(journal.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn late(&self) -> MutexGuard<'_, Vec<Record>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::checkpoint::journal::JournalText;
    use crate::files::Files;
    use crate::testing::SimulatedDisk;

    #[test]
    fn what_comes_while_the_other_thread_syncs_is_written_without_a_further_record() {
        const ROUNDS: u64 = 10_000;
        let files = Files::on(SimulatedDisk::new(4096));
        let path = Path::new("/journal.jsonl");
        Journal::replace(&files, path, None).unwrap();
        let journal = Journal::open(&files, path, &JournalText::default()).unwrap();
        let shared = SharedJournal::new(journal);
        // Both begin each round together, and look at it together.
        let together = Barrier::new(2);
        let mut left_lying = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    together.wait();
                    shared.sync().unwrap();
                    together.wait();
                }
            });
            for step in 0..ROUNDS {
                let record = Record::Unsaved { step, reason: String::new() };
                together.wait();
                shared.record(&record).unwrap();
                together.wait();
                left_lying += shared.late().len();
            }
        });
        assert_eq!(left_lying, 0);
        let text = JournalText::parse(&files.contents(path).unwrap());
        let steps = text.entries.iter().map(|entry| match entry.record {
            Record::Unsaved { step, .. } => step,
            ref other => panic!("{other:?}"),
        });
        assert!(steps.eq(0..ROUNDS));
    }
}
