//! `--resume`: which run goes on, with which recipe, and whether it may.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use refrain::checkpoint::{Checkpoints, Entry, ResumePoint, RunReport, inspect};
use refrain::files::Files;
use refrain::{Error, Recipe, Registry, Result};

use crate::args::TrainArgs;
use crate::commands::load;
use crate::output::{complain, count};
use crate::run_folder::{RunFolder, holds_run};
use crate::run_state::State;

/// What `--resume` has found.
pub(crate) enum Found {
    /// A run that goes on.
    Unfinished { recipe: Recipe, folder: RunFolder, run: RunReport },
    /// A run that has come to its end: a line that says so.
    Finished(String),
    /// No run: one begins, and a line says so.
    Nothing { recipe: Recipe, folder: RunFolder, note: String },
}

/// Looks for the run that goes on.
///
/// # Errors
/// When the recipe, or the run's journal, cannot be read.
pub(crate) fn find(args: &TrainArgs, registry: &Arc<Registry>) -> Result<Found> {
    match &args.dir {
        Some(dir) => in_folder(args, registry, dir),
        None => newest(args, registry),
    }
}

/// The recipe of the run in `folder`: that which was named, else the run's own.
fn recipe_of(args: &TrainArgs, registry: &Arc<Registry>, folder: &Path) -> Result<Recipe> {
    let own = folder.join("recipe.toml");
    let own = Some(own).filter(|own| args.recipe.is_none() && own.exists());
    load(registry, own.as_deref().or(args.recipe.as_deref()), &args.set)
}

fn in_folder(args: &TrainArgs, registry: &Arc<Registry>, dir: &Path) -> Result<Found> {
    let folder = RunFolder::of_run(registry, dir.to_owned())?;
    let recipe = recipe_of(args, registry, dir)?;
    let Some(run) = inspect(&Files::default(), dir)? else {
        // Written at the end of a run: this one is of a version that kept no journal.
        if ["summary.json", "model.safetensors"].iter().any(|name| dir.join(name).exists()) {
            return Err(Error::config(format!(
                "`{}` holds a run without a journal, which cannot go on; replace it (--overwrite), or \
                 choose another folder (--dir)",
                dir.display()
            )));
        }
        // Killed in its first instant, a run has left its recipe.
        let what = if holds_run(dir) { "checkpoint" } else { "run" };
        let note = format!("`{}` holds no {what}: starting from the beginning", dir.display());
        return Ok(Found::Nothing { recipe, folder, note });
    };
    if let Some(note) = finished(&run, recipe.epochs()) {
        return Ok(Found::Finished(note));
    }
    Ok(Found::Unfinished { recipe, folder, run })
}

/// The newest unfinished run of the recipe's name.
fn newest(args: &TrainArgs, registry: &Arc<Registry>) -> Result<Found> {
    let recipe = load(registry, args.recipe.as_deref(), &args.set)?;
    let mut runs = runs_of(recipe.name());
    // By what their journals say; a folder may have been copied, or looked at.
    runs.sort_by_key(|run| run.journal.entries.last().and_then(Entry::at));
    let mut finished_run = None;
    for run in runs.iter().rev() {
        match in_folder(args, registry, &run.folder) {
            Ok(Found::Finished(note)) => finished_run = finished_run.or(Some(note)),
            found => return found,
        }
    }
    if let Some(note) = finished_run {
        return Ok(Found::Finished(note));
    }
    let folder = RunFolder::new_run(registry, None, recipe.name(), false)?;
    let note = format!(
        "there is no run named `{}` in `runs`: starting one from the beginning in `{}`",
        recipe.name(),
        folder.path().display()
    );
    Ok(Found::Nothing { recipe, folder, note })
}

/// The runs in `runs/NAME`, `runs/NAME-2`, ...
fn runs_of(name: &str) -> Vec<RunReport> {
    let is_named = |folder: &PathBuf| {
        let rest = folder.file_name().and_then(|text| text.to_str()?.strip_prefix(name));
        rest.is_some_and(|rest| {
            let number = rest.strip_prefix('-');
            rest.is_empty() || number.is_some_and(|number| number.parse::<u64>().is_ok())
        })
    };
    let entries = std::fs::read_dir("runs").into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path()).filter(is_named);
    // A folder that cannot be read is no run that could go on.
    folders.filter_map(|folder| inspect(&Files::default(), &folder).ok()?).collect()
}

/// As [`Found::Finished`], for a run that this process holds by now: another may have come to its
/// end in between.
///
/// # Errors
/// When the run's journal cannot be read.
pub(crate) fn finished_meanwhile(folder: &Path, epochs: usize) -> Result<Option<String>> {
    let run = inspect(&Files::default(), folder)?;
    Ok(run.and_then(|run| finished(&RunReport { is_running: false, ..run }, epochs)))
}

/// Says how the run ended, where nothing is left to be done for so many epochs.
fn finished(run: &RunReport, epochs: usize) -> Option<String> {
    let state = State::of(run);
    let is_over = match state {
        // Raised epochs go on.
        State::Completed => run.journal.planned().is_none_or(|planned| epochs <= planned),
        State::Stopped(_) => true,
        _ => false,
    };
    is_over.then(|| {
        let epochs = count(run.journal.epochs().len(), "epoch");
        let name = run.folder.display();
        format!("`{name}` is finished ({state} after {epochs}); it is left as it is")
    })
}

/// Refuses a run whose past would have been another with this recipe, unless that was accepted;
/// lists what is different, one change a line.
///
/// # Errors
/// When something has changed.
pub(crate) fn check_changes(
    args: &TrainArgs,
    point: &ResumePoint,
    recipe: &Recipe,
    checkpoints: &Checkpoints,
    planned: Option<usize>,
) -> Result {
    if point.checkpoint().is_none() {
        return Ok(());
    }
    let mut changes: Vec<String> =
        point.changes(checkpoints.described()).iter().map(ToString::to_string).collect();
    if let Some(change) = recipe.rate_change(planned.unwrap_or(recipe.epochs()), point.step())? {
        changes.push(change.to_string());
    }
    if changes.is_empty() {
        return Ok(());
    }
    if args.accept_changes {
        if args.verbose > 0 {
            for change in &changes {
                complain(&format!("warning: changed: {change}"));
            }
        }
        return Ok(());
    }
    // Otherwise the run itself would say what was found on the way.
    for note in point.notes() {
        complain(&format!("warning: {note}"));
    }
    for change in &changes {
        complain(&format!("changed: {change}"));
    }
    Err(Error::config(format!(
        "the run in `{}` was trained with other settings, listed above; go on with those, accept the \
         changes (--accept-changes), or train anew in another folder (--dir)",
        checkpoints.folder().display()
    )))
}
