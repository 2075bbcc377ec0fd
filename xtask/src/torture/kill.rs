//! Killed at random instants, up to five times a run; the run that goes on ends in the same bits.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::compare::Remains;
use super::judge::{undisturbed, went_on};
use super::random::Random;
use super::recipes::{self, Variant};
use super::refrain::Case;
use super::{Result, Torture, Verdict};

const SHORT: u64 = 100;
const LONG: u64 = 1000;
/// Most kills of one run.
const MOST: u64 = 5;
/// One kill in so many comes soon after a resume: while it recovers.
const EARLY: u64 = 4;
/// The part of a run's time that is soon.
const SOON: f64 = 0.3;
/// One run in so many is begun with fewer epochs, which are raised when it goes on.
const RAISED: u64 = 4;
/// So few that no early stopping ends one of these first: that run would be finished, and its recipe
/// left as it is.
const FEWER_EPOCHS: &str = "fit.epochs=2";

/// A run that nobody disturbed.
struct Reference {
    variant: Variant,
    remains: Remains,
    time: Duration,
}

#[derive(Default)]
struct Counts {
    runs: AtomicU64,
    kills: AtomicU64,
    early: AtomicU64,
    raised: AtomicU64,
    by_itself: AtomicU64,
    in_save: AtomicU64,
    in_file: AtomicU64,
}

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    let references: Vec<Reference> = recipes::all()
        .into_iter()
        .map(|variant| reference(torture, variant))
        .collect::<Result<_>>()?;
    let wanted = if torture.is_short { SHORT } else { LONG };
    let counts = Counts::default();
    let is_open = || counts.kills.load(Ordering::Relaxed) < wanted;
    torture.cases_while(is_open, u64::MAX, |number| {
        let reference = &references[number as usize % references.len()];
        let name = reference.variant.name;
        killed(torture, number, reference, &counts).map_err(|what| format!("recipe {name}: {what}"))
    })?;
    let n = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(Verdict::Held(format!(
        "{} kills in {} runs of {} recipes ({} of them went on to more epochs than they began with, {} \
         resumes without the recipe's name; {} kills soon after a resume, {} inside a save, {} inside the \
         writing of another file), 0 differences",
        n(&counts.kills),
        n(&counts.runs),
        references.len(),
        n(&counts.raised),
        n(&counts.by_itself),
        n(&counts.early),
        n(&counts.in_save),
        n(&counts.in_file),
    )))
}

fn reference(torture: &Torture, variant: Variant) -> Result<Reference> {
    let folder = torture.folder.join(format!("kill-{}", variant.name));
    let case = Case::new(&torture.refrain, folder, &variant.recipe)?;
    let began = Instant::now();
    let remains = undisturbed(&case).map_err(|what| format!("recipe {}: {what}", variant.name))?;
    let time = began.elapsed();
    case.remove()?;
    Ok(Reference { variant, remains, time })
}

fn killed(torture: &Torture, number: u64, reference: &Reference, counts: &Counts) -> Result<()> {
    let mut random = Random::new(torture.seed, number);
    let folder = torture.folder.join(format!("kill-{number}"));
    let case = Case::new(&torture.refrain, folder, &reference.variant.recipe)?;
    let kills = 1 + random.below(MOST);
    let is_raised = random.below(RAISED) == 0;
    counts.raised.fetch_add(u64::from(is_raised), Ordering::Relaxed);
    for i in 0..kills {
        let is_early = i > 0 && random.below(EARLY) == 0;
        let part = random.unit() * if is_early { SOON } else { 1.0 };
        let instant = reference.time.mul_f64(part);
        let was_begun = case.run().exists();
        // A folder that is there has its recipe, whenever the run was killed: nobody names it again.
        let by_itself = was_begun && random.below(2) == 0;
        let mut line = if by_itself { case.go_on_by_itself() } else { case.train(was_begun) };
        counts.by_itself.fetch_add(u64::from(by_itself), Ordering::Relaxed);
        let is_shorter = is_raised && i == 0;
        if is_shorter {
            line.extend(["--set", FEWER_EPOCHS].map(Into::into));
        }
        match case.kill_after(&line, instant)? {
            Some(finished) if finished.status.code() == Some(0) => {
                if is_shorter {
                    continue;
                }
                break;
            }
            Some(finished) => {
                return Err(format!(
                    "kill {}: before it, the run failed ({}): {}",
                    i + 1,
                    finished.status,
                    finished.said
                ));
            }
            None => counts.kills.fetch_add(1, Ordering::Relaxed),
        };
        counts.early.fetch_add(u64::from(is_early), Ordering::Relaxed);
        let has = |folder: &str, start: &str| {
            let entries = fs::read_dir(case.run().join(folder)).into_iter().flatten().flatten();
            let mut names = entries.map(|entry| entry.file_name());
            names.any(|name| name.to_string_lossy().starts_with(start))
        };
        counts.in_save.fetch_add(u64::from(has("checkpoints", ".tmp-")), Ordering::Relaxed);
        counts.in_file.fetch_add(u64::from(has("", ".refrain-")), Ordering::Relaxed);
    }
    went_on(&case, &reference.remains)?;
    if number.is_multiple_of(10) {
        // A run that is finished is left as it is.
        went_on(&case, &reference.remains).map_err(|what| format!("of a finished run: {what}"))?;
    }
    counts.runs.fetch_add(1, Ordering::Relaxed);
    case.remove()
}
