//! A disk of every size, from nothing to what a run needs: it says so, keeps what it has, and goes on
//! when there is room.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compare::Remains;
use super::judge::undisturbed;
use super::recipes;
use super::refrain::{Case, shown};
use super::{Result, Torture, Verdict};

const STEP_KIB: u64 = 4;
/// Short form: one size in so many.
const EVERY: u64 = 6;
const EPOCHS: u32 = 4;
/// More than a run of the small recipe needs.
const MOST_KIB: u64 = 4096;

/// In a mount namespace of its own: train on a disk of `$SIZE`, look at the log, enlarge the disk, go
/// on, and copy what is there to a place outside.
const SCRIPT: &str = r#"
mkdir -p "$RUN" "$OUT" && mount -t tmpfs -o size="$SIZE" torture "$RUN" || exit 99
"$@" > "$OUT/said.txt" 2>&1
echo $? > "$OUT/status.txt"
cp -a "$RUN" "$OUT/then"
"$REFRAIN" verify --dir "$RUN" > "$OUT/verify.txt" 2>&1
echo $? > "$OUT/verified.txt"
mount -o remount,size=64m torture "$RUN" || exit 99
"$@" --resume > "$OUT/resumed.txt" 2>&1
echo $? > "$OUT/resumed-status.txt"
cp -a "$RUN" "$OUT/run"
"#;

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    let Some(unshare) = unshare(&torture.folder) else {
        return Ok(Verdict::Skipped(
            "no tmpfs can be mounted here (unshare from util-linux, and root or user namespaces)"
                .to_owned(),
        ));
    };
    let variant = recipes::small(EPOCHS);
    let new = |name: &str| {
        Case::new(&torture.refrain, torture.folder.join(format!("disk-{name}")), &variant.recipe)
    };
    let expected = undisturbed(&new("reference")?)?;
    let every = STEP_KIB * if torture.is_short { EVERY } else { 1 };
    let needed = (1..=MOST_KIB / every).map(|n| n * every);
    // The smallest size on which a run ends well; sizes are tried up to that one.
    let mut enough = MOST_KIB;
    for size in needed.clone().step_by(8) {
        let case = new("needs")?;
        if on_disk(&case, &unshare, size, &expected)? {
            enough = size;
            break;
        }
    }
    let sizes: Vec<u64> = needed.take_while(|size| *size <= enough).collect();
    let failed = AtomicU64::new(0);
    torture.cases(sizes.len() as u64, |number| {
        let size = sizes[number as usize];
        let case = new(&number.to_string())?;
        let is_well = on_disk(&case, &unshare, size, &expected)
            .map_err(|what| format!("a disk of {size} KiB: {what}"))?;
        failed.fetch_add(u64::from(!is_well), Ordering::Relaxed);
        case.remove()
    })?;
    Ok(Verdict::Held(format!(
        "{} sizes from {every} to {enough} KiB: on {} the run failed or warned, and said why; the \
         log parsed, the checkpoints verified, and it went on to the same bits",
        sizes.len(),
        failed.load(Ordering::Relaxed)
    )))
}

/// The command that gives a mount namespace of its own, if this machine has one.
fn unshare(folder: &Path) -> Option<Vec<&'static str>> {
    // As root no user namespace is needed, and some machines allow none.
    [vec!["unshare", "-m"], vec!["unshare", "-rm"]].into_iter().find(|unshare| {
        let script = "mount -t tmpfs -o size=4k torture \"$0\"";
        let (program, args) = (unshare[0], &unshare[1..]);
        let output =
            Command::new(program).args(args).args(["sh", "-c", script]).arg(folder).output();
        output.is_ok_and(|output| output.status.success())
    })
}

/// Whether a run on a disk of this size ended well; an error where anything is not as it should be.
fn on_disk(case: &Case<'_>, unshare: &[&str], kib: u64, expected: &Remains) -> Result<bool> {
    let out = case.path("out");
    let size = format!("SIZE={kib}k");
    let mut line: Vec<OsString> = vec!["env".into(), size.into()];
    for (name, path) in [("RUN", case.run()), ("OUT", out.clone())] {
        let mut variable = OsString::from(format!("{name}="));
        variable.push(path);
        line.push(variable);
    }
    let mut refrain = OsString::from("REFRAIN=");
    refrain.push(case.binary());
    line.push(refrain);
    line.extend(unshare.iter().map(OsString::from));
    line.extend(["sh", "-c", SCRIPT, "sh"].map(OsString::from));
    line.extend(case.train(false));
    let finished = case.finish(&line)?;
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap_or_default();
    let status = |name: &str| read(name).trim().parse::<i32>().unwrap_or(-1);
    let said = read("said.txt");
    let told = |what: &str| {
        Err(format!(
            "{what}\n{}\nthe run said ({}): {said}\nverify: {}\nthe resume: {}\n{}",
            shown(&line),
            status("status.txt"),
            read("verify.txt"),
            read("resumed.txt"),
            finished.said
        ))
    };
    let all = format!("{said}{}{}", read("verify.txt"), read("resumed.txt"));
    if all.contains("panicked at") {
        return told("it panicked");
    }
    let log = fs::read(out.join("then/experiment_log.json"));
    if log.is_ok_and(|log| serde_json::from_slice::<serde_json::Value>(&log).is_err()) {
        return told("the JSON log does not parse");
    }
    let is_well = match status("status.txt") {
        0 => true,
        1 | 2 if said.contains("error: ") => false,
        _ => return told("neither a good end nor an error"),
    };
    if is_well && status("verified.txt") != 0 {
        return told("it ended well and does not verify");
    }
    if out.join("run/quarantine").exists() {
        return told("a checkpoint was damaged");
    }
    if status("resumed-status.txt") != 0 {
        return told("with more room, the resume failed");
    }
    let found = Remains::of(&out.join("run"), &case.run())?;
    let is_told = is_well && (said.contains("warning") || said.contains("disabled"));
    let matters = |name: &str| !is_told || super::compare::is_of_the_model(name);
    match expected.difference_in(&found, matters) {
        Some(difference) => told(&difference),
        None => Ok(is_well && !is_told),
    }
}
