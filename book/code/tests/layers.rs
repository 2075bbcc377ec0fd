//! The chapter on layers says what recipes take: every layer, every option, every default.

use std::collections::{BTreeMap, BTreeSet};

use refrain::{Activation, Constraint, Initializer, LayerConfig, Recipe, Regularizer};

const CHAPTER: &str = include_str!("../../src/layers.md");

/// A row of a table of layers.
struct Row {
    /// With what stands in parentheses behind them: a default, `required` or `none`.
    options: BTreeMap<String, String>,
    example: String,
}

fn rows() -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in CHAPTER.lines().filter(|line| line.ends_with("}` |")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, options, example, ""] = cells[..] else { panic!("{line}") };
        let (name, example) =
            (name.trim_matches('`').to_owned(), example.trim_matches('`').to_owned());
        let (plain, ruled) = options.split_once("; rules for ").unwrap_or((options, ""));
        let mut options = BTreeMap::new();
        for option in plain.split("), ").filter(|option| !option.is_empty()) {
            let (option, default) = option.split_once(" (").unwrap_or_else(|| panic!("{line}"));
            let default = default.trim_end_matches(')').trim_matches('`');
            options.insert(option.trim_matches('`').to_owned(), default.to_owned());
        }
        for weight in ruled.split(", ").filter(|weight| !weight.is_empty()) {
            let weight = weight.trim_matches('`');
            for rule in ["regularizer", "constraint"] {
                options.insert(format!("{weight}_{rule}"), "none".to_owned());
            }
        }
        assert!(rows.insert(name, Row { options, example }).is_none(), "{line} is there twice");
    }
    rows
}

fn recipe(layer: &str) -> refrain::Result<Recipe> {
    let folder = tempfile::tempdir().unwrap();
    let base = Recipe::BUILTIN.split("[[callbacks]]").next().unwrap();
    let (before, rest) = base.split_once("layers = [").unwrap();
    let behind = rest.split_once("\n]\n").unwrap().1;
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, format!("{before}layers = [{layer}]\n{behind}")).unwrap();
    Recipe::load(&path, &[])
}

#[test]
fn every_layer_and_every_option_is_in_the_chapter() {
    let rows = rows();
    let described: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(described, LayerConfig::TYPES.iter().copied().collect());
    for (name, Row { options, example }) in &rows {
        recipe(example).unwrap_or_else(|error| panic!("{example}: {error}"));
        let wrong = example.replacen('{', "{ nothing_like_it = 1,", 1);
        let error = recipe(&wrong).unwrap_err().to_string();
        let allowed = error.split("allowed: ").nth(1).unwrap().split(" in layer").next().unwrap();
        let allowed: BTreeSet<&str> =
            allowed.split(", ").filter(|key| !matches!(*key, "type" | "name")).collect();
        let documented: BTreeSet<&str> = options.keys().map(String::as_str).collect();
        assert_eq!(documented, allowed, "{name}");
    }
}

#[test]
fn defaults_in_the_chapter_are_those_of_recipes() {
    for (name, Row { options, example }) in rows() {
        let recipe = recipe(&example).unwrap();
        let data = recipe.load_data().unwrap();
        let settings = recipe.checkpoints("nowhere".as_ref(), &data).unwrap();
        for (option, default) in options {
            let key = format!("model.layers.0.{option}");
            let is_given = example.contains(&format!(" {option} = "));
            let setting = settings.described().get(&key);
            match &*default {
                "required" => assert!(is_given, "{example} has no {option}"),
                "none" => assert!(setting.is_none(), "{name}: {option} is {setting:?}"),
                _ if is_given => {}
                default => assert_eq!(setting.map(|s| &**s), Some(default), "{name}: {option}"),
            }
        }
    }
}

#[test]
fn every_activation_initializer_and_rule_is_in_the_chapter() {
    let names = Activation::names().chain(Initializer::names());
    let rules = Regularizer::NAMES.iter().chain(Constraint::NAMES).copied();
    for name in names.chain(rules) {
        assert!(CHAPTER.contains(&format!("`{name}`")), "{name} is not in layers.md");
    }
}
