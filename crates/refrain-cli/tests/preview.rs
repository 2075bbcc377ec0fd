//! `refrain preview` and `refrain recipe`.

mod common;

use common::Place;

fn rates(place: &Place, args: &[&str]) -> Vec<f64> {
    let done = place.run(&[&["preview", "--json"], args].concat()).ok();
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn the_rates_of_the_built_in_recipe() {
    let place = Place::new();
    let epochs = rates(&place, &[]);
    assert_eq!(epochs.len(), 50);
    assert_eq!([epochs[0], epochs[9], epochs[10], epochs[49]], [0.1, 0.1, 0.05, 0.00625]);
    let steps = rates(&place, &["--steps"]);
    assert_eq!(steps.len(), 50 * 12);
    assert_eq!([steps[119], steps[120]], [0.1, 0.05]);
    // No training, no files.
    assert!(place.list(".").is_empty());
}

#[test]
fn previews_what_training_does() {
    let place = Place::new();
    let recipe = refrain_recipe(&place).replace(
        "type = \"step_lr_scheduler\"\nfactor = 0.5\nstep_epochs = 10",
        "type = \"warmup_cosine_scheduler\"\nbase_lr = 0.2\nwarmup_epochs = 2\ntotal_epochs = 6",
    );
    place.write("cosine.toml", recipe);
    let previewed = rates(&place, &["cosine.toml", "--set", "fit.epochs=7"]);
    let args = ["train", "cosine.toml", "--dir", "run", "--verbose", "0"];
    let set = ["--set", "fit.epochs=7", "--set", "callbacks.2.patience=7"];
    place.run(&[&args[..], &set].concat()).ok();
    let summary = place.json("run/summary.json");
    let used: Vec<f64> =
        serde_json::from_value(summary["history"]["learning_rate"].clone()).unwrap();
    assert_eq!(previewed, used);
    assert_eq!(previewed[..2], [0.1, 0.2]);
}

/// With one update in four batches a run has a quarter of the steps, and a schedule over the whole
/// run reaches its end.
#[test]
fn accumulated_batches_are_one_step() {
    let place = Place::new();
    let linear = "learning_rate = { type = \"linear\", initial_learning_rate = 0.1, \
                  end_learning_rate = 0.05, decay_steps = 1.0, unit = \"fraction\" }";
    let accumulation = "\n[[callbacks]]\ntype = \"gradient_accumulation\"\nsteps = 4\n";
    let recipe = refrain_recipe(&place).replace("learning_rate = 0.1", linear) + accumulation;
    let recipe = recipe.replace(
        "type = \"step_lr_scheduler\"\nfactor = 0.5\nstep_epochs = 10",
        "type = \"history\"",
    );
    place.write("x.toml", recipe);
    let steps = rates(&place, &["x.toml", "--steps", "--set", "fit.epochs=10"]);
    assert_eq!(steps.len(), 30);
    assert_eq!(steps[0], 0.1);
    assert!((steps[29] - (0.1 - 0.05 * 29.0 / 30.0)).abs() < 1e-12, "{steps:?}");
    let check = place.run(&["check", "x.toml", "--set", "fit.epochs=10"]).ok().stdout;
    assert!(check.contains("No findings"), "{check}");
}

#[test]
fn draws_and_prints() {
    let place = Place::new();
    place.run(&["preview", "-o", "rates.png"]).ok();
    place.run(&["preview", "--steps", "-o", "rates.svg"]).ok();
    assert_eq!(place.list("."), ["rates.png", "rates.svg"]);
    let table = place.run(&["preview"]).ok().stdout;
    assert!(table.contains("1 - 10  0.1\n"), "{table}");
}

#[test]
fn the_recipe_that_is_printed_is_the_one_that_is_trained() {
    let place = Place::new();
    place.write("mine.toml", refrain_recipe(&place));
    let set = ["--verbose", "0", "--set", "fit.epochs=2"];
    place.run(&[&["train", "--dir", "a"], &set[..]].concat()).ok();
    place.run(&[&["train", "mine.toml", "--dir", "b"], &set[..]].concat()).ok();
    let weights =
        |dir: &str| std::fs::read(place.path(&format!("{dir}/model.safetensors"))).unwrap();
    assert!(weights("a") == weights("b"));
}

fn refrain_recipe(place: &Place) -> String {
    place.run(&["recipe"]).ok().stdout
}
