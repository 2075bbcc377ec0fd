//! `refrain train`: trains a recipe.

use std::sync::Arc;
use std::time::Instant;

use refrain::console::Console;
use refrain::{Ending, Error, ModelAccess as _, Registry, Result, StopHandle, files::Files};

use super::load;
use crate::args::TrainArgs;
use crate::output::{complain, say};
use crate::run_folder::RunFolder;
use crate::signals::Signals;
use crate::summary::Summary;
use crate::{FINISHED, status_of};

/// Trains; returns the exit status of a run that has begun.
pub(crate) fn train(args: &TrainArgs, registry: &Arc<Registry>) -> Result<u8> {
    let began = Instant::now();
    if args.resume {
        return Err(Error::config(
            "--resume is not in this version; train anew with --overwrite or into another --dir",
        ));
    }
    let recipe = load(registry, args.recipe.as_deref(), &args.set)?;
    let threads = args.threads.map_or(0, usize::from);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(Error::wrap)?;
    let stop = StopHandle::default();
    let signals = Signals::stop(&stop)?;

    let folder = RunFolder::choose(registry, args.dir.as_deref(), recipe.name(), args.overwrite)?;
    let data = recipe.load_data()?;
    let check = recipe.check(&data, folder.path())?;
    if let Some(error) = check.error() {
        return Err(error);
    }
    if args.verbose > 0 {
        for (finding, text) in check.findings() {
            complain(&format!("{}[{}]: {text}", finding.severity, finding.code));
        }
    }
    let console = if args.verbose == 0 { Console::silent() } else { Console::stderr() };
    let trainer = recipe.trainer(&data)?.console(console).stop_with(stop).without_warnings();
    let model = trainer.learner().model()?.summary();
    let mut trainer = trainer
        .callback(folder.opener(recipe.to_toml()?, model.to_string()))
        .callbacks(recipe.callbacks(folder.path())?);
    if args.verbose > 0 && recipe.wants_checkpoints() {
        complain("note: [checkpoint] is read, but this version writes no checkpoints");
    }

    let result = trainer.fit(&data, recipe.fit().verbose(args.verbose));
    if let Err(error) = &result
        && (error.is_config() || !folder.file("recipe.toml").exists())
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
    if args.verbose > 0 {
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
