//! How much of an exhaustive test is run.

/// Whether all cases are wanted, as `.ci/run` does by `REFRAIN_LONG`. Else a spread of them keeps the
/// test to seconds.
pub fn is_long() -> bool {
    std::env::var_os("REFRAIN_LONG").is_some()
}

/// All cases, or in the short form one in `n`.
#[allow(dead_code, reason = "each test includes this file for itself")]
pub fn stride(n: usize) -> usize {
    if is_long() { 1 } else { n }
}
