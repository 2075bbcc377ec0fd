//! What is refused before the first batch, with the fix in the message.

use crate::callback::RateAccess;
use crate::error::{Error, Result, list_names};
use crate::slot::Slot;

/// Keys that every entry of a log has anyway.
const RESERVED: [&str; 4] = ["epoch", "timestamp", "non_finite", "learning_rate"];

/// Checks options, names and order of all callbacks against what this run will have.
pub(crate) fn check(
    slots: &[Slot],
    metrics: &[String],
    has_validation: bool,
    has_schedule: bool,
) -> Result {
    for slot in slots {
        slot.entry.callback.check().map_err(|e| e.context(format!("callback `{}`", slot.name)))?;
    }
    check_names(slots)?;
    check_rate(slots, has_schedule)?;
    check_keys(slots, metrics, has_validation)
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
fn check_rate(slots: &[Slot], has_schedule: bool) -> Result {
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
    Ok(())
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
            return Err(unknown_metric(&slot.name, key, &known, metrics));
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

fn unknown_metric(callback: &str, key: &str, known: &[String], metrics: &[String]) -> Error {
    let hint = match key.strip_prefix("val_") {
        Some(bare) if metrics.iter().any(|name| name == bare) => {
            "; it needs validation: give validation_data or validation_split".to_owned()
        }
        _ => {
            nearest(key, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
        }
    };
    let mut sorted: Vec<&String> = known.iter().collect();
    sorted.sort();
    Error::config(format!(
        "callback `{callback}`: no metric named `{key}`; this run has {}{hint}",
        list_names(sorted)
    ))
}

/// The name nearest to `name`, if one is near enough to be what was meant.
///
/// # Example
/// ```
/// use refrain_core::nearest;
/// assert_eq!(nearest("val_acc", ["val_accuracy", "loss"]), Some("val_accuracy"));
/// assert_eq!(nearest("zebra", ["val_accuracy", "loss"]), None);
/// ```
pub fn nearest<'a, S: AsRef<str> + 'a + ?Sized>(
    name: &str,
    names: impl IntoIterator<Item = &'a S>,
) -> Option<&'a str> {
    names
        .into_iter()
        .map(AsRef::as_ref)
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
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
