//! The plan of a run before the run: who acts where, and what is odd.

use std::fmt;

use serde_json::{Value, json};

use crate::callback::{Access, OnFailure, RateAccess};
use crate::error::Escaped;
use crate::event::Hook;
use crate::finding::{Finding, RunPlan, Severity};
use crate::slot::Slot;

/// What a check of a run says: each event with its callbacks in order, what each reads, writes and
/// may ask for, and findings. Displays as text for people.
///
/// # Example
/// ```
/// use refrain_core::callbacks::EarlyStopping;
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, Monitor, Trainer};
///
/// let script = Script::losses(&[1.0]);
/// let trainer = Trainer::new(script.learner(), 0.1)
///     .callback(EarlyStopping::new(Monitor::min("val_los")));
/// let check = trainer.check(&script.data(), Fit::epochs(2))?;
/// assert!(check.has_errors());
/// assert_eq!(check.findings[0].code, "unknown-metric");
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Check {
    /// What is known of the run.
    pub plan: RunPlan,
    /// The callbacks, in list order.
    pub callbacks: Vec<CheckedCallback>,
    /// What is odd, errors first.
    pub findings: Vec<Finding>,
}

/// A callback as a check sees it.
#[derive(Clone, Debug)]
pub struct CheckedCallback {
    /// Its name.
    pub name: String,
    /// What it reads, writes and may ask for, and where it acts.
    pub access: Access,
    /// What happens when it fails.
    pub on_failure: OnFailure,
}

impl Check {
    pub(crate) fn new(plan: RunPlan, slots: &[Slot], mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let checked = |slot: &Slot| CheckedCallback {
            name: slot.name.clone(),
            access: slot.entry.callback.access(),
            on_failure: slot.entry.callback.failure_policy(),
        };
        Self { plan, callbacks: slots.iter().map(checked).collect(), findings }
    }

    /// Whether the run would be refused.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Each event with the names of the callbacks that act in it, in order. Events in which none
    /// does are left out.
    pub fn events(&self) -> Vec<(Hook, Vec<&str>)> {
        let acting = |hook: Hook| {
            let acts = |callback: &&CheckedCallback| callback.access.handles(hook);
            let names = self.callbacks.iter().filter(acts);
            (hook, names.map(|callback| callback.name.as_str()).collect::<Vec<_>>())
        };
        Hook::ALL.into_iter().map(acting).filter(|(_, names)| !names.is_empty()).collect()
    }

    /// The check as JSON: `plan`, `callbacks`, `events`, `findings`.
    pub fn to_json(&self) -> Value {
        let events = self.events();
        let event = |(hook, names): &(Hook, Vec<&str>)| json!({ "event": hook.as_str(), "callbacks": names });
        json!({
            "plan": {
                "epochs": self.plan.epochs,
                "initial_epoch": self.plan.initial_epoch,
                "steps_per_epoch": (self.plan.steps_per_epoch > 0).then_some(self.plan.steps_per_epoch),
                "validation": self.plan.validation.is_some(),
                "metrics": self.plan.keys(),
            },
            "callbacks": self.callbacks.iter().map(CheckedCallback::to_json).collect::<Vec<_>>(),
            "events": events.iter().map(event).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

impl CheckedCallback {
    fn requests(&self) -> Vec<&'static str> {
        let access = &self.access;
        let mut requests = Vec::new();
        if access.stops() {
            requests.push("stop");
        }
        if access.rolls_back() {
            requests.push("go back to a checkpoint");
        }
        if access.is_setting_weights() {
            requests.push("set weights");
        }
        if access.is_changing_gradients() {
            requests.push("change gradients");
        }
        requests
    }

    fn to_json(&self) -> Value {
        let files = self.access.files().iter().map(|file| file.display().to_string());
        json!({
            "name": self.name,
            "reads": self.access.read(),
            "writes": self.access.written(),
            "files": files.collect::<Vec<_>>(),
            "learning_rate": match self.access.rate() {
                RateAccess::None => Value::Null,
                RateAccess::Factor => "factor".into(),
                RateAccess::Base => "base".into(),
            },
            "requests": self.requests(),
            "on_failure": match self.on_failure {
                OnFailure::Abort => "abort",
                OnFailure::Disable => "disable",
            },
        })
    }
}

impl fmt::Display for CheckedCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut does = Vec::new();
        if !self.access.read().is_empty() {
            does.push(format!("reads {}", self.access.read().join(", ")));
        }
        match self.access.rate() {
            RateAccess::None => {}
            RateAccess::Factor => does.push("scales the learning rate".to_owned()),
            RateAccess::Base => does.push("sets the learning rate".to_owned()),
        }
        if !self.access.written().is_empty() {
            does.push(format!("adds {}", self.access.written().join(", ")));
        }
        does.extend(self.access.files().iter().map(|file| format!("writes {}", file.display())));
        does.extend(self.requests().iter().map(|request| format!("may {request}")));
        if self.on_failure == OnFailure::Disable {
            does.push("disabled if it fails".to_owned());
        }
        write!(f, "{}: {}", Escaped(&self.name), Escaped(&does.join("; ")))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        write!(f, "Plan: {} epoch{}", plan.epochs_to_run(), plural(plan.epochs_to_run()))?;
        if plan.steps_per_epoch > 0 {
            write!(f, " of {} step{}", plan.steps_per_epoch, plural(plan.steps_per_epoch))?;
        }
        let validation = if plan.validation.is_some() { "with" } else { "without" };
        writeln!(f, ", {validation} validation; logs have {}", plan.keys().join(", "))?;
        if !self.callbacks.is_empty() {
            f.write_str("\nCallbacks, in order:\n")?;
        }
        for (i, callback) in self.callbacks.iter().enumerate() {
            writeln!(f, "  {}. {callback}", i + 1)?;
        }
        let events = self.events();
        if !events.is_empty() {
            f.write_str("\nEvents, each with the callbacks that act in it:\n")?;
        }
        for (hook, names) in events {
            writeln!(f, "  {:<22} {}", hook.as_str(), Escaped(&names.join(", ")))?;
        }
        match self.findings.len() {
            0 => f.write_str("\nNo findings."),
            n => write!(f, "\n{n} finding{}:", plural(n)),
        }
    }
}
