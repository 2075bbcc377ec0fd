//! Reading and replacing files so that no crash leaves half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Replaces `path` by `bytes`: at every instant it holds the old bytes or the new ones.
///
/// Writes a file beside it, syncs it, renames it over `path` and syncs the folder. Folders that
/// are missing are made.
///
/// # Errors
/// When anything fails, naming path and reason; `path` is as it was and nothing is left beside it.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result {
    let fail = |source| Error::file("write", path, source);
    refuse_special(path)?;
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(|e| Error::file("create the folder", folder, e))?;
    let beside = beside(path).map_err(fail)?;
    let written = write_synced(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if let Err(source) = written {
        // Best effort: the first error is the one to report.
        let _ = fs::remove_file(&beside);
        return Err(fail(source));
    }
    sync_folder(folder).map_err(fail)
}

/// Reads a whole file of at most `max_bytes`.
///
/// # Errors
/// When it cannot be read, is no regular file or is larger; the message names it.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let fail = |source| Error::file("read", path, source);
    refuse_special(path)?;
    let mut file = File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    if length > max_bytes {
        return Err(Error::data(format!(
            "`{}` has {length} bytes; allowed: at most {max_bytes}",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// A device or pipe under a file's name would be replaced, or never end: refuse it.
fn refuse_special(path: &Path) -> Result {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(Error::config(format!(
            "`{}` is {}; name a file",
            path.display(),
            if metadata.is_dir() { "a folder" } else { "no regular file" }
        ))),
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A name in the same folder that no other writer uses.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut beside = std::ffi::OsString::from(".");
    // A name near the limit of 255 bytes leaves no room for the suffix: its start is enough.
    if name.len() <= 200 {
        beside.push(name);
    }
    beside.push(format!(".{}-{n}.tmp", std::process::id()));
    Ok(folder_of(path).join(beside))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/log.json");
        for text in ["one", "two"] {
            write_atomically(&path, text.as_bytes()).unwrap();
            assert_eq!(read(&path, 100).unwrap(), text.as_bytes());
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_names_the_path_and_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        for bad in [folder.path().to_path_buf(), file.join("below"), PathBuf::from("/dev/full")] {
            let error = write_atomically(&bad, b"new").unwrap_err().to_string();
            assert!(
                error.contains(bad.file_name().unwrap().to_str().unwrap())
                    || error.contains("file"),
                "{error}"
            );
        }
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
