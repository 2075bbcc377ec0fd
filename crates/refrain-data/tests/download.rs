//! Downloads from a server in this process, which does whatever servers do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use refrain_core::StopHandle;
use refrain_data::{Download, Published, RemoteFile};
use sha2::{Digest as _, Sha256};

/// What a server answers to a request, by its number from 0 and the byte that it asks for.
type Answer = dyn Fn(usize, Option<usize>, &mut TcpStream) + Send + Sync;

struct Server {
    address: String,
    /// The first byte of each request's range.
    asked: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    fn start(
        answer: impl Fn(usize, Option<usize>, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/data", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let answer: Arc<Answer> = Arc::new(answer);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &log));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Option<usize>> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, log: &Mutex<Vec<Option<usize>>>) {
    let mut from = None;
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let line = line.unwrap().to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    let number = {
        let mut log = log.lock().unwrap();
        log.push(from);
        log.len() - 1
    };
    answer(number, from, &mut stream);
}

fn contents() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends a head, and what of the body comes before the connection breaks.
fn send(stream: &mut TcpStream, status: &str, more: &str, length: usize, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n");
    // The client may have left.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn whole(stream: &mut TcpStream, bytes: &[u8]) {
    send(stream, "200 OK", "", bytes.len(), bytes);
}

/// The rest from `from` on, of which at most `most` bytes come.
fn part(stream: &mut TcpStream, bytes: &[u8], from: Option<usize>, most: usize) {
    let rest = &bytes[from.unwrap_or(0)..];
    let range = from.map_or(String::new(), |from| {
        format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len())
    });
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    send(stream, status, &range, rest.len(), &rest[..most.min(rest.len())]);
}

fn fetch(mirrors: &[&Server], folder: &Path) -> Result<Vec<u8>, String> {
    let bytes = contents();
    let hash = hash(&bytes);
    let file = RemoteFile { name: "file.bin", bytes: bytes.len() as u64, sha256: &hash };
    let download = Download::from(mirrors.iter().map(|server| server.address.as_str()));
    let path = download.fetch(&file, folder).map_err(|error| error.to_string())?;
    assert_eq!(path, folder.join("file.bin"));
    Ok(std::fs::read(path).unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let server = Server::start(|_, _, stream| whole(stream, &contents()));
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("new/folder");
    for _ in 0..2 {
        assert_eq!(fetch(&[&server], &below), Ok(contents()));
    }
    assert_eq!(server.asked(), [None]);
    assert_eq!(names(&below), ["file.bin"]);
    // Damaged, it is.
    let mut damaged = contents();
    damaged[7] ^= 1;
    for bytes in [&damaged[..], b"short"] {
        std::fs::write(below.join("file.bin"), bytes).unwrap();
        assert_eq!(fetch(&[&server], &below), Ok(contents()));
    }
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_broken_connection_is_taken_up_again() {
    // Each answer breaks off after 300,000 bytes.
    let server = Server::start(|_, from, stream| part(stream, &contents(), from, 300_000));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(fetch(&[&server], folder.path()), Ok(contents()));
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0]), (3, None));
    assert!(asked[1] > Some(0) && asked[2] > asked[1], "{asked:?}");

    // Also by the next process.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file.bin.part"), &contents()[..100]).unwrap();
    let server = Server::start(|_, from, stream| part(stream, &contents(), from, usize::MAX));
    assert_eq!(fetch(&[&server], folder.path()), Ok(contents()));
    assert_eq!(server.asked(), [Some(100)]);
    assert_eq!(names(folder.path()), ["file.bin"]);
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let server = Server::start(|number, _, stream| {
        let bytes = contents();
        let most = if number == 0 { 1000 } else { bytes.len() };
        send(stream, "200 OK", "", bytes.len(), &bytes[..most]);
    });
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(fetch(&[&server], folder.path()), Ok(contents()));
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn what_is_wrong_is_refused_and_the_next_mirror_asked() {
    let wrong = Server::start(|_, _, stream| {
        let mut bytes = contents();
        bytes[5] ^= 1;
        whole(stream, &bytes);
    });
    let longer = Server::start(|_, _, stream| whole(stream, &[contents(), contents()].concat()));
    let missing = Server::start(|_, _, stream| send(stream, "404 Not Found", "", 0, b""));
    let busy = Server::start(|_, _, stream| send(stream, "503 Busy", "", 0, b""));
    let silent = Server::start(|_, _, _| {});
    let no_http = Server::start(|_, _, stream| {
        let _ = stream.write_all(b"hello\r\n\r\n");
    });
    let other_part = Server::start(|_, from, stream| match from {
        None => send(stream, "200 OK", "", contents().len(), &contents()[..10]),
        Some(_) => {
            let range = "Content-Range: bytes 0-9/800000\r\n";
            send(stream, "206 Partial Content", range, 10, &contents()[..10]);
        }
    });
    let good = Server::start(|_, from, stream| part(stream, &contents(), from, usize::MAX));
    for (bad, words) in [
        (&wrong, "instead of"),
        (&longer, "more than the 800000 bytes"),
        (&missing, "404"),
        (&busy, "503"),
        (&silent, "file.bin: "),
        (&no_http, "file.bin: "),
        (&other_part, "file.bin: "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = fetch(&[bad], folder.path()).unwrap_err();
        assert!(error.contains("cannot download file.bin"), "{error}");
        assert!(error.contains(words), "{error} instead of {words}");
        // What was received may be gone on with; nothing else is left.
        assert!(names(folder.path()).iter().all(|name| name == "file.bin.part"));
        assert_eq!(fetch(&[bad, &good], folder.path()), Ok(contents()));
    }
}

#[test]
fn what_was_left_by_another_file_is_made_good() {
    let server = Server::start(|_, from, stream| part(stream, &contents(), from, usize::MAX));
    for left in [vec![1; 1000], vec![1; contents().len()], vec![1; contents().len() + 5]] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file.bin.part"), left).unwrap();
        assert_eq!(fetch(&[&server], folder.path()), Ok(contents()));
    }
}

#[test]
fn a_stop_ends_it_and_keeps_what_has_come() {
    let stop = StopHandle::default();
    let from_server = stop.clone();
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("file.bin.part");
    let server = Server::start(move |_, from, stream| {
        part(stream, &contents(), from, 100_000);
        // Once some of it has come.
        while kept.metadata().map_or(0, |metadata| metadata.len()) == 0 {
            std::thread::yield_now();
        }
        from_server.stop();
        let _ = stream.write_all(&contents()[100_000..100_010]);
        // Until the client has left.
        let _ = stream.read(&mut [0]);
    });
    let bytes = contents();
    let hash = hash(&bytes);
    let file = RemoteFile { name: "file.bin", bytes: bytes.len() as u64, sha256: &hash };
    let download = Download::from([server.address.as_str()]).stop_with(&stop);
    let error = download.fetch(&file, folder.path()).unwrap_err().to_string();
    assert!(error.contains("the download was interrupted"), "{error}");
    let part = std::fs::read(folder.path().join("file.bin.part")).unwrap();
    assert!(!part.is_empty() && contents().starts_with(&part));
}

#[test]
fn a_stop_does_not_wait_for_a_server_that_is_silent_in_the_body() {
    let stop = StopHandle::default();
    let from_server = stop.clone();
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let is_over = Mutex::new(is_over);
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("file.bin.part");
    let server = Server::start(move |_, from, stream| {
        part(stream, &contents(), from, 100_000);
        while kept.metadata().map_or(0, |metadata| metadata.len()) < 100_000 {
            std::thread::yield_now();
        }
        from_server.stop();
        // Silent until the client has come back without the rest.
        let _ = is_over.lock().unwrap().recv();
    });
    let bytes = contents();
    let hash = hash(&bytes);
    let file = RemoteFile { name: "file.bin", bytes: bytes.len() as u64, sha256: &hash };
    let download = Download::from([server.address.as_str()]).stop_with(&stop);
    let began = std::time::Instant::now();
    let error = download.fetch(&file, folder.path()).unwrap_err().to_string();
    // Far below what a silent server is waited for, 15 s.
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert!(error.contains("the download was interrupted"), "{error}");
    let part = std::fs::read(folder.path().join("file.bin.part")).unwrap();
    assert_eq!(part, contents()[..100_000]);
    drop(over);
}

#[test]
fn a_stop_before_anything_has_come_leaves_nothing() {
    let stop = StopHandle::default();
    let from_server = stop.clone();
    let (answer, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    // Silent until the test is over.
    let server = Server::start(move |_, _, _| {
        from_server.stop();
        let _ = released.lock().unwrap().recv();
    });
    let folder = tempfile::tempdir().unwrap();
    let bytes = contents();
    let hash = hash(&bytes);
    let file = RemoteFile { name: "file.bin", bytes: bytes.len() as u64, sha256: &hash };
    let download = Download::from([server.address.as_str()]).stop_with(&stop);
    let error = download.fetch(&file, folder.path()).unwrap_err().to_string();
    assert!(error.contains("the download was interrupted"), "{error}");
    assert!(names(folder.path()).is_empty());
    // Nobody waited for an answer.
    drop(answer);
    assert_eq!(server.asked(), [None]);
}

#[test]
fn two_at_once_fetch_once() {
    let server = Server::start(|_, from, stream| part(stream, &contents(), from, usize::MAX));
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(fetch(&[&server], folder.path()), Ok(contents())));
        }
    });
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn without_network_the_files_and_their_place_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for mirror in ["http://127.0.0.1:9/", "https://127.0.0.1:9/", "no address", "ftp://x/"] {
        let error = Published::Mnist
            .fetch(&Download::from([mirror]), folder.path())
            .unwrap_err()
            .to_string();
        for file in Published::Mnist.files() {
            assert!(error.contains(file.name), "{error}");
        }
        let place = folder.path().join("mnist").display().to_string();
        assert!(error.contains(&place) && error.contains("path = \"DIR\""), "{error}");
    }
}
