//! A run's folder, checkpoint by checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::checkpoint::snapshot::{Position, RunState};
use crate::files::Disk as _;
use crate::testing::{Call, Failure, SimulatedDisk};
use crate::weights::Weights;

const FOLDER: &str = "/run";

fn snapshot(step: u64, has_optimizer: bool) -> Snapshot {
    let weights = |name: &str| Weights::from_f32([(name, vec![1], vec![step as f32])]);
    let position = Position { step, ..Position::default() };
    Snapshot {
        state: RunState {
            position,
            epoch_logs: None,
            rate_used: 0.1,
            initial_rate: Some(0.1),
            base: 0.1,
            factors: Vec::new(),
            rollbacks: 0,
            stop: None,
            trial: None,
            history: Vec::new(),
            callbacks: Vec::new(),
        },
        weights: weights("weight"),
        optimizer: if has_optimizer { weights("velocity") } else { Weights::default() },
        step_state: Weights::default(),
        callback_weights: Vec::new(),
        config: BTreeMap::new(),
        loss: None,
        is_due: true,
    }
}

fn begin(disk: &SimulatedDisk, keep: usize) -> Store {
    let files = Files::on(disk.clone());
    Store::begin(&files, Path::new(FOLDER), keep, false, || Ok(())).unwrap()
}

/// Paths of files below the folder of checkpoints.
fn files_of_checkpoints(disk: &SimulatedDisk) -> Vec<String> {
    let folder = Path::new(FOLDER).join(CHECKPOINTS);
    let files = disk.contents().into_iter().filter(|(_, content)| content.is_some());
    let below =
        files.filter_map(|(path, _)| path.strip_prefix(&folder).ok()?.to_str().map(str::to_owned));
    below.collect()
}

/// The next one is written into what is left of a dropped one.
#[test]
fn a_checkpoint_has_its_own_files_whatever_was_dropped_had() {
    let disk = SimulatedDisk::new(4096);
    let mut store = begin(&disk, 1);
    for (step, has_optimizer) in
        [false, true, false, false, true, true, false].into_iter().enumerate()
    {
        let number = store.commit(&snapshot(step as u64, has_optimizer)).unwrap().number;
        store.drop_oldest().unwrap();
        let mut expected = vec![MANIFEST, STATE, WEIGHTS];
        expected.extend(has_optimizer.then_some(OPTIMIZER));
        expected.sort_unstable();
        let there: Vec<String> = files_of_checkpoints(&disk)
            .into_iter()
            .filter_map(|path| path.strip_prefix(&format!("{}/", name(number))).map(str::to_owned))
            .collect();
        assert_eq!(there, expected, "step {step}");
    }
    let before = files_of_checkpoints(&disk).len();
    store.remove_spare().unwrap();
    // Of the last one, which has no optimizer, and of none beside it.
    assert!(before > 3, "none was dropped");
    assert_eq!(files_of_checkpoints(&disk).len(), 3);
}

#[test]
fn one_is_written_into_a_dropped_one_and_others_leave_no_trace() {
    let disk = SimulatedDisk::new(4096);
    let mut store = begin(&disk, 4);
    for step in 0..4 {
        store.commit(&snapshot(step, true)).unwrap();
    }
    store.keep = 1;
    store.drop_oldest().unwrap();
    // The last one, and one of the three that were dropped.
    assert_eq!(files_of_checkpoints(&disk).len(), 8);
    let made = |disk: &SimulatedDisk| {
        let calls = disk.operations();
        calls.iter().filter(|operation| operation.call == Call::CreateNew).count()
    };
    let before = made(&disk);
    store.commit(&snapshot(4, true)).unwrap();
    assert_eq!(made(&disk), before, "files were made where there are some to write over");
    store.drop_oldest().unwrap();
    assert_eq!(files_of_checkpoints(&disk).len(), 8);
    // As after a panic.
    drop(store);
    assert_eq!(files_of_checkpoints(&disk).len(), 4);
}

#[test]
fn the_newest_that_was_due_outlives_those_that_somebody_asked_for() {
    let disk = SimulatedDisk::new(4096);
    let mut store = begin(&disk, 1);
    let asked = |step| Snapshot { is_due: false, ..snapshot(step, true) };
    let kept = |store: &mut Store, snapshot: &Snapshot| {
        store.commit(snapshot).unwrap();
        store.drop_oldest().unwrap();
        store.kept.clone()
    };
    assert_eq!(kept(&mut store, &snapshot(0, true)), [1]);
    assert_eq!(kept(&mut store, &asked(1)), [2]);
    // Nobody goes back to one so far.
    assert_eq!(kept(&mut store, &snapshot(2, true)), [3]);
    store.guard_due();
    assert_eq!(kept(&mut store, &asked(3)), [3, 4]);
    assert_eq!(kept(&mut store, &asked(4)), [3, 5]);
    assert_eq!(kept(&mut store, &snapshot(5, true)), [6]);
    assert_eq!(kept(&mut store, &asked(6)), [6, 7]);
    let found = store.newest_due(&mut Vec::new()).unwrap().unwrap();
    assert_eq!((found.manifest.number, &store.kept), (6, &vec![6, 7]));
}

#[test]
fn a_run_that_is_removed_leaves_nothing_but_what_others_made() {
    let disk = SimulatedDisk::new(4096);
    let mut store = begin(&disk, 2);
    for step in 0..4 {
        store.commit(&snapshot(step, true)).unwrap();
        store.drop_oldest().unwrap();
    }
    let notes = Path::new(FOLDER).join("notes.txt");
    Files::on(disk.clone()).write_atomically(&notes, b"mine").unwrap();
    store.remove_all().unwrap();
    let left: Vec<_> = disk.contents().into_keys().collect();
    assert_eq!(left, [Path::new(FOLDER), &notes]);
}

#[test]
fn folders_of_nearly_the_name_of_one_that_is_being_written_are_somebody_elses() {
    let disk = SimulatedDisk::new(4096);
    let store = begin(&disk, 1);
    let run = store.run();
    let own = tmp(&store.files, &store.checkpoints(), run, 17).unwrap();
    assert!(is_tmp(own.file_name().unwrap().to_str().unwrap()));
    assert!(is_tmp(&format!("{TMP}{run}-000017-1")));
    for other in [
        String::new(),
        TMP.to_owned(),
        run.to_owned(),
        format!("{run}-000017-1"),
        format!("{TMP}{run}"),
        format!("{TMP}{run}-000017"),
        format!("{TMP}{run}-000017-"),
        format!("{TMP}{run}-000017-one"),
        format!("{TMP}{run}-best-1"),
        format!("{TMP}{run}-000017-1-1"),
        format!("{TMP}no tes-000017-1"),
        format!("{TMP}-000017-1"),
    ] {
        assert!(!is_tmp(&other), "{other:?}");
    }
}

#[test]
fn a_run_is_locked_as_long_as_its_store_lives() {
    let disk = SimulatedDisk::new(4096);
    let files = Files::on(disk.clone());
    let is_locked = || is_locked(&files, Path::new(FOLDER)).unwrap();
    assert!(!is_locked());
    let store = begin(&disk, 1);
    assert!(is_locked());
    drop(store);
    assert!(!is_locked());
}

#[test]
fn a_file_that_cannot_be_looked_at_is_not_taken_for_one_that_is_missing() {
    let disk = SimulatedDisk::new(4096);
    let files = Files::on(disk.clone());
    let path = Path::new("/journal.jsonl");
    assert!(!is_regular_file(&files, path).unwrap());
    let next = disk.operations().len();
    disk.fail_at(next, Failure { errno: 13, lasts: false, part: 0 });
    let error = is_regular_file(&files, path).unwrap_err().to_string();
    assert!(error.contains("/journal.jsonl"), "{error}");
}

#[test]
fn the_number_of_one_in_quarantine_is_not_used_again() {
    let disk = SimulatedDisk::new(4096);
    let files = Files::on(disk.clone());
    let store = begin(&disk, 1);
    drop(store);
    let quarantine = Path::new(FOLDER).join(QUARANTINE);
    // Of a journal that was cut off, and with a second of the same number beside it.
    for damaged in ["000009", "000011-2", "notes"] {
        files.create_folders(&quarantine.join(damaged)).unwrap();
    }
    let recovered = Store::recover(&files, Path::new(FOLDER), 1).unwrap();
    assert_eq!(recovered.store.next, 12);
}

#[test]
fn the_checkpoint_of_another_run_is_not_counted_and_not_dropped() {
    let disk = SimulatedDisk::new(4096);
    let files = Files::on(disk.clone());
    let commit = |store: &mut Store, steps| {
        for step in 0..steps {
            store.commit(&snapshot(step, true)).unwrap();
        }
    };
    let mut store = begin(&disk, 9);
    commit(&mut store, 3);
    let mut other = Store::begin(&files, Path::new("/other"), 9, false, || Ok(())).unwrap();
    commit(&mut other, 1);
    let (of_run, of_other) =
        (store.checkpoints().join("000001"), other.checkpoints().join("000001"));
    drop((store, other));
    files.disk().rename(&of_run, Path::new("/elsewhere")).unwrap();
    files.disk().rename(&of_other, &of_run).unwrap();

    let mut store = Store::recover(&files, Path::new(FOLDER), 1).unwrap().store;
    assert_eq!(store.kept, [2, 3]);
    commit(&mut store, 1);
    store.drop_oldest().unwrap();
    drop(store);
    let left: Vec<String> = files_of_checkpoints(&disk);
    let folders: Vec<&str> =
        left.iter().filter_map(|path| path.strip_suffix("/manifest.json")).collect();
    assert_eq!(folders, ["000001", "000004"]);
}

#[test]
fn one_that_somebody_has_removed_counts_as_dropped() {
    let disk = SimulatedDisk::new(4096);
    let mut store = begin(&disk, 1);
    store.commit(&snapshot(0, true)).unwrap();
    let first = store.checkpoints().join("000001");
    disk.rename(&first, Path::new("/elsewhere")).unwrap();
    store.commit(&snapshot(1, true)).unwrap();
    store.drop_oldest().unwrap();
    assert_eq!(store.kept, [2]);
}

#[test]
fn one_whose_name_cannot_be_taken_is_told_and_tried_again() {
    let disk = SimulatedDisk::new(4096);
    let mut store = begin(&disk, 1);
    for step in 0..2 {
        store.commit(&snapshot(step, true)).unwrap();
    }
    // Behind the search for a free name.
    let rename = disk.operations().len() + 1;
    disk.fail_at(rename, Failure { errno: 5, lasts: false, part: 0 });
    assert!(store.drop_oldest().is_err());
    assert_eq!(disk.operations()[rename].call, Call::Rename);
    assert_eq!(store.kept, [1, 2]);
    store.drop_oldest().unwrap();
    assert_eq!(store.kept, [2]);
}
