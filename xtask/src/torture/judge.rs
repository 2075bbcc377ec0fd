//! What a run under a fault may do: go on, or fail and say so; and never lie.

use super::Result;
use super::compare::{Remains, is_of_the_model};
use super::refrain::{Case, Finished};

/// How a run has taken a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// As if nothing had happened.
    Unharmed,
    /// To the end, with the same model, and with a warning about what is missing beside it.
    Warned,
    /// It failed, said why, and went on later to the same bits.
    Failed,
}

/// How often each fate was met.
#[derive(Default)]
pub(super) struct Fates([std::sync::atomic::AtomicU64; 3]);

impl Fates {
    pub(super) fn count(&self, fate: Fate) {
        self.0[fate as usize].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl std::fmt::Display for Fates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [unharmed, warned, failed] = &self.0;
        let n =
            |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        write!(
            f,
            "{} unharmed, {} to the end with a warning, {} failed with a message and went on later",
            n(unharmed),
            n(warned),
            n(failed)
        )
    }
}

/// Judges a run that had to do with a fault that is over now, and lets it go on where it failed.
pub(super) fn judge(case: &Case<'_>, finished: &Finished, expected: &Remains) -> Result<Fate> {
    let said = &finished.said;
    match finished.status.code() {
        Some(0) => {
            let verified = case.verify()?;
            if verified.status.code() != Some(0) {
                return Err(format!(
                    "the run ended well, and verify says {}: {}\nthe run said: {said}",
                    verified.status, verified.said
                ));
            }
            let found = case.remains()?;
            let Some(difference) = expected.difference(&found) else {
                return Ok(Fate::Unharmed);
            };
            let is_told = said.contains("warning") || said.contains("disabled");
            match expected.difference_in(&found, is_of_the_model) {
                None if is_told => Ok(Fate::Warned),
                None => Err(format!("it ended well without a word, and {difference}: {said}")),
                Some(difference) => Err(format!("it ended well, and {difference}: {said}")),
            }
        }
        Some(1 | 2) if said.contains("error: ") => {
            went_on(case, expected)
                .map_err(|what| format!("{what}\nthe faulty run said: {said}"))?;
            Ok(Fate::Failed)
        }
        _ => Err(format!("it ended with {}: {said}", finished.status)),
    }
}

/// Lets a run go on to its end, which must be the expected one.
pub(super) fn went_on(case: &Case<'_>, expected: &Remains) -> Result<()> {
    let finished = case.resume_to_the_end()?;
    match expected.difference(&case.remains()?) {
        None => Ok(()),
        Some(difference) => Err(format!("after the resume, {difference}\n{}", finished.said)),
    }
}

/// A run that nobody disturbed; all must be well with it.
pub(super) fn undisturbed(case: &Case<'_>) -> Result<Remains> {
    let finished = case.train_on(false)?;
    if finished.status.code() != Some(0) {
        return Err(format!("an undisturbed run failed ({}): {}", finished.status, finished.said));
    }
    let verified = case.verify()?;
    if verified.status.code() != Some(0) {
        return Err(format!("verify of an undisturbed run: {}", verified.said));
    }
    case.remains()
}
