//! Options that have no effect, or another one than it seems, and data that is not used.

use std::collections::BTreeSet;

use refrain_core::options::{Data, Node};
use refrain_core::{Dataset as _, Finding, list_names};

use super::check::Found;
use super::{Recipe, RecipeData, compile, reader};

/// What turns a weight of a layer off, and the beginning of the options that are about it.
const SWITCHES: [(&str, &str); 3] =
    [("use_bias", "bias_"), ("center", "beta_"), ("scale", "gamma_")];

/// Optimizers that decay weights without being told to.
const DECAYING: [&str; 2] = ["adamw", "muon"];

impl Recipe {
    /// Options that the run does without. `root`: of the recipe; `output_shape`: of the model, where it
    /// can be built.
    pub(super) fn idle_findings(
        &self,
        root: &Node,
        data: &RecipeData,
        output_shape: Option<&[usize]>,
    ) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some(half) = data.half_test() {
            let message = format!("{half}, so that there is no test part");
            let fix = "name the other one too, or leave this one out";
            let finding = Finding::warning("half-test-part", message).fix(fix);
            found.push(Found::at("data.path", finding));
        }
        if let Some(layers) = reader::find(root, "model.layers") {
            of_layers(layers, "model.layers", &mut found);
        }
        if let Some(optimizer) = reader::find(root, "compile.optimizer") {
            of_optimizer(optimizer, "compile.optimizer", &mut found);
            let groups = reader::find(optimizer, "groups").map_or(0, items);
            for i in 0..groups {
                let path = format!("compile.optimizer.groups.{i}");
                if let Some(group) = reader::find(root, &path) {
                    of_optimizer(group, &path, &mut found);
                }
            }
        }
        found.extend(two_averages(root));
        // A row may be the classes of steps, and is one-hot where outputs are vectors.
        let is_of_steps = |shape| compile::steps(shape).is_some();
        if data.target_shape().is_none() || output_shape.is_some_and(|shape| !is_of_steps(shape)) {
            found.extend(class_weights(root, data));
        }
        let path = "fit.validation_freq";
        if data.validation().is_none() && reader::find(root, path).is_some() {
            let message = "`validation_freq` is given, and there is no validation".to_owned();
            let fix = "hold something out ([data] validation_split), or leave it out";
            found.push(ignored(path.to_owned(), message, fix));
        }
        found
    }
}

fn ignored(path: String, message: String, fix: impl Into<String>) -> Found {
    Found::at(path, Finding::warning("ignored-option", message).fix(fix))
}

fn items(node: &Node) -> usize {
    match &node.data {
        Data::Array(items) => items.len(),
        _ => 0,
    }
}

/// Options of weights that a layer does without, in layers within layers too.
fn of_layers(node: &Node, path: &str, found: &mut Vec<Found>) {
    match &node.data {
        Data::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                of_layers(item, &format!("{path}.{i}"), found);
            }
        }
        Data::Table(entries) => {
            for (switch, beginning) in SWITCHES {
                let is_off = reader::find(node, switch).is_some_and(|value| {
                    matches!(value.data, Data::Bool(false) | Data::Integer(0))
                });
                let about_it = |key: &str| key.starts_with(beginning);
                for entry in entries.iter().filter(|entry| is_off && about_it(&entry.key)) {
                    let key = &entry.key;
                    let message = format!("`{key}` is given, and the layer has {switch} = false");
                    let fix = format!("leave one of them out: {switch} is true by default");
                    found.push(ignored(format!("{path}.{key}"), message, fix));
                }
            }
            for entry in entries {
                of_layers(&entry.value, &format!("{path}.{}", entry.key), found);
            }
        }
        _ => {}
    }
}

/// Names that are excluded from a decay which there is not.
fn of_optimizer(node: &Node, path: &str, found: &mut Vec<Found>) {
    const KEY: &str = "exclude_from_weight_decay";
    let number = |key| match reader::find(node, key).map(|value| &value.data) {
        Some(Data::Float(x)) => Some(*x),
        Some(Data::Integer(i)) => Some(*i as f64),
        _ => None,
    };
    let kind = match reader::find(node, "type").map(|kind| &kind.data) {
        Some(Data::String(kind)) => kind.as_str(),
        _ => "",
    };
    let has_default = DECAYING.contains(&kind);
    let decays = |key| number(key).map_or(has_default, |decay| decay != 0.0);
    // Muon decays some weights by a rate of their own.
    let decays = decays("weight_decay") || kind == "muon" && decays("adam_weight_decay");
    if reader::find(node, KEY).is_some() && !decays {
        let message = format!("`{KEY}` is given, and {kind} decays no weights");
        found.push(ignored(format!("{path}.{KEY}"), message, "give weight_decay, or leave it out"));
    }
}

/// Averages of the optimizer and of callbacks that swap in their own, which are one in Keras.
fn two_averages(root: &Node) -> Vec<Found> {
    let uses_ema = reader::find(root, "compile.optimizer.use_ema");
    let Some(Data::Array(callbacks)) = reader::find(root, "callbacks").map(|node| &node.data)
    else {
        return Vec::new();
    };
    if !uses_ema.is_some_and(|value| matches!(value.data, Data::Bool(true))) {
        return Vec::new();
    }
    let swaps = |callback: &Node| {
        let kind = reader::find(callback, "type").map(|kind| &kind.data);
        matches!(kind, Some(Data::String(kind)) if kind == "swap_ema_weights")
    };
    let swapping = callbacks.iter().enumerate().filter(|(_, callback)| swaps(callback));
    let found = swapping.map(|(i, _)| {
        let message = "`swap_ema_weights` swaps in an average of its own, and the optimizer keeps \
                       another one (use_ema), with which the model ends"
            .to_owned();
        let fix = "leave use_ema out, and give the callback the ema_momentum";
        Found::at(format!("callbacks.{i}"), Finding::warning("two-averages", message).fix(fix))
    });
    found.collect()
}

/// Weights of classes that no sample has.
fn class_weights(root: &Node, data: &RecipeData) -> Vec<Found> {
    let Some(Data::Table(weights)) =
        reader::find(root, "fit.class_weight").map(|weights| &weights.data)
    else {
        return Vec::new();
    };
    let trained = data.train();
    let classes: BTreeSet<usize> = (0..trained.len()).filter_map(|i| trained.class(i)).collect();
    let there = match (classes.first(), classes.last()) {
        (Some(first), Some(last)) if last - first + 1 == classes.len() => {
            format!("there are the classes {first} to {last}")
        }
        (Some(_), _) if classes.len() <= 20 => {
            format!("there are the classes {}", list_names(classes.iter().map(usize::to_string)))
        }
        (Some(_), _) => format!("there are {} classes", classes.len()),
        (None, _) => "the data has no classes".to_owned(),
    };
    let is_idle = |key: &str| key.parse().is_ok_and(|class: usize| !classes.contains(&class));
    let idle = weights.iter().filter(|entry| is_idle(&entry.key));
    idle.map(|entry| {
        let class = &entry.key;
        let message =
            format!("class {class} has a weight, and no sample that is trained on has it");
        let finding = Finding::warning("class-without-samples", format!("{message}: {there}"));
        let finding = finding.fix("correct the class, or leave it out");
        Found::at(format!("fit.class_weight.{class}"), finding)
    })
    .collect()
}
