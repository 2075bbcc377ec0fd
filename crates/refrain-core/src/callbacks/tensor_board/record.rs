//! Event files: records with checksums, in a file of a run's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use twox_hash::XxHash3_128;

use super::event::{Encoder, Tag};
use super::histogram::Histogram;
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::files::{Disk, DiskFile, Files};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

/// Seconds after which a long epoch's numbers are written, so that they can be watched.
const MOST_SECONDS: f64 = 10.0;

/// Writes events into one file, which it made itself.
///
/// Nothing is written per event: events are collected and written out when there are 64 KiB of
/// them, when ten seconds have gone by, and on [`flush`](Self::flush).
#[derive(Debug)]
pub(super) struct EventWriter {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    encoder: Encoder,
    buffer: Vec<u8>,
    /// Bytes that were written.
    length: u64,
    written_at: f64,
    /// A write failed, and was told: a record that may be there in part must stay the last.
    is_broken: bool,
}

impl EventWriter {
    /// A new file in `folder`, which is made where it is missing. An old file is never gone on
    /// with: TensorBoard reads all of a folder, in the order of their names.
    ///
    /// `token` is in its name. `from_step`: the run goes on; what readers have of this step and later
    /// ones does not count.
    pub(super) fn create(
        files: &Files,
        folder: &Path,
        token: &str,
        from_step: Option<u64>,
    ) -> Result<Self> {
        files.create_folders(folder)?;
        let (path, file) = create_file(files.disk(), folder, token)?;
        let mut writer = Self::over(path, file);
        // Written at once, so that a disk that takes nothing is found before training.
        writer.put(|encoder| encoder.file_version(now()));
        if let Some(step) = from_step {
            writer.put(|encoder| encoder.session_start(now(), step));
        }
        writer.flush()?;
        Ok(writer)
    }

    fn over(path: PathBuf, file: Box<dyn DiskFile>) -> Self {
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        let encoder = Encoder::default();
        Self { path, file, encoder, buffer, length: 0, written_at: now(), is_broken: false }
    }

    /// The file's name, and its bytes that are whole.
    pub(super) fn written(&self) -> (String, u64) {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        (name.unwrap_or_default(), self.length)
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) -> Result {
        self.flush()?;
        let synced = if self.is_broken { Ok(()) } else { self.file.sync() };
        self.is_broken |= synced.is_err();
        synced.map_err(|e| Error::file("sync", &self.path, e))
    }

    pub(super) fn scalar(&mut self, at: f64, step: u64, tag: Tag<'_>, value: f64) -> Result {
        self.put(|encoder| encoder.scalar(at, step, tag, value));
        self.flush_when_due(at)
    }

    pub(super) fn histogram(
        &mut self,
        at: f64,
        step: u64,
        tag: Tag<'_>,
        histogram: &Histogram,
    ) -> Result {
        self.put(|encoder| encoder.histogram(at, step, tag, histogram));
        self.flush_when_due(at)
    }

    pub(super) fn plugin(&mut self, at: f64, tag: Tag<'_>, plugin: &str, content: &[u8]) -> Result {
        self.put(|encoder| encoder.plugin(at, tag, plugin, content));
        self.flush_when_due(at)
    }

    /// Hands everything to the operating system.
    pub(super) fn flush(&mut self) -> Result {
        self.written_at = now();
        let written = if self.is_broken { Ok(()) } else { self.file.append(&self.buffer) };
        self.is_broken |= written.is_err();
        if !self.is_broken {
            self.length += self.buffer.len() as u64;
        }
        self.buffer.clear();
        written.map_err(|e| Error::file("write", &self.path, e))
    }

    fn put(&mut self, encode: impl FnOnce(&mut Encoder) -> &[u8]) {
        put_record(&mut self.buffer, encode(&mut self.encoder));
    }

    fn flush_when_due(&mut self, at: f64) -> Result {
        if self.buffer.len() >= BUFFER_BYTES || at - self.written_at > MOST_SECONDS {
            self.flush()?;
        }
        Ok(())
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// `events.out.tfevents.<seconds>.<host>.<process>.<number>.<token>`, a name that sorts behind those
/// that are there already.
fn create_file(
    disk: &dyn Disk,
    folder: &Path,
    token: &str,
) -> Result<(PathBuf, Box<dyn DiskFile>)> {
    let host = host_name();
    let mut seconds = now() as u64;
    if let Some(newest) =
        newest(disk, folder).map_err(|e| Error::file("read the folder", folder, e))?
    {
        // Two runs within a second, or a clock that was set back.
        seconds = seconds.max(newest + 1);
    }
    let process = std::process::id();
    for number in 0_u64.. {
        let name = format!("{PREFIX}{seconds:010}.{host}.{process}.{number}.{token}");
        let path = folder.join(name);
        match disk.create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::file("create", &path, error)),
        }
    }
    Err(Error::msg(format!("no name is free in `{}`", folder.display())))
}

const PREFIX: &str = "events.out.tfevents.";

/// What is in the names of the files of one run and of no other: 16 hexadecimal digits.
pub(super) fn new_token() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = format!("{} {}", since.as_nanos(), std::process::id());
    format!("{:016x}", XxHash3_128::oneshot(text.as_bytes()) as u64)
}

/// Whether an event file was made by the run with this token.
pub(super) fn is_of_run(name: &str, token: &str) -> bool {
    !token.is_empty() && name.starts_with(PREFIX) && name.rsplit('.').next() == Some(token)
}

/// The seconds in the name of the newest event file.
fn newest(disk: &dyn Disk, folder: &Path) -> io::Result<Option<u64>> {
    let mut newest = None;
    for name in disk.list(folder)? {
        let seconds = name.strip_prefix(PREFIX).and_then(|rest| rest.split('.').next());
        // Ten digits: until the year 2286; whoever made another name did not mean seconds.
        let seconds = seconds.filter(|digits| digits.len() == 10).and_then(|s| s.parse().ok());
        newest = newest.max(seconds);
    }
    Ok(newest)
}

/// Only part of the file's name: any word will do where the system does not say.
fn host_name() -> String {
    let of_kernel = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = of_kernel
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let name: String = name.trim().chars().filter(is_plain).take(63).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// `length, checksum of the length, data, checksum of the data`, little endian.
pub(super) fn put_record(out: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked_crc32c(&length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&masked_crc32c(data).to_le_bytes());
}

/// What an event file of TensorBoard's holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventRecords {
    /// Records that are whole.
    pub records: usize,
    /// Bytes of one behind them that was not written to its end: a kill leaves that.
    pub torn: usize,
}

impl EventRecords {
    /// Checks the checksums of an event file's bytes, whoever wrote it.
    ///
    /// # Example
    /// ```
    /// use refrain_core::callbacks::EventRecords;
    ///
    /// let found = EventRecords::check(b"no record, but long enough").unwrap_err();
    /// assert!(found.to_string().contains("record 1"));
    /// assert_eq!(EventRecords::check(b"short")?, EventRecords { records: 0, torn: 5 });
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When a record is not as it was written; the message gives its number and place.
    pub fn check(bytes: &[u8]) -> Result<Self> {
        let mut found = Self::default();
        let mut rest = bytes;
        loop {
            found.torn = rest.len();
            let Some((length, after)) = sealed(rest, LENGTH_BYTES) else {
                return Ok(found);
            };
            let damaged = |what: &str| {
                Error::data(format!(
                    "{what} of record {} (byte {}) does not have its checksum",
                    found.records + 1,
                    bytes.len() - rest.len()
                ))
            };
            let length = length.ok_or_else(|| damaged("the length"))?;
            let length = length.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((data, after)) = sealed(after, length) else {
                return Ok(found);
            };
            data.ok_or_else(|| damaged("the data"))?;
            found.records += 1;
            rest = after;
        }
    }
}

/// Bytes of a record's length.
const LENGTH_BYTES: usize = 8;

/// The next bytes, where the checksum behind them is theirs, and what comes after it; `None` where
/// there are not as many.
fn sealed(bytes: &[u8], length: usize) -> Option<(Option<&[u8]>, &[u8])> {
    let (data, rest) = bytes.split_at_checked(length)?;
    let (checksum, after) = rest.split_first_chunk()?;
    let is_right = masked_crc32c(data) == u32::from_le_bytes(*checksum);
    Some((is_right.then_some(data), after))
}

/// A CRC of data that holds CRCs is weak; TensorFlow's records rotate it and add a constant.
fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_masked() {
        assert_eq!(masked_crc32c(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn every_flipped_bit_of_an_event_file_is_found_and_a_cut_is_no_damage() {
        let mut file = Vec::new();
        for data in [&b"first"[..], b"", b"the third"] {
            put_record(&mut file, data);
        }
        assert_eq!(EventRecords::check(&file).unwrap(), EventRecords { records: 3, torn: 0 });
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = EventRecords::check(&damaged).unwrap_err().to_string();
            let (record, at) = match bit / 8 {
                0..21 => (1, 0),
                21..37 => (2, 21),
                _ => (3, 37),
            };
            assert!(found.contains(&format!("record {record} (byte {at})")), "{bit}: {found}");
        }
        for length in 0..file.len() {
            let whole = [21, 37].iter().filter(|end| length >= **end).count();
            let found = EventRecords::check(&file[..length]).unwrap();
            let begin = [0, 21, 37][whole];
            assert_eq!(found, EventRecords { records: whole, torn: length - begin });
        }
    }

    #[test]
    fn a_new_file_sorts_behind_the_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        // A clock that was set back, and files that others left.
        let ahead = format!("{PREFIX}9000000000.host.1.0");
        for name in [ahead.as_str(), "events.out.tfevents.x", "events.out.tfevents.99999999999.h"] {
            fs::write(folder.path().join(name), "old").unwrap();
        }
        let mut names = vec![ahead];
        for _ in 0..12 {
            let writer =
                EventWriter::create(&Files::default(), folder.path(), "1a2b", None).unwrap();
            names.push(writer.path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn nothing_is_written_per_event() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer =
            EventWriter::create(&Files::default(), folder.path(), "1a2b", None).unwrap();
        let length = |writer: &EventWriter| fs::metadata(&writer.path).unwrap().len();
        assert_eq!(length(&writer), 40);
        let at = writer.written_at;
        let mut writes = 0;
        for step in 0..10_000 {
            let before = length(&writer);
            writer.scalar(at, step, Tag::new("batch_", "loss", ""), 0.5).unwrap();
            writes += u32::from(length(&writer) != before);
        }
        // 10,000 records of 48 bytes.
        assert_eq!(writes, 7);
        let before = length(&writer);
        writer.scalar(at + 11.0, 0, Tag::new("batch_", "loss", ""), 0.5).unwrap();
        assert!(length(&writer) > before, "a long epoch can be watched");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_with_the_file() {
        let path = PathBuf::from("/dev/full");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mut writer = EventWriter::over(path, Box::new(file));
        writer.scalar(now(), 0, Tag::new("epoch_", "loss", ""), 0.5).unwrap();
        let error = writer.flush().unwrap_err().to_string();
        assert!(error.starts_with("cannot write `/dev/full`: No space left"), "{error}");
        // Told once: ending the run does not fail again.
        writer.scalar(now(), 1, Tag::new("epoch_", "loss", ""), 0.5).unwrap();
        writer.flush().unwrap();
    }
}
