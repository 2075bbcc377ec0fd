//! `journal.jsonl`: what happened in a run, one checksummed record a line.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::manifest::Part;
use super::sealed::{seal, unseal};
use super::store::is_regular_file;
use crate::error::{Error, Result};
use crate::files::{DiskFile, Files};
use crate::learning_rate::LearningRate;
use crate::logs::{Logs, non_finite_kind};

/// A file longer than this (1 GiB) is no journal.
const MAX_BYTES: u64 = 1 << 30;

/// What happened; `epoch`s count from 1, `epochs` and `step`s are numbers of what was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// A run began.
    Begin {
        /// Its identity, which its checkpoints have too.
        run: String,
        /// The version of this library.
        refrain: String,
        /// Epochs that are planned.
        planned: usize,
    },
    /// An epoch ended.
    Epoch {
        /// Which.
        epoch: usize,
        /// Updates of the weights so far.
        step: u64,
        /// The epoch's logs; a value that is not finite is `null`.
        logs: Map<String, Value>,
        /// What the values are that are `null`.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        non_finite: Map<String, Value>,
        /// The base rate of the epoch's last update.
        base: f64,
        /// Its factors.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        factors: Map<String, Value>,
    },
    /// A checkpoint was committed.
    Checkpoint {
        /// Its number.
        number: u64,
        /// Epochs that had ended.
        epochs: usize,
        /// Updates of the weights that had been made.
        step: u64,
    },
    /// A checkpoint was not written.
    Unsaved {
        /// Where it was due.
        step: u64,
        /// Why not.
        reason: String,
    },
    /// The run went on in another process. Epochs after the first `epochs` are superseded.
    Resume {
        /// The checkpoint; none: from the beginning.
        checkpoint: Option<u64>,
        /// Epochs that had ended.
        epochs: usize,
        /// Updates of the weights that had been made.
        step: u64,
        /// Epochs that are planned now.
        planned: usize,
        /// What is no longer as it was, and was accepted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<String>,
    },
    /// Changes were accepted; the run goes on with them from the next `Resume` on.
    Accept {
        /// The checkpoint that it is to go on from.
        checkpoint: u64,
        /// What must be the same then.
        config: BTreeMap<String, String>,
    },
    /// The run went back to a checkpoint. Epochs after the first `epochs` are superseded.
    Rollback {
        /// The callback that asked for it.
        by: String,
        /// Why.
        reason: String,
        /// Where it was.
        from_step: u64,
        /// The checkpoint.
        checkpoint: u64,
        /// Epochs that had ended there.
        epochs: usize,
        /// Updates of the weights that had been made there.
        step: u64,
        /// The callback's factor of the learning rate from here on.
        factor: f64,
    },
    /// What files in the run's folder hold, by who wrote them, or is about to.
    Files {
        /// Each with its length and hash.
        files: Vec<Part>,
    },
    /// The run that was here is being removed, for another to begin: the journal's only record while
    /// that lasts.
    Overwrite,
    /// The run ended in this process.
    End {
        /// `completed`, `stopped`, `interrupted` or `failed`.
        outcome: String,
        /// Who asked for the stop, or which callback failed.
        by: Option<String>,
        /// Why.
        reason: Option<String>,
    },
    /// A record of a later version.
    #[serde(other)]
    Unknown,
}

impl Record {
    pub(super) fn epoch(epoch: usize, step: u64, logs: &Logs, rate: &LearningRate) -> Self {
        let non_finite = logs.iter().filter_map(|(name, value)| {
            Some((name.to_owned(), Value::from(non_finite_kind(value)?)))
        });
        Self::Epoch {
            epoch: epoch + 1,
            step,
            logs: logs.iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            non_finite: non_finite.collect(),
            base: rate.base(),
            factors: rate.factors().map(|(name, x)| (name.to_owned(), x.into())).collect(),
        }
    }
}

/// A record with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Counts records from 1, over all processes of a run.
    pub seq: u64,
    /// When it was written: RFC 3339, UTC. For people; nothing is decided by it.
    pub time: String,
    /// What happened.
    pub record: Record,
}

impl Entry {
    /// [`time`](Self::time) as a time; `None` where it is none.
    pub fn at(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(&self.time).ok()
    }
}

/// What a journal holds.
///
/// # Example
/// ```
/// use refrain_core::checkpoint::JournalText;
///
/// let text = JournalText::parse(b"no record\n");
/// assert!(text.entries.is_empty());
/// assert_eq!(text.damage, ["line 1 is damaged"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JournalText {
    /// Records that are as they were written.
    pub entries: Vec<Entry>,
    /// What is not: damaged lines, records that are missing.
    pub damage: Vec<String>,
    /// Bytes up to the end of the last whole line: what follows was cut off while it was written.
    pub whole: u64,
    /// Bytes after them.
    pub torn: u64,
    /// The first damaged line behind the last record of a checkpoint.
    unsynced_damage: Option<Place>,
}

/// A place in a journal.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    /// Bytes before it.
    bytes: usize,
    /// Records before it.
    entries: usize,
    /// Complaints before it.
    damage: usize,
}

/// What must be the same, as it was accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Accepted {
    /// In a process that went on with it.
    pub(super) begun: Option<BTreeMap<String, String>>,
    /// In one that was killed before it did: the run's folder may be prepared for it, or not.
    pub(super) pending: Option<BTreeMap<String, String>>,
}

/// Damage beyond this is counted only.
const MOST_DAMAGE: usize = 20;

impl JournalText {
    /// Reads a journal's bytes. Cost: time and memory of the order of their number.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut text = Self::default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        (text.whole, text.torn) = (whole as u64, (bytes.len() - whole) as u64);
        let mut last = 0;
        let mut damaged = 0_usize;
        let mut next = 0;
        for (i, line) in
            bytes.get(..whole).unwrap_or_default().split_inclusive(|b| *b == b'\n').enumerate()
        {
            let place =
                Place { bytes: next, entries: text.entries.len(), damage: text.damage.len() };
            next += line.len();
            let Some(entry) = unseal(line).and_then(entry) else {
                damaged += 1;
                text.unsynced_damage.get_or_insert(place);
                text.complain(|| format!("line {} is damaged", i + 1));
                continue;
            };
            // Records that a damaged line held are missing as well, and were told.
            let missing = entry.seq.saturating_sub(last).saturating_sub(1);
            if entry.seq <= last || missing > damaged as u64 {
                text.complain(|| {
                    format!("line {}: record {} follows record {last}", i + 1, entry.seq)
                });
            }
            damaged = 0;
            last = last.max(entry.seq);
            if matches!(entry.record, Record::Checkpoint { .. }) {
                // All before it was durable when it was written.
                text.unsynced_damage = None;
            }
            text.entries.push(entry);
        }
        text
    }

    /// Counts as torn what a power cut may have left of records that were not durable yet: all from
    /// the first damaged line on that comes after the last record of a checkpoint. A run that goes
    /// on supersedes them.
    pub(super) fn cut_unsynced(&mut self) {
        if let Some(place) = self.unsynced_damage.take() {
            self.entries.truncate(place.entries);
            self.damage.truncate(place.damage);
            self.torn += self.whole - place.bytes as u64;
            self.whole = place.bytes as u64;
        }
    }

    fn complain(&mut self, what: impl FnOnce() -> String) {
        if self.damage.len() < MOST_DAMAGE {
            self.damage.push(what());
        } else if self.damage.len() == MOST_DAMAGE {
            self.damage.push("and more".to_owned());
        }
    }

    /// Whether the run in the folder is being removed, or was when its process was killed: whoever
    /// begins a run there, or goes on, removes the rest of it.
    pub fn is_being_overwritten(&self) -> bool {
        let is_whole = self.damage.is_empty() && self.torn == 0;
        is_whole && matches!(self.entries.as_slice(), [Entry { record: Record::Overwrite, .. }])
    }

    /// The number of the last record.
    pub fn last_seq(&self) -> u64 {
        self.entries.iter().map(|entry| entry.seq).max().unwrap_or(0)
    }

    /// The identity of the run: that of the last record that names one.
    pub fn run(&self) -> Option<&str> {
        self.entries.iter().rev().find_map(|entry| match &entry.record {
            Record::Begin { run, .. } => Some(run.as_str()),
            _ => None,
        })
    }

    /// The epochs of the run, in order, without those that were superseded: number from 1, and logs.
    pub fn epochs(&self) -> Vec<(usize, &Map<String, Value>)> {
        let mut epochs: Vec<(usize, &Map<String, Value>)> = Vec::new();
        for entry in &self.entries {
            match &entry.record {
                Record::Begin { .. } => epochs.clear(),
                // They are in order: what goes stands at the end.
                Record::Epoch { epoch, logs, .. } => {
                    while epochs.pop_if(|(old, _)| *old >= *epoch).is_some() {}
                    epochs.push((*epoch, logs));
                }
                Record::Resume { epochs: kept, .. } | Record::Rollback { epochs: kept, .. } => {
                    while epochs.pop_if(|(epoch, _)| *epoch > *kept).is_some() {}
                }
                _ => {}
            }
        }
        epochs
    }

    /// The learning rates of the last updates of epochs, by the epoch from 0.
    pub(super) fn rates(&self) -> BTreeMap<usize, LearningRate> {
        let rate = |base: f64, factors: &Map<String, Value>| {
            let mut rate = LearningRate::new(base);
            for (name, factor) in factors {
                rate.set_factor(name, factor.as_f64()?).ok()?;
            }
            Some(rate)
        };
        // Of an epoch that was trained again, the last counts.
        let rates = self.entries.iter().filter_map(|entry| match &entry.record {
            Record::Epoch { epoch, base, factors, .. } => {
                Some((epoch.checked_sub(1)?, rate(*base, factors)?))
            }
            _ => None,
        });
        rates.collect()
    }

    /// How the run ended, where its last process ended it: `completed`, `stopped`, `interrupted`,
    /// `failed`, and who asked for it.
    pub fn ending(&self) -> Option<(&str, Option<&str>)> {
        let lifecycle = |entry: &&Entry| {
            matches!(
                entry.record,
                Record::Begin { .. } | Record::Resume { .. } | Record::End { .. }
            )
        };
        match &self.entries.iter().rev().find(lifecycle)?.record {
            Record::End { outcome, by, .. } => Some((outcome, by.as_deref())),
            _ => None,
        }
    }

    /// What must be the same in a process that goes on from this checkpoint, as it was accepted after
    /// it was taken.
    pub(super) fn accepted_since(&self, checkpoint: u64) -> Accepted {
        let (mut begun, mut pending) = (None, None);
        for entry in &self.entries {
            match &entry.record {
                // Numbers grow: a later checkpoint than the one gone on from has it itself.
                Record::Accept { checkpoint: from, config } if *from >= checkpoint => {
                    pending = Some(config);
                }
                Record::Resume { .. } => begun = pending.take().or(begun),
                _ => {}
            }
        }
        Accepted { begun: begun.cloned(), pending: pending.cloned() }
    }

    /// Epochs that the run's last process planned.
    pub fn planned(&self) -> Option<usize> {
        self.entries.iter().rev().find_map(|entry| match &entry.record {
            Record::Begin { planned, .. } | Record::Resume { planned, .. } => Some(*planned),
            _ => None,
        })
    }
}

fn entry(mut fields: Map<String, Value>) -> Option<Entry> {
    let seq = fields.remove("seq")?.as_u64()?;
    let time = fields.remove("time")?.as_str()?.to_owned();
    let record = Record::deserialize(Value::Object(fields)).ok()?;
    Some(Entry { seq, time, record })
}

/// A journal that is written.
pub(super) struct Journal {
    files: Files,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Bytes of whole records.
    length: u64,
    /// Those of them that were written since the last sync.
    unsynced: Vec<u8>,
    /// A sync of the file failed: what it holds of them is not known, nor will another sync tell.
    is_suspect: bool,
    /// Records that could not be written yet.
    backlog: Vec<u8>,
    seq: u64,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).field("seq", &self.seq).finish()
    }
}

impl Journal {
    /// Reads a journal; an empty text where there is none.
    pub(super) fn read(files: &Files, path: &Path) -> Result<JournalText> {
        if !is_regular_file(files, path)? {
            return Ok(JournalText::default());
        }
        Ok(JournalText::parse(&files.read(path, MAX_BYTES)?))
    }

    /// Replaces the journal in `path` by one with a single record, or with none.
    pub(super) fn replace(files: &Files, path: &Path, record: Option<&Record>) -> Result {
        is_regular_file(files, path)?;
        let text = record.map(|record| line(1, record)).transpose()?.unwrap_or_default();
        files.write_atomically(path, text.as_bytes())
    }

    /// Opens a journal with this text to go on with it: what is torn is cut off.
    pub(super) fn open(files: &Files, path: &Path, text: &JournalText) -> Result<Self> {
        is_regular_file(files, path)?;
        let file = files.disk().open(path).map_err(|e| Error::file("open", path, e))?;
        let mut journal = Self {
            files: files.clone(),
            path: path.to_owned(),
            file,
            length: text.whole,
            unsynced: Vec::new(),
            is_suspect: false,
            backlog: Vec::new(),
            seq: text.last_seq(),
        };
        journal.cut_torn().map_err(|e| Error::file("write", path, e))?;
        Ok(journal)
    }

    /// Cuts off what a process that was killed, or a disk that was full, left of a record.
    fn cut_torn(&mut self) -> io::Result<()> {
        if self.file.len()? == self.length { Ok(()) } else { self.file.set_len(self.length) }
    }

    /// Appends a record. Cost: one write. Where it fails the record is kept, and written before the
    /// next one, or by the next sync.
    pub(super) fn append(&mut self, record: &Record) -> Result {
        let seq = self.seq.saturating_add(1);
        self.backlog.extend_from_slice(line(seq, record)?.as_bytes());
        self.seq = seq;
        self.write_backlog().map_err(|e| Error::file("write", &self.path, e))
    }

    fn write_backlog(&mut self) -> io::Result<()> {
        self.replace_suspect()?;
        if self.backlog.is_empty() {
            return Ok(());
        }
        self.cut_torn()?;
        self.file.append(&self.backlog)?;
        self.length += self.backlog.len() as u64;
        self.unsynced.append(&mut self.backlog);
        Ok(())
    }

    /// Makes the records so far durable.
    pub(super) fn sync(&mut self) -> Result {
        let synced = self
            .write_backlog()
            .and_then(|()| self.file.sync().inspect_err(|_| self.is_suspect = true));
        synced.map_err(|e| Error::file("sync", &self.path, e))?;
        self.unsynced.clear();
        Ok(())
    }

    /// After a sync that failed: writes the records into another file, those that were durable from
    /// the disk and the others from memory.
    fn replace_suspect(&mut self) -> io::Result<()> {
        if !self.is_suspect {
            return Ok(());
        }
        let mut bytes = self.files.contents(&self.path)?;
        let durable = self.length.saturating_sub(self.unsynced.len() as u64);
        bytes.truncate(usize::try_from(durable).unwrap_or(usize::MAX));
        bytes.extend_from_slice(&self.unsynced);
        self.files.replace(&self.path, &bytes)?;
        self.file = self.files.disk().open(&self.path)?;
        self.unsynced.clear();
        self.is_suspect = false;
        Ok(())
    }
}

/// A record's line, written now.
fn line(seq: u64, record: &Record) -> Result<String> {
    let mut fields = Map::new();
    fields.insert("seq".into(), seq.into());
    fields.insert("time".into(), now().into());
    match serde_json::to_value(record).map_err(Error::wrap)? {
        Value::Object(record) => fields.extend(record),
        _ => return Err(Error::msg("a record is no object")),
    }
    Ok(seal(&fields))
}

/// RFC 3339, UTC, milliseconds.
pub(super) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
