//! Data too large for memory, and not to be found by position, converted into a file that is.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use refrain_core::files::{Disk, DiskFile, Files};
use refrain_core::{Error, Result, StopHandle};
use sha2::{Digest as _, Sha256};

use crate::arrays::ArrayFile;
use crate::csv::{CsvReader, CsvTable};
use crate::file_rows::FileRows;
use crate::stop::{Stoppable, Stopped, interrupted, wait_for_lock};

/// Rows that are converted at a time.
const AT_ONCE: usize = 1024;
/// Characters of a key.
const KEY: usize = 32;
/// Bytes of the SHA-256 behind the numbers.
const HASH: u64 = 32;

/// Where converted data is kept: once converted it is found there again, until the file that it came
/// from changes. It takes 4 bytes a number, and has its SHA-256 behind it: what is damaged is converted
/// again. One process converts a file at a time, and the others wait for it.
#[derive(Clone, Debug)]
pub struct Converted {
    folder: PathBuf,
    stop: StopHandle,
}

impl Converted {
    /// Converted data in `folder`, which is made where it is missing.
    pub fn in_dir(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), stop: StopHandle::default() }
    }

    /// Breaks off when `stop` is stopped, and leaves nothing behind.
    pub fn stop_with(mut self, stop: &StopHandle) -> Self {
        self.stop = stop.clone();
        self
    }

    /// The rows of an array that is compressed.
    ///
    /// # Errors
    /// When the array cannot be read, or is in Fortran's order, in which a row lies all over the file;
    /// when there is no room, or it was stopped.
    pub fn array(&self, array: &ArrayFile) -> Result<FileRows> {
        let label = array.label();
        let [rows, row @ ..] = array.shape() else {
            return Err(Error::data(format!("{label} is a single number; rows are wanted")));
        };
        let width: usize = row.iter().product();
        if array.header.is_fortran {
            return Err(Error::data(format!(
                "{label} is in Fortran's order, in which a row lies all over the file; to train on it \
                 from the disk, save it with numpy.ascontiguousarray"
            )));
        }
        // What was converted without a look at its numbers does not do for who wants finite ones.
        let kind = if array.is_finite_only { "finite" } else { "" };
        let key = key(&array.path, &[array.name().unwrap_or_default(), kind])?;
        let path = self.folder.join(format!("{key}.rows"));
        let numbers = (*rows as u64).saturating_mul(width as u64);
        let is_there = || Ok(self.numbers_in(&path)? == Some(numbers));
        self.ensure(&key, is_there, || {
            let mut out = Writer::new(&path)?;
            array.clone().stop_with(&self.stop).each_rows(AT_ONCE, |values| out.append(&values))?;
            out.commit()
        })?;
        FileRows::of_f32(&path, *rows, width)
    }

    /// The inputs of a table, and all its targets, which stay in memory.
    ///
    /// # Errors
    /// When the file cannot be read as that table, or there is no room.
    pub fn csv(&self, table: &CsvTable, path: &Path) -> Result<(FileRows, Vec<f32>)> {
        // What the numbers are depends on the table too.
        let key = key(path, &[&format!("{table:?}")])?;
        let [inputs, targets] =
            ["rows", "targets"].map(|kind| self.folder.join(format!("{key}.{kind}")));
        let (width, target_width) = (table.width() as u64, table.target.width() as u64);
        let is_there = || {
            Ok(match (self.numbers_in(&inputs)?, self.numbers_in(&targets)?) {
                (Some(inputs), Some(targets)) if width > 0 => {
                    inputs % width == 0
                        && (inputs / width).checked_mul(target_width) == Some(targets)
                }
                _ => false,
            })
        };
        self.ensure(&key, is_there, || {
            let mut reader = CsvReader::open(table, path)?.stop_with(&self.stop);
            let (mut rows, mut labels) = (Writer::new(&inputs)?, Writer::new(&targets)?);
            loop {
                let batch = reader.next_rows(AT_ONCE)?;
                if batch.rows == 0 {
                    break;
                }
                rows.append(&batch.inputs)?;
                labels.append(&batch.targets)?;
            }
            labels.commit()?;
            rows.commit()
        })?;
        let bytes = Files::default().contents(&targets);
        let bytes = bytes.map_err(|e| Error::file("read", &targets, e))?;
        let end = bytes.len().saturating_sub(HASH as usize);
        let (numbers, _) = bytes.get(..end).unwrap_or_default().as_chunks();
        let length = inputs.metadata().map_err(|e| Error::file("read", &inputs, e))?.len();
        let rows = length.saturating_sub(HASH) / 4 / width.max(1);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let rows = FileRows::of_f32(&inputs, rows, table.width())?;
        Ok((rows, numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }

    /// How many numbers a file holds; `None` where it is missing, or is not what was written.
    ///
    /// # Errors
    /// When it was stopped.
    fn numbers_in(&self, path: &Path) -> Result<Option<u64>> {
        let Ok((mut file, length)) = crate::arrays::open(path) else {
            return Ok(None);
        };
        let Some(length) = length.checked_sub(HASH) else {
            return Ok(None);
        };
        let mut bytes = Stoppable { reader: &mut file, stop: &self.stop };
        match hashed_numbers(&mut bytes, length) {
            Err(error) if Stopped::is_cause_of(&error) => {
                Err(interrupted(format_args!("reading `{}`", path.display())))
            }
            numbers => Ok(numbers.ok().flatten()),
        }
    }

    /// Converts what is not there, or not as it was written, under the key's lock.
    fn ensure(
        &self,
        key: &str,
        is_there: impl Fn() -> Result<bool>,
        convert: impl FnOnce() -> Result,
    ) -> Result {
        if is_there()? {
            return Ok(());
        }
        let files = Files::default();
        files.create_folders(&self.folder)?;
        let lock_path = self.folder.join(format!("{key}.lock"));
        let Some(_lock) = wait_for_lock(&files, &lock_path, &self.stop, || ())? else {
            return Err(interrupted(format_args!("waiting for `{}`", lock_path.display())));
        };
        // Another process may have been faster.
        let converted = match is_there() {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.remove_leftovers(&files, key);
                convert()
            }
            Err(stopped) => Err(stopped),
        };
        // Under the lock still: who waits for it makes another.
        let _ = files.disk().remove_file(&lock_path);
        converted
    }

    /// Removes what processes left that were killed while they converted: nobody holds its lock.
    fn remove_leftovers(&self, files: &Files, own_key: &str) {
        let Ok(names) = files.disk().list(&self.folder) else { return };
        let is_key = |key: &&str| key.len() == KEY && key.bytes().all(|b| b.is_ascii_hexdigit());
        let left = names.iter().filter(|name| name.ends_with(".tmp") || name.ends_with(".lock"));
        let keys: BTreeSet<&str> =
            left.filter_map(|name| name.split('.').next()).filter(is_key).collect();
        for key in keys {
            let lock_path = self.folder.join(format!("{key}.lock"));
            let lock = match key == own_key {
                true => None,
                false => match files.disk().lock(&lock_path) {
                    Ok(Some(lock)) => Some(lock),
                    _ => continue,
                },
            };
            let is_left = |name: &&String| name.starts_with(key) && name.ends_with(".tmp");
            for name in names.iter().filter(is_left) {
                let _ = files.disk().remove_file(&self.folder.join(name));
            }
            if lock.is_some() {
                let _ = files.disk().remove_file(&lock_path);
            }
        }
    }
}

/// Compares the numbers in a file with the hash behind them; `None` where it is not theirs.
fn hashed_numbers(file: &mut dyn Read, length: u64) -> std::io::Result<Option<u64>> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut left = length;
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let chunk = buffer.get_mut(..n).unwrap_or_default();
        file.read_exact(chunk)?;
        hash.update(chunk);
        left -= n as u64;
    }
    let mut written = [0; HASH as usize];
    file.read_exact(&mut written)?;
    Ok((hash.finalize()[..] == written && length.is_multiple_of(4)).then_some(length / 4))
}

/// A name for what is made of a file as it is now.
fn key(path: &Path, parts: &[&str]) -> Result<String> {
    let failed = |e| Error::file("read", path, e);
    let metadata = path.metadata().map_err(failed)?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let mut hash = Sha256::new();
    let whole = path.canonicalize().map_err(failed)?;
    hash.update(whole.as_os_str().as_encoded_bytes());
    hash.update(format!("\0{}\0{changed:?}", metadata.len()));
    #[cfg(unix)]
    {
        // The time of modification can be set to what it was; these say that the file is another.
        use std::os::unix::fs::MetadataExt as _;
        let (device, inode) = (metadata.dev(), metadata.ino());
        let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
        hash.update(format!("\0{device}\0{inode}\0{seconds}\0{nanoseconds}"));
    }
    for part in parts {
        hash.update(b"\0");
        hash.update(part);
    }
    Ok(crate::hexadecimal(&hash.finalize()).chars().take(KEY).collect())
}

/// A file of numbers, and their SHA-256, that is there whole or not at all.
struct Writer {
    files: Files,
    path: PathBuf,
    beside: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    bytes: Vec<u8>,
    hash: Sha256,
}

impl Writer {
    fn new(path: &Path) -> Result<Self> {
        let files = Files::default();
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        let _ = files.disk().remove_file(&beside);
        let file =
            files.disk().create_new(&beside).map_err(|e| Error::file("write", &beside, e))?;
        Ok(Self {
            files,
            path: path.to_owned(),
            beside,
            file: Some(file),
            bytes: Vec::new(),
            hash: Sha256::new(),
        })
    }

    fn append(&mut self, values: &[f32]) -> Result {
        self.bytes.clear();
        self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.hash.update(&self.bytes);
        match &mut self.file {
            Some(file) => {
                file.append(&self.bytes).map_err(|e| Error::file("write", &self.beside, e))
            }
            None => Ok(()),
        }
    }

    fn commit(mut self) -> Result {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let disk: &dyn Disk = self.files.disk();
        let hash = std::mem::take(&mut self.hash).finalize();
        let renamed = file.append(&hash).and_then(|()| file.sync()).and_then(|()| {
            drop(file);
            disk.rename(&self.beside, &self.path)
        });
        renamed.map_err(|e| Error::file("write", &self.path, e))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = self.files.disk().remove_file(&self.beside);
    }
}
