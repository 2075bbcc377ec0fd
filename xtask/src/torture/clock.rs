//! A clock that is wrong, or goes backwards between a kill and the resume: order is not decided by it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::judge::{undisturbed, went_on};
use super::random::Random;
use super::recipes;
use super::refrain::{Case, has};
use super::{Result, Torture, Verdict};

/// Offsets of the clock before the kill and of the resumed process, as libfaketime takes them.
const CLOCKS: [[&str; 2]; 6] = [
    ["+1y", "-1y"],
    ["-1y", "+1y"],
    ["+0", "-30y"],
    ["+10y", "+0"],
    // A clock that runs a thousand times too fast, and one that nearly stands.
    ["+0 x1000", "-1d x0.001"],
    // The second that was repeated.
    ["@2016-12-31 23:59:59", "@2016-12-31 23:59:58"],
];
const RUNS: [u64; 2] = [12, 60];

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    if !has("faketime", "--version") && library().is_none() {
        return Ok(Verdict::Skipped(
            "libfaketime is not installed (apt-get install faketime)".into(),
        ));
    }
    let Some(library) = library() else {
        return Ok(Verdict::Skipped("libfaketime is not where it is looked for".into()));
    };
    let variant = recipes::small(10);
    let new = |name: &str| {
        Case::new(&torture.refrain, torture.folder.join(format!("clock-{name}")), &variant.recipe)
    };
    let reference = new("reference")?;
    let began = std::time::Instant::now();
    let expected = undisturbed(&reference)?;
    let time = began.elapsed();
    let [few, many] = RUNS;
    let runs = if torture.is_short { few } else { many };
    torture.cases(runs, |number| {
        let mut random = Random::new(torture.seed, number);
        let [before, after] = CLOCKS[number as usize % CLOCKS.len()];
        let case = new(&number.to_string())?;
        let mut line = under(&library, before);
        line.extend(case.train(false));
        let told = |what: String| format!("clock {before}, then {after}: {what}");
        let instant = Duration::from_millis(50) + time.mul_f64(random.unit());
        case.kill_after(&line, instant).map_err(told)?;
        let mut line = under(&library, after);
        line.extend(case.train(true));
        let finished = case.finish(&line).map_err(told)?;
        if finished.status.code() != Some(0) {
            return Err(told(format!("{}: {}", finished.status, finished.said)));
        }
        if let Some(difference) = expected.difference(&case.remains()?) {
            return Err(told(format!("{difference}: {}", finished.said)));
        }
        went_on(&case, &expected).map_err(told)?;
        case.remove()
    })?;
    Ok(Verdict::Held(format!(
        "{runs} runs killed and resumed under {} pairs of clocks",
        CLOCKS.len()
    )))
}

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let folders = folders.chain(["/usr/lib", "/usr/local/lib"].map(PathBuf::from));
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists())
}

fn under(library: &std::path::Path, clock: &str) -> Vec<OsString> {
    let mut preload = OsString::from("LD_PRELOAD=");
    preload.push(library);
    vec!["env".into(), preload, format!("FAKETIME={clock}").into()]
}
