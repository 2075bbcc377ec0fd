//! The folder of a run's checkpoints: committing, dropping the oldest, finding the newest after a
//! crash.
//!
//! ```text
//! run.lock        held while a process trains
//! journal.jsonl   what happened
//! checkpoints/000017/   manifest.json, and the files that it names
//! checkpoints/.tmp-…    being written or removed, or dropped, for the next one to be written into
//! quarantine/     damaged checkpoints; never removed
//! ```
//!
//! A checkpoint is written into a folder of another name, every file and the folder are synced, and
//! then it is renamed: it is there whole or not at all. The folder that holds it is synced before
//! the checkpoint counts, and before an older one is removed. A file whose sync failed is never
//! synced again: the next attempt writes others.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use twox_hash::XxHash3_128;

use super::journal::{Journal, JournalText, Record, now};
use super::manifest::{
    FORMAT, MANIFEST, Manifest, Part, Problem, Verified, is_run_name, read_manifest, verify,
};
use super::shared_journal::SharedJournal;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::files::{DiskFile, Files, Kind, Lock, folder_of, is_left_beside};

/// Files that a checkpoint may have beside its manifest.
pub(super) const PARTS: [&str; 4] = [STATE, WEIGHTS, OPTIMIZER, TENSORS];
pub(super) const STATE: &str = "state.json";
pub(super) const WEIGHTS: &str = "weights.safetensors";
pub(super) const OPTIMIZER: &str = "optimizer.safetensors";
pub(super) const TENSORS: &str = "state.safetensors";

pub(super) const JOURNAL: &str = "journal.jsonl";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const QUARANTINE: &str = "quarantine";
const LOCK: &str = "run.lock";
/// Beginning of the names of folders that are being written or removed.
const TMP: &str = ".tmp-";
/// No run comes to a higher number: one that a folder or a record names is not used, or there would
/// be none after it.
const MOST: u64 = 1 << 53;

/// How often, and how long apart, a lock that is held is tried again before the run is refused.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Where a checkpoint stands in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) number: u64,
    pub(crate) epochs: usize,
    pub(crate) step: u64,
}

/// A run's folder, held by this process.
#[derive(Debug)]
pub(super) struct Store {
    files: Files,
    folder: PathBuf,
    run: String,
    keep: usize,
    /// The number of the next checkpoint; none is used twice.
    next: u64,
    /// Checkpoints of this run that are there, oldest first.
    kept: Vec<u64>,
    /// The newest of them that was due, where the run may have to go back to it.
    guarded: Option<u64>,
    guards: bool,
    /// A checkpoint that was dropped, whose files the next one is written into: that costs a third
    /// of the time and half of the work of making files and removing them.
    spare: Option<PathBuf>,
    journal: Arc<SharedJournal>,
    _lock: HeldLock,
}

struct HeldLock(#[expect(dead_code, reason = "held, not used")] Lock);

impl std::fmt::Debug for HeldLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeldLock")
    }
}

/// What was found when a run's folder was opened to go on with it.
pub(super) struct Recovered {
    pub(super) store: Store,
    /// The newest checkpoint that verifies.
    pub(super) checkpoint: Option<Verified>,
    pub(super) journal: JournalText,
    /// Whether the rest of a run that was being overwritten was removed.
    pub(super) was_overwritten: bool,
    /// What was damaged, moved or cut off, for people.
    pub(super) notes: Vec<String>,
}

/// Whether `folder` holds a run.
pub(super) fn holds_run(files: &Files, folder: &Path) -> Result<bool> {
    Ok(files.exists(&folder.join(JOURNAL))? || !numbers(files, folder)?.is_empty())
}

impl Store {
    /// Begins a run in `folder`. With `overwrite` one that is there is removed first, and its journal
    /// before all else: a run is there whole, or says that it is being removed. Then comes `prepare`,
    /// and then the journal, with which the folder holds the run.
    ///
    /// # Errors
    /// When another process trains in it, or it holds a run.
    pub(super) fn begin(
        files: &Files,
        folder: &Path,
        keep: usize,
        overwrite: bool,
        prepare: impl FnOnce() -> Result,
    ) -> Result<Self> {
        create(files, folder)?;
        let lock = lock(files, folder)?;
        refuse_links(files, folder)?;
        let path = folder.join(JOURNAL);
        if holds_run(files, folder)? {
            if !overwrite {
                return Err(Error::config(format!(
                    "`{}` already holds a run; go on with it (resume), replace it (overwrite), or \
                     choose another folder",
                    folder.display()
                )));
            }
            Journal::replace(files, &path, Some(&Record::Overwrite))?;
            clear(files, folder)?;
        }
        // Of a process that was killed before its run had begun; below are no files of its own yet.
        remove_leftovers(files, folder, false)?;
        prepare()?;
        // From here on the folder holds this run.
        Journal::replace(files, &path, None)?;
        let journal = Journal::open(files, &path, &JournalText::default())?;
        let store = Self {
            files: files.clone(),
            folder: folder.to_owned(),
            run: new_run(folder),
            keep,
            next: 1,
            kept: Vec::new(),
            guarded: None,
            guards: false,
            spare: None,
            journal: Arc::new(SharedJournal::new(journal)),
            _lock: lock,
        };
        files.create_folders(&store.checkpoints())?;
        sync(files, folder)?;
        Ok(store)
    }

    /// Opens the run in `folder` to go on with it; one that a crash left at any instant, this
    /// function's own included.
    ///
    /// # Errors
    /// When another process trains in it, a checkpoint has a later version's format, or a file
    /// cannot be read or moved.
    pub(super) fn recover(files: &Files, folder: &Path, keep: usize) -> Result<Recovered> {
        create(files, folder)?;
        let lock = lock(files, folder)?;
        refuse_links(files, folder)?;
        let path = folder.join(JOURNAL);
        let mut journal = Journal::read(files, &path)?;
        journal.cut_unsynced();
        let mut notes: Vec<String> =
            journal.damage.iter().map(|damage| format!("{JOURNAL}: {damage}")).collect();
        let was_overwritten = journal.is_being_overwritten();
        if was_overwritten {
            clear(files, folder)?;
            Journal::replace(files, &path, None)?;
            journal = JournalText::default();
            notes.push(
                "the run that was here was being overwritten when its process ended; what was left \
                 of it was removed"
                    .to_owned(),
            );
        }
        if journal.torn > 0 {
            notes.push(format!(
                "{JOURNAL}: {} bytes of records that were not written to their end were cut off",
                journal.torn
            ));
        }
        remove_leftovers(files, folder, true)?;
        files.create_folders(&folder.join(CHECKPOINTS))?;
        let named = journal.run().filter(|run| is_run_name(run));
        let (checkpoint, kept) = newest(files, folder, named, false, &mut notes)?;
        let run = checkpoint.as_ref().map(|found| found.manifest.run.as_str()).or(named);
        let run = run.map_or_else(|| new_run(folder), str::to_owned);
        let mentioned = journal.entries.iter().filter_map(|entry| match entry.record {
            Record::Checkpoint { number, .. } => Some(number).filter(|number| *number <= MOST),
            _ => None,
        });
        let seen = numbers(files, folder)?.into_iter().chain(quarantined(files, folder)?);
        let next = mentioned.chain(seen).max().unwrap_or(0).saturating_add(1);
        let open = Journal::open(files, &path, &journal)?;
        let store = Self {
            files: files.clone(),
            folder: folder.to_owned(),
            run,
            keep,
            next,
            kept,
            guarded: None,
            guards: false,
            spare: None,
            journal: Arc::new(SharedJournal::new(open)),
            _lock: lock,
        };
        sync(files, folder)?;
        Ok(Recovered { store, checkpoint, journal, was_overwritten, notes })
    }

    /// The run's identity.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join(CHECKPOINTS)
    }

    /// The journal, which is written from the training thread and from the one that saves.
    pub(super) fn journal(&self) -> Arc<SharedJournal> {
        Arc::clone(&self.journal)
    }

    /// Writes a checkpoint; when this returns it survives whatever comes.
    ///
    /// # Errors
    /// When it could not be written; all that were committed before are still there.
    pub(super) fn commit(&mut self, snapshot: &Snapshot) -> Result<Committed> {
        let number = self.next;
        // Also where it fails: the name may be there then.
        self.next = number.saturating_add(1);
        let folder = self.checkpoints();
        let spare = self.spare.take();
        let is_spare = spare.is_some();
        let tmp = spare.map_or_else(|| tmp(&self.files, &folder, &self.run, number), Ok)?;
        let written = self.write(&tmp, is_spare, number, snapshot).and_then(|()| {
            // The records that lead to the checkpoint, before it.
            self.journal.sync()?;
            let to = folder.join(name(number));
            self.files.disk().rename(&tmp, &to).map_err(|e| Error::file("write", &to, e))?;
            sync(&self.files, &folder)
        });
        let place = &snapshot.state.position;
        if let Err(error) = written {
            // Best effort: the first error is the one to report.
            let _ = remove_parts(&self.files, &tmp);
            return Err(error.context(format!(
                "checkpoint {} at step {} could not be written",
                name(number),
                place.step
            )));
        }
        self.kept.push(number);
        if self.guards && snapshot.is_due {
            self.guarded = Some(number);
        }
        let committed = Committed { number, epochs: place.epochs(), step: place.step };
        let Committed { number, epochs, step } = committed;
        self.journal.append(&Record::Checkpoint { number, epochs, step })?;
        Ok(committed)
    }

    /// Writes all files into the folder `tmp`, which is there already if it `is_spare`.
    fn write(&self, tmp: &Path, is_spare: bool, number: u64, snapshot: &Snapshot) -> Result {
        let disk = self.files.disk();
        if !is_spare {
            disk.create_folder(tmp).map_err(|e| Error::file("create the folder", tmp, e))?;
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut put = |name: &str, write: &dyn Fn(&mut Put<'_>) -> io::Result<()>| -> Result {
            let path = tmp.join(name);
            let mut hash = XxHash3_128::new();
            let mut bytes = 0;
            let mut written = || {
                let mut file = self.open_part(&path, is_spare)?;
                write(&mut |chunk| {
                    hash.write(chunk);
                    file.write_at(bytes, chunk)?;
                    bytes += chunk.len() as u64;
                    Ok(())
                })?;
                finish_part(&mut *file, bytes)
            };
            written().map_err(|e| Error::file("write", &path, e))?;
            let xxh3 = Part::digits(hash.finish_128());
            parts.push(Part { file: name.to_owned(), bytes, xxh3 });
            Ok(())
        };
        snapshot.write(&mut put)?;
        if is_spare {
            // What the dropped one had and this one has not.
            for name in PARTS.into_iter().filter(|name| !parts.iter().any(|p| p.file == *name)) {
                self.files.remove(&tmp.join(name))?;
            }
        }
        let place = &snapshot.state.position;
        let manifest = Manifest {
            format: FORMAT,
            refrain: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.run.clone(),
            number,
            time: now(),
            epochs: place.epochs(),
            batch: place.batch_in_epoch(),
            step: place.step,
            due: snapshot.is_due,
            config: snapshot.config.clone(),
            parts,
        };
        let text = manifest.to_text()?;
        let path = tmp.join(MANIFEST);
        let written = || {
            let mut file = self.open_part(&path, is_spare)?;
            file.write_at(0, text.as_bytes())?;
            finish_part(&mut *file, text.len() as u64)
        };
        written().map_err(|e| Error::file("write", &path, e))?;
        sync(&self.files, tmp)
    }

    /// A file to write from its beginning: one that is there, in a folder that `is_spare`, or a new
    /// one.
    fn open_part(&self, path: &Path, is_spare: bool) -> io::Result<Box<dyn DiskFile>> {
        let disk = self.files.disk();
        if is_spare {
            match disk.open_to_reuse(path) {
                Ok(file) => return Ok(file),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // Somebody has linked it, to keep it: his stays as it is.
                Err(_) => disk.remove_file(path)?,
            }
        }
        disk.create_new(path)
    }

    /// From now on keeps the newest checkpoint that was due, whatever is taken after it.
    pub(super) fn guard_due(&mut self) {
        let is_due = |number: &&u64| {
            let folder = self.checkpoints().join(name(**number));
            read_manifest(&self.files, &folder).is_ok_and(|manifest| manifest.due)
        };
        self.guarded = self.kept.iter().rev().find(is_due).copied();
        self.guards = true;
    }

    /// Removes the oldest checkpoints beyond those that are kept.
    ///
    /// # Errors
    /// When one cannot be removed; it is tried again the next time.
    pub(super) fn drop_oldest(&mut self) -> Result {
        loop {
            let beyond = self.kept.len().saturating_sub(self.keep.max(1));
            let is_guarded = |number: &u64| self.guarded == Some(*number);
            let Some(at) = self.kept.iter().take(beyond).position(|n| !is_guarded(n)) else {
                return Ok(());
            };
            let dropped = take_name(&self.files, &self.folder, &self.run, self.kept[at])?;
            self.kept.remove(at);
            match dropped {
                Some(dropped) if self.spare.is_none() => self.spare = Some(dropped),
                Some(dropped) => remove_parts(&self.files, &dropped)?,
                None => {}
            }
        }
    }

    /// The newest checkpoint that was due and verifies, for a run that goes back to it; where none
    /// was due, the newest. Damaged ones are moved to the quarantine.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub(super) fn newest_due(&mut self, notes: &mut Vec<String>) -> Result<Option<Verified>> {
        for is_due in [true, false] {
            let (found, kept) = newest(&self.files, &self.folder, Some(&self.run), is_due, notes)?;
            self.kept = kept;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Removes what is left of a dropped checkpoint, where no other is to be written into it.
    ///
    /// # Errors
    /// When something cannot be removed; the next process removes it.
    pub(super) fn remove_spare(&mut self) -> Result {
        self.spare.take().map_or(Ok(()), |spare| remove_parts(&self.files, &spare))
    }

    /// Removes all that this run has written here: the backup of a run that has come to its end.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(super) fn remove_all(&mut self) -> Result {
        while let Some(oldest) = self.kept.first().copied() {
            remove_checkpoint(&self.files, &self.folder, &self.run, oldest)?;
            self.kept.remove(0);
        }
        self.remove_spare()?;
        let disk = self.files.disk();
        // Not empty where somebody else's files are in it: then they stay.
        let _ = disk.remove_folder(&self.checkpoints());
        self.files.remove(&self.folder.join(JOURNAL))?;
        self.files.remove(&self.folder.join(LOCK))?;
        let _ = disk.remove_folder(&self.folder);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Of a run that was not ended; what stays is removed by the next process.
        let _ = self.remove_spare();
    }
}

/// Cuts off what a dropped checkpoint's file had beyond `bytes`, and makes the file durable.
fn finish_part(file: &mut dyn DiskFile, bytes: u64) -> io::Result<()> {
    if file.len()? > bytes {
        file.set_len(bytes)?;
    }
    file.sync()
}

/// A free name for a folder that is being written or removed.
fn tmp(files: &Files, checkpoints: &Path, run: &str, number: u64) -> Result<PathBuf> {
    free(files, |n| checkpoints.join(format!("{TMP}{run}-{number:06}-{n}")))
}

/// The first path, counted from 1, under which nothing stands.
fn free(files: &Files, path: impl Fn(u64) -> PathBuf) -> Result<PathBuf> {
    let mut n = 1;
    while files.exists(&path(n))? {
        n += 1;
    }
    Ok(path(n))
}

/// Whether a folder of this name is one of [`tmp`].
pub(super) fn is_tmp(text: &str) -> bool {
    let mut parts = text.strip_prefix(TMP).unwrap_or_default().split('-');
    let is_of_run = parts.next().is_some_and(is_run_name);
    let mut is_number = || parts.next().is_some_and(|n| n.parse::<u64>().is_ok());
    is_of_run && is_number() && is_number() && parts.next().is_none()
}

/// Takes what is written into a file.
pub(super) type Put<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// A checkpoint's name.
pub(super) fn name(number: u64) -> String {
    format!("{number:06}")
}

/// Makes a run's folder where it is missing, and its name durable; also where a process that made it
/// was killed before it could do the second.
fn create(files: &Files, folder: &Path) -> Result {
    files.create_folders(folder)?;
    let mut above = folder.ancestors().map(folder_of);
    above.next().map_or(Ok(()), |parent| sync(files, parent))?;
    for folder in above {
        // Often somebody else's, which may be forbidden; most are older than this run.
        let _ = files.disk().sync_folder(folder);
    }
    Ok(())
}

/// Takes the lock of a run's folder.
fn lock(files: &Files, folder: &Path) -> Result<HeldLock> {
    let path = folder.join(LOCK);
    let failed = |e| Error::file("lock", &path, e);
    is_regular_file(files, &path)?;
    // Who looks whether the lock is held, holds it for an instant.
    let mut lock = files.disk().lock(&path).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        if lock.is_some() {
            break;
        }
        thread::sleep(LOCK_PAUSE);
        lock = files.disk().lock(&path).map_err(failed)?;
    }
    let Some(lock) = lock else {
        let holder = holder(files, &path);
        return Err(Error::config(format!(
            "`{}` is in use by {}; wait for it, stop it, or choose another folder",
            folder.display(),
            holder.as_deref().unwrap_or("another process")
        )));
    };
    // For people: what counts is the lock itself, which ends with its process.
    let mut holder = String::new();
    let _ = writeln!(holder, "process {} since {}", std::process::id(), now());
    let written = || {
        let mut file = files.disk().open(&path)?;
        file.set_len(0)?;
        file.append(holder.as_bytes())
    };
    written().map_err(failed)?;
    Ok(HeldLock(lock))
}

/// What the process that holds a lock says of itself: it may have it for an instant only, and not
/// have said so yet.
fn holder(files: &Files, path: &Path) -> Option<String> {
    (0..LOCK_TRIES).find_map(|_| {
        let text = files.read(path, 4096).unwrap_or_default();
        let line = String::from_utf8_lossy(&text).lines().next().map(str::to_owned);
        let line = line.filter(|line| !line.is_empty());
        if line.is_none() {
            thread::sleep(LOCK_PAUSE);
        }
        line
    })
}

/// Whether a process trains in a run's folder now.
pub(super) fn is_locked(files: &Files, folder: &Path) -> Result<bool> {
    let path = folder.join(LOCK);
    // Anything but a file is locked by nobody.
    let is_file = files.exists(&path)? && is_regular_file(files, &path).unwrap_or(false);
    Ok(is_file && matches!(files.disk().lock(&path), Ok(None)))
}

/// Whether a file is there that can be written in place.
///
/// # Errors
/// When something else is: a pipe or a device might never end, and behind a link is somebody else's
/// file.
pub(super) fn is_regular_file(files: &Files, path: &Path) -> Result<bool> {
    match files.disk().kind(path) {
        Ok(Kind::File(_)) => Ok(true),
        Ok(kind) => Err(Error::data(format!(
            "`{}` is {}; expected a regular file: move it away",
            path.display(),
            match kind {
                Kind::Folder => "a folder",
                Kind::Link => "a symbolic link",
                _ => "a device, a pipe or a socket",
            }
        ))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::file("read", path, e)),
    }
}

/// Behind a link in the place of a folder of the run is somebody else's.
pub(super) fn refuse_links(files: &Files, folder: &Path) -> Result {
    for name in [CHECKPOINTS, QUARANTINE] {
        let path = folder.join(name);
        if matches!(files.disk().kind(&path), Ok(Kind::Link)) {
            return Err(Error::data(format!(
                "`{}` is a symbolic link; expected a folder of the run's own: move the link away, or \
                 link the whole folder of the run",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Numbers of the checkpoints in a run's folder, oldest first.
pub(super) fn numbers(files: &Files, folder: &Path) -> Result<Vec<u64>> {
    let names = files.names(&folder.join(CHECKPOINTS))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|text| number(text)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn number(text: &str) -> Option<u64> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number))?;
    // `000017` and nothing else that reads as 17.
    (name(number) == text).then_some(number)
}

fn quarantined(files: &Files, folder: &Path) -> Result<Vec<u64>> {
    let names = files.names(&folder.join(QUARANTINE))?;
    Ok(names.iter().filter_map(|name| number(name.split('-').next()?)).collect())
}

/// The newest checkpoint that verifies, with `only_due` of those that were due, and the numbers of
/// all of the run's that are left, oldest first.
fn newest(
    files: &Files,
    folder: &Path,
    run: Option<&str>,
    only_due: bool,
    notes: &mut Vec<String>,
) -> Result<(Option<Verified>, Vec<u64>)> {
    let mut left = numbers(files, folder)?;
    // Of the run, and not what is looked for.
    let mut passed = Vec::new();
    while let Some(number) = left.last().copied() {
        let path = folder.join(CHECKPOINTS).join(name(number));
        match verify(files, &path, number) {
            Ok(found) if run.is_none_or(|run| run == found.manifest.run) => {
                if only_due && !found.manifest.due {
                    passed.extend(left.pop());
                    continue;
                }
                let run = found.manifest.run.clone();
                left.retain(|number| is_of_run(files, folder, *number, &run));
                left.extend(passed.into_iter().rev());
                return Ok((Some(found), left));
            }
            Ok(_) => {
                notes.push(format!("checkpoint {} is another run's and is not used", name(number)));
            }
            Err(Problem::Damaged(what)) => {
                let to = quarantine(files, folder, number)?;
                notes.push(format!(
                    "checkpoint {} is damaged ({what}); it was moved to {QUARANTINE}/{to}",
                    name(number)
                ));
            }
            Err(Problem::Newer(format)) => {
                return Err(Error::data(format!(
                    "`{}` has the format {format}, which a later version of Refrain writes; this \
                     one reads up to {FORMAT}: go on with that version, or move the checkpoint away",
                    path.display()
                )));
            }
            Err(Problem::Unreadable(error)) => return Err(error),
        }
        left.pop();
    }
    left.extend(passed.into_iter().rev());
    Ok((None, left))
}

/// Whether a checkpoint says that it is of this run; without looking at the rest of it.
fn is_of_run(files: &Files, folder: &Path, number: u64, run: &str) -> bool {
    let manifest = read_manifest(files, &folder.join(CHECKPOINTS).join(name(number)));
    manifest.is_ok_and(|manifest| manifest.run == run)
}

/// Moves a damaged checkpoint out of the way; returns its name there.
fn quarantine(files: &Files, folder: &Path, number: u64) -> Result<String> {
    let quarantine = folder.join(QUARANTINE);
    files.create_folders(&quarantine)?;
    let from = folder.join(CHECKPOINTS).join(name(number));
    let to = free(files, |n| {
        let again = if n == 1 { String::new() } else { format!("-{n}") };
        quarantine.join(name(number) + &again)
    })?;
    let moved = files.disk().rename(&from, &to);
    moved.map_err(|e| Error::file("move to the quarantine", &from, e))?;
    sync(files, &quarantine)?;
    sync(files, &folder.join(CHECKPOINTS))?;
    Ok(to.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// Removes a checkpoint: first from the names, then its files.
fn remove_checkpoint(files: &Files, folder: &Path, run: &str, number: u64) -> Result {
    let dropped = take_name(files, folder, run, number)?;
    dropped.map_or(Ok(()), |dropped| remove_parts(files, &dropped))
}

/// Takes a checkpoint's name from it, durably; returns where it is now. `None`: it was removed by
/// hand.
fn take_name(files: &Files, folder: &Path, run: &str, number: u64) -> Result<Option<PathBuf>> {
    let checkpoints = folder.join(CHECKPOINTS);
    let from = checkpoints.join(name(number));
    let gone = tmp(files, &checkpoints, run, number)?;
    match files.disk().rename(&from, &gone) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        renamed => renamed.map_err(|e| Error::file("remove", &from, e))?,
    }
    // Or a power cut might leave the name and take the files, or what they held.
    sync(files, &checkpoints)?;
    Ok(Some(gone))
}

/// Removes what this library writes into a checkpoint's folder, and the folder where it is empty
/// then.
fn remove_parts(files: &Files, folder: &Path) -> Result {
    for part in PARTS.into_iter().chain([MANIFEST]) {
        let path = folder.join(part);
        // A folder is nothing that was written here, and stays.
        if !matches!(files.disk().kind(&path), Ok(Kind::Folder)) {
            files.remove(&path)?;
        }
    }
    match files.disk().remove_folder(folder) {
        Err(e)
            if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) =>
        {
            Ok(())
        }
        removed => removed.map_err(|e| Error::file("remove", folder, e)),
    }
}

/// Removes what killed processes left half done, with `below` in the folders in the run's too. The
/// lock is held: nobody is at it.
fn remove_leftovers(files: &Files, folder: &Path, below: bool) -> Result {
    let checkpoints = folder.join(CHECKPOINTS);
    for name in files.names(&checkpoints)?.iter().filter(|name| is_tmp(name)) {
        let path = checkpoints.join(name);
        if matches!(files.disk().kind(&path), Ok(Kind::Folder)) {
            remove_parts(files, &path)?;
        }
    }
    remove_left_beside(files, folder, below)
}

/// Removes what killed processes left beside files in `folder`, and with `below` in the folders in
/// it, into which callbacks write.
fn remove_left_beside(files: &Files, folder: &Path, below: bool) -> Result {
    left_beside(files, folder, below)?.iter().try_for_each(|path| files.remove(path))
}

/// What killed processes left beside files in `folder`, and with `below` in the folders in it.
pub(super) fn left_beside(files: &Files, folder: &Path, below: bool) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in files.names(&folder)? {
            let path = folder.join(&name);
            if is_left_beside(&name) {
                left.push(path);
            } else if below
                && ![CHECKPOINTS, QUARANTINE].contains(&name.as_str())
                && matches!(files.disk().kind(&path), Ok(Kind::Folder))
                // Another run's, perhaps of a process that is at it.
                && !files.exists(&path.join(LOCK))?
            {
                folders.push(path);
            }
        }
    }
    Ok(left)
}

/// Removes the checkpoints of the run in `folder`.
fn clear(files: &Files, folder: &Path) -> Result {
    for number in numbers(files, folder)? {
        let path = folder.join(CHECKPOINTS).join(name(number));
        // What does not say that it is a checkpoint is somebody else's, or damaged.
        match read_manifest(files, &path) {
            Ok(manifest) => remove_checkpoint(files, folder, &manifest.run, number)?,
            Err(Problem::Unreadable(error)) => return Err(error),
            Err(_) => drop(quarantine(files, folder, number)?),
        }
    }
    Ok(())
}

fn sync(files: &Files, folder: &Path) -> Result {
    files.disk().sync_folder(folder).map_err(|e| Error::file("sync the folder", folder, e))
}

/// Digits of a run's identity.
const RUN_DIGITS: usize = 16;

/// A name for a run that no other has: hexadecimal digits.
fn new_run(folder: &Path) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = format!("{} {} {}", since.as_nanos(), std::process::id(), folder.display());
    format!("{:0RUN_DIGITS$x}", XxHash3_128::oneshot(text.as_bytes()) as u64)
}

#[cfg(test)]
mod tests;
