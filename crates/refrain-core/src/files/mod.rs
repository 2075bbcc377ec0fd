//! Reading and replacing files so that no crash leaves half of one.

mod behind;
mod disk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

use behind::Behind;
pub use disk::{Disk, DiskFile, Kind, Lock, RealDisk};

/// How files are read and written: whole or not at all. Everything that Refrain writes goes through
/// one of these, so that it can be tried on a disk that fails.
///
/// A callback gets the run's by [`Run::files`](crate::Run::files). Cloning is cheap.
///
/// # Example
/// ```
/// use refrain_core::files::Files;
///
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("new/notes.txt");
/// let files = Files::default();
/// files.write_atomically(&path, b"one")?;
/// files.write_atomically(&path, b"two")?;
/// assert_eq!(files.read(&path, 100)?, b"two");
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Files {
    disk: Arc<dyn Disk>,
    behind: Option<Behind>,
}

impl Default for Files {
    /// The machine's own.
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk), behind: Some(Behind::default()) }
    }
}

impl Files {
    /// Files on this disk. All is done at once, in the order in which it is asked for.
    pub fn on(disk: impl Disk + 'static) -> Self {
        Self { disk: Arc::new(disk), behind: None }
    }

    /// The disk.
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Replaces `path` by `bytes`: at every instant it holds the old bytes or the new ones.
    ///
    /// Writes a file beside it, syncs it, renames it over `path` and syncs the folder. Folders that
    /// are missing are made. A symbolic link stays one: what it points to is replaced.
    ///
    /// # Errors
    /// When anything fails, naming path and reason; `path` is as it was and nothing is left beside
    /// it.
    pub fn write_atomically(&self, path: &Path, bytes: &[u8]) -> Result {
        self.create_folders(folder_of(path))?;
        self.replace(path, bytes).map_err(|e| Error::file("write", path, e))
    }

    /// As [`write_atomically`](Self::write_atomically), but on the machine's own disk in a thread:
    /// for files that are written again and again, and that nobody waits for. Where the next bytes
    /// come before these are written, these are left out. A kill in between leaves the file as it
    /// was.
    ///
    /// # Errors
    /// When these bytes or earlier ones, of which nobody was told yet, could not be written. The last
    /// word is [`flush`](Self::flush)'s.
    pub fn write_behind(&self, path: &Path, bytes: Vec<u8>) -> Result {
        match &self.behind {
            Some(behind) => behind.write(&Self { behind: None, ..self.clone() }, path, bytes),
            None => self.write_atomically(path, &bytes),
        }
    }

    /// Waits until `path` holds what was [written](Self::write_behind) last.
    ///
    /// # Errors
    /// When that could not be written.
    pub fn flush(&self, path: &Path) -> Result {
        self.behind.as_ref().map_or(Ok(()), |behind| behind.flush(path))
    }

    /// Waits until nothing is [written](Self::write_behind) any more, well or not.
    pub(crate) fn finish(&self) {
        if let Some(behind) = &self.behind {
            behind.finish();
        }
    }

    /// As [`write_atomically`](Self::write_atomically), for errors of one's own; the folder must
    /// exist.
    ///
    /// # Errors
    /// What the operating system says; or that `path` is a folder, a device, a pipe.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.refuse_special(path)?;
        // Without this a link would be replaced by a file.
        let target = match self.disk.kind(path) {
            Ok(Kind::Link) => self.disk.resolve(path)?,
            Err(e) if !is_absence(&e) => return Err(e),
            _ => path.to_owned(),
        };
        let (beside, mut file) = self.create_beside(&target)?;
        let written = file.append(bytes).and_then(|()| file.sync()).and_then(|()| {
            // Windows renames no open file.
            drop(file);
            self.disk.rename(&beside, &target)
        });
        if written.is_err() {
            // Best effort: the first error is the one to report.
            let _ = self.disk.remove_file(&beside);
            return written;
        }
        self.disk.sync_folder(folder_of(&target))
    }

    /// Cuts `path` to `length` bytes and appends `bytes`: for files that grow by lines and may be
    /// watched meanwhile. Folders and the file are made where they are missing.
    ///
    /// A kill in between leaves at most a part of `bytes`, which the next call cuts off. What was
    /// written is durable when this returns.
    ///
    /// # Errors
    /// When anything fails, naming path and reason.
    pub fn append_at(&self, path: &Path, length: u64, bytes: &[u8]) -> Result {
        self.create_folders(folder_of(path))?;
        let append = || {
            self.refuse_special(path)?;
            let mut file = self.disk.open(path)?;
            if file.len()? > length {
                file.set_len(length)?;
            }
            file.append(bytes)?;
            file.sync()
        };
        append().map_err(|e| Error::file("write", path, e))
    }

    /// Removes a file; one that is gone already is as well.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self, path: &Path) -> Result {
        match self.disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Makes a folder and those above it, where they are missing, and their names durable.
    ///
    /// # Errors
    /// When one cannot be made, naming it.
    pub fn create_folders(&self, folder: &Path) -> Result {
        match self.disk.create_folder(folder) {
            Ok(()) => self.sync_name(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
                let above = above.ok_or_else(|| Error::file("create the folder", folder, error))?;
                self.create_folders(above)?;
                match self.disk.create_folder(folder) {
                    Ok(()) => self.sync_name(folder),
                    // Somebody else was faster.
                    Err(_) if self.is_folder(folder) => Ok(()),
                    Err(error) => Err(Error::file("create the folder", folder, error)),
                }
            }
            // There already; or a root, which cannot be made.
            Err(_) if self.is_folder(folder) => Ok(()),
            Err(error) => Err(Error::file("create the folder", folder, error)),
        }
    }

    fn sync_name(&self, path: &Path) -> Result {
        let folder = folder_of(path);
        self.disk.sync_folder(folder).map_err(|e| Error::file("sync the folder", folder, e))
    }

    fn is_folder(&self, path: &Path) -> bool {
        matches!(self.followed(path), Ok(Kind::Folder))
    }

    /// Reads a whole file of at most `max_bytes`.
    ///
    /// # Errors
    /// When it cannot be read, is no regular file or is larger; the message names it.
    pub fn read(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        if let Ok(Kind::File(length)) = self.followed(path)
            && length > max_bytes
        {
            return Err(Error::data(format!(
                "`{}` has {length} bytes; allowed: at most {max_bytes}",
                path.display()
            )));
        }
        self.contents(path).map_err(|e| Error::file("read", path, e))
    }

    /// As [`read`](Self::read), of any length, for errors of one's own.
    ///
    /// # Errors
    /// What the operating system says; or that `path` is a folder, a device, a pipe, which might
    /// never end.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.refuse_special(path)?;
        self.disk.read(path)
    }

    /// Whether something stands under `path`.
    ///
    /// # Errors
    /// When that cannot be found out: what is there must not be taken for what is not.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        match self.disk.kind(path) {
            Ok(_) => Ok(true),
            Err(e) if is_absence(&e) => Ok(false),
            Err(e) => Err(Error::file("look at", path, e)),
        }
    }

    /// Names in a folder; none where there is no folder.
    ///
    /// # Errors
    /// When it cannot be read, naming it.
    pub(crate) fn names(&self, folder: &Path) -> Result<Vec<String>> {
        match self.disk.list(folder) {
            Err(e) if is_absence(&e) => Ok(Vec::new()),
            listed => listed.map_err(|e| Error::file("read the folder", folder, e)),
        }
    }

    /// Refuses a path at which no file can be written, before the work that leads to it.
    ///
    /// # Errors
    /// When a folder, a device or a pipe is there.
    pub fn can_be_written(&self, path: &Path) -> Result {
        self.refuse_special(path).map_err(|e| Error::file("write", path, e))
    }

    /// What a path leads to.
    fn followed(&self, path: &Path) -> io::Result<Kind> {
        match self.disk.kind(path)? {
            Kind::Link => self.disk.kind(&self.disk.resolve(path)?),
            kind => Ok(kind),
        }
    }

    /// A device or pipe under a file's name would be replaced, or never end: refuse it.
    fn refuse_special(&self, path: &Path) -> io::Result<()> {
        let what = match self.followed(path) {
            Ok(Kind::Folder) => "it is a folder; name a file",
            Ok(Kind::Other) => "it is no regular file; name a file in a folder",
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }

    /// A new file in the folder of `target`. Its name is short, so that a name as long as the file
    /// system allows can be written too.
    fn create_beside(&self, target: &Path) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let n = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{BESIDE}{}-{n}.tmp", std::process::id());
            let beside = folder_of(target).join(name);
            match self.disk.create_new(&beside) {
                Ok(file) => return Ok((beside, file)),
                // Left behind by a killed process that had the same id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether nothing stands under a path; or under a file, where nothing can.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Beginning of the names of files that are written beside another.
const BESIDE: &str = ".refrain-";

/// Whether a file of this name is what a killed process has left of replacing another.
pub(crate) fn is_left_beside(name: &str) -> bool {
    let numbers = name.strip_prefix(BESIDE).and_then(|rest| rest.strip_suffix(".tmp"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers
        .and_then(|numbers| numbers.split_once('-'))
        .is_some_and(|(process, n)| is_number(process) && is_number(n))
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/log.json");
        for text in ["one", "two"] {
            Files::default().write_atomically(&path, text.as_bytes()).unwrap();
            assert_eq!(Files::default().read(&path, 100).unwrap(), text.as_bytes());
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_written_survives_a_power_cut_in_a_new_folder_too() {
        let disk = crate::testing::SimulatedDisk::new(512);
        let path = Path::new("/new/newer/file");
        Files::on(disk.clone()).write_atomically(path, b"text").unwrap();
        assert_eq!(disk.after_power_cut(&[]).read(path).unwrap(), b"text");
    }

    #[test]
    fn lines_are_appended_where_the_whole_ones_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/log.csv");
        Files::default().append_at(&path, 0, b"a\n").unwrap();
        fs::write(&path, "a\nhalf a li").unwrap();
        Files::default().append_at(&path, 2, b"b\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a\nb\n");
        assert!(Files::default().append_at(folder.path(), 0, b"").is_err());
        Files::default().remove(&path).unwrap();
        Files::default().remove(&path).unwrap();
        assert!(!path.exists());
        assert!(Files::default().remove(folder.path()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Files::default().write_atomically(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_failure_names_the_path_and_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        for bad in [folder.path().to_path_buf(), file.join("below"), PathBuf::from("/dev/full")] {
            let error = Files::default().write_atomically(&bad, b"new").unwrap_err().to_string();
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
