//! Proof that a run can be killed, starved and damaged in any way and ends in the same bits.
//!
//! Each proof drives the built binary from outside, as a user's machine would: nothing of it is
//! changed for the purpose. A proof holds, is skipped because this machine lacks something, or fails
//! with the command that shows it again.

mod clock;
mod compare;
mod damage;
mod disk_full;
mod equal_runs;
mod fuzz;
mod judge;
mod kill;
mod limits;
mod mutants;
mod parallel;
mod random;
mod recipes;
mod refrain;
mod signals;
mod simulate;
mod strace;
mod syscalls;
mod writers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

use refrain::Refrain;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which proofs; without any, all of them
    proofs: Vec<Proof>,
    /// The form that runs on every change: minutes instead of hours
    #[arg(long)]
    short: bool,
    /// What chance begins with, to see a failure again [default: the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Only this case of each proof, as a failure names it
    #[arg(long, value_name = "CASE")]
    only: Option<u64>,
    /// The binary [default: the one that cargo builds]
    #[arg(long, value_name = "PATH")]
    refrain: Option<PathBuf>,
    /// Where the runs are made [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// A proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Proof {
    /// Equal runs give equal bits
    EqualRuns,
    /// Killed at random instants
    Kill,
    /// Killed and failed at every system call
    Syscalls,
    /// Signals at every system call
    Signals,
    /// A disk of every size
    DiskFull,
    /// Few files, short files, little memory
    Limits,
    /// Several processes in one folder
    Writers,
    /// A clock that is wrong and goes backwards
    Clock,
    /// Flipped bits and cut files
    Damage,
    /// Every crash of a simulated disk
    Simulate,
    /// Inputs made by a fuzzer
    Fuzz,
    /// Faults put into the source: do the tests see them?
    Mutants,
}

/// What became of a proof; a failure is the error.
enum Verdict {
    /// It holds: figures of what was tried.
    Held(String),
    /// This machine lacks something.
    Skipped(String),
}

/// A failure, in words.
type Result<T, E = String> = std::result::Result<T, E>;

/// What all proofs share.
struct Torture {
    refrain: Refrain,
    is_short: bool,
    seed: u64,
    only: Option<u64>,
    folder: PathBuf,
}

/// Runs the proofs that were asked for.
pub(crate) fn run(args: &Args) -> ExitCode {
    match run_all(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(args: &Args) -> Result<()> {
    let clock = || {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64 % 1_000_000)
    };
    let parent = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = parent.join(format!("refrain-torture-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let torture = Torture {
        refrain: Refrain::find(args.refrain.as_deref())?,
        is_short: args.short,
        seed: args.seed.unwrap_or_else(clock),
        only: args.only,
        folder,
    };
    println!("seed {}; runs in {}", torture.seed, torture.folder.display());
    let all = Proof::value_variants();
    let wanted = if args.proofs.is_empty() { all } else { &args.proofs };
    for proof in wanted {
        let name = proof.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
        let began = Instant::now();
        let verdict = prove(*proof, &torture).map_err(|failure| {
            let short = if args.short { " --short" } else { "" };
            format!(
                "{name}: FAILED\n{failure}\nagain: cargo xtask torture {name}{short} --seed {}",
                torture.seed
            )
        })?;
        let seconds = began.elapsed().as_secs_f64();
        match verdict {
            Verdict::Held(figures) => println!("{name}: holds: {figures} ({seconds:.1} s)"),
            Verdict::Skipped(why) => println!("{name}: skipped: {why}"),
        }
    }
    // Only a failure leaves something to look at.
    std::fs::remove_dir_all(&torture.folder).map_err(|e| e.to_string())
}

fn prove(proof: Proof, torture: &Torture) -> Result<Verdict> {
    match proof {
        Proof::EqualRuns => equal_runs::prove(torture),
        Proof::Kill => kill::prove(torture),
        Proof::Syscalls => syscalls::prove(torture),
        Proof::Signals => signals::prove(torture),
        Proof::DiskFull => disk_full::prove(torture),
        Proof::Limits => limits::prove(torture),
        Proof::Writers => writers::prove(torture),
        Proof::Clock => clock::prove(torture),
        Proof::Damage => damage::prove(torture),
        Proof::Simulate => simulate::prove(torture),
        Proof::Fuzz => fuzz::prove(torture),
        Proof::Mutants => mutants::prove(torture),
    }
}
