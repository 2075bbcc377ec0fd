//! The command `refrain`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use refrain::Registry;

/// Keeps memory that was freed: tensors of some megabytes come and go in every step, and with the
/// system's allocator a quarter of the time goes into getting their pages anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    refrain_cli::run(Registry::builtin())
}
