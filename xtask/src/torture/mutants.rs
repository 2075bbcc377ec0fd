//! Faults put into the source of persistence and recovery: which do the tests not see?

use super::refrain::{cargo, has};
use super::{Result, Torture, Verdict};

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    if torture.is_short {
        return Ok(Verdict::Skipped("it takes hours".to_owned()));
    }
    if !has("cargo-mutants", "--version") {
        return Ok(Verdict::Skipped("cargo-mutants is not installed".to_owned()));
    }
    if is_root() {
        // The tests offer devices to be refused.
        let why = "not as root: a fault in what refuses devices would replace them";
        return Ok(Verdict::Skipped(why.to_owned()));
    }
    let output = torture.folder.join("mutants");
    let status = cargo()
        .args(["mutants", "--package", "refrain-core", "--no-shuffle", "--jobs", "2"])
        .args(["--file", "crates/refrain-core/src/checkpoint/*.rs"])
        .args(["--file", "crates/refrain-core/src/files/*.rs"])
        .arg("--output")
        .arg(&output)
        .status()
        .map_err(|e| format!("cargo mutants: {e}"))?;
    // 2: some were missed, 3: some took too long; both are looked at, not refused.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        return Err(format!("cargo mutants: {status}"));
    }
    let lines = |name: &str| {
        let text = std::fs::read_to_string(output.join("mutants.out").join(name));
        text.unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (caught, missed) = (lines("caught.txt"), lines("missed.txt"));
    missed.iter().for_each(|survivor| println!("survivor: {survivor}"));
    Ok(Verdict::Held(format!("{} caught, {} survive", caught.len(), missed.len())))
}

/// Whether this process may do anything.
fn is_root() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
    }
    #[cfg(not(unix))]
    false
}
