//! The model that a run has left: its recipe and its weights, for commands that use it.

use std::path::Path;
use std::sync::Arc;

use refrain::checkpoint::{CheckpointReport, Newest, RunReport, inspect, newest};
use refrain::files::Files;
use refrain::weights::Weights;
use refrain::{Error, Preparation, Recipe, RecipeData, Registry, Result};

use crate::noted::{self, Absent};
use crate::output::complain;
use crate::run_folder::{DATA, holds_run};
use crate::run_state::State;

/// What a run's data is described by in its checkpoints.
const DATA_KEY: &str = "data.contents";

/// A run's model.
pub(crate) struct SavedModel {
    pub(crate) recipe: Recipe,
    pub(crate) weights: Weights,
    /// Of the newest checkpoint that is whole: what the data was that the run was trained on.
    data: Option<String>,
}

impl SavedModel {
    /// Of the run in `folder`: the final weights; those of the newest checkpoint where there are none,
    /// which is said on standard error.
    ///
    /// # Errors
    /// When the folder holds no run, or its recipe or its weights cannot be read.
    pub(crate) fn of_run(registry: &Arc<Registry>, folder: &Path) -> Result<Self> {
        let files = Files::default();
        let run = inspect(&files, folder)?;
        let recipe = recipe(registry, folder, run.as_ref())?;
        let checkpoints = match run {
            Some(_) => newest(&files, folder)?,
            None => Newest::default(),
        };
        let whole = checkpoints.whole.as_ref();
        let data = whole.and_then(|(manifest, _)| manifest.config.get(DATA_KEY).cloned());
        let has = |name: &str| files.exists(&folder.join(name));
        // Both are written at the end of a run, the summary last; and when a run goes on, the weights
        // are those of its end before.
        let is_final = has("model.safetensors")? && (has("summary.json")? || whole.is_none());
        let weights = if is_final {
            const MODEL: &str = "model.safetensors";
            let noted = run.as_ref().map_or(Ok(()), |run| noted::check(&files, run, MODEL));
            noted.and_then(|()| Weights::load(&folder.join(MODEL))).map_err(|error| {
                let dir = folder.display();
                error.context(format!(
                    "`{dir}/{MODEL}`, the run's final weights, cannot be used (`refrain verify --dir \
                     {dir}` looks at all files; without this one, the newest checkpoint's are used)"
                ))
            })?
        } else {
            let state = run.as_ref().map(State::of);
            of_newest(folder, checkpoints, state.as_ref())?
        };
        Ok(Self { recipe, weights, data })
    }

    /// Refuses data that is not what the run was trained on, unless that is accepted.
    ///
    /// # Errors
    /// When it is another, with what it was and what it is.
    pub(crate) fn check_data(&self, folder: &Path, data: &RecipeData, accepts: bool) -> Result {
        let now = self.recipe.checkpoints(folder, data)?;
        let (Some(then), Some(now)) = (&self.data, now.described().get(DATA_KEY)) else {
            return Ok(());
        };
        if then == now {
            return Ok(());
        }
        let changed = format!("the data has changed since the run in `{}`", folder.display());
        if accepts {
            complain(&format!("warning: {changed}: {then} → {now}"));
            return Ok(());
        }
        Err(Error::config(format!(
            "{changed}: {then} → {now}; put the old data back, or accept the change \
             (--accept-changes)"
        )))
    }
}

/// The run's own recipe, its data read as the run has noted it. The file of its initial weights is not needed any more.
fn recipe(registry: &Arc<Registry>, folder: &Path, run: Option<&RunReport>) -> Result<Recipe> {
    let file = folder.join("recipe.toml");
    if Files::default().exists(&file)? {
        let recipe = Recipe::load_with(registry, &file, &[])?.without_weights_file();
        return Ok(match preparation(folder, run)? {
            Some(noted) => recipe.prepared_as(noted),
            None => recipe,
        });
    }
    let name = folder.display();
    Err(Error::config(match holds_run(folder) {
        true => format!("`{name}` holds a run whose recipe.toml is missing; put it back"),
        false => format!("`{name}` holds no run; `refrain runs` lists runs"),
    }))
}

/// How the run's data became inputs, where the run has noted it.
///
/// # Errors
/// When the note cannot be read, or is not as it was written.
pub(crate) fn preparation(folder: &Path, run: Option<&RunReport>) -> Result<Option<Preparation>> {
    let (files, file) = (Files::default(), folder.join(DATA));
    if !files.exists(&file)? {
        if run.is_some_and(|run| noted::absent(run, DATA) == Absent::Missing) {
            return Err(Error::data(format!(
                "`{}` is missing, which says how the data became inputs; put it back",
                file.display()
            )));
        }
        return Ok(None);
    }
    if let Some(run) = run {
        noted::check(&files, run, DATA)
            .map_err(|error| error.context(format!("`{}`", file.display())))?;
    }
    Preparation::load(&file).map(Some)
}

/// The weights of the newest checkpoint that is whole.
fn of_newest(folder: &Path, checkpoints: Newest, state: Option<&State>) -> Result<Weights> {
    let name = folder.display();
    let is_running = matches!(state, Some(State::Running));
    let state = state.map_or("not begun", State::word);
    for CheckpointReport { number, manifest } in &checkpoints.damaged {
        if let Err(error) = manifest {
            complain(&format!("warning: checkpoint {number:06} is damaged: {error}"));
        }
    }
    if let Some((manifest, weights)) = checkpoints.whole {
        let place = match manifest.batch {
            0 => format!("the end of epoch {}", manifest.epochs),
            batch => format!("epoch {}, batch {batch}", manifest.epochs + 1),
        };
        complain(&format!(
            "`{name}` ({state}) has no final weights; those of checkpoint {:06} are used, from {place}",
            manifest.number
        ));
        return Ok(weights);
    }
    let way_out = match is_running {
        true => "wait for its first checkpoint".to_owned(),
        false => format!("train on (`refrain train --dir {name} --resume`)"),
    };
    Err(Error::msg(format!(
        "`{name}` ({state}) has no weights: neither model.safetensors nor a checkpoint that is whole; \
         {way_out}"
    )))
}
