//! What the exercise expects of a solution. To check the starter once it is filled in, change the
//! next line to `use refrain_book::starter as exercise;`.

use refrain_book::solution as exercise;

use exercise::{JsonTrainingLogger, StepLrScheduler, WarmupCosineScheduler};
use refrain::callbacks;
use refrain::console::Console;
use refrain::prelude::*;
use refrain::testing::{Script, ScriptLearner};
use refrain::{Ending, Recipe};
use refrain_book::setup::{create_simple_model, digits};
use serde_json::Value;

/// A run on made-up losses: rates of the epochs, and what was printed.
fn rates_and_lines(callback: impl Callback, epochs: usize) -> (Vec<Option<f64>>, String) {
    let script = Script::losses(&[1.0]);
    let (console, printed) = Console::memory();
    let mut trainer = Trainer::new(script.learner(), 0.1).console(console).callback(callback);
    let history = trainer.fit(&script.data(), Fit::epochs(epochs).verbose(0)).unwrap();
    (history.column("learning_rate"), printed.contents())
}

fn read(path: &std::path::Path) -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn task_1_the_three_lines_and_the_rate_of_every_epoch() {
    let data = digits().unwrap();
    let (console, printed) = Console::memory();
    let mut trainer =
        create_simple_model(&data).unwrap().console(console).callback(StepLrScheduler::new(0.5, 5));
    trainer.fit(&data, Fit::epochs(20).batch_size(128).verbose(0)).unwrap();
    assert_eq!(
        printed.contents(),
        "Epoch 5: Reducing LR from 0.100000 to 0.050000\n\
         Epoch 10: Reducing LR from 0.050000 to 0.025000\n\
         Epoch 15: Reducing LR from 0.025000 to 0.012500\n"
    );
    let rates = trainer.get::<StepLrScheduler>().unwrap().lr_history().to_vec();
    assert_eq!(rates, [[0.1; 5], [0.05; 5], [0.025; 5], [0.0125; 5]].concat());
    assert_eq!(
        trainer.history().column("learning_rate"),
        rates.into_iter().map(Some).collect::<Vec<_>>()
    );
}

#[test]
fn task_1_agrees_with_the_scheduler_that_comes_with_refrain() {
    for (factor, step_epochs) in [(0.5, 5), (0.1, 1), (0.9, 7), (2.0, 3)] {
        assert_eq!(
            rates_and_lines(StepLrScheduler::new(factor, step_epochs), 20),
            rates_and_lines(callbacks::StepLrScheduler::new(factor, step_epochs), 20),
            "{factor} every {step_epochs}"
        );
    }
}

#[test]
fn task_1_a_second_fit_begins_anew() {
    let script = Script::losses(&[1.0]);
    let scheduler = StepLrScheduler::new(0.5, 2).verbose(false);
    let mut trainer = Trainer::new(script.learner(), 0.1).callback(scheduler);
    for _ in 0..2 {
        trainer.fit(&script.data(), Fit::epochs(4).verbose(0)).unwrap();
        let scheduler = trainer.get::<StepLrScheduler>().unwrap();
        assert_eq!(scheduler.lr_history(), [0.1, 0.1, 0.05, 0.05]);
    }
}

#[test]
fn task_2_one_entry_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let log_file = folder.path().join("my_training_log.json");
    let data = digits().unwrap();
    let (console, printed) = Console::memory();
    let mut trainer = create_simple_model(&data)
        .unwrap()
        .console(console)
        .callback(JsonTrainingLogger::new(&log_file));
    let fit = Fit::epochs(5).batch_size(128).validation_split(0.2).verbose(0);
    let history = trainer.fit(&data, fit).unwrap();

    let log = read(&log_file);
    assert_eq!(log.len(), 5);
    let keys: Vec<&String> = log[0].as_object().unwrap().keys().collect();
    let names = ["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"];
    assert_eq!(keys, [&["epoch", "timestamp"], &names[..]].concat());
    for (i, entry) in log.iter().enumerate() {
        assert_eq!(entry["epoch"], i + 1);
        let timestamp = entry["timestamp"].as_str().unwrap();
        assert!(humantime::parse_rfc3339(timestamp).is_ok(), "{timestamp}");
        for name in names {
            assert_eq!(entry[name].as_f64(), history.column(name)[i], "{name} of epoch {}", i + 1);
        }
    }
    assert!(printed.contents().contains("5 epochs"), "{}", printed.contents());
}

#[test]
fn task_2_agrees_with_the_logger_that_comes_with_refrain() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, included) = (folder.path().join("mine.json"), folder.path().join("included.json"));
    let script = Script::new(&["loss", "accuracy"], vec![vec![0.1, 0.5], vec![1e-9, 1.0]]);
    let mut trainer = Trainer::new(script.learner(), 0.1)
        .console(Console::silent())
        .callback(JsonTrainingLogger::new(&mine).named("mine"))
        .callback(callbacks::JsonTrainingLogger::new(&included));
    // Twice: the second run replaces the log of the first.
    for _ in 0..2 {
        trainer.fit(&script.data(), Fit::epochs(2).verbose(0)).unwrap();
        let without_timestamps = |path| {
            let mut log = read(path);
            for entry in &mut log {
                entry.as_object_mut().unwrap().remove("timestamp");
            }
            log
        };
        assert_eq!(without_timestamps(&mine), without_timestamps(&included));
        assert_eq!(read(&mine).len(), 2);
    }
}

#[test]
fn task_3_stops_early_with_the_rate_halved_and_the_best_weights_back() {
    let folder = tempfile::tempdir().unwrap();
    let log_file = folder.path().join("experiment_log.json");
    let data = digits().unwrap();
    let (history, rates) = exercise::train_with_full_pipeline(&data, &log_file).unwrap();

    assert!(history.len() < 50, "{} epochs", history.len());
    assert!(
        matches!(&history.ending, Ending::Stopped(stop) if stop.by == "early_stopping"),
        "{:?}",
        history.ending
    );
    assert_eq!(rates.len(), history.len());
    assert_eq!((rates[9], rates[10]), (0.1, 0.05));
    assert_eq!(read(&log_file).len(), history.len());
    // Patience 5: the best epoch is the fifth before the last.
    let val_loss: Vec<f64> = history.column("val_loss").into_iter().flatten().collect();
    let best = (0..val_loss.len()).min_by(|&a, &b| val_loss[a].total_cmp(&val_loss[b]));
    assert_eq!(best, Some(history.len() - 6));
}

#[test]
fn task_3_is_the_run_of_the_built_in_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let log_file = folder.path().join("experiment_log.json");
    let (mine, _) = exercise::train_with_full_pipeline(&digits().unwrap(), &log_file).unwrap();

    let recipe = Recipe::builtin(&[]).unwrap();
    let data = recipe.load_data().unwrap();
    let mut trainer = recipe
        .trainer(&data)
        .unwrap()
        .console(Console::silent())
        .callbacks(recipe.callbacks(folder.path()).unwrap());
    let included = trainer.fit(&data, recipe.fit(&data).verbose(0)).unwrap();
    assert_eq!(mine, included);
    assert!(folder.path().join("training_from_json.png").exists());
}

#[test]
fn bonus_agrees_with_the_scheduler_that_comes_with_refrain() {
    for (warmup_epochs, total_epochs) in [(5, 50), (0, 4), (3, 3), (1, 10)] {
        let mine = WarmupCosineScheduler::new(0.01, warmup_epochs, total_epochs);
        let included =
            callbacks::WarmupCosineScheduler { base_lr: 0.01, warmup_epochs, total_epochs };
        for epoch in 0..total_epochs {
            assert_eq!(mine.rate(epoch), included.rate(epoch), "epoch {epoch}");
        }
        assert_eq!(rates_and_lines(mine, total_epochs), rates_and_lines(included, total_epochs));
    }
}

#[test]
fn bonus_combines_with_the_step_scheduler_and_not_with_a_second_owner_of_the_rate() {
    let trainer = || -> Trainer<ScriptLearner> {
        Trainer::new(Script::losses(&[1.0]).learner(), 0.1)
            .callback(WarmupCosineScheduler::new(0.1, 2, 10))
    };
    let data = Script::losses(&[1.0]).data();
    let fit = || Fit::epochs(4).verbose(0);

    let mut combined = trainer().callback(StepLrScheduler::new(0.5, 1).verbose(false));
    let history = combined.fit(&data, fit()).unwrap();
    assert_eq!(history.column("learning_rate")[..2], [Some(0.05), Some(0.05)]);

    let second = callbacks::WarmupCosineScheduler::default().named("second");
    let error = trainer().callback(second).fit(&data, fit()).unwrap_err();
    assert!(error.to_string().contains("both set the base learning rate"), "{error}");
}
