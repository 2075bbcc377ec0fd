//! `refrain verify`: reads every byte of a run, and says what it found.

use std::path::Path;
use std::sync::Arc;

use refrain::callbacks::EventRecords;
use refrain::checkpoint::{CheckpointReport, Record, RunReport, inspect, remains, verify as read};
use refrain::files::{Files, Kind};
use refrain::plot::TrainingLog;
use refrain::weights::Weights;
use refrain::{Error, Escaped, Preparation, Recipe, Registry, Result};
use serde_json::{Value, json};

use crate::args::VerifyArgs;
use crate::noted::{self, Absent};
use crate::output::{count, say};
use crate::run_folder::{DATA, RECIPE, without_journal};
use crate::run_state::{State, journal_damage};
use crate::{FAILED, FINISHED};

/// A summary or a picture longer than this (1 GiB) is none.
const MAX_BYTES: u64 = 1 << 30;

/// Something that was looked at.
struct Found {
    what: String,
    is_damaged: bool,
    text: String,
}

impl Found {
    fn good(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { what: what.into(), is_damaged: false, text: text.into() }
    }

    fn damaged(what: impl Into<String>, text: impl std::fmt::Display) -> Self {
        Self { what: what.into(), is_damaged: true, text: format!("damaged: {text}") }
    }

    fn of(what: impl Into<String>, read: Result<String>) -> Self {
        match read {
            Ok(text) => Self::good(what, text),
            Err(error) => Self::damaged(what, error),
        }
    }
}

/// Verifies; returns the exit status.
pub(crate) fn verify(args: &VerifyArgs, registry: &Arc<Registry>) -> Result<u8> {
    let (files, dir) = (Files::default(), args.dir.as_path());
    let name = dir.display();
    let Look { run, checkpoints, is_still } = look(&files, dir)?;
    let state = State::of(&run);
    let mut found = vec![journal(&run, &checkpoints)];
    found.extend(checkpoints.iter().map(checkpoint));
    if is_still {
        found.extend(lost(&run, &checkpoints, dir)?);
    }
    if !run.journal.is_being_overwritten() {
        found.extend(recipe_is_missing(&files, &checkpoints, dir)?);
    }
    found.extend(outputs(&files, registry, &run));
    let remains = remains(&files, dir)?;
    for path in &remains.leftovers {
        let text = match state {
            State::Running => "being written, or left by a process that was killed",
            _ => "left by a process that was killed; the next --resume removes it",
        };
        found.push(Found::good(path.display().to_string(), text));
    }
    for path in &remains.quarantine {
        found.push(Found::good(
            path.display().to_string(),
            "damaged, set aside by an earlier resume",
        ));
    }

    let damaged = found.iter().filter(|found| found.is_damaged).count();
    if args.json {
        let item = |found: &Found| json!({ "what": found.what, "damaged": found.is_damaged, "text": found.text });
        let found: Vec<Value> = found.iter().map(item).collect();
        let report = json!({
            "dir": name.to_string(),
            "state": state.word(),
            "by": state.by(),
            "damaged": damaged,
            "found": found,
        });
        say(&format!("{report:#}"))?;
    } else {
        for Found { what, text, .. } in &found {
            say(&format!("{}: {}", Escaped(what), Escaped(text)))?;
        }
        let text = match damaged {
            0 => "all is well".to_owned(),
            n => format!("{n} damaged"),
        };
        say(&format!("`{name}` ({state}): {text}"))?;
    }
    Ok(if damaged == 0 { FINISHED } else { FAILED })
}

/// A run at one moment.
struct Look {
    run: RunReport,
    checkpoints: Vec<CheckpointReport>,
    /// Whether it stood still for the moment: what its journal names and its folder lacks is lost.
    is_still: bool,
}

/// Looks until the run has written nothing while it was looked at; not for ever.
fn look(files: &Files, dir: &Path) -> Result<Look> {
    const LOOKS: usize = 10;
    let inspected = || inspect(files, dir)?.ok_or_else(|| no_run(dir));
    let mut before = inspected()?;
    let mut looks = 0;
    loop {
        let checkpoints = read(files, dir)?;
        let run = inspected()?;
        looks += 1;
        let is_still = run.journal.entries.len() == before.journal.entries.len();
        if is_still || looks == LOOKS {
            return Ok(Look { run, checkpoints, is_still });
        }
        before = run;
    }
}

fn no_run(dir: &Path) -> Error {
    let name = dir.display();
    Error::config(match without_journal(dir) {
        Some(what) => format!("`{name}` holds {what}; there is nothing to verify"),
        None => format!("`{name}` holds no run; `refrain runs` lists runs"),
    })
}

fn journal(run: &RunReport, checkpoints: &[CheckpointReport]) -> Found {
    const WHAT: &str = "journal.jsonl";
    let journal = &run.journal;
    if journal.is_being_overwritten() {
        let text = "the run is being overwritten, or was when its process ended";
        return Found::good(WHAT, text);
    }
    if let Some(damage) = journal_damage(run) {
        return Found::damaged(WHAT, damage);
    }
    // An epoch's record is durable before a checkpoint that has the epoch.
    let of_run = checkpoints.iter().filter_map(|report| report.manifest.as_ref().ok());
    let of_run = of_run.filter(|manifest| journal.run().is_none_or(|run| run == manifest.run));
    let trained = of_run.map(|manifest| manifest.epochs).max().unwrap_or(0);
    let recorded = journal.epochs().last().map_or(0, |(epoch, _)| *epoch);
    if recorded < trained {
        let epochs = count(recorded, "epoch");
        return Found::damaged(WHAT, format!("it has {epochs}, the newest checkpoint {trained}"));
    }
    let (records, epochs) = (journal.entries.len(), journal.epochs().len());
    let mut text = format!("{}, {}", count(records, "record"), count(epochs, "epoch"));
    if journal.torn > 0 {
        // Not damage: what a kill leaves, and for an instant also a run that is being watched.
        let torn = journal.torn;
        text.push_str(&format!("; {torn} bytes of one that was not written to its end"));
    }
    Found::good(WHAT, text)
}

fn checkpoint(report: &CheckpointReport) -> Found {
    let what = format!("checkpoints/{:06}", report.number);
    match &report.manifest {
        Ok(manifest) => {
            let bytes: u64 = manifest.parts.iter().map(|part| part.bytes).sum();
            let batch = match manifest.batch {
                0 => String::new(),
                batch => format!(", batch {batch}"),
            };
            let text = format!(
                "epoch {}{batch}, step {}; {} files, {bytes} bytes",
                manifest.epochs + usize::from(manifest.batch > 0),
                manifest.step,
                manifest.parts.len() + 1
            );
            Found::good(what, text)
        }
        Err(error) => Found::damaged(what, error),
    }
}

/// The newest checkpoint in the journal, where the folder has none that is as new.
fn lost(run: &RunReport, there: &[CheckpointReport], dir: &Path) -> Result<Option<Found>> {
    let recorded = run.journal.entries.iter().filter_map(|entry| match entry.record {
        Record::Checkpoint { number, .. } => Some(number),
        _ => None,
    });
    let Some(newest) = recorded.max() else {
        return Ok(None);
    };
    let set_aside = remains(&Files::default(), dir)?.quarantine;
    let is_set_aside = set_aside.iter().any(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.split('-').next() == Some(format!("{newest:06}").as_str())
    });
    let is_there = is_set_aside || there.iter().any(|report| report.number >= newest);
    let lost = || Found::damaged(format!("checkpoints/{newest:06}"), "it is missing");
    Ok((!is_there).then(lost))
}

/// The recipe, where it is not there.
fn recipe_is_missing(
    files: &Files,
    checkpoints: &[CheckpointReport],
    dir: &Path,
) -> Result<Option<Found>> {
    const WHAT: &str = RECIPE;
    if files.exists(&dir.join(WHAT))? {
        return Ok(None);
    }
    // Only this command describes the data so; a run of somebody's own program has no recipe.
    let mut manifests = checkpoints.iter().filter_map(|report| report.manifest.as_ref().ok());
    let is_of_recipe = manifests.any(|manifest| manifest.config.contains_key("data.contents"))
        || files.exists(&dir.join("summary.json"))?;
    Ok(Some(match is_of_recipe {
        true => Found::damaged(WHAT, "it is missing"),
        false => Found::good(WHAT, "there is none; --resume needs one, named"),
    }))
}

/// The run's other files: those that are there.
fn outputs(files: &Files, registry: &Arc<Registry>, run: &RunReport) -> Vec<Found> {
    let dir = run.folder.as_path();
    let recorded = run.journal.epochs().len();
    let mut found = Vec::new();
    let mut look = |name: &str, read: &dyn Fn(&Path) -> Result<String>| {
        let path = dir.join(name);
        let read = || -> Result<String> {
            let text = read(&path)?;
            // What can be read may still be other than it was.
            if !path.is_dir() {
                noted::check(files, run, name)?;
            }
            Ok(text)
        };
        match files.exists(&path) {
            Ok(true) => found.push(Found::of(name, read())),
            Ok(false) => match noted::absent(run, name) {
                Absent::Missing => found.push(Found::damaged(name, "it is missing")),
                Absent::Unwritten => found.push(Found::good(
                    name,
                    "it is not there: the process ended in front of it, or it was removed; --resume \
                     writes it",
                )),
                Absent::Unknown => {}
            },
            Err(error) => found.push(Found::damaged(name, error)),
        }
    };
    let path = dir.join(RECIPE);
    let recipe = Recipe::load_with(registry, &path, &[]);
    let outputs = recipe.as_ref().map(|recipe| recipe.outputs(dir).unwrap_or_default());
    look(RECIPE, &|_| match &recipe {
        Ok(recipe) => Ok(format!("{} planned", count(recipe.epochs(), "epoch"))),
        Err(error) => Err(error.clone()),
    });
    look(DATA, &|path| Preparation::load(path).map(|_| "how the data became inputs".to_owned()));
    look("summary.json", &|path| {
        let summary: Value = serde_json::from_slice(&files.read(path, MAX_BYTES)?)?;
        let epochs = summary["epochs"].as_u64().and_then(|epochs| usize::try_from(epochs).ok());
        let epochs = epochs.ok_or_else(|| Error::data("it names no epochs"))?;
        let outcome = summary["outcome"].as_str().unwrap_or_default();
        Ok(format!("{outcome}, {}", count(epochs, "epoch")))
    });
    look("model.safetensors", &weights);
    let outputs = outputs.unwrap_or_default();
    let mut noted = noted::names(run);
    for output in &outputs {
        let Some(name) = output.strip_prefix(dir).ok().and_then(Path::to_str) else {
            continue;
        };
        noted.remove(name);
        match output.extension().and_then(|extension| extension.to_str()) {
            Some("json") => look(name, &|path| {
                let is_empty =
                    serde_json::from_slice(&files.read(path, MAX_BYTES)?).ok() == Some(json!([]));
                let epochs = match is_empty {
                    true => 0,
                    false => TrainingLog::read(path).map_err(Error::wrap)?.epochs().len(),
                };
                let mut text = count(epochs, "epoch");
                if epochs < recorded {
                    // No damage: that of a logger that was disabled, or that is about to write.
                    text.push_str(&format!("; the journal has {recorded}"));
                }
                Ok(text)
            }),
            Some("safetensors") => look(name, &weights),
            _ if output.is_dir() => {
                look(name, &|path| folder(files, run, path));
                // Looked at with it; what is missing is not.
                noted.retain(|file| !Path::new(file).starts_with(name) || !dir.join(file).exists());
            }
            _ => look(name, &|path| length(files, path)),
        }
    }
    // Whose names the recipe alone does not say: they hold the epoch, or a metric.
    for name in noted {
        match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => look(name, &weights),
            _ => look(name, &|path| length(files, path)),
        }
    }
    found
}

/// A folder that a callback writes into: every file below it is read, and the checksums of TensorBoard's,
/// and compared with what was noted; links are not followed.
fn folder(files: &Files, run: &RunReport, below: &Path) -> Result<String> {
    const EVENTS: &str = "events.out.tfevents.";
    let (mut n, mut bytes, mut torn) = (0, 0_u64, 0_usize);
    let mut left = vec![below.to_owned()];
    while let Some(folder) = left.pop() {
        let names = files.disk().list(&folder);
        for name in names.map_err(|e| Error::file("read the folder", &folder, e))? {
            let has_checksums = name.starts_with(EVENTS);
            let path = folder.join(name);
            match files.disk().kind(&path) {
                Ok(Kind::Folder) => left.push(path),
                Ok(Kind::File(_)) => match files.read(&path, MAX_BYTES) {
                    Ok(read) => {
                        n += 1;
                        bytes = bytes.saturating_add(read.len() as u64);
                        let shown = path.strip_prefix(below).unwrap_or(&path).display();
                        let in_file = |error: Error| error.context(format!("`{shown}`"));
                        if has_checksums {
                            torn += EventRecords::check(&read).map_err(in_file)?.torn;
                        }
                        if let Some(name) =
                            path.strip_prefix(&run.folder).ok().and_then(Path::to_str)
                        {
                            noted::check(files, run, name).map_err(in_file)?;
                        }
                    }
                    // Removed by the run itself meanwhile.
                    Err(_) if matches!(files.exists(&path), Ok(false)) => {}
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
    }
    let mut text = format!("{}, {bytes} bytes", count(n, "file"));
    if torn > 0 {
        text.push_str(&format!("; {torn} bytes of events that were not written to their end"));
    }
    Ok(text)
}

fn length(files: &Files, path: &Path) -> Result<String> {
    Ok(format!("{} bytes", files.read(path, MAX_BYTES)?.len()))
}

fn weights(path: &Path) -> Result<String> {
    Ok(count(Weights::load(path)?.tensors.len(), "tensor"))
}
