//! The folder of a run: which one, and what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refrain::files::Files;
use refrain::{Error, Recipe, Registry, Result};

/// Whatever of these a folder holds, it holds a run.
const SIGNS: [&str; 5] =
    ["recipe.toml", "summary.json", "model.safetensors", "journal.jsonl", "checkpoints"];

/// Whether a folder holds a run, of whatever state.
pub(crate) fn holds_run(folder: &Path) -> bool {
    SIGNS.iter().any(|sign| folder.join(sign).exists())
}

/// The folder that a run will use; nothing is made yet.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
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
        refuse_file(&path)?;
        if holds_run(&path) && !overwrite {
            return Err(Error::config(format!(
                "`{}` already holds a run; go on with it (--resume), replace it (--overwrite), or \
                 choose another folder (--dir)",
                path.display()
            )));
        }
        Ok(Self { path, overwrites: overwrite, registry: Arc::clone(registry) })
    }

    /// The folder of a run that goes on.
    ///
    /// # Errors
    /// When it is a file.
    pub(crate) fn of_run(registry: &Arc<Registry>, path: PathBuf) -> Result<Self> {
        refuse_file(&path)?;
        Ok(Self { path, overwrites: false, registry: Arc::clone(registry) })
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
    pub(crate) fn prepare(self, recipe: &str, files: &Files) -> Result {
        if self.overwrites {
            self.clear(files)?;
        }
        // The sign of a run that is over, which this one no longer is: it may have been raised.
        files.remove(&self.file("summary.json"))?;
        let file = self.file("recipe.toml");
        if fs::read(&file).is_ok_and(|old| old == recipe.as_bytes()) {
            return Ok(());
        }
        files.write_atomically(&file, recipe.as_bytes())
    }

    /// Removes what the run before wrote, and nothing else.
    fn clear(&self, files: &Files) -> Result {
        let own = [self.file("model.safetensors")];
        // A recipe that this version cannot read keeps its callbacks' files: better too many.
        let outputs = Recipe::load_with(&self.registry, &self.file("recipe.toml"), &[])
            .and_then(|recipe| recipe.outputs(self.path()))
            .unwrap_or_default();
        let is_ours = |file: &PathBuf| file.starts_with(self.path()) && !file.is_dir();
        let inside = outputs.into_iter().filter(is_ours);
        own.into_iter().chain(inside).try_for_each(|file| files.remove(&file))
    }
}

fn refuse_file(path: &Path) -> Result {
    if path.is_file() {
        return Err(Error::config(format!("`{}` is a file; name a folder", path.display())));
    }
    Ok(())
}

fn first_free(name: &str) -> PathBuf {
    let base = Path::new("runs").join(name);
    if !base.exists() {
        return base;
    }
    let numbered = |n: u64| Path::new("runs").join(format!("{name}-{n}"));
    (2..).map(numbered).find(|path| !path.exists()).unwrap_or(base)
}
