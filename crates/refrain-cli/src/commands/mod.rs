//! One file a command.

mod check;
mod evaluate;
mod plot;
mod predict;
mod preview;
mod recipe;
mod replay;
mod runs;
mod summary;
mod train;
mod verify;

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use refrain::{Error, Recipe, Registry, Result};

pub(crate) use check::check;
pub(crate) use evaluate::evaluate;
pub(crate) use plot::plot;
pub(crate) use predict::predict;
pub(crate) use preview::preview;
pub(crate) use recipe::recipe;
pub(crate) use replay::replay;
pub(crate) use runs::runs;
pub(crate) use summary::summary;
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

/// Computes with so many threads; with all cores where none is said.
pub(crate) fn use_threads(threads: Option<u16>) -> Result {
    let from_environment = || std::env::var("RAYON_NUM_THREADS").ok()?.parse().ok();
    let threads = threads.map(usize::from).or_else(from_environment).filter(|threads| *threads > 0);
    let threads =
        threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
    let mut pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    // This thread is one of them: it does not wait for others to take up each small piece of work. As
    // the only one it would be asked for what other threads hand over, and not look while it waits
    // for these.
    if threads > 1 {
        pool = pool.use_current_thread();
    }
    pool.build_global().map_err(Error::wrap)
}
