//! Files that claim what they do not hold: refused, with the file and the byte.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use refrain_core::RowSource as _;
use refrain_data::{ArrayFile, Converted, MnistFiles, read_idx, read_npy};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(kind: u8, shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, shape.len() as u8];
    shape.iter().for_each(|axis| bytes.extend(axis.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

fn npy_of(shape: &str, data: &[u8]) -> Vec<u8> {
    npy(&format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

#[test]
fn idx_files() {
    let huge = [u32::MAX, u32::MAX, u32::MAX];
    let cases: &[(Vec<u8>, &str)] = &[
        (vec![], "cut off at byte 0"),
        (vec![0, 0, 8], "cut off at byte 3"),
        (b"GIF8aaaaaaa".to_vec(), "no IDX file: it begins with [47, 49, 46, 38]"),
        (idx(0x07, &[1], b"1"), "byte 2 is 07"),
        (vec![0, 0, 8, 0, 1], "byte 3 claims 0 axes; allowed: 1 to 8"),
        (vec![0, 0, 8, 200, 1], "byte 3 claims 200 axes"),
        (vec![0, 0, 8, 2, 0, 0, 0, 1, 0], "cut off at byte 9"),
        (idx(8, &[3], b"12"), "3 bytes from byte 8, and there are 2: the file is cut off"),
        (idx(8, &[3], b"1234"), "3 bytes from byte 8, and there are 4: more follows"),
        (idx(8, &[0xffff_ffff], b"1"), "4294967295 bytes from byte 8"),
        (idx(8, &huge, b"1"), "the header claims the shape [4294967295, 4294967295, 4294967295]"),
        (idx(0x0e, &[2], b"12345678"), "16 bytes from byte 8, and there are 8"),
    ];
    for (bytes, words) in cases {
        let error = read_idx(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error} instead of {words}");
    }
}

#[test]
fn npy_files() {
    let cases: &[(Vec<u8>, &str)] = &[
        (vec![], "cut off at byte 0"),
        (b"PK\x03\x04....".to_vec(), "does not begin with \\x93NUMPY"),
        (b"\x93NUMPY\x09\x00\x01\x00".to_vec(), "byte 6 is 9"),
        (b"\x93NUMPY\x01\x00\xff\xff{".to_vec(), "cut off at byte 11"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(), "claims a header of 4294967295 bytes"),
        (npy("", b""), "at byte 10: `{` is missing"),
        (npy("{", b""), "`'` is missing"),
        (npy("{'descr", b""), "a string without its end"),
        (npy("{'descr': 7}", b""), "`'` is missing"),
        (npy("{'colour': 7}", b""), "is no key"),
        (npy("{'descr': '<f4'}", b""), "without 'fortran_order'"),
        (npy("{'descr': '<f4', 'fortran_order': Maybe", b""), "neither True nor False"),
        (npy("{'descr': '<f3'", b""), "the type '<f3' is something else"),
        (npy("{'shape': (-1,)", b""), "no whole number that fits"),
        (npy("{'shape': (99999999999999999999,)", b""), "no whole number that fits"),
        (npy(&format!("{{'shape': ({}", "1,".repeat(70)), b""), "more than 64 axes"),
        (npy_of("(3,)", b"12"), "the shape [3] of u1, 3 bytes from byte"),
        (npy_of("(3,)", b"1234"), "more follows"),
        (npy_of("(1000000000000,)", b"1234"), "cut off"),
        (npy_of("(9223372036854775807, 9223372036854775807)", b""), "which no file has"),
        (npy_of("(0, 4294967296, 4294967296, 4294967296)", b""), "which no file has"),
        (npy_of("(3,", b"123"), "no whole number"),
    ];
    for (bytes, words) in cases {
        let error = read_npy(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error} instead of {words}");
    }
}

/// A folder with one file.
fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn gzipped_files() {
    let whole = gzip(&idx(8, &[1000], &[7; 1000]));
    let (_folder, path) = file(&whole);
    assert_eq!(ArrayFile::open_idx(&path).unwrap().read().unwrap().values, [7.0; 1000]);

    let mut damaged = whole.clone();
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    let bomb = gzip(&vec![0; 4 << 20]);
    let claims = |shape: &[u32], data: &[u8]| gzip(&idx(8, shape, data));
    for (bytes, words) in [
        (whole[..whole.len() / 2].to_vec(), "cannot be read from byte"),
        (damaged, "cannot be read from byte 1008 on"),
        // More than the compressed bytes can hold, less and more than they do.
        (claims(&[u32::MAX], &[7; 10]), "compressed bytes unpack to"),
        (claims(&[1000], &[7; 10]), "cut off at byte 18"),
        (claims(&[10], &[7; 4 << 20]), "more follows from byte 18"),
        (bomb, "no types"),
    ] {
        let (_folder, path) = file(&bytes);
        let error = ArrayFile::open_idx(&path).and_then(|file| file.read()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(words) || words == "no types", "{error} instead of {words}");
        assert!(error.contains("file`: "), "{error}");
    }
}

#[test]
fn what_is_compressed_is_read_to_its_end_in_parts_too() {
    let whole = gzip(&idx(8, &[1000, 2], &[7; 2000]));
    let mut damaged = whole.clone();
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    let longer = gzip(&idx(8, &[1000, 2], &[7; 2001]));
    for (bytes, words) in [
        (whole, ""),
        (damaged, "file`: cannot be read from byte 2012 on"),
        (longer, "file`: more follows from byte 2012"),
    ] {
        let (folder, path) = file(&bytes);
        let array = ArrayFile::open_idx(&path).unwrap();
        let cache = folder.path().join("cache");
        let converted = Converted::in_dir(&cache).array(&array);
        // 1024 at once, and several times.
        for most in [1, 300, 1000, 1024] {
            let mut rows = 0;
            let read = array.each_rows(most, |values| {
                rows += values.len() / 2;
                Ok(())
            });
            if words.is_empty() {
                assert!(read.is_ok() && rows == 1000, "{read:?}");
            } else {
                assert!(read.unwrap_err().to_string().contains(words));
                assert!(rows < 1000);
            }
        }
        if words.is_empty() {
            assert_eq!(converted.unwrap().len(), 1000);
        } else {
            let error = converted.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            // Nothing is kept of it.
            assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0);
        }
    }
}

#[test]
fn npz_archives() {
    let (_folder, text) = file(b"no archive");
    let error = ArrayFile::open_npz(&text, |_| true).unwrap_err().to_string();
    assert!(error.contains("file` is no NPZ archive that can be read"), "{error}");

    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numpy");
    for name in ["stored.npz", "deflated.npz"] {
        let whole = std::fs::read(fixtures.join(name)).unwrap();
        let read = |bytes: &[u8]| {
            let (_folder, path) = file(bytes);
            let arrays = ArrayFile::open_npz(&path, |_| true)?;
            arrays.iter().map(ArrayFile::read).collect::<Result<Vec<_>, _>>()
        };
        let expected = read(&whole).unwrap();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{name} cut off after {length} bytes");
        }
        // Bits flipped in every byte: found, or in what nobody reads, such as times.
        for bit in (0..whole.len() * 8).step_by(29) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(arrays) = read(&bytes) {
                let same = arrays.iter().all(|array| expected.contains(array));
                assert!(same, "{name}: bit {bit} flipped unseen");
            }
        }
    }
}

#[test]
fn what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    for (path, words) in [
        (folder.path().to_owned(), "is a folder; name a file"),
        (folder.path().join("missing"), "No such file"),
        (PathBuf::from("/dev/zero"), "is no regular file"),
    ] {
        for open in [ArrayFile::open_idx, ArrayFile::open_npy] {
            let error = open(&path).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

#[test]
fn folders_of_mnist() {
    let images = idx(8, &[2, 1, 2], &[0, 51, 102, 255]);
    let labels = idx(8, &[2], &[3, 1]);
    let read = |files: &[(&str, &[u8])]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let files = MnistFiles::find(folder.path())?;
        Ok::<_, refrain_core::Error>((files.train()?, files.test()?))
    };
    // Gzipped or not, whatever the name says.
    for (image_name, label_name, bytes) in [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", images.clone()),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", images.clone()),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", gzip(&images)),
        ("train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", images.clone()),
        ("train-images-idx3-ubyte", "train-labels.idx1-ubyte.gz", gzip(&images)),
    ] {
        let (train, test) = read(&[(image_name, &bytes), (label_name, &labels)]).unwrap();
        assert_eq!((train.shape, train.labels, train.classes), ([1, 1, 2], vec![3, 1], 4));
        assert_eq!(train.pixels, [0.0, 0.2, 0.4, 1.0]);
        assert!(test.is_none());
    }

    let both = [("train-images-idx3-ubyte", &images[..]), ("train-labels-idx1-ubyte", &labels)];
    let with = |more: &[(&'static str, &'static [u8])]| {
        let mut files = both.to_vec();
        files.extend(more);
        files
    };
    let flat = idx(8, &[4], b"1234");
    let three = idx(8, &[3], b"123");
    let wide = idx(0x0c, &[2], &[0; 8]);
    for (files, words) in [
        (vec![], "has no `train-images-idx3-ubyte`; a folder of MNIST holds"),
        (vec![both[0]], "has no `train-labels-idx1-ubyte`"),
        (with(&[("t10k-labels-idx1-ubyte", b"")]), "has no `t10k-images-idx3-ubyte`"),
        (
            vec![("train-images-idx3-ubyte", &flat[..]), both[1]],
            "has the shape [4] of u1; images are",
        ),
        (vec![both[0], ("train-labels-idx1-ubyte", &three[..])], "has 2 images, and"),
        (vec![both[0], ("train-labels-idx1-ubyte", &wide[..])], "labels are [images] of u1"),
    ] {
        let error = read(&files).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    let (folder, path) = file(b"");
    for (path, words) in [
        (folder.path().join("nowhere"), "nowhere` does not exist; name the folder"),
        (path, "file` is no folder"),
    ] {
        let error = MnistFiles::find(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
