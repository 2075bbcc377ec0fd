//! The body of the fuzz target over its corpus.

#[path = "../../../fuzz/src/log_reader.rs"]
mod log_reader;

#[test]
fn logs() {
    let folder = format!("{}/../../fuzz/corpus/log_reader", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(files.len() >= 20, "{} files", files.len());
    for file in files {
        let path = file.unwrap().path();
        println!("{}", path.display());
        let bytes = std::fs::read(path).unwrap();
        for length in 0..=bytes.len() {
            log_reader::log_reader(&bytes[..length]);
        }
    }
}
