//! The command `refrain`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use refrain::Registry;

fn main() -> ExitCode {
    refrain_cli::run(Registry::builtin())
}
