//! `refrain train`: trains a recipe.

use std::panic;
use std::sync::Arc;
use std::time::Instant;

use refrain::burn::tensor::Device;
use refrain::checkpoint::{Checkpoints, Part, RunReport};
use refrain::console::Console;
use refrain::files::Files;
use refrain::{
    Ending, Error, ModelAccess as _, Recipe, RecipeCheck, RecipeData, RecipeLearner, Registry,
    Result, Trainer,
};

use super::{load, use_threads};
use crate::args::TrainArgs;
use crate::noted;
use crate::output::{complain, say};
use crate::resume::{self, Found, Past};
use crate::run_folder::{DATA, MODEL, RECIPE, RunFolder, SUMMARY};
use crate::signals::Signals;
use crate::summary::Summary;
use crate::{FAILED, FINISHED, status_of};

/// What describes the initial weights of a run.
const WEIGHTS_KEY: &str = "model.weights";

/// Trains; returns the exit status of a run that has begun.
pub(crate) fn train(args: &TrainArgs, registry: &Arc<Registry>) -> Result<u8> {
    let began = Instant::now();
    let signals = Signals::handle()?;
    let is_verbose = args.verbose > 0;
    use_threads(args.threads)?;
    let device = open(&args.device)?;
    let attempt = Attempt { args, registry, signals: &signals, began, device };
    let mut why = None;
    let (recipe, mut folder) = if args.resume {
        match resume::find(args, registry)? {
            Found::Unfinished { recipe, folder, run } => {
                return attempt.go_on(recipe, &folder, &run);
            }
            Found::Nothing { recipe, folder, why: no_run } => {
                why = Some(no_run);
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
        (recipe.clone(), attempt.new_folder(&recipe)?)
    };
    loop {
        match attempt.begin(&recipe, &folder, why.as_deref())? {
            Some(status) => return Ok(status),
            // Another process has taken the folder first.
            None => folder = attempt.new_folder(&recipe)?,
        }
    }
}

/// A call of the command.
struct Attempt<'a> {
    args: &'a TrainArgs,
    registry: &'a Arc<Registry>,
    signals: &'a Signals,
    began: Instant,
    device: Device,
}

/// What a run is made of.
struct Prepared {
    data: RecipeData,
    trainer: Trainer<RecipeLearner>,
    checkpoints: Checkpoints,
    check: RecipeCheck,
    parameters: usize,
}

impl Attempt<'_> {
    fn is_verbose(&self) -> bool {
        self.args.verbose > 0
    }

    fn new_folder(&self, recipe: &Recipe) -> Result<RunFolder> {
        let TrainArgs { dir, overwrite, .. } = self.args;
        RunFolder::new_run(self.registry, dir.as_deref(), recipe.name(), *overwrite)
    }

    /// Begins a run; `None`: its folder was taken in the meantime. `why` no other goes on.
    fn begin(&self, recipe: &Recipe, folder: &RunFolder, why: Option<&str>) -> Result<Option<u8>> {
        let prepared = match self.prepare(recipe, folder) {
            Err(error) if self.signals.is_stopped() => return Ok(Some(self.cut_short(&error))),
            prepared => prepared?,
        };
        if let Some(status) = self.interrupted() {
            return Ok(Some(status));
        }
        let with = resume::recipe_in_words(self.args, folder.path());
        if !folder.claim(&recipe.to_toml()?)? {
            return Ok(None);
        }
        if let Some(why) = why {
            let folder = folder.path().display();
            // Also where little is to be said: it may not be what was meant.
            complain(&format!("{why}: starting from the beginning in `{folder}`, with {with}"));
        }
        show_findings(&prepared.check);
        let status = self.fit(recipe, folder, prepared);
        if status.is_err() {
            folder.withdraw();
        }
        status.map(Some)
    }

    /// Goes on with a run.
    fn go_on(&self, recipe: Recipe, folder: &RunFolder, run: &RunReport) -> Result<u8> {
        let named = recipe.clone();
        let recipe = resume::without_lost_weights(recipe, self.registry, folder.path())?;
        let mut prepared = match self.prepare(&recipe, folder) {
            Err(error) if self.signals.is_stopped() => return Ok(self.cut_short(&error)),
            prepared => prepared?,
        };
        show_findings(&prepared.check);
        let point = prepared.trainer.resume()?;
        if point.was_overwritten() {
            folder.clear(&Files::default())?;
        }
        if recipe.leaves_weights_out() {
            let Some(config) = point.config() else {
                // Nothing has the weights: what is missing is said.
                return named.trainer(&prepared.data).map(|_| FAILED);
            };
            if let Some(weights) = config.get(WEIGHTS_KEY) {
                prepared.checkpoints = prepared.checkpoints.describe(WEIGHTS_KEY, weights);
                prepared.trainer = prepared.trainer.checkpoints(prepared.checkpoints.clone());
            }
        }
        let Prepared { trainer, checkpoints, .. } = &prepared;
        let is_changed = !point.changes(checkpoints.described()).is_empty();
        let goes_on = self.args.accept_changes && is_changed;
        let finished = resume::finished_meanwhile(self.args, folder.path(), &recipe, goes_on)?;
        if let Some(note) = finished {
            if self.is_verbose() {
                say(&note)?;
            }
            return Ok(FINISHED);
        }
        let past = Past { point: &point, planned: run.journal.planned() };
        let weights = || trainer.learner().weights();
        let stop = self.signals.stop();
        resume::check_changes(self.args, &past, &recipe, checkpoints, &weights, &stop)?;
        if let Some(status) = self.interrupted() {
            return Ok(status);
        }
        if point.checkpoint().is_none() && run.journal.run().is_none() {
            // Killed before anything was written of it: the loop takes it for a new one.
            complain(&point.to_string());
        }
        self.fit(&recipe, folder, prepared)
    }

    /// Builds what the run is made of; nothing is written.
    fn prepare(&self, recipe: &Recipe, folder: &RunFolder) -> Result<Prepared> {
        let recipe = &recipe.clone().device(&self.device);
        let data = recipe.load_data_with(self.is_verbose(), &self.signals.stop())?;
        let check = recipe.check(&data, folder.path())?;
        if let Some(error) = check.error() {
            return Err(error);
        }
        let checkpoints = recipe
            .checkpoints(folder.path(), &data)?
            .overwrite(self.args.overwrite)
            // The model and the summary are written under the same lock.
            .hold(true)
            .accept_changes(self.args.accept_changes);
        let console = Console::stderr();
        let console = if self.is_verbose() { console } else { console.quiet() };
        let trainer = recipe.trainer(&data)?;
        let model = trainer.learner().model()?.summary();
        let table = self.is_verbose().then(|| model.to_string());
        let (place, text) = (folder.clone(), recipe.to_toml()?);
        let noted = recipe.reads_files().then(|| data.preparation().to_json()).transpose()?;
        let mut notes = vec![Part::of(RECIPE, text.as_bytes())];
        notes.extend(noted.iter().map(|noted| Part::of(DATA, noted.as_bytes())));
        let mut trainer = trainer
            .console(console)
            .stop_with(self.signals.stop())
            .save_with(self.signals.save())
            .without_warnings()
            .checkpoints(checkpoints.clone())
            .prepare_folder(move |files| {
                // Not before: a run that is refused has nothing to show.
                table.iter().flat_map(|table| table.lines()).for_each(complain);
                place.prepare(&text, noted.as_deref(), files)
            })
            .callback(self.signals.notice())
            .callbacks(recipe.callbacks(folder.path())?);
        trainer.note_files(notes)?;
        Ok(Prepared { data, trainer, checkpoints, check, parameters: model.parameters() })
    }

    /// The exit status where a signal has ended what leads to the run, such as a download.
    fn cut_short(&self, error: &Error) -> u8 {
        complain(&error.to_string());
        self.signals.status()
    }

    /// The exit status where a signal has come before the run.
    fn interrupted(&self) -> Option<u8> {
        if !self.signals.is_stopped() {
            return None;
        }
        if self.is_verbose() {
            complain("interrupted before the run began");
        }
        Some(self.signals.status())
    }

    /// Trains, and writes what belongs to the end.
    fn fit(&self, recipe: &Recipe, folder: &RunFolder, prepared: Prepared) -> Result<u8> {
        let Prepared { data, mut trainer, parameters, .. } = prepared;
        let result = trainer.fit(&data, recipe.fit(&data).verbose(self.args.verbose));
        if let Err(error) = &result
            && (error.is_config() || !trainer.holds_folder())
        {
            // Nothing has begun.
            return Err(error.clone());
        }

        let failure = result.as_ref().err();
        let seconds = self.began.elapsed().as_secs_f64();
        let summary = Summary::new(&trainer, failure, seconds, parameters);
        // Also after a failure: the trained weights are worth keeping; and each file without the other.
        let saved = write_end(recipe, folder, &mut trainer, &summary.to_json());
        if self.is_verbose() {
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
            (Ok(history), Ok(())) if history.ending == Ending::Interrupted => {
                Ok(self.signals.status())
            }
            (Ok(_), Ok(())) => Ok(FINISHED),
        }
    }
}

/// Writes what belongs to the end of a run, the model also where something else fails; noted before,
/// as what the callbacks have written is.
fn write_end(
    recipe: &Recipe,
    folder: &RunFolder,
    trainer: &mut Trainer<RecipeLearner>,
    summary: &str,
) -> Result {
    let files = Files::default();
    let model = trainer.learner().weights().and_then(|weights| weights.to_safetensors());
    let mut notes = noted::of_outputs(recipe, folder.path());
    notes.push(Part::of(SUMMARY, summary.as_bytes()));
    notes.extend(model.iter().map(|model| Part::of(MODEL, model)));
    let noted = trainer.note_files(notes);
    let model = model.and_then(|model| files.write_atomically(&folder.file(MODEL), &model));
    // The sign that the run is over, and all that belongs to it written: without its note it is not.
    let summary = match &noted {
        Ok(()) => files.write_atomically(&folder.file(SUMMARY), summary.as_bytes()),
        Err(_) => Ok(()),
    };
    noted.and(model).and(summary)
}

/// The device of that name. Where a backend panics over a driver that fails, the error tells it alone.
fn open(name: &str) -> Result<Device> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let device = refrain::device(name);
    panic::set_hook(hook);
    device
}

/// Prints what the check has found: warnings, also where little is to be said.
fn show_findings(check: &RecipeCheck) {
    for (finding, text) in check.findings() {
        complain(&format!("{}[{}]: {text}", finding.severity, finding.code));
    }
}
