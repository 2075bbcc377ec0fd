//! The binary under test, and running it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Result;
use super::compare::Remains;

/// A run of the small recipes takes well below a second; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test.
pub(super) struct Refrain {
    binary: PathBuf,
}

/// A process that has ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    /// Both streams.
    pub(super) said: String,
}

impl Refrain {
    /// The binary at `path`; without one, that which cargo builds, as `cargo run` builds it: with
    /// the features that `cargo test --workspace` has, so that the engine is compiled once.
    pub(super) fn find(path: Option<&Path>) -> Result<Self> {
        if let Some(path) = path {
            let binary = fs::canonicalize(path).map_err(|e| format!("{}: {e}", path.display()))?;
            return Ok(Self { binary });
        }
        let output = cargo()
            .args(["build", "--locked", "-p", "refrain-cli", "--bin", "refrain"])
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("cargo build: {e}"))?;
        let executable = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
            .next_back();
        let binary = executable.filter(|_| output.status.success());
        Ok(Self { binary: binary.ok_or("cargo build: no binary `refrain` was built")? })
    }
}

/// The cargo that runs this, in the root of the workspace.
pub(super) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// The root of the workspace.
pub(super) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Whether a program is there: it is started with `argument`.
pub(super) fn has(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A recipe, and the folder of a run of it.
pub(super) struct Case<'a> {
    refrain: &'a Refrain,
    recipe: PathBuf,
    folder: PathBuf,
    threads: u32,
}

impl<'a> Case<'a> {
    /// Makes the folder `folder`, with the recipe in it.
    pub(super) fn new(refrain: &'a Refrain, folder: PathBuf, recipe: &str) -> Result<Self> {
        let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(failed)?;
        let path = folder.join("recipe.toml");
        fs::write(&path, recipe).map_err(failed)?;
        Ok(Self { refrain, recipe: path, folder, threads: 1 })
    }

    pub(super) fn threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    /// A path beside the run.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The run's own folder.
    pub(super) fn run(&self) -> PathBuf {
        self.path("run")
    }

    /// The arguments that train: from the beginning, or to go on.
    pub(super) fn train(&self, resume: bool) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            self.refrain.binary.clone().into(),
            "train".into(),
            self.recipe.clone().into(),
            "--dir".into(),
            self.run().into(),
            "--threads".into(),
            self.threads.to_string().into(),
        ];
        args.extend(resume.then(|| "--resume".into()));
        args
    }

    /// The arguments that go on with the run by its own recipe, without naming one.
    pub(super) fn go_on_by_itself(&self) -> Vec<OsString> {
        let mut args = self.train(true);
        args.retain(|arg| *arg != *self.recipe.as_os_str());
        args
    }

    /// Trains to the end; whatever the end is.
    pub(super) fn train_on(&self, resume: bool) -> Result<Finished> {
        self.finish(&self.train(resume))
    }

    /// Goes on to the end, which must be a good one.
    pub(super) fn resume_to_the_end(&self) -> Result<Finished> {
        let finished = self.train_on(true)?;
        if finished.status.code() != Some(0) {
            return Err(format!("a resume failed ({}): {}", finished.status, finished.said));
        }
        Ok(finished)
    }

    /// The binary.
    pub(super) fn binary(&self) -> &Path {
        &self.refrain.binary
    }

    /// `refrain verify` of the run.
    pub(super) fn verify(&self) -> Result<Finished> {
        let binary = self.refrain.binary.clone().into();
        self.finish(&[binary, "verify".into(), "--dir".into(), self.run().into()])
    }

    /// Runs a command to its end.
    pub(super) fn finish(&self, line: &[OsString]) -> Result<Finished> {
        self.ended(self.start(line, "said.txt")?, "said.txt", line)
    }

    /// Runs a command to its end; what it says goes through a pipe: it may be unable to write files.
    pub(super) fn finish_through_pipe(&self, line: &[OsString]) -> Result<Finished> {
        let failed = |e: std::io::Error| format!("{}: {e}", shown(line));
        let (program, args) = line.split_first().ok_or("an empty command")?;
        let (mut reader, writer) = std::io::pipe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        let mut child = command.spawn().map_err(failed)?;
        // It holds the ends of the pipe that are written to.
        drop(command);
        let path = self.path("said.txt");
        let reading = std::thread::spawn(move || -> std::io::Result<()> {
            std::io::copy(&mut reader, &mut File::create(path)?).map(drop)
        });
        wait_or_kill(&mut child, line)?;
        reading.join().map_err(|_| "reading the pipe panicked")?.map_err(failed)?;
        self.ended(child, "said.txt", line)
    }

    /// Starts a command; what it says goes to the file `said`.
    pub(super) fn start(&self, line: &[OsString], said: &str) -> Result<Child> {
        let (program, args) = line.split_first().ok_or("an empty command")?;
        let path = self.path(said);
        let open = || -> std::io::Result<(File, File)> {
            let file = File::create(&path)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = open().map_err(|e| format!("{}: {e}", path.display()))?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(out).stderr(err);
        command.spawn().map_err(|e| format!("{}: {e}", program.display()))
    }

    /// Waits for a process that was [started](Self::start).
    pub(super) fn ended(
        &self,
        mut child: Child,
        said: &str,
        line: &[OsString],
    ) -> Result<Finished> {
        let status = wait_or_kill(&mut child, line)?;
        let said = fs::read(self.path(said)).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains("panicked at") {
            return Err(format!("it panicked: {}\n{said}", shown(line)));
        }
        Ok(Finished { status, said })
    }

    /// Runs a command and kills it after this long; `None`: it was killed.
    pub(super) fn kill_after(
        &self,
        line: &[OsString],
        after: Duration,
    ) -> Result<Option<Finished>> {
        let mut child = self.start(line, "said.txt")?;
        if wait(&mut child, after)?.is_some() {
            return self.ended(child, "said.txt", line).map(Some);
        }
        child.kill().and_then(|()| child.wait()).map_err(|e| format!("kill: {e}"))?;
        Ok(None)
    }

    /// What the run has left.
    pub(super) fn remains(&self) -> Result<Remains> {
        Remains::of(&self.run(), &self.run())
    }

    /// Removes all of it.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).map_err(|e| format!("{}: {e}", self.folder.display()))
    }
}

/// Copies a folder with all that is in it; `to` is replaced.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let to = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy(&entry.path(), &to)?;
            } else {
                fs::copy(entry.path(), to)?;
            }
        }
        Ok(())
    }
    let _ = fs::remove_dir_all(to);
    copy(from, to).map_err(|e| format!("copying {} to {}: {e}", from.display(), to.display()))
}

/// Waits this long; `None`: it has not ended.
pub(super) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| format!("wait: {e}"))? {
            return Ok(Some(status));
        }
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(left.min(Duration::from_millis(2)));
    }
}

fn wait_or_kill(child: &mut Child, line: &[OsString]) -> Result<ExitStatus> {
    match wait(child, PATIENCE)? {
        Some(status) => Ok(status),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("it hangs: {}", shown(line)))
        }
    }
}

/// A command as a shell takes it.
pub(super) fn shown(line: &[OsString]) -> String {
    let word = |word: &OsString| {
        let word = word.to_string_lossy();
        let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+".contains(c);
        if word.chars().all(is_plain) { word.into_owned() } else { format!("'{word}'") }
    };
    line.iter().map(word).collect::<Vec<_>>().join(" ")
}
