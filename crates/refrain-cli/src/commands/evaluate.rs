//! `refrain evaluate`: loss and metrics of a run's weights.

use std::sync::Arc;

use refrain::{DataPart, Logs, Registry, Result};
use serde_json::Value;

use super::use_threads;
use crate::args::EvaluateArgs;
use crate::output::{complain, say};
use crate::saved_model::SavedModel;
use crate::signals::Interrupts;

/// Evaluates, and prints one JSON object.
pub(crate) fn evaluate(args: &EvaluateArgs, registry: &Arc<Registry>) -> Result {
    use_threads(args.threads)?;
    let model = SavedModel::of_run(registry, &args.dir)?;
    let SavedModel { recipe, weights, .. } = &model;
    let interrupts = Interrupts::handle()?;
    let reading = recipe.clone().stop_with(interrupts.stop());
    let data = interrupts.while_reading(|| reading.load_data())?;
    model.check_data(&args.dir, &data, args.accept_changes)?;
    let part = DataPart::from_name(&args.data).unwrap_or(DataPart::Validation);
    let logs = recipe.evaluate(&data, weights, part, args.batch_size)?;
    for (name, value) in logs.iter().filter(|(_, value)| !value.is_finite()) {
        complain(&format!("warning: {name} is {value}, which JSON has no number for: null"));
    }
    say(&in_json(&logs))
}

/// One object on one line, the loss first. What is not finite is `null`.
fn in_json(logs: &Logs) -> String {
    let entry =
        |(name, value): (&str, f64)| format!("{}: {}", Value::from(name), Value::from(value));
    format!("{{{}}}", logs.iter().map(entry).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_one_object() {
        let mut logs = Logs::new();
        assert_eq!(in_json(&logs), "{}");
        logs.insert("loss", 0.1 + 0.2);
        logs.insert("a\"b", f64::NAN);
        logs.insert("c", f64::NEG_INFINITY);
        assert_eq!(in_json(&logs), r#"{"loss": 0.30000000000000004, "a\"b": null, "c": null}"#);
    }
}
