//! A binary of somebody else's: all commands, and a callback that was published elsewhere.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Done, Place};

/// Runs the example `own_callback`, which `cargo test` builds beside the command.
fn own(place: &Place, args: &[&str]) -> Done {
    let refrain = Path::new(env!("CARGO_BIN_EXE_refrain"));
    let own = refrain.with_file_name("examples").join("own_callback");
    assert!(own.exists(), "{}: built by `cargo test -p refrain-cli`", own.display());
    Done::of(Command::new(own).args(args).current_dir(place.path("")).output().unwrap())
}

#[test]
fn recipes_name_it_in_every_command() {
    let place = Place::new();
    let recipe = place.run(&["recipe"]).ok().stdout;
    let callback = "\n[[callbacks]]\ntype = \"stop_below\"\nmonitor = \"val_loss\"\nvalue = 0.5\n";
    place.write("x.toml", recipe.clone() + callback);

    place.run(&["check", "x.toml"]).fails(2, &["unknown callback type `stop_below`"]);
    let plan = own(&place, &["check", "x.toml"]).ok().stdout;
    assert!(plan.contains("5. stop_below: reads val_loss; may stop"), "{plan}");

    own(&place, &["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    let summary = place.json("run/summary.json");
    assert_eq!(summary["by"], "stop_below");
    let log = ["replay", "x.toml", "--log", "run/experiment_log.json"];
    let replayed = own(&place, &log).ok().stdout;
    assert!(replayed.trim_end().ends_with(&format!(
        "{{\"outcome\":\"stopped\",\"by\":\"stop_below\",\"epochs\":{},\"restored_epoch\":{}}}",
        summary["epochs"], summary["best_epoch"]
    )));
    own(&place, &["preview", "x.toml"]).ok();

    let typo = callback.replace("value", "valeu");
    place.write("x.toml", recipe + &typo);
    own(&place, &["train", "x.toml"]).fails(2, &["x.toml, line 51", "did you mean `value`?"]);
}
