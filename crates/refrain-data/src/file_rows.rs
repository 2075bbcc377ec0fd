//! Rows read from a file by their position, the next ones ahead of their time.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use refrain_core::{Error, Result, RowSource};

use crate::arrays::{ArrayFile, Element, Encoding, open};

/// Rows in a file, each found by its position: memory holds the rows of two batches, however many
/// there are. A thread reads those that are [prefetched](RowSource::prefetch).
///
/// # Example
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("x");
/// # std::fs::write(&path, b"\0\0\x08\x02\0\0\0\x02\0\0\0\x02\x00\x33\x66\xff").unwrap();
/// use refrain_core::RowSource as _;
/// use refrain_data::{ArrayFile, FileRows};
///
/// let rows = FileRows::open(&ArrayFile::open_idx(&path)?)?.expect("an uncompressed file");
/// let rows = rows.divided_by(255.0);
/// rows.prefetch(&[1]);
/// let mut row = Vec::new();
/// rows.read(&[1], &mut row)?;
/// assert_eq!(row, [0.4, 1.0]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Debug)]
pub struct FileRows {
    file: Arc<RowFile>,
    ahead: Mutex<Ahead>,
}

/// What is read where.
#[derive(Debug)]
struct RowFile {
    path: PathBuf,
    file: Mutex<File>,
    start: u64,
    encoding: Encoding,
    rows: usize,
    width: usize,
    divisor: f32,
    /// `[height, width, channels]` of rows that become `[channels, height, width]`.
    channels_last: Option<[usize; 3]>,
}

/// The thread that reads ahead, once there is something to read.
#[derive(Debug, Default)]
struct Ahead {
    reader: Option<Reader>,
    /// What it was asked for and has not been fetched.
    asked: Option<Vec<usize>>,
}

#[derive(Debug)]
struct Reader {
    /// `None` tells the thread to end.
    wishes: Option<Sender<Vec<usize>>>,
    answers: Receiver<Result<Vec<f32>>>,
    thread: Option<JoinHandle<()>>,
}

impl FileRows {
    /// The rows of an array, the first axis; `None` where they do not lie in the file as they are:
    /// it is compressed, or in Fortran's order.
    ///
    /// # Errors
    /// When the file cannot be opened, or a row holds nothing.
    pub fn open(array: &ArrayFile) -> Result<Option<Self>> {
        let Some(start) = array.rows_start() else {
            return Ok(None);
        };
        let [rows, row @ ..] = array.shape() else {
            return Err(no_rows(&array.label()));
        };
        let width = row.iter().product();
        Self::at(&array.path, start, array.header.encoding, *rows, width).map(Some)
    }

    /// Rows of `f32` from a file of nothing else.
    pub(crate) fn of_f32(path: &Path, rows: usize, width: usize) -> Result<Self> {
        let encoding = Encoding { element: Element::F32, is_big_endian: false };
        Self::at(path, 0, encoding, rows, width)
    }

    fn at(path: &Path, start: u64, encoding: Encoding, rows: usize, width: usize) -> Result<Self> {
        if width == 0 {
            return Err(no_rows(&format!("`{}`", path.display())));
        }
        let (file, _) = open(path)?;
        let file = RowFile {
            path: path.to_owned(),
            file: Mutex::new(file),
            start,
            encoding,
            rows,
            width,
            divisor: 1.0,
            channels_last: None,
        };
        Ok(Self { file: Arc::new(file), ahead: Mutex::default() })
    }

    /// The same rows with each number divided by `divisor`.
    pub fn divided_by(self, divisor: f32) -> Self {
        self.change(|file| RowFile { divisor, ..file })
    }

    /// The same rows, each of which is an image `[height, width, channels]` in the file, as
    /// `[channels, height, width]`.
    ///
    /// # Errors
    /// When a row has another number of elements.
    pub fn channels_last(self, shape: [usize; 3]) -> Result<Self> {
        if shape.iter().product::<usize>() != self.file.width {
            return Err(Error::data(format!(
                "a row of {} numbers is no image of the shape {shape:?}",
                self.file.width
            )));
        }
        Ok(self.change(|file| RowFile { channels_last: Some(shape), ..file }))
    }

    /// Before anything was read ahead, nobody else has the file.
    fn change(self, change: impl FnOnce(RowFile) -> RowFile) -> Self {
        let Self { file, ahead } = self;
        let file = match Arc::try_unwrap(file) {
            Ok(file) => Arc::new(change(file)),
            Err(file) => file,
        };
        Self { file, ahead }
    }
}

impl RowSource for FileRows {
    fn len(&self) -> usize {
        self.file.rows
    }

    fn width(&self) -> usize {
        self.file.width
    }

    fn read(&self, indices: &[usize], rows: &mut Vec<f32>) -> Result {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(asked) = ahead.asked.take() else {
            return self.file.read(indices, rows);
        };
        let answer = ahead.reader.as_ref().and_then(|reader| reader.answers.recv().ok());
        match answer {
            Some(answer) if asked == indices => {
                rows.extend_from_slice(&answer?);
                Ok(())
            }
            // Something else is wanted after all; or the thread is gone.
            _ => self.file.read(indices, rows),
        }
    }

    fn prefetch(&self, next: &[usize]) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.asked.is_some() {
            return;
        }
        let reader = match &mut ahead.reader {
            Some(reader) => reader,
            // Without a thread the rows are read when they are wanted.
            none => match Reader::start(&self.file) {
                Ok(reader) => none.insert(reader),
                Err(_) => return,
            },
        };
        let wishes = reader.wishes.as_ref();
        if wishes.is_some_and(|wishes| wishes.send(next.to_vec()).is_ok()) {
            ahead.asked = Some(next.to_vec());
        }
    }
}

impl RowFile {
    fn read(&self, indices: &[usize], rows: &mut Vec<f32>) -> Result {
        let size = self.width * self.encoding.element.size();
        let failed = |e| Error::file("read", &self.path, e);
        let first = rows.len();
        rows.reserve(indices.len() * self.width);
        let mut bytes = Vec::new();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = indices;
        while let [index, ..] = left {
            // Rows that follow each other are read at once.
            let run = left.iter().zip(*index..).take_while(|(a, b)| *a == b).count();
            let end = index.checked_add(run).filter(|end| *end <= self.rows).ok_or_else(|| {
                Error::data(format!(
                    "there is no row {} in `{}`, which has {}",
                    index.saturating_add(run - 1),
                    self.path.display(),
                    self.rows
                ))
            })?;
            bytes.resize((end - index) * size, 0);
            file.seek(SeekFrom::Start(self.start + (*index as u64) * size as u64))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(failed)?;
            self.encoding.decode(&bytes, rows);
            left = left.get(run..).unwrap_or_default();
        }
        drop(file);
        let rows = rows.get_mut(first..).unwrap_or_default();
        if self.divisor != 1.0 {
            rows.iter_mut().for_each(|value| *value /= self.divisor);
        }
        if let Some(shape) = self.channels_last {
            crate::layout::to_channels_first(rows, shape);
        }
        Ok(())
    }
}

impl Reader {
    fn start(file: &Arc<RowFile>) -> std::io::Result<Self> {
        let (wishes, wished) = channel::<Vec<usize>>();
        let (answer, answers) = channel();
        let file = Arc::clone(file);
        let read_all = move || {
            for indices in wished {
                let mut rows = Vec::new();
                let read = file.read(&indices, &mut rows).map(|()| rows);
                if answer.send(read).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("refrain-rows".to_owned()).spawn(read_all)?;
        Ok(Self { wishes: Some(wishes), answers, thread: Some(thread) })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, had it one, was seen where its answer was missing.
            let _ = thread.join();
        }
    }
}

fn no_rows(label: &str) -> Error {
    Error::data(format!(
        "{label} has no rows of numbers; allowed: an axis of samples, and no empty axis"
    ))
}
