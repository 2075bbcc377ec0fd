//! What is refused before the first batch, with the fix in the message.

use refrain_core::callbacks::{EarlyStopping, StepLrScheduler, WarmupCosineScheduler};
use refrain_core::schedule::{CosineDecay, Rate};
use refrain_core::testing::{Script, ScriptLearner, Trace};
use refrain_core::{CallbackExt as _, Fit, LambdaCallback, Monitor, Trainer};

fn trainer(rate: impl Into<Rate>) -> Trainer<ScriptLearner> {
    Trainer::new(Script::new(&["loss", "accuracy"], vec![vec![1.0, 0.5]]).learner(), rate)
}

/// Fits, expects a refusal with exactly this text, and that nobody was told of a beginning.
fn refused(trainer: Trainer<ScriptLearner>, text: &str) {
    let script = Script::losses(&[1.0]);
    let trace = Trace::new("t");
    let mut trainer = trainer.callback(trace.clone());
    let error = trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap_err();
    assert!(error.is_config(), "{error}");
    assert_eq!(error.to_string(), text);
    assert!(trace.lines().is_empty(), "{:?}", trace.lines());
    assert_eq!(trainer.learner().updates(), 0);
}

fn stopping(name: &str) -> EarlyStopping {
    EarlyStopping::new(Monitor::min(name))
}

fn cosine() -> CosineDecay {
    CosineDecay::new(0.1, 10.0)
}

#[test]
fn names_that_do_not_exist() {
    refused(
        trainer(0.1).callback(stopping("acuracy")),
        "callback `early_stopping`: no metric named `acuracy`; \
         this run has accuracy, learning_rate, loss; did you mean `accuracy`?",
    );
    refused(
        trainer(0.1).callback(stopping("val_loss")),
        "callback `early_stopping`: no metric named `val_loss`; this run has accuracy, \
         learning_rate, loss; it needs validation: give validation_data or validation_split, in an \
         epoch of the run",
    );
}

#[test]
fn a_reader_before_its_writer() {
    let f1 = || LambdaCallback::new("f1").writes("val_f1");
    let watch = || LambdaCallback::new("watch").reads("val_f1");
    refused(
        trainer(0.1).callback(watch()).callback(f1()),
        "`watch` reads `val_f1`, which `f1`, listed after it, writes; list `f1` first",
    );
    let script = Script::losses(&[1.0]);
    let mut in_order = trainer(0.1).callback(f1()).callback(watch());
    assert!(in_order.fit(&script.data(), Fit::epochs(1).verbose(0)).is_ok());
}

#[test]
fn two_states_of_one_name() {
    let one = || stopping("loss");
    refused(
        trainer(0.1).callback(one()).callback(LambdaCallback::new("between")).callback(one()),
        "callbacks `early_stopping` (1st and 3rd) share a name, under which both keep a state or a factor of the rate; \
         rename one with `.named(..)` (in a recipe: name = \"..\")",
    );
    let script = Script::losses(&[1.0]);
    let mut renamed = trainer(0.1).callback(one()).callback(one().named("second"));
    assert!(renamed.fit(&script.data(), Fit::epochs(1).verbose(0)).is_ok());
}

#[test]
fn two_owners_of_the_base_rate() {
    refused(
        trainer(cosine()).callback(WarmupCosineScheduler::default()),
        "the optimizer's schedule and callback `warmup_cosine_scheduler` both set the base \
         learning rate; keep one of them (callbacks that scale the rate by a factor combine freely)",
    );
    refused(
        trainer(0.1)
            .callback(WarmupCosineScheduler::default())
            .callback(LambdaCallback::new("mine").sets_base_rate()),
        "callback `warmup_cosine_scheduler` and callback `mine` both set the base learning rate; \
         keep one of them (callbacks that scale the rate by a factor combine freely)",
    );
    let script = Script::losses(&[1.0]);
    let mut combined = trainer(cosine()).callback(StepLrScheduler::new(0.5, 1).verbose(false));
    let history = combined.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
    let second = history.column("learning_rate")[1].unwrap();
    assert!(second < 0.05, "{second}");
}

#[test]
fn the_base_rate_of_another_is_not_overwritten_in_silence() {
    let script = Script::losses(&[1.0]);
    let intruder =
        || LambdaCallback::new("intruder").on_epoch_begin(|run| run.learning_rate.set_base(0.5));
    let mut alone = trainer(0.1).callback(intruder());
    assert!(alone.fit(&script.data(), Fit::epochs(1).verbose(0)).is_ok());
    let mut both = trainer(0.1).callback(WarmupCosineScheduler::default()).callback(intruder());
    let error = both.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap_err().to_string();
    assert_eq!(
        error,
        "callback `intruder` set the base learning rate, which callback `warmup_cosine_scheduler` \
         sets; scale it by a factor of its own (set_factor), or declare sets_base_rate() and keep one"
    );
}

#[test]
fn rates_and_options_out_of_range() {
    for (rate, shown) in [(0.0, "0"), (-0.1, "-0.1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        refused(
            trainer(rate),
            &format!(
                "learning_rate is {shown}; allowed: a finite number above 0, typically 1e-4 to 0.1"
            ),
        );
    }
    refused(
        trainer(0.1).callback(StepLrScheduler::new(0.5, 0)),
        "callback `step_lr_scheduler`: step_epochs is 0; allowed: 1 or more",
    );
    refused(
        trainer(0.1).callback(LambdaCallback::new("x").writes("epoch")),
        "callback `x` writes `epoch`, which every log has; choose another name",
    );
    refused(
        trainer(0.1).callback(LambdaCallback::new("x").every(0)),
        "callback `x`: every is 0; allowed: 1 or more",
    );
}
