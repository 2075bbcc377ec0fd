//! `refrain summary`: layers, shapes, parameters, and what training needs of memory.

use std::sync::Arc;

use refrain::{Registry, Result};

use super::load;
use crate::args::SummaryArgs;
use crate::output::say;

/// Prints the table, or JSON. Nothing is trained.
pub(crate) fn summary(args: &SummaryArgs, registry: &Arc<Registry>) -> Result {
    let own = args.dir.as_ref().map(|dir| dir.join("recipe.toml"));
    let recipe = load(registry, own.as_deref().or(args.recipe.as_deref()), &args.set)?;
    let summary = recipe.summary()?;
    if args.json {
        return say(&format!("{:#}", summary.to_json()));
    }
    say(summary.to_string().trim_end())
}
