//! The order of events, and the table "which event sees what" of `refrain_core::event`.

use refrain_core::event::Hook;
use refrain_core::testing::{Script, Trace};
use refrain_core::{Callback, Event, Fit, LambdaCallback, Logs, Result, Run, Trainer};
use std::sync::{Arc, Mutex};

fn script() -> Script {
    Script::new(&["loss", "accuracy"], vec![vec![0.5, 0.8], vec![0.4, 0.9]])
}

#[test]
fn order_of_a_run() {
    let script = script();
    let data = script.samples(3);
    let trace = Trace::new("t");
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(trace.clone());
    let fit = Fit::epochs(2).batch_size(2).validation_data(&data).validation_freq(2).verbose(0);
    trainer.fit(&data, fit).unwrap();
    let batch = ["on_train_batch_begin", "on_backward_end", "on_train_batch_end"];
    let test_batch = ["on_test_batch_begin", "on_test_batch_end"];
    let expected: Vec<&str> = [
        &["on_train_begin", "on_epoch_begin"][..],
        &batch,
        &batch,
        &["on_epoch_end", "on_epoch_begin"],
        &batch,
        &batch,
        &["on_test_begin"],
        &test_batch,
        &test_batch,
        &["on_test_end completed", "on_epoch_end", "on_train_end completed"],
    ]
    .concat();
    let lines: Vec<String> = expected.iter().map(|hook| format!("t: {hook}")).collect();
    assert_eq!(trace.lines(), lines);
}

#[test]
fn evaluate_and_predict_have_their_hooks() {
    let script = script();
    let trace = Trace::new("t");
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(trace.clone());
    let logs = trainer.evaluate(&script.samples(3), 3).unwrap();
    assert_eq!(logs, Logs::from([("loss", 0.5), ("accuracy", 0.8)]));
    assert_eq!(trainer.predict(&script.samples(3), 2).unwrap().len(), 3);
    let lines = trace.lines();
    assert_eq!(
        lines,
        [
            "t: on_test_begin",
            "t: on_test_batch_begin",
            "t: on_test_batch_end",
            "t: on_test_end completed",
            "t: on_predict_begin",
            "t: on_predict_batch_begin",
            "t: on_predict_batch_end",
            "t: on_predict_batch_begin",
            "t: on_predict_batch_end",
            "t: on_predict_end completed",
        ]
    );
}

/// What was seen at one event.
#[derive(Debug, PartialEq)]
struct Seen {
    hook: Hook,
    epoch: usize,
    step: u64,
    logs: Vec<String>,
    history: usize,
}

struct Watch(Arc<Mutex<Vec<Seen>>>);

impl Callback for Watch {
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        let names = |logs: &Logs| logs.names().map(str::to_owned).collect::<Vec<_>>();
        let logs = match event {
            Event::BackwardEnd(_) | Event::TrainBatchEnd(_) | Event::TestBatchEnd(_) => {
                names(run.batch_logs()?)
            }
            Event::TestEnd(test) => names(test.logs),
            Event::EpochEnd(epoch) => names(epoch.logs),
            _ => Vec::new(),
        };
        self.0.lock().unwrap().push(Seen {
            hook: event.hook(),
            epoch: run.progress.epoch,
            step: run.progress.step,
            logs,
            history: run.history.len(),
        });
        Ok(())
    }
}

#[test]
fn which_event_sees_what() {
    let script = script();
    let data = script.data();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(Watch(seen.clone()));
    let fit = Fit::epochs(2).validation_data(&data).verbose(0);
    trainer.fit(&data, fit).unwrap();
    let batch = ["loss", "accuracy"];
    let epoch = ["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"];
    // One batch an epoch: the second epoch's rows of the table.
    #[rustfmt::skip]
    let expected = [
        (Hook::EpochBegin, 1, &[][..]),
        (Hook::TrainBatchBegin, 1, &[]),
        (Hook::BackwardEnd, 1, &batch),
        (Hook::TrainBatchEnd, 2, &batch),
        (Hook::TestBegin, 2, &[]),
        (Hook::TestBatchBegin, 2, &[]),
        (Hook::TestBatchEnd, 2, &batch),
        (Hook::TestEnd, 2, &batch),
        (Hook::EpochEnd, 2, &epoch),
    ];
    let seen = seen.lock().unwrap();
    let second: Vec<&Seen> = seen.iter().skip(1 + expected.len()).collect();
    for ((hook, step, logs), seen) in expected.iter().zip(&second) {
        let logs = logs.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(**seen, Seen { hook: *hook, epoch: 1, step: *step, logs, history: 1 });
    }
    let first = &seen[0];
    assert_eq!((first.hook, first.epoch, first.step), (Hook::TrainBegin, 0, 0));
    let last = seen.last().unwrap();
    assert_eq!((last.hook, last.epoch, last.history), (Hook::TrainEnd, 1, 2));
}

/// The last column of the table: what still runs after a stop asked for in each hook.
#[test]
fn what_runs_after_a_requested_stop() {
    for (hook, epochs, batches, validations) in [
        (Hook::TrainBegin, 0, 0, 0),
        (Hook::EpochBegin, 1, 1, 1),
        (Hook::TrainBatchBegin, 1, 1, 1),
        (Hook::BackwardEnd, 1, 1, 1),
        (Hook::TrainBatchEnd, 1, 1, 1),
        (Hook::TestBegin, 1, 3, 1),
        (Hook::TestBatchBegin, 1, 3, 1),
        (Hook::TestBatchEnd, 1, 3, 1),
        (Hook::TestEnd, 1, 3, 1),
        (Hook::EpochEnd, 1, 3, 1),
        (Hook::TrainEnd, 4, 12, 4),
    ] {
        struct StopAt(Hook);
        impl Callback for StopAt {
            fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
                if event.hook() == self.0 {
                    run.stop("asked");
                }
                Ok(())
            }
        }
        let script = script();
        let data = script.samples(3);
        let after = Trace::new("after");
        let mut trainer =
            Trainer::new(script.learner(), 0.1).callback(StopAt(hook)).callback(after.clone());
        let fit = Fit::epochs(4).batch_size(1).validation_data(&data).verbose(0);
        trainer.fit(&data, fit).unwrap();
        let count = |hook: &str| {
            after.lines().iter().filter(|line| line.contains(&format!(": {hook}"))).count()
        };
        let counts = (count("on_epoch_end"), count("on_train_batch_end"), count("on_test_end"));
        assert_eq!(counts, (epochs, batches, validations), "{hook}");
        // Every callback saw the event in which the stop was asked for.
        assert!(count(hook.as_str()) >= 1, "{hook}");
    }
}

#[test]
fn a_skipped_update_leaves_weights_and_step_alone() {
    let script = script();
    let skip = LambdaCallback::new("skip").on_backward_end(|run, step| {
        if run.progress.batch == 1 {
            step.skip_update();
        }
        Ok(())
    });
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(skip);
    trainer.fit(&script.samples(3), Fit::epochs(1).batch_size(1).verbose(0)).unwrap();
    assert_eq!(trainer.learner().updates(), 2);
}

#[test]
fn nobody_looking_means_one_read_an_epoch() {
    let script = script();
    let data = script.samples(100);
    for (looking, reads) in [(false, 3), (true, 3 + 3 * 100)] {
        let mut trainer = Trainer::new(script.learner(), 0.1);
        for name in ["one", "two"] {
            // Two that look share one read.
            trainer =
                trainer.callback(LambdaCallback::new(name).on_train_batch_end(move |run, _| {
                    if looking {
                        run.batch_logs()?;
                    }
                    Ok(())
                }));
        }
        trainer.fit(&data, Fit::epochs(3).batch_size(1).verbose(0)).unwrap();
        assert_eq!(trainer.learner().reads(), reads);
    }
}
