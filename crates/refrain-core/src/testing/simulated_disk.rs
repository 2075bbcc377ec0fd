//! A disk in memory that can be cut off at any operation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use twox_hash::XxHash3_128;

use crate::files::{Disk, DiskFile, Kind, Lock};
use crate::random;

/// A file or a folder, whatever its names.
type Inode = usize;
const ROOT: Inode = 0;

/// Up to so many effects every subset of them is enumerated: 4096.
const EXHAUSTIVE: usize = 12;

/// A disk in memory that forgets what was not made durable.
///
/// It has no mercy: each change of a name (create, remove, rename) and each block of each write is
/// an effect of its own, as is the length of a file, and a [power cut](Self::power_cuts) leaves any
/// subset of those that were not synced, in no order. So files appear empty, torn, with holes of
/// zeros, or not at all. A rename is one effect, and a name is made durable by the sync of its folder
/// alone. After a [kill](Self::after_kill) all that was done is there; either takes the locks.
///
/// It can be told to [crash](Self::crash_at) at any operation or to [fail](Self::fail_at) it, and
/// [keeps](Self::record) the disk as it was in front of each change. It has no links. A clone is the
/// same disk.
///
/// # Example
/// ```
/// use std::path::Path;
/// use refrain_core::files::{Disk as _, Files};
/// use refrain_core::testing::SimulatedDisk;
///
/// let disk = SimulatedDisk::new(512);
/// let (files, path) = (Files::on(disk.clone()), Path::new("/notes.txt"));
/// files.write_atomically(path, b"old")?;
/// assert_eq!(disk.unsynced(), 0);
///
/// disk.record();
/// // Careful: whatever a power cut leaves, it is the old text or the new one.
/// files.write_atomically(path, b"new")?;
/// for crash in disk.recorded() {
///     for left in crash.power_cuts(0, 0) {
///         assert!(matches!(left.read(path).as_deref(), Err(_) | Ok(b"old" | b"new")));
///     }
/// }
///
/// // Careless: the file may be there, as long as it should be, and hold zeros.
/// files.disk().open(Path::new("/careless.txt")).unwrap().append(b"text").unwrap();
/// let texts: Vec<_> =
///     disk.power_cuts(0, 0).filter_map(|left| left.read(Path::new("/careless.txt")).ok()).collect();
/// assert_eq!(texts, [&b""[..], b"", b"\0\0\0\0", b"text"]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<Machine>>);

/// What was asked of a [`SimulatedDisk`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// What.
    pub call: Call,
    /// Of which file or folder; of a rename the old name.
    pub path: PathBuf,
}

/// An operation of a [`Disk`](crate::files::Disk) or [`DiskFile`](crate::files::DiskFile).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names of the methods")]
pub enum Call {
    Kind,
    Resolve,
    Read,
    List,
    CreateNew,
    Open,
    OpenToReuse,
    Rename,
    RemoveFile,
    RemoveFolder,
    CreateFolder,
    SyncFolder,
    Lock,
    Len,
    Append,
    WriteAt,
    SetLen,
    Sync,
}

impl Call {
    /// Whether it changes what is there, or what is durable.
    pub fn changes(self) -> bool {
        !matches!(
            self,
            Self::Kind | Self::Resolve | Self::Read | Self::List | Self::Len | Self::OpenToReuse
        )
    }
}

/// How an operation of a [`SimulatedDisk`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The operating system's number for it: 28 is "no space left on device" on Linux.
    pub errno: i32,
    /// Whether all later operations that [change](Call::changes) something fail as well.
    pub lasts: bool,
    /// Bytes of a write that arrive before it fails.
    pub part: usize,
}

struct Machine {
    block: usize,
    /// What the process sees.
    live: Image,
    /// What survives a power cut.
    durable: Image,
    /// What makes the second the first.
    pending: Vec<Effect>,
    locks: BTreeSet<Inode>,
    operations: Vec<Operation>,
    crash_at: Option<usize>,
    failure: Option<(usize, Failure)>,
    recorded: Option<Vec<SimulatedDisk>>,
    failed_syncs: BTreeSet<Inode>,
    synced_again: Vec<PathBuf>,
}

/// All files and folders by their number, the root first. Those without a name stay: nobody sees
/// them. Cheap to clone.
#[derive(Clone)]
struct Image(Arc<Vec<Node>>);

#[derive(Clone)]
enum Node {
    File(Arc<Content>),
    Folder(Arc<BTreeMap<String, Inode>>),
}

#[derive(Default)]
struct Content {
    /// Blocks that arrived; beyond the length nobody sees them.
    bytes: Vec<u8>,
    length: usize,
    hash: OnceLock<u128>,
}

impl Clone for Content {
    /// For a change: its hash will be another.
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), length: self.length, hash: OnceLock::new() }
    }
}

impl Content {
    fn read(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(self.length, 0);
        bytes
    }

    fn hash(&self) -> u128 {
        *self.hash.get_or_init(|| XxHash3_128::oneshot(&self.read()))
    }
}

/// What an operation does to the disk; it becomes durable alone.
#[derive(Clone)]
enum Effect {
    Name { folder: Inode, name: String, inode: Inode },
    NoName { folder: Inode, name: String, inode: Inode },
    Rename { from: (Inode, String), to: (Inode, String), inode: Inode },
    Length { file: Inode, length: usize },
    Data { file: Inode, at: usize, bytes: Arc<[u8]> },
}

impl Effect {
    fn is_of_file(&self, inode: Inode) -> bool {
        matches!(self, Self::Length { file, .. } | Self::Data { file, .. } if *file == inode)
    }

    fn is_in_folder(&self, inode: Inode) -> bool {
        match self {
            Self::Name { folder, .. } | Self::NoName { folder, .. } => *folder == inode,
            Self::Rename { from, to, .. } => from.0 == inode || to.0 == inode,
            _ => false,
        }
    }

    /// What it gives a name, or takes one from.
    fn named(&self) -> Option<Inode> {
        match self {
            Self::Name { inode, .. } | Self::NoName { inode, .. } | Self::Rename { inode, .. } => {
                Some(*inode)
            }
            _ => None,
        }
    }
}

impl Image {
    fn names(&mut self, folder: Inode) -> Option<&mut BTreeMap<String, Inode>> {
        match Arc::make_mut(&mut self.0).get_mut(folder) {
            Some(Node::Folder(names)) => Some(Arc::make_mut(names)),
            _ => None,
        }
    }

    fn content(&mut self, file: Inode) -> Option<&mut Content> {
        match Arc::make_mut(&mut self.0).get_mut(file) {
            Some(Node::File(content)) => Some(Arc::make_mut(content)),
            _ => None,
        }
    }

    fn name(&mut self, folder: Inode, name: &str, inode: Inode) {
        if let Some(names) = self.names(folder) {
            names.insert(name.to_owned(), inode);
        }
    }

    /// Takes a name from what has it; not from what got it meanwhile.
    fn unname(&mut self, folder: Inode, name: &str, inode: Inode) {
        if let Some(names) = self.names(folder)
            && names.get(name) == Some(&inode)
        {
            names.remove(name);
        }
    }

    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Name { folder, name, inode } => self.name(*folder, name, *inode),
            Effect::NoName { folder, name, inode } => self.unname(*folder, name, *inode),
            Effect::Rename { from, to, inode } => {
                self.unname(from.0, &from.1, *inode);
                self.name(to.0, &to.1, *inode);
            }
            Effect::Length { file, length } => {
                if let Some(content) = self.content(*file) {
                    // What is cut off does not come back when the file grows.
                    content.bytes.truncate(*length);
                    content.length = *length;
                }
            }
            Effect::Data { file, at, bytes } => {
                if let Some(content) = self.content(*file) {
                    let end = at + bytes.len();
                    if content.bytes.len() < end {
                        content.bytes.resize(end, 0);
                    }
                    content.bytes[*at..end].copy_from_slice(bytes);
                }
            }
        }
    }

    fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                inode = *self
                    .folder(inode)?
                    .get(&*name.to_string_lossy())
                    .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            }
        }
        Ok(inode)
    }

    fn folder(&self, inode: Inode) -> io::Result<&BTreeMap<String, Inode>> {
        match self.0.get(inode) {
            Some(Node::Folder(names)) => Ok(names),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn file(&self, inode: Inode) -> io::Result<&Content> {
        match self.0.get(inode) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn walk(&self, inode: Inode, path: &Path, found: &mut dyn FnMut(PathBuf, Option<&Content>)) {
        for (name, inode) in self.folder(inode).into_iter().flatten() {
            let path = path.join(name);
            let content = self.file(*inode).ok();
            found(path.clone(), content);
            if content.is_none() {
                self.walk(*inode, &path, found);
            }
        }
    }

    fn hash(&self, inode: Inode) -> u128 {
        let Ok(names) = self.folder(inode) else {
            return self.file(inode).map_or(0, Content::hash);
        };
        let mut hash = XxHash3_128::new();
        for (name, inode) in names {
            hash.write(name.as_bytes());
            // No name holds a zero.
            hash.write(&[0, u8::from(self.folder(*inode).is_ok())]);
            hash.write(&self.hash(*inode).to_le_bytes());
        }
        hash.finish_128()
    }

    fn push(&mut self, node: Node) -> Inode {
        let nodes = Arc::make_mut(&mut self.0);
        nodes.push(node);
        nodes.len() - 1
    }
}

impl SimulatedDisk {
    /// An empty disk on which writes are torn at multiples of `block` bytes, ≥ 1; real ones tear at
    /// 512 or 4096. The smaller, the more disks a power cut may leave.
    pub fn new(block: usize) -> Self {
        let root = Node::Folder(Arc::default());
        Self::of(block, Image(Arc::new(vec![root])))
    }

    fn of(block: usize, image: Image) -> Self {
        Self(Arc::new(Mutex::new(Machine::new(block, image))))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All operations so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.machine().operations.clone()
    }

    /// From operation `index` on, counted from 0, nothing is done any more: the process is dead.
    pub fn crash_at(&self, index: usize) {
        self.machine().crash_at = Some(index);
    }

    /// Whether an operation came at or after the crash.
    pub fn has_crashed(&self) -> bool {
        let machine = self.machine();
        machine.crash_at.is_some_and(|at| machine.operations.len() > at)
    }

    /// Operation `index`, counted from 0, fails.
    pub fn fail_at(&self, index: usize, failure: Failure) {
        self.machine().failure = Some((index, failure));
    }

    /// From now on keeps the disk as it is in front of each operation that changes something.
    pub fn record(&self) {
        self.machine().recorded = Some(Vec::new());
    }

    /// The disk as it was in front of each operation that [changed](Call::changes) something since
    /// [`record`](Self::record), and last as it is.
    pub fn recorded(&self) -> Vec<Self> {
        let machine = self.machine();
        let mut recorded = machine.recorded.clone().unwrap_or_default();
        recorded.push(machine.copy());
        recorded
    }

    /// Files whose sync had failed and that were synced again: it proves nothing.
    pub fn synced_again(&self) -> Vec<PathBuf> {
        self.machine().synced_again.clone()
    }

    /// Effects that are not durable.
    pub fn unsynced(&self) -> usize {
        self.machine().pending.len()
    }

    /// The disk after the process was killed: all that it did is there, and what was not durable
    /// still is not.
    pub fn after_kill(&self) -> Self {
        self.machine().copy()
    }

    /// The disk after a power cut that the effects survived for which `survives` is true, in the
    /// order in which they were made.
    pub fn after_power_cut(&self, survives: &[bool]) -> Self {
        let machine = self.machine();
        let mut image = machine.durable.clone();
        for (effect, _) in machine.pending.iter().zip(survives).filter(|(_, survives)| **survives) {
            image.apply(effect);
        }
        Self::of(machine.block, image)
    }

    /// The disks that a power cut may leave: of every subset of the effects that were not durable
    /// where there are at most 12; else of none, all, each prefix, each one alone, all but each one,
    /// and of `random` further subsets, which `seed` chooses.
    pub fn power_cuts(&self, random: usize, seed: u64) -> impl Iterator<Item = Self> {
        let disk = self.machine().copy();
        subsets(disk.unsynced(), random, seed).map(move |subset| disk.after_power_cut(&subset))
    }

    /// All files and folders; a file with its bytes.
    pub fn contents(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut contents = BTreeMap::new();
        self.machine().live.walk(ROOT, Path::new("/"), &mut |path, content| {
            contents.insert(path, content.map(Content::read));
        });
        contents
    }

    /// A hash of all names and bytes.
    pub fn fingerprint(&self) -> u128 {
        self.machine().live.hash(ROOT)
    }

    fn open_file(&self, path: &Path, inode: Inode) -> Box<dyn DiskFile> {
        Box::new(OpenFile { disk: self.clone(), path: path.to_owned(), inode })
    }
}

/// Subsets of `n` effects, as of [`SimulatedDisk::power_cuts`].
fn subsets(n: usize, random: usize, seed: u64) -> impl Iterator<Item = Vec<bool>> {
    let is_small = n <= EXHAUSTIVE;
    let all = (0..if is_small { 1_usize << n } else { 0 })
        .map(move |bits| (0..n).map(|i| bits >> i & 1 == 1).collect());
    let n_some = if is_small { 0 } else { n };
    let prefixes = (0..n_some).map(move |end| (0..n).map(|i| i <= end).collect());
    let singles = (1..n_some).map(move |one| (0..n).map(|i| i == one).collect());
    let others = (0..n_some).map(move |one| (0..n).map(|i| i != one).collect());
    let none = (0..usize::from(!is_small)).map(move |_| vec![false; n]);
    let words = n.div_ceil(64) as u64;
    let random = (0..if is_small { 0 } else { random as u64 }).map(move |subset| {
        let word = |i: usize| random::step_seed(seed, subset * words + i as u64 / 64);
        let words: Vec<u64> = (0..n).step_by(64).map(word).collect();
        (0..n).map(|i| words[i / 64] >> (i % 64) & 1 == 1).collect()
    });
    all.chain(none).chain(prefixes).chain(singles).chain(others).chain(random)
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.machine();
        f.debug_struct("SimulatedDisk")
            .field("operations", &machine.operations.len())
            .field("unsynced", &machine.pending.len())
            .finish_non_exhaustive()
    }
}

impl Machine {
    fn new(block: usize, image: Image) -> Self {
        Self {
            block: block.max(1),
            durable: image.clone(),
            live: image,
            pending: Vec::new(),
            locks: BTreeSet::new(),
            operations: Vec::new(),
            crash_at: None,
            failure: None,
            recorded: None,
            failed_syncs: BTreeSet::new(),
            synced_again: Vec::new(),
        }
    }

    /// The disk without what the process has beside it.
    fn copy(&self) -> SimulatedDisk {
        let mut copy = Self::new(self.block, self.live.clone());
        copy.durable = self.durable.clone();
        copy.pending.clone_from(&self.pending);
        SimulatedDisk(Arc::new(Mutex::new(copy)))
    }

    /// Counts an operation, and fails it where it is to; with the bytes that it writes before.
    fn count(&mut self, call: Call, path: &Path) -> Result<(), (io::Error, usize)> {
        let index = self.operations.len();
        self.operations.push(Operation { call, path: path.to_owned() });
        if self.crash_at.is_some_and(|at| at <= index) {
            return Err((io::Error::other("the simulated machine is off"), 0));
        }
        if let Some((at, failure)) = self.failure
            && (at == index || (failure.lasts && at < index && call.changes()))
        {
            return Err((io::Error::from_raw_os_error(failure.errno), failure.part));
        }
        if call.changes() && self.recorded.is_some() {
            let copy = self.copy();
            self.recorded.get_or_insert_default().push(copy);
        }
        Ok(())
    }

    fn begin(&mut self, call: Call, path: &Path) -> io::Result<()> {
        self.count(call, path).map_err(|(error, _)| error)
    }

    fn act(&mut self, effect: Effect) {
        self.live.apply(&effect);
        self.pending.push(effect);
    }

    /// The folder of a path and the name in it.
    fn place(&self, path: &Path) -> io::Result<(Inode, String)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = self.live.find(path.parent().unwrap_or(Path::new("")))?;
        self.live.folder(folder)?;
        Ok((folder, name.to_string_lossy().into_owned()))
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<Inode> {
        let (folder, name) = self.place(path)?;
        if self.live.folder(folder)?.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // Without a name nobody sees it.
        self.durable.push(node.clone());
        let inode = self.live.push(node);
        self.act(Effect::Name { folder, name, inode });
        Ok(inode)
    }

    fn find_or_create(&mut self, path: &Path) -> io::Result<Inode> {
        match self.live.find(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.create(path, Node::File(Arc::default()))
            }
            found => found.and_then(|inode| self.live.file(inode).map(|_| inode)),
        }
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        let inode = self.live.find(path)?;
        self.act(Effect::NoName { folder, name, inode });
        Ok(())
    }

    /// Makes the effects durable that `is_meant`.
    fn sync(&mut self, is_meant: impl Fn(&Effect) -> bool) {
        // A name that is moved from one folder to another takes with it how it came to be there.
        let moved: Vec<(usize, Inode)> = self
            .pending
            .iter()
            .enumerate()
            .filter(|(_, effect)| is_meant(effect) && matches!(effect, Effect::Rename { .. }))
            .filter_map(|(i, effect)| Some((i, effect.named()?)))
            .collect();
        let pending = std::mem::take(&mut self.pending);
        for (i, effect) in pending.into_iter().enumerate() {
            let leads_to_move =
                moved.iter().any(|(at, inode)| i < *at && effect.named() == Some(*inode));
            if is_meant(&effect) || leads_to_move {
                self.durable.apply(&effect);
            } else {
                self.pending.push(effect);
            }
        }
    }

    /// Writes at the end.
    fn append(&mut self, file: Inode, bytes: &[u8]) -> io::Result<()> {
        let length = self.live.file(file)?.length;
        self.write_at(file, length, bytes)
    }

    /// Writes at a place: a block an effect, then the length where it is another.
    fn write_at(&mut self, file: Inode, at: usize, bytes: &[u8]) -> io::Result<()> {
        let length = self.live.file(file)?.length;
        let mut at = at;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (block, later) = rest.split_at(rest.len().min(self.block - at % self.block));
            self.act(Effect::Data { file, at, bytes: block.into() });
            at += block.len();
            rest = later;
        }
        if at > length {
            self.act(Effect::Length { file, length: at });
        }
        Ok(())
    }
}

impl Disk for SimulatedDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let mut machine = self.machine();
        machine.begin(Call::Kind, path)?;
        let inode = machine.live.find(path)?;
        let file = machine.live.file(inode);
        Ok(file.map_or(Kind::Folder, |content| Kind::File(content.length as u64)))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut machine = self.machine();
        machine.begin(Call::Resolve, path)?;
        machine.live.find(path).map(|_| Path::new("/").join(path))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut machine = self.machine();
        machine.begin(Call::Read, path)?;
        let inode = machine.live.find(path)?;
        machine.live.file(inode).map(Content::read)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut machine = self.machine();
        machine.begin(Call::List, folder)?;
        let inode = machine.live.find(folder)?;
        Ok(machine.live.folder(inode)?.keys().cloned().collect())
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut machine = self.machine();
        machine.begin(Call::CreateNew, path)?;
        let inode = machine.create(path, Node::File(Arc::default()))?;
        Ok(self.open_file(path, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut machine = self.machine();
        machine.begin(Call::Open, path)?;
        let inode = machine.find_or_create(path)?;
        Ok(self.open_file(path, inode))
    }

    fn open_to_reuse(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut machine = self.machine();
        machine.begin(Call::OpenToReuse, path)?;
        let inode = machine.live.find(path)?;
        machine.live.file(inode)?;
        Ok(self.open_file(path, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin(Call::Rename, from)?;
        let inode = machine.live.find(from)?;
        if to != from && to.starts_with(from) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (from, to) = (machine.place(from)?, machine.place(to)?);
        if from == to {
            return Ok(());
        }
        if let Some(replaced) = machine.live.folder(to.0)?.get(&to.1) {
            match (machine.live.folder(inode), machine.live.folder(*replaced)) {
                (Ok(_), Ok(names)) if !names.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                (Ok(_), Err(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                (Err(_), Ok(_)) => return Err(io::ErrorKind::IsADirectory.into()),
                _ => {}
            }
        }
        machine.act(Effect::Rename { from, to, inode });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin(Call::RemoveFile, path)?;
        let inode = machine.live.find(path)?;
        machine.live.file(inode)?;
        machine.remove(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin(Call::RemoveFolder, path)?;
        let inode = machine.live.find(path)?;
        if !machine.live.folder(inode)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        machine.remove(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin(Call::CreateFolder, path)?;
        if path.file_name().is_none() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        machine.create(path, Node::Folder(Arc::default())).map(drop)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin(Call::SyncFolder, path)?;
        let folder = machine.live.find(path)?;
        machine.live.folder(folder)?;
        machine.sync(|effect| effect.is_in_folder(folder));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut machine = self.machine();
        machine.begin(Call::Lock, path)?;
        let inode = machine.find_or_create(path)?;
        Ok(machine
            .locks
            .insert(inode)
            .then(|| -> Lock { Box::new(HeldLock { disk: self.clone(), inode }) }))
    }
}

struct HeldLock {
    disk: SimulatedDisk,
    inode: Inode,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.disk.machine().locks.remove(&self.inode);
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: SimulatedDisk,
    path: PathBuf,
    inode: Inode,
}

impl DiskFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        let mut machine = self.disk.machine();
        machine.begin(Call::Len, &self.path)?;
        machine.live.file(self.inode).map(|content| content.length as u64)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut machine = self.disk.machine();
        if let Err((error, part)) = machine.count(Call::Append, &self.path) {
            machine.append(self.inode, bytes.get(..part).unwrap_or(bytes))?;
            return Err(error);
        }
        machine.append(self.inode, bytes)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut machine = self.disk.machine();
        if let Err((error, part)) = machine.count(Call::WriteAt, &self.path) {
            machine.write_at(self.inode, at, bytes.get(..part).unwrap_or(bytes))?;
            return Err(error);
        }
        machine.write_at(self.inode, at, bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut machine = self.disk.machine();
        machine.begin(Call::SetLen, &self.path)?;
        let length = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        machine.act(Effect::Length { file: self.inode, length });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut machine = self.disk.machine();
        if machine.failed_syncs.contains(&self.inode) {
            machine.synced_again.push(self.path.clone());
        }
        if let Err(error) = machine.begin(Call::Sync, &self.path) {
            machine.failed_syncs.insert(self.inode);
            return Err(error);
        }
        let inode = self.inode;
        machine.sync(|effect| effect.is_of_file(inode));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::RealDisk;

    /// Does operation `what` with two of a few paths below `root`; returns what there is to compare.
    fn operate(disk: &dyn Disk, root: &Path, what: u64, paths: [&str; 2]) -> String {
        let [path, other] = paths.map(|path| root.join(path));
        let kind = |e: io::Error| e.kind();
        let bytes = what.to_le_bytes();
        match what % 11 {
            0 => format!(
                "{:?}",
                disk.kind(&path).map_err(kind).map(|found| match found {
                    Kind::File(length) => Some(length),
                    _ => None,
                })
            ),
            1 => format!("{:?}", disk.read(&path).map_err(kind)),
            2 => format!("{:?}", disk.create_folder(&path).map_err(kind)),
            3 => format!("{:?}", disk.remove_file(&path).map_err(kind)),
            4 => format!("{:?}", disk.remove_folder(&path).map_err(kind)),
            // Systems differ in which of several reasons they name.
            5 => format!("{}", disk.rename(&path, &other).is_ok()),
            6 => format!("{:?}", disk.create_new(&path).map_err(kind).map(drop)),
            7 => format!(
                "{:?}",
                disk.list(&path).map_err(kind).map(|mut names| {
                    names.sort_unstable();
                    names
                })
            ),
            8 => {
                let cut = |mut file: Box<dyn DiskFile>| {
                    file.set_len(what >> 8 & 15)?;
                    file.len()
                };
                format!("{:?}", disk.open(&path).and_then(cut).map_err(kind))
            }
            9 => {
                let write = |mut file: Box<dyn DiskFile>| {
                    file.write_at(what >> 8 & 15, &bytes)?;
                    file.append(b"end")?;
                    file.len()
                };
                // Systems differ in how they refuse a folder.
                format!("{:?}", disk.open_to_reuse(&path).and_then(write).ok())
            }
            _ => {
                let append = |mut file: Box<dyn DiskFile>| {
                    file.append(&bytes)?;
                    file.sync()?;
                    file.len()
                };
                format!("{:?}", disk.open(&path).and_then(append).map_err(kind))
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn it_does_what_the_machine_does() {
        let folder = tempfile::tempdir().unwrap();
        let disk = SimulatedDisk::new(4);
        let paths = ["a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "b/a/a"];
        for step in 0..20_000 {
            let what = random::step_seed(7, step);
            let path = |shift: u64| paths[(what >> shift) as usize % paths.len()];
            let two = [path(16), path(24)];
            assert_eq!(
                operate(&disk, Path::new("/"), what, two),
                operate(&RealDisk, folder.path(), what, two),
                "step {step}: operation {} of {two:?}",
                what % 11
            );
        }
        assert!(disk.contents().len() > 1);
    }

    #[test]
    fn after_the_crash_nothing_is_done_and_locks_are_free() {
        let disk = SimulatedDisk::new(4);
        let (path, lock) = (Path::new("/file"), Path::new("/lock"));
        let held = disk.lock(lock).unwrap().unwrap();
        assert!(disk.lock(lock).unwrap().is_none());
        let mut file = disk.open(path).unwrap();
        file.append(b"abcdef").unwrap();
        file.sync().unwrap();
        let count = disk.operations().len();
        disk.fail_at(count, Failure { errno: 28, lasts: false, part: 2 });
        disk.crash_at(count + 1);
        assert_eq!(file.append(b"ghi").unwrap_err().raw_os_error(), Some(28));
        assert!(!disk.has_crashed());
        assert!(file.sync().is_err() && disk.remove_file(path).is_err() && disk.has_crashed());
        let after = disk.after_kill();
        assert_eq!(after.read(path).unwrap(), b"abcdefgh");
        assert!(after.lock(lock).unwrap().is_some());
        // Its bytes are durable, its name is not.
        assert!(after.after_power_cut(&[]).read(path).is_err());
        after.sync_folder(Path::new("/")).unwrap();
        assert_eq!(after.after_power_cut(&[]).read(path).unwrap(), b"abcdef");
        let lefts: Vec<_> = after.power_cuts(0, 0).map(|left| left.read(path).unwrap()).collect();
        assert_eq!(lefts, [&b"abcdef"[..], b"abcdef", b"abcdef\0\0", b"abcdefgh"]);
        drop(held);
        assert!(disk.synced_again().is_empty());
        let _ = file.sync();
        assert_eq!(disk.synced_again(), [path]);
    }

    #[test]
    fn many_effects_are_tried_one_by_one_and_at_random() {
        assert_eq!(subsets(12, 9, 0).count(), 4096);
        let tried: Vec<_> = subsets(70, 9, 0).collect();
        assert_eq!(tried.len(), 1 + 70 + 69 + 70 + 9);
        assert!(tried.contains(&vec![true; 70]) && tried.contains(&vec![false; 70]));
        assert!(tried.iter().all(|subset| subset.len() == 70));
        assert_ne!(tried[tried.len() - 1], tried[tried.len() - 2]);
    }
}
