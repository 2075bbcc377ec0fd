//! Writing a file so that at every instant either the old or the new one is there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `bytes` beside `path`, syncs them to the disk and renames them over it.
///
/// On an error the temporary file is removed and `path` is as it was. A symbolic
/// link stays one: what it points to is replaced.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Without this a link would be replaced by a file.
    let target = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => fs::canonicalize(path)?,
        _ => path.to_owned(),
    };
    let (temporary, mut file) = create_beside(&target)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| {
        // Windows renames no open file.
        drop(file);
        fs::rename(&temporary, &target)
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_folder(&target);
    Ok(())
}

/// A new file in the folder of `target`. Its name is short, so that a name as long
/// as the file system allows can be written too.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let mut name = OsString::from(".refrain-plot-");
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        name.push(format!("{}-{count}.tmp", std::process::id()));
        let temporary = target.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            // Left behind by a killed process that had the same id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the rename itself durable. Where a folder cannot be opened or synced
/// (Windows, some network file systems) the file's content is safe all the same.
fn sync_folder(target: &Path) {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.svg");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.svg"]);
    }

    #[test]
    fn an_error_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a.svg")).unwrap();
        assert!(write(&folder.path().join("a.svg"), b"new").is_err());
        assert!(write(&folder.path().join("no/a.svg"), b"new").is_err());
        assert_eq!(names(folder.path()), ["a.svg"]);
    }

    #[test]
    fn the_longest_name_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}.svg", "a".repeat(251));
        write(&folder.path().join(&name), b"new").unwrap();
        assert_eq!(names(folder.path()), [name]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link.svg");
        fs::write(folder.path().join("a.svg"), b"old").unwrap();
        std::os::unix::fs::symlink("a.svg", &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("a.svg"));
        assert_eq!(fs::read(folder.path().join("a.svg")).unwrap(), b"new");
    }
}
