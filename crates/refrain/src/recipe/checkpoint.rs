//! `[checkpoint]`: when a run is saved; and what must be the same when it goes on.

use std::path::Path;

use refrain_core::checkpoint::{Checkpoints, Every, OnSaveFailure};
use refrain_core::files::Files;
use refrain_core::options::{Data, Node, Section, Value};
use refrain_core::{BuildContext, Dataset as _, Result};
use twox_hash::XxHash3_128;

use super::{Recipe, RecipeData, reader};
use crate::registry::Registry;

/// A file of weights longer than this (1 TiB) is none.
const MAX_WEIGHTS_BYTES: u64 = 1 << 40;

/// What `[checkpoint]` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointRecipe {
    pub(super) every_epochs: Option<u64>,
    pub(super) every_steps: Option<u64>,
    pub(super) every_seconds: Option<f64>,
    keep: usize,
    on_failure: OnSaveFailure,
    is_given: bool,
}

impl Default for CheckpointRecipe {
    fn default() -> Self {
        Self {
            every_epochs: Some(1),
            every_steps: None,
            every_seconds: None,
            keep: 2,
            on_failure: OnSaveFailure::Abort,
            is_given: false,
        }
    }
}

impl CheckpointRecipe {
    /// Whether any checkpoint is taken.
    pub(super) fn takes_some(&self) -> bool {
        self.every_epochs.is_none_or(|n| n > 0)
            || self.every_steps.is_some_and(|n| n > 0)
            || self.every_seconds.is_some()
    }

    /// Whether the recipe has the section, and asks for checkpoints in it.
    pub(super) fn is_wanted_explicitly(&self) -> bool {
        let none = self.every_epochs.unwrap_or(0) == 0
            && self.every_steps.unwrap_or(0) == 0
            && self.every_seconds.is_none();
        self.is_given && !none
    }
}

pub(super) fn read(section: &Section<'_>) -> Result<CheckpointRecipe> {
    let count = |key| {
        let value = section.get(key);
        value.map(|value| value.usize(0).map(|n| n as u64)).transpose()
    };
    let every_steps = count("every_steps")?;
    let seconds = section.get("every_seconds");
    let every_seconds = seconds
        .map(|seconds| seconds.f64_in("a finite number above 0", |x| x.is_finite() && x > 0.0))
        .transpose()?;
    let every_epochs = match count("every_epochs")? {
        None if every_steps.is_none() && every_seconds.is_none() => Some(1),
        given => given,
    };
    let keep = section.get("keep").map_or(Ok(2), |value| value.usize(1))?;
    let on_failure = match section.get("on_failure") {
        None => OnSaveFailure::Abort,
        Some(policy) => {
            policy.look_up("failure policy", &["abort", "warn"], |name| match name {
                "abort" => Some(OnSaveFailure::Abort),
                "warn" => Some(OnSaveFailure::Warn),
                _ => None,
            })?
        }
    };
    section.finish()?;
    Ok(CheckpointRecipe {
        every_epochs,
        every_steps,
        every_seconds,
        keep,
        on_failure,
        is_given: true,
    })
}

/// Refuses Keras' callback for what every run of a recipe does anyway.
pub(super) fn refuse_callback(callback: &Value<'_>, registry: &Registry) -> Result {
    const NAME: &str = "backup_and_restore";
    let section = callback.section("a callback")?;
    match section.get("type") {
        Some(kind)
            if kind.str().is_ok_and(|kind| kind == NAME)
                && !registry.callbacks.names().any(|name| name == NAME) =>
        {
            Err(kind.error(format!(
                "`{NAME}` is no callback of a recipe: every run keeps checkpoints, as [checkpoint] \
                 says, and `refrain train --resume` goes on from them; leave the entry out"
            )))
        }
        _ => Ok(()),
    }
}

impl Recipe {
    /// The recipe's `[checkpoint]` for a run in `folder` on `data`, its own; it
    /// [describes](Checkpoints::describe) all that decides what the run does.
    ///
    /// # Example
    /// ```
    /// use refrain::Recipe;
    ///
    /// let recipe = Recipe::builtin(&["checkpoint.every_steps=50".into()])?;
    /// let checkpoints = recipe.checkpoints("runs/a".as_ref(), &recipe.load_data()?)?;
    /// assert!(checkpoints.is_wanted());
    /// assert_eq!(checkpoints.described()["callbacks.2.patience"], "5");
    /// assert!(!checkpoints.described().contains_key("fit.epochs"));
    /// # Ok::<(), refrain::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the file of the initial weights cannot be read.
    pub fn checkpoints(&self, folder: &Path, data: &RecipeData) -> Result<Checkpoints> {
        let recipe = &self.checkpoint;
        let every_epochs = recipe.every_epochs.unwrap_or(0);
        let mut checkpoints = Checkpoints::in_dir(folder)
            .every(Every::Epochs(usize::try_from(every_epochs).unwrap_or(usize::MAX)))
            .every(Every::Steps(recipe.every_steps.unwrap_or(0)))
            .keep(recipe.keep)
            .on_failure(recipe.on_failure);
        if let Some(seconds) = recipe.every_seconds {
            checkpoints = checkpoints.every(Every::Seconds(seconds));
        }
        let contents = format!("{} samples, xxh3 {}", data.len(), data.fingerprint());
        checkpoints = checkpoints.describe("data.contents", contents);
        let settings = self.settings(folder)?;
        Ok(settings.into_iter().fold(checkpoints, |all, (key, value)| all.describe(key, value)))
    }

    /// What decides how the run goes, by dotted key, as `--set` takes it: `fit.batch_size`,
    /// `callbacks.2.patience`.
    fn settings(&self, folder: &Path) -> Result<Vec<(String, String)>> {
        let document = reader::parse(&self.origin, &self.text)?;
        let mut root = document.node().clone();
        self.leave_defaults_out(&mut root, folder);
        let mut settings = Vec::new();
        flatten(&root, "", &mut settings);
        // How long it goes and what is kept of it alters nothing of what was trained.
        settings.retain(|(key, _)| {
            let key = key.as_str();
            let is_place = super::data::Data::PLACES.contains(&key)
                // Of a list, each has its number.
                || key.starts_with("data.url.");
            !matches!(key, "name" | "fit.epochs") && !is_place && !key.starts_with("checkpoint.")
        });
        self.resolve(&mut settings);
        if let Some(weights) = self.model.read_weights() {
            // What it holds counts, not what it is called.
            let bytes = Files::default().read(&self.folder.join(weights), MAX_WEIGHTS_BYTES)?;
            let hash = format!("xxh3 {:032x}", XxHash3_128::oneshot(&bytes));
            settings.push(("model.weights".to_owned(), hash));
        }
        Ok(settings)
    }

    /// Leaves out the options of callbacks that have their defaults: to write them out changes nothing.
    fn leave_defaults_out(&self, root: &mut Node, folder: &Path) {
        let Data::Table(sections) = &mut root.data else {
            return;
        };
        for section in sections.iter_mut().filter(|section| section.key == "callbacks") {
            let Data::Array(callbacks) = &mut section.value.data else {
                continue;
            };
            for callback in callbacks {
                let defaults = self.registry.callbacks.defaults(callback, &BuildContext { folder });
                if let Data::Table(options) = &mut callback.data {
                    options.retain(|option| !defaults.contains(&option.key));
                }
            }
        }
    }

    /// Puts in what the recipe leaves to its defaults, and one name where there are several: to write
    /// out what is anyway changes nothing.
    fn resolve(&self, settings: &mut Vec<(String, String)>) {
        let mut resolved = vec![("seed".to_owned(), Some(self.seed.to_string()))];
        resolved.extend(self.fit.settings());
        resolved.extend(self.compile.settings());
        let of_model = self.model.settings.iter();
        resolved.extend(of_model.map(|(key, value)| (format!("model.{key}"), Some(value.clone()))));
        settings.retain(|(key, _)| {
            let is_resolved = |key: &str| resolved.iter().any(|(known, _)| known == key);
            // A name alone, or a file's: these stand under other keys, or as other values.
            let is_metrics_name = key.strip_suffix(".name").is_some_and(is_resolved);
            let is_elsewhere =
                matches!(key.as_str(), "compile.optimizer" | "compile.loss" | "model.weights");
            !(is_resolved(key) || is_metrics_name || is_elsewhere)
        });
        settings.extend(resolved.into_iter().filter_map(|(key, value)| Some((key, value?))));
    }
}

/// A setting by its dotted key; `None` where it says nothing that others do not say.
pub(super) type Setting = (String, Option<String>);

/// Appends each plain value under `node` with its dotted key.
fn flatten(node: &Node, key: &str, settings: &mut Vec<(String, String)>) {
    let below = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    let value = match &node.data {
        Data::Table(entries) => {
            for entry in entries {
                flatten(&entry.value, &below(&entry.key), settings);
            }
            return;
        }
        Data::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                flatten(item, &below(&i.to_string()), settings);
            }
            return;
        }
        Data::Bool(value) => value.to_string(),
        Data::Integer(value) => value.to_string(),
        // `1.0` as the integer `1`: options take either.
        Data::Float(value) => value.to_string(),
        Data::String(value) => value.clone(),
        Data::Other(kind) => (*kind).to_owned(),
    };
    settings.push((key.to_owned(), value));
}
