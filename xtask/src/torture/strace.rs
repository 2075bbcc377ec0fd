//! System calls of a run: which there are, and making one of them fail or be its last.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::Result;
use super::refrain::{Case, Finished, has};

/// Calls that have to do with files.
const CALLS: [&str; 27] = [
    "openat",
    "open",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "fsync",
    "fdatasync",
    "write",
    "pwrite64",
    "ftruncate",
    "flock",
    "fcntl",
    "lseek",
    "statx",
    "newfstatat",
    "fstat",
    "getdents64",
    "close",
    "read",
    "pread64",
    "readlink",
    "link",
];
const THREADS: [&str; 2] = ["clone3", "clone"];

/// A system call of the main thread that has to do with the run's folder.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) name: String,
    /// Its number among those of its name, from 1.
    pub(super) nth: u64,
    /// As strace shows it, without the result.
    pub(super) text: String,
    /// Whether it closes a folder whose names were read. Rust's library panics where that fails, which
    /// it does on no file system: nothing is left to be written.
    pub(super) ends_reading_of_folder: bool,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} number {}: {}", self.name, self.nth, self.text)
    }
}

/// Why this machine cannot do it, if it cannot.
pub(super) fn is_missing() -> Option<String> {
    (!has("strace", "-V")).then(|| "strace is not installed (apt-get install strace)".to_owned())
}

/// A command under strace.
///
/// strace counts the calls of each thread by itself, and each checkpoint is written by a thread of
/// its own. So the first thread that the run starts, to compute, is allowed, and every later one is
/// refused: then a checkpoint is written by the main thread, with the same calls, and each call of
/// the run has one number.
pub(super) fn line(case: &Case<'_>, inject: Option<&str>, command: &[OsString]) -> Vec<OsString> {
    let optional =
        |calls: &[&str]| calls.iter().map(|call| format!("?{call}")).collect::<Vec<_>>().join(",");
    let mut line: Vec<OsString> =
        ["strace", "-f", "-qq", "-y", "-s", "16", "-o"].into_iter().map(OsString::from).collect();
    line.push(case.path("strace.txt").into());
    line.push("-e".into());
    line.push(format!("trace={},{}", optional(&CALLS), optional(&THREADS)).into());
    line.push("-e".into());
    line.push(format!("inject={}:error=EAGAIN:when=2+", optional(&THREADS)).into());
    if let Some(inject) = inject {
        line.push("-e".into());
        line.push(format!("inject={inject}").into());
    }
    line.push("--".into());
    line.extend(command.iter().cloned());
    line
}

/// Runs a command under strace.
pub(super) fn finish(
    case: &Case<'_>,
    inject: Option<&str>,
    command: &[OsString],
) -> Result<Finished> {
    case.finish(&line(case, inject, command))
}

/// The calls that the last command under strace has made in the run's folder, up to and with the
/// first that was tampered with where `injected`.
pub(super) fn calls(case: &Case<'_>) -> Result<Vec<Call>> {
    let text = trace(case)?;
    Ok(parse(&text, &case.run()))
}

/// Whether the call that was tampered with, if any, has to do with the run's folder.
pub(super) fn has_hit(case: &Case<'_>, call: &Call) -> Result<bool> {
    let calls = calls(case)?;
    Ok(calls.iter().any(|found| found.name == call.name && found.nth == call.nth))
}

fn trace(case: &Case<'_>) -> Result<String> {
    let path = case.path("strace.txt");
    let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str, run: &Path) -> Vec<Call> {
    let run = run.display().to_string();
    let mut main = None;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut calls = Vec::new();
    let mut folder = String::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        if *main.get_or_insert(thread) != thread {
            continue;
        }
        let call = call.trim_start();
        // `<... write resumed>`, `--- SIGINT`, `+++ exited` begin no call.
        let Some((name, _)) = call.split_once('(').filter(|_| !call.starts_with(['<', '-', '+']))
        else {
            continue;
        };
        let nth = counts.entry(name).or_default();
        *nth += 1;
        if call.contains(&run) {
            let text = call.split(") = ").next().unwrap_or(call).replace(&run, "RUN");
            let descriptor = text.split(['(', '>']).nth(1).unwrap_or_default().to_owned();
            let ends_reading_of_folder = name == "close" && descriptor == folder;
            if name == "getdents64" {
                folder = descriptor;
            }
            calls.push(Call { name: name.to_owned(), nth: *nth, text, ends_reading_of_folder });
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_main_thread_in_the_folder_are_counted_by_name() {
        let text = "7 write(2<pipe:[1]>, \"x\", 1) = 1\n\
                    7 openat(AT_FDCWD</a>, \"/a/run/log\", O_RDONLY) = 3</a/run/log>\n\
                    8 write(4</a/run/b>, \"x\", 1 <unfinished ...>\n\
                    7 write(3</a/run/log>, \"x\", 1 <unfinished ...>\n\
                    8 <... write resumed>) = 1\n\
                    7 <... write resumed>) = 1\n\
                    7 getdents64(4</a/run>, [], 9) = 0\n\
                    7 close(3</a/run/log>) = 0\n\
                    7 close(4</a/run>) = 0\n\
                    7 +++ exited with 0 +++\n";
        let calls = parse(text, Path::new("/a/run"));
        let found: Vec<(&str, u64)> = calls.iter().map(|c| (c.name.as_str(), c.nth)).collect();
        let expected = [("openat", 1), ("write", 2), ("getdents64", 1), ("close", 1), ("close", 2)];
        assert_eq!(found, expected);
        let ends: Vec<bool> = calls.iter().map(|call| call.ends_reading_of_folder).collect();
        assert_eq!(ends, [false, false, false, false, true]);
    }
}
