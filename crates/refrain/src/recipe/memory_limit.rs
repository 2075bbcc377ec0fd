//! How much memory there is: that of the machine, of the container, of the process.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use sysinfo::System;

use super::memory::Bytes;

/// More than this a process can never have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// In bytes.
    pub bytes: u64,
    /// What sets it, in words: `this machine's memory`.
    pub by: String,
    /// What is free now, as far as it is known: never more than `bytes`.
    pub available: u64,
}

impl MemoryLimit {
    /// The least of: the machine's memory with its swap space; on Linux the limits of the process's
    /// control groups (those of containers, versions 1 and 2) and its own (`ulimit -v`, `-d`).
    ///
    /// `None` where the system does not say. Reads some small files.
    ///
    /// # Example
    /// ```
    /// if let Some(limit) = refrain::MemoryLimit::of_process() {
    ///     assert!(limit.available <= limit.bytes, "{limit}");
    /// }
    /// ```
    pub fn of_process() -> Option<Self> {
        let mut system = System::new();
        system.refresh_memory();
        Self::least(system.total_memory(), system.total_swap(), system.available_memory(), "/")
    }

    /// The same with the files of the system below `root`.
    fn least(memory: u64, swap: u64, available: u64, root: impl AsRef<Path>) -> Option<Self> {
        let root = root.as_ref();
        let mut limits = of_groups(root, swap);
        limits.extend(of_resources(root));
        // The system gives 0 where it does not know.
        if memory > 0 {
            let by =
                if swap > 0 { "this machine's memory and swap" } else { "this machine's memory" };
            limits.insert(0, (memory.saturating_add(swap), by.to_owned()));
        }
        let (bytes, by) = limits.into_iter().min_by_key(|(bytes, _)| *bytes)?;
        let available = if available > 0 { available.min(bytes) } else { bytes };
        Some(Self { bytes, by, available })
    }
}

/// `23.5 GiB, this machine's memory`.
impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", Bytes(self.bytes), self.by)
    }
}

/// What the control groups of this process allow, with swap space.
fn of_groups(root: &Path, swap: u64) -> Vec<(u64, String)> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let is_first_version = controllers.split(',').any(|name| name == "memory");
        if !is_first_version && !controllers.is_empty() {
            continue;
        }
        let mount = root.join("sys/fs/cgroup");
        let mount = if is_first_version { mount.join("memory") } else { mount };
        for folder in folders(&mount, group) {
            let number = |name: &str| number(&folder.join(name));
            let (name, limit) = if is_first_version {
                let both = number("memory.memsw.limit_in_bytes");
                let with_swap = |limit: u64| both.unwrap_or(limit.saturating_add(swap)).max(limit);
                let name = "memory.limit_in_bytes";
                (name, number(name).map(with_swap))
            } else {
                let swap = number("memory.swap.max").unwrap_or(swap).min(swap);
                ("memory.max", number("memory.max").map(|limit| limit.saturating_add(swap)))
            };
            let file = folder.join(name);
            limits.extend(limit.map(|n| (n, format!("the limit in {}", file.display()))));
        }
    }
    limits
}

/// The folder of a group and those above it. The path may be the host's, of which a container sees
/// nothing but the mount itself.
fn folders(mount: &Path, group: &str) -> Vec<PathBuf> {
    let group = Path::new(group.trim_start_matches('/'));
    let is_inside = group.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let group = if is_inside { group } else { Path::new("") };
    group.ancestors().map(|folder| mount.join(folder)).collect()
}

/// What the process may have by its own limits.
fn of_resources(root: &Path) -> Vec<(u64, String)> {
    let limits = fs::read_to_string(root.join("proc/self/limits")).unwrap_or_default();
    let limit = |(name, by): (&str, &str)| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        let soft = line.split_whitespace().next()?.parse().ok()?;
        Some((soft, by.to_owned()))
    };
    [
        ("Max address space", "the limit of this process's address space (ulimit -v)"),
        ("Max data size", "the limit of this process's data (ulimit -d)"),
    ]
    .into_iter()
    .filter_map(limit)
    .collect()
}

/// The number in a file; none where it is `max`, or the file is not there.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// Names and texts.
    type Texts<'a> = &'a [(&'a str, &'a str)];

    /// The least limit on a machine of 16 GiB with 4 GiB of swap, with these files.
    fn least(files: Texts<'_>) -> (u64, String) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let limit = MemoryLimit::least(16 * GIB, 4 * GIB, 15 * GIB, root.path()).unwrap();
        assert!(limit.available <= limit.bytes.min(15 * GIB));
        let name = root.path().display().to_string();
        (limit.bytes, limit.by.replace(&name, ""))
    }

    #[test]
    fn the_least_limit_counts() {
        let two = "2147483648\n";
        let limits =
            "Limit                     Soft Limit           Hard Limit           Units     \n";
        let limits = |line: &str| format!("{limits}{line}\n");
        let space =
            limits("Max address space         1073741824           unlimited            bytes");
        let data =
            limits("Max data size             3221225472           unlimited            bytes");
        let none =
            limits("Max address space         unlimited            unlimited            bytes");
        let v1 = ("proc/self/cgroup", "5:cpu:/\n4:memory,hugetlb:/docker/abc\n0::/\n");
        let v2 = ("proc/self/cgroup", "0::/user.slice/run\n");
        #[rustfmt::skip]
        let cases: &[(Texts<'_>, u64, &str)] = &[
            (&[], 20 * GIB, "this machine's memory and swap"),
            // Version 2: the group's, one above it, none; swap space that is not allowed.
            (&[v2, ("sys/fs/cgroup/user.slice/run/memory.max", two)], 6 * GIB, "/sys/fs/cgroup/user.slice/run/memory.max"),
            (&[v2, ("sys/fs/cgroup/user.slice/memory.max", two), ("sys/fs/cgroup/user.slice/memory.swap.max", "0\n")], 2 * GIB, "/sys/fs/cgroup/user.slice/memory.max"),
            (&[v2, ("sys/fs/cgroup/user.slice/memory.max", "max\n")], 20 * GIB, "this machine"),
            (&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", two), ("sys/fs/cgroup/memory.swap.max", "max\n")], 6 * GIB, "/sys/fs/cgroup/memory.max"),
            (&[("proc/self/cgroup", "0::/../other\n"), ("sys/fs/cgroup/memory.max", two)], 6 * GIB, "/sys/fs/cgroup/memory.max"),
            // Version 1: a path of the host's, of which the container sees the mount alone.
            (&[v1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", two), ("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", two)], 2 * GIB, "memory/memory.limit_in_bytes"),
            (&[v1, ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", two)], 6 * GIB, "docker/abc/memory.limit_in_bytes"),
            (&[v1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")], 20 * GIB, "this machine"),
            // The process's own.
            (&[("proc/self/limits", &space)], GIB, "ulimit -v"),
            (&[("proc/self/limits", &data)], 3 * GIB, "ulimit -d"),
            (&[("proc/self/limits", &none)], 20 * GIB, "this machine"),
            // Nonsense is no limit.
            (&[("proc/self/limits", "\u{0}\n"), ("proc/self/cgroup", "::\n4:memory\n")], 20 * GIB, "this machine"),
        ];
        for (files, bytes, by) in cases {
            let limit = least(files);
            assert_eq!(limit.0, *bytes, "{files:?}: {limit:?}");
            assert!(limit.1.contains(by), "{files:?}: {limit:?}");
        }
    }

    #[test]
    fn nothing_known_is_no_limit() {
        assert_eq!(MemoryLimit::least(0, 0, 0, "/nowhere"), None);
    }
}
