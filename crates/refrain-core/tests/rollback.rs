//! A run whose loss is no longer a number goes back to its last good checkpoint, and on with a lower
//! rate; also where it is cut short on the way.

mod length;
mod support;

use std::fs;
use std::path::Path;

use length::stride;
use refrain_core::callbacks::{
    CsvLogger, EarlyStopping, JsonTrainingLogger, ModelCheckpoint, ReduceLrOnPlateau, TensorBoard,
    TerminateOnNan, UpdateFreq,
};
use refrain_core::checkpoint::{Checkpoints, Every, JournalText, Record};
use refrain_core::console::Console;
use refrain_core::event::Hook;
use refrain_core::options::Document;
use refrain_core::testing::{Script, ScriptLearner};
use refrain_core::{
    BuildContext, Callback, CallbackExt as _, CallbackRegistry, Dataset as _, Ending, Epochs,
    Error, Fit, LambdaCallback, Monitor, Trainer,
};
use serde_json::json;
use support::{BATCHES, Bench, EPOCHS, STEPS, StopAt, folder, script};

type Callbacks = Vec<Box<dyn Callback>>;

/// Loggers, deciders, and who rolls back.
fn callbacks(folder: &Path, rollbacks: usize) -> Callbacks {
    let out = |name: &str| folder.join(name);
    let board = TensorBoard::new(out("board")).update_freq(UpdateFreq::Batch).histogram_freq(1);
    vec![
        Box::new(TerminateOnNan::new().rollbacks(rollbacks)),
        Box::new(ReduceLrOnPlateau::new(Monitor::min("val_loss")).patience(2)),
        Box::new(
            EarlyStopping::new(Monitor::min("val_loss")).patience(5).restore_best_weights(true),
        ),
        Box::new(JsonTrainingLogger::new(out("log.json")).verbose(false)),
        Box::new(CsvLogger::new(out("log.csv")).append(true)),
        Box::new(
            JsonTrainingLogger::new(out("thread.json")).verbose(false).named("t").background(),
        ),
        Box::new(board),
        Box::new(
            ModelCheckpoint::new(out("best.safetensors"))
                .monitor(Monitor::min("loss"))
                .save_best_only(true),
        ),
    ]
}

/// The learner whose update in the fourth epoch goes wrong unless the rate was halved.
fn diverges_in_the_fourth_epoch() -> ScriptLearner {
    script().diverges(35, 0.06).learner()
}

/// One that needs two halvings, in the first epoch.
fn diverges_in_the_first_epoch() -> ScriptLearner {
    script().diverges(4, 0.03).learner()
}

#[test]
fn goes_back_and_on_the_same_way_wherever_it_is_cut_short() {
    type MakeLearner = fn() -> ScriptLearner;
    let cases: [(&str, MakeLearner, Every); 5] = [
        ("by epochs", diverges_in_the_fourth_epoch, Every::Epochs(1)),
        ("by two epochs", diverges_in_the_fourth_epoch, Every::Epochs(2)),
        ("by steps", diverges_in_the_fourth_epoch, Every::Steps(7)),
        ("the first epoch by epochs", diverges_in_the_first_epoch, Every::Epochs(1)),
        ("the first epoch by steps", diverges_in_the_first_epoch, Every::Steps(2)),
    ];
    for (name, learner, every) in cases.into_iter().step_by(stride(3)) {
        let build = |folder: &Path| callbacks(folder, 2);
        let bench = Bench::over(name.to_owned(), &build, learner, every);
        assert!(bench.expected()["ending"].contains("Completed"), "{name}");
        let times = bench.times(Hook::TrainBatchEnd);
        assert!(times > STEPS || every != Every::Epochs(1), "{name}: {times}");
        for nth in 1..=times {
            bench.check(&[StopAt::new(Hook::TrainBatchEnd, nth)]);
            if nth % 4 == 0 {
                bench.check(&[
                    StopAt::new(Hook::TrainBatchEnd, nth),
                    StopAt::new(Hook::TrainBatchEnd, 2),
                    StopAt::new(Hook::TrainBatchEnd, 3),
                ]);
            }
        }
        for hook in [Hook::EpochEnd, Hook::TrainBegin, Hook::EpochBegin, Hook::TestBatchEnd] {
            for nth in 1..=bench.times(hook) {
                bench.check(&[StopAt::new(hook, nth)]);
            }
        }
        bench.check_kills(&Hook::ALL);
    }
}

/// A run in `folder` by these callbacks; returns it with how it ended and what was printed.
fn run(
    folder: &Path,
    learner: ScriptLearner,
    every: Every,
    callbacks: Callbacks,
) -> (Trainer<ScriptLearner>, refrain_core::Result<refrain_core::History>, String) {
    let (console, printed) = Console::memory();
    let mut trainer = Trainer::new(learner, 0.1)
        .console(console)
        .checkpoints(Checkpoints::in_dir(folder).every(every).wait(true))
        .callbacks(callbacks);
    let validation = script().samples(3);
    let fit = Fit::epochs(EPOCHS).batch_size(1).validation_data(&validation).verbose(0);
    let history = trainer.fit(&script().samples(BATCHES), fit);
    (trainer, history, printed.contents())
}

fn rollbacks(folder: &Path) -> Vec<Record> {
    let journal = JournalText::parse(&fs::read(folder.join("journal.jsonl")).unwrap());
    let records = journal.entries.into_iter().map(|entry| entry.record);
    records.filter(|record| matches!(record, Record::Rollback { .. })).collect()
}

#[test]
fn everything_says_what_was_done() {
    let folder = folder();
    let out = folder.path().join("out");
    let learner = diverges_in_the_fourth_epoch();
    let (trainer, history, printed) =
        run(folder.path(), learner, Every::Epochs(1), callbacks(&out, 1));
    let history = history.unwrap();
    assert_eq!((history.len(), &history.ending), (EPOCHS, &Ending::Completed));
    assert_eq!(
        printed,
        "terminate_on_nan: the loss is NaN at step 35; back to checkpoint 000004 (epoch 4, step 30), \
         learning rate 0.05\n"
    );
    let expected = Record::Rollback {
        by: "terminate_on_nan".to_owned(),
        reason: "the loss is NaN".to_owned(),
        from_step: 35,
        checkpoint: 4,
        epochs: 3,
        step: 30,
        factor: 0.5,
    };
    assert_eq!(rollbacks(folder.path()), [expected]);
    let log: Vec<serde_json::Value> =
        serde_json::from_slice(&fs::read(out.join("log.json")).unwrap()).unwrap();
    let epochs: Vec<u64> = log.iter().map(|entry| entry["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
    assert!(log[2].get("learning_rate_factors").is_none());
    assert_eq!(log[3]["learning_rate_factors"], json!({ "base": 0.1, "terminate_on_nan": 0.5 }));
    assert_eq!(log[3]["learning_rate"], 0.05);
    let csv = fs::read_to_string(out.join("log.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(rows, ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(trainer.get::<TerminateOnNan>().unwrap().rolled_back(), 1);
    assert_eq!(trainer.disabled().count(), 0);
}

#[test]
fn no_row_of_an_epoch_that_was_gone_back_from_stays_in_a_log() {
    // Every second epoch: the rows of the third are cut off.
    let folder = folder();
    let out = folder.path().join("out");
    let mut all = callbacks(&out, 1);
    // It fails right after the run went back: nothing is written after that.
    all.push(Box::new(LambdaCallback::new("fails").on_train_batch_end(|run, _| {
        if run.rollbacks() > 0 { Err(Error::msg("as planned")) } else { Ok(()) }
    })));
    let (_, history, _) = run(folder.path(), diverges_in_the_fourth_epoch(), Every::Epochs(2), all);
    assert!(history.unwrap_err().to_string().contains("as planned"));
    for (file, lines) in [("log.csv", 3), ("log.json", 4), ("thread.json", 4)] {
        let text = fs::read_to_string(out.join(file)).unwrap();
        assert_eq!(text.lines().count(), lines, "{file}: {text}");
    }
}

#[test]
fn after_the_last_one_it_is_stopped_or_fails() {
    for (most, factor) in [(0, 0.1), (1, 0.05), (2, 0.025)] {
        for raises in [false, true] {
            let folder = folder();
            // The rate never falls below what it would take.
            let learner = script().diverges(35, 0.001).learner();
            let terminate = TerminateOnNan::new().rollbacks(most).raise_error(raises);
            let (trainer, history, _) =
                run(folder.path(), learner, Every::Epochs(1), vec![Box::new(terminate)]);
            assert_eq!(rollbacks(folder.path()).len(), most);
            assert_eq!(trainer.learning_rate().get(), factor);
            match history {
                Err(error) => assert!(raises && error.to_string().contains("the loss is NaN")),
                Ok(history) => {
                    let Ending::Stopped(reason) = &history.ending else {
                        panic!("{:?}", history.ending);
                    };
                    assert_eq!((reason.by.as_str(), history.len()), ("terminate_on_nan", 4));
                }
            }
            drop(trainer);
            // The last good checkpoint is still the newest.
            let mut again = Trainer::new(script().learner(), 0.1)
                .checkpoints(Checkpoints::in_dir(folder.path()));
            assert_eq!(again.resume().unwrap().step(), 30);
        }
    }
}

#[test]
fn goes_back_from_the_end_of_an_epoch_too() {
    let folder = folder();
    let terminate = TerminateOnNan::new().rollbacks(1).every_batches(100);
    let (_, history, _) = run(
        folder.path(),
        diverges_in_the_fourth_epoch(),
        Every::Epochs(1),
        vec![Box::new(terminate)],
    );
    let history = history.unwrap();
    let losses = history.column("loss");
    assert!(losses.iter().all(|loss| loss.is_some_and(f64::is_finite)), "{losses:?}");
    let [Record::Rollback { from_step: 40, step: 30, .. }] = rollbacks(folder.path())[..] else {
        panic!("{:?}", rollbacks(folder.path()));
    };
}

#[test]
fn a_run_without_checkpoints_is_refused_before_the_first_batch() {
    let refused = |trainer: Trainer<ScriptLearner>| {
        let mut trainer = trainer.callback(TerminateOnNan::new().rollbacks(1));
        let error = trainer.fit(&script().data(), Fit::epochs(1).verbose(0)).unwrap_err();
        assert!(error.is_config() && trainer.learner().updates() == 0);
        error.to_string()
    };
    let said = "callback `terminate_on_nan` goes back to a checkpoint where it must, and this run keeps \
                none; turn checkpoints on (in a recipe: [checkpoint]), or set its rollbacks to 0";
    assert_eq!(refused(Trainer::new(script().learner(), 0.1)), said);
    let folder = folder();
    let none = Checkpoints::in_dir(folder.path()).every(Every::Epochs(0));
    assert_eq!(refused(Trainer::new(script().learner(), 0.1).checkpoints(none)), said);
    // A rehearsal has none, and is stopped where the run would go back.
    let mut rehearsal = Trainer::new(diverges_in_the_first_epoch(), 0.1)
        .rehearse()
        .console(Console::silent())
        .callback(TerminateOnNan::new().rollbacks(1));
    let fit = Fit::epochs(EPOCHS).batch_size(1).verbose(0);
    let history = rehearsal.fit(&script().samples(BATCHES), fit).unwrap();
    assert_eq!(history.len(), 1);
}

#[test]
fn options_are_checked() {
    let registry = CallbackRegistry::builtin();
    let build = |options: serde_json::Value| {
        let mut entry = json!({ "type": "terminate_on_nan" });
        entry.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let document = Document::from_json("recipe", &entry);
        registry.build(&document.value(), 0, &BuildContext::default())
    };
    let callback = build(json!({ "rollbacks": 2, "factor": 0.1 })).unwrap();
    assert!(callback.access().rolls_back());
    assert!(!build(json!({})).unwrap().access().rolls_back());
    for bad in [
        json!({ "rollbacks": -1 }),
        json!({ "factor": 0 }),
        json!({ "factor": 1.5 }),
        json!({ "factor": "half" }),
        json!({ "rollbacks": 1, "background": true }),
    ] {
        assert!(build(bad.clone()).is_err(), "{bad}");
    }
    assert!(TerminateOnNan::new().factor(f64::NAN).check().is_err());
}

#[test]
fn a_loop_written_by_hand_goes_back_too() {
    let folder = folder();
    let data = script().samples(BATCHES);
    let mut trainer = Trainer::new(diverges_in_the_fourth_epoch(), 0.1)
        .console(Console::silent())
        .checkpoints(Checkpoints::in_dir(folder.path()).every(Every::Steps(4)))
        .callback(TerminateOnNan::new().rollbacks(1));
    let epochs = Epochs::new(EPOCHS).steps_per_epoch(BATCHES).validation().verbose(0);
    let mut session = trainer.session(epochs).unwrap();
    let mut trained = 0;
    while session.begin_epoch().unwrap() {
        for index in session.progress().batch..data.len() {
            session.train_batch(data.batch(&[index]).unwrap(), None).unwrap();
            trained += 1;
            if session.should_stop() {
                break;
            }
        }
        session.validate(&script().samples(3), 1).unwrap();
        session.end_epoch().unwrap();
    }
    let history = session.finish().unwrap();
    // From update 35 back to 32: three are made again.
    assert_eq!((history.len(), trained, trainer.learner().updates()), (EPOCHS, 63, 60));
}

#[test]
fn an_interruption_is_no_place_to_go_back_to() {
    // Interrupted at update 33, it goes on from there; from 35 it goes back to 30 all the same.
    let build = |_: &Path| vec![Box::new(TerminateOnNan::new().rollbacks(1)) as Box<dyn Callback>];
    let bench = Bench::over(
        "an interruption".to_owned(),
        &build,
        diverges_in_the_fourth_epoch,
        Every::Epochs(1),
    );
    bench.check(&[StopAt::new(Hook::TrainBatchEnd, 33)]);
    // Thrice, with two checkpoints kept: the one of update 30 is kept beside.
    let next = StopAt::new(Hook::TrainBatchEnd, 1);
    bench.check(&[StopAt::new(Hook::TrainBatchEnd, 31), next, next]);
}

#[test]
fn what_is_not_finite_never_takes_the_place_of_the_best() {
    for bad in [f64::NAN, f64::INFINITY] {
        let folder = folder();
        let script = Script::losses(&[3.0, 2.0, bad, bad]);
        let best = folder.path().join("best.safetensors");
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .console(Console::silent())
            .checkpoints(Checkpoints::in_dir(folder.path()).wait(true))
            .callback(
                EarlyStopping::new(Monitor::min("loss")).patience(5).restore_best_weights(true),
            )
            .callback(
                ModelCheckpoint::new(&best).monitor(Monitor::min("loss")).save_best_only(true),
            );
        trainer.fit(&script.data(), Fit::epochs(4).verbose(0)).unwrap();
        assert_eq!(trainer.learner().updates(), 2, "{bad}");
        let saved = refrain_core::weights::Weights::load(&best).unwrap();
        assert_eq!(saved.f32s("w").unwrap(), [2.0], "{bad}");
        drop(trainer);
        let mut again =
            Trainer::new(script.learner(), 0.1).checkpoints(Checkpoints::in_dir(folder.path()));
        assert_eq!(again.resume().unwrap().epochs(), 2, "{bad}");
    }
}

#[test]
fn tensorboard_is_told_where_the_run_goes_on() {
    // Per update freq: the step from which on what it has of the training is superseded.
    for (freq, train) in [(UpdateFreq::Epoch, 3), (UpdateFreq::Batch, 31)] {
        let folder = folder();
        let board = folder.path().join("board");
        let callbacks: Callbacks = vec![
            Box::new(TerminateOnNan::new().rollbacks(1)),
            Box::new(TensorBoard::new(&board).update_freq(freq)),
        ];
        run(folder.path(), diverges_in_the_fourth_epoch(), Every::Epochs(1), callbacks).1.unwrap();
        for (part, from) in [("train", train), ("validation", 31)] {
            let files = fs::read_dir(board.join(part)).unwrap();
            let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let starts: Vec<Option<u64>> = files
                .iter()
                .map(|path| support::left::session_start(&fs::read(path).unwrap()))
                .collect();
            assert_eq!(starts, [None, Some(from)], "{part}, {freq:?}");
        }
    }
}
