//! Whoever began is ended exactly once and told why, whatever fails, wherever, in any order.

use refrain_core::console::Console;
use refrain_core::event::Hook;
use refrain_core::testing::{Script, Trace};
use refrain_core::{
    Callback, CallbackExt as _, Dataset, Ending, Epochs, Error, Event, Fit, LambdaCallback,
    OnFailure, Result, Run, StopHandle, Trainer,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Error,
    Panic,
}

/// Fails the first time it is told one event.
struct FailAt {
    hook: Hook,
    how: How,
    trace: Trace,
    has_failed: bool,
}

impl Callback for FailAt {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        "fail_at".into()
    }
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        self.trace.on_event(run, event)?;
        if event.hook() != self.hook || self.has_failed {
            return Ok(());
        }
        self.has_failed = true;
        match self.how {
            How::Error => Err(Error::msg("as planned")),
            How::Panic => panic!("as planned"),
        }
    }
}

const RUN: [Hook; 11] = [
    Hook::TrainBegin,
    Hook::EpochBegin,
    Hook::TrainBatchBegin,
    Hook::BackwardEnd,
    Hook::TrainBatchEnd,
    Hook::TestBegin,
    Hook::TestBatchBegin,
    Hook::TestBatchEnd,
    Hook::TestEnd,
    Hook::EpochEnd,
    Hook::TrainEnd,
];

fn count(trace: &Trace, name: &str, what: &str) -> usize {
    let line = format!("{name}: {what}");
    trace.lines().iter().filter(|seen| seen.starts_with(&line)).count()
}

/// Begins and ends of one callback in one run: (begun, ended, ended with `outcome`).
fn assert_paired(trace: &Trace, name: &str, outcome: &str, place: &str) {
    for scope in ["train", "test", "predict"] {
        let begun = count(trace, name, &format!("on_{scope}_begin"));
        let ended = count(trace, name, &format!("on_{scope}_end"));
        assert_eq!(begun, ended, "{place}: `{name}` {scope}: {:#?}", trace.lines());
    }
    let told = count(trace, name, &format!("on_train_end {outcome}"));
    assert_eq!(told, count(trace, name, "on_train_begin"), "{place}: `{name}` is told why");
}

#[test]
fn failing_and_panicking_at_every_hook_in_every_position() {
    std::panic::set_hook(Box::new(|_| {}));
    let script = Script::losses(&[1.0]);
    let data = script.samples(2);
    let fit = || Fit::epochs(2).batch_size(1).validation_data(&data).verbose(0);
    for hook in RUN {
        for how in [How::Error, How::Panic] {
            for position in 0..3 {
                for policy in [OnFailure::Abort, OnFailure::Disable] {
                    let place = format!("{hook}, {how:?}, position {position}, {policy:?}");
                    let trace = Trace::new("failing");
                    let mut trainer =
                        Trainer::new(script.learner(), 0.1).console(Console::silent());
                    let names = ["a", "b", "c"];
                    for (i, name) in names.iter().enumerate() {
                        let fail =
                            FailAt { hook, how, trace: trace.called("failing"), has_failed: false };
                        trainer = if i == position {
                            trainer.callback(fail.on_failure(policy))
                        } else {
                            trainer.callback(trace.called(name))
                        };
                    }
                    let result = trainer.fit(&data, fit());
                    let others = names.iter().enumerate().filter(|(i, _)| *i != position);

                    if policy == OnFailure::Disable {
                        assert!(result.is_ok(), "{place}: {result:?}");
                        for (_, name) in others {
                            assert_paired(&trace, name, "completed", &place);
                            assert_eq!(count(&trace, name, "on_epoch_end"), 2, "{place}");
                        }
                        let disabled: Vec<&str> =
                            trainer.disabled().map(|(name, _)| name).collect();
                        assert_eq!(disabled, ["fail_at"], "{place}");
                        // Ended once, with its own error, and never called again.
                        let lines = trace.lines();
                        let own: Vec<&String> =
                            lines.iter().filter(|line| line.starts_with("failing:")).collect();
                        let ends = own.iter().filter(|line| line.contains("on_train_end")).count();
                        assert_eq!(ends, usize::from(hook != Hook::TrainBegin), "{place}");
                        if hook != Hook::TrainBegin {
                            assert!(own.last().unwrap().contains("on_train_end"), "{place}");
                        }
                        continue;
                    }

                    let error = result.unwrap_err();
                    assert_eq!(error.callback(), Some("fail_at"), "{place}");
                    assert_eq!(error.hook(), Some(hook), "{place}");
                    let text =
                        if how == How::Error { ": as planned" } else { "panicked: as planned" };
                    assert!(error.to_string().contains(text), "{place}: {error}");
                    let outcome = if hook == Hook::TrainEnd { "completed" } else { "failed" };
                    for (i, name) in others {
                        let has_begun = hook != Hook::TrainBegin || i < position;
                        assert_eq!(
                            count(&trace, name, "on_train_begin"),
                            usize::from(has_begun),
                            "{place}"
                        );
                        assert_paired(&trace, name, outcome, &place);
                        // Those listed after it saw the event too.
                        if has_begun && !matches!(hook, Hook::TrainBegin | Hook::TestBegin) {
                            assert!(count(&trace, name, hook.as_str()) > 0, "{place}: `{name}`");
                        }
                    }
                    // The failing one is ended as well, unless it never began.
                    let ends = count(&trace, "failing", "on_train_end");
                    assert_eq!(ends, usize::from(hook != Hook::TrainBegin), "{place}");
                    // The trainer is still usable, and its states begin anew.
                    assert!(trainer.fit(&data, fit()).is_ok(), "{place}");
                }
            }
        }
    }
    let _ = std::panic::take_hook();
}

#[test]
fn failing_at_every_hook_of_evaluate_and_predict() {
    let script = Script::losses(&[1.0]);
    let data = script.samples(2);
    for hook in Hook::ALL.into_iter().filter(|hook| !RUN[..5].contains(hook)) {
        let is_test = hook.as_str().starts_with("on_test");
        if !is_test && !hook.as_str().starts_with("on_predict") {
            continue;
        }
        for position in 0..3 {
            for policy in [OnFailure::Abort, OnFailure::Disable] {
                let place = format!("{hook}, position {position}, {policy:?}");
                let trace = Trace::new("failing");
                let mut trainer = Trainer::new(script.learner(), 0.1).console(Console::silent());
                for (i, name) in ["a", "b", "c"].iter().enumerate() {
                    let how = How::Error;
                    let trace = trace.called(if i == position { "failing" } else { name });
                    trainer = if i == position {
                        let fail = FailAt { hook, how, trace, has_failed: false };
                        trainer.callback(fail.on_failure(policy))
                    } else {
                        trainer.callback(trace)
                    };
                }
                let failed = if is_test {
                    trainer.evaluate(&data, 1).is_err()
                } else {
                    trainer.predict(&data, 1).is_err()
                };
                assert_eq!(failed, policy == OnFailure::Abort, "{place}");
                for name in ["a", "b", "c"] {
                    assert_paired(&trace, name, "", &place);
                }
            }
        }
    }
}

#[test]
fn the_first_error_is_never_replaced() {
    let script = Script::losses(&[1.0]);
    let fail = |name: &str| {
        LambdaCallback::new(name)
            .on_epoch_end(|_, _| Err(Error::msg("in the epoch")))
            .on_train_end(|_, _| Err(Error::msg("at the end")))
    };
    let mut trainer =
        Trainer::new(script.learner(), 0.1).callback(fail("first")).callback(fail("second"));
    let error = trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap_err();
    assert_eq!(error.callback(), Some("first"));
    assert_eq!(error.hook(), Some(Hook::EpochEnd));
    assert_eq!(error.further().len(), 2);
    assert!(error.further().iter().all(|e| e.callback().is_some()));
}

struct BrokenData {
    at: usize,
    panics: bool,
}

impl Dataset for BrokenData {
    type Batch = usize;
    fn len(&self) -> usize {
        10
    }
    fn batch(&self, indices: &[usize]) -> Result<usize> {
        if indices.contains(&self.at) {
            assert!(!self.panics, "sample {} cannot be read", self.at);
            return Err(Error::data(format!("sample {} cannot be read", self.at)));
        }
        Ok(indices.len())
    }
}

#[test]
fn an_error_in_the_data_reaches_everybody() {
    let script = Script::losses(&[1.0]);
    for panics in [false, true] {
        for in_validation in [false, true] {
            let good = BrokenData { at: 99, panics };
            let bad = BrokenData { at: 3, panics };
            let (train, validation) = if in_validation { (&good, &bad) } else { (&bad, &good) };
            let trace = Trace::new("t");
            let mut trainer = Trainer::new(script.learner(), 0.1).callback(trace.clone());
            let fit = Fit::epochs(2).batch_size(1).validation_data(validation).verbose(0);
            let error = trainer.fit(train, fit).unwrap_err();
            assert!(error.to_string().contains("sample 3 cannot be read"), "{error}");
            assert_paired(&trace, "t", "failed", "data");
        }
    }
}

#[test]
fn a_stop_from_outside_interrupts_at_the_next_batch() {
    for hook in [Hook::EpochBegin, Hook::TrainBatchEnd, Hook::TestBatchEnd, Hook::EpochEnd] {
        let script = Script::losses(&[1.0]);
        let data = script.samples(3);
        let trace = Trace::new("t");
        let handle = StopHandle::default();
        struct Press(StopHandle, Hook);
        impl Callback for Press {
            fn on_event(&mut self, _: &mut Run<'_>, event: &mut Event<'_>) -> Result {
                if event.hook() == self.1 {
                    self.0.stop();
                }
                Ok(())
            }
        }
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .stop_with(handle.clone())
            .callback(Press(handle.clone(), hook))
            .callback(trace.clone());
        let fit = Fit::epochs(9).batch_size(1).validation_data(&data).verbose(0);
        let history = trainer.fit(&data, fit).unwrap();
        assert_eq!(history.ending, Ending::Interrupted, "{hook}");
        assert_paired(&trace, "t", "interrupted", hook.as_str());
        let batches = count(&trace, "t", "on_train_batch_end");
        assert_eq!(
            batches,
            if hook.as_str().contains("batch_end") && hook == Hook::TrainBatchEnd
                || hook == Hook::EpochBegin
            {
                1
            } else {
                3
            },
            "{hook}"
        );
        // Obeyed, hence over: the next run is not stopped.
        assert!(!handle.is_stopped());
    }
}

#[test]
fn a_stop_before_fit_ends_it_before_its_first_batch() {
    let script = Script::losses(&[1.0]);
    let trace = Trace::new("t");
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(trace.clone());
    trainer.stop_handle().stop();
    let history = trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap();
    assert_eq!(history.ending, Ending::Interrupted);
    assert_eq!(trace.lines(), ["t: on_train_begin", "t: on_train_end interrupted"]);
}

#[test]
fn a_loop_written_by_hand_ends_its_callbacks_however_it_is_left() {
    let script = Script::losses(&[1.0]);
    for (leave, outcome) in [
        ("finish", "completed"),
        ("return", "interrupted"),
        ("error", "failed"),
        ("begin twice", "failed"),
    ] {
        let trace = Trace::new("t");
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(trace.clone());
        let mut walk = || -> Result {
            let mut session = trainer.session(Epochs::new(2).verbose(0))?;
            while session.begin_epoch()? {
                session.train_batch(1, None)?;
                match leave {
                    "return" => return Ok(()),
                    "begin twice" => drop(session.begin_epoch()?),
                    "error" => session.train_batch_with(|_, _| Err(Error::data("torn")))?,
                    _ => {}
                }
                session.end_epoch()?;
            }
            session.finish().map(drop)
        };
        assert_eq!(walk().is_err(), outcome == "failed");
        assert_paired(&trace, "t", outcome, leave);
    }
}

#[test]
fn fit_and_a_loop_written_by_hand_fire_the_same_events() {
    let script = Script::losses(&[2.0, 1.0]);
    let data = script.samples(5);
    let by_fit = Trace::new("t");
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(by_fit.clone());
    let fit = Fit::epochs(2).batch_size(2).validation_data(&data).verbose(0);
    let history = trainer.fit(&data, fit).unwrap();

    let by_hand = Trace::new("t");
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(by_hand.clone());
    let epochs = Epochs::new(2).steps_per_epoch(3).validation().verbose(0);
    let mut session = trainer.session(epochs).unwrap();
    while session.begin_epoch().unwrap() {
        for size in [2, 2, 1] {
            session.train_batch(size, None).unwrap();
        }
        session.validate(&data, 2).unwrap();
        session.end_epoch().unwrap();
    }
    assert_eq!(session.finish().unwrap(), history);
    assert_eq!(by_hand.lines(), by_fit.lines());
}
