//! Runs that are cut short anywhere and go on: to the same bits.

use std::path::Path;
use std::sync::{Arc, Mutex};

use refrain_core::callbacks::{EarlyStopping, JsonTrainingLogger, ReduceLrOnPlateau};
use refrain_core::checkpoint::{Checkpoints, Every, JournalText, OnSaveFailure, Part, Record};
use refrain_core::console::Console;
use refrain_core::files::{Disk as _, Files};
use refrain_core::testing::{
    Call, Curve, Failure, Operation, Script, ScriptLearner, SimulatedDisk,
};
use refrain_core::{
    BatchEnd, Callback, Ending, Fit, LambdaCallback, ModelAccess as _, Monitor, Result, Run,
    StopHandle, Trainer,
};

const EPOCHS: usize = 6;
const BATCHES: usize = 10;

fn script() -> Script {
    Script::curves([
        ("loss", Curve::decreasing(EPOCHS)),
        ("val_loss", Curve::values(&[0.9, 0.8, 0.85, 0.82, 0.81, 0.9])),
    ])
}

fn trainer(folder: &Path, every: Every) -> Trainer<ScriptLearner> {
    Trainer::new(script().learner(), 0.1)
        .checkpoints(Checkpoints::in_dir(folder).every(every).wait(true))
        .callback(ReduceLrOnPlateau::new(Monitor::min("val_loss")).patience(1))
        .callback(
            EarlyStopping::new(Monitor::min("val_loss")).patience(4).restore_best_weights(true),
        )
        .callback(JsonTrainingLogger::new(folder.join("log.json")).verbose(false))
}

/// Stops from outside after so many batches of this process.
struct StopAfter(usize, StopHandle);

impl Callback for StopAfter {
    fn on_train_batch_end(&mut self, _: &mut Run<'_>, _: &BatchEnd) -> Result {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.stop();
        }
        Ok(())
    }
}

fn fit(trainer: &mut Trainer<ScriptLearner>) -> Ending {
    let script = script();
    let (data, validation) = (script.samples(BATCHES), script.samples(2));
    let fit = Fit::epochs(EPOCHS).batch_size(1).validation_data(&validation).verbose(0);
    trainer.fit(&data, fit).unwrap().ending
}

/// What a run leaves: weights, optimizer, log without clocks, history, rate.
fn result(trainer: &Trainer<ScriptLearner>, folder: &Path) -> String {
    let log = std::fs::read(folder.join("log.json")).unwrap();
    let mut log: Vec<serde_json::Value> = serde_json::from_slice(&log).unwrap();
    for entry in &mut log {
        entry.as_object_mut().unwrap().remove("timestamp");
    }
    let learner = trainer.learner();
    format!(
        "{:?} {:?} {:?} {:?} {log:?}",
        learner.weights().unwrap(),
        learner.optimizer_state().unwrap(),
        trainer.history(),
        trainer.learning_rate()
    )
}

#[test]
fn a_run_goes_on_from_every_step_to_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    let mut uninterrupted = trainer(whole.path(), Every::Steps(1))
        .callback(StopAfter(usize::MAX, StopHandle::default()));
    fit(&mut uninterrupted);
    let expected = result(&uninterrupted, whole.path());
    for first in 1..EPOCHS * BATCHES {
        let folder = tempfile::tempdir().unwrap();
        let stop = StopHandle::default();
        let mut cut = trainer(folder.path(), Every::Epochs(2))
            .stop_with(stop.clone())
            .callback(StopAfter(first, stop));
        assert_eq!(fit(&mut cut), Ending::Interrupted, "{first}");
        drop(cut);
        let mut resumed = trainer(folder.path(), Every::Epochs(2))
            .callback(StopAfter(usize::MAX, StopHandle::default()));
        let point = resumed.resume().unwrap();
        assert_eq!(point.step(), first as u64);
        fit(&mut resumed);
        assert_eq!(result(&resumed, folder.path()), expected, "after step {first}");
    }
}

#[test]
fn a_second_run_in_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let script = script();
    let mut first = trainer(folder.path(), Every::Epochs(1));
    let refused = Arc::new(Mutex::new(Vec::new()));
    let (errors, path) = (Arc::clone(&refused), folder.path().to_owned());
    first = first.callback(LambdaCallback::new("second").on_epoch_end(move |_, _| {
        let mut second = trainer(&path, Every::Epochs(1));
        errors.lock().unwrap().push(second.resume().unwrap_err().to_string());
        Ok(())
    }));
    let validation = script.samples(2);
    let options = Fit::epochs(1).validation_data(&validation).verbose(0);
    first.fit(&script.data(), options).unwrap();
    let errors = refused.lock().unwrap();
    let process = format!("is in use by process {} since ", std::process::id());
    assert!(errors[0].contains(&process), "{}", errors[0]);
    // Given back when the run has ended.
    let mut third = trainer(folder.path(), Every::Epochs(1));
    assert_eq!(third.resume().unwrap().epochs(), 1);
}

#[test]
fn a_folder_that_is_held_stays_so_after_the_run() {
    for holds in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = || Checkpoints::in_dir(folder.path()).hold(holds);
        let fit = |trainer: &mut Trainer<ScriptLearner>| {
            trainer.fit(&script().data(), Fit::epochs(2).verbose(0)).map(drop)
        };
        let mut first = Trainer::new(script().learner(), 0.1).checkpoints(checkpoints());
        assert!(!first.holds_folder());
        fit(&mut first).unwrap();
        assert_eq!(first.holds_folder(), holds);
        let mut second = Trainer::new(script().learner(), 0.1).checkpoints(checkpoints());
        let refused = second.resume().err().map(|error| error.to_string());
        assert_eq!(refused.is_some_and(|error| error.contains("is in use by")), holds);
        // The first may go on with it, and gives it back when it is dropped.
        drop(second);
        first.resume().unwrap();
        drop(first);
        let mut third = Trainer::new(script().learner(), 0.1).checkpoints(checkpoints());
        assert_eq!(third.resume().unwrap().epochs(), 2);
    }
}

#[test]
fn another_rate_is_listed_and_where_accepted_it_is_used() {
    let train = |epochs, trainer: &mut Trainer<ScriptLearner>| -> Result {
        trainer.fit(&script().data(), Fit::epochs(epochs).verbose(0)).map(drop)
    };
    let trainer = |folder: &Path, rate: f64, accepts| {
        let checkpoints = Checkpoints::in_dir(folder).accept_changes(accepts);
        Trainer::new(script().learner(), rate).checkpoints(checkpoints)
    };
    // With a factor of its own and with a base that was moved: in the same proportion.
    let halves = || {
        LambdaCallback::new("halves").on_epoch_end(|run, _| {
            let base = run.learning_rate.base();
            run.learning_rate.set_base(base / 2.0)
        })
    };
    for moves in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let with = |rate, accepts| {
            let trainer = trainer(dir, rate, accepts);
            if moves { trainer.callback(halves()) } else { trainer }
        };
        train(2, &mut with(0.5, false)).unwrap();
        let mut other = with(0.25, false);
        other.resume().unwrap();
        let error = train(3, &mut other).unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().contains("learning_rate: 0.5 → 0.25"), "{error}");
        drop(other);
        let mut accepted = with(0.25, true);
        accepted.resume().unwrap();
        train(3, &mut accepted).unwrap();
        let expected = if moves { [0.5, 0.25, 0.0625] } else { [0.5, 0.5, 0.25] };
        assert_eq!(accepted.history().column("learning_rate"), expected.map(Some));
    }
}

#[test]
fn a_checkpoint_that_could_not_be_written_is_in_the_journal() {
    let trainer = |disk: &SimulatedDisk| {
        let checkpoints = Checkpoints::in_dir("/run").on_failure(OnSaveFailure::Warn).wait(true);
        let files = Files::on(disk.clone());
        Trainer::new(script().learner(), 0.1).files(files).checkpoints(checkpoints)
    };
    let fit = || Fit::epochs(3).verbose(0);
    let is_rename = |op: &Operation| op.call == Call::Rename;
    let disk = SimulatedDisk::new(512);
    trainer(&disk).fit(&script().data(), fit()).unwrap();
    let renames: Vec<usize> =
        (0..).zip(disk.operations()).filter(|(_, op)| is_rename(op)).map(|(i, _)| i).collect();
    // The last checkpoint of a run that goes the same way.
    let at = *renames.iter().rev().nth(1).unwrap();
    let disk = SimulatedDisk::new(512);
    disk.fail_at(at, Failure { errno: 28, lasts: false, part: 0 });
    let (console, text) = Console::memory();
    trainer(&disk).console(console).fit(&script().data(), fit()).unwrap();
    assert!(text.contents().contains("warning: checkpoint 000003"), "{}", text.contents());
    let journal = JournalText::parse(&disk.read(Path::new("/run/journal.jsonl")).unwrap());
    let unsaved: Vec<_> = (journal.entries.iter())
        .filter_map(|entry| match &entry.record {
            Record::Unsaved { step, reason } => Some((*step, reason.contains("000003"))),
            _ => None,
        })
        .collect();
    assert_eq!(unsaved, [(3, true)]);
}

#[test]
fn a_stop_is_forgotten_where_changed_settings_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let trainer = |accepts| {
        let checkpoints = Checkpoints::in_dir(folder.path()).accept_changes(accepts);
        Trainer::new(script().learner(), 0.1).checkpoints(checkpoints)
    };
    let impatient = LambdaCallback::new("impatient").on_epoch_end(|run, _| {
        run.stop("enough");
        Ok(())
    });
    let fit = || Fit::epochs(3).verbose(0);
    trainer(false).callback(impatient).fit(&script().data(), fit()).unwrap();
    let mut goes_on = trainer(true);
    assert_eq!(goes_on.resume().unwrap().epochs(), 1);
    let history = goes_on.fit(&script().data(), fit()).unwrap();
    assert_eq!((history.len(), history.ending), (3, Ending::Completed));
}

#[test]
fn an_interrupted_run_is_saved_though_no_checkpoints_are_due() {
    let folder = tempfile::tempdir().unwrap();
    let stop = StopHandle::default();
    let mut cut = trainer(folder.path(), Every::Epochs(0))
        .stop_with(stop.clone())
        .callback(StopAfter(7, stop));
    assert_eq!(fit(&mut cut), Ending::Interrupted);
    drop(cut);
    let mut resumed = trainer(folder.path(), Every::Epochs(0));
    assert_eq!(resumed.resume().unwrap().step(), 7);
}

#[test]
fn options_are_checked_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let in_dir = || Checkpoints::in_dir(&path);
    let cases = [
        (Checkpoints::in_dir(""), "the folder of the checkpoints is empty"),
        (in_dir().keep(0), "keep is 0"),
        (in_dir().every(Every::Seconds(0.0)), "every 0 seconds"),
        (in_dir().every(Every::Seconds(-1.0)), "every -1 seconds"),
        (in_dir().every(Every::Seconds(f64::NAN)), "every NaN seconds"),
        (in_dir().every(Every::Seconds(f64::INFINITY)), "every inf seconds"),
    ];
    for (checkpoints, expected) in cases {
        let mut trainer = Trainer::new(script().learner(), 0.1).checkpoints(checkpoints);
        let error = trainer.fit(&script().data(), Fit::epochs(1).verbose(0)).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(expected), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn by_the_clock_one_is_due_when_the_time_has_passed() {
    // After every batch, and at the end alone.
    for (seconds, expected) in [(1e-9, 30..=33), (1e9, 1..=1)] {
        let folder = tempfile::tempdir().unwrap();
        let script = script();
        let checkpoints = Checkpoints::in_dir(folder.path()).every(Every::Seconds(seconds));
        let mut timed = Trainer::new(script.learner(), 0.1).checkpoints(checkpoints.wait(true));
        timed.fit(&script.samples(10), Fit::epochs(3).batch_size(1).verbose(0)).unwrap();
        let journal = std::fs::read(folder.path().join("journal.jsonl")).unwrap();
        let entries = JournalText::parse(&journal).entries;
        let taken = entries.iter().filter(|e| matches!(e.record, Record::Checkpoint { .. }));
        let taken = taken.count();
        assert!(expected.contains(&taken), "{seconds}: {taken}");
    }
}

/// Notes on files are durable before the files are written, also of a run that goes on; and after its
/// end, where the folder is held.
#[test]
fn files_are_noted_before_they_are_written() {
    let noted = |folder: &Path| -> Vec<Part> {
        let bytes = std::fs::read(folder.join("journal.jsonl")).unwrap_or_default();
        let files = JournalText::parse(&bytes).entries.into_iter().filter_map(|entry| {
            let Record::Files { files } = entry.record else { return None };
            Some(files)
        });
        files.flatten().collect()
    };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let part = |text: &str| Part::of("notes.txt", text.as_bytes());
    let with_notes = |text: &'static str, batches: usize| {
        let stop = StopHandle::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let prepare = {
            let (seen, folder) = (Arc::clone(&seen), folder.clone());
            move |files: &Files| {
                *seen.lock().unwrap() = noted(&folder);
                files.write_atomically(&folder.join("notes.txt"), text.as_bytes())
            }
        };
        let mut trainer = Trainer::new(script().learner(), 0.1)
            .checkpoints(Checkpoints::in_dir(&folder).wait(true).hold(true))
            .stop_with(stop.clone())
            .prepare_folder(prepare)
            .callback(StopAfter(batches, stop));
        trainer.note_files(vec![part(text)]).unwrap();
        (trainer, seen)
    };
    let (mut first, _) = with_notes("one", BATCHES + 3);
    assert_eq!(fit(&mut first), Ending::Interrupted);
    assert_eq!(noted(&folder), [part("one")]);
    drop(first);

    let (mut second, seen) = with_notes("two", usize::MAX);
    second.resume().unwrap();
    assert_eq!(fit(&mut second), Ending::Completed);
    assert_eq!(*seen.lock().unwrap(), [part("one"), part("two")]);
    second.note_files(vec![part("three")]).unwrap();
    assert_eq!(noted(&folder), [part("one"), part("two"), part("three")]);
}

#[test]
fn after_the_last_epoch_only_the_end_is_left() {
    let place = tempfile::tempdir().unwrap();
    let (console, lines) = Console::memory();
    let trainer = || {
        let checkpoints = Checkpoints::in_dir(place.path()).every(Every::Epochs(1)).wait(true);
        Trainer::new(script().learner(), 0.1).checkpoints(checkpoints)
    };
    assert_eq!(fit(&mut trainer()), Ending::Completed);
    let mut resumed = trainer().console(console);
    resumed.resume().unwrap();
    let script = script();
    let (data, validation) = (script.samples(BATCHES), script.samples(2));
    let options = Fit::epochs(EPOCHS).batch_size(1).validation_data(&validation).verbose(1);
    resumed.fit(&data, options).unwrap();
    let lines = lines.contents();
    assert!(
        lines.contains("resuming after epoch 6, the last (step 60) from checkpoint"),
        "{lines}"
    );
}

/// How the run in this folder begins anew, where nothing was said about it.
fn refusal(folder: &Path) -> String {
    let script = script();
    let (data, validation) = (script.samples(BATCHES), script.samples(2));
    let fit = Fit::epochs(EPOCHS).batch_size(1).validation_data(&validation).verbose(0);
    trainer(folder, Every::Epochs(2)).fit(&data, fit).unwrap_err().to_string()
}

#[test]
fn a_run_without_a_checkpoint_or_without_a_journal_is_one() {
    for left in ["journal.jsonl", "checkpoints"] {
        let folder = tempfile::tempdir().unwrap();
        fit(&mut trainer(folder.path(), Every::Epochs(2)));
        for name in ["journal.jsonl", "checkpoints"].into_iter().filter(|name| *name != left) {
            let path = folder.path().join(name);
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        let refusal = refusal(folder.path());
        assert!(refusal.contains("already holds a run"), "{left}: {refusal}");
    }
}

#[test]
fn a_number_in_the_journal_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = || -> Vec<u64> {
        let journal = std::fs::read(folder.path().join("journal.jsonl")).unwrap();
        let entries = JournalText::parse(&journal).entries;
        let number = |record| match record {
            Record::Checkpoint { number, .. } => Some(number),
            _ => None,
        };
        entries.into_iter().filter_map(|entry| number(entry.record)).collect()
    };
    fit(&mut trainer(folder.path(), Every::Epochs(2)));
    let before = numbers();
    assert!(before.len() > 1, "{before:?}");
    // As a backup that left out what is large.
    std::fs::remove_dir_all(folder.path().join("checkpoints")).unwrap();
    let mut again = trainer(folder.path(), Every::Epochs(2));
    again.resume().unwrap();
    fit(&mut again);
    let after = numbers();
    assert!(after.len() > before.len());
    assert!(after.windows(2).all(|two| two[0] < two[1]), "{after:?}");
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn where_fewer_are_kept_than_before_the_others_go_without_a_trace() {
    let place = tempfile::tempdir().unwrap();
    let options =
        |keep| Checkpoints::in_dir(place.path()).every(Every::Epochs(1)).keep(keep).wait(true);
    let trainer = |keep| Trainer::new(script().learner(), 0.1).checkpoints(options(keep));
    let until = |trainer: &mut Trainer<ScriptLearner>, epochs: usize| {
        let (data, validation) = (script().samples(BATCHES), script().samples(2));
        let fit = Fit::epochs(epochs).batch_size(1).validation_data(&validation).verbose(0);
        trainer.fit(&data, fit).unwrap();
    };
    let checkpoints = place.path().join("checkpoints");
    until(&mut trainer(4), 5);
    assert_eq!(names(&checkpoints), ["000002", "000003", "000004", "000005"]);
    let mut fewer = trainer(1);
    fewer.resume().unwrap();
    until(&mut fewer, EPOCHS);
    assert_eq!(names(&checkpoints), ["000006"]);
}
