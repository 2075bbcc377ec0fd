//! Every crash of a simulated disk, as many states as are asked for.

use super::refrain::cargo;
use super::{Result, Torture, Verdict};

const LONG: &str = "1000000";

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    if torture.is_short {
        return Ok(Verdict::Skipped(
            "`REFRAIN_LONG=1 cargo test` looks at 100,000 states and more".to_owned(),
        ));
    }
    let status = cargo()
        .args(["test", "--locked", "-p", "refrain-core", "--test", "simulated_disk"])
        .args(["--", "--nocapture"])
        .env("REFRAIN_LONG", "1")
        .env("REFRAIN_SIMULATED_STATES", LONG)
        .status()
        .map_err(|e| format!("cargo test: {e}"))?;
    if !status.success() {
        return Err(format!(
            "REFRAIN_LONG=1 REFRAIN_SIMULATED_STATES={LONG} cargo test -p refrain-core --test simulated_disk: {status}"
        ));
    }
    Ok(Verdict::Held(format!("{LONG} states of a simulated disk")))
}
