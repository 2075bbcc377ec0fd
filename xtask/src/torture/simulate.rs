//! Every crash of a simulated disk, as many states as are asked for.

use super::refrain::cargo;
use super::{Result, Torture, Verdict};

const LONG: &str = "1000000";

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    if torture.is_short {
        return Ok(Verdict::Skipped("`cargo test --workspace` runs the short form".to_owned()));
    }
    let status = cargo()
        .args(["test", "--locked", "-p", "refrain-core", "--test", "simulated_disk"])
        .args(["--", "--nocapture"])
        .env("REFRAIN_SIMULATED_STATES", LONG)
        .status()
        .map_err(|e| format!("cargo test: {e}"))?;
    if !status.success() {
        return Err(format!(
            "REFRAIN_SIMULATED_STATES={LONG} cargo test -p refrain-core --test simulated_disk: {status}"
        ));
    }
    Ok(Verdict::Held(format!("{LONG} states of a simulated disk")))
}
