//! Arrays in files: where each lies, and how it is read.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use refrain_core::{Error, Result, StopHandle};
use zip::{CompressionMethod, ZipArchive};

use super::element::Element;
use super::finite::check_finite;
use super::header::{Array, Header, Length, read_exactly};
use super::{idx, npy};
use crate::stop::Stoppable;

/// An archive of more files than this is no set of arrays.
const MOST_MEMBERS: usize = 10_000;

/// An array in a file: its header was read, its numbers were not.
///
/// # Example
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("labels-idx1-ubyte");
/// # std::fs::write(&path, b"\x00\x00\x08\x01\x00\x00\x00\x02\x07\x02").unwrap();
/// use refrain_data::ArrayFile;
///
/// let labels = ArrayFile::open_idx(&path)?;
/// assert_eq!(labels.shape(), [2]);
/// assert_eq!(labels.read()?.values, [7.0, 2.0]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrayFile {
    pub(crate) path: PathBuf,
    /// In an archive, the array's name.
    pub(crate) name: Option<String>,
    pub(crate) header: Header,
    place: Place,
    /// Whether numbers that are not finite are refused.
    pub(crate) is_finite_only: bool,
    stop: StopHandle,
}

/// Where the array begins, its header included.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The whole file, of so many bytes.
    Plain { length: u64 },
    /// A gzipped file of so many bytes.
    Gzip { length: u64 },
    /// This member of a zip archive, as it is, from byte `start` of the archive.
    Stored { index: usize, start: u64, length: u64 },
    /// This member of a zip archive, deflated to so many bytes.
    Deflated { index: usize, length: u64 },
}

impl ArrayFile {
    /// Opens an IDX file, gzipped or not: it is looked at, whatever its name is.
    ///
    /// # Errors
    /// When it cannot be read, or is none; naming file and byte.
    pub fn open_idx(path: &Path) -> Result<Self> {
        let (mut file, length) = open(path)?;
        let mut magic = [0; 2];
        let is_gzip = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
        file.rewind().map_err(|e| Error::file("read", path, e))?;
        let (header, place) = if is_gzip {
            let mut unpacked = MultiGzDecoder::new(BufReader::new(file));
            (idx::header(&mut unpacked), Place::Gzip { length })
        } else {
            (idx::header(&mut BufReader::new(file)), Place::Plain { length })
        };
        Self::checked(path, None, header, place)
    }

    /// Opens an NPY file.
    ///
    /// # Errors
    /// As [`open_idx`](Self::open_idx).
    pub fn open_npy(path: &Path) -> Result<Self> {
        let (file, length) = open(path)?;
        let header = npy::header(&mut BufReader::new(file));
        Self::checked(path, None, header, Place::Plain { length })
    }

    /// Names of the arrays in an NPZ archive, in its order.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn names_in_npz(path: &Path) -> Result<Vec<String>> {
        let mut archive = open_zip(path)?;
        let members = members(path, &mut archive)?;
        Ok(members.into_iter().map(|(_, name)| name).collect())
    }

    /// Opens the wanted arrays of an NPZ archive, in its order. What the others hold does not matter.
    ///
    /// # Errors
    /// When it cannot be read, or is none; when one of those arrays is none.
    pub fn open_npz(path: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Self>> {
        let mut archive = open_zip(path)?;
        let bad = |e: zip::result::ZipError| no_npz(path, &e.to_string());
        let mut arrays = Vec::new();
        for (index, name) in members(path, &mut archive)? {
            if !is_wanted(&name) {
                continue;
            }
            let mut member = archive.by_index(index).map_err(bad)?;
            let place = match (member.compression(), member.data_start()) {
                (CompressionMethod::Stored, Some(start)) => {
                    Place::Stored { index, start, length: member.size() }
                }
                _ => Place::Deflated { index, length: member.compressed_size() },
            };
            let header = npy::header(&mut member);
            arrays.push(Self::checked(path, Some(name), header, place)?);
        }
        Ok(arrays)
    }

    fn checked(
        path: &Path,
        name: Option<String>,
        header: Result<Header>,
        place: Place,
    ) -> Result<Self> {
        let whole = |error: Error| error.context(label(path, name.as_deref()));
        let header = header.map_err(whole)?;
        if let Place::Stored { start, length, .. } = place {
            // An archive may claim what lies behind its end.
            let there = path.metadata().map_err(|e| Error::file("read", path, e))?.len();
            if start.checked_add(length).is_none_or(|end| end > there) {
                return Err(whole(Error::data(format!(
                    "it claims {length} bytes from byte {start}, and the file has {there}"
                ))));
            }
        }
        header.check(place.length()).map_err(whole)?;
        let stop = StopHandle::default();
        Ok(Self { path: path.to_owned(), name, header, place, is_finite_only: false, stop })
    }

    /// Lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// What the numbers are.
    pub fn element(&self) -> Element {
        self.header.encoding.element
    }

    /// The name in the archive; `None` for a file of one array.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same array under a name.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The same array, of which NaN and infinite numbers are refused when they are read: by
    /// [`read`](Self::read) and [`each_rows`](Self::each_rows), and by
    /// [`FileRows`](crate::FileRows) made of it. Whole numbers are never looked at.
    ///
    /// # Example
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("x");
    /// # std::fs::write(&path, b"\0\0\x0d\x02\0\0\0\x01\0\0\0\x02\0\0\0\0\x7f\x80\0\0").unwrap();
    /// use refrain_data::ArrayFile;
    ///
    /// let array = ArrayFile::open_idx(&path)?;
    /// assert_eq!(array.read()?.values, [0.0, f32::INFINITY]);
    /// let error = array.finite_only().read().unwrap_err();
    /// assert!(error.to_string().contains("row 0, column 1 is infinite"));
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn finite_only(self) -> Self {
        Self { is_finite_only: !self.element().is_integer(), ..self }
    }

    /// The same array; what reads it breaks off when `stop` is stopped.
    pub fn stop_with(self, stop: &StopHandle) -> Self {
        Self { stop: stop.clone(), ..self }
    }

    /// What it is called in messages: `` `data.npz`, x_train ``.
    pub fn label(&self) -> String {
        label(&self.path, self.name())
    }

    /// Reads all numbers.
    ///
    /// # Errors
    /// When the file cannot be read, is cut off or damaged, or the numbers do not fit in memory.
    pub fn read(&self) -> Result<Array> {
        let length = self.place.length();
        self.with_bytes(|bytes| {
            let array = self.header.clone().read(bytes, length)?;
            self.check_rows(&array.values, 0)?;
            Ok(array)
        })
        .map_err(|error| error.context(self.label()))
    }

    /// Looks at the numbers of rows from `first_row` on.
    fn check_rows(&self, values: &[f32], first_row: usize) -> Result {
        match self.is_finite_only {
            true => check_finite(values, first_row, self.shape().get(1..).unwrap_or_default()),
            false => Ok(()),
        }
    }

    /// Reads all rows, the first axis, at most so many at a time, and hands their numbers to `f` in
    /// order. Memory holds those rows alone, unless the array is in Fortran's order. The last ones are
    /// handed over once the end of what is compressed, with its checksum, was seen.
    ///
    /// # Errors
    /// When the file cannot be read, is cut off or damaged; what `f` returns.
    pub fn each_rows(&self, most: usize, mut f: impl FnMut(Vec<f32>) -> Result) -> Result {
        let [rows, row @ ..] = self.shape() else {
            return Err(Error::data(format!(
                "{} is a single number; rows are wanted",
                self.label()
            )));
        };
        // Its size was checked against the file.
        let width: usize = row.iter().product();
        if self.header.is_fortran {
            let all = self.read()?.values;
            return all
                .chunks(most.max(1).saturating_mul(width.max(1)))
                .try_for_each(|rows| f(rows.to_vec()));
        }
        let encoding = self.header.encoding;
        let size = width * encoding.element.size();
        self.with_bytes(|bytes| {
            let mut buffer = Vec::new();
            let mut at = self.header.data_start;
            let mut left = *rows;
            while left > 0 && size > 0 {
                let n = left.min(most.max(1));
                buffer.resize(n * size, 0);
                read_exactly(bytes, &mut buffer, at)
                    .map_err(|error| error.context(self.label()))?;
                at += buffer.len() as u64;
                let first_row = rows - left;
                left -= n;
                if left == 0 {
                    // Before anybody relies on the last rows.
                    self.header
                        .check_end(bytes, at)
                        .map_err(|error| error.context(self.label()))?;
                }
                let mut values = Vec::with_capacity(n * width);
                encoding.decode(&buffer, &mut values);
                self.check_rows(&values, first_row).map_err(|error| error.context(self.label()))?;
                f(values)?;
            }
            Ok(())
        })
    }

    /// Where the numbers begin in the file, if they lie there as they are and row after row.
    pub(crate) fn rows_start(&self) -> Option<u64> {
        let start = match self.place {
            Place::Plain { .. } => 0,
            Place::Stored { start, .. } => start,
            Place::Gzip { .. } | Place::Deflated { .. } => return None,
        };
        // One axis is row-major and column-major.
        let is_in_rows = !self.header.is_fortran || self.shape().len() < 2;
        is_in_rows.then_some(start + self.header.data_start)
    }

    /// Calls `f` with the bytes of the numbers.
    fn with_bytes<T>(&self, f: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
        let read = |reader: &mut dyn Read| {
            let mut bytes = Stoppable { reader, stop: &self.stop };
            let mut header = vec![0; usize::try_from(self.header.data_start).unwrap_or(0)];
            read_exactly(&mut bytes, &mut header, 0)?;
            f(&mut bytes)
        };
        match self.place {
            Place::Plain { .. } => read(&mut BufReader::new(open(&self.path)?.0)),
            Place::Gzip { .. } => {
                read(&mut MultiGzDecoder::new(BufReader::new(open(&self.path)?.0)))
            }
            Place::Stored { index, .. } | Place::Deflated { index, .. } => {
                let mut archive = open_zip(&self.path)?;
                let bytes = archive.by_index(index);
                read(&mut bytes.map_err(|e| no_npz(&self.path, &e.to_string()))?)
            }
        }
    }
}

impl Place {
    fn length(self) -> Length {
        match self {
            Self::Plain { length } | Self::Stored { length, .. } => Length::Exactly(length),
            Self::Gzip { length } | Self::Deflated { length, .. } => Length::Compressed(length),
        }
    }
}

fn label(path: &Path, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("`{}`, {name}", path.display()),
        None => format!("`{}`", path.display()),
    }
}

/// Opens a regular file; its length.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    let failed = |e| Error::file("read", path, e);
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_file() {
        // A pipe might never end.
        let what = if metadata.is_dir() { "a folder" } else { "no regular file" };
        return Err(Error::data(format!("`{}` is {what}; name a file", path.display())));
    }
    Ok((File::open(path).map_err(failed)?, metadata.len()))
}

type Archive = ZipArchive<BufReader<File>>;

fn open_zip(path: &Path) -> Result<Archive> {
    let (file, _) = open(path)?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| no_npz(path, &e.to_string()))
}

/// Places and names of the arrays in an archive.
fn members(path: &Path, archive: &mut Archive) -> Result<Vec<(usize, String)>> {
    if archive.len() > MOST_MEMBERS {
        let n = archive.len();
        return Err(no_npz(path, &format!("it holds {n} files; allowed: up to {MOST_MEMBERS}")));
    }
    let mut members = Vec::new();
    for index in 0..archive.len() {
        let name = archive.name_for_index(index).transpose();
        let name = name.map_err(|e| no_npz(path, &e.to_string()))?.unwrap_or_default();
        // What else is in it is nobody's array.
        if let Some(name) = name.strip_suffix(".npy") {
            members.push((index, name.to_owned()));
        }
    }
    Ok(members)
}

fn no_npz(path: &Path, why: &str) -> Error {
    Error::data(format!("`{}` is no NPZ archive that can be read: {why}", path.display()))
}
