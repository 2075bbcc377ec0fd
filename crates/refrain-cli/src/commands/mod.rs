//! One file a command.

mod check;
mod plot;
mod preview;
mod recipe;
mod replay;
mod runs;
mod train;
mod verify;

use std::path::Path;
use std::sync::Arc;

use refrain::{Recipe, Registry, Result};

pub(crate) use check::check;
pub(crate) use plot::plot;
pub(crate) use preview::preview;
pub(crate) use recipe::recipe;
pub(crate) use replay::replay;
pub(crate) use runs::runs;
pub(crate) use train::train;
pub(crate) use verify::verify;

/// The recipe of that file, or the built-in one, with changes.
pub(crate) fn load(
    registry: &Arc<Registry>,
    path: Option<&Path>,
    changes: &[String],
) -> Result<Recipe> {
    match path {
        Some(path) => Recipe::load_with(registry, path, changes),
        None => Recipe::builtin_with(registry, changes),
    }
}
