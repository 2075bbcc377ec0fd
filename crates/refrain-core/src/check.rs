//! What is refused before the first batch, with the fix in the message.

use crate::callback::RateAccess;
use crate::error::{Error, Escaped, Result, list_names};
use crate::slot::Slot;

/// Keys that every entry of a log has anyway.
const RESERVED: [&str; 4] = ["epoch", "timestamp", "non_finite", "learning_rate"];

/// Checks options, names and order of all callbacks against what this run will have; returns who
/// owns the base learning rate.
pub(crate) fn check(
    slots: &[Slot],
    metrics: &[String],
    has_validation: bool,
    has_schedule: bool,
) -> Result<Option<String>> {
    for slot in slots {
        slot.entry.callback.check().map_err(|e| e.context(format!("callback `{}`", slot.name)))?;
    }
    check_names(slots)?;
    check_keys(slots, metrics, has_validation)?;
    base_owner(slots, has_schedule)
}

/// States are kept by name: two of one name would overwrite each other.
fn check_names(slots: &[Slot]) -> Result {
    let stateful: Vec<bool> = slots
        .iter()
        .map(|slot| Ok(slot.entry.callback.save_state()?.is_some()))
        .collect::<Result<_>>()?;
    for (i, slot) in slots.iter().enumerate() {
        let twin = (0..i).find(|&j| slots[j].name == slot.name && stateful[i] && stateful[j]);
        if let Some(j) = twin {
            return Err(Error::config(format!(
                "callbacks `{}` ({} and {}) share a name and both keep state; \
                 rename one with `.named(..)` (in a recipe: name = \"..\")",
                slot.name,
                ordinal(j + 1),
                ordinal(i + 1)
            )));
        }
    }
    Ok(())
}

/// One owner of the base rate; factors are free.
fn base_owner(slots: &[Slot], has_schedule: bool) -> Result<Option<String>> {
    let mut owner = has_schedule.then(|| "the optimizer's schedule".to_owned());
    for slot in slots {
        if slot.entry.callback.access().rate() != RateAccess::Base {
            continue;
        }
        if let Some(first) = owner {
            return Err(Error::config(format!(
                "{first} and callback `{}` both set the base learning rate; keep one of them \
                 (callbacks that scale the rate by a factor combine freely)",
                slot.name
            )));
        }
        owner = Some(format!("callback `{}`", slot.name));
    }
    Ok(owner)
}

/// Every key that is read exists by then.
fn check_keys(slots: &[Slot], metrics: &[String], has_validation: bool) -> Result {
    let mut known: Vec<String> = metrics.to_vec();
    if has_validation {
        known.extend(metrics.iter().map(|name| format!("val_{name}")));
    }
    known.push("learning_rate".to_owned());
    for (i, slot) in slots.iter().enumerate() {
        let access = slot.entry.callback.access();
        for key in access.read() {
            if known.contains(key) {
                continue;
            }
            let later =
                slots[i + 1..].iter().find(|s| s.entry.callback.access().written().contains(key));
            if let Some(writer) = later {
                return Err(Error::config(format!(
                    "`{}` reads `{key}`, which `{}`, listed after it, writes; list `{}` first",
                    slot.name, writer.name, writer.name
                )));
            }
            let missing = no_metric(key, &known);
            return Err(Error::config(format!("callback `{}`: {missing}", slot.name)));
        }
        for key in access.written() {
            if RESERVED.contains(&key.as_str()) {
                return Err(Error::config(format!(
                    "callback `{}` writes `{key}`, which every log has; choose another name",
                    slot.name
                )));
            }
            if !known.contains(key) {
                known.push(key.clone());
            }
        }
    }
    Ok(())
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
            "; it needs validation: give validation_data or validation_split".to_owned()
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
    // Jaro-Winkler likes a common beginning (`val_acc`), the edit distance knows slips (`sdg`).
    let nearness = |candidate: &str| {
        let beginning = strsim::jaro_winkler(name, candidate);
        let slips = strsim::damerau_levenshtein(name, candidate);
        let is_near = beginning > 0.8 || slips <= (name.chars().count() / 3).max(1);
        is_near.then(|| beginning + strsim::normalized_damerau_levenshtein(name, candidate))
    };
    names
        .into_iter()
        .map(AsRef::as_ref)
        .filter_map(|candidate| Some((nearness(candidate)?, candidate)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
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
