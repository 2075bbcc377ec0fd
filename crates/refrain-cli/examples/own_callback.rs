//! All commands of `refrain`, and a callback of somebody else's in recipes:
//! `cargo run -p refrain-cli --example own_callback -- train mine.toml`.

use std::process::ExitCode;

use refrain::Registry;
use refrain_stop_below::StopBelow;

fn main() -> ExitCode {
    refrain_cli::run(Registry::builtin().callback::<StopBelow>())
}
