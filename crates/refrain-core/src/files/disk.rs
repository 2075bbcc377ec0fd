//! The seam to the file system: what the rest asks of it, and the real one.

use std::any::Any;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What stands under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a pipe, a socket.
    Other,
}

/// Held as long as it lives; given back when it is dropped, and when its process dies.
pub type Lock = Box<dyn Any + Send + Sync>;

/// The operations that Refrain needs of a file system. Everything that it writes goes through one
/// of these: the machine's own ([`RealDisk`]), or one in memory that can be cut off at any
/// operation ([`SimulatedDisk`](crate::testing::SimulatedDisk)).
///
/// What counts as durable: the bytes of a file after [`DiskFile::sync`], the names in a folder after
/// [`sync_folder`](Self::sync_folder). Nothing else is promised to survive a power cut.
pub trait Disk: fmt::Debug + Send + Sync {
    /// What stands under `path`; a link is not followed.
    ///
    /// # Errors
    /// `NotFound` where nothing does.
    fn kind(&self, path: &Path) -> io::Result<Kind>;

    /// The path that `path` leads to when all links are followed.
    ///
    /// # Errors
    /// When it leads nowhere.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Names in a folder, in any order.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes a file that is not there.
    ///
    /// # Errors
    /// `AlreadyExists` where something is.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to write at its end; makes it where it is missing.
    ///
    /// # Errors
    /// When it cannot be written.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a regular file to [write over](DiskFile::write_at) what it holds.
    ///
    /// # Errors
    /// `NotFound` where nothing is. Where writing over it could reach somebody else: it is no regular
    /// file, has another name too, or the system does not tell.
    fn open_to_reuse(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file or a folder another name, in one step; a file of that name is replaced.
    ///
    /// # Errors
    /// When it cannot be done; then nothing has changed.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` where none is.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// When it is not empty.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes one folder in a folder that is there.
    ///
    /// # Errors
    /// `AlreadyExists` where something is.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock of a file, which is made where it is missing; `None` where another process, or
    /// another part of this one, holds it.
    ///
    /// # Errors
    /// When the file cannot be made, or the file system has no locks.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it is empty.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// What the operating system says; a part may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes at a place, over what is there and beyond the end.
    ///
    /// # Errors
    /// What the operating system says; a part may have been written.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file off, or fills it up with zeros.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Makes all bytes durable. After an error nothing is known of them, and a second call proves
    /// nothing: write another file.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(if metadata.is_file() {
            Kind::File(metadata.len())
        } else if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_symlink() {
            Kind::Link
        } else {
            Kind::Other
        })
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        // A length that no memory has is an error, not an abort.
        bytes.try_reserve_exact(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        fs::read_dir(folder)?.map(name).collect()
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Box::new(file))
    }

    fn open_to_reuse(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if !matches!(self.kind(path)?, Kind::File(_)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
        }
        let file = OpenOptions::new().write(true).open(path)?;
        if !has_one_name(&file)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has another name too"));
        }
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // Windows opens no folders; there a rename is durable when the system says so.
        if cfg!(windows) {
            return Ok(());
        }
        match File::open(path)?.sync_all() {
            // Some network file systems sync no folders. The content is safe all the same.
            Err(error) if is_unsupported(&error) => Ok(()),
            synced => synced,
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            // Removed by its holder since it was opened: the next one makes another.
            Ok(()) if !is_there(&file, path)? => Ok(None),
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Whether a file would be gone with its name.
#[cfg(unix)]
fn has_one_name(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.nlink() == 1)
}

/// It cannot be told there.
#[cfg(not(unix))]
fn has_one_name(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// Whether `path` is still a name of this file.
#[cfg(unix)]
fn is_there(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let held = file.metadata()?;
    let named = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        named => named?,
    };
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

/// An open file cannot be removed there.
#[cfg(not(unix))]
fn is_there(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(at))?;
        self.write_all(bytes)?;
        self.seek(SeekFrom::End(0)).map(drop)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)?;
        self.seek(SeekFrom::End(0)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
