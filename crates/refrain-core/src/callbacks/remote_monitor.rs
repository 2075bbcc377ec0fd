//! Sends the numbers of every epoch to a server.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::callback::{Access, Callback};
use crate::error::{Error, Result};
use crate::event::{EpochEnd, Hook};
use crate::logs::{Logs, non_finite_kind};
use crate::options::Section;
use crate::outcome::Outcome;
use crate::registry::{BuildContext, FromOptions};
use crate::run::Run;

/// Epochs that may wait to be sent: more than a minute of a server that does not answer.
const QUEUE: usize = 64;

/// Sends the numbers of every epoch to a server, by HTTP POST to `root` + `path`.
///
/// What is sent is a JSON object: `epoch`, counted from 0, then the epoch's logs. A value that is
/// not finite is `null`, with its kind in `"non_finite": {"loss": "NaN"}`, as in the JSON log. It
/// is the form field `field`, or with `send_as_json` the body.
///
/// Training never waits: a thread sends, one epoch after the other, each within `timeout_seconds`.
/// At most 64 epochs wait to be sent; one more is given up. When training ends, what waits is sent
/// for at most `timeout_seconds`, then given up. What was not sent (no connection, no answer in
/// time, an answer of 400 and above) is told in two warnings: the first one at once, the number at
/// the end.
///
/// It exists with the feature `remote-monitor` of the crate. HTTPS is not spoken: send to a relay
/// on your machine.
///
/// - Reads: all logs that are there when its turn comes
/// - Writes: nothing
/// - Requests: nothing
/// - State: nothing
/// - Cost: a thread during training; an epoch's JSON is written and queued
///
/// # Options
/// | option | default | allowed | meaning |
/// | --- | --- | --- | --- |
/// | `root` | "http://localhost:9000" | an address that begins with `http://` | the server |
/// | `path` | "/publish/epoch/end/" | the rest of the address | where it listens |
/// | `field` | "data" | not empty | name of the form's field |
/// | `headers` | none | a table of strings | headers of each request |
/// | `send_as_json` | false | true, false | whether the body is the JSON itself |
/// | `timeout_seconds` | 2 | > 0, ≤ 3600 | time for a request, and for the rest at the end |
///
/// # In a recipe
/// ```toml
/// [[callbacks]]
/// type = "remote_monitor"
/// root = "http://localhost:9000"
/// send_as_json = true
/// ```
///
/// # Example
/// ```
/// use refrain_core::callbacks::RemoteMonitor;
/// use refrain_core::console::Console;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Trainer};
///
/// // Nobody listens: a warning, and training is what it is without.
/// let monitor = RemoteMonitor::new("http://127.0.0.1:1");
/// let script = Script::losses(&[2.0, 1.0]);
/// let (console, printed) = Console::memory();
/// let mut trainer = Trainer::new(script.learner(), 0.1).console(console).callback(monitor);
/// let history = trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
///
/// assert_eq!(history.len(), 2);
/// assert_eq!(trainer.get::<RemoteMonitor>().unwrap().unsent(), 2);
/// assert!(printed.contents().contains("2 of 2 epochs could not be sent"));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Differs from Keras
/// - Training does not wait for the server; in Keras one that does not answer stops it for ever.
/// - An answer of 400 and above counts as not sent; Keras does not look at it.
/// - NaN and infinities are `null`; Keras writes words that are no JSON, or fails.
///
/// # Source
/// Keras' `keras.callbacks.RemoteMonitor`.
#[derive(Debug)]
pub struct RemoteMonitor {
    root: String,
    path: String,
    field: String,
    headers: Vec<(String, String)>,
    send_as_json: bool,
    timeout_seconds: f64,
    /// While training.
    sender: Option<Sender>,
    tally: Arc<Tally>,
    /// Epochs of this run.
    epochs: usize,
    is_failure_told: bool,
}

/// The thread that sends, seen from training.
#[derive(Debug)]
struct Sender {
    queue: SyncSender<String>,
    /// Closed by the thread when it ends.
    end: Receiver<()>,
}

/// What both threads know.
#[derive(Debug, Default)]
struct Tally {
    sent: AtomicUsize,
    is_over: AtomicBool,
    /// The first reason why something was not sent.
    failure: Mutex<Option<String>>,
}

impl Default for RemoteMonitor {
    fn default() -> Self {
        Self::new("http://localhost:9000")
    }
}

impl RemoteMonitor {
    /// Sends to this server: `http://host:port`.
    pub fn new(root: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            path: "/publish/epoch/end/".to_owned(),
            field: "data".to_owned(),
            headers: Vec::new(),
            send_as_json: false,
            timeout_seconds: 2.0,
            sender: None,
            tally: Arc::default(),
            epochs: 0,
            is_failure_told: false,
        }
    }

    /// Where the server listens. Default `/publish/epoch/end/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Name of the form's field. Default `data`.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// A header of each request. Default none.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Whether the body is the JSON itself. Default false: a form.
    pub fn send_as_json(mut self, send_as_json: bool) -> Self {
        self.send_as_json = send_as_json;
        self
    }

    /// Seconds for a request, and for what is left when training ends. Default 2.
    pub fn timeout_seconds(mut self, seconds: f64) -> Self {
        self.timeout_seconds = seconds;
        self
    }

    /// Epochs of the last run that the server took.
    pub fn sent(&self) -> usize {
        self.tally.sent.load(Ordering::Acquire)
    }

    /// Epochs of the last run that were not sent, or not yet.
    pub fn unsent(&self) -> usize {
        self.epochs.saturating_sub(self.sent())
    }

    fn uri(&self) -> Result<Uri> {
        let refuse = |why: &str| {
            let shown = format!("{:?}", format!("{}{}", self.root, self.path));
            let allowed = "allowed: an address such as http://localhost:9000";
            Error::config(format!("root and path make {shown}{why}; {allowed}"))
        };
        let uri: Uri = format!("{}{}", self.root, self.path).parse().map_err(|_| refuse(""))?;
        // A port that is no port reads as none.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let has_port = authority.rsplit(['@', ']']).next().is_some_and(|end| end.contains(':'));
        if has_port && uri.port_u16().is_none() {
            return Err(refuse(", whose port is none"));
        }
        match uri.scheme_str() {
            Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
            Some("https") => Err(refuse(", and HTTPS is not spoken here")),
            _ => Err(refuse("")),
        }
    }

    /// The server without a password that the address may hold.
    fn server(&self) -> String {
        let Ok(uri) = self.uri() else {
            return self.root.clone();
        };
        let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("http://{}{port}{}", uri.host().unwrap_or_default(), uri.path())
    }

    fn spawn(&self) -> Result<Sender> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let (ended, end) = mpsc::channel();
        let post = Post {
            agent: agent(&self.uri()?, self.timeout()?),
            uri: self.uri()?,
            field: (!self.send_as_json).then(|| self.field.clone()),
            headers: self.headers.clone(),
        };
        let tally = Arc::clone(&self.tally);
        thread::Builder::new()
            .name("refrain-remote-monitor".to_owned())
            .spawn(move || {
                // Dropped when the thread ends, whatever ends it.
                let _ended = ended;
                send_all(&jobs, &post, &tally);
            })
            .map_err(|e| Error::wrap(e).context("cannot start the thread that sends"))?;
        Ok(Sender { queue, end })
    }

    fn timeout(&self) -> Result<Duration> {
        let seconds = self.timeout_seconds;
        if !is_timeout(seconds) {
            let message = format!("timeout_seconds is {seconds}; allowed: {TIMEOUTS}");
            return Err(Error::config(message));
        }
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Tells the first failure, once.
    fn tell_failure(&mut self, run: &mut Run<'_>) {
        if self.is_failure_told {
            return;
        }
        if let Some(why) = self.tally.failure() {
            self.is_failure_told = true;
            let (name, server) = (run.callback_name(), self.server());
            run.print(&format!(
                "warning: callback `{name}` could not send an epoch to {server}: {why}; training \
                 goes on"
            ));
        }
    }
}

const TIMEOUTS: &str = "a number above 0, at most 3600";

fn is_timeout(seconds: f64) -> bool {
    seconds > 0.0 && seconds <= 3600.0
}

impl Tally {
    fn fail(&self, why: &str) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| why.to_owned());
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How an epoch is sent.
struct Post {
    agent: Agent,
    uri: Uri,
    /// The form's field; none for a body of JSON.
    field: Option<String>,
    headers: Vec<(String, String)>,
}

impl Post {
    fn send(&self, json: &str) -> Result<(), ureq::Error> {
        let mut request = self.agent.post(&self.uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match &self.field {
            Some(field) => request.send_form([(field.as_str(), json)]),
            None => request.content_type("application/json").send(json),
        }
        .map(|_| ())
    }
}

fn agent(uri: &Uri, timeout: Duration) -> Agent {
    let mut config = Agent::config_builder().timeout_global(Some(timeout));
    let host = uri.host().unwrap_or_default();
    if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        // What a proxy calls localhost is another machine.
        config = config.proxy(None);
    }
    config.build().into()
}

/// The thread: sends what is queued until the queue is closed or nobody waits any more.
fn send_all(jobs: &Receiver<String>, post: &Post, tally: &Tally) {
    for json in jobs {
        if tally.is_over.load(Ordering::Acquire) {
            return;
        }
        match post.send(&json) {
            Ok(()) => {
                tally.sent.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => tally.fail(&error.to_string()),
        }
    }
}

impl Callback for RemoteMonitor {
    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        if run.rollbacks() > 0 && self.sender.is_some() {
            // Went back: what was sent was sent.
            return Ok(());
        }
        self.tally = Arc::default();
        self.epochs = 0;
        self.is_failure_told = false;
        self.sender = if run.is_rehearsal() { None } else { Some(self.spawn()?) };
        Ok(())
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, end: &mut EpochEnd<'_>) -> Result {
        let Some(sender) = &self.sender else {
            return Ok(());
        };
        self.epochs += 1;
        if sender.queue.try_send(payload(run.progress.epoch, end.logs)).is_err() {
            self.tally.fail(&format!("{QUEUE} epochs wait to be sent"));
        }
        self.tell_failure(run);
        Ok(())
    }

    fn on_train_end(&mut self, run: &mut Run<'_>, _: &Outcome<'_>) -> Result {
        let Some(Sender { queue, end }) = self.sender.take() else {
            return Ok(());
        };
        // The thread ends when it has sent what is queued.
        drop(queue);
        if end.recv_timeout(self.timeout()?) == Err(RecvTimeoutError::Timeout) {
            // It ends by itself, at the latest when its request does.
            self.tally.is_over.store(true, Ordering::Release);
            self.tally.fail("no answer in time");
        }
        self.tell_failure(run);
        let (unsent, epochs) = (self.unsent(), self.epochs);
        if unsent > 0 {
            let (name, server) = (run.callback_name(), self.server());
            run.print(&format!(
                "warning: callback `{name}`: {unsent} of {epochs} epoch{} could not be sent to \
                 {server}",
                if epochs == 1 { "" } else { "s" }
            ));
        }
        Ok(())
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::TrainBegin, Hook::EpochEnd, Hook::TrainEnd]).observes()
    }

    fn check(&self) -> Result {
        self.uri()?;
        self.timeout()?;
        if self.field.is_empty() {
            return Err(Error::config("field is empty; name the form's field"));
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() {
                return Err(Error::config(format!("{name:?} in headers is no header's name")));
            }
            if HeaderValue::try_from(value).is_err() {
                // Not shown: headers hold passwords.
                return Err(Error::config(format!(
                    "the header `{name}` has characters that no header may have"
                )));
            }
        }
        Ok(())
    }
}

/// What is sent of an epoch.
fn payload(epoch: usize, logs: &Logs) -> String {
    let mut payload = Map::new();
    let mut non_finite = Map::new();
    payload.insert("epoch".into(), epoch.into());
    for (name, value) in logs.iter() {
        payload.insert(name.into(), value.into());
        if let Some(kind) = non_finite_kind(value) {
            // serde_json makes it null, and the difference would be lost.
            non_finite.insert(name.into(), kind.into());
        }
    }
    if !non_finite.is_empty() {
        payload.insert("non_finite".into(), non_finite.into());
    }
    Value::Object(payload).to_string()
}

impl FromOptions for RemoteMonitor {
    const NAME: &'static str = "remote_monitor";

    fn from_options(options: &Section<'_>, _: &BuildContext<'_>) -> Result<Self> {
        let mut monitor = Self::default();
        let root = options.get("root");
        if let Some(root) = &root {
            monitor.root = root.str()?.to_owned();
        }
        if let Some(path) = options.get("path") {
            monitor = monitor.path(path.str()?);
        }
        monitor.uri().map_err(|e| root.map_or_else(|| options.error(&e), |root| root.error(&e)))?;
        if let Some(field) = options.get("field") {
            monitor = monitor.field(field.str()?);
        }
        if let Some(headers) = options.get("headers") {
            for (name, value) in headers.entries()? {
                monitor = monitor.header(name, value.str()?);
            }
        }
        if let Some(send_as_json) = options.get("send_as_json") {
            monitor = monitor.send_as_json(send_as_json.bool()?);
        }
        if let Some(timeout) = options.get("timeout_seconds") {
            monitor = monitor.timeout_seconds(timeout.f64_in(TIMEOUTS, is_timeout)?);
        }
        Ok(monitor)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::console::Console;
    use crate::testing::Script;
    use crate::{Fit, History, LambdaCallback, Trainer};

    /// A server of the test's own; what `answer` makes of each request's (head, body) comes back.
    fn serve<T: Send + 'static>(
        requests: usize,
        mut answer: impl FnMut(String, String) -> (&'static str, T) + Send + 'static,
    ) -> (String, thread::JoinHandle<Vec<T>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut seen = Vec::new();
            while seen.len() < requests {
                let (stream, _) = listener.accept().unwrap();
                let (head, body) = read_request(&stream);
                let (status, what) = answer(head, body);
                let reply =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                (&stream).write_all(reply.as_bytes()).unwrap();
                seen.push(what);
            }
            seen
        });
        (root, server)
    }

    fn read_request(stream: &TcpStream) -> (String, String) {
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            head.push_str(&line);
            head.push('\n');
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    /// A run of `epochs`: its history, what it printed, how much was sent and not sent.
    fn run(
        monitor: RemoteMonitor,
        then: LambdaCallback,
        epochs: usize,
    ) -> (History, String, (usize, usize)) {
        let script = Script::losses(&[0.5, f64::NAN]);
        let (console, printed) = Console::memory();
        let mut trainer =
            Trainer::new(script.learner(), 0.1).console(console).callback(monitor).callback(then);
        let history = trainer.fit(&script.data(), Fit::epochs(epochs).verbose(0)).unwrap();
        assert_eq!(trainer.disabled().count(), 0);
        let monitor = trainer.get::<RemoteMonitor>().unwrap();
        (history, printed.contents(), (monitor.sent(), monitor.unsent()))
    }

    fn nothing() -> LambdaCallback {
        LambdaCallback::new("nothing")
    }

    #[test]
    fn a_form_is_sent_as_keras_sends_it() {
        let (root, server) = serve(2, |head, body| ("200 OK", (head, body)));
        let monitor = RemoteMonitor::new(root).header("X-Key", "secret").timeout_seconds(60.0);
        let (_, printed, counts) = run(monitor, nothing(), 2);
        assert_eq!((printed.as_str(), counts), ("", (2, 0)));
        let seen = server.join().unwrap();
        let (head, body) = &seen[0];
        assert!(head.starts_with("post /publish/epoch/end/ http/1.1\n"), "{head}");
        assert!(head.contains("content-type: application/x-www-form-urlencoded\n"), "{head}");
        assert!(head.contains("x-key: secret\n"), "{head}");
        assert_eq!(
            body,
            "data=%7B%22epoch%22%3A0%2C%22loss%22%3A0.5%2C%22learning_rate%22%3A0.1%7D"
        );
    }

    #[test]
    fn json_is_valid_whatever_the_value() {
        let (root, server) = serve(2, |head, body| ("204 No Content", (head, body)));
        let monitor =
            RemoteMonitor::new(root).path("/x?y=1").send_as_json(true).timeout_seconds(60.0);
        assert_eq!(run(monitor, nothing(), 2).2, (2, 0));
        let seen = server.join().unwrap();
        let (head, body) = &seen[1];
        assert!(head.starts_with("post /x?y=1 http/1.1\n"), "{head}");
        assert!(head.contains("content-type: application/json\n"), "{head}");
        assert_eq!(
            body,
            r#"{"epoch":1,"loss":null,"learning_rate":0.1,"non_finite":{"loss":"NaN"}}"#
        );
    }

    #[test]
    fn training_does_not_wait_for_the_server() {
        // It answers nobody until the last epoch has ended: would training wait, nothing were sent.
        let (last_epoch_ended, wait) = mpsc::channel();
        let (root, server) = serve(5, move |_, _| {
            let _ = wait.recv();
            ("200 OK", ())
        });
        let then = LambdaCallback::new("then").on_epoch_end(move |run, _| {
            if run.progress.is_last_epoch() {
                (0..5).for_each(|_| last_epoch_ended.send(()).unwrap());
            }
            Ok(())
        });
        let (_, printed, counts) = run(RemoteMonitor::new(root).timeout_seconds(60.0), then, 5);
        assert_eq!((printed.as_str(), counts), ("", (5, 0)));
        server.join().unwrap();
    }

    #[test]
    fn what_cannot_be_sent_is_told_once_and_counted() {
        // Nobody accepts; the system takes the connection, and no answer comes.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed_root = format!("http://{}", closed.local_addr().unwrap());
        drop(closed);
        let (refusing, server) = serve(3, |_, _| ("500 Internal Server Error", ()));
        let silent_root = format!("http://{}", silent.local_addr().unwrap());
        // A server that answers is waited for, however slow the machine is.
        for (root, seconds) in [(silent_root, 0.5), (closed_root, 60.0), (refusing, 60.0)] {
            let monitor = RemoteMonitor::new(&root).timeout_seconds(seconds);
            let (history, printed, counts) = run(monitor, nothing(), 3);
            assert_eq!((history.len(), counts), (3, (0, 3)));
            let lines: Vec<&str> = printed.lines().collect();
            assert_eq!(lines.len(), 2, "{printed}");
            assert!(lines[0].contains(&format!("could not send an epoch to {root}/")), "{printed}");
            assert!(lines[1].contains("3 of 3 epochs could not be sent"), "{printed}");
        }
        server.join().unwrap();
    }

    #[test]
    fn the_queue_is_bounded() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = format!("http://{}", silent.local_addr().unwrap());
        let monitor = RemoteMonitor::new(root).timeout_seconds(0.5);
        let (_, printed, counts) = run(monitor, nothing(), 10 * QUEUE);
        assert_eq!(counts, (0, 10 * QUEUE));
        assert!(printed.contains("64 epochs wait to be sent"), "{printed}");
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        let monitor = RemoteMonitor::default;
        for (monitor, expected) in [
            (RemoteMonitor::new("https://example.org"), "HTTPS is not spoken here"),
            (RemoteMonitor::new("localhost:9000"), "allowed: an address such as"),
            (RemoteMonitor::new(""), "allowed: an address such as"),
            (RemoteMonitor::new("http://"), "allowed: an address such as"),
            (monitor().timeout_seconds(0.0), "timeout_seconds is 0; allowed: a number above 0"),
            (monitor().timeout_seconds(f64::NAN), "timeout_seconds is NaN"),
            (monitor().timeout_seconds(1e300), "at most 3600"),
            (monitor().field(""), "field is empty"),
            (monitor().header("a b", ""), "no header's name"),
            (monitor().header("a", "b\r\nc: d"), "characters that no header may have"),
        ] {
            let error = monitor.check().unwrap_err();
            assert!(error.is_config());
            assert!(error.to_string().contains(expected), "{error}");
        }
        let named = RemoteMonitor::new("http://user:password@example.org:80").server();
        assert_eq!(named, "http://example.org:80/publish/epoch/end/");
    }

    #[test]
    fn a_rehearsal_sends_nothing() {
        let script = Script::losses(&[1.0]);
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(RemoteMonitor::default()).rehearse();
        trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap();
        let monitor = trainer.get::<RemoteMonitor>().unwrap();
        assert_eq!((monitor.sent(), monitor.unsent()), (0, 0));
    }
}
