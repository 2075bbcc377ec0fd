//! Thousands of random sequences on which Keras 3.15.1 itself decided (`tests/keras/record.py`):
//! Refrain decides the same, except where the docs of a callback say otherwise. Each exception is a
//! rule here; a recording that deviates without one fails.

use std::path::Path;
use std::sync::{Arc, Mutex};

use refrain_core::callbacks::{CsvLogger, EarlyStopping, ModelCheckpoint, ReduceLrOnPlateau};
use refrain_core::console::Console;
use refrain_core::testing::{Script, ScriptLearner};
use refrain_core::{Callback, Event, Fit, LambdaCallback, Monitor, Result, Run, State, Trainer};
use serde::Deserialize;
use serde_json::Value;

/// A number as the recordings have it: JSON has no word for NaN and infinities.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "Value")]
struct Number(f64);

impl TryFrom<Value> for Number {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Number(n) => n.as_f64(),
            Value::String(word) => word.parse().ok(),
            _ => None,
        }
        .map(Number)
        .ok_or_else(|| "no number".to_owned())
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.0.is_nan() && other.0.is_nan()
    }
}

/// One value an epoch; none where it is missing.
type Sequence = Vec<Option<Number>>;

/// A `fit`: what came in, and what Keras made of it.
#[derive(Deserialize)]
struct Recorded<T> {
    initial_epoch: usize,
    values: Sequence,
    keras: T,
    /// Where Keras deviates from what Refrain means to do: the same of a Keras changed accordingly.
    deviating: Option<T>,
}

impl<T> Recorded<T> {
    /// What Refrain is to do; `is_listed`: whether this is a case in which it says that it deviates.
    fn expected(&self, is_listed: bool) -> &T {
        assert!(self.deviating.is_none() || is_listed, "a deviation that no rule explains");
        self.deviating.as_ref().unwrap_or(&self.keras)
    }
}

fn cases<T: for<'de> Deserialize<'de>>(recordings: &str) -> Vec<T> {
    recordings.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn monitor(mode: &str) -> Monitor {
    match mode {
        "min" => Monitor::min("score"),
        _ => Monitor::max("score"),
    }
}

/// NaN as the first value poisons Keras' callback; in Refrain it is no improvement.
fn begins_with_nan(values: &[Option<Number>]) -> bool {
    values.iter().flatten().next().is_some_and(|value| value.0.is_nan())
}

/// A trainer whose epochs have `score` as the sequence says, and the callback, which is looked at
/// after each epoch.
struct Player<C, T> {
    trainer: Trainer<ScriptLearner>,
    sequence: Arc<Mutex<(usize, Sequence)>>,
    seen: Arc<Mutex<Vec<T>>>,
    callback: std::marker::PhantomData<C>,
}

impl<C: Callback, T: Send + 'static> Player<C, T> {
    fn new(callback: C, look: fn(&C, &Run<'_>) -> T) -> Self {
        let sequence: Arc<Mutex<(usize, Sequence)>> = Arc::default();
        let seen = Arc::default();
        let played = Arc::clone(&sequence);
        let score = LambdaCallback::new("score")
            .on_epoch_end(move |run, epoch| {
                let (initial, values) = &*played.lock().unwrap();
                if let Some(value) = values[run.progress.epoch - initial] {
                    epoch.logs.insert("score", value.0);
                }
                Ok(())
            })
            .writes("score");
        let looked_at = LookedAt { callback, look, seen: Arc::clone(&seen) };
        let trainer =
            Trainer::new(Script::losses(&[0.0]).learner(), 1.0).callback(score).callback(looked_at);
        Self { trainer, sequence, seen, callback: std::marker::PhantomData }
    }

    /// Plays a sequence; returns what was seen after each epoch.
    fn play(&mut self, initial_epoch: usize, values: &[Option<Number>]) -> Vec<T> {
        *self.sequence.lock().unwrap() = (initial_epoch, values.to_vec());
        let fit = Fit::epochs(initial_epoch + values.len()).initial_epoch(initial_epoch).verbose(0);
        self.trainer.fit(&Script::losses(&[0.0]).data(), fit).unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn callback(&self) -> &C {
        self.trainer.get::<C>().unwrap()
    }
}

struct LookedAt<C, T> {
    callback: C,
    look: fn(&C, &Run<'_>) -> T,
    seen: Arc<Mutex<Vec<T>>>,
}

impl<C: Callback, T: Send + 'static> Callback for LookedAt<C, T> {
    fn on_event(&mut self, run: &mut Run<'_>, event: &mut Event<'_>) -> Result {
        self.callback.on_event(run, event)?;
        if matches!(event, Event::EpochEnd(_)) {
            self.seen.lock().unwrap().push((self.look)(&self.callback, run));
        }
        Ok(())
    }
    fn check(&self) -> Result {
        self.callback.check()
    }
    fn load_state(&mut self, saved: Option<&State>) -> Result {
        self.callback.load_state(saved)
    }
    fn inner(&self) -> Option<&dyn Callback> {
        Some(&self.callback)
    }
}

#[derive(Deserialize)]
struct StoppingCase {
    options: StoppingOptions,
    fits: Vec<Recorded<Stopping>>,
}

#[derive(Deserialize)]
struct StoppingOptions {
    mode: String,
    patience: usize,
    min_delta: f64,
    baseline: Option<f64>,
    restore_best_weights: bool,
    start_from_epoch: usize,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Stopping {
    /// After each epoch that was run.
    waits: Vec<usize>,
    best: Option<Number>,
    best_epoch: Option<usize>,
    stopped_epoch: Option<usize>,
    /// The epoch after which the model had the weights with which it ends.
    weights: usize,
}

#[test]
fn early_stopping_decides_as_keras_does() {
    let cases: Vec<StoppingCase> = cases(include_str!("keras/early_stopping.jsonl"));
    for (number, StoppingCase { options, fits }) in cases.iter().enumerate() {
        let mut stopping = EarlyStopping::new(monitor(&options.mode).min_delta(options.min_delta))
            .patience(options.patience)
            .restore_best_weights(options.restore_best_weights)
            .start_from_epoch(options.start_from_epoch);
        if let Some(baseline) = options.baseline {
            stopping = stopping.baseline(baseline);
        }
        let mut player = Player::new(stopping, |stopping, _| stopping.state().wait);
        for fit in fits {
            let before = player.trainer.learner().updates() as usize;
            let waits = player.play(fit.initial_epoch, &fit.values);
            let stopping = player.callback();
            let updates = player.trainer.learner().updates() as usize;
            let found = Stopping {
                waits,
                best: stopping.best().map(Number),
                best_epoch: stopping.best_epoch(),
                stopped_epoch: stopping.stopped_epoch(),
                weights: fit.initial_epoch + updates - before - 1,
            };
            let unwatched = options.start_from_epoch.saturating_sub(fit.initial_epoch);
            let watched = fit.values.get(unwatched..).unwrap_or_default();
            let expected = fit.expected(begins_with_nan(watched));
            assert_eq!(&found, expected, "line {}: {:?}", number + 1, fit.values);
        }
    }
    assert_eq!(cases.len(), 1000);
}

#[derive(Deserialize)]
struct PlateauCase {
    options: PlateauOptions,
    fits: Vec<Recorded<Plateau>>,
}

#[derive(Deserialize)]
struct PlateauOptions {
    mode: String,
    factor: f64,
    patience: usize,
    min_delta: f64,
    cooldown: usize,
    min_lr: f64,
}

#[derive(Debug, Deserialize)]
struct Plateau {
    /// After each epoch, from 1.0 on.
    rates: Vec<f64>,
    wait: usize,
    cooldown: usize,
    best: Option<Number>,
}

#[test]
fn reduce_lr_on_plateau_decides_as_keras_does() {
    let cases: Vec<PlateauCase> = cases(include_str!("keras/reduce_lr_on_plateau.jsonl"));
    for (number, PlateauCase { options, fits }) in cases.iter().enumerate() {
        let monitor = monitor(&options.mode).min_delta(options.min_delta);
        let plateau = ReduceLrOnPlateau::new(monitor)
            .factor(options.factor)
            .patience(options.patience)
            .cooldown(options.cooldown)
            .min_lr(options.min_lr);
        let mut player = Player::new(plateau, |_, run| run.learning_rate.get());
        for fit in fits {
            let rates = player.play(fit.initial_epoch, &fit.values);
            let expected = fit.expected(begins_with_nan(&fit.values));
            let line = format!("line {}: {rates:?} {expected:?}", number + 1);
            assert_eq!(rates.len(), expected.rates.len(), "{line}");
            for (rate, expected) in rates.iter().zip(&expected.rates) {
                // Keras keeps the rate in f32 and rounds at each of up to 14 reductions.
                assert!((rate - expected).abs() <= 1e-6 * expected, "{line}");
            }
            let state = player.callback().state();
            let found = (state.wait, state.cooldown, state.best.map(Number));
            assert_eq!(found, (expected.wait, expected.cooldown, expected.best), "{line}");
        }
    }
    assert_eq!(cases.len(), 800);
}

/// Golden vectors R1 to R13: the rate after each epoch, from 1.0 on, with factor 0.5.
#[test]
fn reduce_lr_on_plateau_follows_the_golden_vectors() {
    const NAN: f64 = f64::NAN;
    /// The metric is missing in this epoch.
    const GONE: f64 = -1e99;
    let new = |patience: usize| {
        ReduceLrOnPlateau::new(Monitor::min("score")).factor(0.5).patience(patience)
    };
    let fine = |min_delta: f64| {
        ReduceLrOnPlateau::new(Monitor::min("score").min_delta(min_delta)).factor(0.5)
    };
    #[rustfmt::skip]
    let cases = [
        ("R1", vec![1.; 6], new(0), vec![1., 0.5, 0.25, 0.125, 0.0625, 0.03125], 0),
        ("R1", vec![1.; 6], new(1), vec![1., 0.5, 0.25, 0.125, 0.0625, 0.03125], 0),
        ("R2", vec![1.; 8], new(2), vec![1., 1., 0.5, 0.5, 0.25, 0.25, 0.125, 0.125], 1),
        ("R2", vec![1.; 8], new(2).cooldown(1),
            vec![1., 1., 0.5, 0.5, 0.25, 0.25, 0.125, 0.125], 1),
        ("R3", vec![1.; 10], new(2).cooldown(2),
            vec![1., 1., 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125], 0),
        ("R4", vec![1.; 10], new(1).cooldown(2),
            vec![1., 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.03125], 0),
        ("R5", vec![1.; 8], new(1).min_lr(0.2),
            vec![1., 0.5, 0.25, 0.2, 0.2, 0.2, 0.2, 0.2], 4),
        // Keras: 1, 0.5, 0.25, ...; there NaN stays the best value for ever.
        ("R6", vec![NAN, 1., 1., 1., 0.5, 0.4], new(1), vec![0.5, 0.5, 0.25, 0.125, 0.125, 0.125], 0),
        ("R7", vec![1., GONE, GONE, GONE, 1.], new(1), vec![1., 1., 1., 1., 0.5], 0),
        ("R8", vec![1., 1., 1., 0.5, 0.5, 0.5, 0.5, 0.5], new(2).cooldown(3),
            vec![1., 1., 0.5, 0.5, 0.5, 0.5, 0.25, 0.25], 0),
        ("R9", vec![1., 0.99995, 0.9998, 0.9997], new(1), vec![1., 0.5, 0.5, 0.25], 0),
        ("R11", vec![0.759, 0.934, 0.638, 0.551, 0.691, 0.651, 0.698, 0.667, 0.734, 0.699, 0.398,
                0.4, 0.46, 0.642], fine(0.05).patience(1).cooldown(2),
            vec![1., 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.0625, 0.03125,
                0.03125, 0.015625], 0),
        ("R12", vec![0.72, 0.535, 0.76, 0.491, 0.703, 0.668, 0.854, 0.667, 0.375, 0.424, 0.488,
                0.597, 0.738, 0.541], new(2).min_lr(0.2),
            vec![1., 1., 1., 1., 1., 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2], 3),
        ("R13", vec![0.995, 0.875, 0.696, 0.537, 0.723, 0.572, 0.784, 0.722, 0.515, 0.807, 0.34,
                0.331, 0.495, 0.409], new(2).cooldown(3).min_lr(0.2),
            vec![1., 1., 1., 1., 1., 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25], 0),
    ];
    for (name, values, plateau, rates, wait) in cases {
        let sequence: Sequence =
            values.iter().map(|x| (*x != GONE).then_some(Number(*x))).collect();
        let mut player = Player::new(plateau, |_, run| run.learning_rate.get());
        assert_eq!(player.play(0, &sequence), rates, "{name}");
        assert_eq!(player.callback().state().wait, wait, "{name}: wait");
    }
    // R10: Keras takes them, and trains on with a rate of 0.
    for factor in [0.0, -0.5] {
        assert!(new(1).factor(factor).check().is_err());
    }
}

#[derive(Deserialize)]
struct CheckpointCase {
    filepath: String,
    options: CheckpointOptions,
    /// Batches in an epoch.
    steps: usize,
    #[serde(flatten)]
    fit: Recorded<Checkpoint>,
}

#[derive(Deserialize)]
struct CheckpointOptions {
    mode: String,
    save_best_only: bool,
    initial_value_threshold: Option<f64>,
    /// `"epoch"` or a number of steps.
    save_freq: Value,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Checkpoint {
    /// Names of the files, in the order in which they were saved.
    saved: Vec<String>,
    best: Option<Number>,
}

impl CheckpointCase {
    fn save_steps(&self) -> Option<usize> {
        self.options.save_freq.as_u64().map(|n| n as usize)
    }

    /// Refrain's decisions, in a rehearsal: it prints what it would save.
    fn run(&self) -> Checkpoint {
        let CheckpointOptions { mode, save_best_only, initial_value_threshold, .. } = &self.options;
        let mut checkpoint = ModelCheckpoint::new(&self.filepath)
            .monitor(monitor(mode))
            .save_best_only(*save_best_only)
            .verbose(true);
        if let Some(threshold) = initial_value_threshold {
            checkpoint = checkpoint.initial_value_threshold(*threshold);
        }
        let (console, printed) = Console::memory();
        let (values, initial) = (self.fit.values.clone(), self.fit.initial_epoch);
        let (script, score) = match self.save_steps() {
            Some(n) => {
                checkpoint = checkpoint.every_steps(n);
                let row = |value: &Option<Number>| vec![0.0, value.unwrap().0];
                let script = Script::new(&["loss", "score"], values.iter().map(row).collect());
                (script, LambdaCallback::new("nothing"))
            }
            None => {
                let score = LambdaCallback::new("score").writes("score");
                let values = values.clone();
                let score = score.on_epoch_end(move |run, epoch| {
                    if let Some(value) = values[run.progress.epoch - initial] {
                        epoch.logs.insert("score", value.0);
                    }
                    Ok(())
                });
                (Script::losses(&[0.0]), score)
            }
        };
        let mut trainer = Trainer::new(script.learner(), 0.1)
            .console(console)
            .callback(score)
            .callback(checkpoint)
            .rehearse();
        let fit = Fit::epochs(initial + values.len()).initial_epoch(initial);
        trainer.fit(&script.samples(self.steps), fit.batch_size(1).verbose(0)).unwrap();
        let saved =
            |line: &str| line.split_once("saving model to ").map(|(_, name)| name.to_owned());
        let best = trainer.get::<ModelCheckpoint>().unwrap().best().or(*initial_value_threshold);
        Checkpoint {
            saved: printed.contents().lines().filter_map(saved).collect(),
            best: best.map(Number),
        }
    }

    /// Whether the first value that is looked at is NaN.
    fn looks_at_nan_first(&self) -> bool {
        let first_epoch = self.save_steps().map_or(0, |n| (n - 1) / self.steps);
        let CheckpointOptions { save_best_only, initial_value_threshold, .. } = &self.options;
        *save_best_only
            && initial_value_threshold.is_none()
            && begins_with_nan(self.fit.values.get(first_epoch..).unwrap_or_default())
    }
}

#[test]
fn model_checkpoint_decides_as_keras_does() {
    let cases: Vec<CheckpointCase> = cases(include_str!("keras/model_checkpoint.jsonl"));
    for (number, case) in cases.iter().enumerate() {
        let expected = case.fit.expected(case.looks_at_nan_first());
        // With best-only, Keras saves where the metric is missing; Refrain does not.
        let is_kept = |name: &&String| !name.starts_with("missing:");
        let saved: Vec<String> = expected.saved.iter().filter(is_kept).cloned().collect();
        let expected = Checkpoint { saved, best: expected.best };
        assert_eq!(case.run(), expected, "line {}", number + 1);
    }
    assert_eq!(cases.len(), 1000);
}

#[derive(Deserialize)]
struct CsvCase {
    separator: char,
    append: bool,
    fits: Vec<CsvFit>,
}

#[derive(Deserialize)]
struct CsvFit {
    initial_epoch: usize,
    rows: Vec<std::collections::BTreeMap<String, Number>>,
    /// The file after this `fit`.
    text: String,
}

impl CsvFit {
    fn log(&self, case: &CsvCase, path: &Path) -> String {
        let (rows, initial) = (self.rows.clone(), self.initial_epoch);
        let play = LambdaCallback::new("play").on_epoch_end(move |run, epoch| {
            let row = &rows[run.progress.epoch - initial];
            *epoch.logs = row.iter().map(|(key, value)| (key.as_str(), value.0)).collect();
            Ok(())
        });
        let logger = CsvLogger::new(path).separator(case.separator).append(case.append);
        let script = Script::losses(&[0.0]);
        let mut trainer = Trainer::new(script.learner(), 0.1).callback(play).callback(logger);
        let fit = Fit::epochs(initial + self.rows.len()).initial_epoch(initial).verbose(0);
        trainer.fit(&script.data(), fit).unwrap();
        assert_eq!(trainer.disabled().count(), 0);
        std::fs::read_to_string(path).unwrap()
    }

    fn columns(&self) -> Vec<&String> {
        self.rows.first().map(|row| row.keys().collect()).unwrap_or_default()
    }

    /// Whether every key is there in the first epoch.
    fn has_no_late_key(&self) -> bool {
        let columns = self.columns();
        self.rows.iter().flat_map(|row| row.keys()).all(|key| columns.contains(&key))
    }
}

/// The cells of a file, columns first.
fn columns(text: &str, separator: char) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut is_quoted = false;
    let mut chars = text.strip_suffix("\r\n").unwrap().chars().peekable();
    while let Some(c) = chars.next() {
        let row = rows.last_mut().unwrap();
        match c {
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => {
                row.last_mut().unwrap().push('"');
            }
            '"' => is_quoted = !is_quoted,
            '\r' if !is_quoted => assert_eq!(chars.next(), Some('\n')),
            c if c == separator && !is_quoted => row.push(String::new()),
            c => row.last_mut().unwrap().push(c),
        }
        if c == '\r' && !is_quoted {
            rows.push(vec![String::new()]);
        }
    }
    let width = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == width), "{text}");
    (0..width).map(|i| rows.iter().map(|row| row[i].clone()).collect()).collect()
}

/// Keras adds a `val_` column for every key where the first epoch has none.
fn is_made_up(column: &[String]) -> bool {
    column[0].starts_with("val_") && column[1..].iter().all(|cell| cell == "NA")
}

#[test]
fn csv_logger_writes_the_bytes_that_keras_writes() {
    let cases: Vec<CsvCase> = cases(include_str!("keras/csv_logger.jsonl"));
    let mut same_bytes = 0;
    for (number, case) in cases.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let line = number + 1;
        let mut is_comparable = true;
        for fit in &case.fits {
            let text = fit.log(case, &path);
            if !case.append {
                is_comparable = true;
            }
            // Late keys get a column in Refrain; appended rows go under the old header's names.
            is_comparable &= fit.has_no_late_key();
            is_comparable &= !case.append || fit.columns() == case.fits[0].columns();
            if is_comparable {
                let mut keras = columns(&fit.text, case.separator);
                keras.retain(|column| !is_made_up(column));
                assert_eq!(columns(&text, case.separator), keras, "line {line}");
            }
            if is_comparable && fit.columns().iter().any(|key| key.starts_with("val_")) {
                assert_eq!(text, fit.text, "line {line}");
                same_bytes += 1;
            }
        }
    }
    assert_eq!(cases.len(), 500);
    assert!(same_bytes > 150, "{same_bytes}");
}

/// Under any header: each number stands under its name.
#[test]
fn csv_logger_never_shifts_a_column() {
    let cases: Vec<CsvCase> = cases(include_str!("keras/csv_logger.jsonl"));
    for (number, case) in cases.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let mut rows = Vec::new();
        for fit in &case.fits {
            if !case.append {
                rows.clear();
            }
            rows.extend(fit.rows.iter().cloned());
            let columns = columns(&fit.log(case, &path), case.separator);
            for column in &columns[1..] {
                let found: Vec<Option<Number>> =
                    column[1..].iter().map(|cell| cell.parse().ok().map(Number)).collect();
                let expected: Vec<_> =
                    rows.iter().map(|row| row.get(&column[0]).copied()).collect();
                assert_eq!(found, expected, "line {}, column {}", number + 1, column[0]);
            }
            let written = |key: &String| columns.iter().any(|column| &column[0] == key);
            assert!(rows.iter().flat_map(|row| row.keys()).all(written), "line {}", number + 1);
        }
    }
}
