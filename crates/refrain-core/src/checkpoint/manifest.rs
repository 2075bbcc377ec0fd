//! `manifest.json`: what a checkpoint consists of; and whether it still does.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use twox_hash::XxHash3_128;

use super::sealed::{seal, unseal};
use crate::error::{Error, Escaped, Result};
use crate::files::{Files, Kind};

/// Version of the format of a checkpoint that is written. Older ones are read, newer ones refused.
pub(super) const FORMAT: u64 = 1;
/// Name of the manifest in a checkpoint.
pub(super) const MANIFEST: &str = "manifest.json";
/// A manifest longer than this (16 MiB) is none.
const MAX_MANIFEST_BYTES: u64 = 1 << 24;

/// What a checkpoint consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub format: u64,
    /// The version of this library that wrote it.
    pub refrain: String,
    /// The identity of the run.
    pub run: String,
    /// Its number: checkpoints of a run are ordered by it.
    pub number: u64,
    /// When it was taken: RFC 3339, UTC. For people; nothing is decided by it.
    pub time: String,
    /// Epochs that had ended.
    pub epochs: usize,
    /// Batches of the epoch under way that had been trained.
    pub batch: usize,
    /// Updates of the weights that had been made.
    pub step: u64,
    /// Whether it was due here; not where somebody asked for it, or the run ended here. A run that is
    /// rolled back goes to the newest that was.
    #[serde(default = "by_default")]
    pub due: bool,
    /// What must be the same when the run goes on.
    pub config: BTreeMap<String, String>,
    /// Its other files.
    pub parts: Vec<Part>,
}

/// A file of a checkpoint, or of the run's folder: what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// XXH3 of its bytes, 128 bits, 32 hexadecimal digits.
    pub xxh3: String,
}

fn by_default() -> bool {
    true
}

impl Part {
    /// Of a file with this name and these bytes.
    ///
    /// # Example
    /// ```
    /// use refrain_core::checkpoint::Part;
    ///
    /// let part = Part::of("notes.txt", b"text");
    /// assert_eq!(part.bytes, 4);
    /// assert!(part.is_of(b"text") && !part.is_of(b"tex\x75"));
    /// ```
    pub fn of(file: impl Into<String>, bytes: &[u8]) -> Self {
        let xxh3 = Self::digits(XxHash3_128::oneshot(bytes));
        Self { file: file.into(), bytes: bytes.len() as u64, xxh3 }
    }

    /// Whether a file with these bytes is as it was.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() as u64 && self.xxh3 == Self::digits(XxHash3_128::oneshot(bytes))
    }

    pub(super) fn digits(hash: u128) -> String {
        format!("{hash:032x}")
    }
}

impl Manifest {
    /// The file's text.
    pub(super) fn to_text(&self) -> Result<String> {
        match serde_json::to_value(self).map_err(Error::wrap)? {
            Value::Object(fields) => Ok(seal(&fields)),
            _ => Err(Error::msg("a manifest is no object")),
        }
    }

    /// Reads the file's bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let damaged = |what: &str| Problem::Damaged(format!("{MANIFEST} {what}"));
        let fields: Map<String, Value> = unseal(bytes)
            .ok_or_else(|| damaged("does not have the checksum that it was written with"))?;
        match fields.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => return Err(Problem::Newer(newer)),
            _ => return Err(damaged("names no format")),
        }
        let manifest = Self::deserialize(Value::Object(fields))
            .map_err(|e| damaged(&format!("cannot be read: {e}")))?;
        if !is_run_name(&manifest.run) {
            return Err(damaged(&format!("names the run `{}`", Escaped(&manifest.run))));
        }
        Ok(manifest)
    }
}

/// Whether this can be the identity of a run: it becomes a part of names of folders, and must lead
/// to no other place.
pub(super) fn is_run_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What is wrong with a checkpoint.
#[derive(Clone, Debug)]
pub(super) enum Problem {
    /// It is not what was written.
    Damaged(String),
    /// It has a format of a later version.
    Newer(u64),
    /// It cannot be read now, whatever it holds.
    Unreadable(Error),
}

/// A checkpoint whose every byte is as it was written.
pub(super) struct Verified {
    pub(super) manifest: Manifest,
    /// The bytes of its files by name.
    pub(super) parts: BTreeMap<String, Vec<u8>>,
}

/// Reads the manifest of the checkpoint in `folder`.
pub(super) fn read_manifest(files: &Files, folder: &Path) -> Result<Manifest, Problem> {
    Manifest::parse(&read(files, folder, MANIFEST, None)?)
}

/// Reads a file of a checkpoint: one that is `wanted` bytes long, without a wish one that is no
/// longer than a manifest can be.
fn read(files: &Files, folder: &Path, name: &str, wanted: Option<u64>) -> Result<Vec<u8>, Problem> {
    let path = folder.join(name);
    let unreadable = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Problem::Damaged(format!("{name} is missing")),
        _ => Problem::Unreadable(Error::file("read", &path, e)),
    };
    let problem = match (files.disk().kind(&path).map_err(unreadable)?, wanted) {
        (Kind::File(length), Some(wanted)) if length != wanted => {
            format!("{name}: expected {wanted} bytes, found {length}")
        }
        (Kind::File(length), None) if length > MAX_MANIFEST_BYTES => {
            format!("{name} has {length} bytes; allowed: at most {MAX_MANIFEST_BYTES}")
        }
        (Kind::File(_), _) => return files.disk().read(&path).map_err(unreadable),
        _ => format!("{name} is no regular file"),
    };
    Err(Problem::Damaged(problem))
}

/// Reads the checkpoint `number` in `folder`. Nothing but the files that it names is opened, and
/// those only where they have the length that it names.
pub(super) fn verify(files: &Files, folder: &Path, number: u64) -> Result<Verified, Problem> {
    let damaged = |what: String| Err(Problem::Damaged(what));
    match files.disk().kind(folder) {
        Ok(Kind::Folder) => {}
        Ok(_) => return damaged("it is no folder".to_owned()),
        Err(e) => return Err(Problem::Unreadable(Error::file("read", folder, e))),
    }
    let manifest = read_manifest(files, folder)?;
    if manifest.number != number {
        return damaged(format!("its {MANIFEST} is that of checkpoint {}", manifest.number));
    }
    let mut parts = BTreeMap::new();
    for part in &manifest.parts {
        let name = part.file.as_str();
        if !super::store::PARTS.contains(&name) || parts.contains_key(name) {
            return damaged(format!("{MANIFEST} names the file `{}`", Escaped(name)));
        }
        let bytes = read(files, folder, name, Some(part.bytes))?;
        // Its length may have changed in between.
        if bytes.len() as u64 != part.bytes
            || Part::digits(XxHash3_128::oneshot(&bytes)) != part.xxh3
        {
            return damaged(format!("{name} does not have the hash that it was written with"));
        }
        parts.insert(name.to_owned(), bytes);
    }
    Ok(Verified { manifest, parts })
}
