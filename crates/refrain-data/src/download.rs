//! Downloads: checked, taken up again where they broke off, and there whole or not at all.

use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use refrain_core::console::Console;
use refrain_core::files::{DiskFile, Files};
use refrain_core::{Error, Result, StopHandle};
use sha2::{Digest as _, Sha256};
use ureq::Agent;
use ureq::http::StatusCode;

use crate::stop::{POLL, wait_for_lock};

/// How often in a row a mirror may break off without having sent anything.
const MOST_FAILURES: u32 = 3;
/// A server that is silent for so long is gone.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of a body that are handed over at once, and how many of these wait to be written.
const AT_ONCE: usize = 1 << 16;
const MOST_WAITING: usize = 16;

/// A file that can be downloaded: its contents are known, wherever it comes from.
///
/// That is why plain HTTP will do: what somebody on the way has changed is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteFile<'a> {
    /// Its name, behind the mirror's address and in the folder.
    pub name: &'a str,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its contents, 64 hexadecimal digits.
    pub sha256: &'a str,
}

/// How files are downloaded.
///
/// # Example
/// ```no_run
/// use refrain_data::{Download, RemoteFile};
///
/// let labels = RemoteFile {
///     name: "t10k-labels-idx1-ubyte.gz",
///     bytes: 4542,
///     sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
/// };
/// let download = Download::from(["http://ossci-datasets.s3.amazonaws.com/mnist/"]);
/// let path = download.fetch(&labels, "cache".as_ref())?;
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Download {
    mirrors: Vec<String>,
    stop: StopHandle,
    is_verbose: bool,
}

impl Download {
    /// From these addresses, tried in order; each ends where a file's name goes.
    pub fn from<S: Into<String>>(mirrors: impl IntoIterator<Item = S>) -> Self {
        let mirrors = mirrors.into_iter().map(Into::into).collect();
        Self { mirrors, stop: StopHandle::default(), is_verbose: false }
    }

    /// Breaks off when `stop` is stopped; what has come is kept for the next time.
    pub fn stop_with(mut self, stop: &StopHandle) -> Self {
        self.stop = stop.clone();
        self
    }

    /// Shows progress on standard error: a bar on a terminal, else a line a file. Default false.
    pub fn verbose(mut self, is_verbose: bool) -> Self {
        self.is_verbose = is_verbose;
        self
    }

    /// The path of the file in `folder`, downloaded if it is not there.
    ///
    /// A file that is there has its contents checked. What is on its way is `NAME.part`; a second
    /// process waits until the first is done.
    ///
    /// # Errors
    /// When no mirror gives the file, with what each said; when the folder cannot be written.
    pub fn fetch(&self, file: &RemoteFile<'_>, folder: &Path) -> Result<PathBuf> {
        let files = Files::default();
        let path = folder.join(file.name);
        let mut said = Vec::new();
        match self.look(&files, file, &path)? {
            Contents::Right => return Ok(path),
            Contents::Missing => {}
            Contents::Wrong(why) => said.push(format!("`{}` {why}", path.display())),
        }
        files.create_folders(folder)?;
        let lock_path = folder.join(format!("{}.lock", file.name));
        let say = || {
            if self.is_verbose {
                Console::stderr().print("waiting for another process that downloads the same file");
            }
        };
        let Some(_lock) = wait_for_lock(&files, &lock_path, &self.stop, say)? else {
            return Err(stopped());
        };
        // Another process may have been faster.
        let fetched = match self.look(&files, file, &path)? {
            Contents::Right => Ok(()),
            _ => self.fetch_locked(&files, file, folder, &path, said),
        };
        // Under the lock still: who waits for it makes another.
        let _ = files.disk().remove_file(&lock_path);
        fetched.map(|()| path)
    }

    /// Downloads under the file's lock. `said`: why what is there does not do.
    fn fetch_locked(
        &self,
        files: &Files,
        file: &RemoteFile<'_>,
        folder: &Path,
        path: &Path,
        mut said: Vec<String>,
    ) -> Result {
        let part = folder.join(format!("{}.part", file.name));
        let progress = Progress::new(file, self.is_verbose);
        for mirror in &self.mirrors {
            let url = format!("{}/{}", mirror.trim_end_matches('/'), file.name);
            progress.begin(&url);
            match self.try_mirror(files, file, &url, &part, &progress) {
                Ok(()) => {
                    let disk = files.disk();
                    disk.rename(&part, path).map_err(|e| Error::file("write", path, e))?;
                    return disk.sync_folder(folder).map_err(|e| Error::file("sync", folder, e));
                }
                Err(Failure::Stopped) => {
                    remove_empty(files, &part);
                    return Err(stopped());
                }
                Err(Failure::Local(error)) => return Err(error),
                Err(Failure::Mirror(why)) => said.push(format!("{url}: {why}")),
            }
        }
        remove_empty(files, &part);
        if said.is_empty() {
            said.push("there is no mirror".to_owned());
        }
        Err(Error::data(format!("cannot download {}: {}", file.name, said.join("; "))))
    }

    /// What is under a path.
    fn look(&self, files: &Files, file: &RemoteFile<'_>, path: &Path) -> Result<Contents> {
        if !files.exists(path)? {
            return Ok(Contents::Missing);
        }
        let bytes = path.metadata().map_err(|e| Error::file("read", path, e))?.len();
        if bytes != file.bytes {
            return Ok(Contents::Wrong(format!("has {bytes} bytes instead of {}", file.bytes)));
        }
        let hash = hash_of(path)?;
        Ok(if hash == file.sha256 {
            Contents::Right
        } else {
            Contents::Wrong(format!("has the SHA-256 {hash} instead of {}", file.sha256))
        })
    }

    /// Fills `part` from one mirror, going on from what it has.
    fn try_mirror(
        &self,
        files: &Files,
        file: &RemoteFile<'_>,
        url: &str,
        part: &Path,
        progress: &Progress,
    ) -> Result<(), Failure> {
        if !url.starts_with("http://") {
            let why =
                "allowed: addresses that begin with http://, without TLS (what comes is checked)";
            return Err(Failure::Mirror(why.to_owned()));
        }
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(Some(PATIENCE))
            .timeout_connect(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .build()
            .into();
        let mut failures = 0;
        let mut furthest = 0;
        loop {
            if self.stop.is_stopped() {
                return Err(Failure::Stopped);
            }
            let local = |action, error| Failure::Local(Error::file(action, part, error));
            let mut out = files.disk().open(part).map_err(|e| local("write", e))?;
            let before = out.len().map_err(|e| local("read", e))?;
            // As much as there is to come; more than that is of something else.
            let is_resumed = (1..file.bytes).contains(&before);
            if !is_resumed && before != file.bytes {
                out.set_len(0).map_err(|e| local("write", e))?;
            }
            let received = if before == file.bytes {
                Ok(())
            } else {
                self.receive(&agent, file, url, is_resumed.then_some(before), &mut *out, progress)
            };
            let error = match received {
                Ok(()) => {
                    out.sync().map_err(|e| local("write", e))?;
                    drop(out);
                    let hash = hash_of(part).map_err(Failure::Local)?;
                    if hash == file.sha256 {
                        return Ok(());
                    }
                    files.remove(part).map_err(Failure::Local)?;
                    let why =
                        format!("what it sent has the SHA-256 {hash} instead of {}", file.sha256);
                    // What was there before may have been at fault: once more from the beginning.
                    if before == 0 {
                        return Err(Failure::Mirror(why));
                    }
                    why
                }
                Err(Received::Failed(Failure::Local(error))) => {
                    let error = error.context(format!("cannot write `{}`", part.display()));
                    return Err(Failure::Local(error));
                }
                Err(Received::Failed(failure)) => return Err(failure),
                Err(Received::Broken(why)) => {
                    // Further than ever: a server that sends the same again and again gets nowhere.
                    let after = out.len().map_err(|e| local("read", e))?;
                    if after > furthest.max(before) {
                        (furthest, failures) = (after, 0);
                    }
                    why
                }
            };
            failures += 1;
            if failures >= MOST_FAILURES {
                return Err(Failure::Mirror(error));
            }
        }
    }

    /// What comes through a channel next, unless a stop is asked for before.
    fn wait_for<T>(&self, from: &Receiver<T>) -> Result<T, Received> {
        loop {
            if self.stop.is_stopped() {
                return Err(Received::Failed(Failure::Stopped));
            }
            match from.recv_timeout(POLL) {
                Ok(came) => return Ok(came),
                Err(RecvTimeoutError::Timeout) => {}
                Err(error @ RecvTimeoutError::Disconnected) => {
                    return Err(Received::Broken(error.to_string()));
                }
            }
        }
    }

    /// Appends what comes from `from` on, or from the beginning.
    fn receive(
        &self,
        agent: &Agent,
        file: &RemoteFile<'_>,
        url: &str,
        from: Option<u64>,
        out: &mut dyn DiskFile,
        progress: &Progress,
    ) -> Result<(), Received> {
        let broken = |error: &dyn std::fmt::Display| Received::Broken(error.to_string());
        let local = |error| Received::Failed(Failure::Local(Error::wrap(error)));
        let refused = |why: String| Received::Failed(Failure::Mirror(why));
        let mut request = agent.get(url);
        if let Some(from) = from {
            request = request.header("Range", format!("bytes={from}-"));
        }
        // In a thread of its own: a server may be silent for long, and a stop does not wait for it.
        let (sender, answer) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more where it was stopped.
            let _ = sender.send(request.call());
        });
        let response = match self.wait_for(&answer)? {
            Ok(response) => response,
            // It leads to another address.
            Err(ureq::Error::TlsRequired) => {
                return Err(refused("it wants TLS; allowed: http://".to_owned()));
            }
            Err(error @ ureq::Error::BadUri(_)) => return Err(refused(error.to_string())),
            Err(error) => return Err(broken(&error)),
        };
        let mut length = match (response.status(), from) {
            (StatusCode::PARTIAL_CONTENT, Some(from)) if begins_at(&response, from) => from,
            // All of it, from a server that knows no ranges.
            (StatusCode::OK, _) => {
                out.set_len(0).map_err(local)?;
                0
            }
            (StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT, _) => {
                out.set_len(0).map_err(local)?;
                return Err(Received::Broken(
                    "it sends another part than was asked for".to_owned(),
                ));
            }
            (status, _) if status.is_server_error() => {
                return Err(Received::Broken(format!("it answers {status}")));
            }
            (status, _) => return Err(refused(format!("it answers {status}"))),
        };
        progress.set(length);
        let body = chunks(response.into_body().into_reader());
        loop {
            let chunk = self.wait_for(&body)?.map_err(|error| broken(&error))?;
            if chunk.is_empty() && length == file.bytes {
                return Ok(());
            }
            if chunk.is_empty() {
                return Err(Received::Broken(format!(
                    "it broke off after {length} of {} bytes",
                    file.bytes
                )));
            }
            length += chunk.len() as u64;
            if length > file.bytes {
                out.set_len(0).map_err(local)?;
                return Err(refused(format!(
                    "it sends more than the {} bytes that the file has",
                    file.bytes
                )));
            }
            out.append(&chunk).map_err(local)?;
            progress.set(length);
        }
    }
}

/// Reads in a thread of its own; what comes, a piece at a time, and at the end nothing.
fn chunks(mut body: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(MOST_WAITING);
    std::thread::spawn(move || {
        let mut buffer = vec![0; AT_ONCE];
        loop {
            let read = body.read(&mut buffer);
            let chunk = read.map(|n| buffer.get(..n).unwrap_or_default().to_vec());
            let is_last = !matches!(&chunk, Ok(chunk) if !chunk.is_empty());
            // Nobody listens any more where it was stopped.
            if sender.send(chunk).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// Whether an answer begins at this byte, as was asked for.
fn begins_at(response: &ureq::http::Response<ureq::Body>, from: u64) -> bool {
    let range = response.headers().get("Content-Range").and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

/// What is under a path.
enum Contents {
    Missing,
    Right,
    Wrong(String),
}

/// Why a mirror gave no file.
enum Failure {
    Mirror(String),
    Local(Error),
    Stopped,
}

/// Why an answer did not come whole.
enum Received {
    /// To be tried again.
    Broken(String),
    Failed(Failure),
}

fn stopped() -> Error {
    Error::msg("the download was interrupted; what has come is kept for the next time")
}

/// Removes a file in which nothing has come.
fn remove_empty(files: &Files, part: &Path) {
    if part.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        let _ = files.disk().remove_file(part);
    }
}

/// SHA-256 of a file.
fn hash_of(path: &Path) -> Result<String> {
    let failed = |e| Error::file("read", path, e);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(crate::hexadecimal(&hash.finalize())),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// What is shown meanwhile.
struct Progress {
    bar: ProgressBar,
    is_verbose: bool,
    bytes: u64,
}

impl Progress {
    fn new(file: &RemoteFile<'_>, is_verbose: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let target = match is_verbose && is_terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(file.bytes), target);
        let template = "{msg} {bar:20} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} \
                        {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━ "));
        }
        bar.set_message(file.name.to_owned());
        Self { bar, is_verbose, bytes: file.bytes }
    }

    fn begin(&self, url: &str) {
        if self.is_verbose && self.bar.is_hidden() {
            let megabytes = self.bytes as f64 / 1e6;
            Console::stderr().print(&format!("downloading {url} ({megabytes:.1} MB)"));
        }
    }

    fn set(&self, length: u64) {
        self.bar.set_position(length);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
