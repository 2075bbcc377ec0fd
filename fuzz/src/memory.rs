//! A disk in memory: nothing fails, nothing is lost, and a copy of it is made at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use refrain_core::files::{Disk, DiskFile, Kind, Lock};

/// What is on the disk; `None`: a folder.
type Nodes = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl Default for MemoryDisk {
    /// With nothing but the root.
    fn default() -> Self {
        Self::with(Nodes::from([(PathBuf::from("/"), None)]))
    }
}

struct State {
    nodes: Nodes,
    locks: BTreeSet<PathBuf>,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.state().nodes.keys()).finish()
    }
}

impl MemoryDisk {
    fn with(nodes: Nodes) -> Self {
        Self(Arc::new(Mutex::new(State { nodes, locks: BTreeSet::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Another disk with the same content, and no locks.
    pub fn copy(&self) -> Self {
        Self::with(self.state().nodes.clone())
    }

    /// The bytes of the file under `path`.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.state().nodes.get(path.as_ref())?.clone()
    }

    /// Puts a file there, and the folders above it.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = path.as_ref();
        for above in path.ancestors().skip(1) {
            self.state().nodes.entry(above.to_owned()).or_default();
        }
        self.state().nodes.insert(path.to_owned(), Some(bytes.to_vec()));
    }

    /// All files and their bytes.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let file = |(path, node): (&PathBuf, &Option<Vec<u8>>)| Some((path.clone(), node.clone()?));
        state.nodes.iter().filter_map(file).collect()
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    fn below(&self, folder: &Path) -> Vec<PathBuf> {
        let paths = self.nodes.keys().filter(|path| path.starts_with(folder) && *path != folder);
        paths.cloned().collect()
    }

    fn create(&mut self, path: &Path, node: Option<Vec<u8>>) -> io::Result<()> {
        if self.nodes.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match path.parent().map(|above| self.nodes.get(above)) {
            Some(Some(None)) | None => {}
            Some(Some(Some(_))) => return Err(io::ErrorKind::NotADirectory.into()),
            Some(None) => return Err(missing()),
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        Ok(match self.state().nodes.get(path).ok_or_else(missing)? {
            Some(bytes) => Kind::File(bytes.len() as u64),
            None => Kind::Folder,
        })
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.kind(path).map(|_| path.to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.get(path).ok_or_else(missing)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if state.nodes.get(folder) != Some(&None) {
            return Err(missing());
        }
        let below = state.below(folder).into_iter();
        let direct = below.filter(|path| path.parent() == Some(folder));
        Ok(direct.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.state().create(path, Some(Vec::new()))?;
        Ok(Box::new(MemoryFile(self.clone(), path.to_owned())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self.kind(path) {
            Ok(Kind::File(_)) => Ok(Box::new(MemoryFile(self.clone(), path.to_owned()))),
            Ok(_) => Err(io::ErrorKind::IsADirectory.into()),
            Err(_) => self.create_new(path),
        }
    }

    fn open_to_reuse(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self.kind(path)? {
            Kind::File(_) => self.open(path),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.nodes.contains_key(from) {
            return Err(missing());
        }
        if !state.below(to).is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let moved = state.below(from).into_iter().chain([from.to_owned()]);
        for path in moved {
            let node = state.nodes.remove(&path).ok_or_else(missing)?;
            // `join` of nothing would end with a separator.
            let new = match path.strip_prefix(from) {
                Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
                _ => to.to_owned(),
            };
            state.nodes.insert(new, node);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.nodes.get(path) {
            Some(Some(_)) => drop(state.nodes.remove(path)),
            Some(None) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(missing()),
        }
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.below(path).is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        match state.nodes.get(path) {
            Some(None) => drop(state.nodes.remove(path)),
            Some(Some(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(missing()),
        }
        Ok(())
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.state().create(path, None)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // The root is always there.
        if path == Path::new("/") { Ok(()) } else { self.kind(path).map(drop) }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.open(path)?;
        let is_free = self.state().locks.insert(path.to_owned());
        let lock = || Box::new(MemoryLock(self.clone(), path.to_owned())) as Lock;
        Ok(is_free.then(lock))
    }
}

struct MemoryLock(MemoryDisk, PathBuf);

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.state().locks.remove(&self.1);
    }
}

#[derive(Debug)]
struct MemoryFile(MemoryDisk, PathBuf);

impl MemoryFile {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        match self.0.state().nodes.get_mut(&self.1) {
            Some(Some(bytes)) => Ok(f(bytes)),
            _ => Err(missing()),
        }
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|bytes| bytes.len() as u64)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|file| file.extend_from_slice(bytes))
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.with(|file| {
            let end = at + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[at..end].copy_from_slice(bytes);
        })
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.with(|file| file.resize(len, 0))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
