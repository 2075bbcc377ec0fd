//! Two to eight processes on one folder, killed at random: one owns it, and the others are told who.

use std::fs;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::judge::{undisturbed, went_on};
use super::random::Random;
use super::recipes;
use super::refrain::{Case, Finished, wait};
use super::{Result, Torture, Verdict};

const RUNS: [u64; 2] = [10, 300];
/// Rounds of processes before the run is let go on to its end.
const ROUNDS: u64 = 4;

#[derive(Default)]
struct Counts {
    processes: AtomicU64,
    refused: AtomicU64,
    kills: AtomicU64,
}

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    let variant = recipes::small(12);
    let new = |name: &str| {
        Case::new(&torture.refrain, torture.folder.join(format!("writers-{name}")), &variant.recipe)
    };
    let expected = undisturbed(&new("reference")?)?;
    let [few, many] = RUNS;
    let runs = if torture.is_short { few } else { many };
    let counts = Counts::default();
    torture.cases(runs, |number| {
        let mut random = Random::new(torture.seed, number);
        let case = new(&number.to_string())?;
        for round in 0..ROUNDS {
            crowd(&case, &mut random, &counts).map_err(|what| format!("round {round}: {what}"))?;
        }
        // The lock has died with its owner.
        went_on(&case, &expected)?;
        case.remove()
    })?;
    let n = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(Verdict::Held(format!(
        "{} processes in {runs} folders, {} refused, {} killed; one owner at a time, the log without \
         a gap, 0 differences",
        n(&counts.processes),
        n(&counts.refused),
        n(&counts.kills),
    )))
}

/// Starts some processes at once and kills those that are still there after a while.
fn crowd(case: &Case<'_>, random: &mut Random, counts: &Counts) -> Result<()> {
    let line = case.train(true);
    let said = |i: u64| format!("said-{i}.txt");
    let crowd = 2 + random.below(7);
    let mut children: Vec<(u64, Child)> = Vec::new();
    for i in 0..crowd {
        children.push((i, case.start(&line, &said(i))?));
    }
    counts.processes.fetch_add(crowd, Ordering::Relaxed);
    let ids: Vec<u32> = children.iter().map(|(_, child)| child.id()).collect();
    let mut left = Duration::from_millis(30 + random.below(400));
    let mut owners = 0;
    for (i, mut child) in children {
        let id = child.id();
        let limit = std::mem::take(&mut left);
        if wait(&mut child, limit)?.is_none() {
            child.kill().and_then(|()| child.wait()).map_err(|e| format!("kill: {e}"))?;
            counts.kills.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let finished = case.ended(child, &said(i), &line)?;
        match finished.status.code() {
            Some(0) => owners += 1,
            Some(2) if finished.said.contains("is in use by") => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                named(&finished, id, &ids)?;
            }
            // It had found no run, and when it came to lock the folder another had been there.
            Some(2) if finished.said.contains("already holds a run") => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => return Err(format!("process {id}: {}: {}", finished.status, finished.said)),
        }
    }
    // Those that come after one that has finished the run find it finished, and leave it.
    let is_finished = fs::exists(case.run().join("summary.json")).unwrap_or(false);
    if owners > 1 && !is_finished {
        return Err(format!("{owners} processes ended well, and the run has no summary"));
    }
    Ok(())
}

/// The process that a refused one names must be another of the crowd.
fn named(finished: &Finished, id: u32, ids: &[u32]) -> Result<()> {
    let after = finished.said.split("in use by process ").nth(1).unwrap_or_default();
    let named = after.split_whitespace().next().and_then(|number| number.parse::<u32>().ok());
    match named {
        Some(named) if named != id && ids.contains(&named) => Ok(()),
        _ => Err(format!("process {id} of {ids:?} is told of {named:?}: {}", finished.said)),
    }
}
