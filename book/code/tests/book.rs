//! The guide keeps its word: links lead somewhere, recipes are recipes, chapters are tested.

use std::fs;
use std::path::{Path, PathBuf};

use refrain::{AnyLoss, AnyMetric, Recipe};

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")
}

/// Name and text of every chapter.
fn chapters() -> Vec<(String, String)> {
    let mut chapters: Vec<(String, String)> = fs::read_dir(book())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    chapters.sort();
    chapters
}

/// Code blocks marked with exactly `language`.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            if info.trim() == language {
                blocks.push(body.join("\n") + "\n");
            }
        }
    }
    blocks
}

/// The text outside of code blocks.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let anchors = |text: &str| -> Vec<String> {
        let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
        headings
            .map(|heading| {
                let kept = heading.trim_start_matches('#').trim().to_lowercase();
                let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    };
    let mut links = 0;
    for (name, text) in chapters() {
        for part in prose(&text).split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if target.starts_with("https://") {
                continue;
            }
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = book().join(if file.is_empty() { &name } else { file });
            assert!(path.exists(), "{name} links to {target}");
            if !heading.is_empty() {
                let there = anchors(&fs::read_to_string(path).unwrap());
                assert!(
                    there.iter().any(|anchor| anchor == heading),
                    "{name}: {target}: {there:?}"
                );
            }
        }
    }
    assert!(links > 20, "only {links} links were found");
}

#[test]
fn every_chapter_is_in_the_summary_and_its_rust_code_is_tested() {
    let summary = fs::read_to_string(book().join("SUMMARY.md")).unwrap();
    let lib = include_str!("../src/lib.rs");
    for (name, text) in chapters() {
        if name == "SUMMARY.md" {
            continue;
        }
        assert!(summary.contains(&format!("({name})")), "{name} is not in SUMMARY.md");
        if !blocks(&text, "rust").is_empty() {
            assert!(lib.contains(&format!("\"{name}\"")), "{name} is not in lib.rs");
        }
    }
}

#[test]
fn every_code_block_has_a_language_that_is_tested_or_is_no_code() {
    for (name, text) in chapters() {
        let fences: Vec<&str> =
            text.lines().filter_map(|line| line.trim_start().strip_prefix("```")).collect();
        for fence in fences.chunks(2) {
            let known = ["rust", "rust,noplayground", "toml", "json", "console", "text"];
            assert!(known.contains(&fence[0]), "{name}: ```{}", fence[0]);
        }
    }
}

#[test]
fn every_included_part_is_there() {
    let mut parts = 0;
    for (name, text) in chapters() {
        for part in text.split("{{#include ").skip(1) {
            let target = part.split("}}").next().unwrap();
            let (file, anchor) = target.split_once(':').unwrap();
            let source = fs::read_to_string(book().join(file)).unwrap();
            for mark in ["ANCHOR", "ANCHOR_END"] {
                assert!(source.contains(&format!("{mark}: {anchor}\n")), "{name}: {target}");
            }
            parts += 1;
        }
    }
    assert_eq!(parts, 4);
}

#[test]
fn every_recipe_is_a_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    let mut recipes = 0;
    for (name, text) in chapters() {
        for block in blocks(&text, "toml") {
            if block.starts_with("[dependencies]") {
                continue;
            }
            // A part of a recipe is completed by the rest of the built-in one.
            let is_whole = block.contains("[data]") && block.contains("[model]");
            let whole = if is_whole { block } else { complete(&block) };
            fs::write(&path, &whole).unwrap();
            if let Err(error) = Recipe::load(&path, &[]) {
                panic!("{name}: {error}\n{whole}");
            }
            recipes += 1;
        }
    }
    assert!(recipes > 3, "only {recipes} recipes were found");
}

/// The built-in recipe's tables that `part` lacks, and `part`.
fn complete(part: &str) -> String {
    let mut whole = String::new();
    for table in ["data", "model", "compile", "fit"] {
        if !part.contains(&format!("[{table}]")) {
            let header = format!("[{table}]\n");
            let from = Recipe::BUILTIN.find(&header).unwrap();
            let rest = &Recipe::BUILTIN[from..];
            let to = rest[1..].find("\n[").map_or(rest.len(), |end| end + 2);
            whole.push_str(&rest[..to]);
        }
    }
    // Top-level keys come first in TOML.
    let (top, tables) = part.split_at(part.find('[').unwrap_or(part.len()));
    format!("{top}{whole}{tables}")
}

#[test]
fn every_json_block_is_json() {
    for (name, text) in chapters() {
        for block in blocks(&text, "json") {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&block);
            assert!(parsed.is_ok(), "{name}: {parsed:?}");
        }
    }
}

/// Outputs were pasted from a run of the built-in recipe: where it, or the engine, has changed,
/// they must be taken anew. With a tolerance, for other processors round differently.
#[test]
fn the_quoted_run_is_the_run_of_this_version() {
    let chapter = fs::read_to_string(book().join("getting-started.md")).unwrap();
    let line = chapter.lines().find(|line| line.starts_with("Epoch 1/50 ")).unwrap();
    let recipe = Recipe::builtin(&["fit.epochs=1".into()]).unwrap();
    let data = recipe.load_data().unwrap();
    let mut trainer = recipe.trainer(&data).unwrap();
    let history = trainer.fit(&data, recipe.fit(&data).verbose(0)).unwrap();
    for (name, value) in history.last().unwrap().iter() {
        let quoted = line.split(&format!(" - {name}: ")).nth(1).unwrap();
        let quoted: f64 = quoted.split(' ').next().unwrap().parse().unwrap();
        assert!((quoted - value).abs() < 0.01, "{name}: {quoted} in the guide, {value} now");
    }
}

#[test]
fn every_change_by_set_is_one() {
    let mut changes = 0;
    for (name, text) in chapters() {
        for block in blocks(&text, "console") {
            for line in block.lines().filter(|line| line.starts_with("$ refrain")) {
                for part in line.split(" --set ").skip(1) {
                    let change = match part.strip_prefix('\'') {
                        Some(quoted) => quoted.split('\'').next().unwrap(),
                        None => part.split(' ').next().unwrap(),
                    };
                    // Lines that show a refusal say so.
                    let refused = block.contains("error: ");
                    let error = match Recipe::builtin(&[change.to_owned()]) {
                        Ok(recipe) => {
                            let data = recipe.load_data().unwrap();
                            recipe.check(&data, Path::new("")).unwrap().error()
                        }
                        Err(error) => Some(error),
                    };
                    assert_eq!(error.is_some(), refused, "{name}: {change}: {error:?}");
                    if let Some(error) = error {
                        assert!(block.contains(&format!("error: {error}")), "{name}: {error}");
                    }
                    changes += 1;
                }
            }
        }
    }
    assert!(changes > 3, "only {changes} changes were found");
}

/// The tables of `learning.md` name everything that there is, with defaults that are none to write out.
#[test]
fn the_reference_of_optimizers_losses_and_metrics_is_true() {
    let text = include_str!("../../src/learning.md");
    let data = Recipe::builtin(&[]).unwrap().load_data().unwrap();
    let described = |key: &str, value: &str| {
        let changes = [
            "compile.loss=\"mse\"".to_owned(),
            "compile.metrics=[]".to_owned(),
            format!("compile.{key}={value}"),
        ];
        let recipe = Recipe::builtin(&changes).unwrap_or_else(|error| panic!("{value}: {error}"));
        let checkpoints = recipe.checkpoints("runs/a".as_ref(), &data).unwrap();
        let described = checkpoints.described();
        described.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    for (part, key) in [("Optimizers", "optimizer"), ("Losses", "loss"), ("Metrics", "metrics")] {
        let part = text.split(&format!("## {part}\n")).nth(1).unwrap();
        let table = part.lines().skip_while(|line| !line.starts_with('|')).skip(2);
        for row in table.take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.split(" | ").collect();
            for name in cells[0].split('`').skip(1).step_by(2) {
                seen.push(name);
                for (option, default) in defaults(cells[1]) {
                    let with = |options: &str| match key {
                        "metrics" => format!("[{{ type = \"{name}\"{options} }}]"),
                        _ => format!("{{ type = \"{name}\"{options} }}"),
                    };
                    let written = with(&format!(", {option} = {default}"));
                    assert_eq!(described(key, &written), described(key, &with("")), "{written}");
                }
            }
        }
    }
    for name in AnyLoss::NAMES.iter().copied().chain(AnyMetric::names()) {
        assert!(seen.contains(&name), "the guide does not name {name}");
    }
}

/// Options of a cell like "`rho` (0.9), `centered` (false: ..)" that have a default.
fn defaults(cell: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    if cell.contains("required") {
        return found;
    }
    let parts: Vec<&str> = cell.split('`').collect();
    for (i, option) in parts.iter().enumerate().skip(1).step_by(2) {
        let Some(after) = parts.get(i + 1).and_then(|text| text.strip_prefix(" (")) else {
            continue;
        };
        // A string stands between backticks of its own.
        let default = if after.is_empty() { parts[i + 2] } else { after };
        let default = default.split([',', ';', ':', ')']).next().unwrap().replace('−', "-");
        let is_value = default.starts_with('"')
            || matches!(&*default, "true" | "false")
            || default.parse::<f64>().is_ok();
        if is_value {
            found.push((*option, default));
        }
    }
    found
}
