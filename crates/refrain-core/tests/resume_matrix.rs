//! Every callback of the registry, plain and in wrappers, in a run that is cut short at every step and
//! gone on with: weights, optimizer, states, rate, history, ending and files are those of a run that
//! was not.
//!
//! The short form takes every step for the plain ones, and a spread of them elsewhere.
//!
//! What differs between two runs that are the same (clocks, speeds) is not compared.

mod length;
mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use length::stride;
use refrain_core::callbacks::{
    CsvLogger, EarlyStopping, GradientAccumulation, JsonTrainingLogger, ReduceLrOnPlateau,
    SwapEmaWeights, TensorBoard, UpdateFreq,
};
use refrain_core::checkpoint::{Checkpoints, Every, SaveHandle};
use refrain_core::event::Hook;
use refrain_core::options::Document;
use refrain_core::{
    BuildContext, Callback, CallbackExt as _, CallbackRegistry, Error, Fit, LambdaCallback,
    Monitor, OnFailure, Result, Run, Trainer,
};
use support::{BATCHES, Bench, EPOCHS, STEPS, StopAt, script};

type Callbacks = Vec<Box<dyn Callback>>;

/// Each registered callback with these keys, from the example in its `FromOptions`.
fn each_registered(more: &str, check: impl Fn(&str, &dyn Fn(&Path) -> Callbacks)) {
    let registry = CallbackRegistry::builtin();
    let mut checked = 0;
    for name in registry.names() {
        let example = registry.example(name).unwrap_or_default();
        let text = format!("type = {name:?}\n{more}\n{example}");
        let table: toml::Table = text.parse().unwrap();
        let document = Document::from_json("the example", &serde_json::to_value(table).unwrap());
        let build = |folder: &Path| registry.build(&document.value(), 0, &BuildContext { folder });
        // In the background some are refused, `every_steps` others.
        if build(Path::new("")).is_err() {
            continue;
        }
        checked += 1;
        check(name, &|folder| vec![build(folder).unwrap_or_else(|e| panic!("{name}: {e}"))]);
    }
    // The core alone, without its features, has five that can go into the background.
    assert!(checked >= 5, "{checked}");
}

/// Beside the one that is looked at: the rate moves, so that there is something to decide.
fn with_company(callbacks: Callbacks) -> Callbacks {
    let plateau = ReduceLrOnPlateau::new(Monitor::min("val_loss")).patience(1).named("company");
    std::iter::once(Box::new(plateau) as Box<dyn Callback>).chain(callbacks).collect()
}

fn goes_on_from_every_step(more: &str) {
    let stride = if more.is_empty() { 1 } else { stride(7) };
    each_registered(more, |name, build| {
        let build = |folder: &Path| with_company(build(folder));
        let bench = Bench::new(format!("{name} {more:?}"), &build);
        for step in (1..STEPS).step_by(stride) {
            bench.check(&[StopAt::new(Hook::TrainBatchEnd, step)]);
        }
    });
}

#[test]
fn every_callback_goes_on_from_every_step() {
    goes_on_from_every_step("");
}

#[test]
fn every_callback_goes_on_from_every_step_in_every_second_epoch() {
    goes_on_from_every_step("every = 2\nname = \"another\"");
}

#[test]
fn every_callback_goes_on_from_every_step_in_every_third_step() {
    goes_on_from_every_step("every_steps = 3\non_failure = \"disable\"");
}

#[test]
fn every_callback_goes_on_from_every_step_once_after_two_epochs() {
    goes_on_from_every_step("after = 2\nonce = true");
}

#[test]
fn every_callback_goes_on_from_every_step_in_the_background() {
    goes_on_from_every_step("background = true");
}

#[test]
fn every_callback_goes_on_from_every_step_while_a_condition_holds() {
    each_registered("", |name, build| {
        // The rate falls within the run; what was decided when an epoch began holds to its end.
        let build = |folder: &Path| {
            let when = |run: &Run<'_>| run.progress.batch == 0 && run.learning_rate.get() < 0.1;
            let wrapped = build(folder)
                .into_iter()
                .map(|callback| Box::new(callback.when(when)) as Box<dyn Callback>);
            with_company(wrapped.collect())
        };
        let bench = Bench::new(format!("{name} when"), &build);
        for step in (1..STEPS).step_by(stride(7)) {
            bench.check(&[StopAt::new(Hook::TrainBatchEnd, step)]);
        }
    });
}

#[test]
fn every_callback_goes_on_from_every_kill() {
    each_registered("", |name, build| {
        let build = |folder: &Path| with_company(build(folder));
        for every in [Every::Epochs(2), Every::Steps(7)] {
            let name = format!("{name} with checkpoints {every:?}");
            let bench = Bench::over(name, &build, || script().learner(), every);
            bench.check_kills(&[Hook::TrainBatchEnd, Hook::EpochEnd]);
        }
    });
}

#[test]
fn every_callback_goes_on_in_chains_of_three() {
    each_registered("", |name, build| {
        let build = |folder: &Path| with_company(build(folder));
        let bench = Bench::new(format!("{name} in chains"), &build);
        for first in (1..STEPS - 20).step_by(stride(3)) {
            bench.check(&[
                StopAt::new(Hook::TrainBatchEnd, first),
                StopAt::new(Hook::TrainBatchEnd, 1),
                StopAt::new(Hook::TrainBatchEnd, 1 + first % 17),
            ]);
        }
    });
}

/// Several that write, decide and swap weights, two of one type among them.
fn ensemble(folder: &Path) -> Callbacks {
    let board = TensorBoard::new(folder.join("board")).update_freq(UpdateFreq::Every(3));
    vec![
        Box::new(ReduceLrOnPlateau::new(Monitor::min("val_loss")).patience(1)),
        Box::new(ReduceLrOnPlateau::new(Monitor::min("loss")).patience(2).named("second")),
        Box::new(GradientAccumulation::new(3)),
        Box::new(SwapEmaWeights::new().swap_on_epoch(true)),
        Box::new(
            EarlyStopping::new(Monitor::min("val_loss")).patience(4).restore_best_weights(true),
        ),
        Box::new(JsonTrainingLogger::new(folder.join("log.json")).verbose(false)),
        Box::new(CsvLogger::new(folder.join("log.csv")).append(true)),
        Box::new(CsvLogger::new(folder.join("sparse.csv")).every(2).named("sparse")),
        Box::new(board.background()),
    ]
}

#[test]
fn goes_on_wherever_it_was_interrupted() {
    let bench = Bench::new("wherever".to_owned(), &ensemble);
    bench.check_kills(&Hook::ALL);
    for hook in Hook::ALL {
        let times = bench.times(hook);
        for nth in 1..=times {
            bench.check(&[StopAt::new(hook, nth)]);
        }
        // In each place once more, and in another.
        if times > 0 {
            bench.check(&[StopAt::new(hook, 1), StopAt::new(hook, 1), StopAt::new(hook, 1)]);
            bench.check(&[StopAt::new(hook, 1), StopAt::new(Hook::TestBatchEnd, 1)]);
        }
    }
}

#[test]
fn a_checkpoint_that_somebody_asks_for_changes_nothing() {
    let bench = Bench::new("asked for".to_owned(), &ensemble);
    for hook in Hook::ALL {
        bench.check_saves(hook);
    }
}

#[test]
fn a_checkpoint_in_a_validation_is_of_the_run_before_it() {
    let build = |folder: &Path| {
        let in_epochs = JsonTrainingLogger::new(folder.join("log.json")).verbose(false);
        with_company(vec![Box::new(in_epochs)])
    };
    let bench = Bench::new("in a validation".to_owned(), &build);
    for hook in [Hook::TestBegin, Hook::TestBatchBegin, Hook::TestBatchEnd, Hook::TestEnd] {
        bench.check_saves(hook);
    }
    // At once, not when the validation is over.
    let saved = Arc::new(Mutex::new(Vec::new()));
    let folder = support::folder();
    let (seen, path) = (Arc::clone(&saved), folder.path().join("checkpoints"));
    let save = SaveHandle::default();
    let asked = save.clone();
    let mut trainer = Trainer::new(script().learner(), 0.1)
        .console(refrain_core::console::Console::silent())
        .checkpoints(Checkpoints::in_dir(folder.path()).every(Every::Epochs(100)))
        .save_with(save)
        .callback(LambdaCallback::new("looks").on_test_batch_end(move |_, end| {
            seen.lock().unwrap().push((end.index, path.join("000001").exists()));
            // Again and again: the validation is begun again once.
            if seen.lock().unwrap().len() >= 2 {
                asked.save();
            }
            Ok(())
        }));
    let (data, validation) = (script().samples(BATCHES), script().samples(3));
    let fit = Fit::epochs(1).batch_size(1).validation_data(&validation).verbose(0);
    trainer.fit(&data, fit).unwrap();
    let expected = [(0, false), (1, false), (0, true), (1, true), (2, true)];
    assert_eq!(*saved.lock().unwrap(), expected);
}

#[test]
fn goes_on_with_other_arguments_of_fit() {
    type Change = fn(Fit<'_, usize>) -> Fit<'_, usize>;
    let changes: [(&str, Change); 5] = [
        ("steps_per_epoch", |fit| fit.steps_per_epoch(4)),
        ("validation_freq", |fit| fit.validation_freq(2)),
        ("initial_epoch", |fit| fit.initial_epoch(2)),
        ("class_weight", |fit| fit.class_weight((0..10).map(|class| (class, 0.5)))),
        ("shuffle", |fit| fit.shuffle(false)),
    ];
    for (name, change) in changes {
        let bench = Bench::new(name.to_owned(), &ensemble).with_fit(change);
        for nth in 1..=bench.times(Hook::TrainBatchEnd) {
            bench.check(&[StopAt::new(Hook::TrainBatchEnd, nth)]);
        }
        for nth in 1..=bench.times(Hook::TestBatchEnd) {
            bench.check(&[StopAt::new(Hook::TestBatchEnd, nth)]);
        }
    }
}

/// Asks for a stop in the middle of an epoch.
fn stops_in_batch(n: usize) -> Box<dyn Callback> {
    Box::new(LambdaCallback::new("impatient").on_train_batch_end(move |run, _| {
        if run.progress.samples == n as u64 {
            run.stop("enough");
        }
        Ok(())
    }))
}

#[test]
fn a_stop_that_a_callback_asked_for_is_not_forgotten() {
    let build = |folder: &Path| {
        let mut callbacks = ensemble(folder);
        callbacks.push(stops_in_batch(25));
        callbacks
    };
    let bench = Bench::new("a stop".to_owned(), &build);
    // Interrupted in the batch in which it was asked for, in the validation after it, and before.
    for nth in 1..=25 {
        bench.check(&[StopAt::new(Hook::TrainBatchEnd, nth)]);
    }
    for nth in 1..=bench.times(Hook::TestBatchEnd) {
        bench.check(&[StopAt::new(Hook::TestBatchEnd, nth)]);
    }
}

/// Fails once, the first time that it sees the third epoch in a process.
struct Frail {
    observes: bool,
    has_failed: bool,
}

impl Callback for Frail {
    fn on_epoch_end(&mut self, run: &mut Run<'_>, end: &mut refrain_core::EpochEnd<'_>) -> Result {
        if run.progress.epoch == 1 && !self.has_failed {
            self.has_failed = true;
            return Err(Error::msg("as planned"));
        }
        if !self.observes {
            end.logs.insert("frail", 1.0);
        }
        Ok(())
    }
    fn access(&self) -> refrain_core::Access {
        let access = refrain_core::Access::new();
        if self.observes { access.observes() } else { access.writes("frail") }
    }
}

#[test]
fn a_disabled_callback_that_decides_stays_disabled() {
    let build = |_: &Path| {
        let frail = Frail { observes: false, has_failed: false }.on_failure(OnFailure::Disable);
        vec![Box::new(frail) as Box<dyn Callback>]
    };
    let bench = Bench::new("disabled".to_owned(), &build);
    for step in 1..STEPS {
        bench.check(&[StopAt::new(Hook::TrainBatchEnd, step)]);
    }
}

#[test]
fn a_disabled_callback_that_observes_gets_another_chance() {
    let folder = support::folder();
    let frail =
        |has_failed| vec![Box::new(Frail { observes: true, has_failed }) as Box<dyn Callback>];
    let bench_fit = |trainer: &mut Trainer<refrain_core::testing::ScriptLearner>| {
        trainer.fit(&script().samples(BATCHES), Fit::epochs(EPOCHS).batch_size(1).verbose(0))
    };
    let trainer = |callbacks: Callbacks, stop: usize| {
        let mut all = callbacks;
        let stop_at = StopAt::new(Hook::TrainBatchEnd, stop);
        let (stopper, handle) = stop_at.callback();
        all.push(stopper);
        Trainer::new(script().learner(), 0.1)
            .console(refrain_core::console::Console::silent())
            .checkpoints(Checkpoints::in_dir(folder.path()).every(Every::Epochs(1)))
            .stop_with(handle)
            .callbacks(all)
    };
    let mut cut = trainer(frail(false), 35);
    bench_fit(&mut cut).unwrap();
    assert_eq!(cut.disabled().count(), 1);
    drop(cut);
    let mut resumed = trainer(frail(true), 0);
    resumed.resume().unwrap();
    bench_fit(&mut resumed).unwrap();
    assert_eq!(resumed.disabled().count(), 0);
}
