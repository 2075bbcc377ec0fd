//! `refrain train --resume`: a run that was cut short goes on to the same bits.

mod common;

use std::fs;

use common::Place;
use serde_json::Value;

/// Everything that keeps state or writes a file, and checkpoints in the middle of epochs.
const RECIPE: &str = r#"
name = "x"
seed = 7
[data]
source = "digits"
validation_split = 0.2
[model]
layers = [
  { type = "flatten" },
  { type = "dense", units = 32, activation = "relu" },
  { type = "dropout", rate = 0.2 },
  { type = "dense", units = 10, activation = "softmax" },
]
[compile]
optimizer = { type = "adam", learning_rate = 0.01 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]
[fit]
epochs = 12
batch_size = 128
[checkpoint]
every_steps = 5
[[callbacks]]
type = "reduce_lr_on_plateau"
monitor = "val_loss"
patience = 1
[[callbacks]]
type = "json_training_logger"
log_file = "log.json"
[[callbacks]]
type = "csv_logger"
filename = "log.csv"
[[callbacks]]
type = "early_stopping"
monitor = "val_loss"
patience = 6
restore_best_weights = true
[[callbacks]]
type = "model_checkpoint"
filepath = "best.safetensors"
save_best_only = true
[[callbacks]]
type = "training_plot"
file = "plot.svg"
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("x.toml", RECIPE);
    place
}

fn train<'a>(dir: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "x.toml", "--dir", dir], more].concat()
}

/// A run that was killed when it had trained so many epochs, and had so many checkpoints.
fn killed(place: &Place, dir: &str, epochs: usize, checkpoints: usize, more: &[&str]) {
    // A slow disk may have been given none until the run is over: then once more.
    for _ in 0..100 {
        let run = place.start(&train(dir, more), &format!("Epoch {epochs}/"));
        while !place.path(dir).join("summary.json").exists() {
            if place.checkpoints(dir).len() >= checkpoints {
                return run.kill();
            }
        }
        run.done().ok();
        fs::remove_dir_all(place.path(dir)).unwrap();
    }
    panic!("no {checkpoints} checkpoints before the end of the run");
}

#[test]
fn killed_at_any_instant_it_ends_with_the_same_bits() {
    let place = place();
    place.run(&train("whole", &[])).ok();
    for epochs in [1, 2, 5, 9] {
        let dir = format!("killed-{epochs}");
        killed(&place, &dir, epochs, 1, &[]);
        assert!(!place.path(&dir).join("summary.json").exists());
        // Once more, later; the recipe is the run's own.
        let resume = ["train", "--dir", &dir, "--resume"];
        place.start(&resume, &format!("Epoch {}/", epochs + 2)).kill();
        let done = place.run(&resume).ok();
        assert!(done.stderr.contains("resuming at epoch"), "{}", done.stderr);
        assert!(done.stderr.contains(" from checkpoint 0"), "{}", done.stderr);
        place.assert_same_runs("whole", &dir);
    }
}

#[test]
fn killed_at_random_instants_it_ends_with_the_same_bits() {
    let place = place();
    place.run(&train("whole", &[])).ok();
    // Spread over the run, its beginning and its end.
    for n in 0..12_u64 {
        let dir = format!("killed-{n}");
        for more in [&[][..], &["--resume"]] {
            let mut child = place
                .command(&train(&dir, more))
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(4 + 17 * n));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        place.run(&train(&dir, &["--resume"])).ok();
        place.assert_same_runs("whole", &dir);
        place.run(&["verify", "--dir", &dir]).ok();
    }
}

#[test]
fn without_a_checkpoint_it_starts_from_the_beginning_and_says_so() {
    let place = place();
    place.run(&train("whole", &[])).ok();
    let check = |dir: &str, words: &str| {
        let done = place.run(&train(dir, &["--resume"])).ok();
        assert!(done.stderr.contains(words), "{words:?}: {}", done.stderr);
        assert!(done.stderr.contains("starting from the beginning"), "{}", done.stderr);
        place.assert_same_runs("whole", dir);
    };
    check("nothing", "`nothing` holds no run");
    // What a kill in the first instants leaves: the recipe, an empty journal.
    fs::create_dir(place.path("recipe")).unwrap();
    place.write("recipe/recipe.toml", RECIPE);
    check("recipe", "`recipe` holds no checkpoint");
    fs::create_dir(place.path("journal")).unwrap();
    place.write("journal/recipe.toml", RECIPE);
    place.write("journal/journal.jsonl", "");
    check("journal", "there is no checkpoint");
    // All checkpoints are gone.
    killed(&place, "gone", 3, 1, &[]);
    fs::remove_dir_all(place.path("gone/checkpoints")).unwrap();
    check("gone", "there is no checkpoint");

    // None were wanted.
    let none = ["--set", "checkpoint.every_steps=0", "--set", "checkpoint.every_epochs=0"];
    place.start(&train("none", &none), "Epoch 3/").kill();
    assert!(place.checkpoints("none").is_empty());
    let done = place.run(&["train", "--dir", "none", "--resume"]).ok();
    assert!(done.stderr.contains("there is no checkpoint"), "{}", done.stderr);
    assert!(place.path("none/journal.jsonl").exists());
    assert_eq!(place.json("none/summary.json")["epochs"], 12);
}

#[test]
fn a_finished_run_is_left_as_it_is() {
    let place = place();
    place.run(&train("run", &["--set", "fit.epochs=2"])).ok();
    place.run(&["train", "--dir", "stopped", "--verbose", "0"]).ok();
    for (dir, ending) in [
        ("run", "completed after 2 epochs"),
        ("stopped", "stopped by early_stopping after 16 epochs"),
    ] {
        let before = place.contents(dir);
        let done = place.run(&["train", "--dir", dir, "--resume"]).ok();
        let line = format!("`{dir}` is finished ({ending}); it is left as it is\n");
        assert_eq!((done.stdout, done.stderr.as_str()), (line, ""));
        assert!(before == place.contents(dir));
    }
    // More epochs are of no use to a run that a callback has stopped.
    let before = place.contents("stopped");
    place.run(&["train", "--dir", "stopped", "--resume", "--set", "fit.epochs=90"]).ok();
    assert!(before == place.contents("stopped"));

    // A kill before its last files were there: it is not finished.
    let before = place.contents("run");
    fs::remove_file(place.path("run/summary.json")).unwrap();
    fs::remove_file(place.path("run/model.safetensors")).unwrap();
    place.run(&["train", "--dir", "run", "--resume"]).ok();
    let model = place.path("run/model.safetensors");
    assert!(before[&model] == fs::read(&model).unwrap(), "bit-equal");
}

#[test]
fn epochs_may_be_raised_but_not_below_what_was_trained() {
    let place = place();
    place.run(&train("whole", &[])).ok();
    place.run(&train("run", &["--set", "fit.epochs=5"])).ok();
    assert_eq!(place.json("run/summary.json")["outcome"], "completed");
    place.run(&["train", "--dir", "run", "--resume", "--set", "fit.epochs=12"]).ok();
    place.assert_same_runs("whole", "run");

    killed(&place, "killed", 6, 1, &[]);
    let before = place.checkpoints("killed");
    let lower = ["train", "--dir", "killed", "--resume", "--set", "fit.epochs=3"];
    place.run(&lower).fails(2, &["epochs", "now 3 are planned", "or more"]);
    assert_eq!(before, place.checkpoints("killed"));
    place.run(&["train", "--dir", "killed", "--resume"]).ok();
    place.assert_same_runs("whole", "killed");
}

#[test]
fn what_would_alter_the_past_is_listed_and_refused_or_accepted() {
    let place = place();
    let changes = [
        ("seed=8", "seed: 7 → 8"),
        ("fit.batch_size=64", "fit.batch_size: 128 → 64"),
        ("fit.shuffle=false", "fit.shuffle: true → false"),
        ("model.layers.2.rate=0.3", "model.layers.2.rate: 0.2 → 0.3"),
        ("compile.optimizer.learning_rate=0.02", "compile.optimizer.learning_rate: 0.01 → 0.02"),
        ("callbacks.0.patience=3", "callbacks.0.patience: 1 → 3"),
        ("data.validation_split=0.3", "data.validation_split: 0.2 → 0.3"),
    ];
    killed(&place, "run", 4, 1, &[]);
    let journal = fs::read(place.path("run/journal.jsonl")).unwrap();
    for (set, line) in changes {
        let refused = place.run(&["train", "--dir", "run", "--resume", "--set", set]);
        refused.fails(2, &[&format!("changed: {line}\n"), "--accept-changes", "--dir"]);
    }
    // All of them, each on a line of its own; and nothing was touched.
    let sets: Vec<&str> = changes.iter().flat_map(|(set, _)| ["--set", *set]).collect();
    let refused = place.run(&[&["train", "--dir", "run", "--resume"], &sets[..]].concat());
    let lines = refused.stderr.lines().filter(|line| line.starts_with("changed: ")).count();
    assert_eq!(lines, changes.len(), "{}", refused.stderr);
    assert_eq!(fs::read(place.path("run/journal.jsonl")).unwrap(), journal);
    assert_eq!(fs::read_to_string(place.path("run/recipe.toml")).unwrap(), RECIPE);

    // What alters nothing is no change.
    let harmless = ["--set", "name=y", "--set", "checkpoint.keep=5", "--threads", "1"];
    let args = ["train", "--dir", "run", "--resume", "--set", "seed=8", "--accept-changes"];
    let done = place.run(&[&args[..], &harmless].concat()).ok();
    let changed: Vec<&str> = done.stderr.lines().filter(|l| l.contains("changed:")).collect();
    assert_eq!(changed, ["warning: changed: seed: 7 → 8"]);
    let recipe = fs::read_to_string(place.path("run/recipe.toml")).unwrap();
    assert!(recipe.contains("seed = 8") && recipe.contains("keep = 5"), "{recipe}");
    let journal = fs::read_to_string(place.path("run/journal.jsonl")).unwrap();
    assert!(journal.contains("seed: 7 → 8"), "{journal}");
}

#[test]
fn other_initial_weights_are_a_change_whatever_their_name() {
    let place = place();
    for seed in ["1", "2"] {
        let seed_set = format!("seed={seed}");
        let dir = format!("weights-{seed}");
        place.run(&train(&dir, &["--set", &seed_set, "--set", "fit.epochs=1"])).ok();
    }
    fs::copy(place.path("weights-1/model.safetensors"), place.path("a.safetensors")).unwrap();
    killed(&place, "run", 3, 1, &["--set", "model.weights=a.safetensors"]);
    // The same under another name.
    fs::copy(place.path("a.safetensors"), place.path("b.safetensors")).unwrap();
    let args = train("run", &["--resume", "--set", "model.weights=b.safetensors"]);
    place.start(&args, "Epoch 6/").kill();
    // Others under the same name.
    fs::copy(place.path("weights-2/model.safetensors"), place.path("b.safetensors")).unwrap();
    let refused = place.run(&["train", "--dir", "run", "--resume"]);
    refused.fails(2, &["changed: model.weights: xxh3 "]);
}

#[test]
fn a_schedule_that_follows_the_number_of_epochs_has_a_past() {
    let place = place();
    let schedule = "compile.optimizer.learning_rate={ type = \"cosine_decay\", \
                    initial_learning_rate = 0.01, decay_steps = 1.0, unit = \"fraction\" }";
    // It sets the base rate: the plateau's factor is on top.
    killed(&place, "run", 5, 1, &["--set", schedule]);
    let raised = ["train", "--dir", "run", "--resume", "--set", "fit.epochs=24"];
    place.run(&raised).fails(
        2,
        &["changed: learning rate of epoch 1, which follows the number of epochs: 0.0", "→"],
    );
    let accepted = [&raised[..], &["--accept-changes"]].concat();
    let done = place.run(&accepted).ok();
    assert!(done.stderr.contains("warning: changed: learning rate of epoch 1"), "{}", done.stderr);
    // Where the past stays as it was, nothing is asked.
    killed(&place, "fixed", 5, 1, &[]);
    place.run(&["train", "--dir", "fixed", "--resume", "--set", "fit.epochs=13"]).ok();
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used() {
    let place = place();
    place.run(&train("whole", &[])).ok();
    for part in ["manifest.json", "state.json", "weights.safetensors", "optimizer.safetensors"] {
        let dir = format!("run-{part}");
        killed(&place, &dir, 6, 2, &[]);
        // There may be a third: an old one is removed after a new one is there.
        let mut checkpoints = place.checkpoints(&dir);
        checkpoints.drain(..checkpoints.len() - 2);
        let newest = format!("{dir}/checkpoints/{}", checkpoints[1]);
        let file = place.path(&format!("{newest}/{part}"));
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();

        let seen = place.run(&["verify", "--dir", &dir]);
        assert_eq!(seen.status, 1);
        let damaged = format!("checkpoints/{}: damaged: ", checkpoints[1]);
        assert!(seen.stdout.contains(&damaged) && seen.stdout.contains(part), "{}", seen.stdout);

        let done = place.run(&["train", "--dir", &dir, "--resume"]).ok();
        for word in [
            format!("warning: checkpoint {} is damaged ({part}", checkpoints[1]),
            format!("quarantine/{}", checkpoints[1]),
            format!("from checkpoint {}", checkpoints[0]),
        ] {
            assert!(done.stderr.contains(&word), "no {word:?} in: {}", done.stderr);
        }
        assert_eq!(place.list(&format!("{dir}/quarantine")), [checkpoints[1].as_str()]);
        place.assert_same_runs("whole", &dir);
        let seen = place.run(&["verify", "--dir", &dir]).ok();
        assert!(seen.stdout.contains(&format!("quarantine/{}", checkpoints[1])), "{}", seen.stdout);
    }
}

#[test]
fn a_second_process_is_refused_and_the_first_is_not_disturbed() {
    let place = place();
    place.run(&train("whole", &["--set", "fit.epochs=40"])).ok();
    let first = place.start(&train("run", &["--set", "fit.epochs=40"]), "Epoch 2/");
    let holder = format!("in use by process {}", first.child.id());
    let recipe = fs::read(place.path("run/recipe.toml")).unwrap();
    let lock = fs::read(place.path("run/run.lock")).unwrap();
    place.run(&["train", "--dir", "run", "--resume"]).fails(2, &["`run`", &holder]);
    place.run(&train("run", &["--overwrite"])).fails(2, &["`run`", &holder]);
    place.run(&train("run", &[])).fails(2, &["`run` already holds a run"]);
    assert_eq!(fs::read(place.path("run/recipe.toml")).unwrap(), recipe);
    assert_eq!(fs::read(place.path("run/run.lock")).unwrap(), lock);
    first.done().ok();
    place.assert_same_runs("whole", "run");
    // The lock has ended with its owner.
    place.run(&train("run", &["--overwrite", "--set", "fit.epochs=1"])).ok();
}

#[test]
fn overwriting_leaves_what_is_not_the_runs() {
    let place = place();
    place.run(&train("whole", &["--set", "seed=8"])).ok();
    place.run(&train("run", &[])).ok();
    place.write("run/notes.txt", "mine");
    fs::create_dir(place.path("run/checkpoints/mine")).unwrap();
    place.write("run/checkpoints/mine/notes.txt", "mine");
    place.run(&train("run", &["--overwrite", "--set", "seed=8"])).ok();
    place.assert_same_runs("whole", "run");
    for notes in ["run/notes.txt", "run/checkpoints/mine/notes.txt"] {
        assert_eq!(fs::read_to_string(place.path(notes)).unwrap(), "mine");
    }
    // Cut short, it goes on as itself and not as the one before.
    place.start(&train("run", &["--overwrite", "--set", "seed=8"]), "Epoch 3/").kill();
    place.run(&["train", "--dir", "run", "--resume"]).ok();
    fs::remove_dir_all(place.path("run/checkpoints/mine")).unwrap();
    place.assert_same_runs("whole", "run");
}

#[test]
fn without_dir_the_newest_unfinished_run_of_the_name_goes_on() {
    let place = place();
    let done = place.run(&["train", "x.toml", "--resume", "--set", "fit.epochs=2"]).ok();
    assert!(done.stderr.contains("no run named `x`"), "{}", done.stderr);
    assert_eq!(place.list("runs"), ["x"]);
    // Two that were cut short; a finished one; one of another name.
    for _ in 0..2 {
        place.start(&["train", "x.toml"], "Epoch 3/").kill();
    }
    place.run(&["train", "x.toml", "--set", "fit.epochs=1"]).ok();
    place.start(&["train", "x.toml", "--set", "name=x-y"], "Epoch 3/").kill();
    assert_eq!(place.list("runs"), ["x", "x-2", "x-3", "x-4", "x-y"]);
    // By what the journals say: looking into the older one makes it no newer.
    place.write("runs/x-2/notes.txt", "looked at");

    let resume = ["train", "x.toml", "--resume"];
    // x and x-4 have completed what was planned then, and this recipe plans more.
    for (run, word) in [("x-4", "Epoch 12/"), ("x-3", "Epoch 12/"), ("x-2", "Epoch 12/"), ("x", "")]
    {
        let done = place.run(&resume).ok();
        assert!(done.stderr.contains(word), "{}", done.stderr);
        assert_eq!(place.json(&format!("runs/{run}/summary.json"))["epochs"], 12, "{run}");
    }
    let done = place.run(&resume).ok();
    assert!(done.stdout.contains("is finished (completed after 12 epochs)"), "{}", done.stdout);
    assert!(!place.path("runs/x-y/summary.json").exists());
}

#[test]
fn a_run_that_is_refused_leaves_nothing_behind() {
    let place = place();
    for more in [
        &["--set", "seed=-1"][..],
        &["--set", "compile.loss=mse"],
        &["--set", "callbacks.3.monitor=nothing"],
        &["--set", "callbacks.1.log_file=run.lock"],
        &["--set", "callbacks.1.log_file=quarantine/log.json"],
        &["--set", "checkpoint.keep=0"],
        &["--set", "checkpoint.on_failure=stop"],
        &["--set", "checkpoint.every_epoch=1"],
    ] {
        for resume in [&[][..], &["--resume"]] {
            let done = place.run(&[&train("run", more)[..], resume].concat());
            assert_eq!(done.status, 2, "{more:?}: {}", done.stderr);
            assert!(!place.path("run").exists(), "{more:?}");
        }
    }
    place
        .run(&train("run", &["--set", "callbacks.0={ type = \"backup_and_restore\" }"]))
        .fails(2, &["line ", "`backup_and_restore`", "[checkpoint]", "--resume"]);
    place.write("file", "");
    place.run(&train("file", &["--resume"])).fails(2, &["`file` is a file"]);
    place.run(&train("run", &["--resume", "--overwrite"])).fails(2, &["--resume"]);
    assert!(!place.path("run").exists());

    // A run of a version that kept no journal cannot go on.
    fs::create_dir(place.path("old")).unwrap();
    place.write("old/recipe.toml", RECIPE);
    place.write("old/summary.json", "{}");
    place.run(&train("old", &["--resume"])).fails(2, &["without a journal", "--overwrite"]);
    assert_eq!(place.list("old"), ["recipe.toml", "summary.json"]);
}

#[test]
fn the_summary_after_a_resume_holds_the_whole_history() {
    let place = place();
    killed(&place, "run", 5, 1, &[]);
    place.run(&["train", "--dir", "run", "--resume"]).ok();
    let summary = place.json("run/summary.json");
    let losses = summary["history"]["loss"].as_array().unwrap();
    assert_eq!(losses.len(), 12);
    assert!(losses.iter().all(Value::is_number));
    assert_eq!(summary["epochs"], 12);
}
