//! Reading and replacing files so that no crash leaves half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Replaces `path` by `bytes`: at every instant it holds the old bytes or the new ones.
///
/// Writes a file beside it, syncs it, renames it over `path` and syncs the folder. Folders that
/// are missing are made. A symbolic link stays one: what it points to is replaced.
///
/// # Errors
/// When anything fails, naming path and reason; `path` is as it was and nothing is left beside it.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(|e| Error::file("create the folder", folder, e))?;
    replace(path, bytes).map_err(|e| Error::file("write", path, e))
}

/// As [`write_atomically`], for errors of one's own; the folder must exist.
///
/// # Errors
/// What the operating system says; or that `path` is a folder, a device, a pipe.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    refuse_special(path)?;
    // Without this a link would be replaced by a file.
    let target = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => fs::canonicalize(path)?,
        _ => path.to_owned(),
    };
    let (beside, mut file) = create_beside(&target)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| {
        // Windows renames no open file.
        drop(file);
        fs::rename(&beside, &target)
    });
    if written.is_err() {
        // Best effort: the first error is the one to report.
        let _ = fs::remove_file(&beside);
        return written;
    }
    sync_folder(folder_of(&target));
    Ok(())
}

/// Cuts `path` to `length` bytes and appends `bytes`: for files that grow by lines and may be
/// watched meanwhile. Folders and the file are made where they are missing.
///
/// A kill in between leaves at most a part of `bytes`, which the next call cuts off.
///
/// # Errors
/// When anything fails, naming path and reason.
pub fn append_at(path: &Path, length: u64, bytes: &[u8]) -> Result {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(|e| Error::file("create the folder", folder, e))?;
    let append = || {
        refuse_special(path)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() > length {
            file.set_len(length)?;
        }
        file.seek(SeekFrom::End(0))?;
        file.write_all(bytes)
    };
    append().map_err(|e| Error::file("write", path, e))
}

/// Removes a file; one that is gone already is as well.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(path: &Path) -> Result {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Reads a whole file of at most `max_bytes`.
///
/// # Errors
/// When it cannot be read, is no regular file or is larger; the message names it.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length > max_bytes {
        return Err(Error::data(format!(
            "`{}` has {length} bytes; allowed: at most {max_bytes}",
            path.display()
        )));
    }
    contents(path).map_err(|e| Error::file("read", path, e))
}

/// As [`read`], of any length, for errors of one's own.
///
/// # Errors
/// What the operating system says; or that `path` is a folder, a device, a pipe, which might never
/// end.
pub fn contents(path: &Path) -> io::Result<Vec<u8>> {
    refuse_special(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses a path at which no file can be written, before the work that leads to it.
///
/// # Errors
/// When a folder, a device or a pipe is there.
pub fn can_be_written(path: &Path) -> Result {
    refuse_special(path).map_err(|e| Error::file("write", path, e))
}

/// A device or pipe under a file's name would be replaced, or never end: refuse it.
fn refuse_special(path: &Path) -> io::Result<()> {
    let what = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => "it is a folder; name a file",
        Ok(metadata) if !metadata.is_file() => "it is no regular file; name a file in a folder",
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A new file in the folder of `target`. Its name is short, so that a name as long as the file
/// system allows can be written too.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let beside = folder_of(target).join(format!(".refrain-{}-{n}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Ok(file) => return Ok((beside, file)),
            // Left behind by a killed process that had the same id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the rename itself durable. Where a folder cannot be opened or synced (Windows, some
/// network file systems) the file's content is safe all the same.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
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
    fn lines_are_appended_where_the_whole_ones_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/log.csv");
        append_at(&path, 0, b"a\n").unwrap();
        fs::write(&path, "a\nhalf a li").unwrap();
        append_at(&path, 2, b"b\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a\nb\n");
        assert!(append_at(folder.path(), 0, b"").is_err());
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
        assert!(remove(folder.path()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
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
