//! `ModelCheckpoint` on disk: what is written, kept, removed and refused.

use std::path::Path;

use refrain_core::callbacks::ModelCheckpoint;
use refrain_core::checkpoint::Checkpoints;
use refrain_core::console::Console;
use refrain_core::options::Document;
use refrain_core::testing::Script;
use refrain_core::weights::Weights;
use refrain_core::{
    BuildContext, Callback, Event, Finding, Fit, LambdaCallback, ModelAccess as _, Monitor, Result,
    Run, RunPlan, Severity, State, Trainer, ValidationFreq,
};

const NAN: f64 = f64::NAN;

fn files(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

/// Trains an epoch for each loss, in batches; returns the files that are there afterwards.
fn run(
    losses: &[f64],
    batches: usize,
    name: &str,
    options: impl Fn(ModelCheckpoint) -> ModelCheckpoint,
) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = ModelCheckpoint::new(folder.path().join(name)).monitor(Monitor::min("loss"));
    let script = Script::losses(losses);
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(options(checkpoint));
    let fit = Fit::epochs(losses.len()).batch_size(1).verbose(0);
    trainer.fit(&script.samples(batches), fit).unwrap();
    files(folder.path())
}

#[test]
fn saves_when_keras_does() {
    let best = |c: ModelCheckpoint| c.save_best_only(true);
    assert_eq!(run(&[3., 2., 2., 1., 5.], 1, "{epoch}", best), ["1", "2", "4"]);
    let threshold = |c: ModelCheckpoint| c.save_best_only(true).initial_value_threshold(2.0);
    assert_eq!(run(&[3., 2., 2., 1., 5.], 1, "{epoch}", threshold), ["4"]);
    // Not in Keras: there NaN stays the best value for ever, and only epoch 1 is saved.
    assert_eq!(run(&[NAN, 2., 1.], 1, "{epoch}", best), ["2", "3"]);
    let steps = |n| move |c: ModelCheckpoint| c.every_steps(n);
    let saved = ["e1b3", "e2b2", "e3b1", "e3b4"];
    assert_eq!(run(&[1.; 3], 4, "e{epoch}b{batch}", steps(3)), saved);
    assert_eq!(run(&[1.; 10], 5, "{epoch:02d}", steps(15)), ["03", "06", "09"]);
    assert_eq!(run(&[1.; 2], 2, "{epoch}{batch}", steps(1)), ["11", "12", "21", "22"]);
    let third = |c: ModelCheckpoint| c.every_epochs(3);
    assert_eq!(run(&[1.; 7], 1, "{epoch}", third), ["3", "6"]);
}

#[test]
fn keeps_the_newest_and_the_best() {
    let losses = [5., 1., 4., 2., 3., 6.];
    let name = "{epoch}-{loss:.0f}";
    assert_eq!(run(&losses, 1, name, |c| c.keep(2)), ["5-3", "6-6"]);
    assert_eq!(run(&losses, 1, name, |c| c.keep_best(2)), ["2-1", "4-2"]);
    assert_eq!(run(&losses, 1, name, |c| c.keep(1).keep_best(2)), ["2-1", "4-2", "6-6"]);
    assert_eq!(run(&losses, 1, name, |c| c.keep(1).save_best_only(true)), ["2-1"]);
    assert_eq!(run(&losses, 1, "last", |c| c), ["last"]);
}

/// Keeps its state when a `fit` begins, as a run that goes on does.
struct Kept(ModelCheckpoint);

impl Callback for Kept {
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        self.0.on_event(run, event)
    }
    fn inner(&self) -> Option<&dyn Callback> {
        Some(&self.0)
    }
}

#[test]
fn a_resumed_run_knows_its_best_value_and_its_files_and_removes_no_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("9"), "somebody else's").unwrap();
    let new = || {
        ModelCheckpoint::new(folder.path().join("{epoch}"))
            .monitor(Monitor::min("loss"))
            .save_best_only(true)
            .keep(2)
    };
    let go = |checkpoint: ModelCheckpoint, losses: &[f64], initial: usize| -> Option<State> {
        let script = Script::losses(losses);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(Kept(checkpoint));
        let fit = Fit::epochs(initial + losses.len()).initial_epoch(initial).verbose(0);
        trainer.fit(&script.data(), fit).unwrap();
        trainer.get::<ModelCheckpoint>().unwrap().save_state().unwrap()
    };
    let saved = go(new(), &[4., 3.], 0);
    assert_eq!(files(folder.path()), ["1", "2", "9"]);
    let mut resumed = new();
    resumed.load_state(saved.as_ref()).unwrap();
    assert_eq!(resumed.best(), Some(3.0));
    go(resumed, &[3.5, 2., 1.], 2);
    assert_eq!(files(folder.path()), ["4", "5", "9"]);
    // A new run does not remove what another has left.
    go(new(), &[1.; 2], 6);
    assert_eq!(files(folder.path()), ["4", "5", "7", "9"]);
}

#[test]
fn a_run_that_goes_on_in_a_copy_of_its_folder_leaves_the_original_alone() {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for name in files(from) {
            if from.join(&name).is_dir() {
                copy(&from.join(&name), &to.join(&name));
            } else {
                std::fs::copy(from.join(&name), to.join(&name)).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let script = Script::losses(&[4., 3., 2., 1.]);
    let go = |run: &Path, epochs: usize| {
        let options = serde_json::json!({
            "type": "model_checkpoint", "filepath": "weights/{epoch}", "keep": 2,
        });
        let document = Document::from_json("recipe", &options);
        let registry = refrain_core::CallbackRegistry::builtin();
        let callback = registry.build(&document.value(), 0, &BuildContext { folder: run }).unwrap();
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .callbacks([callback])
            .checkpoints(Checkpoints::in_dir(run));
        trainer.resume().unwrap();
        trainer.fit(&script.data(), Fit::epochs(epochs).verbose(0)).unwrap();
        files(&run.join("weights"))
    };
    let (original, copied) = (folder.path().join("original"), folder.path().join("copy"));
    assert_eq!(go(&original, 2), ["1", "2"]);
    copy(&original, &copied);
    assert_eq!(go(&copied, 4), ["3", "4"]);
    assert_eq!(files(&original.join("weights")), ["1", "2"]);
}

#[test]
fn the_file_is_the_model_at_that_time_and_a_rehearsal_writes_none() {
    for is_rehearsal in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/{epoch:02d}.safetensors");
        let script = Script::losses(&[2.0, NAN, 1.0]);
        let (console, printed) = Console::memory();
        let checkpoint = ModelCheckpoint::new(&path)
            .monitor(Monitor::min("loss"))
            .save_best_only(true)
            .verbose(true);
        let mut trainer = Trainer::new(script.learner(), 0.1).console(console).callback(checkpoint);
        if is_rehearsal {
            trainer = trainer.rehearse();
        }
        trainer.fit(&script.data(), Fit::epochs(3).verbose(0)).unwrap();
        let file = |epoch: usize| folder.path().join(format!("new/{epoch:02}.safetensors"));
        let lines = [
            format!(
                "Epoch 1: loss improved from None to 2.00000, saving model to {}",
                file(1).display()
            ),
            format!("Epoch 1: finished saving model to {}", file(1).display()),
            "Epoch 2: loss did not improve from 2.00000".to_owned(),
            format!(
                "Epoch 3: loss improved from 2.00000 to 1.00000, saving model to {}",
                file(3).display()
            ),
            format!("Epoch 3: finished saving model to {}", file(3).display()),
        ];
        let is_said = |line: &&String| !is_rehearsal || !line.contains("finished");
        let expected: Vec<&String> = lines.iter().filter(is_said).collect();
        assert_eq!(printed.contents().lines().collect::<Vec<_>>(), expected);
        assert_eq!(trainer.get::<ModelCheckpoint>().unwrap().saved_files()[0].path, file(3));
        if is_rehearsal {
            assert!(files(folder.path()).is_empty());
        } else {
            let weights = Weights::load(&file(3)).unwrap();
            assert_eq!(weights, trainer.learner().weights().unwrap());
        }
    }
}

/// In Keras a missing metric is saved, and a missing key of the name ends the run.
#[test]
fn an_epoch_without_the_metric_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    for (name, is_best_only, expected) in [
        ("{epoch}", true, &["1", "4"][..]),
        ("{epoch}-{score:.1f}", false, &["1-3.0", "3-4.0", "4-1.0"]),
    ] {
        let folder = folder.path().join(if is_best_only { "best" } else { "all" });
        let values = [Some(3.0), None, Some(4.0), Some(1.0)];
        let score = LambdaCallback::new("score")
            .on_epoch_end(move |run, epoch| {
                if let Some(value) = values[run.progress.epoch] {
                    epoch.logs.insert("score", value);
                }
                Ok(())
            })
            .writes("score");
        let checkpoint = ModelCheckpoint::new(folder.join(name))
            .monitor(Monitor::min("score"))
            .save_best_only(is_best_only);
        let script = Script::losses(&[0.0]);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(score).callback(checkpoint);
        trainer.fit(&script.data(), Fit::epochs(4).verbose(0)).unwrap();
        assert_eq!(files(&folder), expected);
    }
}

#[test]
fn saves_by_steps_read_the_device_only_where_a_number_is_needed() {
    for (name, reads) in [("{epoch}-{batch}", 2), ("{epoch}-{batch}-{loss}", 4)] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = ModelCheckpoint::new(folder.path().join(name)).every_steps(3);
        let script = Script::losses(&[1.0; 2]);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(checkpoint);
        let fit = Fit::epochs(2).batch_size(1).verbose(0);
        trainer.fit(&script.samples(3), fit).unwrap();
        assert_eq!(files(folder.path()).len(), 2);
        // One read an epoch is the loop's own.
        assert_eq!(trainer.learner().reads(), reads, "{name}");
    }
}

#[test]
fn refuses_what_cannot_be() {
    let new = ModelCheckpoint::new;
    for (checkpoint, word) in [
        (new(""), "filepath is empty"),
        (new("{epoch:x}"), "is no format"),
        (new("{batch}"), "saves after epochs have none"),
        (new("w").keep(2), "keep is 2, and filepath names one file"),
        (new("w").keep_best(2), "keep_best is 2"),
        (new("{epoch}").keep(0), "keep is 0"),
        (new("w").every_epochs(0), "every_epochs is 0"),
        (new("w").every_steps(0), "save_freq is 0"),
        (new("w").initial_value_threshold(NAN), "initial_value_threshold is NaN"),
    ] {
        let error = checkpoint.check().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(new("w").keep(1).check().is_ok());
    assert!(new("{batch}").every_steps(1).check().is_ok());
}

#[test]
fn options_of_a_recipe() {
    let build = |options: serde_json::Value| {
        let mut options = options;
        options["type"] = "model_checkpoint".into();
        let document = Document::from_json("recipe", &options);
        let context = BuildContext { folder: Path::new("runs/{odd}") };
        let registry = refrain_core::CallbackRegistry::builtin();
        registry.build(&document.value(), 0, &context).map(|callback| callback.access())
    };
    let access = build(serde_json::json!({
        "filepath": "a/{epoch}-{val_loss:.3f}", "save_best_only": true, "monitor": "val_accuracy",
        "keep": 2, "keep_best": 3, "every_epochs": 2, "save_freq": "epoch", "verbose": 1,
    }))
    .unwrap();
    assert_eq!(access.read(), ["val_loss", "val_accuracy"]);
    assert_eq!(access.files(), [Path::new("runs/{odd}/a/{epoch}-{val_loss:.3f}")]);
    assert!(build(serde_json::json!({ "filepath": "{batch}", "save_freq": 3 })).is_ok());
    for (options, word) in [
        (serde_json::json!({}), "needs `filepath`"),
        (serde_json::json!({ "filepath": "{epoch" }), "has no partner"),
        (serde_json::json!({ "filepath": "model.safetensors" }), "which the run itself writes"),
        (serde_json::json!({ "filepath": "w", "save_freq": false }), "`save_freq` is a boolean"),
        (serde_json::json!({ "filepath": "w", "save_freq": 0 }), "`save_freq` is 0"),
        (serde_json::json!({ "filepath": "w", "save_freq": "batch" }), "`save_freq` is \"batch\""),
        (serde_json::json!({ "filepath": "w", "save_freq": 3, "every_epochs": 2 }), "keep one"),
        (serde_json::json!({ "filepath": "w", "keep": 0 }), "`keep` is 0"),
        (serde_json::json!({ "filepath": "w", "keep": 3 }), "names one file"),
    ] {
        let error = build(options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn what_is_odd_in_a_run_is_found_before_it() {
    let plan = RunPlan {
        epochs: 6,
        initial_epoch: 3,
        steps_per_epoch: 4,
        validation: Some(ValidationFreq::Every(1)),
        ..RunPlan::default()
    };
    let sparse = RunPlan { validation: Some(ValidationFreq::Every(2)), ..plan.clone() };
    let new = || ModelCheckpoint::new("{epoch}");
    for (checkpoint, plan, expected) in [
        (new(), &plan, None),
        (new().every_epochs(6), &plan, None),
        (new().every_epochs(7), &plan, Some(("checkpoint-never-due", Severity::Warning))),
        (new().every_steps(12), &plan, None),
        (new().every_steps(13), &plan, Some(("checkpoint-never-due", Severity::Warning))),
        (
            new().every_steps(1).save_best_only(true),
            &plan,
            Some(("not-in-batch-logs", Severity::Error)),
        ),
        (new().every_steps(1).monitor(Monitor::min("loss")).save_best_only(true), &plan, None),
        (new().save_best_only(true), &plan, None),
        (new().save_best_only(true), &sparse, Some(("checkpoint-skips-epochs", Severity::Warning))),
    ] {
        let found: Vec<Finding> = checkpoint.findings(plan);
        let found = found.first().map(|finding| (finding.code, finding.severity));
        assert_eq!(found, expected, "{checkpoint:?}");
    }
}

#[test]
fn a_key_that_the_run_does_not_have_is_found_before_the_first_batch() {
    let script = Script::losses(&[1.0]);
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = ModelCheckpoint::new(folder.path().join("{val_acc}"));
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(checkpoint);
    let error = trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("no metric named `val_acc`"),
        "{error}"
    );
    assert!(files(folder.path()).is_empty());
    assert_eq!(trainer.learner().updates(), 0);
}
