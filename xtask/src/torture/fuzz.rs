//! The fuzz targets, each for a while.

use std::fs;
use std::process::Command;

use super::refrain::{has, root};
use super::{Result, Torture, Verdict};

/// Seconds of each target.
const SHORT: u64 = 5;
const LONG: u64 = 600;

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    let folder = root().join("fuzz/fuzz_targets");
    let names = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut targets: Vec<String> =
        names.filter_map(|entry| entry.path().file_stem()?.to_str().map(str::to_owned)).collect();
    targets.sort();
    if targets.is_empty() {
        return Ok(Verdict::Skipped(format!("no targets in {}", folder.display())));
    }
    if !has("cargo-fuzz", "--version") || !has("rustc", "+nightly") {
        return Ok(Verdict::Skipped(format!(
            "cargo-fuzz and a nightly toolchain are not installed; {} targets",
            targets.len()
        )));
    }
    let seconds = if torture.is_short { SHORT } else { LONG };
    for target in &targets {
        // New inputs go here; those in the repository were chosen.
        let found = root().join("fuzz/target/corpus").join(target);
        fs::create_dir_all(&found).map_err(|e| format!("{}: {e}", found.display()))?;
        let chosen = root().join("fuzz/corpus").join(target);
        // Past the cargo of this toolchain: rustup's chooses the other.
        let status = Command::new("cargo")
            .current_dir(root())
            .env_remove("RUSTUP_TOOLCHAIN")
            // What the sanitizer keeps of freed memory, 256 MB else, would count as ours.
            .env("ASAN_OPTIONS", "quarantine_size_mb=64")
            .args(["+nightly", "fuzz", "run", target])
            .args([found, chosen])
            .args(["--", "-rss_limit_mb=512", "-timeout=5"])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-seed={}", torture.seed % u64::from(u32::MAX)))
            .status()
            .map_err(|e| format!("cargo fuzz: {e}"))?;
        if !status.success() {
            return Err(format!("cargo +nightly fuzz run {target}: {status}"));
        }
    }
    Ok(Verdict::Held(format!(
        "{} targets, {seconds} s each: {}",
        targets.len(),
        targets.join(", ")
    )))
}
