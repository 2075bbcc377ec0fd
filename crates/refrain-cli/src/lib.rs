//! The command `refrain` as a function: trains recipes, checks them, draws logs, previews
//! schedules, replays callbacks, evaluates, summarises models, verifies and lists runs.
//!
//! A binary of your own has all of its commands plus your own callbacks, losses and metrics:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use refrain::Registry;
//!
//! fn main() -> ExitCode {
//!     refrain_cli::run(Registry::builtin()) // .callback::<MyCallback>()
//! }
//! ```

#![forbid(unsafe_code)]

mod args;
mod claim;
mod commands;
mod noted;
mod output;
mod resume;
mod run_folder;
mod run_state;
mod saved_model;
mod signals;
mod summary;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use refrain::{Error, Registry};

use args::{Args, Command};

/// Finished, early stop included.
const FINISHED: u8 = 0;
/// The run, or a file, failed.
const FAILED: u8 = 1;
/// The command line or the recipe is wrong; nothing has begun.
const WRONG_USAGE: u8 = 2;

/// Runs the command line of this process with what `registry` knows; returns the exit status.
pub fn run(registry: Registry) -> ExitCode {
    let registry = Arc::new(registry);
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors; clap knows which stream is meant.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { WRONG_USAGE } else { FINISHED });
        }
    };
    let done = match args.command {
        Command::Train(args) => commands::train(&args, &registry),
        Command::Plot(args) => commands::plot(&args).map(|()| FINISHED),
        Command::Check(args) => commands::check(&args, &registry),
        Command::Preview(args) => commands::preview(&args, &registry).map(|()| FINISHED),
        Command::Replay(args) => commands::replay(&args, &registry).map(|()| FINISHED),
        Command::Evaluate(args) => commands::evaluate(&args, &registry).map(|()| FINISHED),
        Command::Predict(args) => commands::predict(&args, &registry).map(|()| FINISHED),
        Command::Summary(args) => commands::summary(&args, &registry).map(|()| FINISHED),
        Command::Recipe => commands::recipe().map(|()| FINISHED),
        Command::Verify(args) => commands::verify(&args, &registry),
        Command::Runs(args) => commands::runs(&args).map(|()| FINISHED),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            output::complain(&format!("error: {error}"));
            ExitCode::from(status_of(&error))
        }
    }
}

fn status_of(error: &Error) -> u8 {
    if error.is_config() { WRONG_USAGE } else { FAILED }
}
