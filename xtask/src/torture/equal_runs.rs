//! Equal runs give equal bits; what one and two threads give is compared and told.

use super::judge::undisturbed;
use super::recipes;
use super::refrain::Case;
use super::{Result, Torture, Verdict};

const RUNS: u64 = 20;

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    let variants = recipes::all();
    let variant = variants.first().ok_or("no recipe")?;
    let new = |name: &str| {
        Case::new(&torture.refrain, torture.folder.join(format!("equal-{name}")), &variant.recipe)
    };
    let expected = undisturbed(&new("reference")?)?;
    torture.cases(RUNS - 1, |number| {
        let case = new(&number.to_string())?;
        match expected.difference(&undisturbed(&case)?) {
            Some(difference) => Err(difference),
            None => case.remove(),
        }
    })?;
    let two = undisturbed(&new("threads")?.threads(2))?;
    let threads = match expected.difference(&two) {
        None => "1 and 2 threads give equal bits here".to_owned(),
        Some(difference) => format!("1 and 2 threads differ here: {difference}"),
    };
    Ok(Verdict::Held(format!("{RUNS} equal runs, 0 differences; {threads}")))
}
