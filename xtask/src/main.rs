//! Tasks of the project that are more than a test: `cargo xtask`.

#![forbid(unsafe_code)]

mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the project that are more than a test")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Kills, starves and damages runs of the built `refrain`, and compares what is left of them with
    /// a run that was left alone; without names, in every way there is
    Torture(torture::Args),
}

fn main() -> ExitCode {
    match Args::parse().task {
        Task::Torture(args) => torture::run(&args),
    }
}
