//! A new run's folder, which comes into being with its recipe in it: whatever ends the process, the
//! folder is not there, or says which run it was to hold.

use std::io;
use std::path::Path;

use refrain::files::{Files, Lock};
use refrain::{Error, Result};

/// Names of folders that are being made: `.refrain-PROCESS-N.new`, beside what they will be.
const BEGINNING: &str = ".refrain-";
const ENDING: &str = ".new";
const RECIPE: &str = "recipe.toml";
const LOCK: &str = "run.lock";
/// How often another name is tried: one may be left of a process of the same number.
const TRIES: u32 = 1000;

/// Whether a folder of this name is being made, or was when its process was killed.
pub(crate) fn is_being_made(name: &str) -> bool {
    let numbers = name.strip_prefix(BEGINNING).and_then(|rest| rest.strip_suffix(ENDING));
    numbers.and_then(|numbers| numbers.split_once('-')).is_some_and(|(process, n)| {
        [process, n].iter().all(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Makes `folder`, with the recipe in it; durable on return. False: it is there by now, somebody
/// else was faster, and nothing was done.
///
/// # Errors
/// When it cannot be made; then nothing is left.
pub(crate) fn claim(files: &Files, folder: &Path, recipe: &str) -> Result<bool> {
    let above = above(folder);
    files.create_folders(above)?;
    sweep(files, above);
    for n in 0..TRIES {
        let tmp = above.join(format!("{BEGINNING}{}-{n}{ENDING}", std::process::id()));
        let failed = |e| Error::file("create the folder", folder, e);
        match files.disk().create_folder(&tmp) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made.map_err(failed)?,
        }
        // Held, it is not taken for what a killed process has left; it is the run's own lock later.
        let lock = match files.disk().lock(&tmp.join(LOCK)) {
            Ok(Some(lock)) => lock,
            // Taken for that in between.
            Ok(None) => continue,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => {
                remove(files, &tmp, None);
                return Err(failed(e));
            }
        };
        let written = files.write_atomically(&tmp.join(RECIPE), recipe.as_bytes());
        if let Err(error) = written {
            remove(files, &tmp, Some(lock));
            return Err(error);
        }
        if cfg!(windows) {
            // It renames no folder in which a file is open.
            drop(lock);
            files.disk().rename(&tmp, folder).map_err(failed)?;
            return Ok(true);
        }
        if let Err(error) = files.disk().rename(&tmp, folder) {
            remove(files, &tmp, Some(lock));
            return match files.exists(folder)? {
                true => Ok(false),
                false => Err(failed(error)),
            };
        }
        drop(lock);
        if let Err(error) = files.disk().sync_folder(above) {
            withdraw(files, folder);
            return Err(Error::file("sync the folder", above, error));
        }
        return Ok(true);
    }
    Err(Error::msg(format!("`{}`: no name is free to make it under", folder.display())))
}

/// Removes a folder that was [claimed](claim), where its run has not begun, and nobody else's has.
pub(crate) fn withdraw(files: &Files, folder: &Path) {
    let Ok(Some(lock)) = files.disk().lock(&folder.join(LOCK)) else {
        return;
    };
    // Best effort: what is left is a run that has not begun.
    if let Ok(false) = files.exists(&folder.join("journal.jsonl")) {
        remove(files, folder, Some(lock));
    }
}

/// Removes what processes have left that were killed while they made a folder in `above`: nobody
/// holds the lock in it. Best effort.
fn sweep(files: &Files, above: &Path) {
    if cfg!(windows) {
        // The lock is not held to the end there.
        return;
    }
    let names = files.disk().list(above).unwrap_or_default();
    for tmp in names.iter().filter(|name| is_being_made(name)).map(|name| above.join(name)) {
        if let Ok(Some(lock)) = files.disk().lock(&tmp.join(LOCK)) {
            remove(files, &tmp, Some(lock));
        }
    }
}

/// Removes what is made here, and the folder where it is empty then.
fn remove(files: &Files, folder: &Path, lock: Option<Lock>) {
    let disk = files.disk();
    for name in disk.list(folder).unwrap_or_default() {
        let is_half = name.starts_with(BEGINNING) && name.ends_with(".tmp");
        if name == RECIPE || is_half {
            let _ = disk.remove_file(&folder.join(name));
        }
    }
    // Last, so that who finds the rest finds it held; Windows removes no open file.
    if cfg!(windows) {
        drop(lock);
        let _ = disk.remove_file(&folder.join(LOCK));
    } else {
        let _ = disk.remove_file(&folder.join(LOCK));
        drop(lock);
    }
    let _ = disk.remove_folder(folder);
}

fn above(folder: &Path) -> &Path {
    folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether nothing stands under a path, not even a link that leads nowhere, and a folder can.
pub(crate) fn is_free(path: &Path) -> bool {
    let is_absent = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    path.file_name().is_some() && path.symlink_metadata().is_err_and(|e| is_absent(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names = Files::default().disk().list(folder).unwrap();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_there_with_its_recipe_or_not_at_all() {
        let (place, files) = (tempfile::tempdir().unwrap(), Files::default());
        let folder = place.path().join("new/run");
        assert!(is_free(&folder));
        assert!(claim(&files, &folder, "a recipe").unwrap());
        assert_eq!(names(&folder), [RECIPE, LOCK]);
        assert_eq!(std::fs::read_to_string(folder.join(RECIPE)).unwrap(), "a recipe");
        // A second one is too late, and leaves nothing.
        assert!(!claim(&files, &folder, "another").unwrap());
        assert_eq!(std::fs::read_to_string(folder.join(RECIPE)).unwrap(), "a recipe");
        assert_eq!(names(&place.path().join("new")), ["run"]);
        withdraw(&files, &folder);
        assert!(names(&place.path().join("new")).is_empty());
    }

    #[test]
    fn a_run_that_has_begun_or_is_held_is_not_withdrawn() {
        let (place, files) = (tempfile::tempdir().unwrap(), Files::default());
        let folder = place.path().join("run");
        assert!(claim(&files, &folder, "").unwrap());
        let lock = files.disk().lock(&folder.join(LOCK)).unwrap();
        withdraw(&files, &folder);
        drop(lock);
        std::fs::write(folder.join("journal.jsonl"), "").unwrap();
        withdraw(&files, &folder);
        assert!(folder.join(RECIPE).exists());
    }

    #[cfg(unix)]
    #[test]
    fn what_a_killed_process_has_left_is_swept_and_what_is_held_is_not() {
        let (place, files) = (tempfile::tempdir().unwrap(), Files::default());
        let at = |name: &str| place.path().join(name);
        for left in [".refrain-1-0.new", ".refrain-2-0.new", ".refrain-3-0.new", ".refrain-x.new"] {
            std::fs::create_dir(at(left)).unwrap();
        }
        std::fs::write(at(".refrain-2-0.new/recipe.toml"), "").unwrap();
        std::fs::write(at(".refrain-2-0.new/.refrain-2-7.tmp"), "").unwrap();
        std::fs::write(at(".refrain-2-0.new/run.lock"), "").unwrap();
        let held = files.disk().lock(&at(".refrain-3-0.new/run.lock")).unwrap();
        assert!(held.is_some());
        assert!(claim(&files, &at("run"), "").unwrap());
        assert_eq!(names(place.path()), [".refrain-3-0.new", ".refrain-x.new", "run"]);
    }
}
