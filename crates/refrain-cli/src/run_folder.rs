//! The folder of a run: which one, and what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refrain::files::Files;
use refrain::{Error, Recipe, Registry, Result};

use crate::claim::{claim, is_free, withdraw};

/// Whatever of these a folder holds, it holds a run.
const SIGNS: [&str; 5] = [RECIPE, SUMMARY, MODEL, "journal.jsonl", "checkpoints"];
/// The recipe as used.
pub(crate) const RECIPE: &str = "recipe.toml";
/// How the run's data became inputs, where they come from outside.
pub(crate) const DATA: &str = "data.json";
/// The weights at the end of a run.
pub(crate) const MODEL: &str = "model.safetensors";
/// What became of a run: the last that is written of it.
pub(crate) const SUMMARY: &str = "summary.json";
/// Written at the end of a run.
const ENDS: [&str; 2] = [SUMMARY, MODEL];

/// Whether a folder holds a run, of whatever state.
pub(crate) fn holds_run(folder: &Path) -> bool {
    SIGNS.iter().any(|sign| folder.join(sign).exists())
}

/// Whether a run has been in a folder, though perhaps nothing is left but its lock.
pub(crate) fn has_held_run(folder: &Path) -> bool {
    holds_run(folder) || folder.join("run.lock").exists()
}

/// What a folder holds that has neither journal nor checkpoints: in words, where it is a run.
pub(crate) fn without_journal(folder: &Path) -> Option<&'static str> {
    // Of a version that kept none; or somebody has removed it.
    if ENDS.iter().any(|name| folder.join(name).exists()) {
        return Some("a run without a journal");
    }
    holds_run(folder).then_some("a run that has not begun")
}

/// The folder that a run will use; nothing is made yet.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Whether nothing was there when it was chosen.
    is_free: bool,
    /// Whether a run that is there makes way.
    overwrites: bool,
    registry: Arc<Registry>,
}

impl RunFolder {
    /// Chooses the folder of a new run: `dir`, or `runs/NAME`, or where that exists `runs/NAME-2`,
    /// `-3`, ...
    ///
    /// # Errors
    /// When `dir` holds a run already and `overwrite` was not asked for.
    pub(crate) fn new_run(
        registry: &Arc<Registry>,
        dir: Option<&Path>,
        name: &str,
        overwrite: bool,
    ) -> Result<Self> {
        let path = match dir {
            Some(dir) => dir.to_path_buf(),
            None if overwrite => Path::new("runs").join(name),
            None => first_free(name),
        };
        refuse_no_folder(&path)?;
        if holds_run(&path) && !overwrite {
            return Err(Error::config(format!(
                "`{}` already holds a run; go on with it (--resume), replace it (--overwrite), or \
                 choose another folder (--dir)",
                path.display()
            )));
        }
        let registry = Arc::clone(registry);
        Ok(Self { is_free: is_free(&path), path, overwrites: overwrite, registry })
    }

    /// The folder of a run that goes on.
    ///
    /// # Errors
    /// When it cannot be one.
    pub(crate) fn of_run(registry: &Arc<Registry>, path: PathBuf) -> Result<Self> {
        refuse_no_folder(&path)?;
        let registry = Arc::clone(registry);
        Ok(Self { is_free: is_free(&path), path, overwrites: false, registry })
    }

    /// Makes the folder with the run's recipe in it, where it was not there. False: by now it is,
    /// somebody else was faster.
    ///
    /// In a folder that is there the recipe is written under the run's lock, by
    /// [`prepare`](Self::prepare): another process may be about to begin there.
    ///
    /// # Errors
    /// When it cannot be made; then nothing is left.
    pub(crate) fn claim(&self, recipe: &str) -> Result<bool> {
        if self.is_free { claim(&Files::default(), &self.path, recipe) } else { Ok(true) }
    }

    /// Takes a [claim](Self::claim) back, for a run that could not begin.
    pub(crate) fn withdraw(&self) {
        if self.is_free {
            withdraw(&Files::default(), &self.path);
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Names of the files in it, sorted; empty where it cannot be read.
    pub(crate) fn list(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.') && name != "run.lock")
            .collect();
        names.sort();
        names
    }

    /// Makes the folder this run's, once it is held: what a run before wrote is removed where it is
    /// replaced, and the recipe as used is written where it is not there already.
    ///
    /// `data`: what is to stand in `data.json`, for who uses the model.
    pub(crate) fn prepare(self, recipe: &str, data: Option<&str>, files: &Files) -> Result {
        if self.overwrites {
            self.clear(files)?;
        }
        // The sign of a run that is over, which this one no longer is: it may have been raised.
        files.remove(&self.file(SUMMARY))?;
        if let Some(data) = data {
            replace(files, &self.file(DATA), data)?;
        }
        replace(files, &self.file(RECIPE), recipe)
    }

    /// Removes what the run before wrote, and nothing else; the recipe, which says what that is, stays.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) fn clear(&self, files: &Files) -> Result {
        let own = [self.file(MODEL), self.file(DATA)];
        // A recipe that this version cannot read keeps its callbacks' files: better too many.
        let outputs = Recipe::load_with(&self.registry, &self.file(RECIPE), &[])
            .and_then(|recipe| recipe.outputs(self.path()))
            .unwrap_or_default();
        let is_ours = |file: &PathBuf| file.starts_with(self.path()) && !file.is_dir();
        let inside = outputs.into_iter().filter(is_ours);
        own.into_iter().chain(inside).try_for_each(|file| files.remove(&file))
    }
}

/// Writes what is not there already.
fn replace(files: &Files, path: &Path, text: &str) -> Result {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    files.write_atomically(path, text.as_bytes())
}

fn refuse_no_folder(path: &Path) -> Result {
    let refused =
        |what: &str| Err(Error::config(format!("`{}` is {what}; name a folder", path.display())));
    if path.as_os_str().is_empty() {
        return Err(Error::config("--dir is empty; name a folder"));
    }
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(metadata) if metadata.is_file() => refused("a file"),
        Ok(_) => refused("a device, a pipe or a socket"),
        Err(_) if path.is_symlink() => refused("a link that leads nowhere"),
        Err(_) => Ok(()),
    }
}

fn first_free(name: &str) -> PathBuf {
    let base = Path::new("runs").join(name);
    if is_free(&base) {
        return base;
    }
    let numbered = |n: u64| Path::new("runs").join(format!("{name}-{n}"));
    (2..).map(numbered).find(|path| is_free(path)).unwrap_or(base)
}
