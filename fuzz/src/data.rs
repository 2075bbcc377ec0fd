//! Data files: arrays and tables.

use std::path::PathBuf;

use refrain_data::{Array, ArrayFile, CsvOptions, CsvTable, Fill, read_idx, read_npy};

/// Reads the bytes as an IDX file.
pub fn idx(bytes: &[u8]) {
    check(read_idx(bytes).map(|array| vec![array]), bytes.len());
}

/// Reads the bytes as an NPY file.
pub fn npy(bytes: &[u8]) {
    check(read_npy(bytes).map(|array| vec![array]), bytes.len());
}

/// Reads the bytes as an NPZ archive.
pub fn npz(bytes: &[u8]) {
    let file = File::with(bytes);
    let read = ArrayFile::open_npz(&file.path, |_| true)
        .and_then(|arrays| arrays.iter().map(ArrayFile::read).collect::<Result<_, _>>());
    // Deflate makes at most this of a byte; members may overlap.
    check(read, bytes.len() * 1032 * 8);
}

/// Reads the bytes as a table, as the first two of them say.
pub fn csv(bytes: &[u8]) {
    let [choice, target, text @ ..] = bytes else {
        return;
    };
    let is_set = |bit: u8| choice & (1 << bit) != 0;
    let options = CsvOptions {
        delimiter: if is_set(0) { b';' } else { b',' },
        has_header: is_set(1),
        targets: if is_set(2) { vec![char::from(*target).to_string()] } else { Vec::new() },
        missing: match choice >> 6 {
            0 => None,
            1 => Some(Fill::Mean),
            2 => Some(Fill::Median),
            _ => Some(Fill::Number(0.0)),
        },
        targets_are_classes: is_set(3),
        max_categories: 10,
        ..CsvOptions::default()
    };
    let file = File::with(text);
    let split = is_set(4).then_some(0.5);
    let table = CsvTable::infer(&file.path, &options, split);
    match table.and_then(|table| Ok((table.read(&file.path)?, table))) {
        Ok((rows, table)) => {
            assert_eq!(rows.inputs.len(), rows.rows * table.width());
            assert_eq!(rows.targets.len(), rows.rows * table.target.width());
            assert!(rows.inputs.iter().chain(&rows.targets).all(|number| number.is_finite()));
            assert!(rows.rows <= text.len() && table.width() <= text.len() * 10);
        }
        Err(error) => told(&error.to_string()),
    }
}

fn check(read: refrain_core::Result<Vec<Array>>, most: usize) {
    match read {
        Ok(arrays) => {
            for array in arrays {
                assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
                assert!(array.values.len() <= most);
            }
        }
        Err(error) => told(&error.to_string()),
    }
}

/// An error is of one line that steers no terminal.
fn told(error: &str) {
    assert!(!error.is_empty() && !error.chars().any(char::is_control), "{error:?}");
}

/// A file that is removed at the end.
struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    fn with(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).expect("a file in it");
        Self { path, _folder: folder }
    }
}
