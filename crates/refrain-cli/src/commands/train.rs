//! `refrain train`: trains a recipe.

use std::sync::Arc;
use std::time::Instant;

use refrain::console::Console;
use refrain::{Ending, Error, ModelAccess as _, Registry, Result, files::Files};

use super::load;
use crate::args::TrainArgs;
use crate::output::{complain, say};
use crate::resume::{self, Found};
use crate::run_folder::RunFolder;
use crate::signals::Signals;
use crate::summary::Summary;
use crate::{FINISHED, status_of};

/// Trains; returns the exit status of a run that has begun.
pub(crate) fn train(args: &TrainArgs, registry: &Arc<Registry>) -> Result<u8> {
    let began = Instant::now();
    let signals = Signals::handle()?;
    let is_verbose = args.verbose > 0;
    let mut goes_on = None;
    let (recipe, folder) = if args.resume {
        match resume::find(args, registry)? {
            Found::Unfinished { recipe, folder, run } => {
                goes_on = Some(run);
                (recipe, folder)
            }
            Found::Nothing { recipe, folder, note } => {
                if is_verbose {
                    complain(&note);
                }
                (recipe, folder)
            }
            Found::Finished(note) => {
                if is_verbose {
                    say(&note)?;
                }
                return Ok(FINISHED);
            }
        }
    } else {
        let recipe = load(registry, args.recipe.as_deref(), &args.set)?;
        let dir = args.dir.as_deref();
        let folder = RunFolder::new_run(registry, dir, recipe.name(), args.overwrite)?;
        (recipe, folder)
    };
    let threads = args.threads.map_or(0, usize::from);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(Error::wrap)?;

    let data = recipe.load_data()?;
    let check = recipe.check(&data, folder.path())?;
    if let Some(error) = check.error() {
        return Err(error);
    }
    if is_verbose {
        for (finding, text) in check.findings() {
            complain(&format!("{}[{}]: {text}", finding.severity, finding.code));
        }
    }
    let checkpoints = recipe
        .checkpoints(folder.path(), &data)?
        .overwrite(args.overwrite)
        // The model and the summary are written under the same lock.
        .hold(true)
        .accept_changes(args.accept_changes);
    let console = if is_verbose { Console::stderr() } else { Console::silent() };
    let trainer = recipe.trainer(&data)?;
    let model = trainer.learner().model()?.summary();
    let text = recipe.to_toml()?;
    let table = is_verbose.then(|| model.to_string());
    let place = folder.clone();
    let mut trainer = trainer
        .console(console)
        .stop_with(signals.stop())
        .save_with(signals.save())
        .without_warnings()
        .checkpoints(checkpoints.clone())
        .prepare_folder(move |files| {
            // Not before: a run that is refused has nothing to show.
            table.iter().flat_map(|table| table.lines()).for_each(complain);
            place.prepare(&text, files)
        })
        .callback(signals.notice())
        .callbacks(recipe.callbacks(folder.path())?);
    if let Some(run) = goes_on {
        let point = trainer.resume()?;
        if let Some(note) = resume::finished_meanwhile(folder.path(), recipe.epochs())? {
            if is_verbose {
                say(&note)?;
            }
            return Ok(FINISHED);
        }
        resume::check_changes(args, &point, &recipe, &checkpoints, run.journal.planned())?;
        if is_verbose && point.checkpoint().is_none() && run.journal.run().is_none() {
            // Killed before anything was written of it: the loop takes it for a new one.
            complain(&point.to_string());
        }
    }
    if signals.is_stopped() {
        if is_verbose {
            complain("interrupted before the run began");
        }
        return Ok(signals.status());
    }

    let result = trainer.fit(&data, recipe.fit().verbose(args.verbose));
    if let Err(error) = &result
        && (error.is_config() || !trainer.holds_folder())
    {
        // Nothing has begun.
        return Err(error.clone());
    }

    let failure = result.as_ref().err();
    let seconds = began.elapsed().as_secs_f64();
    let summary = Summary::new(&trainer, failure, seconds, model.parameters());
    // Also after a failure: the trained weights are worth keeping; and each file without the other.
    let model = trainer.learner().weights();
    let model = model.and_then(|weights| weights.save(&folder.file("model.safetensors")));
    let summary_file = folder.file("summary.json");
    let saved =
        model.and(Files::default().write_atomically(&summary_file, summary.to_json().as_bytes()));
    if is_verbose {
        say(&summary.to_text(folder.path(), &folder.list()))?;
        if let Some(costs) = trainer.costs() {
            say(&costs.to_string())?;
        }
    }
    match (result, saved) {
        (Err(error), saved) => {
            complain(&format!("error: {error}"));
            if let Err(later) = saved {
                complain(&format!("error: {later}"));
            }
            Ok(status_of(&error))
        }
        (Ok(_), Err(error)) => Err(error),
        (Ok(history), Ok(())) if history.ending == Ending::Interrupted => Ok(signals.status()),
        (Ok(_), Ok(())) => Ok(FINISHED),
    }
}
