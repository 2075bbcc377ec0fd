//! What cannot fit into memory is refused before anything is allocated, with the numbers; what may not
//! is warned of; what the estimate says is about what a run takes.

#![cfg(target_os = "linux")]

mod common;

use std::process::Command;

use common::{Done, Place};
use serde_json::Value;

const RECIPE: &str = r#"
name = "x"
[data]
source = "digits"
validation_split = 0.2
[model]
layers = [LAYERS]
[compile]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
[fit]
epochs = 2
batch_size = 128
"#;

const END: &str =
    "{ type = \"flatten\" }, { type = \"dense\", units = 10, activation = \"softmax\" }";

fn place(layers: &str) -> Place {
    let place = Place::new();
    place.write("x.toml", RECIPE.replace("LAYERS", &format!("{layers}, {END}")));
    place
}

/// Runs the command with its address space limited to so many bytes.
fn limited(place: &Place, bytes: u64, args: &[&str]) -> Done {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -v {}; exec \"$0\" \"$@\"", bytes / 1024));
    shell.arg(env!("CARGO_BIN_EXE_refrain")).args(args).current_dir(place.path("."));
    Done::of(shell.output().unwrap())
}

#[test]
fn a_model_larger_than_any_machine() {
    // Layers of 8 GiB each.
    let place = place(&format!(
        "{{ type = \"flatten\" }}{}",
        ", { type = \"dense\", units = 46340 }".repeat(500)
    ));
    let words = [
        "x.toml, line 7",
        "TiB of memory (weights ",
        "gradients ",
        "optimizer's state ",
        "this machine's memory",
        "layer 3 `dense_1` alone has 8.0 GiB",
    ];
    place.run(&["train", "x.toml"]).fails(2, &words);
    assert_eq!(place.list("."), ["x.toml"], "nothing is left behind");
    let done = place.run(&["check", "x.toml", "--json"]);
    assert_eq!(done.status, 1, "{}", done.stderr);
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["severity"]),
        (&"not-enough-memory".into(), &"error".into())
    );
    place.run(&["summary", "x.toml"]).ok();
    // One layer that is a mistake in itself.
    let layers = "{ type = \"flatten\" }, { type = \"dense\", units = 200000 }, { type = \"dense\", units = 200000 }";
    let place = self::place(layers);
    place
        .run(&["train", "x.toml"])
        .fails(2, &["layer 3 `dense_1`", "200000 inputs and 200000 units", "8 GiB"]);
}

#[test]
fn the_limit_of_the_process_counts() {
    const GIB: u64 = 1 << 30;
    // 10,000 × 10,000 weights: 4 × 382 MiB with Adam.
    let place = place(
        "{ type = \"flatten\" }, { type = \"dense\", units = 10000 }, { type = \"dense\", units = 10000 }",
    );
    let words = ["needs 1.5 GiB of memory", "weights 384.", "ulimit -v", "1.0 GiB"];
    limited(&place, GIB, &["train", "x.toml"]).fails(2, &words);
    assert_eq!(place.list("."), ["x.toml"]);
    let done = limited(&place, 3 * GIB, &["check", "x.toml"]).ok();
    assert!(!done.stdout.contains("memory"), "{}", done.stdout);
    // Enough for what is certain, not for what is estimated.
    let done = limited(&place, GIB * 7 / 4, &["check", "x.toml"]).ok();
    assert!(done.stdout.contains("warning[little-memory]"), "{}", done.stdout);
    assert!(done.stdout.contains("of a checkpoint), and 1.8 GiB are free"), "{}", done.stdout);
}

/// The most memory that the process has had so far, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The most memory that two epochs of training took; the estimate; and what of it is taken for certain.
fn measured(layers: &str) -> (u64, u64, u64) {
    let place = place(layers);
    // Batches so large that they take more than the program itself; and no end before it was looked at.
    let set = ["fit.batch_size=1024", "fit.validation_steps=1", "fit.epochs=100000"];
    let set: Vec<&str> = set.iter().flat_map(|change| ["--set", change]).collect();
    let running =
        place.start(&[&["train", "x.toml", "--verbose", "2"], &*set].concat(), "Epoch 3/");
    let peak = peak(running.child.id());
    running.kill();
    let json = place.run(&[&["summary", "x.toml", "--json"], &*set].concat()).ok().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let bytes = |name: &str| json["memory"][name].as_u64().unwrap();
    (peak, bytes("total"), bytes("least") + bytes("activations") / 10 * 7)
}

/// Convolutions, each with these layers behind it.
fn chain(layers: &str) -> String {
    let block =
        format!("{{ type = 'conv2d', filters = 64, kernel_size = 3, padding = 'same' }}, {layers}");
    vec![block; 5].join(", ")
}

#[test]
fn batches_whose_activations_cannot_fit_are_refused() {
    // 16 outputs of 64 × 256 numbers a sample, each kept for the backward pass: 1.8 GiB at 1437.
    let layer = "{ type = 'conv2d', filters = 256, kernel_size = 3, padding = 'same' }";
    let place = place(&vec![layer; 16].join(", "));
    let train = ["train", "x.toml", "--set", "fit.batch_size=1437"];
    let words = ["needs more than 1.3 GiB", "of activations at batch_size 1437", "ulimit -v"];
    limited(&place, 1 << 30, &train).fails(2, &words);
    assert_eq!(place.list("."), ["x.toml"]);
}

#[test]
fn the_estimate_is_within_a_factor_of_three_of_what_a_run_takes() {
    let (program, little, _) = measured("{ type = 'rescaling', scale = 1.0 }");
    let program = program - little;
    // What takes the memory: weights, images, steps, masks, means.
    for layers in [
        "{ type = 'flatten' }, { type = 'dense', units = 3000 }, { type = 'dense', units = 3000 }",
        "{ type = 'conv2d', filters = 32, kernel_size = 3, activation = 'relu' }, \
         { type = 'conv2d', filters = 64, kernel_size = 3, padding = 'same' }",
        "{ type = 'reshape', target_shape = [64, 1] }, \
         { type = 'lstm', units = 64, return_sequences = true }, { type = 'gru', units = 32 }",
        "{ type = 'conv2d', filters = 64, kernel_size = 3 }, { type = 'batch_normalization' }, \
         { type = 'activation', activation = 'relu' }, { type = 'dropout', rate = 0.5 }",
        "{ type = 'conv2d', filters = 64, kernel_size = 3 }, { type = 'layer_normalization' }",
        // Deep ones, of which little is of a single layer.
        &chain("{ type = 'batch_normalization' }"),
        &chain("{ type = 'layer_normalization' }"),
        &chain("{ type = 'activation', activation = 'relu' }, { type = 'dropout', rate = 0.5 }"),
    ] {
        let (peak, estimate, certain) = measured(layers);
        let ratio = peak.saturating_sub(program) as f64 / estimate as f64;
        println!("{ratio:.2}: {} of {} MiB, {layers}", (peak - program) >> 20, estimate >> 20);
        // The allocator keeps what was freed, more or less as threads happen to run.
        assert!((0.7..3.0).contains(&ratio), "{layers}: {peak} bytes, estimated {estimate}");
        // What is refused since it needs more than there is does need more.
        assert!(peak - program >= certain, "{layers}: {peak} bytes, certain {certain}");
    }
}
