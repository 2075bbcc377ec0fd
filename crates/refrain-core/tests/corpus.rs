//! The bodies of the fuzz targets over their corpus: what is run under libFuzzer where there is a
//! nightly compiler is run here too.

#[path = "../../../fuzz/src/memory.rs"]
mod memory;
#[path = "../../../fuzz/src/run_folder.rs"]
mod run_folder;
#[path = "../../../fuzz/src/seal.rs"]
mod seal;
#[path = "../../../fuzz/src/weights.rs"]
mod weights;

/// Runs a target over every file of its corpus, and over the beginnings of each.
fn check(target: &str, run: fn(&[u8])) {
    let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(files.len() >= 5, "{target}: {} files", files.len());
    for file in files {
        let path = file.unwrap().path();
        println!("{}", path.display());
        let bytes = std::fs::read(path).unwrap();
        run(&bytes);
        for part in 1..8 {
            run(&bytes[..bytes.len() * part / 8]);
        }
    }
}

#[test]
fn journals() {
    check("journal", run_folder::journal);
}

#[test]
fn manifests() {
    check("manifest", run_folder::manifest);
}

#[test]
fn states() {
    check("state", run_folder::state);
}

#[test]
fn folders() {
    check("folder", run_folder::folder);
}

#[test]
fn files_of_weights() {
    check("weights", weights::weights);
}
