//! The bodies of the fuzz targets over their corpus.

#[path = "../../../fuzz/src/data.rs"]
mod data;

/// Runs a target over every file of its corpus, over the beginnings of each, and over each with one
/// byte changed.
fn check(target: &str, run: fn(&[u8])) {
    let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(files.len() >= 5, "{target}: {} files", files.len());
    for file in files {
        let path = file.unwrap().path();
        println!("{}", path.display());
        let bytes = std::fs::read(path).unwrap();
        let step = bytes.len().div_ceil(300);
        for at in (0..bytes.len()).step_by(step) {
            run(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] = changed[at].wrapping_mul(31).wrapping_add(7);
            run(&changed);
        }
        run(&bytes);
    }
}

#[test]
fn idx() {
    check("idx", data::idx);
}

#[test]
fn npy() {
    check("npy", data::npy);
}

#[test]
fn npz() {
    check("npz", data::npz);
}

#[test]
fn csv() {
    check("csv", data::csv);
}
