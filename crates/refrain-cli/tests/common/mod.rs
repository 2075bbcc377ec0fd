//! Runs the command and keeps what it did.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder in which the command is run, removed at the end.
pub struct Place {
    folder: tempfile::TempDir,
}

/// A call of the command that is under way.
pub struct Started {
    pub child: Child,
    stderr: BufReader<ChildStderr>,
    pub seen: String,
}

impl Started {
    /// Starts a command, and waits until it has printed `word` to standard error.
    pub fn begin(command: &mut Command, word: &str) -> std::io::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut started = Self { child, stderr, seen: String::new() };
        started.wait_for(word);
        Ok(started)
    }

    /// Reads on until it has printed `word` to standard error.
    pub fn wait_for(&mut self, word: &str) {
        while !self.seen.contains(word) {
            let read = self.stderr.read_line(&mut self.seen).unwrap();
            assert!(read > 0, "ended before {word:?}: {}", self.seen);
        }
    }

    /// As `kill -9`; it must not have been over by then.
    pub fn kill(self) {
        assert!(self.was_killed(), "it was over before it was killed");
    }

    /// As `kill -9`. False: it was over by then.
    pub fn was_killed(mut self) -> bool {
        self.child.kill().unwrap();
        self.child.wait().unwrap().code().is_none_or(|_| cfg!(windows))
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub fn send(&self, signal: i32) {
        #[expect(unsafe_code, reason = "there is no safe kill in std")]
        // SAFETY: the process is our child and has not been waited for.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0);
    }

    /// Waits for its end.
    pub fn done(mut self) -> Done {
        // Read on, so that the child never waits for us.
        std::io::Read::read_to_string(&mut self.stderr, &mut self.seen).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Done { stderr: self.seen, ..Done::of(output) }
    }
}

fn without_clocks(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_clocks),
        serde_json::Value::Object(fields) => {
            fields.remove("seconds");
            fields.remove("timestamp");
        }
        _ => {}
    }
}

/// What a call of the command did.
pub struct Done {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refrain"));
        command.args(args).current_dir(self.folder.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Starts the command, and waits until it has printed `word` to standard error.
    pub fn start(&self, args: &[&str], word: &str) -> Started {
        Started::begin(&mut self.command(args), word).unwrap()
    }

    /// Every file below a folder, with what is in it.
    pub fn contents(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut left = vec![self.path(name)];
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    files.insert(path, bytes);
                }
            }
        }
        files
    }

    /// Numbers of the checkpoints of a run, oldest first.
    pub fn checkpoints(&self, run: &str) -> Vec<String> {
        let mut names = self.list(&format!("{run}/checkpoints"));
        names.retain(|name| !name.starts_with('.'));
        names
    }

    /// Waits until a run has its first checkpoint, which is written beside the training.
    pub fn wait_for_a_checkpoint(&self, run: &str) {
        let started = Instant::now();
        while self.checkpoints(run).is_empty() {
            assert!(started.elapsed().as_secs() < 60, "{run} has no checkpoint after a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Both runs came to the same end by the same way: weights, picture, log, table and summary,
    /// without what clocks say.
    pub fn assert_same_runs(&self, one: &str, other: &str) {
        let read = |run: &str, name: &str| std::fs::read(self.path(run).join(name)).ok();
        let names = |run: &str| {
            let mut names = self.list(run);
            names.retain(|name| !matches!(name.as_str(), "quarantine" | "notes.txt"));
            names
        };
        assert_eq!(names(one), names(other));
        for name in names(one) {
            if matches!(name.as_str(), "checkpoints" | "journal.jsonl" | "run.lock") {
                continue;
            }
            let (a, b) = (read(one, &name), read(other, &name));
            if !name.ends_with(".json") {
                assert!(a == b, "{one}/{name} and {other}/{name} differ");
                continue;
            }
            let [a, b] = [one, other].map(|run| {
                let mut json = self.json(&format!("{run}/{name}"));
                without_clocks(&mut json);
                json
            });
            assert_eq!(a, b, "{one}/{name} and {other}/{name} differ");
        }
    }

    /// Names in a folder, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        list(&self.path(name))
    }
}

pub fn list(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

impl Done {
    pub fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Exit 0, with what it printed to both streams if not.
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails with this status and these words, and without a panic.
    pub fn fails(self, status: i32, words: &[&str]) -> Self {
        assert_eq!(self.status, status, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in: {}", self.stderr);
        }
        self
    }
}
