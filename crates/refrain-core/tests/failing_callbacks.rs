//! Callbacks that fail or panic, in any hook or where their state is saved, cost no checkpoint, and
//! the run can be gone on with.

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use refrain_core::callbacks::{
    CsvLogger, EarlyStopping, JsonTrainingLogger, ReduceLrOnPlateau, TensorBoard, TimeLimit,
    UpdateFreq,
};
use refrain_core::checkpoint::{Checkpoints, Every, JournalText, OnSaveFailure, Record};
use refrain_core::console::Console;
use refrain_core::event::Hook;
use refrain_core::{
    Access, Callback, CallbackExt as _, EpochEnd, Error, Fit, Monitor, Result, Run, State, TestEnd,
    Trainer,
};
use support::{BATCHES, Bench, EPOCHS, How, StopAt, folder, script};

type Callbacks = Vec<Box<dyn Callback>>;

fn callbacks(folder: &Path) -> Callbacks {
    let board = TensorBoard::new(folder.join("board")).update_freq(UpdateFreq::Every(3));
    vec![
        Box::new(ReduceLrOnPlateau::new(Monitor::min("val_loss")).patience(1)),
        Box::new(
            EarlyStopping::new(Monitor::min("val_loss")).patience(4).restore_best_weights(true),
        ),
        Box::new(JsonTrainingLogger::new(folder.join("log.json")).verbose(false)),
        Box::new(CsvLogger::new(folder.join("log.csv"))),
        Box::new(board),
    ]
}

#[test]
fn a_run_that_a_callback_ended_at_any_hook_goes_on_to_the_same_bits() {
    std::panic::set_hook(Box::new(|_| {}));
    for every in [Every::Epochs(1), Every::Steps(7)] {
        let build = |folder: &Path| callbacks(folder);
        let learner = || script().learner();
        let bench = Bench::over(format!("failures, {every:?}"), &build, learner, every);
        for hook in Hook::ALL {
            let times = bench.times(hook);
            // The first and last few, and some in between.
            for nth in (1..=times).filter(|nth| *nth < 4 || nth % 9 == 0 || nth + 2 > times) {
                for how in [How::Error, How::Panic] {
                    bench.check(&[StopAt::new(hook, nth).how(how)]);
                }
            }
            if times > 0 {
                let fails = StopAt::new(hook, 1).how(How::Error);
                let panics = StopAt::new(hook, 1).how(How::Panic);
                bench.check(&[fails, panics, StopAt::new(Hook::TrainBatchEnd, 12)]);
            }
        }
    }
    let _ = std::panic::take_hook();
}

/// Its state cannot be saved from the third epoch on.
struct Unsaveable {
    panics: bool,
    epochs: usize,
}

impl Callback for Unsaveable {
    fn on_epoch_end(&mut self, _: &mut Run<'_>, _: &mut EpochEnd<'_>) -> Result {
        self.epochs += 1;
        Ok(())
    }
    // In validations too, in front of which its state is kept.
    fn on_test_end(&mut self, _: &mut Run<'_>, _: &TestEnd<'_>) -> Result {
        Ok(())
    }
    fn access(&self) -> Access {
        Access::new().acts_in([Hook::EpochEnd, Hook::TestEnd])
    }
    fn save_state(&self) -> Result<Option<State>> {
        if self.epochs >= 2 {
            assert!(!self.panics, "as planned");
            return Err(Error::msg("as planned"));
        }
        State::new(&self.epochs).map(Some)
    }
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.epochs = State::load_or_default(saved)?;
        Ok(())
    }
}

fn trainer(
    folder: &Path,
    policy: OnSaveFailure,
    callback: impl Callback,
) -> (Trainer<refrain_core::testing::ScriptLearner>, refrain_core::console::Text) {
    let (console, printed) = Console::memory();
    let checkpoints = Checkpoints::in_dir(folder).on_failure(policy).wait(true);
    let trainer = Trainer::new(script().learner(), 0.1)
        .console(console)
        .checkpoints(checkpoints)
        .callback(callback);
    (trainer, printed)
}

fn fit(
    trainer: &mut Trainer<refrain_core::testing::ScriptLearner>,
) -> Result<refrain_core::History> {
    let validation = script().samples(3);
    let fit = Fit::epochs(EPOCHS).batch_size(1).validation_data(&validation).verbose(0);
    trainer.fit(&script().samples(BATCHES), fit)
}

fn epochs_of_the_newest(folder: &Path) -> usize {
    let (mut again, _) =
        trainer(folder, OnSaveFailure::Abort, Unsaveable { panics: false, epochs: 0 });
    again.resume().unwrap().epochs()
}

#[test]
fn a_state_that_cannot_be_saved_fails_the_checkpoint_as_the_policy_says() {
    std::panic::set_hook(Box::new(|_| {}));
    for (panics, said) in [
        (false, "state of callback `unsaveable`: as planned"),
        (true, "state of callback `unsaveable`: panicked: as planned"),
    ] {
        // Ends after the epoch, which is in the log.
        let dir = folder();
        let callback = Unsaveable { panics, epochs: 0 };
        let (mut failed, printed) = trainer(dir.path(), OnSaveFailure::Abort, callback);
        let error = fit(&mut failed).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(failed.history().len(), 2);
        assert!(printed.contents().contains(said), "{}", printed.contents());
        drop(failed);
        let journal = std::fs::read(dir.path().join("journal.jsonl")).unwrap();
        let journal = JournalText::parse(&journal);
        assert_eq!(journal.epochs().len(), 2);
        assert!(matches!(
            &journal.entries.last().unwrap().record,
            Record::End { outcome, reason: Some(reason), .. }
                if outcome == "failed" && reason.contains(said)
        ));
        assert_eq!(epochs_of_the_newest(dir.path()), 1);

        // Goes on, and says so each time.
        let dir = folder();
        let callback = Unsaveable { panics, epochs: 0 };
        let (mut warned, printed) = trainer(dir.path(), OnSaveFailure::Warn, callback);
        assert_eq!(fit(&mut warned).unwrap().len(), EPOCHS);
        let warnings = printed.contents();
        assert!(warnings.lines().count() >= EPOCHS - 1, "{warnings}");
        assert!(warnings.lines().all(|line| line.contains(said)), "{warnings}");
        drop(warned);
        assert_eq!(epochs_of_the_newest(dir.path()), 1);
    }
    let _ = std::panic::take_hook();
}

/// Its state cannot be loaded.
struct Unloadable {
    panics: bool,
}

impl Callback for Unloadable {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        "unloadable".into()
    }
    fn save_state(&self) -> Result<Option<State>> {
        State::new(&1).map(Some)
    }
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        assert!(!(self.panics && saved.is_some()), "as planned");
        if saved.is_some() { Err(Error::msg("as planned")) } else { Ok(()) }
    }
}

#[test]
fn a_state_that_cannot_be_loaded_refuses_the_run_and_is_named() {
    std::panic::set_hook(Box::new(|_| {}));
    for panics in [false, true] {
        let dir = folder();
        let make = || trainer(dir.path(), OnSaveFailure::Abort, Unloadable { panics }).0;
        fit(&mut make()).unwrap();
        let mut again = make();
        again.resume().unwrap();
        let error = fit(&mut again).unwrap_err().to_string();
        assert!(error.contains("state of callback `unloadable`"), "{error}");
        assert!(error.contains("as planned"), "{error}");
        drop(again);
        // It is all still there.
        assert_eq!(make().resume().unwrap().epochs(), EPOCHS);
    }
    let _ = std::panic::take_hook();
}

/// Writes epochs down, and hangs in one of them.
struct Hangs {
    in_epoch: usize,
    seen: Arc<Mutex<Vec<usize>>>,
    state: usize,
}

impl Callback for Hangs {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        "hangs".into()
    }
    fn on_epoch_end(&mut self, run: &mut Run<'_>, _: &mut EpochEnd<'_>) -> Result {
        if run.progress.epoch == self.in_epoch {
            std::thread::sleep(Duration::from_millis(400));
        }
        self.state += 1;
        self.seen.lock().unwrap().push(run.progress.epoch);
        Ok(())
    }
    fn access(&self) -> Access {
        Access::new().acts_in([Hook::EpochEnd]).observes()
    }
    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.state).map(Some)
    }
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.state = State::load_or_default(saved)?;
        Ok(())
    }
}

#[test]
fn checkpoints_wait_for_the_background_and_outlive_one_that_hangs() {
    for (in_epoch, states) in [(100, 4), (2, 2)] {
        let dir = folder();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hangs = Hangs { in_epoch, seen: Arc::clone(&seen), state: 0 };
        let hangs = hangs.background().flush_within(Duration::from_millis(50));
        let (mut cut, printed) = trainer(dir.path(), OnSaveFailure::Abort, hangs);
        let stopper = cut.stop_handle();
        cut = cut.callback(refrain_core::LambdaCallback::new("stops").on_epoch_begin(move |run| {
            if run.progress.epoch == 4 {
                stopper.stop();
            }
            Ok(())
        }));
        fit(&mut cut).unwrap();
        assert_eq!(cut.disabled().count(), usize::from(in_epoch == 2), "{}", printed.contents());
        drop(cut);
        let newest = std::fs::read_dir(dir.path().join("checkpoints")).unwrap();
        let newest = newest.map(|entry| entry.unwrap().path()).max().unwrap();
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(newest.join("state.json")).unwrap()).unwrap();
        // What it had when the last checkpoint that it was in time for was taken.
        assert_eq!(state["callbacks"][0]["state"], states, "{in_epoch}");
    }
}

#[test]
fn time_that_was_spent_is_spent_though_the_run_goes_back() {
    let mut limit = TimeLimit::new(Duration::from_secs(3600));
    limit.load_state(None).unwrap();
    let mut stage = refrain_core::testing::Stage::new(&script(), 2);
    while stage.next_hook() != Some(Hook::EpochEnd) {
        stage.step(&mut limit).unwrap();
    }
    let at_checkpoint = limit.save_state().unwrap();
    std::thread::sleep(Duration::from_millis(5));
    stage.step(&mut limit).unwrap();
    let used = limit.used();
    // Back: the run's clock goes on.
    limit.load_state(at_checkpoint.as_ref()).unwrap();
    stage.tell(&mut limit, Hook::TrainBegin).unwrap();
    stage.step(&mut limit).unwrap();
    while stage.next_hook() != Some(Hook::EpochEnd) {
        stage.step(&mut limit).unwrap();
    }
    assert!(limit.used() >= used && limit.used() < used + 60.0);
}

#[test]
fn lines_of_a_run_that_goes_on_in_an_epoch_count_its_batches() {
    let dir = folder();
    let run = |stop: StopAt| {
        let (console, printed) = Console::memory();
        let (stopper, handle) = stop.callback();
        let mut trainer = Trainer::new(script().learner(), 0.1)
            .console(console)
            .checkpoints(Checkpoints::in_dir(dir.path()))
            .stop_with(handle)
            .callbacks([stopper]);
        trainer.resume().unwrap();
        let fit = Fit::epochs(3).batch_size(1).verbose(2);
        trainer.fit(&script().samples(BATCHES), fit).unwrap();
        printed.contents()
    };
    let cut = run(StopAt::new(Hook::TrainBatchEnd, 14));
    assert!(cut.contains("saved in epoch 2 (step 14)"), "{cut}");
    let resumed = run(StopAt::never());
    let lines: Vec<&str> = resumed.lines().collect();
    let begins = lines[0].starts_with("resuming at epoch 2, batch 5 (step 14) from checkpoint ");
    assert!(begins, "{resumed}");
    assert!(lines[1].starts_with("Epoch 2/3 - 10/10 - 0s - "), "{resumed}");
    assert!(lines[2].starts_with("Epoch 3/3 - 10/10 - 0s - "), "{resumed}");
}
