//! Recipes: the reader of TOML, and the options of every callback of the core.

use std::path::Path;
use std::sync::LazyLock;

use refrain_core::{BuildContext, CallbackRegistry};

// The recipe's own reader; the crate around it would bring the engine with it.
#[path = "../../crates/refrain/src/recipe/reader.rs"]
mod reader;

static CALLBACKS: LazyLock<CallbackRegistry> = LazyLock::new(CallbackRegistry::builtin);

/// Reads the bytes as a recipe, and builds the callbacks that it lists.
pub fn recipe(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let named = |error: refrain_core::Error| {
        let error = error.to_string();
        assert!(error.starts_with("recipe.toml"), "{error:?}");
        // A line of the recipe is shown with a mark below it.
        assert!(!error.chars().any(|c| c.is_control() && c != '\n'), "{error:?}");
    };
    let document = match reader::parse("recipe.toml", text) {
        Ok(document) => document,
        Err(error) => return named(error),
    };
    let root = document.root().unwrap();
    let Some(callbacks) = root.get("callbacks") else {
        return;
    };
    let context = BuildContext { folder: Path::new("/nowhere") };
    let items = match callbacks.items() {
        Ok(items) => items,
        Err(error) => return named(error),
    };
    for (i, item) in items.iter().enumerate() {
        if let Err(error) = CALLBACKS.build(item, i, &context) {
            named(error);
        }
    }
}
