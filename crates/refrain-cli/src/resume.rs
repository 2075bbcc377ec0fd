//! `--resume`: which run goes on, with which recipe, and whether it may.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refrain::checkpoint::{
    Change, Checkpoints, Entry, Record, ResumePoint, RunReport, inspect, verify as read_checkpoints,
};
use refrain::files::Files;
use refrain::weights::Weights;
use refrain::{Error, Recipe, Registry, Result, StopHandle};

use crate::args::TrainArgs;
use crate::commands::load;
use crate::output::{complain, count};
use crate::run_folder::{RunFolder, has_held_run, without_journal};
use crate::run_state::State;
use crate::saved_model::preparation;

/// What `--resume` has found.
pub(crate) enum Found {
    /// A run that goes on.
    Unfinished { recipe: Recipe, folder: RunFolder, run: RunReport },
    /// A run that has come to its end: a line that says so.
    Finished(String),
    /// No run: one begins, and a line says why.
    Nothing { recipe: Recipe, folder: RunFolder, why: String },
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
fn recipe_of(
    args: &TrainArgs,
    registry: &Arc<Registry>,
    folder: &Path,
    run: Option<&RunReport>,
) -> Result<Recipe> {
    let own = own_recipe(folder);
    if args.recipe.is_none() && run.is_some_and(|run| run.journal.is_being_overwritten()) {
        // It may be that of the run which was to go.
        let folder = folder.display();
        return Err(Error::config(format!(
            "the run in `{folder}` was being overwritten when its process ended, and recipe.toml may \
             be its own or the new one's; name the new one's recipe: refrain train RECIPE --dir \
             {folder} --resume, or say again what was said: refrain train [RECIPE] --dir {folder} \
             --overwrite"
        )));
    }
    if args.recipe.is_none() && !own.exists() && has_held_run(folder) {
        // The built-in one would train another model than the one that was begun.
        let folder = folder.display();
        return Err(Error::config(format!(
            "`{folder}` holds a run whose recipe.toml is missing; name its recipe: refrain train \
             RECIPE --dir {folder} --resume"
        )));
    }
    let own = Some(own).filter(|own| args.recipe.is_none() && own.exists());
    load(registry, own.as_deref().or(args.recipe.as_deref()), &args.set)
}

fn own_recipe(folder: &Path) -> PathBuf {
    folder.join("recipe.toml")
}

/// Which recipe a run begins with, for people.
pub(crate) fn recipe_in_words(args: &TrainArgs, folder: &Path) -> String {
    match &args.recipe {
        Some(recipe) => format!("`{}`", recipe.display()),
        None if own_recipe(folder).exists() => format!("`{}`", own_recipe(folder).display()),
        None => "the built-in recipe".to_owned(),
    }
}

fn in_folder(args: &TrainArgs, registry: &Arc<Registry>, dir: &Path) -> Result<Found> {
    let folder = RunFolder::of_run(registry, dir.to_owned())?;
    let run = inspect(&Files::default(), dir)?;
    let recipe = recipe_of(args, registry, dir, run.as_ref())?;
    let Some(run) = run else {
        let name = dir.display();
        let why = match without_journal(dir) {
            Some(what) if what.contains("journal") => {
                return Err(Error::config(format!(
                    "`{name}` holds {what}, which cannot go on; replace it (--overwrite), or choose \
                     another folder (--dir)"
                )));
            }
            // Killed in its first instant, a run has left its recipe.
            Some(what) => format!("`{name}` holds {what}"),
            None => format!("`{name}` holds no run"),
        };
        return Ok(Found::Nothing { recipe, folder, why });
    };
    let recipe = as_prepared(recipe, registry, &run)?;
    let state = State::of(&run);
    let goes_on = matches!(state, State::Stopped(_))
        && args.accept_changes
        && has_other_settings(&recipe, dir)?;
    match finished(args, &run, &recipe, goes_on) {
        Some(note) => Ok(Found::Finished(note)),
        None => Ok(Found::Unfinished { recipe, folder, run }),
    }
}

/// The recipe with its data read as the run has noted it, where the run has weights that were trained
/// so, and the recipe reads it with the run's options.
fn as_prepared(recipe: Recipe, registry: &Arc<Registry>, run: &RunReport) -> Result<Recipe> {
    let is_checkpoint = |entry: &Entry| matches!(entry.record, Record::Checkpoint { .. });
    if !run.journal.entries.iter().any(is_checkpoint) {
        return Ok(recipe);
    }
    let own = Recipe::load_with(registry, &own_recipe(&run.folder), &[]);
    if !own.is_ok_and(|own| own.reads_data_as(&recipe)) {
        return Ok(recipe);
    }
    Ok(match preparation(&run.folder, Some(run))? {
        Some(noted) => recipe.prepared_as(noted),
        None => recipe,
    })
}

/// Whether the newest checkpoint is of a run with other settings.
fn has_other_settings(recipe: &Recipe, folder: &Path) -> Result<bool> {
    let now = recipe.checkpoints(folder, &recipe.load_data()?)?;
    let checkpoints = read_checkpoints(&Files::default(), folder)?;
    let newest = checkpoints.iter().rev().find_map(|report| report.manifest.as_ref().ok());
    Ok(newest.is_some_and(|newest| newest.config != *now.described()))
}

/// The newest unfinished run of the recipe's name; where there is none, a finished one that the
/// recipe gives more epochs.
fn newest(args: &TrainArgs, registry: &Arc<Registry>) -> Result<Found> {
    let recipe = load(registry, args.recipe.as_deref(), &args.set)?;
    let mut runs = runs_of(recipe.name());
    // By what their journals say; a folder may have been copied, or looked at.
    runs.sort_by_key(|run| run.journal.entries.last().and_then(Entry::at));
    let is_over = |run: &RunReport| matches!(State::of(run), State::Completed | State::Stopped(_));
    let (over, unfinished): (Vec<_>, Vec<_>) = runs.into_iter().rev().partition(is_over);
    let mut finished_run = None;
    for run in unfinished.iter().chain(&over) {
        match in_folder(args, registry, &run.folder) {
            Ok(Found::Finished(note)) => finished_run = finished_run.or(Some(note)),
            found => return found,
        }
    }
    if let Some(note) = finished_run {
        return Ok(Found::Finished(note));
    }
    let folder = RunFolder::new_run(registry, None, recipe.name(), false)?;
    let why = format!("there is no run named `{}` in `runs`", recipe.name());
    Ok(Found::Nothing { recipe, folder, why })
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
/// end with it in the meantime. `goes_on`: a run that a callback has stopped does, for its settings
/// are others.
///
/// # Errors
/// When the run's journal cannot be read.
pub(crate) fn finished_meanwhile(
    args: &TrainArgs,
    folder: &Path,
    recipe: &Recipe,
    goes_on: bool,
) -> Result<Option<String>> {
    let run = inspect(&Files::default(), folder)?;
    Ok(run.and_then(|run| finished(args, &RunReport { is_running: false, ..run }, recipe, goes_on)))
}

/// Says how the run ended, where nothing is left to be done.
fn finished(args: &TrainArgs, run: &RunReport, recipe: &Recipe, goes_on: bool) -> Option<String> {
    let state = State::of(run);
    let planned = run.journal.planned();
    let is_over = match state {
        // Raised epochs go on.
        State::Completed => planned.is_none_or(|planned| recipe.epochs() <= planned),
        State::Stopped(_) => !goes_on,
        _ => false,
    };
    if !is_over {
        return None;
    }
    let epochs = count(run.journal.epochs().len(), "epoch");
    let mut line = format!("`{}` is finished ({state} after {epochs}", run.folder.display());
    if let Some(planned) = planned.filter(|planned| recipe.epochs() < *planned) {
        line.push_str(&format!(", of {planned} that were planned; now {}", recipe.epochs()));
    }
    line.push_str("); it is left as it is");
    let wants_more = !args.set.is_empty()
        || args.accept_changes
        || planned.is_some_and(|planned| recipe.epochs() > planned);
    if matches!(state, State::Stopped(_)) && wants_more {
        line.push_str(&way_on(&state, recipe));
    }
    Some(line)
}

/// How to train on with a run that a callback has stopped.
fn way_on(state: &State, recipe: &Recipe) -> String {
    let callbacks = recipe.callbacks(Path::new("")).unwrap_or_default();
    let stopper = callbacks.iter().position(|callback| Some(&*callback.name()) == state.by());
    let key = stopper.map_or("KEY".to_owned(), |index| format!("callbacks.{index}.KEY"));
    format!(
        "; to train on, change what stopped it and accept the change: --set {key}=VALUE \
         --accept-changes"
    )
}

/// What a run has behind it.
pub(crate) struct Past<'a> {
    pub(crate) point: &'a ResumePoint,
    /// Epochs that were planned.
    pub(crate) planned: Option<usize>,
}

/// Something that is no longer as it was, and why that cannot be accepted, where it cannot.
struct Difference {
    text: String,
    obstacle: Option<&'static str>,
}

/// Refuses a run whose past would have been another with this recipe, unless that was accepted and
/// can be; lists what is different, one change a line.
///
/// `weights`: of the model that would go on. Ends early, without a verdict, where `stop` is stopped.
///
/// # Errors
/// When something has changed.
pub(crate) fn check_changes(
    args: &TrainArgs,
    past: &Past<'_>,
    recipe: &Recipe,
    checkpoints: &Checkpoints,
    weights: &dyn Fn() -> Result<Weights>,
    stop: &StopHandle,
) -> Result {
    let point = past.point;
    let Some(number) = point.checkpoint() else {
        return Ok(());
    };
    let changes = point.changes(checkpoints.described());
    let mut differences = differences(&changes, point, checkpoints, || {
        let path = format!("checkpoints/{number:06}/weights.safetensors");
        let then = Weights::load(&checkpoints.folder().join(path))?;
        Ok(!have_same_shapes(&then, &weights()?))
    })?;
    let planned = past.planned.unwrap_or(recipe.epochs());
    if let Some(change) = recipe.rate_change(planned, point.step(), stop)? {
        differences.push(Difference { text: change.to_string(), obstacle: None });
    }
    if differences.is_empty() {
        return Ok(());
    }
    let is_impossible = differences.iter().any(|difference| difference.obstacle.is_some());
    if args.accept_changes && !is_impossible {
        for Difference { text, .. } in &differences {
            complain(&format!("warning: changed: {text}"));
        }
        return Ok(());
    }
    // Otherwise the run itself would say what was found on the way.
    for note in point.notes() {
        complain(&format!("warning: {note}"));
    }
    for Difference { text, obstacle } in &differences {
        let why = obstacle.map(|why| format!("; cannot be accepted: {why}")).unwrap_or_default();
        complain(&format!("changed: {text}{why}"));
    }
    let ways = if is_impossible {
        "and not all of that can be accepted; go on with those, start another run (--dir), or replace \
         this one (--overwrite)"
    } else {
        "go on with those, accept the changes (--accept-changes), or train anew in another folder \
         (--dir)"
    };
    Err(Error::config(format!(
        "the run in `{}` was trained with other settings, listed above; {ways}",
        checkpoints.folder().display()
    )))
}

/// `is_another_model`: whether the checkpoint's weights do not fit the model any more.
fn differences(
    changes: &[Change],
    point: &ResumePoint,
    checkpoints: &Checkpoints,
    is_another_model: impl Fn() -> Result<bool>,
) -> Result<Vec<Difference>> {
    let is_of_tensors = |change: &Change| changes_tensors(&change.key);
    let is_another_model = changes.iter().any(is_of_tensors) && is_another_model()?;
    // In the middle of an epoch each metric has its sums.
    let metrics = |config: &BTreeMap<String, String>| -> BTreeSet<String> {
        let names = config.iter().filter(|(key, _)| is_metric(key));
        names.map(|(_, name)| name.clone()).collect()
    };
    let then = point.config().map(metrics).unwrap_or_default();
    let has_other_sums = point.batch() > 0 && then != metrics(checkpoints.described());
    let difference = |change: &Change| {
        let obstacle = if is_another_model && is_of_tensors(change) {
            Some("the model has other weights than the checkpoint")
        } else if has_other_sums && is_metric(&change.key) {
            Some("the checkpoint is in the middle of an epoch, with the sums of the metrics")
        } else {
            None
        };
        Difference { text: in_words(change), obstacle }
    };
    Ok(changes.iter().map(difference).collect())
}

/// Whether a setting decides which weights a model has.
fn changes_tensors(key: &str) -> bool {
    let of_values = ["rate", "activation", "kernel_initializer", "bias_initializer"];
    key.strip_prefix("model.layers.")
        .and_then(|rest| rest.rsplit('.').next())
        .is_some_and(|option| !of_values.contains(&option))
}

fn is_metric(key: &str) -> bool {
    key.starts_with("compile.metrics.")
}

/// A change for people. An option of a callback or a schedule that is left out has its default, which
/// only the callback knows.
fn in_words(change: &Change) -> String {
    let has_default = (change.key.starts_with("callbacks.")
        || change.key.starts_with("compile.optimizer.learning_rate."))
        && !change.key.ends_with(".type");
    if !has_default {
        return change.to_string();
    }
    let or_default = |value: &Option<String>| value.clone().or(Some("default".to_owned()));
    let (old, new) = (or_default(&change.old), or_default(&change.new));
    Change { key: change.key.clone(), old, new }.to_string()
}

/// Whether both have the same tensors in the same shapes.
fn have_same_shapes(a: &Weights, b: &Weights) -> bool {
    let shapes = |weights: &Weights| -> BTreeSet<(String, Vec<usize>)> {
        weights.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect()
    };
    shapes(a) == shapes(b)
}

/// The recipe without its file of initial weights, where that is gone and the run in `folder` began
/// with it: the checkpoint has all weights.
///
/// # Errors
/// When the current folder is unknown, which relative paths need.
pub(crate) fn without_lost_weights(
    recipe: Recipe,
    registry: &Arc<Registry>,
    folder: &Path,
) -> Result<Recipe> {
    let Some(file) = recipe.weights_file()?.filter(|file| !file.exists()) else {
        return Ok(recipe);
    };
    let own = Recipe::load_with(registry, &own_recipe(folder), &[]);
    let is_the_same = own.is_ok_and(|own| own.weights_file().ok().flatten() == Some(file));
    Ok(if is_the_same { recipe.without_weights_file() } else { recipe })
}
