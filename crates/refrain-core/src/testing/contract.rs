//! What every callback promises, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::callback::{Access, Callback, RateAccess};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::event::{Event, Hook};
use crate::finding::RunPlan;
use crate::fit::{Fit, ValidationFreq};
use crate::run::Run;
use crate::state::State;
use crate::testing::{Curve, Script, Stage};
use crate::trainer::Trainer;

/// Epochs of the runs that a contract is checked in.
const EPOCHS: usize = 7;

/// Checks what every callback promises; `make` makes one, the same each time.
///
/// - Its name is not empty; name, access and failure policy depend on its options alone.
/// - Its options pass `check`, and no hook fails in a run, also where metrics are NaN, infinite or
///   missing.
/// - A hook that it does not declare in [`Access::acts_in`] does nothing.
/// - It does nothing that it does not declare: stop, change the rate, the weights or the updates,
///   add to the logs.
/// - A second run from `load_state(None)` goes as the first did.
/// - Saved after any step or epoch and loaded into another, it goes on identically.
/// - When a callback beside it fails, at any hook, it is ended without an error of its own, and the
///   next run goes as ever.
/// - A state that is not its own is refused with an error, without a panic.
///
/// What differs between two runs anyway (times, measured speeds) is not compared. Whatever metrics
/// the callback reads are there.
///
/// # Panics
/// When a promise is broken, saying which.
///
/// # Example
/// ```
/// use refrain_core::callbacks::EarlyStopping;
/// use refrain_core::testing::assert_callback_contract;
/// use refrain_core::Monitor;
///
/// assert_callback_contract(|| EarlyStopping::new(Monitor::min("val_loss")).patience(2));
/// ```
///
/// A callback that stops without saying so breaks it:
/// ```
/// use refrain_core::testing::assert_callback_contract;
/// use refrain_core::LambdaCallback;
///
/// let broken = std::panic::catch_unwind(|| {
///     assert_callback_contract(|| {
///         LambdaCallback::new("nosy").on_epoch_end(|run, _| Ok(run.stop("enough")))
///     })
/// });
/// let message = *broken.unwrap_err().downcast::<String>().unwrap();
/// assert_eq!(
///     message,
///     "callback `nosy`: on_epoch_end asked for a stop, which its access does not declare; \
///      add .may_stop()"
/// );
/// ```
pub fn assert_callback_contract<C: Callback>(make: impl Fn() -> C) {
    let make = || -> Box<dyn Callback> { Box::new(make()) };
    let name = make().name().into_owned();
    let check = |kept: Result<(), String>| {
        if let Err(broken) = kept {
            panic!("callback `{name}`: {broken}");
        }
    };
    check(description(&make));
    for script in scripts(&make().access()) {
        check(plays_by_its_access(&make, &script));
        assert_resumes(make, &script);
    }
    check(survives_its_neighbours(&make));
    check(refuses_garbage(&make));
}

/// Checks that a callback goes on identically in a second run, and when it is saved after any step
/// or epoch of a run over `script` and loaded into another.
///
/// Part of [`assert_callback_contract`]; by itself for made-up runs of one's own.
///
/// # Panics
/// When it does not, saying where.
pub fn assert_resumes<C: Callback>(make: impl Fn() -> C, script: &Script) {
    let make = || -> Box<dyn Callback> { Box::new(make()) };
    // Clocks tick between two runs that are compared: what is broken is broken every time.
    let kept = resumes(&make, script).or_else(|_| resumes(&make, script));
    if let Err(broken) = kept.or_else(|_| resumes(&make, script)) {
        panic!("callback `{}`: {broken}", make().name());
    }
}

type Make<'a> = &'a dyn Fn() -> Box<dyn Callback>;

/// A promise that was broken.
type Kept = Result<(), String>;

fn ensure(is_kept: bool, broken: impl FnOnce() -> String) -> Kept {
    if is_kept { Ok(()) } else { Err(broken()) }
}

fn failed(place: impl std::fmt::Display) -> impl FnOnce(Error) -> String {
    move |error| format!("{place} failed: {error}")
}

/// A run that goes well and then no further; one with everything that metrics can be.
fn scripts(access: &Access) -> [Script; 2] {
    let mut names = vec!["loss", "accuracy"];
    for key in access.read() {
        let bare = key.strip_prefix("val_").unwrap_or(key);
        if bare != "learning_rate" && !names.contains(&bare) {
            names.push(bare);
        }
    }
    let good = |name: &str| match name {
        "accuracy" => Curve::increasing(EPOCHS),
        _ => Curve::decreasing(EPOCHS),
    };
    let both = |f: &dyn Fn(&str, u64) -> Curve| {
        let mut curves = Vec::new();
        for name in &names {
            curves.push(((*name).to_owned(), f(name, 0)));
            curves.push((format!("val_{name}"), f(name, 1)));
        }
        Script::curves(curves)
    };
    [
        both(&|name, seed| good(name).noise(seed, 0.01).plateau(3)),
        both(&|name, seed| {
            let curve = good(name).noise(seed, 0.2).missing(1).set(2, f64::NAN);
            curve.set(4, f64::INFINITY).set(5, f64::NEG_INFINITY)
        }),
    ]
}

/// Name, access, policy and checks.
fn description(make: Make<'_>) -> Kept {
    let mut callback = make();
    let name = callback.name().into_owned();
    let access = callback.access();
    ensure(!name.is_empty(), || "its name is empty".to_owned())?;
    callback.check().map_err(failed("check"))?;
    let plan = RunPlan {
        epochs: EPOCHS,
        steps_per_epoch: 2,
        validation: Some(ValidationFreq::Every(1)),
        ..RunPlan::default()
    };
    let found = callback.findings(&plan);
    let policy = callback.failure_policy();
    callback.load_state(None).map_err(failed("load_state(None)"))?;
    let mut stage = Stage::new(&scripts(&access)[0], 2);
    while let Some(hook) = stage.next_hook() {
        stage.step(&mut callback).map_err(failed(hook))?;
    }
    for (other, whose) in [(&callback, "a run"), (&make(), "making another")] {
        let change = |what: &str| format!("its {what} is another after {whose}");
        ensure(other.name() == name, || change("name"))?;
        ensure(other.access() == access, || change("access"))?;
        ensure(other.failure_policy() == policy, || change("failure policy"))?;
        ensure(other.findings(&plan) == found, || change("list of findings"))?;
    }
    Ok(())
}

/// What can be seen of a callback and of its run, by name.
type Seen = BTreeMap<String, String>;

fn look(stage: &Stage, callback: &dyn Callback) -> Result<Seen, String> {
    let mut seen = Seen::new();
    let rate = stage.learning_rate();
    seen.insert("base rate".into(), format!("{:?}", rate.base()));
    for (name, factor) in rate.factors() {
        seen.insert(format!("factor {name}"), format!("{factor:?}"));
    }
    if let Some(stop) = stage.stop() {
        seen.insert("stop".into(), stop.by.clone());
        seen.insert("reason of the stop".into(), stop.reason.clone());
    }
    seen.insert("updates".into(), stage.learner().updates().to_string());
    seen.insert("momentum".into(), format!("{:?}", stage.learner().momentum()));
    seen.insert("update".into(), stage.last_update().to_owned());
    for (name, value) in stage.epoch_logs().iter() {
        seen.insert(format!("log {name}"), format!("{value:?}"));
    }
    match callback.save_state().map_err(failed("save_state"))? {
        None => seen.insert("state".into(), "none".into()),
        Some(state) => {
            leaves("state", state.value(), &mut seen);
            seen.insert("weights".into(), format!("{:?}", state.weights()))
        }
    };
    Ok(seen)
}

fn leaves(path: &str, value: &Value, seen: &mut Seen) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                leaves(&format!("{path}.{key}"), value, seen);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                leaves(&format!("{path}[{i}]"), value, seen);
            }
        }
        leaf => drop(seen.insert(path.to_owned(), leaf.to_string())),
    }
}

/// Names of what is not the same in both.
fn differences<'s>(one: &'s Seen, other: &'s Seen) -> impl Iterator<Item = &'s String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(move |name| one.get(*name) != other.get(*name))
}

/// Hooks that are not declared do nothing, and those that are, only what is declared.
fn plays_by_its_access(make: Make<'_>, script: &Script) -> Kept {
    let mut callback = make();
    let access = callback.access();
    let own_factor = format!("factor {}", callback.name());
    callback.load_state(None).map_err(failed("load_state(None)"))?;
    let mut stage = Stage::new(script, EPOCHS);
    let mut logged = Vec::new();
    while let Some(hook) = stage.next_hook() {
        if !access.handles(hook) {
            let before = look(&stage, &callback)?;
            // On a copy: what it prints or changes is not to be seen later.
            let mut aside = stage.clone();
            aside.tell(&mut callback, hook).map_err(failed(hook))?;
            let after = look(&aside, &callback)?;
            let mut changed =
                differences(&before, &after).filter(|name| *name != "update").peekable();
            // What changes by itself, as a time does, is no deed of the hook.
            let later = if changed.peek().is_some() {
                thread::sleep(Duration::from_millis(3));
                look(&aside, &callback)?
            } else {
                after.clone()
            };
            let changed = changed.find(|name| after.get(*name) == later.get(*name));
            ensure(changed.is_none(), || {
                format!(
                    "{hook} changed {:?}, and its access does not declare that hook; add it to \
                     .acts_in([..])",
                    changed.map_or("", String::as_str)
                )
            })?;
            ensure(aside.last_update() == "made" || hook != Hook::BackwardEnd, || {
                format!("{hook} skipped an update, and its access does not declare that hook")
            })?;
        }
        let mut quiet = stage.clone();
        quiet.step(&mut Nothing).map_err(failed(hook))?;
        stage.step(&mut callback).map_err(failed(hook))?;
        let without = look(&quiet, &Nothing)?;
        let with = look(&stage, &Nothing)?;
        for name in differences(&without, &with) {
            let (what, fix) = match name.as_str() {
                "base rate" if access.rate() != RateAccess::Base => {
                    ("set the base learning rate", ".sets_base_rate()")
                }
                factor if *factor == own_factor && access.rate() == RateAccess::None => {
                    ("set a factor of the learning rate", ".scales_rate()")
                }
                factor if factor.starts_with("factor ") && *factor != own_factor => {
                    ("set a factor that is another's", "run.callback_name() as its name")
                }
                "stop" if !access.stops() => ("asked for a stop", ".may_stop()"),
                "update" if !access.is_changing_gradients() => {
                    ("skipped an update or put it off", ".changes_gradients()")
                }
                "updates"
                    if hook != Hook::TrainBatchEnd
                        && stage.last_update() == "made"
                        && !access.is_setting_weights() =>
                {
                    ("set weights", ".sets_weights()")
                }
                _ => continue,
            };
            return Err(format!("{hook} {what}, which its access does not declare; add {fix}"));
        }
        if hook == Hook::EpochEnd {
            let added =
                stage.epoch_logs().names().filter(|key| quiet.epoch_logs().get(key).is_none());
            logged.extend(added.map(str::to_owned));
        }
    }
    match logged.iter().find(|key| !access.written().contains(key)) {
        None => Ok(()),
        Some(key) => Err(format!(
            "it added `{key}` to the logs, which its access does not declare; add \
             .writes(\"{key}\")"
        )),
    }
}

/// Stands beside the callback: the run without it.
struct Nothing;

impl Callback for Nothing {}

/// A run to its end, and what was seen after each event.
fn play(
    callback: &mut Box<dyn Callback>,
    stage: &mut Stage,
    mut at: impl FnMut(Hook, &Stage, &dyn Callback) -> Kept,
) -> Result<Vec<Seen>, String> {
    let mut seen = Vec::new();
    while let Some(hook) = stage.next_hook() {
        stage.step(callback).map_err(failed(hook))?;
        seen.push(look(stage, &**callback)?);
        at(hook, stage, &**callback)?;
    }
    Ok(seen)
}

fn first_difference(
    expected: &[Seen],
    found: &[Seen],
    varies: &BTreeSet<String>,
) -> Option<String> {
    for (one, other) in expected.iter().zip(found) {
        if let Some(name) = differences(one, other).find(|name| !varies.contains(*name)) {
            let shown = |seen: &Seen| seen.get(name).map_or("nothing", String::as_str).to_owned();
            return Some(format!("{name} is {} instead of {}", shown(other), shown(one)));
        }
    }
    (expected.len() != found.len())
        .then(|| format!("it lasted {} events instead of {}", found.len(), expected.len()))
}

fn resumes(make: Make<'_>, script: &Script) -> Kept {
    let nowhere = |_: Hook, _: &Stage, _: &dyn Callback| Ok(());
    let begin = || -> Result<(Box<dyn Callback>, Stage), String> {
        let mut callback = make();
        callback.load_state(None).map_err(failed("load_state(None)"))?;
        Ok((callback, Stage::new(script, EPOCHS)))
    };
    // Where the run can be gone on with: the place, the events before it, and the state.
    let mut cuts = Vec::new();
    let (mut callback, mut stage) = begin()?;
    let fresh = look(&stage, &*callback)?;
    let mut events = 0;
    let first = play(&mut callback, &mut stage, |hook, stage, callback| {
        events += 1;
        if matches!(hook, Hook::TrainBatchEnd | Hook::EpochEnd) {
            let saved = callback.save_state().map_err(failed("save_state"))?;
            cuts.push((hook, events, stage.clone(), saved));
        }
        Ok(())
    })?;

    // What is not the same in two runs that are the same: times, and what follows from them.
    thread::sleep(Duration::from_millis(3));
    let (mut twin, mut stage) = begin()?;
    let second = play(&mut twin, &mut stage, nowhere)?;
    let measured = callback.access();
    let measured = measured.measured().iter().map(|key| format!("log {key}"));
    let varies: BTreeSet<String> = first
        .iter()
        .zip(&second)
        .flat_map(|(one, other)| differences(one, other).cloned().collect::<Vec<_>>())
        .chain(measured)
        .collect();

    callback.load_state(None).map_err(failed("load_state(None)"))?;
    let mut stage = Stage::new(script, EPOCHS);
    if let Some(name) = differences(&fresh, &look(&stage, &*callback)?).next() {
        return Err(format!("load_state(None) did not set {name} back to its beginning"));
    }
    let again = play(&mut callback, &mut stage, nowhere)?;
    if let Some(difference) = first_difference(&first, &again, &varies) {
        return Err(format!("a second run went another way: {difference}"));
    }

    for (hook, events, mut stage, saved) in cuts {
        let place = format!("{hook} of epoch {}", stage.progress().epoch + 1);
        let mut resumed = make();
        resumed.load_state(saved.as_ref()).map_err(failed("load_state"))?;
        let back = resumed.save_state().map_err(failed("save_state"))?;
        let leaves_of = |state: &Option<State>| {
            let mut seen = Seen::new();
            if let Some(state) = state {
                leaves("state", state.value(), &mut seen);
            }
            seen
        };
        let (saved, back) = (leaves_of(&saved), leaves_of(&back));
        if let Some(name) = differences(&saved, &back).find(|name| !varies.contains(*name)) {
            return Err(format!("saved after {place} and loaded, {name} is another"));
        }
        if resumed.access().handles(Hook::TrainBegin) {
            stage.tell(&mut resumed, Hook::TrainBegin).map_err(failed("on_train_begin"))?;
        }
        let rest = play(&mut resumed, &mut stage, nowhere)?;
        if let Some(difference) = first_difference(&first[events..], &rest, &varies) {
            return Err(format!(
                "saved after {place} and loaded, the run went another way: {difference}"
            ));
        }
    }
    Ok(())
}

/// Fails once.
struct Neighbour {
    hook: Hook,
    has_failed: bool,
}

impl Callback for Neighbour {
    fn on_event(&mut self, _: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        if self.has_failed || event.hook() != self.hook {
            return Ok(());
        }
        self.has_failed = true;
        Err(Error::msg("as planned"))
    }
}

fn survives_its_neighbours(make: Make<'_>) -> Kept {
    let script = &scripts(&make().access())[0];
    let data = script.samples(2);
    let fit = || Fit::epochs(3).batch_size(1).validation_data(&data).verbose(0);
    let trainer = |before: Option<Neighbour>, after: Option<Neighbour>| {
        let boxed = |neighbour: Neighbour| Box::new(neighbour) as Box<dyn Callback>;
        Trainer::new(script.learner(), 0.1)
            .console(Console::silent())
            .callbacks(before.map(boxed))
            .callbacks([make()])
            .callbacks(after.map(boxed))
    };
    let mut alone = trainer(None, None);
    let expected = alone.fit(&data, fit()).map_err(failed("a run"))?;
    let names = |history: &crate::history::History| -> Vec<String> {
        history.names().into_iter().map(str::to_owned).collect()
    };
    if let Some((_, error)) = alone.disabled().next() {
        return Err(format!("a run disabled it: {error}"));
    }
    let in_fit = Hook::ALL.into_iter().filter(|hook| !hook.as_str().starts_with("on_predict"));
    for hook in in_fit {
        for is_first in [true, false] {
            let neighbour = || Some(Neighbour { hook, has_failed: false });
            let mut trainer =
                if is_first { trainer(neighbour(), None) } else { trainer(None, neighbour()) };
            let side = if is_first { "before" } else { "after" };
            let place = format!("beside a callback {side} it that fails in {hook}");
            let error = trainer.fit(&data, fit()).err();
            // A callback that stops the run keeps its neighbour from some events.
            if let Some(error) = error {
                ensure(
                    error.callback() == Some("neighbour") && error.further().is_empty(),
                    || format!("{place}, it failed too: {error}"),
                )?;
            }
            *trainer.learner_mut() = script.learner();
            let next =
                trainer.fit(&data, fit()).map_err(failed(format!("a run after one {place}")))?;
            let same = next.len() == expected.len()
                && next.ending == expected.ending
                && names(&next) == names(&expected)
                && next.column("learning_rate") == expected.column("learning_rate");
            ensure(same, || format!("a run after one {place} went another way"))?;
        }
    }
    Ok(())
}

fn refuses_garbage(make: Make<'_>) -> Kept {
    let mut callback = make();
    callback.load_state(None).map_err(failed("load_state(None)"))?;
    let Some(state) = callback.save_state().map_err(failed("save_state"))? else {
        return Ok(());
    };
    let mut load = |garbage: &Value| -> Result<bool, String> {
        let state = State::new(garbage).map_err(failed("a made-up state"))?;
        catch_unwind(AssertUnwindSafe(|| callback.load_state(Some(&state)).is_err()))
            .map_err(|_| format!("load_state panicked at {garbage}"))
    };
    // A state that is one number or one text may well be another; what is null may be anything.
    let own = state.value();
    let is_other = |garbage: &Value| {
        !own.is_null() && std::mem::discriminant(garbage) != std::mem::discriminant(own)
    };
    let others = [json!("garbage"), json!(true), json!(-1.5)].into_iter().filter(is_other);
    for garbage in others.chain([json!([[], {}, "garbage"])]) {
        ensure(load(&garbage)?, || format!("load_state took {garbage} for its state"))?;
    }
    // Some of these may pass for a state; none may panic.
    for garbage in spoilt(state.value()) {
        load(&garbage)?;
    }
    callback.load_state(None).map_err(failed("load_state(None) after garbage"))
}

/// A state with one part after the other replaced.
fn spoilt(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    if let Value::Object(entries) = value {
        for (key, inside) in entries {
            let parts = [json!({ "garbage": [] }), json!(-1), json!("garbage"), Value::Null];
            for part in parts.into_iter().chain(spoilt(inside)) {
                let mut entries = entries.clone();
                entries.insert(key.clone(), part);
                all.push(Value::Object(entries));
            }
            let mut entries = entries.clone();
            entries.remove(key);
            all.push(Value::Object(entries));
        }
    }
    all
}
