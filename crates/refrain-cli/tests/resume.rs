//! `refrain train --resume`: a run that was cut short goes on to the same bits.

mod common;

use std::fs;
use std::process::Command;

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
batch_size = 32
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
    for _ in 0..100 {
        let run = place.start(&train(dir, more), &format!("Epoch {epochs}/"));
        loop {
            if place.path(dir).join("summary.json").exists() {
                run.done().ok();
                break;
            }
            if place.checkpoints(dir).len() >= checkpoints {
                if run.was_killed() {
                    return;
                }
                break;
            }
            // However slow the disk is: the run waits for a checkpoint that was asked for.
            #[cfg(unix)]
            run.send(libc::SIGUSR1);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        // It was over first: once more.
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
        let was_killed = place.start(&resume, &format!("Epoch {}/", epochs + 2)).was_killed();
        let done = place.run(&resume).ok();
        if was_killed {
            assert!(done.stderr.contains("resuming a"), "{}", done.stderr);
            assert!(done.stderr.contains(" from checkpoint 0"), "{}", done.stderr);
        }
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
    check("recipe", "`recipe` holds a run that has not begun");
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

    // A slow disk is behind the run: until a checkpoint of the fourth epoch or later is there.
    killed(&place, "killed", 6, 1, &[]);
    let epochs = |name: &String| {
        place.json(&format!("killed/checkpoints/{name}/manifest.json"))["epochs"].as_u64()
    };
    while place.checkpoints("killed").iter().filter_map(epochs).max() < Some(4) {
        fs::remove_dir_all(place.path("killed")).unwrap();
        killed(&place, "killed", 6, 1, &[]);
    }
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
        ("fit.batch_size=64", "fit.batch_size: 32 → 64"),
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
fn what_was_accepted_is_remembered_though_no_checkpoint_came_after_it() {
    let place = place();
    killed(&place, "run", 4, 1, &[]);
    fs::create_dir_all(place.path("whole")).unwrap();
    for (path, bytes) in place.contents("run") {
        let copy = place.path("whole").join(path.strip_prefix(place.path("run")).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, bytes).unwrap();
    }
    let accepted = ["--set", "seed=8", "--set", "compile.optimizer.learning_rate=0.005"];
    let accept = |dir: &'static str| {
        [&["train", "--dir", dir, "--resume", "--accept-changes"][..], &accepted[..]].concat()
    };
    place.run(&accept("whole")).ok();
    // Killed twice, before its next checkpoint.
    let long = ["--set", "checkpoint.every_steps=1000000", "--set", "fit.epochs=100000"];
    place.start(&[&accept("run"), &long[..]].concat(), "Epoch 9/").kill();
    let resume = ["train", "--dir", "run", "--resume"];
    place.start(&resume, "Epoch 9/").kill();
    // Another change is one, and so is the way back.
    for (set, line) in [
        ("seed=9", "changed: seed: 8 → 9\n"),
        ("seed=7", "changed: seed: 8 → 7\n"),
        ("fit.batch_size=64", "changed: fit.batch_size: 32 → 64\n"),
    ] {
        let refused = place.run(&[&resume[..], &["--set", set]].concat());
        assert_eq!(refused.stderr.matches("changed: ").count(), 1, "{}", refused.stderr);
        refused.fails(2, &[line, "--accept-changes"]);
    }
    let short = ["--set", "checkpoint.every_steps=5", "--set", "fit.epochs=12"];
    place.run(&[&resume[..], &short].concat()).ok();
    place.assert_same_runs("whole", "run");
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
    let process = first.child.id().to_string();
    let send = |signal: &str| {
        assert!(Command::new("kill").args([signal, process.as_str()]).status().unwrap().success());
    };
    // It stands still, so that it has not ended before the others come.
    send("-STOP");
    let holder = format!("in use by process {process}");
    let recipe = fs::read(place.path("run/recipe.toml")).unwrap();
    let lock = fs::read(place.path("run/run.lock")).unwrap();
    place.run(&["train", "--dir", "run", "--resume"]).fails(2, &["`run`", &holder]);
    place.run(&train("run", &["--overwrite"])).fails(2, &["`run`", &holder]);
    place.run(&train("run", &[])).fails(2, &["`run` already holds a run"]);
    assert_eq!(fs::read(place.path("run/recipe.toml")).unwrap(), recipe);
    assert_eq!(fs::read(place.path("run/run.lock")).unwrap(), lock);
    send("-CONT");
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
fn a_run_that_was_being_overwritten_is_no_damage_and_makes_way() {
    let place = place();
    place.run(&train("whole", &["--set", "seed=8"])).ok();
    place.run(&train("run", &["--set", "fit.epochs=2"])).ok();
    // Ended between the checkpoints and the rest: this file cannot be removed.
    let model = place.path("run/model.safetensors");
    fs::rename(&model, place.path("model")).unwrap();
    fs::create_dir(&model).unwrap();
    place.run(&train("run", &["--overwrite"])).fails(1, &["model.safetensors"]);
    assert!(place.checkpoints("run").is_empty());
    fs::remove_dir(&model).unwrap();
    fs::rename(place.path("model"), &model).unwrap();

    let seen = place.run(&["verify", "--dir", "run"]).ok().stdout;
    assert!(seen.contains("journal.jsonl: the run is being overwritten"), "{seen}");
    assert!(seen.contains("`run` (killed): all is well"), "{seen}");
    // Whose recipe is in the folder is not known.
    place
        .run(&["train", "--dir", "run", "--resume"])
        .fails(2, &["`run` was being overwritten", "RECIPE --dir run --resume", "--overwrite"]);
    let done = place.run(&train("run", &["--resume", "--set", "seed=8"])).ok();
    assert!(done.stderr.contains("what was left of it was removed"), "{}", done.stderr);
    assert!(done.stderr.contains("starting from the beginning"), "{}", done.stderr);
    place.assert_same_runs("whole", "run");
    place.run(&["verify", "--dir", "run"]).ok();
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
    // x and x-4 have completed what was planned then, and this recipe plans more: they come last.
    for run in ["x-3", "x-2", "x-4", "x"] {
        let done = place.run(&resume).ok();
        assert!(done.stderr.contains("Epoch 12/"), "{}", done.stderr);
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
        &["--set", "callbacks.1.log_file=data.json"],
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

#[test]
fn a_folder_is_there_with_the_runs_recipe_or_not_at_all() {
    let place = place();
    place.run(&train("whole", &[])).ok();
    for n in 0..8 {
        let dir = format!("new/killed-{n}");
        let mut child = place
            .command(&train(&dir, &[]))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while !place.path(&dir).exists() {}
        let recipe = fs::read_to_string(place.path(&dir).join("recipe.toml"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(recipe.unwrap(), RECIPE);
        // Nobody has to say again which recipe it was.
        place.run(&["train", "--dir", &dir, "--resume"]).ok();
        place.assert_same_runs("whole", &dir);
    }
    assert!(place.list("new").iter().all(|name| name.starts_with("killed-")));
}

#[test]
fn a_run_whose_recipe_is_missing_is_not_gone_on_with_by_another() {
    let place = place();
    place.run(&train("whole", &[])).ok();
    killed(&place, "run", 3, 1, &[]);
    fs::remove_file(place.path("run/recipe.toml")).unwrap();
    let before = place.contents("run");
    place
        .run(&["train", "--dir", "run", "--resume"])
        .fails(2, &["`run`", "recipe.toml is missing", "refrain train RECIPE --dir run --resume"]);
    assert!(before == place.contents("run"));
    place.run(&train("run", &["--resume"])).ok();
    place.assert_same_runs("whole", "run");

    // Of a run that was killed in its first instant in a folder that was there.
    fs::create_dir(place.path("lock")).unwrap();
    place.write("lock/run.lock", "");
    place.run(&["train", "--dir", "lock", "--resume"]).fails(2, &["recipe.toml is missing"]);
    place.run(&train("lock", &["--resume"])).ok();
    place.assert_same_runs("whole", "lock");
}

#[test]
fn a_beginning_in_place_of_a_resume_says_with_which_recipe() {
    let place = place();
    let few = ["--set", "fit.epochs=1"];
    for verbose in ["0", "1"] {
        for (dir, recipe, words) in [
            (
                Some("a"),
                None,
                "`a` holds no run: starting from the beginning in `a`, with the built-in recipe",
            ),
            (Some("b"), Some("x.toml"), "in `b`, with `x.toml`"),
            (
                None,
                Some("x.toml"),
                "no run named `x` in `runs`: starting from the beginning in `runs/x`, with `x.toml`",
            ),
            (None, None, "in `runs/digits`, with the built-in recipe"),
        ] {
            let mut args = vec!["train"];
            args.extend(recipe);
            args.extend(dir.into_iter().flat_map(|dir| ["--dir", dir]));
            args.extend(["--resume", "--verbose", verbose]);
            args.extend(few);
            let done = place.run(&args).ok();
            assert!(done.stderr.contains(words), "no {words:?} in: {}", done.stderr);
        }
        for dir in ["a", "b", "runs"] {
            fs::remove_dir_all(place.path(dir)).unwrap();
        }
    }
}

#[test]
fn what_a_run_does_anyway_is_no_change_when_it_is_written_out() {
    let place = place();
    killed(&place, "run", 2, 1, &[]);
    let same = [
        "fit.shuffle=true",
        "fit.initial_epoch=0",
        "fit.validation_freq=1",
        "fit.validation_batch_size=32",
        "compile.optimizer.beta_1=0.9",
        "compile.optimizer.epsilon=1e-7",
        "compile.loss={ type = \"sparse_categorical_crossentropy\", from_logits = false }",
        "model.layers.1.use_bias=true",
        "model.layers.1.kernel_initializer=\"glorot_uniform\"",
        "callbacks.0.factor=0.1",
        "callbacks.0.cooldown=0",
        "callbacks.2.append=false",
        "callbacks.3.min_delta=0",
        "callbacks.0.name=\"reduce_lr_on_plateau\"",
        "callbacks.0.on_failure=\"abort\"",
        "callbacks.1.on_failure=\"disable\"",
        "callbacks.2.every=1",
        "callbacks.2.after=0",
        "callbacks.2.once=false",
        "callbacks.2.background=false",
        "compile.metrics.0={ type = \"accuracy\", name = \"accuracy\" }",
    ];
    let sets: Vec<&str> = same.iter().flat_map(|set| ["--set", *set]).collect();
    let args = [&["train", "--dir", "run", "--resume"], &sets[..]].concat();
    place.start(&args, "Epoch 4/").kill();
    // And left out again.
    place.start(&train("run", &["--resume"]), "Epoch 6/").kill();
    // What only a callback knows is called so.
    for (set, line) in [
        ("callbacks.0.factor=0.5", "changed: callbacks.0.factor: default → 0.5\n"),
        ("compile.optimizer.beta_1=0.8", "changed: compile.optimizer.beta_1: 0.9 → 0.8\n"),
        ("callbacks.1.on_failure=abort", "changed: callbacks.1.on_failure: default → abort\n"),
        ("callbacks.2.every=2", "changed: callbacks.2.every: default → 2\n"),
        ("callbacks.2.name=table", "changed: callbacks.2.name: default → table\n"),
        (
            "compile.metrics.0={ type = \"accuracy\", name = \"right\" }",
            "changed: compile.metrics.0: accuracy → right",
        ),
        ("compile.loss=mse", "changed: compile.loss.type: "),
    ] {
        let refused = place.run(&["train", "--dir", "run", "--resume", "--set", set]);
        if set.contains("mse") {
            assert_eq!(refused.status, 2); // it does not fit the labels
        } else {
            refused.fails(2, &[line]);
        }
    }
}

#[test]
fn a_change_that_cannot_be_accepted_is_not_offered_to_be() {
    let place = place();
    // In the middle of an epoch, so that metrics have sums.
    killed(&place, "run", 3, 1, &["--set", "checkpoint.every_steps=7"]);
    let before = fs::read(place.path("run/journal.jsonl")).unwrap();
    let recipe = fs::read(place.path("run/recipe.toml")).unwrap();
    let check = |set: &[&str], line: &str| {
        let sets: Vec<&str> = set.iter().flat_map(|set| ["--set", *set]).collect();
        for accept in [&[][..], &["--accept-changes"]] {
            let args = [&["train", "--dir", "run", "--resume"], &sets[..], accept].concat();
            let refused = place.run(&args).fails(2, &[line, "--dir", "--overwrite"]);
            let last = refused.stderr.lines().last().unwrap();
            assert!(!last.contains("--accept-changes"), "{last}");
        }
        assert!(fs::read(place.path("run/journal.jsonl")).unwrap() == before);
        assert!(fs::read(place.path("run/recipe.toml")).unwrap() == recipe);
    };
    check(
        &["model.layers.1.units=16", "model.layers.2.rate=0.1"],
        "changed: model.layers.1.units: 32 → 16; cannot be accepted: the model has other weights",
    );
    let manifest = place.checkpoints("run").pop().unwrap();
    let manifest =
        fs::read_to_string(place.path(&format!("run/checkpoints/{manifest}/manifest.json")));
    let is_in_the_middle = !manifest.unwrap().contains("\"batch\":0");
    if is_in_the_middle {
        check(
            &["compile.metrics=[]"],
            "changed: compile.metrics.0: accuracy → nothing; cannot be accepted: the checkpoint is in \
             the middle of an epoch",
        );
    }
    // Others are, and the optimizer with its state among them.
    let accepted = ["train", "--dir", "run", "--resume", "--accept-changes", "--set"];
    place
        .run(
            &[
                &accepted[..],
                &["compile.optimizer.type=\"adam\"", "--set", "model.layers.2.rate=0.1"],
            ]
            .concat(),
        )
        .ok();
}

#[test]
fn a_run_that_was_stopped_says_how_it_goes_on() {
    let place = place();
    place.run(&["train", "--dir", "run", "--verbose", "0"]).ok();
    let resume = ["train", "--dir", "run", "--resume"];
    let done = place.run(&[&resume[..], &["--set", "fit.epochs=100"]].concat()).ok();
    for word in [
        "stopped by early_stopping after 16 epochs",
        "--set callbacks.2.KEY=VALUE --accept-changes",
    ] {
        assert!(done.stdout.contains(word), "no {word:?} in: {}", done.stdout);
    }
    // Nothing has changed that could be accepted.
    let done = place.run(&[&resume[..], &["--accept-changes"]].concat()).ok();
    assert!(done.stdout.contains("it is left as it is"), "{}", done.stdout);
    let change = ["--set", "callbacks.2.patience=10", "--accept-changes"];
    let done = place.run(&[&resume[..], &change].concat()).ok();
    assert!(!done.stdout.contains("it is left as it is"), "{}", done.stdout);
    let line = "warning: changed: callbacks.2.patience: 5 → 10";
    assert!(done.stderr.contains(line), "{}", done.stderr);
    assert_eq!(place.json("run/summary.json")["epochs"], 21);
}

#[test]
fn fewer_epochs_than_a_finished_run_has_are_mentioned() {
    let place = place();
    place.run(&train("run", &["--set", "fit.epochs=3"])).ok();
    let done = place.run(&["train", "--dir", "run", "--resume", "--set", "fit.epochs=2"]).ok();
    let line = "`run` is finished (completed after 3 epochs, of 3 that were planned; now 2); it is left \
                as it is\n";
    assert_eq!(done.stdout, line);
}

#[test]
fn a_run_goes_on_without_the_file_of_its_initial_weights() {
    let place = place();
    place.run(&train("first", &["--set", "fit.epochs=1"])).ok();
    let weights = place.path("weights.safetensors");
    fs::copy(place.path("first/model.safetensors"), &weights).unwrap();
    let set = ["--set", "model.weights=weights.safetensors"];
    place.run(&train("whole", &set)).ok();
    killed(&place, "run", 3, 1, &set);
    killed(&place, "lost", 3, 1, &set);
    fs::remove_file(&weights).unwrap();
    place.run(&["train", "--dir", "run", "--resume"]).ok();
    place.assert_same_runs("whole", "run");
    // Another one that is not there is a mistake; and without a checkpoint it is needed.
    let other = ["train", "--dir", "lost", "--resume", "--set", "model.weights=other.safetensors"];
    place.run(&other).fails(2, &["other.safetensors"]);
    fs::remove_dir_all(place.path("lost/checkpoints")).unwrap();
    place.run(&["train", "--dir", "lost", "--resume"]).fails(2, &["weights.safetensors"]);
}

#[test]
fn a_look_at_the_rates_of_the_past_ends_with_the_past() {
    let place = place();
    let schedule = "compile.optimizer.learning_rate={ type = \"cosine_decay\", \
                    initial_learning_rate = 0.01, decay_steps = 1000 }";
    killed(&place, "run", 5, 1, &["--set", schedule]);
    let raised = ["train", "--dir", "run", "--resume", "--set", "fit.epochs=500000"];
    let began = std::time::Instant::now();
    let run = place.start(&raised, "Epoch ");
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    run.kill();
}
