//! Properties over random runs: every stateful callback resumes identically, what promises to
//! commute does, observers disturb nothing, and wrappers change nothing but what they say.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use refrain_core::callbacks::EarlyStopping;
use refrain_core::console::Console;
use refrain_core::options::Document;
use refrain_core::testing::{Curve, Script, Stage, Trace, assert_resumes};
use refrain_core::{
    BuildContext, Callback, CallbackExt as _, CallbackRegistry, Fit, Monitor, OnFailure,
    RateAccess, State, Trainer,
};

/// Metric values as they come: near each other, ties, NaN, infinities, missing.
fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        6 => (0.0..1.0).prop_map(Some),
        3 => prop::sample::select(vec![0.0, 0.25, 0.5, 1.0]).prop_map(Some),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e300])
            .prop_map(Some),
        1 => Just(None),
    ]
}

/// Random curves for these metrics, in training and in validation.
fn script(metrics: Vec<String>) -> impl Strategy<Value = Script> {
    let curve = || prop::collection::vec(value(), 1..8).prop_map(Curve::from_iter);
    let n = metrics.len();
    prop::collection::vec((curve(), curve()), n).prop_map(move |curves| {
        let both = metrics.iter().zip(curves).flat_map(|(name, (train, validation))| {
            [(name.clone(), train), (format!("val_{name}"), validation)]
        });
        Script::curves(both)
    })
}

/// The same cases every time: a failure is found again.
fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let tested = runner.run(strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = tested {
        panic!("{error}");
    }
}

fn metrics(callback: &dyn Callback) -> Vec<String> {
    let mut metrics = vec!["loss".to_owned(), "accuracy".to_owned()];
    for key in callback.access().read() {
        let bare = key.strip_prefix("val_").unwrap_or(key).to_owned();
        if bare != "learning_rate" && !metrics.contains(&bare) {
            metrics.push(bare);
        }
    }
    metrics
}

/// Builds each callback of the registry from its example, with more keys.
fn each_builtin(f: impl Fn(&str, &dyn Fn(&str) -> Box<dyn Callback>)) {
    let registry = CallbackRegistry::builtin();
    // All are looked at, so that one that fails hides no other.
    let mut failed = Vec::new();
    for name in registry.names() {
        let folder = tempfile::tempdir().unwrap();
        let build = |more: &str| {
            let example = registry.example(name).unwrap_or_default();
            let text = format!("type = {name:?}\n{more}\n{example}");
            let table: toml::Table = text.parse().unwrap();
            let options = Document::from_json("example", &serde_json::to_value(table).unwrap());
            let context = BuildContext { folder: folder.path() };
            registry.build(&options.value(), 0, &context).unwrap()
        };
        failed.extend(catch_unwind(AssertUnwindSafe(|| f(name, &build))).err().map(|panic| {
            let said = panic.downcast_ref::<String>().map_or("?", String::as_str);
            format!("{name}: {said}")
        }));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn each_stateful_callback_resumes_identically_after_any_prefix_of_any_run() {
    each_builtin(|_, build| {
        let callback = build("");
        if callback.save_state().is_ok_and(|state| state.is_some()) {
            let cases = if callback.access().files().is_empty() { 16 } else { 3 };
            check(cases, &script(metrics(&callback)), |script| {
                assert_resumes(|| build(""), &script)
            });
        }
    });
}

/// All that a run shows: trace, rates, history, outcome, weights.
fn show(callbacks: Vec<Box<dyn Callback>>, script: &Script) -> String {
    let data = script.samples(2);
    let trace = Trace::new("t");
    let mut trainer = Trainer::new(script.learner(), 0.1)
        .console(Console::silent())
        .callbacks(callbacks)
        .callback(trace.clone());
    let fit = Fit::epochs(6).batch_size(1).validation_data(&data).verbose(0);
    let ended = trainer.fit(&data, fit).map(|history| history.ending);
    let history: Vec<String> =
        trainer.history().iter().map(|(epoch, logs)| format!("{epoch} {logs:?}")).collect();
    let updates = trainer.learner().updates();
    format!("{ended:?}\n{}\n{updates}\n{}", history.join("\n"), trace.text())
}

fn rates(callbacks: Vec<Box<dyn Callback>>, script: &Script) -> Vec<f64> {
    let data = script.samples(2);
    let mut trainer =
        Trainer::new(script.learner(), 0.1).console(Console::silent()).callbacks(callbacks);
    let fit = Fit::epochs(6).batch_size(1).validation_data(&data).verbose(0);
    let _ = trainer.fit(&data, fit);
    trainer.history().column("learning_rate").into_iter().flatten().collect()
}

#[test]
fn callbacks_that_scale_the_rate_commute() {
    each_builtin(|name, first| {
        each_builtin(|other, second| {
            let scales = |c: Box<dyn Callback>| c.access().rate() == RateAccess::Factor;
            if !(scales(first("")) && scales(second(""))) {
                return;
            }
            let mut names = metrics(&first(""));
            names.extend(metrics(&second("")));
            names.sort();
            names.dedup();
            let (one, two) = ("name = \"one\"", "name = \"two\"");
            check(8, &script(names), |script| {
                let forward = rates(vec![first(one), second(two)], &script);
                let backward = rates(vec![second(two), first(one)], &script);
                // The factors are multiplied in another order: the last bit may differ.
                let is_same = |(one, two): (&f64, &f64)| (one - two).abs() <= 1e-12 * one.abs();
                let same = forward.iter().zip(&backward).all(is_same);
                assert!(
                    same && forward.len() == backward.len(),
                    "{name}, {other}: {forward:?}, {backward:?}"
                );
            });
        });
    });
}

#[test]
fn observers_disturb_nothing() {
    each_builtin(|name, build| {
        let callback = build("");
        let access = callback.access();
        if !access.is_observing() || !access.written().is_empty() {
            return;
        }
        let stopping = || -> Box<dyn Callback> {
            let stopping = EarlyStopping::new(Monitor::min("val_loss")).patience(2);
            Box::new(stopping.restore_best_weights(true))
        };
        check(4, &script(metrics(&callback)), |script| {
            let without = show(vec![stopping()], &script);
            assert_eq!(without, show(vec![build(""), stopping()], &script), "{name} first");
            assert_eq!(without, show(vec![stopping(), build("")], &script), "{name} last");
        });
    });
}

/// The callback's own state, out of what a wrapper that remembers a decision keeps.
fn own_state(state: Option<State>) -> Option<State> {
    let is_wrapper = |state: &State| state.value().get("decided").is_some();
    let Some(wrapper) = state.as_ref().filter(|state| is_wrapper(state)) else {
        return state;
    };
    let inner = State::new(wrapper.value().get("inner")?).unwrap();
    own_state(Some(inner.with_weights(wrapper.weights().cloned())))
}

type Wrap = fn(Box<dyn Callback>) -> Box<dyn Callback>;

#[test]
fn wrappers_change_nothing_but_what_they_say() {
    let transparent: [(&str, Wrap); 8] = [
        ("every(1)", |c| Box::new(c.every(1))),
        ("after(0)", |c| Box::new(c.after(0))),
        ("when", |c| Box::new(c.when(|_| true))),
        ("boxed", |c| Box::new(c)),
        ("on_failure", |c| {
            let policy = c.failure_policy();
            Box::new(c.on_failure(policy))
        }),
        ("named", |c| {
            let name = c.name().into_owned();
            Box::new(c.named(name))
        }),
        ("three", |c| Box::new(c.when(|_| true).every(1).after(0))),
        ("nested", |c| {
            let policy = c.failure_policy();
            Box::new(c.after(0).on_failure(policy).every(1).when(|_| true))
        }),
    ];
    each_builtin(|name, build| {
        let callback = build("");
        // What is measured differs from run to run.
        let script = script(metrics(&callback));
        let writes = callback.access().written().to_vec();
        let cases = if callback.access().files().is_empty() { 4 } else { 1 };
        check(cases, &script, |script| {
            let bare = shown_twice(&|| build(""), &script);
            let bare_states = states(build(""), &script);
            // A state that holds times is another in every run.
            let is_same_each_time = !callback.access().is_observing()
                && writes.is_empty()
                && bare_states == states(build(""), &script);
            for (what, wrap) in &transparent {
                if is_same_each_time {
                    let wrapped = states(wrap(build("")), &script);
                    let wrapped: Vec<Option<State>> = wrapped.into_iter().map(own_state).collect();
                    assert_eq!(bare_states, wrapped, "{name} in {what}");
                }
                let wrapped = shown_twice(&|| wrap(build("")), &script);
                if writes.is_empty() {
                    assert_eq!(bare, wrapped, "{name} in {what}");
                }
            }
        });
        for (what, wrap) in &transparent {
            let wrapped = wrap(build(""));
            assert_eq!(wrapped.name(), callback.name(), "{name} in {what}");
            assert_eq!(wrapped.failure_policy(), callback.failure_policy(), "{name} in {what}");
            let (inner, outer) = (callback.access(), wrapped.access());
            assert_eq!(outer.read(), inner.read(), "{name} in {what}");
            assert_eq!(outer.written(), inner.written(), "{name} in {what}");
            assert_eq!(outer.files(), inner.files(), "{name} in {what}");
            assert_eq!(outer.rate(), inner.rate(), "{name} in {what}");
            assert_eq!(outer.stops(), inner.stops(), "{name} in {what}");
        }
    });
}

/// The state after each event of a run.
fn states(mut callback: Box<dyn Callback>, script: &Script) -> Vec<Option<State>> {
    let mut stage = Stage::new(script, 6);
    callback.load_state(None).unwrap();
    let mut states = vec![callback.save_state().unwrap()];
    while stage.next_hook().is_some() {
        stage.step(&mut callback).unwrap();
        states.push(callback.save_state().unwrap());
    }
    states
}

/// A run by the callback alone, and with its failing.
fn shown_twice(make: &dyn Fn() -> Box<dyn Callback>, script: &Script) -> [String; 2] {
    let after = || -> Box<dyn Callback> {
        let late = refrain_core::testing::FailAt::new(refrain_core::event::Hook::EpochEnd, 3);
        Box::new(late.on_failure(OnFailure::Abort))
    };
    [show(vec![make()], script), show(vec![make(), after()], script)]
}
