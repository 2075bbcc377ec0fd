//! The folder of a run: which one, and what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refrain::event::Hook;
use refrain::{Access, Callback, Error, Recipe, Registry, Result, Run};

/// Whatever of these a folder holds, it holds a run.
const SIGNS: [&str; 5] =
    ["recipe.toml", "summary.json", "model.safetensors", "journal.jsonl", "checkpoints"];

/// The folder that a new run will use; nothing is made yet.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    replaces: bool,
    registry: Arc<Registry>,
}

impl RunFolder {
    /// Chooses the folder: `dir`, or `runs/NAME`, or where that exists `runs/NAME-2`, `-3`, ...
    ///
    /// # Errors
    /// When `dir` holds a run already and `overwrite` was not asked for.
    pub(crate) fn choose(
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
        if path.is_file() {
            return Err(Error::config(format!("`{}` is a file; name a folder", path.display())));
        }
        let holds_run = SIGNS.iter().any(|sign| path.join(sign).exists());
        if holds_run && !overwrite {
            return Err(Error::config(format!(
                "`{}` already holds a run; replace it (--overwrite), choose another folder (--dir), \
                 or, from a later version on, go on with it (--resume)",
                path.display()
            )));
        }
        Ok(Self { path, replaces: holds_run, registry: Arc::clone(registry) })
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
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    /// A callback that makes the folder when training begins, so that a run that is refused
    /// before leaves nothing behind, and replaces nothing.
    ///
    /// It prints `table`, the model's, first.
    pub(crate) fn opener(&self, recipe: String, table: String) -> impl Callback + use<> {
        Opener { folder: self.clone(), recipe, table }
    }

    /// Removes what the run before wrote, and nothing else.
    fn clear(&self) -> Result {
        let own = ["summary.json", "model.safetensors"].map(|name| self.file(name));
        // A recipe that this version cannot read keeps its callbacks' files: better too many.
        let outputs = Recipe::load_with(&self.registry, &self.file("recipe.toml"), &[])
            .and_then(|recipe| recipe.outputs(self.path()))
            .unwrap_or_default();
        let is_ours = |file: &PathBuf| file.starts_with(self.path()) && !file.is_dir();
        let inside = outputs.into_iter().filter(is_ours);
        for file in own.into_iter().chain(inside) {
            match fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("remove", &file, e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn first_free(name: &str) -> PathBuf {
    let base = Path::new("runs").join(name);
    if !base.exists() {
        return base;
    }
    let numbered = |n: u64| Path::new("runs").join(format!("{name}-{n}"));
    (2..).map(numbered).find(|path| !path.exists()).unwrap_or(base)
}

struct Opener {
    folder: RunFolder,
    recipe: String,
    table: String,
}

impl Callback for Opener {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        "run_folder".into()
    }

    fn access(&self) -> Access {
        Access::new().acts_in([Hook::TrainBegin])
    }

    fn on_train_begin(&mut self, run: &mut Run<'_>) -> Result {
        run.print(&self.table);
        let path = self.folder.path();
        fs::create_dir_all(path).map_err(|e| Error::file("create the folder", path, e))?;
        if self.folder.replaces {
            self.folder.clear()?;
        }
        run.files().write_atomically(&self.folder.file("recipe.toml"), self.recipe.as_bytes())
    }
}
