//! `refrain verify`: reads every byte of a run, and says what it found.

use std::path::Path;
use std::sync::Arc;

use refrain::checkpoint::{CheckpointReport, Record, RunReport, inspect, remains, verify as read};
use refrain::files::Files;
use refrain::plot::TrainingLog;
use refrain::weights::Weights;
use refrain::{Error, Escaped, Recipe, Registry, Result};
use serde_json::{Value, json};

use crate::args::VerifyArgs;
use crate::output::{count, say};
use crate::run_state::State;
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
    let no_run = || Error::config(format!("`{name}` holds no run; `refrain runs` lists runs"));
    let run = inspect(&files, dir)?.ok_or_else(no_run)?;
    let state = State::of(&run);
    let checkpoints = read(&files, dir)?;
    // Once more: a run that trains has written on meanwhile.
    let later = inspect(&files, dir)?.ok_or_else(no_run)?;
    let mut found = vec![journal(&files, &later, &checkpoints)];
    found.extend(checkpoints.iter().map(checkpoint));
    found.extend(lost(&run, &checkpoints, dir)?);
    found.extend(outputs(&files, registry, dir));
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

fn journal(files: &Files, run: &RunReport, checkpoints: &[CheckpointReport]) -> Found {
    const WHAT: &str = "journal.jsonl";
    let journal = &run.journal;
    match files.exists(&run.folder.join(WHAT)) {
        Ok(true) => {}
        Ok(false) => return Found::damaged(WHAT, "it is missing"),
        Err(error) => return Found::damaged(WHAT, error),
    }
    if !journal.damage.is_empty() {
        return Found::damaged(WHAT, journal.damage.join("; "));
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

/// The run's other files: those that are there.
fn outputs(files: &Files, registry: &Arc<Registry>, dir: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut look = |name: &str, read: &dyn Fn(&Path) -> Result<String>| {
        let path = dir.join(name);
        match files.exists(&path) {
            Ok(true) => found.push(Found::of(name, read(&path))),
            Ok(false) => {}
            Err(error) => found.push(Found::damaged(name, error)),
        }
    };
    let path = dir.join("recipe.toml");
    let recipe = Recipe::load_with(registry, &path, &[]);
    let outputs = recipe.as_ref().map(|recipe| recipe.outputs(dir).unwrap_or_default());
    look("recipe.toml", &|_| match &recipe {
        Ok(recipe) => Ok(format!("{} planned", count(recipe.epochs(), "epoch"))),
        Err(error) => Err(error.clone()),
    });
    look("summary.json", &|path| {
        let summary: Value = serde_json::from_slice(&files.read(path, MAX_BYTES)?)?;
        let epochs = summary["epochs"].as_u64().and_then(|epochs| usize::try_from(epochs).ok());
        let epochs = epochs.ok_or_else(|| Error::data("it names no epochs"))?;
        let outcome = summary["outcome"].as_str().unwrap_or_default();
        Ok(format!("{outcome}, {}", count(epochs, "epoch")))
    });
    look("model.safetensors", &weights);
    for output in outputs.unwrap_or_default() {
        let Some(name) = output.strip_prefix(dir).ok().and_then(Path::to_str) else {
            continue;
        };
        match output.extension().and_then(|extension| extension.to_str()) {
            Some("json") => look(name, &|path| {
                // That of a logger that was disabled, or of a run before its first epoch.
                if serde_json::from_slice(&files.read(path, MAX_BYTES)?).ok() == Some(json!([])) {
                    return Ok(count(0, "epoch"));
                }
                let log = TrainingLog::read(path).map_err(Error::wrap)?;
                Ok(count(log.epochs().len(), "epoch"))
            }),
            Some("safetensors") => look(name, &weights),
            _ => look(name, &|path| Ok(format!("{} bytes", files.read(path, MAX_BYTES)?.len()))),
        }
    }
    found
}

fn weights(path: &Path) -> Result<String> {
    Ok(count(Weights::load(path)?.tensors.len(), "tensor"))
}
