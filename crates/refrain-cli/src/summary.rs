//! `summary.json`, and the lines printed at the end of a run.

use std::path::Path;

use refrain::callbacks::EarlyStopping;
use refrain::{Ending, Error, Escaped, History, RecipeLearner, Trainer, list_names};
use serde_json::{Map, Value, json};

/// How a run went.
pub(crate) struct Summary {
    outcome: &'static str,
    by: Option<String>,
    reason: Option<String>,
    epochs: usize,
    best_epoch: Option<usize>,
    learning_rate: f64,
    seconds: f64,
    parameters: usize,
    history: Map<String, Value>,
    /// What the loss was multiplied by at last, and the steps that were not made, where it follows the
    /// gradients.
    loss_scale: Option<(f64, u64)>,
    /// Callbacks that failed and were disabled, with their errors.
    disabled: Vec<(String, String)>,
}

impl Summary {
    /// Of the run that `trainer` has just made. `error`: what it failed with.
    pub(crate) fn new(
        trainer: &Trainer<RecipeLearner>,
        error: Option<&Error>,
        seconds: f64,
        parameters: usize,
    ) -> Self {
        let history = trainer.history();
        let (outcome, by, reason) = match (error, &history.ending) {
            (Some(error), _) => {
                ("failed", error.callback().map(str::to_owned), Some(error.to_string()))
            }
            (None, Ending::Stopped(stop)) => {
                ("stopped", Some(stop.by.clone()), Some(stop.reason.clone()))
            }
            (None, Ending::Interrupted) => ("interrupted", None, None),
            (None, Ending::Completed) => ("completed", None, None),
        };
        let best_epoch = trainer.get::<EarlyStopping>().and_then(EarlyStopping::best_epoch);
        Self {
            outcome,
            by,
            reason,
            epochs: history.iter().last().map_or(0, |(epoch, _)| epoch + 1),
            best_epoch: best_epoch.map(|epoch| epoch + 1),
            learning_rate: trainer.learning_rate().get(),
            seconds,
            parameters,
            history: columns(history),
            loss_scale: trainer
                .learner()
                .loss_scale()
                .filter(|scale| scale.is_dynamic())
                .map(|scale| (scale.factor(), scale.skipped_steps())),
            disabled: trainer
                .disabled()
                .map(|(name, error)| (name.to_owned(), error.to_string()))
                .collect(),
        }
    }

    /// The file's text.
    pub(crate) fn to_json(&self) -> String {
        let mut json = json!({
            "outcome": self.outcome,
            "by": self.by,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
            "parameters": self.parameters,
            "history": self.history,
        });
        if let Some((factor, skipped)) = self.loss_scale {
            json["loss_scale"] = json!({ "factor": factor, "skipped_steps": skipped });
        }
        if !self.disabled.is_empty() {
            json["disabled"] = self
                .disabled
                .iter()
                .map(|(name, error)| (name.clone(), error.clone().into()))
                .collect::<Map<String, Value>>()
                .into();
        }
        format!("{json:#}\n")
    }

    /// The lines for people.
    pub(crate) fn to_text(&self, folder: &Path, files: &[String]) -> String {
        let by = self.by.as_ref().map(|by| format!(" by {}", Escaped(by))).unwrap_or_default();
        let reason =
            self.reason.as_ref().map(|reason| format!(": {}", Escaped(reason))).unwrap_or_default();
        let best = self.best_epoch.map(|epoch| format!(", best epoch {epoch}")).unwrap_or_default();
        let plural = if self.epochs == 1 { "" } else { "s" };
        let mut text = format!(
            "\n{}{by}{reason}\n{} epoch{plural} in {:.2} s{best}, final learning rate {:?}",
            capitalised(self.outcome),
            self.epochs,
            self.seconds,
            self.learning_rate,
        );
        if let Some((factor, skipped)) = self.loss_scale {
            let plural = if skipped == 1 { "" } else { "s" };
            text.push_str(&format!(
                "\nLoss scale {factor:?}; {skipped} step{plural} left out, whose gradients were not \
                 finite"
            ));
        }
        for (name, error) in &self.disabled {
            text.push_str(&format!("\nCallback {} was disabled: {error}", Escaped(name)));
        }
        let folder = folder.display().to_string();
        text.push_str(&format!("\nFiles in {}: {}", Escaped(&folder), list_names(files)));
        text
    }
}

/// One list a metric, one value an epoch: `null` where an epoch has none or none that is finite.
fn columns(history: &History) -> Map<String, Value> {
    let list = |name: &str| {
        let values = history.column(name).into_iter().map(|x| x.filter(|x| x.is_finite()));
        Value::from_iter(values)
    };
    history.names().into_iter().map(|name| (name.to_owned(), list(name))).collect()
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
