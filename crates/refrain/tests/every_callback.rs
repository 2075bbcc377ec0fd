//! Every callback that a recipe can name keeps the contract, and trains a real network; a new one is
//! in it without a line here.

use std::sync::Arc;

use refrain::console::Console;
use refrain::options::Document;
use refrain::testing::assert_callback_contract;
use refrain::{BuildContext, Recipe, Registry};

/// An entry of `[[callbacks]]` with the options that a callback gives as its example.
fn entry(registry: &Registry, name: &str) -> String {
    let example = registry.callbacks.example(name).unwrap_or_default();
    format!("type = {name:?}\n{example}\n")
}

#[test]
fn every_callback_keeps_the_contract() {
    let registry = Registry::builtin();
    let names: Vec<&str> = registry.callbacks.names().collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let folder = tempfile::tempdir().unwrap();
        let table: toml::Table = entry(&registry, name).parse().unwrap();
        let document = Document::from_json(name, &serde_json::to_value(table).unwrap());
        let context = BuildContext { folder: folder.path() };
        assert_callback_contract(|| {
            let built = registry.callbacks.build(&document.value(), 0, &context);
            built.unwrap_or_else(|e| panic!("{name}: {e}"))
        });
    }
}

#[test]
fn every_callback_trains_a_real_network_twice() {
    let registry = Arc::new(Registry::builtin());
    // Its server is not there.
    let names = registry.callbacks.names().filter(|name| *name != "remote_monitor");
    for name in names.map(str::to_owned).collect::<Vec<_>>() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        let base = Recipe::BUILTIN.split("[[callbacks]]").next().unwrap();
        let base = base.replace("epochs = 50", "epochs = 3");
        let entry = entry(&registry, &name);
        std::fs::write(&path, format!("{base}\n[[callbacks]]\n{entry}")).unwrap();
        let recipe = Recipe::load_with(&registry, &path, &[]).unwrap();
        let data = recipe.load_data().unwrap();
        let check = recipe.check(&data, folder.path()).unwrap();
        assert!(!check.has_errors(), "{name}: {:?}", check.check.findings);

        let mut trainer = recipe
            .trainer(&data)
            .unwrap()
            .console(Console::silent())
            .callbacks(recipe.callbacks(folder.path()).unwrap());
        for _ in 0..2 {
            let history = trainer.fit(&data, recipe.fit(&data).verbose(0));
            let history = history.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(!history.is_empty(), "{name}");
            assert_eq!(trainer.disabled().count(), 0, "{name}: {:?}", trainer.disabled().next());
        }
        trainer.evaluate(&data, 128).unwrap();
        trainer.predict(&data, 128).unwrap();
    }
}
