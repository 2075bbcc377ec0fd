//! Rows read from the disk are the rows in memory.

use std::path::{Path, PathBuf};

use refrain_core::{RowSource, StopHandle};
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

/// Sizes and contents of what is in a folder.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn what_was_damaged_in_the_cache_is_converted_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let converted = Converted::in_dir(&cache);
    let path = folder.path().join("t.csv");
    std::fs::write(&path, "n,m,y\n1,2,3\n4,5,6\n7,8,9\n").unwrap();
    let options = CsvOptions { targets: vec!["y".into()], ..CsvOptions::default() };
    let table = CsvTable::infer(&path, &options, None).unwrap();
    let array = ArrayFile::open_npz(&fixture("deflated.npz"), |_| true).unwrap().remove(0);
    let all = array.read().unwrap().values;
    let read = || {
        let (rows, targets) = converted.csv(&table, &path).unwrap();
        check(&rows, &[1.0, 2.0, 4.0, 5.0, 7.0, 8.0]);
        assert_eq!(targets, [3.0, 6.0, 9.0]);
        check(&converted.array(&array).unwrap(), &all);
    };
    read();
    let whole = contents(&cache);
    assert_eq!(whole.len(), 3);
    for (name, bytes) in &whole {
        let damaged: [Vec<u8>; 6] = [
            vec![],
            vec![0; bytes.len()],
            bytes[..bytes.len() - 4].to_vec(),
            bytes[4..].to_vec(),
            [&bytes[..], b"more"].concat(),
            bytes.iter().enumerate().map(|(i, byte)| byte ^ u8::from(i == 1)).collect(),
        ];
        for damaged in damaged {
            std::fs::write(cache.join(name), damaged).unwrap();
            read();
            assert_eq!(contents(&cache), whole);
        }
    }
}

#[cfg(unix)]
#[test]
fn an_edit_that_keeps_size_and_time_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, "n,y\n1,2\n3,4\n").unwrap();
    let options = CsvOptions { targets: vec!["y".into()], ..CsvOptions::default() };
    let table = CsvTable::infer(&path, &options, None).unwrap();
    let converted = Converted::in_dir(folder.path().join("cache"));
    check(&converted.csv(&table, &path).unwrap().0, &[1.0, 3.0]);
    let time = path.metadata().unwrap().modified().unwrap();
    // Longer than the clock of a file system takes to go on.
    std::thread::sleep(std::time::Duration::from_millis(30));
    std::fs::write(&path, "n,y\n7,2\n3,4\n").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(path.metadata().unwrap().modified().unwrap(), time);
    check(&converted.csv(&table, &path).unwrap().0, &[7.0, 3.0]);
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let cache = tempfile::tempdir().unwrap();
    let key = "0123456789abcdef".repeat(2);
    let other = "f".repeat(32);
    for name in [
        format!("{key}.rows.tmp"),
        format!("{key}.targets.tmp"),
        format!("{key}.lock"),
        format!("{other}.rows.tmp"),
        format!("{other}.lock"),
        "mine.tmp".to_owned(),
    ] {
        std::fs::write(cache.path().join(name), b"left").unwrap();
    }
    // Another is being converted.
    let files = refrain_core::files::Files::default();
    let lock = files.disk().lock(&cache.path().join(format!("{other}.lock"))).unwrap().unwrap();
    let array = ArrayFile::open_npz(&fixture("deflated.npz"), |_| true).unwrap().remove(0);
    let converted = Converted::in_dir(cache.path());
    converted.array(&array).unwrap();
    let names = || contents(cache.path()).into_iter().map(|(name, _)| name);
    let expected = [format!("{other}.lock"), format!("{other}.rows.tmp"), "mine.tmp".to_owned()];
    let (rows, left): (Vec<_>, Vec<_>) = names().partition(|name| name.ends_with(".rows"));
    assert_eq!((rows.len(), left), (1, expected.to_vec()));
    drop(lock);
    std::fs::write(cache.path().join(&rows[0]), b"damaged").unwrap();
    converted.array(&array).unwrap();
    assert_eq!(names().filter(|name| !name.ends_with(".rows")).collect::<Vec<_>>(), ["mine.tmp"]);
}

#[test]
fn processes_convert_one_after_the_other() {
    let cache = tempfile::tempdir().unwrap();
    let array = ArrayFile::open_npz(&fixture("deflated.npz"), |_| true).unwrap().remove(0);
    let all = array.read().unwrap().values;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| check(&Converted::in_dir(cache.path()).array(&array).unwrap(), &all));
        }
    });
    assert_eq!(contents(cache.path()).len(), 1);
}

#[test]
fn a_stop_ends_a_conversion() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, "n,y\n1,2\n").unwrap();
    let options = CsvOptions { targets: vec!["y".into()], ..CsvOptions::default() };
    let table = CsvTable::infer(&path, &options, None).unwrap();
    let array = ArrayFile::open_npz(&fixture("deflated.npz"), |_| true).unwrap().remove(0);
    let stop = StopHandle::default();
    stop.stop();
    let cache = folder.path().join("cache");
    let converted = Converted::in_dir(&cache).stop_with(&stop);
    for stopped in [converted.csv(&table, &path).map(|_| ()), converted.array(&array).map(|_| ())] {
        let error = stopped.unwrap_err().to_string();
        assert!(error.contains("was interrupted"), "{error}");
    }
    assert!(contents(&cache).is_empty());
    // What is there already is compared with its hash, which takes as long.
    Converted::in_dir(&cache).csv(&table, &path).unwrap();
    let error = converted.csv(&table, &path).unwrap_err().to_string();
    assert!(error.contains(".rows` was interrupted"), "{error}");
    assert_eq!(contents(&cache).len(), 2);
}

#[test]
fn a_file_that_was_shortened_is_named_with_row_and_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, b"\0\0\x08\x02\0\0\0\x04\0\0\0\x0212345678").unwrap();
    let rows = FileRows::open(&ArrayFile::open_idx(&path).unwrap()).unwrap().unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(17).unwrap();
    rows.read(&[1], &mut Vec::new()).unwrap();
    let error = rows.read(&[2], &mut Vec::new()).unwrap_err().to_string();
    assert!(
        error.contains("x` was shortened") && error.contains("byte 16, where row 2"),
        "{error}"
    );
}

#[test]
fn a_stop_ends_the_reading_of_an_array() {
    let open = |archive| ArrayFile::open_npz(&fixture(archive), |_| true).unwrap().remove(0);
    for array in [open("stored.npz"), open("deflated.npz")] {
        let stop = StopHandle::default();
        let stopped = array.clone().stop_with(&stop);
        let mut rows_read = 0;
        let error = stopped
            .each_rows(1, |_| {
                rows_read += 1;
                stop.stop();
                Ok(())
            })
            .unwrap_err()
            .to_string();
        assert_eq!(rows_read, 1, "none after the stop");
        assert!(
            error.contains("reading from byte ") && error.ends_with("was interrupted"),
            "{error}"
        );
        assert!(stopped.read().unwrap_err().to_string().ends_with("was interrupted"));
        array.read().unwrap();
    }
}

/// An NPY file of `f4`.
fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let shape: String = shape.iter().map(|axis| format!("{axis},")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    file
}

#[test]
fn numbers_that_are_not_finite_are_named_wherever_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let mut values = vec![0.5; 20 * 6];
    values[13 * 6 + 4] = f32::NAN;
    std::fs::write(&path, npy(&[20, 2, 3], &values)).unwrap();
    let array = ArrayFile::open_npy(&path).unwrap();
    // Who does not ask gets them.
    assert!(array.read().unwrap().values[82].is_nan());
    let array = array.finite_only();
    let rows = FileRows::open(&array).unwrap().unwrap().divided_by(0.5);
    rows.read(&[12, 14], &mut Vec::new()).unwrap();
    for found in [
        array.read().map(|_| ()),
        array.each_rows(6, |_| Ok(())),
        rows.read(&[5, 12, 13, 14], &mut Vec::new()),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains("x.npy`: row 13, place [1, 1] is NaN; counted from 0"), "{error}");
    }
}
