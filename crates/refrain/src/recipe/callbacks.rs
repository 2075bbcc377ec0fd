//! The callbacks that a recipe can name, each with its options.

use std::cell::RefCell;
use std::path::{Component, Path, PathBuf};

use refrain_core::callbacks::{
    EarlyStopping, JsonTrainingLogger, StepLrScheduler, WarmupCosineScheduler,
};
use refrain_core::{Callback, CallbackExt as _, Monitor, OnFailure, Result, files, no_metric};
use refrain_plot::TrainingPlot;

use super::reader::{Section, Value};

/// Files of the run directory that no callback may write.
const RESERVED: [&str; 5] =
    ["recipe.toml", "summary.json", "model.safetensors", "journal.jsonl", "checkpoints"];

type Build = fn(&Section<'_>, &Context<'_>) -> Result<Box<dyn Callback>>;

/// What building a callback may depend on.
pub(super) struct Context<'a> {
    /// Where the callback's files go.
    pub(super) folder: &'a Path,
    /// Every metric that this run will have.
    pub(super) metrics: &'a [String],
    /// Files that the callbacks so far write.
    pub(super) outputs: RefCell<Vec<PathBuf>>,
}

/// Every callback by its name in a recipe.
const CALLBACKS: [(&str, Build); 5] = [
    ("early_stopping", early_stopping),
    ("json_training_logger", json_training_logger),
    ("step_lr_scheduler", step_lr_scheduler),
    ("training_plot", training_plot),
    ("warmup_cosine_scheduler", warmup_cosine_scheduler),
];

/// Builds one entry of `[[callbacks]]`.
pub(super) fn build(
    value: &Value<'_>,
    index: usize,
    context: &Context<'_>,
) -> Result<Box<dyn Callback>> {
    let section = value.section(&format!("callback {}", index + 1))?;
    let kind = section.require("type", "type = \"early_stopping\"")?;
    let names = CALLBACKS.map(|(name, _)| name);
    let build = kind.look_up("callback type", &names, |name| {
        CALLBACKS.iter().find(|(known, _)| *known == name).map(|(_, build)| *build)
    })?;
    let mut callback = build(&section, context)?;
    if let Some(every) = section.get("every") {
        callback = Box::new(callback.every(every.usize(1)?));
    }
    if let Some(name) = section.get("name") {
        if name.str()?.is_empty() {
            return Err(name.out_of_range("empty", "a name"));
        }
        callback = Box::new(callback.named(name.str()?));
    }
    if let Some(policy) = section.get("on_failure") {
        let policy =
            policy.look_up("failure policy", &["abort", "disable"], |name| match name {
                "abort" => Some(OnFailure::Abort),
                "disable" => Some(OnFailure::Disable),
                _ => None,
            })?;
        callback = Box::new(callback.on_failure(policy));
    }
    section.finish()?;
    // What is left to check needs no place more precise than the section.
    callback.check().map_err(|e| section.error(e))?;
    Ok(callback)
}

fn step_lr_scheduler(section: &Section<'_>, _: &Context<'_>) -> Result<Box<dyn Callback>> {
    let mut scheduler = StepLrScheduler::default();
    if let Some(factor) = section.get("factor") {
        scheduler.factor =
            factor.f64_in("a finite number above 0", |x| x.is_finite() && x > 0.0)?;
    }
    if let Some(step_epochs) = section.get("step_epochs") {
        scheduler.step_epochs = step_epochs.usize(1)?;
    }
    if let Some(verbose) = section.get("verbose") {
        scheduler.verbose = verbose.bool()?;
    }
    Ok(Box::new(scheduler))
}

fn warmup_cosine_scheduler(section: &Section<'_>, _: &Context<'_>) -> Result<Box<dyn Callback>> {
    let mut scheduler = WarmupCosineScheduler::default();
    if let Some(base_lr) = section.get("base_lr") {
        scheduler.base_lr =
            base_lr.f64_in("a finite number above 0", |x| x.is_finite() && x > 0.0)?;
    }
    if let Some(warmup_epochs) = section.get("warmup_epochs") {
        scheduler.warmup_epochs = warmup_epochs.usize(0)?;
    }
    if let Some(total_epochs) = section.get("total_epochs") {
        scheduler.total_epochs = total_epochs.usize(1)?;
    }
    Ok(Box::new(scheduler))
}

fn json_training_logger(section: &Section<'_>, context: &Context<'_>) -> Result<Box<dyn Callback>> {
    let file = output(section, "log_file", "training_log.json", context)?;
    let mut logger = JsonTrainingLogger::new(file);
    if let Some(verbose) = section.get("verbose") {
        logger = logger.verbose(verbose.bool()?);
    }
    Ok(Box::new(logger))
}

fn early_stopping(section: &Section<'_>, context: &Context<'_>) -> Result<Box<dyn Callback>> {
    let mut stopping = EarlyStopping::new(monitor(section, context.metrics, 0.0)?);
    if let Some(patience) = section.get("patience") {
        stopping = stopping.patience(patience.usize(0)?);
    }
    if let Some(baseline) = section.get("baseline") {
        stopping = stopping.baseline(baseline.f64_in("a number", |x| !x.is_nan())?);
    }
    if let Some(restore) = section.get("restore_best_weights") {
        stopping = stopping.restore_best_weights(restore.bool()?);
    }
    if let Some(epoch) = section.get("start_from_epoch") {
        stopping = stopping.start_from_epoch(epoch.usize(0)?);
    }
    if let Some(verbose) = section.get("verbose") {
        stopping = stopping.verbose(verbose.bool()?);
    }
    Ok(Box::new(stopping))
}

fn training_plot(section: &Section<'_>, context: &Context<'_>) -> Result<Box<dyn Callback>> {
    let file = output(section, "file", "training_from_json.png", context)?;
    let mut plot = TrainingPlot::new(file);
    if let Some(metrics) = section.get("metrics") {
        let metric = |value: &Value<'_>| {
            let name = value.str()?;
            check_metric(value, name, context.metrics)?;
            Ok(name.to_owned())
        };
        if metrics.items()?.is_empty() {
            return Err(metrics.out_of_range("empty", "one metric or more; without it, all"));
        }
        plot = plot.metrics(metrics.items()?.iter().map(metric).collect::<Result<Vec<_>>>()?);
    }
    Ok(Box::new(plot))
}

/// `monitor`, `mode` and `min_delta`, with Keras' defaults.
fn monitor(section: &Section<'_>, metrics: &[String], default_min_delta: f64) -> Result<Monitor> {
    let name = section.get("monitor");
    let key = name.as_ref().map_or(Ok("val_loss"), Value::str)?;
    match &name {
        Some(value) => check_metric(value, key, metrics)?,
        None if metrics.iter().any(|metric| metric == key) => {}
        None => return Err(section.error(no_metric(key, metrics))),
    }
    let mode = section.get("mode");
    let monitor = match &mode {
        None => Monitor::auto(key),
        Some(mode) => mode.look_up("mode", &["auto", "min", "max"], |mode| match mode {
            "auto" => Some(Monitor::auto(key)),
            "min" => Some(Ok(Monitor::min(key))),
            "max" => Some(Ok(Monitor::max(key))),
            _ => None,
        })?,
    };
    let monitor = monitor.map_err(|e| name.map_or_else(|| section.error(&e), |n| n.error(&e)))?;
    let min_delta = match section.get("min_delta") {
        Some(min_delta) => min_delta.f64_in("a finite number", f64::is_finite)?,
        None => default_min_delta,
    };
    Ok(monitor.min_delta(min_delta))
}

fn check_metric(value: &Value<'_>, name: &str, metrics: &[String]) -> Result {
    if metrics.iter().any(|metric| metric == name) {
        return Ok(());
    }
    Err(value.error(no_metric(name, metrics)))
}

/// A file that the callback writes, and nobody else.
fn output(
    section: &Section<'_>,
    key: &'static str,
    default: &str,
    context: &Context<'_>,
) -> Result<PathBuf> {
    let value = section.get(key);
    let file = value.as_ref().map_or(Ok(default), Value::str)?;
    let refuse = |shown: String, allowed: &str| match &value {
        Some(value) => value.out_of_range(shown, allowed),
        None => section.error(format!("`{key}` is {shown}; allowed: {allowed}")),
    };
    if file.is_empty() || file.contains('\0') {
        return Err(refuse(format!("{file:?}"), "the name of a file"));
    }
    let path = context.folder.join(file);
    let plain = lexically_normal(&path);
    let reserved = RESERVED.iter().map(|name| lexically_normal(&context.folder.join(name)));
    if reserved.into_iter().any(|reserved| plain.starts_with(reserved)) {
        let shown = format!("{file:?}, which the run itself writes");
        return Err(refuse(shown, "any other name"));
    }
    let mut outputs = context.outputs.borrow_mut();
    if outputs.contains(&plain) {
        let shown = format!("{file:?}, which a callback before it writes");
        return Err(refuse(shown, "a file for each callback"));
    }
    files::can_be_written(&path).map_err(|e| refuse(format!("{file:?}: {e}"), "a file"))?;
    outputs.push(plain);
    Ok(path)
}

/// `a/./b/../c` → `a/c`, without looking at the disk.
fn lexically_normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
