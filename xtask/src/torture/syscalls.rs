//! Every system call of a run in its folder: killed at it, and failed with each errno.

use std::sync::atomic::{AtomicU64, Ordering};

use super::compare::Remains;
use super::judge::{Fates, judge, undisturbed, went_on};
use super::recipes;
use super::refrain::{Case, copy_folder};
use super::strace::{self, Call};
use super::{Result, Torture, Verdict};

const ERRNOS: [&str; 9] =
    ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EMFILE", "ENFILE", "EINTR", "ENOMEM"];
const FEW_ERRNOS: [&str; 2] = ["EIO", "ENOSPC"];
/// Short form: one call of a recovery in so many.
const EVERY: usize = 4;
const EPOCHS: u32 = 3;

/// Where a disturbed process begins: with nothing, or with what a killed one has left.
struct Scene {
    name: &'static str,
    is_resume: bool,
    calls: Vec<Call>,
    errnos: &'static [&'static str],
}

#[derive(Default)]
struct Counts {
    kills: AtomicU64,
    faults: AtomicU64,
    missed: AtomicU64,
    fates: Fates,
}

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    if let Some(why) = strace::is_missing() {
        return Ok(Verdict::Skipped(why));
    }
    let variant = recipes::small(EPOCHS);
    let new = |name: &str| {
        Case::new(
            &torture.refrain,
            torture.folder.join(format!("syscalls-{name}")),
            &variant.recipe,
        )
    };
    let expected = undisturbed(&new("reference")?)?;

    let traced = new("traced")?;
    let finished = strace::finish(&traced, None, &traced.train(false))?;
    if let Some(difference) = expected.difference(&traced.remains()?) {
        return Err(format!("under strace, {difference}: {}", finished.said));
    }
    let all = strace::calls(&traced)?;
    let commit = last_commit(&all).ok_or_else(|| format!("no commit in {} calls", all.len()))?;

    // What a kill in the middle of the second commit leaves, for the crash in the recovery.
    let half = new("half")?;
    let rename = all.iter().filter(|c| c.name.starts_with("rename") && is_in_tmp(c)).nth(1);
    let rename = rename.ok_or("no second commit")?;
    let inject = format!("{}:signal=KILL:when={}", rename.name, rename.nth);
    strace::finish(&half, Some(&inject), &half.train(false))?;
    let again = new("again")?;
    copy_folder(&half.run(), &again.run())?;
    strace::finish(&again, None, &again.train(true))?;
    let resume = strace::calls(&again)?;
    let recovery = resume.iter().position(is_begin);
    let recovery = &resume[..recovery.unwrap_or(resume.len())];
    let recovery = recovery.iter().step_by(EVERY).cloned().collect();

    let scenes = if torture.is_short {
        let errnos = &FEW_ERRNOS[..];
        vec![
            Scene { name: "commit", is_resume: false, calls: commit, errnos },
            Scene { name: "recovery", is_resume: true, calls: recovery, errnos: &[] },
        ]
    } else {
        let errnos = &ERRNOS[..];
        vec![
            Scene { name: "run", is_resume: false, calls: all, errnos },
            Scene { name: "recovery", is_resume: true, calls: resume, errnos },
        ]
    };

    let counts = Counts::default();
    let cases: Vec<(&Scene, &Call, Option<&str>)> = scenes
        .iter()
        .flat_map(|scene| {
            scene.calls.iter().flat_map(move |call| {
                let errnos = scene.errnos.iter().copied();
                let errnos = errnos.filter(|_| !call.ends_reading_of_folder).map(Some);
                std::iter::once(None).chain(errnos).map(move |errno| (scene, call, errno))
            })
        })
        .collect();
    torture.cases(cases.len() as u64, |number| {
        let (scene, call, errno) = cases[number as usize];
        let case = new(&number.to_string())?;
        if scene.is_resume {
            copy_folder(&half.run(), &case.run())?;
        }
        disturb(&case, scene, call, errno, &expected, &counts)?;
        case.remove()
    })?;
    let n = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let of = |scene: &Scene| format!("{} of a {}", scene.calls.len(), scene.name);
    Ok(Verdict::Held(format!(
        "system calls: {}; {} kills, {} failures with {} kinds of error: {}; {} did not hit their \
         call; 0 panics, 0 false successes, 0 differences",
        scenes.iter().map(of).collect::<Vec<_>>().join(", "),
        n(&counts.kills),
        n(&counts.faults),
        scenes.first().map_or(0, |scene| scene.errnos.len()),
        counts.fates,
        n(&counts.missed),
    )))
}

fn disturb(
    case: &Case<'_>,
    scene: &Scene,
    call: &Call,
    errno: Option<&str>,
    expected: &Remains,
    counts: &Counts,
) -> Result<()> {
    let what = errno.map_or("signal=KILL".to_owned(), |errno| format!("error={errno}"));
    let inject = format!("{}:{what}:when={}", call.name, call.nth);
    let command = case.train(scene.is_resume);
    let shown = super::refrain::shown(&strace::line(case, Some(&inject), &command));
    let told = |what: String| format!("{call}\n{shown}\n{what}");
    let finished = strace::finish(case, Some(&inject), &command).map_err(told)?;
    if !strace::has_hit(case, call)? {
        counts.missed.fetch_add(1, Ordering::Relaxed);
    }
    if errno.is_none() {
        counts.kills.fetch_add(1, Ordering::Relaxed);
        return went_on(case, expected).map_err(told);
    }
    counts.faults.fetch_add(1, Ordering::Relaxed);
    let fate = judge(case, &finished, expected).map_err(told)?;
    counts.fates.count(fate);
    Ok(())
}

fn is_in_tmp(call: &Call) -> bool {
    call.text.contains("checkpoints/.tmp-")
}

/// Whether a commit begins with this call.
fn is_begin(call: &Call) -> bool {
    call.name.starts_with("mkdir") && is_in_tmp(call)
}

/// The calls of the last commit, with the removal of the oldest checkpoint.
fn last_commit(calls: &[Call]) -> Option<Vec<Call>> {
    let begin = calls.iter().rposition(is_begin)?;
    let end = calls.iter().rposition(is_in_tmp)?;
    Some(calls.get(begin..=end)?.to_vec())
}
