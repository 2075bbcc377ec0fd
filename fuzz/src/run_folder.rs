//! What lies in the folder of a run.

use std::path::{Component, Path};

use refrain_core::checkpoint::{Checkpoints, JournalText, inspect, verify};
use refrain_core::files::Files;
use refrain_core::testing::{Script, ScriptLearner};
use refrain_core::{Fit, Trainer};
use serde_json::{Map, Value};
use twox_hash::XxHash3_128;

use crate::memory::MemoryDisk;
use crate::seal::{seal, seal_text};

const FOLDER: &str = "/run";
const CHECKPOINT: &str = "/run/checkpoints/000002";
const JOURNAL: &str = "/run/journal.jsonl";

/// Reads the bytes as a journal: as they are, and with each line as a record with the right
/// checksum.
pub fn journal(bytes: &[u8]) {
    read_journal(bytes);
    let line = |line: &[u8]| seal_text(line.strip_suffix(b"}").unwrap_or(line).to_vec());
    let sealed: Vec<u8> = bytes.split(|byte| *byte == b'\n').flat_map(line).collect();
    read_journal(&sealed);
}

fn read_journal(bytes: &[u8]) {
    let text = JournalText::parse(bytes);
    assert_eq!(text.whole + text.torn, bytes.len() as u64);
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(text.entries.len() <= lines && text.damage.len() <= 21);
    assert!(text.entries.iter().all(|entry| entry.seq <= text.last_seq()));
    let epochs = text.epochs();
    assert!(epochs.is_sorted_by(|a, b| a.0 < b.0) && epochs.len() <= text.entries.len());
    let _ = (text.run(), text.ending(), text.planned());
    // What is appended behind the last whole line is read, whatever stands before it.
    let record = r#"{"seq":7,"time":"","type":"end","outcome":"failed","by":null,"reason":null"#;
    let (whole, _) = bytes.split_at(text.whole as usize);
    let after = JournalText::parse(&[whole, &seal_text(record.into())].concat());
    let (new, old) = after.entries.split_last().expect("the new record");
    assert_eq!((new.seq, old), (7, &text.entries[..]));
    assert_eq!((after.ending(), after.torn), (Some(("failed", None)), 0));
}

/// Takes the bytes for the manifest of a checkpoint: as they are, and with the right checksum.
pub fn manifest(bytes: &[u8]) {
    let bytes = &named(bytes);
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"}").unwrap_or(line);
    for manifest in [bytes.to_vec(), seal_text(line.to_vec())] {
        let disk = run();
        disk.put(Path::new(CHECKPOINT).join("manifest.json"), &manifest);
        go_on(&disk);
    }
}

/// Takes the bytes for the state of a checkpoint, with a manifest that names it.
pub fn state(bytes: &[u8]) {
    let disk = run();
    disk.put(Path::new(CHECKPOINT).join("state.json"), bytes);
    let path = Path::new(CHECKPOINT).join("manifest.json");
    let manifest = disk.get(&path).unwrap();
    let mut manifest: Map<String, Value> = serde_json::from_slice(&manifest).unwrap();
    manifest.remove("crc32c");
    for part in manifest["parts"].as_array_mut().unwrap() {
        if part["file"] == "state.json" {
            part["bytes"] = bytes.len().into();
            part["xxh3"] = format!("{:032x}", XxHash3_128::oneshot(bytes)).into();
        }
    }
    disk.put(path, &seal(&manifest));
    go_on(&disk);
}

/// Takes the bytes for files in a run's folder: names and contents in turn, with 0xff in between.
pub fn folder(bytes: &[u8]) {
    let disk = run();
    let mut pieces = bytes.split(|byte| *byte == 0xff);
    while let (Some(name), Some(content)) = (pieces.next(), pieces.next()) {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let name = Path::new(name);
        let is_below = name.components().all(|part| matches!(part, Component::Normal(_)));
        let path = Path::new(FOLDER).join(name);
        // No file is above another.
        let is_free = path.ancestors().skip(1).all(|above| disk.get(above).is_none());
        let below = disk.files().iter().any(|(other, _)| other.starts_with(&path));
        if is_below && is_free && (disk.get(&path).is_some() || !below) && path != Path::new(FOLDER)
        {
            disk.put(&path, &named(content));
        }
    }
    go_on(&disk);
}

/// Puts the identity of the run where the bytes have a stand-in: it is another in every process.
fn named(bytes: &[u8]) -> Vec<u8> {
    const STAND_IN: &[u8] = b"0000000000000000";
    let journal = JournalText::parse(&run().get(JOURNAL).unwrap());
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(STAND_IN.len()).position(|window| window == STAND_IN);
    if let Some(place) = at.and_then(|at| bytes.get_mut(at..at + STAND_IN.len())) {
        place.copy_from_slice(journal.run().unwrap().as_bytes());
    }
    bytes
}

fn script() -> Script {
    Script::losses(&[4.0, 3.0, 2.0])
}

fn trainer(disk: &MemoryDisk) -> Trainer<ScriptLearner> {
    // What describes the run is named, or nothing that is changed would go on.
    let checkpoints =
        Checkpoints::in_dir(FOLDER).describe("model", "w").accept_changes(true).wait(true);
    Trainer::new(script().learner(), 0.1).files(Files::on(disk.clone())).checkpoints(checkpoints)
}

/// A disk with a run of two epochs.
fn run() -> MemoryDisk {
    thread_local! {
        static RUN: MemoryDisk = {
            let disk = MemoryDisk::default();
            trainer(&disk).fit(&script().data(), Fit::epochs(2).verbose(0)).unwrap();
            disk
        };
    }
    RUN.with(MemoryDisk::copy)
}

/// Looks at the run, which changes nothing; goes on with it, which leaves a run that is whole again.
fn go_on(disk: &MemoryDisk) {
    let files = Files::on(disk.clone());
    let before = disk.files();
    if let Err(error) = inspect(&files, Path::new(FOLDER)) {
        check_text(&error.to_string());
    }
    for report in verify(&files, Path::new(FOLDER)).unwrap_or_default() {
        if let Err(error) = report.manifest {
            check_text(&error.to_string());
        }
    }
    assert_eq!(disk.files(), before);

    let mut trainer = trainer(disk);
    let point = match trainer.resume() {
        Ok(point) => point,
        Err(error) => return check_text(&error.to_string()),
    };
    check_text(&point.to_string());
    point.notes().iter().for_each(|note| check_text(note));
    if let Err(error) = trainer.fit(&script().data(), Fit::epochs(3).verbose(0)) {
        return check_text(&error.to_string());
    }
    // Whatever lay there: what was written since is whole, and nothing lies outside of the folder.
    let reports = verify(&files, Path::new(FOLDER)).unwrap();
    let newest = reports.iter().rev().find_map(|report| report.manifest.as_ref().ok());
    let epochs = newest.expect("a checkpoint").epochs;
    let text = JournalText::parse(&disk.get(JOURNAL).unwrap());
    let (outcome, _) = text.ending().expect("an end");
    // The state may hold a stop that was asked for.
    assert!(outcome == "stopped" || (outcome, epochs) == ("completed", 3), "{outcome} {epochs}");
    assert_eq!(text.torn, 0);
    assert!(disk.files().iter().all(|(path, _)| path.starts_with(FOLDER)));
}

/// What is said of a file steers no terminal, and is not as long as the file may be.
fn check_text(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
