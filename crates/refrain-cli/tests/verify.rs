//! `refrain verify`: every byte is read, what is damaged is named, nothing is changed.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::Place;
use serde_json::Value;

fn verify(place: &Place, status: i32) -> Value {
    let done = place.run(&["verify", "--dir", "run", "--json"]);
    assert_eq!(done.status, status, "{}{}", done.stdout, done.stderr);
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn a_good_run_is_well() {
    let place = Place::new();
    place.run(&["train", "--dir", "run", "--verbose", "0"]).ok();
    let before = place.contents("run");
    let done = place.run(&["verify", "--dir", "run"]).ok();
    for word in [
        "journal.jsonl: ",
        "checkpoints/0",
        "epoch 16, step 192; ",
        "recipe.toml: 50 epochs planned\n",
        "summary.json: stopped, 16 epochs\n",
        "model.safetensors: 4 tensors\n",
        "experiment_log.json: 16 epochs\n",
        "training_from_json.png: ",
        "`run` (stopped by early_stopping): all is well\n",
    ] {
        assert!(done.stdout.contains(word), "no {word:?} in: {}", done.stdout);
    }
    let seen = verify(&place, 0);
    assert_eq!((&seen["state"], &seen["by"]), (&"stopped".into(), &"early_stopping".into()));
    assert_eq!(seen["damaged"], 0);
    assert!(before == place.contents("run"), "nothing is changed");
}

#[test]
fn damage_to_any_file_is_found_and_named() {
    let place = Place::new();
    let args = ["train", "--dir", "run", "--verbose", "0", "--set", "fit.epochs=3"];
    place.run(&args).ok();
    let newest = place.checkpoints("run").pop().unwrap();
    let in_checkpoint = place.list(&format!("run/checkpoints/{newest}"));
    assert!(in_checkpoint.len() >= 4, "{in_checkpoint:?}");
    let checkpoint = in_checkpoint.iter().map(|name| format!("checkpoints/{newest}/{name}"));
    let outside = [
        "journal.jsonl",
        "recipe.toml",
        "summary.json",
        "model.safetensors",
        "experiment_log.json",
    ];
    for name in checkpoint.chain(outside.map(str::to_owned)) {
        let path = place.path("run").join(&name);
        let good = fs::read(&path).unwrap();
        let what = match name.strip_prefix("checkpoints/") {
            Some(_) => format!("checkpoints/{newest}"),
            None => name.clone(),
        };
        // Cut in the middle of a line; then what no format can be.
        for bad in [&good[..good.len() / 2 - 7], b"\0\xff\n"] {
            fs::write(&path, bad).unwrap();
            if name == "recipe.toml" && bad.len() > 10 {
                continue; // half a recipe may be one
            }
            let seen = verify(&place, 1);
            let damaged: Vec<&Value> =
                seen["found"].as_array().unwrap().iter().filter(|f| f["damaged"] == true).collect();
            // A journal that was cut is torn, as by a kill; the checkpoint that it then does not
            // have is no loss.
            assert!(damaged.iter().any(|found| found["what"] == *what), "{name}: {seen:#}");
        }
        fs::write(&path, good).unwrap();
    }
    verify(&place, 0);
    // What is missing.
    let at = place.path("run/checkpoints").join(&newest);
    fs::rename(&at, place.path("elsewhere")).unwrap();
    let seen = verify(&place, 1);
    let missing = format!("checkpoints/{newest}");
    let found = seen["found"].as_array().unwrap();
    assert!(found.iter().any(|f| f["what"] == *missing && f["text"] == "damaged: it is missing"));
    fs::rename(place.path("elsewhere"), &at).unwrap();
    fs::rename(place.path("run/recipe.toml"), place.path("elsewhere")).unwrap();
    let seen = verify(&place, 1);
    let found = seen["found"].as_array().unwrap();
    assert!(
        found.iter().any(|f| f["what"] == "recipe.toml" && f["text"] == "damaged: it is missing")
    );
    fs::rename(place.path("elsewhere"), place.path("run/recipe.toml")).unwrap();
    fs::remove_file(place.path("run/journal.jsonl")).unwrap();
    assert!(verify(&place, 1)["found"][0]["text"] == "damaged: it is missing");
}

/// A recipe that leaves every kind of file.
const ALL_FILES: &str = r#"
name = "all"
data = { source = "csv", path = "t.csv", target = "y" }
model = { layers = [{ type = "dense", units = 1 }] }
compile = { optimizer = { type = "adam", learning_rate = 0.01 }, loss = "mse" }
fit = { epochs = 3, batch_size = 4 }
callbacks = [
  { type = "json_training_logger", log_file = "log.json" },
  { type = "csv_logger", filename = "log.csv" },
  { type = "model_checkpoint", filepath = "best.safetensors", monitor = "loss", save_best_only = true },
  { type = "tensor_board", log_dir = "board" },
  { type = "training_plot", file = "picture.png" },
]
"#;

fn with_all_files() -> Place {
    let place = Place::new();
    let rows: String = (0..12).map(|x| format!("{x},{}\n", 2 * x)).collect();
    place.write("t.csv", format!("x,y\n{rows}"));
    place.write("x.toml", ALL_FILES);
    place
}

#[test]
fn a_flipped_bit_in_any_file_of_a_run_is_found() {
    let place = with_all_files();
    place.run(&["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    verify(&place, 0);
    let mut kinds = BTreeSet::new();
    for (path, good) in place.contents("run") {
        let name = path.strip_prefix(place.path("run")).unwrap().to_str().unwrap().to_owned();
        if name == "run.lock" {
            // Its bytes say nothing.
            continue;
        }
        let what = match name.split_once('/') {
            Some(("checkpoints", rest)) => format!("checkpoints/{}", &rest[..6]),
            Some((folder, _)) => folder.to_owned(),
            None => name.clone(),
        };
        let last = 8 * good.len() - 1;
        // The ends, and places between them.
        for bit in (0..6).map(|n| last * n / 5) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bad).unwrap();
            let seen = verify(&place, 1);
            let found = seen["found"].as_array().unwrap();
            let is_found = found.iter().any(|f| f["what"] == *what && f["damaged"] == true);
            assert!(is_found, "{name}, bit {bit}: {seen:#}");
        }
        fs::write(&path, good).unwrap();
        kinds.insert(what);
    }
    verify(&place, 0);
    let outside = [
        "best.safetensors",
        "board",
        "data.json",
        "journal.jsonl",
        "log.csv",
        "log.json",
        "model.safetensors",
        "picture.png",
        "recipe.toml",
        "summary.json",
    ];
    assert!(outside.iter().all(|name| kinds.contains(*name)), "{kinds:?}");
}

#[test]
fn a_torn_end_is_what_a_kill_leaves_and_damage_once_a_run_is_over() {
    let place = with_all_files();
    let train = ["train", "x.toml", "--dir", "run", "--verbose", "0"];
    place.run(&train).ok();
    let found = |place: &Place, what: &str, status: i32| {
        let seen = verify(place, status);
        let found = seen["found"].as_array().unwrap();
        let is_damaged = |f: &Value| f["what"] == *what && f["damaged"] == true;
        assert_eq!(found.iter().any(is_damaged), status == 1, "{seen:#}");
    };
    let journal = place.path("run/journal.jsonl");
    let events = |place: &Place| {
        let name = place.list("run/board/train").pop().unwrap();
        place.path("run/board/train").join(name)
    };
    let last_line = |bytes: &[u8]| {
        bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
    };
    // Cut in its last record, or in front of it; in a record of the events, or between two.
    let good = fs::read(&journal).unwrap();
    let begin = last_line(&good);
    for length in [good.len() - 1, (good.len() + begin) / 2, begin + 1, begin] {
        fs::write(&journal, &good[..length]).unwrap();
        found(&place, "journal.jsonl", 1);
    }
    fs::write(&journal, &good).unwrap();
    let good = fs::read(events(&place)).unwrap();
    let end = |from: usize| {
        let length = u64::from_le_bytes(good[from..from + 8].try_into().unwrap());
        from + 16 + usize::try_from(length).unwrap()
    };
    for length in [good.len() - 1, end(0), end(end(0)) + 3] {
        fs::write(events(&place), &good[..length]).unwrap();
        found(&place, "board", 1);
    }
    fs::write(events(&place), &good).unwrap();
    found(&place, "", 0);

    // Those of a run that was killed may be torn.
    let on = [&train[..], &["--resume", "--set", "fit.epochs=100000"]].concat();
    let mut run = place.command(&on).spawn().unwrap();
    let epochs = place.path("run/log.csv");
    while fs::read_to_string(&epochs).unwrap_or_default().lines().count() < 9 {
        assert!(run.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    for file in [&journal, &events(&place)] {
        let mut bytes = fs::read(file).unwrap();
        bytes.extend(b"{\"to");
        fs::write(file, bytes).unwrap();
    }
    found(&place, "", 0);
    // What is torn stays so where the run then comes to its end.
    let epochs = fs::read_to_string(&epochs).unwrap().lines().count() + 100;
    let epochs = format!("fit.epochs={epochs}");
    place.run(&[&train[..], &["--resume", "--set", &epochs]].concat()).ok();
    found(&place, "", 0);
}

#[test]
fn files_that_are_gone_are_missed() {
    let place = with_all_files();
    place.run(&["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    for name in ["data.json", "model.safetensors", "log.csv", "best.safetensors"] {
        let path = place.path("run").join(name);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let seen = verify(&place, 1);
        let found = seen["found"].as_array().unwrap();
        let is_found = |f: &Value| f["what"] == name && f["text"] == "damaged: it is missing";
        assert!(found.iter().any(is_found), "{name}: {seen:#}");
        if name == "data.json" {
            place
                .run(&["predict", "--dir", "run", "--input", "t.csv"])
                .fails(1, &["`run/data.json` is missing", "put it back"]);
        }
        fs::write(&path, good).unwrap();
    }
    verify(&place, 0);
}

#[test]
fn a_run_that_was_killed_in_front_of_its_last_files_is_no_damage() {
    let place = with_all_files();
    place.run(&["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    let whole = place.contents("run");
    // The summary is written last; the model before it.
    for names in [&["summary.json"][..], &["summary.json", "model.safetensors"]] {
        for name in names {
            fs::remove_file(place.path("run").join(name)).unwrap();
        }
        let seen = verify(&place, 0);
        assert_eq!(seen["state"], "killed", "{seen:#}");
        for name in names {
            let is_told = |f: &Value| {
                f["what"] == **name && f["text"].as_str().unwrap().contains("--resume writes it")
            };
            assert!(seen["found"].as_array().unwrap().iter().any(is_told), "{name}: {seen:#}");
        }
        place.run(&["train", "--dir", "run", "--resume", "--verbose", "0"]).ok();
        assert_eq!(verify(&place, 0)["state"], "completed");
        let model = place.path("run/model.safetensors");
        assert!(fs::read(&model).unwrap() == whole[&model], "bit-equal");
    }
}

#[test]
fn files_with_the_epoch_in_their_names_are_looked_at() {
    let place = with_all_files();
    let saves = r#"callbacks = [
  { type = "model_checkpoint", name = "all", filepath = "all/{epoch:02d}-{loss:.3f}.safetensors" },
  { type = "model_checkpoint", filepath = "newest-{epoch}.safetensors", keep = 2 },
]"#;
    let (recipe, _) = ALL_FILES.split_once("callbacks = ").unwrap();
    place.write("x.toml", format!("{recipe}{saves}\n"));
    let train = ["train", "x.toml", "--dir", "run", "--verbose", "0"];
    place.run(&train).ok();
    let saved = || {
        let all = place.list("run/all").into_iter().map(|name| format!("all/{name}"));
        let newest = place.list("run").into_iter().filter(|name| name.starts_with("newest-"));
        all.chain(newest).collect::<Vec<_>>()
    };
    let damage = || {
        for name in saved() {
            let path = place.path("run").join(&name);
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            *bad.last_mut().unwrap() ^= 1;
            fs::write(&path, bad).unwrap();
            let is_found = |text: &str| {
                let seen = verify(&place, 1);
                let found = seen["found"].as_array().unwrap();
                let is_it =
                    |f: &Value| f["what"] == *name && f["text"].as_str().unwrap().contains(text);
                assert!(found.iter().any(is_it), "{name}: {seen:#}");
                assert_eq!(seen["damaged"], 1, "{seen:#}");
            };
            is_found("does not hold what the run wrote");
            fs::remove_file(&path).unwrap();
            is_found("it is missing");
            fs::write(&path, good).unwrap();
        }
        verify(&place, 0);
    };
    assert_eq!(saved().len(), 3 + 2, "{:?}", saved());
    damage();
    // What a killed process has written and removed meanwhile, or left behind, is no damage; and once
    // the run is over again, all that is there is noted.
    let on = [&train[..], &["--resume", "--set", "fit.epochs=100000"]].concat();
    let run = place.command(&on).stderr(std::process::Stdio::null()).spawn();
    let mut run = run.unwrap();
    while place.list("run/all").len() < 10 {
        assert!(run.try_wait().unwrap().is_none());
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(verify(&place, 0)["state"], "killed");
    let epochs = place.list("run/all").len() + 3;
    let epochs = format!("fit.epochs={epochs}");
    place.run(&[&train[..], &["--resume", "--set", &epochs]].concat()).ok();
    place.write("run/all/01-mine.safetensors", "somebody else's");
    place.write("run/newest-.safetensors", "somebody else's");
    verify(&place, 0);
    for name in ["all/01-mine.safetensors", "newest-.safetensors"] {
        fs::remove_file(place.path("run").join(name)).unwrap();
        verify(&place, 0);
    }
    let name = saved().pop().unwrap();
    fs::remove_file(place.path("run").join(&name)).unwrap();
    verify(&place, 1);
}

#[test]
fn damaged_weights_and_notes_are_not_used() {
    let place = with_all_files();
    place.run(&["train", "x.toml", "--dir", "run", "--verbose", "0"]).ok();
    let predict = ["predict", "--dir", "run", "--input", "t.csv"];
    let evaluate = ["evaluate", "--dir", "run"];
    place.run(&predict).ok();
    for name in ["run/model.safetensors", "run/data.json"] {
        let path = place.path(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        // A number in it, and white space: both can be read.
        *bad.last_mut().unwrap() ^= if name.ends_with("json") { b'\n' ^ b' ' } else { 1 };
        fs::write(&path, &bad).unwrap();
        for command in [&predict[..], &evaluate[..]] {
            place.run(command).fails(1, &["does not hold what the run wrote"]);
        }
        fs::write(&path, good).unwrap();
    }
    place.run(&predict).ok();
    // A run that has no notes, as those of earlier versions.
    fs::remove_file(place.path("run/journal.jsonl")).unwrap();
    place.run(&predict).ok();
}

#[test]
fn what_a_killed_run_has_written_is_no_damage() {
    let place = with_all_files();
    let train = ["train", "x.toml", "--dir", "run"];
    place.run(&[&train[..], &["--verbose", "0"]].concat()).ok();
    verify(&place, 0);
    // Goes on with other epochs in the recipe and newer files of callbacks, and is killed.
    let set = ["--resume", "--set", "fit.epochs=100000"];
    let run = place.start(&[&train[..], &set[..]].concat(), "Epoch 9/");
    run.kill();
    let seen = verify(&place, 0);
    assert_eq!(seen["state"], "killed", "{seen:#}");
    // Its own files are still compared.
    let path = place.path("run/data.json");
    fs::write(&path, fs::read_to_string(&path).unwrap() + " ").unwrap();
    verify(&place, 1);
}

#[test]
fn what_kills_leave_is_named_and_is_no_damage() {
    let place = Place::new();
    place.run(&["train", "--dir", "run", "--verbose", "0", "--set", "fit.epochs=2"]).ok();
    let journal = place.path("run/journal.jsonl");
    let mut bytes = fs::read(&journal).unwrap();
    bytes.extend(b"{\"seq\":99,\"ti");
    fs::write(&journal, bytes).unwrap();
    fs::create_dir(place.path("run/checkpoints/.tmp-0123456789abcdef-000009-1")).unwrap();
    place.write("run/.refrain-12-3.tmp", "half");
    fs::create_dir(place.path("run/logs")).unwrap();
    place.write("run/logs/.refrain-12-4.tmp", "half");
    let seen = place.run(&["verify", "--dir", "run"]).ok().stdout;
    for word in [
        "; 13 bytes of one that was not written to its end",
        "checkpoints/.tmp-0123456789abcdef-000009-1: left by a process that was killed",
        "logs/.refrain-12-4.tmp: left by a process that was killed",
        ".refrain-12-3.tmp: left by a process that was killed; the next --resume removes it",
    ] {
        assert!(seen.contains(word), "no {word:?} in: {seen}");
    }
    let raised = ["train", "--dir", "run", "--resume", "--verbose", "0", "--set", "fit.epochs=3"];
    place.run(&raised).ok();
    let seen = place.run(&["verify", "--dir", "run"]).ok().stdout;
    assert!(!seen.contains("killed"), "{seen}");
}

#[test]
fn a_run_is_well_while_it_trains_and_is_not_disturbed() {
    let place = Place::new();
    let mut set = vec!["--set", "fit.epochs=100000", "--set", "callbacks.2.patience=100000"];
    // A checkpoint is gone as soon as the next is there.
    set.extend(["--set", "checkpoint.every_steps=1", "--set", "checkpoint.keep=1"]);
    let run = place.start(&[&["train", "--dir", "run"], &set[..]].concat(), "Epoch 2/");
    for _ in 0..40 {
        let seen = verify(&place, 0);
        assert_eq!(seen["state"], "running", "{seen:#}");
    }
    run.kill();
    assert_eq!(verify(&place, 0)["state"], "killed");
}

#[test]
fn a_folder_without_a_run_is_wrong_usage() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    place.write("file", "");
    for dir in ["empty", "file", "nothing"] {
        place.run(&["verify", "--dir", dir]).fails(2, &["holds no run", "refrain runs"]);
    }
    place.run(&["verify"]).fails(2, &["--dir"]);
    assert!(place.list("empty").is_empty());
    // As `train --resume` and `runs` call it.
    place.write("empty/summary.json", "{}");
    place.run(&["verify", "--dir", "empty"]).fails(2, &["`empty` holds a run without a journal"]);
}

#[cfg(unix)]
#[test]
fn names_from_a_run_do_not_steer_the_terminal() {
    let place = Place::new();
    place.run(&["train", "--dir", "run", "--verbose", "0", "--set", "fit.epochs=1"]).ok();
    fs::create_dir_all(place.path("run/quarantine/000001-\u{1b}[31m\nall is well")).unwrap();
    let seen = place.run(&["verify", "--dir", "run"]).ok().stdout;
    assert!(!seen.contains('\u{1b}') && !seen.contains("\nall is well"), "{seen}");
    assert!(seen.contains("\\u{1b}[31m"), "{seen}");
}

#[test]
fn a_folder_that_a_callback_writes_into_is_looked_at_file_by_file() {
    let place = Place::new();
    let recipe = place.run(&["recipe"]).ok().stdout;
    let board = "[[callbacks]]\ntype = \"tensor_board\"\nlog_dir = \"board/logs\"\n";
    place.write("x.toml", format!("{recipe}\n{board}"));
    let args = ["train", "x.toml", "--dir", "run", "--verbose", "0", "--set", "fit.epochs=2"];
    place.run(&args).ok();
    let seen = place.run(&["verify", "--dir", "run"]).ok().stdout;
    assert!(seen.contains("board/logs: 2 files, "), "{seen}");
    assert!(seen.contains(": all is well"), "{seen}");
}

#[test]
fn a_log_that_lacks_epochs_is_told_and_is_no_damage() {
    let place = Place::new();
    // What a killed process has logged was not noted: any log that parses may be its.
    let args = ["train", "--dir", "run", "--set", "fit.epochs=100000"];
    place.start(&args, "Epoch 5/").kill();
    place.write("run/experiment_log.json", "[]");
    let seen = place.run(&["verify", "--dir", "run"]).ok().stdout;
    assert!(seen.contains("experiment_log.json: 0 epochs; the journal has "), "{seen}");
}

#[test]
fn runs_and_verify_agree_about_a_journal() {
    let place = Place::new();
    place.run(&["train", "--dir", "runs/a", "--verbose", "0", "--set", "fit.epochs=2"]).ok();
    let journal = place.path("runs/a/journal.jsonl");
    let good = fs::read(&journal).unwrap();
    let check = |text: Option<&[u8]>, is_damaged: bool| {
        match text {
            Some(text) => fs::write(&journal, text).unwrap(),
            None => fs::remove_file(&journal).unwrap(),
        }
        let listed = place.run(&["runs"]).ok().stdout;
        assert_eq!(listed.contains("journal damaged"), is_damaged, "{listed}");
        let seen = place.run(&["verify", "--dir", "runs/a"]).stdout;
        assert_eq!(seen.contains("journal.jsonl: damaged"), is_damaged, "{seen}");
    };
    check(Some(&good), false);
    check(Some(b"no record\n"), true);
    check(Some(b""), true);
    check(None, true);
    // What a kill in the first instants leaves.
    fs::remove_dir_all(place.path("runs/a/checkpoints")).unwrap();
    check(Some(b""), false);
}
