//! `refrain summary`: layers, shapes, parameters, memory; nothing is trained.

mod common;

use common::Place;
use serde_json::{Value, json};

#[test]
fn the_built_in_recipe() {
    let place = Place::new();
    let text = place.run(&["summary"]).ok().stdout;
    let expected = "\
Model: \"sequential\"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃ Trainable ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━━┩
│ flatten (Flatten)               │ (None, 64)             │             0 │     -     │
├─────────────────────────────────┼────────────────────────┼───────────────┼───────────┤
│ dense (Dense)                   │ (None, 128)            │         8,320 │     Y     │
├─────────────────────────────────┼────────────────────────┼───────────────┼───────────┤
│ dropout (Dropout)               │ (None, 128)            │             0 │     -     │
├─────────────────────────────────┼────────────────────────┼───────────────┼───────────┤
│ dense_1 (Dense)                 │ (None, 10)             │         1,290 │     Y     │
└─────────────────────────────────┴────────────────────────┴───────────────┴───────────┘
 Total params: 9,610 (37.54 KB)
 Trainable params: 9,610 (37.54 KB)
 Non-trainable params: 0 (0.00 B)
 Input: (None, 1, 8, 8)

Memory of a run
  weights       37.5 KiB
  gradients     37.5 KiB
  optimizer     37.5 KiB  what sgd remembers
";
    assert!(text.starts_with(expected), "{text}");
    for line in ["  activations", "  checkpoint    75.1 KiB", "  data ", "  total ", "  available "]
    {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.trim_end() == line), "{text}");
    // Nothing is trained, nothing written.
    assert!(place.list(".").is_empty());
}

#[test]
fn as_json() {
    let place = Place::new();
    let of = |args: &[&str]| -> Value {
        let done = place.run(&[&["summary", "--json"], args].concat()).ok();
        serde_json::from_str(&done.stdout).unwrap()
    };
    let json = of(&[]);
    assert_eq!(json["name"], "digits");
    assert_eq!(json["input_shape"], json!([1, 8, 8]));
    assert_eq!(json["samples"], 1797);
    assert_eq!(json["layers"][1]["output_shape"], json!([128]));
    assert_eq!(json["layers"][1]["type"], "Dense");
    assert_eq!(json["parameters"], json!({ "total": 9610, "trainable": 9610, "non_trainable": 0 }));
    let memory = &json["memory"];
    assert_eq!(memory["weights"], 9610 * 4);
    assert_eq!(memory["batch_size"], 128);
    assert_eq!(memory["data"], 1797 * 64 * 4);
    let parts = ["weights", "gradients", "optimizer", "activations", "checkpoint", "data"];
    let sum: u64 = parts.iter().map(|part| memory[part].as_u64().unwrap()).sum();
    assert_eq!(memory["total"], sum);
    assert!(json["memory_limit"]["available"].as_u64() <= json["memory_limit"]["bytes"].as_u64());
    // State for each weight: none, one, two numbers; twice the batch is twice the activations.
    for (optimizer, numbers) in [("sgd", 0), ("adagrad", 1), ("adam", 2), ("adamw", 2)] {
        let json = of(&["--set", &format!("compile.optimizer={optimizer}")]);
        assert_eq!(json["memory"]["optimizer"], numbers * 9610 * 4, "{optimizer}");
        assert_eq!(json["optimizer"], optimizer);
    }
    let twice = of(&["--set", "fit.batch_size=256", "--set", "checkpoint.every_epochs=0"]);
    assert_eq!(
        twice["memory"]["activations"].as_u64(),
        memory["activations"].as_u64().map(|n| 2 * n)
    );
    assert_eq!(twice["memory"]["checkpoint"], 0);
    // Weights that are not trained have neither gradient nor state.
    let set = "model.layers=[{ type = \"flatten\" }, { type = \"batch_normalization\" }]";
    let json = of(&["--set", set]);
    assert_eq!(json["layers"][1]["parameters"], 256);
    assert_eq!(json["layers"][1]["trainable"], 128);
    assert_eq!(json["memory"]["weights"], 256 * 4);
    assert_eq!(json["memory"]["gradients"], 128 * 4);
    assert_eq!(json["memory"]["optimizer"], 128 * 4);
}

#[test]
fn of_a_file_and_of_a_run() {
    let place = Place::new();
    let recipe = place.run(&["recipe"]).ok().stdout;
    place.write("x.toml", recipe.replace("units = 128", "units = 100, name = \"層\""));
    let args = ["--verbose", "0", "--dir", "run", "--set", "fit.epochs=1"];
    place.run(&[&["train", "x.toml"], &args[..]].concat()).ok();
    let file = place.run(&["summary", "x.toml"]).ok().stdout;
    assert!(file.contains("層 (Dense)") && file.contains("6,500"), "{file}");
    let without_available = |text: &str| text.split("  available").next().unwrap().to_owned();
    let run = place.run(&["summary", "--dir", "run"]).ok().stdout;
    assert_eq!(without_available(&run), without_available(&file));
    // A model of terabytes is a table like any other.
    let set = "model.layers.1.units=30000000";
    let layers = ["summary", "x.toml", "--set", set, "--set", "model.layers.3.units=70"];
    assert!(place.run(&layers).ok().stdout.contains("GiB"));
    for (args, words) in [
        (&["none.toml"][..], &["none.toml"][..]),
        (&["--dir", "nowhere"], &["nowhere"]),
        (&["x.toml", "--dir", "run"], &["--dir"]),
        (&["x.toml", "--set", "model.layers.0.type=dense"], &["units"]),
        (
            &["x.toml", "--set", "model.layers=[{ type = \"dense\", units = 1 }]"],
            &["layer 1 `dense`"],
        ),
    ] {
        place.run(&[&["summary"], args].concat()).fails(2, words);
    }
}
