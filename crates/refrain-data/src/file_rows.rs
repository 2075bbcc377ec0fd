//! Rows read from a file by their position, the next ones ahead of their time.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use refrain_core::{Ahead, Error, Result, RowSource};

use crate::arrays::{ArrayFile, Element, Encoding, check_finite, open};

/// Rows in a file, each found by its position: memory holds the rows of two batches, however many
/// there are. A thread reads those that are [prefetched](RowSource::prefetch). Of an array that is
/// [`finite_only`](ArrayFile::finite_only), the numbers of a row are looked at each time that it is read.
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
    file: RowFile,
    /// Made when rows are wanted first; from then on the file is its.
    ahead: OnceLock<Ahead<Vec<f32>>>,
}

/// What is read where.
#[derive(Clone, Debug)]
struct RowFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
    start: u64,
    encoding: Encoding,
    rows: usize,
    width: usize,
    divisor: f32,
    /// Name and axes of a row where its numbers must be finite.
    finite_only: Option<(String, Vec<usize>)>,
    /// `[height, width, channels]` of rows that become `[channels, height, width]`.
    channels_last: Option<[usize; 3]>,
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
        let mut found = Self::at(&array.path, start, array.header.encoding, *rows, width)?;
        if array.is_finite_only {
            found.file.finite_only = Some((array.label(), row.to_vec()));
        }
        Ok(Some(found))
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
            file: Arc::new(Mutex::new(file)),
            start,
            encoding,
            rows,
            width,
            divisor: 1.0,
            finite_only: None,
            channels_last: None,
        };
        Ok(Self { file, ahead: OnceLock::new() })
    }

    /// The same rows with each number divided by `divisor`.
    pub fn divided_by(self, divisor: f32) -> Self {
        Self { file: RowFile { divisor, ..self.file }, ahead: OnceLock::new() }
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
        let file = RowFile { channels_last: Some(shape), ..self.file };
        Ok(Self { file, ahead: OnceLock::new() })
    }

    fn ahead(&self) -> &Ahead<Vec<f32>> {
        self.ahead.get_or_init(|| {
            let file = self.file.clone();
            Ahead::new(move |indices| {
                let mut rows = Vec::new();
                file.read(indices, &mut rows)?;
                Ok(rows)
            })
        })
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
        let read = self.ahead().get(indices)?;
        if rows.is_empty() {
            *rows = read;
        } else {
            rows.extend_from_slice(&read);
        }
        Ok(())
    }

    fn prefetch(&self, next: &[usize]) {
        self.ahead().prefetch(next);
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
            let follows = |pair: &&[usize]| matches!(pair, [a, b] if a.checked_add(1) == Some(*b));
            let run = 1 + left.windows(2).take_while(follows).count();
            let end = index.checked_add(run).filter(|end| *end <= self.rows).ok_or_else(|| {
                Error::data(format!(
                    "there is no row {} in `{}`, which has {}",
                    index.saturating_add(run - 1),
                    self.path.display(),
                    self.rows
                ))
            })?;
            bytes.resize((end - index) * size, 0);
            let at = self.start + (*index as u64) * size as u64;
            file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).map_err(
                |error| match error.kind() {
                    // It was longer when it was opened.
                    ErrorKind::UnexpectedEof => Error::data(format!(
                        "`{}` was shortened while it was read: there are no {} bytes from byte {at}, \
                         where row {index} begins",
                        self.path.display(),
                        bytes.len()
                    )),
                    _ => failed(error),
                },
            )?;
            let first_of_run = rows.len();
            self.encoding.decode(&bytes, rows);
            if let Some((label, row_shape)) = &self.finite_only {
                check_finite(rows.get(first_of_run..).unwrap_or_default(), *index, row_shape)
                    .map_err(|error| error.context(label))?;
            }
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

fn no_rows(label: &str) -> Error {
    Error::data(format!(
        "{label} has no rows of numbers; allowed: an axis of samples, and no empty axis"
    ))
}
