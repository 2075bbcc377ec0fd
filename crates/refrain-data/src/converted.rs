//! Data too large for memory, and not to be found by position, converted into a file that is.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use refrain_core::files::{Disk, DiskFile, Files};
use refrain_core::{Error, Result};
use sha2::{Digest as _, Sha256};

use crate::arrays::ArrayFile;
use crate::csv::{CsvReader, CsvTable};
use crate::file_rows::FileRows;

/// Rows that are converted at a time.
const AT_ONCE: usize = 1024;

/// Where converted data is kept: once converted it is found there again, until the file that it came
/// from changes. It takes 4 bytes a number.
#[derive(Clone, Debug)]
pub struct Converted {
    folder: PathBuf,
}

impl Converted {
    /// Converted data in `folder`, which is made where it is missing.
    pub fn in_dir(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The rows of an array that is compressed.
    ///
    /// # Errors
    /// When the array cannot be read, or is in Fortran's order, in which a row lies all over the file;
    /// when there is no room.
    pub fn array(&self, array: &ArrayFile) -> Result<FileRows> {
        let label = array.label();
        let [rows, row @ ..] = array.shape() else {
            return Err(Error::data(format!("{label} is a single number; rows are wanted")));
        };
        let width: usize = row.iter().product();
        if array.header.is_fortran {
            return Err(Error::data(format!(
                "{label} is in Fortran's order, in which a row lies all over the file; to train on it \
                 from the disk, save it with numpy.ascontiguousarray"
            )));
        }
        let key = key(&array.path, &[array.name().unwrap_or_default()])?;
        let path = self.folder.join(format!("{key}.rows"));
        if !path.exists() {
            let mut out = Writer::new(&path)?;
            array.each_rows(AT_ONCE, |values| out.append(&values))?;
            out.commit()?;
        }
        FileRows::of_f32(&path, *rows, width)
    }

    /// The inputs of a table, and all its targets, which stay in memory.
    ///
    /// # Errors
    /// When the file cannot be read as that table, or there is no room.
    pub fn csv(&self, table: &CsvTable, path: &Path) -> Result<(FileRows, Vec<f32>)> {
        // What the numbers are depends on the table too.
        let key = key(path, &[&format!("{table:?}")])?;
        let [inputs, targets] =
            ["rows", "targets"].map(|kind| self.folder.join(format!("{key}.{kind}")));
        if !inputs.exists() || !targets.exists() {
            let mut reader = CsvReader::open(table, path)?;
            let (mut rows, mut labels) = (Writer::new(&inputs)?, Writer::new(&targets)?);
            loop {
                let batch = reader.next_rows(AT_ONCE)?;
                if batch.rows == 0 {
                    break;
                }
                rows.append(&batch.inputs)?;
                labels.append(&batch.targets)?;
            }
            // The inputs last: with them the targets are there.
            labels.commit()?;
            rows.commit()?;
        }
        let bytes = Files::default().contents(&targets);
        let bytes = bytes.map_err(|e| Error::file("read", &targets, e))?;
        let (numbers, _) = bytes.as_chunks();
        let length = inputs.metadata().map_err(|e| Error::file("read", &inputs, e))?.len();
        let width = table.width();
        let rows = usize::try_from(length / 4).unwrap_or(0) / width.max(1);
        let rows = FileRows::of_f32(&inputs, rows, width)?;
        Ok((rows, numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}

/// A name for what is made of a file as it is now.
fn key(path: &Path, parts: &[&str]) -> Result<String> {
    let failed = |e| Error::file("read", path, e);
    let metadata = path.metadata().map_err(failed)?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let mut hash = Sha256::new();
    let whole = path.canonicalize().map_err(failed)?;
    hash.update(whole.as_os_str().as_encoded_bytes());
    hash.update(format!("\0{}\0{changed:?}", metadata.len()));
    for part in parts {
        hash.update(b"\0");
        hash.update(part);
    }
    Ok(crate::hexadecimal(&hash.finalize()).chars().take(32).collect())
}

/// A file of numbers that is there whole or not at all.
struct Writer {
    files: Files,
    path: PathBuf,
    beside: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(path: &Path) -> Result<Self> {
        let files = Files::default();
        if let Some(folder) = path.parent() {
            files.create_folders(folder)?;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = PathBuf::from(beside);
        let _ = files.disk().remove_file(&beside);
        let file =
            files.disk().create_new(&beside).map_err(|e| Error::file("write", &beside, e))?;
        Ok(Self { files, path: path.to_owned(), beside, file: Some(file), bytes: Vec::new() })
    }

    fn append(&mut self, values: &[f32]) -> Result {
        self.bytes.clear();
        self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        match &mut self.file {
            Some(file) => {
                file.append(&self.bytes).map_err(|e| Error::file("write", &self.beside, e))
            }
            None => Ok(()),
        }
    }

    fn commit(mut self) -> Result {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let disk: &dyn Disk = self.files.disk();
        let renamed = file.sync().and_then(|()| {
            drop(file);
            disk.rename(&self.beside, &self.path)
        });
        renamed.map_err(|e| Error::file("write", &self.path, e))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = self.files.disk().remove_file(&self.beside);
    }
}
