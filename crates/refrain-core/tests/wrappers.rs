//! Wrappers: what reaches the callback, in any nesting, also after a resume.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use refrain_core::callbacks::{EarlyStopping, StepLrScheduler};
use refrain_core::console::Console;
use refrain_core::event::Hook;
use refrain_core::options::Document;
use refrain_core::testing::{Script, Stage, Trace, assert_callback_contract};
use refrain_core::{
    Access, BackwardEnd, BuildContext, Callback, CallbackExt as _, CallbackRegistry, EpochEnd,
    Error, Event, Fit, LambdaCallback, Monitor, OnFailure, Result, Run, State, Trainer,
};

/// Writes down `epoch/step` of the hooks that it acts in, and remembers how often.
struct Diary {
    hooks: Vec<Hook>,
    seen: Arc<Mutex<Vec<String>>>,
    count: u64,
}

impl Diary {
    fn new(hooks: &[Hook]) -> Self {
        Self { hooks: hooks.to_vec(), seen: Arc::default(), count: 0 }
    }
}

impl Callback for Diary {
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        assert!(self.hooks.contains(&event.hook()), "{} was not declared", event.hook());
        self.count += 1;
        let progress = run.progress;
        self.seen.lock().unwrap().push(format!("{}/{}", progress.epoch + 1, progress.step));
        Ok(())
    }
    fn access(&self) -> Access {
        Access::new().acts_in(self.hooks.iter().copied())
    }
    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.count).map(Some)
    }
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.count = State::load_or_default(saved)?;
        Ok(())
    }
}

/// What reaches the callback in 6 epochs of 3 steps each, with validation.
fn reached<C: Callback>(hooks: &[Hook], wrap: impl Fn(Diary) -> C) -> String {
    let diary = Diary::new(hooks);
    let seen = diary.seen.clone();
    let script = Script::losses(&[1.0]);
    let data = script.samples(3);
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(wrap(diary));
    let fit = Fit::epochs(6).batch_size(1).validation_data(&data).verbose(0);
    trainer.fit(&data, fit).unwrap();
    seen.lock().unwrap().join(" ")
}

#[test]
fn each_condition_alone_and_nested() {
    let end = &[Hook::EpochEnd][..];
    let both = &[Hook::EpochBegin, Hook::EpochEnd];
    let batch = &[Hook::TrainBatchEnd][..];
    let whole = &[Hook::TrainBatchBegin, Hook::TrainBatchEnd];
    let test = &[Hook::TestBegin, Hook::TestEnd][..];
    let seen = [
        (reached(end, |c| c.every(1)), "1/3 2/6 3/9 4/12 5/15 6/18"),
        (reached(end, |c| c.every(2)), "2/6 4/12 6/18"),
        (reached(both, |c| c.every(4)), "4/9 4/12"),
        (reached(test, |c| c.every(3)), "3/9 3/9 6/18 6/18"),
        (reached(end, |c| c.after(4)), "5/15 6/18"),
        (reached(end, |c| c.after(0)), "1/3 2/6 3/9 4/12 5/15 6/18"),
        (reached(end, |c| c.once()), "1/3"),
        (reached(both, |c| c.once()), "1/0 1/3"),
        (reached(test, |c| c.once()), "1/3 1/3"),
        (reached(batch, |c| c.once()), "1/1 1/2 1/3"),
        (reached(batch, |c| c.every_steps(5)), "2/5 4/10 5/15"),
        (reached(whole, |c| c.every_steps(5)), "2/4 2/5 4/9 4/10 5/14 5/15"),
        (reached(end, |c| c.when(|run| run.progress.step > 10)), "4/12 5/15 6/18"),
        // The answer at the beginning of the epoch holds to its end.
        (reached(both, |c| c.when(|run| run.progress.step > 12)), "6/15 6/18"),
        // Left to right, whatever is in between.
        (reached(end, |c| c.every(2).after(2)), "4/12 6/18"),
        (reached(end, |c| c.after(2).every(2)), "4/12 6/18"),
        (reached(end, |c| c.every(4).once()), "4/12"),
        (reached(end, |c| c.once().every(4)), "4/12"),
        (reached(end, |c| c.every(4).named("n").on_failure(OnFailure::Abort).once()), "4/12"),
        (reached(end, |c| c.once().after(3).named("n").every(2)), "4/12"),
        (reached(end, |c| c.when(|run| run.progress.step >= 9).once()), "3/9"),
        (reached(batch, |c| c.every_steps(5).once()), "2/5"),
        (reached(batch, |c| c.every_steps(5).after(2).once()), "4/10"),
        (reached(batch, |c| c.once().every_steps(5)), "2/5"),
        (reached(batch, |c| c.once().every_steps(2)), "1/2"),
        (reached(batch, |c| c.every(2).every_steps(2)), "2/4 2/6 4/10 4/12 6/16 6/18"),
        (reached(end, |c| c.every_seconds(1e4)), ""),
        (reached(end, |c| c.every_seconds(1e-9)), "1/3 2/6 3/9 4/12 5/15 6/18"),
        (reached(batch, |c| c.every_seconds(1e4)), ""),
        (reached(batch, |c| c.every_seconds(1e-9).once()), "1/1"),
    ];
    for (i, (seen, expected)) in seen.into_iter().enumerate() {
        assert_eq!(seen, expected, "case {i}");
    }
}

#[test]
fn the_beginning_and_the_end_are_always_told_and_evaluate_by_itself_too() {
    let script = Script::losses(&[1.0]);
    let trace = Trace::new("t");
    let never = trace.clone().after(99).every(7).once();
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(never);
    trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
    assert_eq!(trace.text(), "t: on_train_begin\nt: on_train_end completed\n");
    trainer.evaluate(&script.data(), 1).unwrap();
    assert_eq!(trace.lines().len(), 6);

    let asked = Trace::new("t");
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(asked.clone().when(|_| false));
    trainer.evaluate(&script.data(), 1).unwrap();
    trainer.predict(&script.data(), 1).unwrap();
    assert_eq!(asked.lines(), [""; 0]);
}

/// Puts every update off, but each third.
fn accumulate() -> LambdaCallback {
    let mut batches = 0;
    LambdaCallback::new("accumulate").on_backward_end(move |_, step: &mut BackwardEnd| {
        batches += 1;
        if batches % 3 != 0 {
            step.accumulate();
        }
        Ok(())
    })
}

#[test]
fn a_condition_is_asked_once_for_what_belongs_together() {
    let cases: [(&[Hook], usize); 4] = [
        (&[Hook::TestBatchEnd], 1),
        (&[Hook::EpochBegin, Hook::EpochEnd], 1),
        (&[Hook::TrainBatchBegin, Hook::BackwardEnd, Hook::TrainBatchEnd], 3),
        (&[Hook::EpochEnd, Hook::TestBegin, Hook::TestEnd, Hook::TrainBatchEnd], 5),
    ];
    for (hooks, expected) in cases {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let script = Script::losses(&[1.0]);
        let data = script.samples(3);
        let counted = Diary::new(hooks).when(move |_| counter.fetch_add(1, Ordering::Relaxed) < 99);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(counted);
        let fit = Fit::epochs(1).batch_size(1).validation_data(&data).verbose(0);
        trainer.fit(&data, fit).unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), expected, "{hooks:?}");
    }
}

#[test]
fn steps_are_optimizer_steps() {
    for (hooks, expected) in [
        (&[Hook::TrainBatchEnd][..], "2/2 4/4 6/6"),
        (&[Hook::TrainBatchBegin], "2/1 2/1 2/1 4/3 4/3 4/3 6/5 6/5 6/5"),
    ] {
        let diary = Diary::new(hooks);
        let seen = diary.seen.clone();
        let script = Script::losses(&[1.0]);
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .callback(accumulate())
            .callback(diary.every_steps(2));
        trainer.fit(&script.samples(3), Fit::epochs(6).batch_size(1).verbose(0)).unwrap();
        assert_eq!(seen.lock().unwrap().join(" "), expected);
    }
}

#[test]
fn the_state_of_a_wrapper_is_saved_with_the_one_inside() {
    let script = Script::losses(&[1.0]);
    // Acts in the second epoch, is saved after the third and goes on in another process.
    let make = || Diary::new(&[Hook::EpochEnd]).every(2).once();
    let mut stage = Stage::new(&script, 6);
    let mut callback = make();
    while stage.progress().epoch < 3 {
        stage.step(&mut callback).unwrap();
    }
    let saved = callback.save_state().unwrap().unwrap();
    assert_eq!(saved.value(), &serde_json::json!({ "once": 1, "inner": 1 }));
    let mut resumed = make();
    resumed.load_state(Some(&saved)).unwrap();
    stage.tell(&mut resumed, Hook::TrainBegin).unwrap();
    while stage.next_hook().is_some() {
        stage.step(&mut resumed).unwrap();
    }
    assert_eq!(resumed.save_state().unwrap(), Some(saved));
    resumed.load_state(None).unwrap();
    let fresh = serde_json::json!({ "once": null, "inner": 0 });
    assert_eq!(resumed.save_state().unwrap().unwrap().value(), &fresh);

    // Weights in the inner state, and the time of another wrapper around it.
    let make = || {
        let stopping = EarlyStopping::new(Monitor::min("loss")).patience(9);
        stopping.restore_best_weights(true).once().every_seconds(1e4).every(1)
    };
    let mut inner = EarlyStopping::new(Monitor::min("loss")).restore_best_weights(true);
    let mut stage = Stage::new(&script, 1);
    while stage.next_hook().is_some() {
        stage.step(&mut inner).unwrap();
    }
    let best = inner.save_state().unwrap().unwrap();
    assert!(best.weights().is_some());
    let nested = serde_json::json!({
        "every_seconds": 9e3,
        "inner": { "once": 0, "inner": best.value() },
    });
    let nested = State::new(&nested).unwrap().with_weights(best.weights().cloned());
    let mut wrapped = make();
    wrapped.load_state(Some(&nested)).unwrap();
    let back = wrapped.save_state().unwrap().unwrap();
    assert_eq!(back.weights(), best.weights());
    assert_eq!(back.value()["inner"], nested.value()["inner"]);
    let seconds = back.value()["every_seconds"].as_f64().unwrap();
    assert!((9e3..9.1e3).contains(&seconds), "{seconds}");
    assert!(wrapped.load_state(Some(&best)).is_err());
}

#[test]
fn every_wrapper_keeps_the_contract() {
    let stopping = || EarlyStopping::new(Monitor::min("val_loss")).patience(1);
    assert_callback_contract(|| stopping().every(2));
    assert_callback_contract(|| stopping().after(2).named("late"));
    assert_callback_contract(|| stopping().once().every(2).on_failure(OnFailure::Disable));
    assert_callback_contract(|| stopping().when(|run| run.progress.epoch != 1));
    assert_callback_contract(|| stopping().every_seconds(1e4).once());
    assert_callback_contract(|| Diary::new(&[Hook::TrainBatchEnd]).every_steps(3).once());
    assert_callback_contract(|| Diary::new(&[Hook::EpochBegin, Hook::EpochEnd]).background());
    // A run that is resumed begins once more: what counts beginnings would count one too many.
    let all = &Hook::ALL[1..];
    assert_callback_contract(|| Diary::new(all).background().every(2).once());
    assert_callback_contract(|| Diary::new(all).every(2).once().background());
}

#[test]
fn refuses_what_makes_no_sense() {
    let none = || LambdaCallback::new("none");
    let epochs = || StepLrScheduler::default();
    for (error, said) in [
        (none().every(0).check(), "every is 0"),
        (none().every_steps(0).check(), "every_steps is 0"),
        (none().every_seconds(0.0).check(), "every_seconds is 0"),
        (none().every_seconds(f64::NAN).check(), "every_seconds is NaN"),
        (epochs().every_steps(5).check(), "use every"),
        (epochs().every_steps(5).once().named("n").check(), "use every"),
        (none().named("").check(), "name is empty"),
        (epochs().background().check(), "`step_lr_scheduler` changes the learning rate"),
        (epochs().every(2).background().every(2).check(), "in the background"),
        (none().background().capacity(1).check(), "capacity of the background is 1"),
    ] {
        let error = error.unwrap_err();
        assert!(error.is_config() && error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_condition_that_is_never_met_is_told() {
    let plan = refrain_core::RunPlan { epochs: 10, steps_per_epoch: 4, ..Default::default() };
    let codes = |callback: &dyn Callback| -> Vec<String> {
        callback.findings(&plan).iter().map(|finding| finding.to_string()).collect()
    };
    let none = || LambdaCallback::new("none");
    assert_eq!(
        codes(&none().every(11)),
        ["`every` is first met in epoch 11 of 10: never; make `every` smaller, or train longer"]
    );
    for (found, n) in [
        (codes(&none().every(10)), 0),
        (codes(&none().after(9)), 0),
        (codes(&none().after(10)), 1),
        (codes(&none().every_steps(40)), 0),
        (codes(&none().every_steps(41)), 1),
        (codes(&none().every(11).once().named("n")), 1),
    ] {
        assert_eq!(found.len(), n, "{found:?}");
    }
}

#[test]
fn keys_of_a_recipe() {
    let build = |keys: &str| {
        let text = format!("type = \"json_training_logger\"\n{keys}");
        let table: toml::Table = text.parse().unwrap();
        let document = Document::from_json("r", &serde_json::to_value(table).unwrap());
        CallbackRegistry::builtin().build(&document.value(), 0, &BuildContext::default())
    };
    let state = |keys: &str| build(keys).unwrap().save_state().unwrap().unwrap().value().clone();
    assert!(state("every = 2\nafter = 1\nonce = false\nbackground = true").get("once").is_none());
    assert!(state("every_seconds = 60\nonce = true").get("once").is_some());
    let named = build("name = \"a\"\non_failure = \"abort\"\nbackground = true").unwrap();
    assert_eq!(named.name(), "a");
    assert_eq!(named.failure_policy(), OnFailure::Abort);
    for (keys, said) in [
        ("every = 0", "`every` is 0; allowed: a whole number, 1 or more"),
        ("every = 1.5", "`every` is a float"),
        ("every = 2\nevery_steps = 3", "`every` and `every_steps` exclude each other"),
        ("every_steps = 3\nevery_seconds = 3", "exclude each other"),
        ("every_steps = 10", "use every, which chooses among epochs"),
        ("every_seconds = -1", "`every_seconds` is -1; allowed: a finite number above 0"),
        ("after = -1", "`after` is -1"),
        ("once = \"yes\"", "`once` is a string; allowed: true or false"),
        ("background = 2", "`background` is an integer; allowed: true or false"),
        ("on_failure = \"ignore\"", "unknown failure policy `ignore`"),
        ("name = \"\"", "`name` is empty"),
        ("evry = 2", "did you mean `every`?"),
    ] {
        let error = build(keys).err().unwrap_or_else(|| panic!("{keys}")).to_string();
        assert!(error.contains(said), "{error}");
    }
}

fn fit_one(callback: impl Callback, epochs: usize) -> (Result<usize>, Vec<String>, String) {
    let script = Script::losses(&[3.0, 2.0, 1.0]);
    let (console, printed) = Console::memory();
    let mut trainer = Trainer::new(script.learner(), 0.1).console(console).callback(callback);
    let fit = Fit::epochs(epochs).batch_size(1).verbose(0);
    let result = trainer.fit(&script.samples(50), fit).map(|history| history.len());
    let disabled = trainer.disabled().map(|(_, error)| error.to_string()).collect();
    (result, disabled, printed.contents())
}

#[test]
fn the_background_gets_copies_of_everything_but_the_model() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let diary = seen.clone();
    let logger = LambdaCallback::new("logger")
        .on_train_batch_end(|run, batch| {
            assert_eq!(run.batch_logs()?.names().collect::<Vec<_>>(), ["loss"]);
            assert_eq!(batch.size, 1);
            Ok(())
        })
        .on_epoch_end(move |run, epoch| {
            assert!(run.model.weights().unwrap_err().to_string().contains("in the background"));
            let line = format!("{:?} of {}", epoch.logs.get("loss"), run.history.len());
            diary.lock().unwrap().push(line);
            run.print("seen");
            Ok(())
        });
    let (result, disabled, printed) = fit_one(logger.background(), 3);
    assert_eq!(result.unwrap(), 3);
    assert_eq!(disabled, [""; 0]);
    assert_eq!(*seen.lock().unwrap(), ["Some(3.0) of 0", "Some(2.0) of 1", "Some(1.0) of 2"]);
    assert_eq!(printed, "seen\nseen\nseen\n");
}

#[test]
fn a_failure_in_the_background_follows_the_policy() {
    let fails = |panics: bool, at_end: bool| {
        let logger = LambdaCallback::new("logger");
        let fail = move || {
            assert!(!panics, "as planned");
            Err(Error::msg("as planned"))
        };
        if at_end {
            logger.on_train_end(move |_, _| fail())
        } else {
            logger.on_epoch_end(move |_, _| fail())
        }
    };
    for (panics, at_end) in [(false, false), (true, false), (false, true), (true, true)] {
        let (result, disabled, _) = fit_one(fails(panics, at_end).background(), 3);
        assert_eq!(result.unwrap(), 3);
        assert!(disabled[0].contains("as planned"), "{disabled:?}");
        let abort = fails(panics, at_end).background().on_failure(OnFailure::Abort);
        let error = fit_one(abort, 3).0.unwrap_err();
        assert!(error.to_string().contains("as planned"), "{error}");
        assert_eq!(error.callback(), Some("logger"));
    }
    // What it may not do is an error, not lost silently.
    let stops = LambdaCallback::new("stops").on_epoch_end(|run, _| {
        run.stop("enough");
        Ok(())
    });
    let (result, disabled, _) = fit_one(stops.background(), 3);
    assert_eq!(result.unwrap(), 3);
    assert!(disabled[0].contains("which nothing in the background can"), "{disabled:?}");
}

#[test]
fn a_slow_callback_costs_training_next_to_nothing_and_its_drops_are_told() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = handled.clone();
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begin, end) = (begun.clone(), ended.clone());
    let slow = LambdaCallback::new("slow")
        .on_train_batch_begin(move |_| {
            begin.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .on_train_batch_end(move |_, _| {
            std::thread::sleep(Duration::from_millis(5));
            end.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .on_train_end(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
    let (result, disabled, printed) = fit_one(slow.background().capacity(8), 2);
    assert_eq!(result.unwrap(), 2);
    assert_eq!(disabled, [""; 0]);
    assert!(printed.starts_with("callback `slow` in the background was too slow: "), "{printed}");
    assert!(printed.contains("events of batches and"), "{printed}");
    // A batch is dropped as a whole, and whoever began is ended.
    assert_eq!(begun.load(Ordering::Relaxed), ended.load(Ordering::Relaxed));
    assert!(ended.load(Ordering::Relaxed) < 100);
    assert_eq!(handled.load(Ordering::Relaxed), 1);
}

#[test]
fn a_callback_that_hangs_is_left_behind() {
    let (wake, asleep) = std::sync::mpsc::channel::<()>();
    let hangs = LambdaCallback::new("hangs").on_epoch_end(move |_, _| {
        let _ = asleep.recv();
        Ok(())
    });
    let limit = Duration::from_millis(50);
    let begun = Instant::now();
    let (result, disabled, _) = fit_one(hangs.background().flush_within(limit), 3);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(result.unwrap(), 3);
    assert!(disabled[0].contains("are not handled after 0.05 s in the background"), "{disabled:?}");
    drop(wake);
}

#[test]
fn saving_waits_for_the_background() {
    let script = Script::losses(&[1.0]);
    let mut stage = Stage::new(&script, 4);
    let mut slow = Slow(0).background();
    while stage.next_hook().is_some() {
        stage.step(&mut slow).unwrap();
        let ended = stage.history().len();
        let state = slow.save_state().unwrap().unwrap();
        assert_eq!(state.value(), &serde_json::json!(ended));
    }
}

/// Counts epochs, at leisure.
struct Slow(usize);

impl Callback for Slow {
    fn on_epoch_end(&mut self, _: &mut Run<'_>, _: &mut EpochEnd<'_>) -> Result {
        std::thread::sleep(Duration::from_millis(5));
        self.0 += 1;
        Ok(())
    }
    fn access(&self) -> Access {
        Access::new().acts_in([Hook::EpochEnd])
    }
    fn save_state(&self) -> Result<Option<State>> {
        State::new(&self.0).map(Some)
    }
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.0 = State::load_or_default(saved)?;
        Ok(())
    }
}
