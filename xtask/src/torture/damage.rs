//! Flipped bits and cut files in an unfinished run: found, or harmless; and the run ends in the same
//! bits, from the checkpoint before.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::compare::Remains;
use super::judge::undisturbed;
use super::random::Random;
use super::recipes;
use super::refrain::{Case, copy_folder, wait};
use super::{Result, Torture, Verdict};

/// Cases of each file: of flipped bits, and of lengths.
const SHORT: u64 = 4;
const LONG: u64 = 200;
const EPOCHS: u32 = 12;
/// The run is killed when this checkpoint is there.
const KILLED_AT: &str = "checkpoints/000004";

enum Harm {
    Bit(u64),
    Length(u64),
}

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    let variant = recipes::small(EPOCHS);
    let new = |name: &str| {
        Case::new(&torture.refrain, torture.folder.join(format!("damage-{name}")), &variant.recipe)
    };
    let expected = undisturbed(&new("reference")?)?;
    let killed = new("killed")?;
    kill_at(&killed)?;
    let newest = newest(&killed)?;
    let mut files: Vec<String> = ["journal.jsonl", "experiment_log.json", "log.csv"]
        .map(str::to_owned)
        .into_iter()
        .filter(|name| killed.run().join(name).exists())
        .collect();
    for entry in fs::read_dir(killed.run().join(&newest)).map_err(|e| format!("{newest}: {e}"))? {
        let name = entry.map_err(|e| format!("{newest}: {e}"))?.file_name();
        files.push(format!("{newest}/{}", name.to_string_lossy()));
    }
    files.sort();
    let each = if torture.is_short { SHORT } else { LONG };
    let count = each * 2 * files.len() as u64;
    let (found, harmless) = (AtomicU64::new(0), AtomicU64::new(0));
    torture.cases(count, |number| {
        let mut random = Random::new(torture.seed, number);
        let name = &files[number as usize % files.len()];
        let case = new(&number.to_string())?;
        copy_folder(&killed.run(), &case.run())?;
        let path = case.run().join(name);
        let bytes = fs::read(&path).map_err(|e| format!("{name}: {e}"))?;
        let harm = if random.below(2) == 0 {
            Harm::Bit(random.below(8 * bytes.len() as u64))
        } else {
            Harm::Length(random.below(bytes.len() as u64))
        };
        let what = match harm {
            Harm::Bit(bit) => format!("{name}: bit {bit} flipped"),
            Harm::Length(length) => format!("{name}: cut to {length} of {} bytes", bytes.len()),
        };
        fs::write(&path, harmed(bytes, &harm)).map_err(|e| format!("{name}: {e}"))?;
        let is_found = harmed_run(&case, &expected).map_err(|why| format!("{what}: {why}"))?;
        let is_of_checkpoint = name.starts_with("checkpoints/");
        if is_of_checkpoint && !is_found {
            return Err(format!("{what}: verify does not see it"));
        }
        (if is_found { &found } else { &harmless }).fetch_add(1, Ordering::Relaxed);
        case.remove()
    })?;
    let n = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(Verdict::Held(format!(
        "{count} flipped bits and cuts in {} files: {} found by verify, {} harmless; all went on to \
         the same bits",
        files.len(),
        n(&found),
        n(&harmless)
    )))
}

/// Whether verify finds the damage. Lets the run go on.
fn harmed_run(case: &Case<'_>, expected: &Remains) -> Result<bool> {
    let verified = case.verify()?;
    let is_found = match verified.status.code() {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(format!("verify: {}: {}", verified.status, verified.said)),
    };
    let finished = case.resume_to_the_end()?;
    let found = case.remains()?;
    // What was damaged is kept: moved aside, or told and left in the journal.
    let matters = |name: &str| {
        !name.starts_with("quarantine/") && (!is_found || name != "epochs of the journal")
    };
    match expected.difference_in(&found, matters) {
        Some(difference) => {
            Err(format!("{difference}\nverify: {}\nresume: {}", verified.said, finished.said))
        }
        None => Ok(is_found),
    }
}

fn harmed(mut bytes: Vec<u8>, harm: &Harm) -> Vec<u8> {
    match *harm {
        Harm::Bit(bit) => bytes[(bit / 8) as usize] ^= 1 << (bit % 8),
        Harm::Length(length) => bytes.truncate(length as usize),
    }
    bytes
}

/// Trains until a checkpoint is there, and kills the process.
fn kill_at(case: &Case<'_>) -> Result<()> {
    let mut child = case.start(&case.train(false), "said.txt")?;
    while !case.run().join(KILLED_AT).exists() {
        if wait(&mut child, Duration::from_millis(1))?.is_some() {
            let said = fs::read_to_string(case.path("said.txt")).unwrap_or_default();
            return Err(format!("the run was over before {KILLED_AT} was there: {said}"));
        }
    }
    child.kill().and_then(|()| child.wait()).map_err(|e| format!("kill: {e}"))?;
    Ok(())
}

fn newest(case: &Case<'_>) -> Result<String> {
    let folder = case.run().join("checkpoints");
    let names = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let names = names.flatten().map(|entry| PathBuf::from(entry.file_name()));
    let newest = names.filter(|name| !name.starts_with(".")).map(|n| n.display().to_string());
    newest
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .max()
        .map(|name| format!("checkpoints/{name}"))
        .ok_or_else(|| "no checkpoint is there".to_owned())
}
