//! Names of weights in the optimizer: groups, and what is excluded.

use refrain_burn::optimizers::names_parameter;
use refrain_core::options::{Data, Node};
use refrain_core::{Finding, Result, list_names, nearest};

use super::check::Found;
use super::{Recipe, RecipeLearner, reader};

/// More layers than this are not listed.
const MOST_LISTED: usize = 12;

impl Recipe {
    /// Names that no weight of the model has, groups that others leave nothing, and weights that none
    /// trains. `root`: of the recipe; `learner`: its own, which may be without weights.
    pub(super) fn parameter_findings(
        &self,
        root: &Node,
        learner: &RecipeLearner,
    ) -> Result<Vec<Found>> {
        let names = learner.parameter_names()?;
        let trained = learner.model()?.summary().trainable;
        if trained == 0 {
            let message = format!(
                "the model has nothing to train: {} weights, none of which take gradients",
                learner.model()?.summary().parameters()
            );
            let fix = "add a layer that has weights, for example a dense one";
            let finding = Finding::error("no-weights", message).fix(fix);
            return Ok(vec![Found::at("model.layers", finding)]);
        }
        let mut found = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        let path = "compile.optimizer";
        let Some(optimizer) = reader::find(root, path) else {
            return Ok(found);
        };
        found.extend(unknown(
            optimizer,
            path,
            &["exclude_from_weight_decay", "exclude_layers"],
            &names,
        ));
        for i in 0.. {
            let path = format!("{path}.groups.{i}");
            let Some(node) = reader::find(root, &path) else { break };
            let keys = ["layers", "exclude_from_weight_decay", "exclude_layers"];
            found.extend(unknown(node, &path, &keys, &names));
            let group = Group::new(node, path);
            if group.of(&names).next().is_some()
                && group.of(&names).all(|name| groups.iter().any(|before| before.has(name)))
            {
                let message = format!(
                    "group {} of the optimizer ({}) trains nothing: groups in front of it have all \
                     of its weights",
                    i + 1,
                    list_names(&group.patterns)
                );
                let fix = "a weight belongs to the first group that names it: list this one first";
                let finding = Finding::warning("idle-group", message).fix(fix);
                found.push(Found::at(format!("{}.layers", group.path), finding));
            }
            groups.push(group);
        }
        let is_frozen = |name: &String| {
            groups.iter().find(|group| group.has(name)).is_some_and(|group| group.is_frozen)
        };
        if learner.trained_parameter_names()?.iter().all(is_frozen) {
            let message = "all weights are in groups with learning_rate_scale = 0: none is trained";
            let fix = "leave out of a group what is to be trained";
            let finding = Finding::warning("all-frozen", message).fix(fix);
            found.push(Found::at(format!("{path}.groups"), finding));
        }
        Ok(found)
    }
}

/// A group of the optimizer.
struct Group {
    path: String,
    patterns: Vec<String>,
    is_frozen: bool,
}

impl Group {
    fn new(node: &Node, path: String) -> Self {
        let patterns = reader::find(node, "layers").map(strings).unwrap_or_default();
        let patterns = patterns.into_iter().map(|(_, pattern)| pattern.to_owned()).collect();
        let scale = reader::find(node, "learning_rate_scale").map(|scale| &scale.data);
        let is_frozen = match scale {
            Some(Data::Float(scale)) => *scale == 0.0,
            Some(Data::Integer(scale)) => *scale == 0,
            _ => false,
        };
        Self { path, patterns, is_frozen }
    }

    fn has(&self, name: &str) -> bool {
        names_parameter(&self.patterns, name)
    }

    fn of<'n>(&'n self, names: &'n [String]) -> impl Iterator<Item = &'n String> {
        names.iter().filter(|name| self.has(name))
    }
}

/// A string, or those of a list, each with its number in the list.
fn strings(node: &Node) -> Vec<(Option<usize>, &str)> {
    match &node.data {
        Data::String(text) => vec![(None, text)],
        Data::Array(items) => (0..)
            .zip(items)
            .filter_map(|(i, item)| match &item.data {
                Data::String(text) => Some((Some(i), text.as_str())),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Names under these keys that no weight and no layer has.
fn unknown(node: &Node, path: &str, keys: &[&str], names: &[String]) -> Vec<Found> {
    let mut found = Vec::new();
    for key in keys {
        let Some(value) = reader::find(node, key) else { continue };
        for (i, pattern) in strings(value) {
            if names.iter().any(|name| names_parameter(&[pattern.to_owned()], name)) {
                continue;
            }
            let item = i.map(|i| format!(".{i}")).unwrap_or_default();
            let message = format!("`{pattern}` is no layer or weight of the model");
            let finding = Finding::error("unknown-weights", message).fix(known(pattern, names));
            found.push(Found::at(format!("{path}.{key}{item}"), finding));
        }
    }
    found
}

/// What can be named instead.
fn known(pattern: &str, names: &[String]) -> String {
    let mut layers: Vec<&str> = names
        .iter()
        .map(|name| name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer))
        .collect();
    layers.dedup();
    let all = layers.iter().copied().chain(names.iter().map(String::as_str));
    let hint = nearest(pattern, all).map(|near| format!("did you mean `{near}`? "));
    let listed = match layers.len() {
        n if n <= MOST_LISTED => format!("there are {}", list_names(&layers)),
        n => format!("there are {n} layers with weights, listed by `refrain summary`"),
    };
    format!("{}{listed}; `*` stands for anything", hint.unwrap_or_default())
}
