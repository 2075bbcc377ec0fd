//! Rows read from the disk are the rows in memory.

use std::path::{Path, PathBuf};

use refrain_core::RowSource;
use refrain_data::{ArrayFile, Converted, CsvOptions, CsvTable, FileRows};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numpy").join(name)
}

/// Rows in orders that lie next to each other, backwards, twice, and prefetched or not.
fn check(rows: &dyn RowSource, all: &[f32]) {
    let width = rows.width();
    assert_eq!(rows.len() * width, all.len());
    let last = rows.len() - 1;
    for indices in [vec![0], vec![last, 0], vec![0, 1, last, last], (0..=last).rev().collect()] {
        let expected: Vec<f32> =
            indices.iter().flat_map(|i| &all[i * width..(i + 1) * width]).copied().collect();
        for prefetched in [None, Some(indices.clone()), Some(vec![last])] {
            if let Some(prefetched) = prefetched {
                rows.prefetch(&prefetched);
            }
            let mut read = vec![-1.0];
            rows.read(&indices, &mut read).unwrap();
            assert_eq!(read[1..], expected, "{indices:?}");
        }
    }
    let error = rows.read(&[last + 1], &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains(&format!("there is no row {} in", last + 1)), "{error}");
    rows.prefetch(&[usize::MAX]);
    assert!(rows.read(&[usize::MAX], &mut Vec::new()).is_err());
}

#[test]
fn of_arrays() {
    let cache = tempfile::tempdir().unwrap();
    let converted = Converted::in_dir(cache.path());
    for name in ["f4", "f8_big_endian", "i2", "version_2"] {
        let file = ArrayFile::open_npy(&fixture(&format!("{name}.npy"))).unwrap();
        check(&FileRows::open(&file).unwrap().unwrap(), &file.read().unwrap().values);
    }
    for (archive, lies_there) in [("stored.npz", true), ("deflated.npz", false)] {
        for file in ArrayFile::open_npz(&fixture(archive), |_| true).unwrap() {
            let all = file.read().unwrap().values;
            let rows = FileRows::open(&file).unwrap();
            assert_eq!(rows.is_some(), lies_there);
            if let Some(rows) = rows {
                check(&rows, &all);
            }
            // Once more from what is there by now.
            check(&converted.array(&file).unwrap(), &all);
            check(&converted.array(&file).unwrap(), &all);
        }
    }
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 8);

    let fortran = ArrayFile::open_npy(&fixture("fortran.npy")).unwrap();
    assert!(FileRows::open(&fortran).unwrap().is_none());
    let error = converted.array(&fortran).unwrap_err().to_string();
    assert!(error.contains("numpy.ascontiguousarray"), "{error}");
}

#[test]
fn scaled_and_with_channels_first() {
    let file = ArrayFile::open_npy(&fixture("f4.npy")).unwrap();
    // Two rows of three numbers as images of one pixel with three channels, or of three with one.
    let open = || FileRows::open(&file).unwrap().unwrap().divided_by(4.0);
    let scaled: Vec<f32> = file.read().unwrap().values.iter().map(|x| x / 4.0).collect();
    check(&open(), &scaled);
    check(&open().channels_last([1, 1, 3]).unwrap(), &scaled);
    assert!(open().channels_last([1, 2, 3]).is_err());
}

#[test]
fn of_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    let lines = (0..3000).map(|i| format!("{i},{},{}\n", ["a", "b"][i % 2], i % 7));
    std::fs::write(&path, "n,t,y\n".to_owned() + &lines.collect::<String>()).unwrap();
    let options = CsvOptions { targets: vec!["y".into()], ..CsvOptions::default() };
    let table = CsvTable::infer(&path, &options, None).unwrap();
    let all = table.read(&path).unwrap();

    let converted = Converted::in_dir(folder.path().join("cache"));
    for _ in 0..2 {
        let (rows, targets) = converted.csv(&table, &path).unwrap();
        check(&rows, &all.inputs);
        assert_eq!(targets, all.targets);
    }
    let files = || std::fs::read_dir(folder.path().join("cache")).unwrap().count();
    assert_eq!(files(), 2);
    // Another file is another conversion.
    std::fs::write(&path, "n,t,y\n5,a,0\n6,b,1\n").unwrap();
    let (rows, targets) = converted.csv(&table, &path).unwrap();
    assert_eq!((rows.len(), targets), (2, vec![0.0, 1.0]));
    assert_eq!(files(), 4);
    // A line that cannot be read leaves nothing behind.
    std::fs::write(&path, "n,t,y\n5,a,0\n6,b,x\n").unwrap();
    let error = converted.csv(&table, &path).unwrap_err().to_string();
    assert!(error.contains("line 3: column 3 (`y`)"), "{error}");
    assert_eq!(files(), 4);
}
