//! `refrain check`: the plan of a run, and what is odd in it.

use std::path::Path;
use std::sync::Arc;

use refrain::{Finding, Registry, Result};
use serde_json::json;

use super::load;
use crate::args::CheckArgs;
use crate::output::say;
use crate::signals::Interrupts;
use crate::{FAILED, FINISHED};

/// Checks; returns the exit status.
pub(crate) fn check(args: &CheckArgs, registry: &Arc<Registry>) -> Result<u8> {
    let interrupts = Interrupts::handle()?;
    let check = load(registry, args.recipe.as_deref(), &args.set).and_then(|recipe| {
        let recipe = recipe.stop_with(interrupts.stop());
        let data = interrupts.while_reading(|| recipe.load_data())?;
        recipe.check(&data, Path::new(""))
    });
    if args.json
        && let Err(error) = &check
    {
        let mut finding = Finding::error("bad-recipe", error.to_string()).to_json();
        finding["line"] = json!(error.text_place().map(|(line, _)| line));
        finding["column"] = json!(error.text_place().map(|(_, column)| column));
        say(&format!("{:#}", json!({ "findings": [finding] })))?;
    }
    let check = check?;
    if args.json {
        say(&format!("{:#}", check.to_json()))?;
    } else {
        say(&check.check.to_string())?;
        for (finding, text) in check.findings() {
            say(&format!("  {}[{}]: {text}", finding.severity, finding.code))?;
        }
    }
    Ok(if check.has_errors() { FAILED } else { FINISHED })
}
