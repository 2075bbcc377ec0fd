//! What is found before the first batch, with the fix beside it.

use std::path::PathBuf;

use crate::callback::RateAccess;
use crate::callbacks::{EarlyStopping, ReduceLrOnPlateau};
use crate::combinators::Conditional;
use crate::error::{Escaped, list_names};
use crate::event::Hook;
use crate::finding::{Finding, RunPlan};
use crate::schedule::{Schedule, odd_rates, places};
use crate::slot::Slot;

/// Keys that every entry of a log has anyway.
const RESERVED: [&str; 4] = ["epoch", "timestamp", "non_finite", "learning_rate"];

/// All that can be said of callbacks and their order before the first batch of this run.
pub(crate) fn findings(
    slots: &[Slot],
    plan: &RunPlan,
    schedule: Option<&dyn Schedule>,
) -> Vec<Finding> {
    let mut found = keys(slots, plan);
    let lacks_metric: Vec<usize> = found
        .iter()
        .filter(|finding| ["unknown-metric", "no-validation"].contains(&finding.code))
        .filter_map(|finding| finding.callback)
        .collect();
    for (i, slot) in slots.iter().enumerate() {
        let callback = &slot.entry.callback;
        if let Err(error) = callback.check() {
            let error = error.context(format!("callback `{}`", slot.name));
            found.push(Finding::error("bad-option", error.to_string()).in_callback(i));
        }
        for finding in callback.findings(plan) {
            // Of a metric that is not there, its direction need not be known.
            if finding.code == "unknown-direction" && lacks_metric.contains(&i) {
                continue;
            }
            let message = format!("callback `{}`: {}", slot.name, finding.message);
            found.push(Finding { message, ..finding.in_callback(i) });
        }
    }
    found.extend(schedule.into_iter().flat_map(|schedule| of_schedule(schedule, plan)));
    found.extend(twins(slots));
    found.extend(base_owners(slots, schedule.is_some()).1);
    found.extend(files(slots));
    found.extend(patience(slots));
    found.extend(order(slots));
    found.extend(rollbacks(slots, plan));
    if plan.epochs_to_run() == 0 {
        let message = format!(
            "initial_epoch is {} and epochs is {}: nothing is trained",
            plan.initial_epoch, plan.epochs
        );
        let fix = "epochs is where training ends; choose one behind initial_epoch";
        found.push(Finding::warning("nothing-to-train", message).fix(fix).option("initial_epoch"));
    }
    found
}

/// What the optimizer's schedule says of itself.
fn of_schedule(schedule: &dyn Schedule, plan: &RunPlan) -> Vec<Finding> {
    match schedule.check() {
        Err(error) => {
            let error = error.context("the optimizer's schedule");
            vec![Finding::error("bad-option", error.to_string()).option("learning_rate")]
        }
        Ok(()) => {
            let mut found = schedule.findings(plan);
            found.extend(odd_rates(schedule, places(plan, false), "learning_rate"));
            found
        }
    }
}

/// States and factors of the rate are kept by name: two of one name would overwrite each other.
fn twins(slots: &[Slot]) -> Vec<Finding> {
    let is_stateful = |slot: &Slot| {
        slot.entry.callback.access().rate() == RateAccess::Factor
            || slot.save_state().is_ok_and(|state| state.is_some())
    };
    let stateful: Vec<bool> = slots.iter().map(is_stateful).collect();
    let twin =
        |i: usize| (0..i).find(|&j| slots[j].name == slots[i].name && stateful[i] && stateful[j]);
    let finding = |i: usize| {
        let j = twin(i)?;
        let message = format!(
            "callbacks `{}` ({} and {}) share a name, under which both keep a state or a factor of the rate",
            slots[i].name,
            ordinal(j + 1),
            ordinal(i + 1)
        );
        let fix = "rename one with `.named(..)` (in a recipe: name = \"..\")";
        Some(Finding::error("same-name", message).fix(fix).in_callback(i).option("name"))
    };
    (0..slots.len()).filter_map(finding).collect()
}

/// One owner of the base rate; factors are free.
pub(crate) fn base_owner(slots: &[Slot], has_schedule: bool) -> Option<String> {
    base_owners(slots, has_schedule).0
}

fn base_owners(slots: &[Slot], has_schedule: bool) -> (Option<String>, Vec<Finding>) {
    let mut owner = has_schedule.then(|| "the optimizer's schedule".to_owned());
    let mut found = Vec::new();
    for (i, slot) in slots.iter().enumerate() {
        let rate = slot.entry.callback.access().rate();
        if rate == RateAccess::Factor && slot.name == "base" {
            let message = "a callback named `base` scales the rate, whose base is called so";
            let finding = Finding::error("reserved-name", message).fix("choose another name");
            found.push(finding.in_callback(i).option("name"));
        }
        if rate != RateAccess::Base {
            continue;
        }
        match &owner {
            Some(first) => {
                let message =
                    format!("{first} and callback `{}` both set the base learning rate", slot.name);
                let fix = "keep one of them (callbacks that scale the rate by a factor combine \
                           freely)";
                found.push(Finding::error("two-base-rates", message).fix(fix).in_callback(i));
            }
            None => owner = Some(format!("callback `{}`", slot.name)),
        }
    }
    (owner, found)
}

/// Every key that is read exists by then.
fn keys(slots: &[Slot], plan: &RunPlan) -> Vec<Finding> {
    let mut known = plan.keys();
    let mut found = Vec::new();
    for (i, slot) in slots.iter().enumerate() {
        let access = slot.entry.callback.access();
        for (key, option) in access.read_with_options() {
            if known.contains(key) {
                continue;
            }
            let writes_it = |s: &&Slot| s.entry.callback.access().written().contains(key);
            let finding = match slots[i + 1..].iter().find(writes_it) {
                Some(writer) => {
                    let message = format!(
                        "`{}` reads `{key}`, which `{}`, listed after it, writes",
                        slot.name, writer.name
                    );
                    Finding::error("reader-before-writer", message)
                        .fix(format!("list `{}` first", writer.name))
                }
                None => {
                    let missing = no_metric(key, &known);
                    let needs_validation = !plan.is_ever_validated()
                        && key
                            .strip_prefix("val_")
                            .is_some_and(|bare| known.iter().any(|k| k == bare));
                    let code = if needs_validation { "no-validation" } else { "unknown-metric" };
                    let message = format!("callback `{}`: {missing}", slot.name);
                    Finding::error(code, message)
                }
            };
            found.push(finding.option(option).in_callback(i));
        }
        for key in access.written() {
            if RESERVED.contains(&key.as_str()) {
                let message =
                    format!("callback `{}` writes `{key}`, which every log has", slot.name);
                let finding = Finding::error("reserved-key", message);
                found.push(finding.fix("choose another name").in_callback(i));
            }
            if !known.contains(key) {
                known.push(key.clone());
            }
        }
    }
    found
}

/// No file is written twice.
fn files(slots: &[Slot]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut written: Vec<(PathBuf, usize)> = Vec::new();
    for (i, slot) in slots.iter().enumerate() {
        for file in slot.entry.callback.access().files() {
            match written.iter().find(|(path, _)| path == file) {
                Some((_, first)) => {
                    let message = format!(
                        "callbacks `{}` and `{}` both write `{}`",
                        slots[*first].name,
                        slot.name,
                        file.display()
                    );
                    let finding = Finding::error("same-file", message);
                    found.push(finding.fix("give each a file of its own").in_callback(i));
                }
                None => written.push((file.clone(), i)),
            }
        }
    }
    found
}

/// What stands before that to which it should see the result.
fn order(slots: &[Slot]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, slot) in slots.iter().enumerate() {
        let access = slot.entry.callback.access();
        let behind = slots.iter().skip(i + 1).map(|slot| (slot, slot.entry.callback.access()));
        for (other, theirs) in behind {
            let logs = access.is_observing()
                && access.handles(Hook::EpochEnd)
                && !access.files().is_empty();
            let (code, what) = if logs && !theirs.written().is_empty() {
                ("logger-before-writer", format!("does not log {}", theirs.written().join(", ")))
            } else if access.is_changing_gradients()
                && access.batches_per_update().is_none()
                && theirs.batches_per_update().is_some()
            {
                ("clip-before-accumulation", "acts on each batch, not on their mean".to_owned())
            } else {
                continue;
            };
            let message = format!("`{}`, listed before `{}`, {what}", slot.name, other.name);
            let fix = format!("list `{}` first", other.name);
            found.push(Finding::warning(code, message).fix(fix).in_callback(i));
        }
    }
    found
}

/// Who goes back to a checkpoint needs one.
fn rollbacks(slots: &[Slot], plan: &RunPlan) -> Vec<Finding> {
    let finding = |(i, slot): (usize, &Slot)| {
        let message = format!(
            "callback `{}` goes back to a checkpoint where it must, and this run keeps none",
            slot.name
        );
        let fix = "turn checkpoints on (in a recipe: [checkpoint]), or set its rollbacks to 0";
        Finding::error("no-checkpoints", message).fix(fix).in_callback(i).option("rollbacks")
    };
    let needs_one = |(_, slot): &(usize, &Slot)| slot.entry.callback.access().rolls_back();
    let slots = slots.iter().enumerate().filter(needs_one);
    slots.filter(|_| plan.checkpoints == Some(false)).map(finding).collect()
}

/// A plateau that waits as long as early stopping watches a run that ends before the rate falls.
fn patience(slots: &[Slot]) -> Vec<Finding> {
    let stopping = slots.iter().find_map(|slot| Some((slot, slot.find::<EarlyStopping>()?)));
    let Some((stopper, stopping)) = stopping else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (i, slot) in slots.iter().enumerate() {
        let Some(plateau) = slot.find::<ReduceLrOnPlateau>() else {
            continue;
        };
        // One that sees only some of the epochs waits longer than its patience says.
        if slot.find::<Conditional>().is_some() || stopper.find::<Conditional>().is_some() {
            continue;
        }
        let is_same = plateau.monitor.name() == stopping.monitor.name();
        // 0 is the same as 1 in both.
        if is_same && plateau.patience.max(1) >= stopping.patience.max(1) {
            let message = format!(
                "`{}` waits {} epochs for {}, and `{}` stops after {}: the run ends before the \
                 rate falls",
                slot.name,
                plateau.patience,
                plateau.monitor.name(),
                stopper.name,
                stopping.patience
            );
            let fix = format!("give `{}` the shorter patience", slot.name);
            let finding = Finding::warning("plateau-after-stop", message).fix(fix);
            found.push(finding.in_callback(i).option("patience"));
        }
    }
    found
}

/// What to say of a metric that a run does not have.
///
/// # Example
/// ```
/// use refrain_core::no_metric;
/// let known = ["loss", "accuracy", "val_loss", "val_accuracy"];
/// assert_eq!(
///     no_metric("val_acc", &known),
///     "no metric named `val_acc`; this run has accuracy, loss, val_accuracy, val_loss; \
///      did you mean `val_accuracy`?"
/// );
/// ```
pub fn no_metric<S: AsRef<str>>(key: &str, known: &[S]) -> String {
    let mut names: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    names.sort_unstable();
    let hint = match key.strip_prefix("val_") {
        Some(bare) if names.contains(&bare) => {
            "; it needs validation: give validation_data or validation_split, in an epoch of the run".to_owned()
        }
        _ => nearest(key, names.iter().copied())
            .map(|name| format!("; did you mean `{name}`?"))
            .unwrap_or_default(),
    };
    format!("no metric named `{}`; this run has {}{hint}", Escaped(key), list_names(names))
}

/// The name nearest to `name`, if one is near enough to be what was meant.
///
/// # Example
/// ```
/// use refrain_core::nearest;
/// assert_eq!(nearest("val_acc", ["val_accuracy", "loss"]), Some("val_accuracy"));
/// assert_eq!(nearest("sdg", ["adam", "sgd"]), Some("sgd"));
/// assert_eq!(nearest("zebra", ["val_accuracy", "loss"]), None);
/// ```
pub fn nearest<'a, S: AsRef<str> + 'a + ?Sized>(
    name: &str,
    names: impl IntoIterator<Item = &'a S>,
) -> Option<&'a str> {
    let nearness = |candidate: &str| {
        let beginning = strsim::jaro_winkler(name, candidate);
        let slips = strsim::damerau_levenshtein(name, candidate);
        let is_near = beginning > 0.8 || slips <= (name.chars().count() / 3).max(1);
        is_near.then(|| likeness(name, candidate))
    };
    names
        .into_iter()
        .map(AsRef::as_ref)
        .filter_map(|candidate| Some((nearness(candidate)?, candidate)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// How alike two names are, from 0 to 2. Jaro-Winkler likes a common beginning (`val_acc`), the edit
/// distance knows slips (`sdg`).
pub(crate) fn likeness(name: &str, other: &str) -> f64 {
    strsim::jaro_winkler(name, other) + strsim::normalized_damerau_levenshtein(name, other)
}

fn ordinal(n: usize) -> String {
    let suffix = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}
