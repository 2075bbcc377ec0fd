//! `journal.jsonl`: what happened in a run, one checksummed record a line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sealed::{seal, unseal};
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
        for (i, line) in
            bytes.get(..whole).unwrap_or_default().split_inclusive(|b| *b == b'\n').enumerate()
        {
            let Some(entry) = unseal(line).and_then(entry) else {
                damaged += 1;
                text.complain(|| format!("line {} is damaged", i + 1));
                continue;
            };
            // Records that a damaged line held are missing as well, and were told.
            let missing = entry.seq.saturating_sub(last + 1);
            if entry.seq <= last || missing > damaged as u64 {
                text.complain(|| {
                    format!("line {}: record {} follows record {last}", i + 1, entry.seq)
                });
            }
            damaged = 0;
            last = last.max(entry.seq);
            text.entries.push(entry);
        }
        text
    }

    fn complain(&mut self, what: impl FnOnce() -> String) {
        if self.damage.len() < MOST_DAMAGE {
            self.damage.push(what());
        } else if self.damage.len() == MOST_DAMAGE {
            self.damage.push("and more".to_owned());
        }
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
                Record::Epoch { epoch, logs, .. } => {
                    epochs.retain(|(old, _)| old < epoch);
                    epochs.push((*epoch, logs));
                }
                Record::Resume { epochs: kept, .. } | Record::Rollback { epochs: kept, .. } => {
                    epochs.retain(|(epoch, _)| epoch <= kept);
                }
                _ => {}
            }
        }
        epochs
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
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Bytes of whole records.
    length: u64,
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
        if !files.exists(path) {
            return Ok(JournalText::default());
        }
        Ok(JournalText::parse(&files.read(path, MAX_BYTES)?))
    }

    /// Opens a journal with this text to go on with it.
    pub(super) fn open(files: &Files, path: &Path, text: &JournalText) -> Result<Self> {
        files.can_be_written(path)?;
        let file = files.disk().open(path).map_err(|e| Error::file("open", path, e))?;
        Ok(Self { path: path.to_owned(), file, length: text.whole, seq: text.last_seq() })
    }

    /// Appends a record. Cost: one write.
    pub(super) fn append(&mut self, record: &Record) -> Result {
        let mut fields = Map::new();
        fields.insert("seq".into(), (self.seq + 1).into());
        fields.insert("time".into(), now().into());
        match serde_json::to_value(record).map_err(Error::wrap)? {
            Value::Object(record) => fields.extend(record),
            _ => return Err(Error::msg("a record is no object")),
        }
        let line = seal(&fields);
        let mut append = || {
            // What a process that was killed, or a disk that was full, left of a record.
            if self.file.len()? != self.length {
                self.file.set_len(self.length)?;
            }
            self.file.append(line.as_bytes())
        };
        append().map_err(|e| Error::file("write", &self.path, e))?;
        self.length += line.len() as u64;
        self.seq += 1;
        Ok(())
    }

    /// Makes the records so far durable.
    pub(super) fn sync(&mut self) -> Result {
        self.file.sync().map_err(|e| Error::file("sync", &self.path, e))
    }
}

/// RFC 3339, UTC, milliseconds.
pub(super) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
