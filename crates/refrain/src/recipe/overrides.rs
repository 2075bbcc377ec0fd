//! `--set KEY=VALUE`: changes to a recipe by dotted path.

use refrain_core::{Error, Result};
use toml_edit::{DocumentMut, Item, Value};

/// Applies changes like `fit.epochs=3` to a recipe's text, in order.
///
/// A path goes through tables by key and through arrays by index, counted from 0:
/// `callbacks.2.patience=3`, `model.layers.1.units=64`. A value is TOML; what is not, is a string.
///
/// # Errors
/// When a change has no `=`, or its path leads through something that is no table or array, or
/// past the end of an array.
pub(super) fn apply(text: &str, changes: &[String]) -> Result<String> {
    if changes.is_empty() {
        return Ok(text.to_owned());
    }
    let mut document: DocumentMut = text
        .parse()
        .map_err(|e: toml_edit::TomlError| Error::config(e.message().replace('\n', "; ")))?;
    for change in changes {
        let Some((path, value)) = change.split_once('=') else {
            return Err(Error::config(format!(
                "--set `{change}` has no `=`; write it as KEY=VALUE, for example fit.epochs=3"
            )));
        };
        let keys: Vec<&str> = path.trim().split('.').collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err(Error::config(format!(
                "--set `{change}`: the key `{path}` has an empty part; write it like fit.epochs"
            )));
        }
        // No recipe is deeper; a slip of the keyboard may be.
        const DEEPEST: usize = 16;
        if keys.len() > DEEPEST {
            return Err(Error::config(format!(
                "--set: a key of {} parts; allowed: at most {DEEPEST}",
                keys.len()
            )));
        }
        let item = walk(document.as_item_mut(), &keys, path)?;
        *item = replacement(item, parse(value.trim()), path)?;
    }
    Ok(document.to_string())
}

/// TOML where it is TOML, else a string: `--set compile.loss=mse` needs no quotes.
fn parse(value: &str) -> Value {
    value.parse().unwrap_or_else(|_| value.into())
}

/// What takes the place of `old`. A table stays a table of its own: an inline one in a list of
/// `[[callbacks]]` would not be written out.
fn replacement(old: &Item, value: Value, path: &str) -> Result<Item> {
    match value {
        Value::InlineTable(table) if old.is_table() => Ok(Item::Table(table.into_table())),
        _ if old.is_table() => Err(Error::config(format!(
            "--set {path}: `{path}` is a table; give one, like {{ key = 1 }}, or set a key in it"
        ))),
        value => Ok(Item::Value(value)),
    }
}

/// The place that `keys` lead to; tables that are missing on the way are made.
fn walk<'d>(mut item: &'d mut Item, keys: &[&str], path: &str) -> Result<&'d mut Item> {
    for (i, key) in keys.iter().enumerate() {
        let so_far = keys[..i].join(".");
        item = match step_kind(item) {
            Kind::Table => {
                let is_last = i + 1 == keys.len();
                let next = &mut item[*key];
                if next.is_none() && !is_last {
                    *next = toml_edit::table();
                }
                next
            }
            Kind::Array(len) => {
                let index = key.parse().ok().filter(|index: &usize| *index < len);
                let index = index.ok_or_else(|| {
                    Error::config(format!(
                        "--set {path}: `{so_far}` is an array of {len}; `{key}` is none of its \
                         indices 0 to {}",
                        len.saturating_sub(1)
                    ))
                })?;
                &mut item[index]
            }
            Kind::Other => {
                return Err(Error::config(format!(
                    "--set {path}: `{so_far}` is a plain value and has no `{key}`"
                )));
            }
        };
    }
    Ok(item)
}

enum Kind {
    Table,
    Array(usize),
    Other,
}

fn step_kind(item: &Item) -> Kind {
    if let Some(tables) = item.as_array_of_tables() {
        Kind::Array(tables.len())
    } else if let Some(array) = item.as_array() {
        Kind::Array(array.len())
    } else if item.is_table_like() {
        Kind::Table
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = r#"
[fit]
epochs = 50 # many
[compile]
optimizer = { type = "sgd", learning_rate = 0.1 }
[model]
layers = [
  { type = "dense", units = 10 }, # last
]
[[callbacks]]
type = "early_stopping"
"#;

    fn check(change: &str, expected: &str) {
        let text = apply(RECIPE, &[change.to_owned()]);
        let shown = text.unwrap_or_else(|e| format!("error: {e}"));
        assert!(shown.contains(expected), "{change}: {shown}");
    }

    #[test]
    fn paths_lead_through_tables_and_arrays() {
        check("fit.epochs=3", "epochs = 3");
        check("compile.optimizer.learning_rate=0.05", "learning_rate = 0.05");
        check("compile.optimizer.momentum = 0.9", "momentum = 0.9");
        check("model.layers.0.units=64", "units = 64");
        check("callbacks.0.patience=7", "patience = 7");
        check("checkpoint.keep=5", "keep = 5");
        check("name=plain words", "name = \"plain words\"");
        check("compile.metrics=[\"accuracy\"]", "metrics = [\"accuracy\"]");
        check("fit.epochs=3", "[[callbacks]]");
        check(
            "callbacks.0={ type = \"training_plot\" }",
            "[[callbacks]]\ntype = \"training_plot\"",
        );
        check("fit={ epochs = 7 }", "epochs = 7");
        check("callbacks=[]", "= []");
    }

    #[test]
    fn bad_changes_say_why() {
        check("fit.epochs", "error: --set `fit.epochs` has no `=`");
        check("callbacks.0=3", "error: --set callbacks.0: `callbacks.0` is a table");
        check("fit..epochs=3", "error: --set `fit..epochs=3`: the key");
        check("fit.epochs.x=3", "error: --set fit.epochs.x: `fit.epochs` is a plain value");
        check(
            "callbacks.1.patience=3",
            "error: --set callbacks.1.patience: `callbacks` is an array of 1",
        );
        check("model.layers.dense.units=3", "`dense` is none of its indices 0 to 0");
    }
}
