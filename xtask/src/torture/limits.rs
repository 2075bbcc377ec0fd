//! Limits of the process: few open files, short files, little memory.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compare::Remains;
use super::judge::{Fate, Fates, judge, undisturbed, went_on};
use super::random::Random;
use super::recipes;
use super::refrain::{Case, shown};
use super::{Result, Torture, Verdict};

const FILES: std::ops::RangeInclusive<u64> = 3..=64;
/// In units of 512 bytes, up to more than the largest file.
const LENGTHS: std::ops::RangeInclusive<u64> = 0..=60;
const MEMORY: [u64; 2] = [20, 200];
/// Memory, in KiB: from what no process can start with to more than a run needs.
const MEMORY_KIB: std::ops::Range<u64> = 2_000..100_000;

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    let variant = recipes::small(3);
    let new = |name: &str| {
        Case::new(&torture.refrain, torture.folder.join(format!("limits-{name}")), &variant.recipe)
    };
    let expected = undisturbed(&new("reference")?)?;
    let mut random = Random::new(torture.seed, 0);
    let [few, many] = MEMORY;
    let memory = if torture.is_short { few } else { many };
    let memory =
        (0..memory).map(|_| MEMORY_KIB.start + random.below(MEMORY_KIB.end - MEMORY_KIB.start));
    // What is special is near the beginning.
    let is_tried = |n: &u64| !torture.is_short || *n < 16 || n.is_multiple_of(8);
    let files = FILES.filter(is_tried).map(|n| ("-n", n));
    let lengths = LENGTHS.filter(is_tried).map(|n| ("-f", n));
    let limits: Vec<(&str, u64)> = files.chain(lengths).chain(memory.map(|n| ("-v", n))).collect();
    let fates = Fates::default();
    let aborted = AtomicU64::new(0);
    torture.cases(limits.len() as u64, |number| {
        let (option, limit) = limits[number as usize];
        let case = new(&number.to_string())?;
        match limited(&case, option, limit, &expected)? {
            Some(fate) => fates.count(fate),
            None => drop(aborted.fetch_add(1, Ordering::Relaxed)),
        }
        case.remove()
    })?;
    Ok(Verdict::Held(format!(
        "{} limits of open files, lengths of files and memory: {fates}, {} without memory to say \
         more, and went on later; 0 differences",
        limits.len(),
        aborted.load(Ordering::Relaxed),
    )))
}

/// `None`: there was no memory to go on with.
fn limited(case: &Case<'_>, option: &str, limit: u64, expected: &Remains) -> Result<Option<Fate>> {
    let script = "ulimit \"$1\" \"$2\" || exit 99; shift 2; exec \"$@\"";
    let mut line: Vec<OsString> = ["sh", "-c", script, "sh", option].map(OsString::from).into();
    line.push(limit.to_string().into());
    line.extend(case.train(false));
    let told = |what: String| format!("{}\n{what}", shown(&line));
    // What it says goes through a pipe: a short file would hold none of it.
    let finished = case.finish_through_pipe(&line).map_err(told)?;
    let is_of_the_loader = finished.said.contains("error while loading shared libraries");
    if option == "-v" && !matches!(finished.status.code(), Some(0..=2)) || is_of_the_loader {
        went_on(case, expected).map_err(told)?;
        return Ok(None);
    }
    let fate = judge(case, &finished, expected).map_err(told)?;
    if fate == Fate::Failed && option == "-n" && !finished.said.contains("open files") {
        return Err(told(format!("the message does not name the limit: {}", finished.said)));
    }
    Ok(Some(fate))
}
