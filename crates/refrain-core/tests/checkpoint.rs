//! Runs that are cut short anywhere and go on: to the same bits.

use std::path::Path;
use std::sync::{Arc, Mutex};

use refrain_core::callbacks::{EarlyStopping, JsonTrainingLogger, ReduceLrOnPlateau};
use refrain_core::checkpoint::{Checkpoints, Every};
use refrain_core::testing::{Curve, Script, ScriptLearner};
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
