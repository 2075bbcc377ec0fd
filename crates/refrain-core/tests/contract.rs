//! Every callback of the registry keeps the contract; a new one is in it without a line here.

use std::panic::AssertUnwindSafe;

use refrain_core::console::Console;
use refrain_core::event::Hook;
use refrain_core::options::Document;
use refrain_core::testing::{Script, assert_callback_contract};
use refrain_core::{
    Access, BuildContext, Callback, CallbackRegistry, EpochEnd, Error, Fit, RateAccess, Result,
    Run, State, Trainer,
};

/// The example that a callback gives in its `FromOptions`, with more keys.
fn options(registry: &CallbackRegistry, name: &str, more: &str) -> serde_json::Value {
    let text = format!("type = {name:?}\n{more}\n{}", registry.example(name).unwrap_or_default());
    let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("example of `{name}`: {e}"));
    serde_json::to_value(table).unwrap()
}

fn each_builtin(more: &str, f: impl Fn(&str, &dyn Fn() -> Box<dyn Callback>)) {
    let registry = CallbackRegistry::builtin();
    // All are looked at, so that one that breaks it hides no other.
    let mut broken = Vec::new();
    for name in registry.names() {
        let folder = tempfile::tempdir().unwrap();
        let document = Document::from_json("the example", &options(&registry, name, more));
        let context = BuildContext { folder: folder.path() };
        let make = || {
            let built = registry.build(&document.value(), 0, &context);
            built.unwrap_or_else(|e| panic!("example of `{name}`: {e}"))
        };
        broken.extend(std::panic::catch_unwind(AssertUnwindSafe(|| f(name, &make))).err().map(
            |panic| {
                let said = panic.downcast_ref::<String>().map_or("?", String::as_str);
                format!("{name}: {said}")
            },
        ));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_builtin_callback_keeps_the_contract() {
    each_builtin("", |name, make| {
        assert_eq!(make().name(), name, "named as recipes name it");
        assert_callback_contract(make);
    });
}

#[test]
fn every_builtin_callback_keeps_it_through_wrappers() {
    let wrappers =
        "every = 2\nafter = 1\nonce = true\nname = \"another\"\non_failure = \"disable\"";
    each_builtin(wrappers, |_, make| assert_callback_contract(make));
}

#[test]
fn in_the_background_each_is_refused_or_costs_the_run_nothing() {
    let registry = CallbackRegistry::builtin();
    for name in registry.names() {
        let folder = tempfile::tempdir().unwrap();
        let build = |more: &str| {
            let document = Document::from_json("the example", &options(&registry, name, more));
            registry.build(&document.value(), 0, &BuildContext { folder: folder.path() })
        };
        let access = build("").unwrap().access();
        let needs_the_run = access.rate() != RateAccess::None
            || access.stops()
            || access.is_setting_weights()
            || access.is_reading_model()
            || access.is_changing_gradients()
            || !access.written().is_empty();
        match build("background = true") {
            Err(error) => {
                assert!(needs_the_run, "{error}");
                assert!(error.to_string().contains("in the background"), "{error}");
            }
            Ok(callback) => {
                assert!(!needs_the_run, "{name}");
                let metrics = access.read().iter().map(|key| key.trim_start_matches("val_"));
                let names: Vec<&str> = ["loss"].into_iter().chain(metrics).collect();
                let script = Script::new(&names, vec![vec![0.5; names.len()]]);
                let data = script.data();
                let mut trainer = Trainer::new(script.learner(), 0.1)
                    .console(Console::silent())
                    .callbacks([callback]);
                let fit = Fit::epochs(3).validation_data(&data).verbose(0);
                assert_eq!(trainer.fit(&data, fit).unwrap().len(), 3, "{name}");
            }
        }
    }
}

/// Keeps the contract but for one clause.
#[derive(Clone, Copy, PartialEq)]
enum Breaks {
    Nothing,
    Reset,
    Save,
    Access,
    HiddenHook,
    Garbage,
    Name,
    Check,
    Nan,
}

struct Broken {
    breaks: Breaks,
    /// How often the loss was below 0.3.
    low: u64,
}

impl Callback for Broken {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        if self.breaks == Breaks::Name { "".into() } else { "broken".into() }
    }

    fn on_epoch_begin(&mut self, run: &mut Run<'_>) -> Result {
        if self.breaks == Breaks::HiddenHook {
            run.learning_rate.set_factor("broken", 0.5)?;
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, run: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let loss = epoch.logs.get("loss");
        if loss.is_some_and(f64::is_nan) && self.breaks == Breaks::Nan {
            return Err(Error::msg("NaN"));
        }
        self.low += u64::from(loss.is_some_and(|loss| loss < 0.3));
        if self.low == 3 {
            run.stop("low enough");
        }
        Ok(())
    }

    fn access(&self) -> Access {
        let access = Access::new().acts_in([Hook::EpochEnd]).reads("loss");
        let access = if self.breaks == Breaks::HiddenHook { access.scales_rate() } else { access };
        if self.breaks == Breaks::Access { access } else { access.may_stop() }
    }

    fn check(&self) -> Result {
        if self.breaks == Breaks::Check { Err(Error::config("no")) } else { Ok(()) }
    }

    fn save_state(&self) -> Result<Option<State>> {
        let low = if self.breaks == Breaks::Save { 0 } else { self.low };
        State::new(&low).map(Some)
    }

    fn load_state(&mut self, saved: Option<&State>) -> Result {
        if self.breaks == Breaks::Reset && saved.is_none() {
            return Ok(());
        }
        let loaded = State::load_or_default(saved);
        self.low = if self.breaks == Breaks::Garbage { loaded.unwrap_or(0) } else { loaded? };
        Ok(())
    }
}

#[test]
fn says_which_clause_was_broken() {
    std::panic::set_hook(Box::new(|_| {}));
    let broken = |breaks| {
        let make = || Broken { breaks, low: 0 };
        let checked = std::panic::catch_unwind(|| assert_callback_contract(make));
        checked.err().map(|panic| *panic.downcast::<String>().unwrap())
    };
    assert_eq!(broken(Breaks::Nothing), None);
    for (breaks, said) in [
        (Breaks::Name, "its name is empty"),
        (Breaks::Check, "check failed: no"),
        (Breaks::Access, "on_epoch_end asked for a stop, which its access does not declare"),
        (Breaks::HiddenHook, "on_epoch_begin changed \"factor broken\", and its access does not"),
        (Breaks::Nan, "on_epoch_end failed: NaN"),
        (Breaks::Reset, "load_state(None) did not set state back to its beginning"),
        (Breaks::Save, "the run went another way"),
        (Breaks::Garbage, "load_state took \"garbage\" for its state"),
    ] {
        let message = broken(breaks).unwrap();
        assert!(message.contains(said), "{message}");
    }
    let _ = std::panic::take_hook();
}
