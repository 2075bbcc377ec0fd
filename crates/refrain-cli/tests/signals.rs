//! Signals: the batch is finished, everything is saved, callbacks are ended; or only saved.

#![cfg(unix)]

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;
use std::time::{Duration, Instant};

use common::{Done, Place, Started};

/// A run that would take minutes.
const LONG: [&str; 7] =
    ["train", "--dir", "run", "--set", "fit.epochs=100000", "--set", "callbacks.2.patience=100000"];

/// Whether we were started by `nohup` or the like: our children then ignore SIGHUP too.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// Interrupts a run after its first epochs.
fn interrupt(place: &Place, args: &[&str], signal: i32) -> Done {
    let run = place.start(args, "Epoch 3/");
    run.send(signal);
    run.done()
}

#[test]
fn the_first_signal_ends_the_run_and_saves() {
    for (signal, status) in [(libc::SIGINT, 130), (libc::SIGTERM, 143), (libc::SIGHUP, 129)] {
        if signal == libc::SIGHUP && is_hangup_ignored() {
            println!("skipped: SIGHUP, which whoever runs the tests has told us to ignore");
            continue;
        }
        let place = Place::new();
        let done = interrupt(&place, &LONG, signal);
        assert_eq!(done.status, status);
        assert!(done.stdout.contains("Interrupted"), "{}", done.stdout);
        let summary = place.json("run/summary.json");
        assert_eq!(summary["outcome"], "interrupted");
        let epochs = summary["epochs"].as_u64().unwrap();
        assert!(epochs >= 3, "{epochs}");
        assert_eq!(place.json("run/experiment_log.json").as_array().unwrap().len() as u64, epochs);
        assert!(place.path("run/model.safetensors").exists());
        assert!(place.path("run/training_from_json.png").exists(), "callbacks were ended");
        // The newest checkpoint is of the batch that the run ended with.
        let seen = place.run(&["verify", "--dir", "run", "--json"]).ok();
        let seen: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
        assert_eq!(seen["state"], "interrupted");
        assert!(!place.checkpoints("run").is_empty());
    }
}

#[test]
fn interrupted_again_and_again_it_ends_with_the_same_bits() {
    let place = Place::new();
    // Epochs of 720 steps, so that signals come in the middle of them.
    let set =
        ["--set", "fit.epochs=6", "--set", "fit.batch_size=2", "--set", "callbacks.2.patience=6"];
    let train = |dir: &'static str| [&["train", "--dir", dir], &set[..]].concat();
    place.run(&train("whole")).ok();
    for (epochs, signal) in [(1, libc::SIGINT), (2, libc::SIGTERM), (4, libc::SIGINT)] {
        let args = [&train("run")[..], if epochs > 1 { &["--resume"] } else { &[] }].concat();
        let run = place.start(&args, &format!("Epoch {epochs}/6"));
        // Into the next epoch.
        std::thread::sleep(Duration::from_millis(30));
        run.send(signal);
        let done = run.done();
        assert_eq!(done.status, 128 + signal, "{}", done.stderr);
        assert!(done.stderr.contains("interrupt received: "), "{}", done.stderr);
    }
    let done = place.run(&["train", "--dir", "run", "--resume"]).ok();
    assert!(done.stderr.contains("resuming a"), "{}", done.stderr);
    place.assert_same_runs("whole", "run");
}

#[test]
fn the_second_signal_ends_the_process_at_once() {
    let place = Place::new();
    place.start(&LONG, "Epoch 3/").kill();
    let resume = [&LONG[..], &["--resume"]].concat();
    // Nothing is waited for: two signals in a row, whatever is being done.
    let run = place.start(&resume, "Epoch ");
    run.send(libc::SIGTERM);
    let began = Instant::now();
    run.send(libc::SIGINT);
    let done = run.done();
    assert!(began.elapsed() < Duration::from_secs(20));
    // The first may have been obeyed before the second came.
    assert!([130, 143].contains(&done.status), "{}: {}", done.status, done.stderr);
    place.run(&["verify", "--dir", "run"]).ok();
    assert_eq!(interrupt(&place, &resume, libc::SIGINT).status, 130);
}

#[test]
fn usr1_saves_and_the_run_goes_on() {
    let place = Place::new();
    let none = ["--set", "checkpoint.every_epochs=0"];
    let mut run = place.start(&[&LONG[..], &none].concat(), "Epoch 2/");
    assert!(place.checkpoints("run").is_empty());
    for number in ["000001", "000002"] {
        run.send(libc::SIGUSR1);
        run.wait_for(&format!("checkpoint {number} saved in epoch "));
        assert!(place.checkpoints("run").contains(&number.to_owned()));
    }
    // Killed, it goes on from there.
    run.kill();
    let run = place.start(&[&LONG[..], &none, &["--resume"]].concat(), "Epoch ");
    assert!(run.seen.contains(" from checkpoint 000002"), "{}", run.seen);
    run.kill();
}

#[test]
fn a_signal_before_the_run_leaves_nothing_behind() {
    let place = Place::new();
    // Some of these come while the data is loaded or the model is built.
    for pause in [2, 5, 8, 11, 14] {
        let mut command = place.command(&LONG);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        #[expect(unsafe_code, reason = "there is no safe kill in std")]
        // SAFETY: the process is our child and has not been waited for.
        unsafe {
            libc::kill(child.id() as i32, libc::SIGTERM)
        };
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            // Not even the handlers were there.
            None => assert!(!place.path("run").exists()),
            Some(143) if stderr.contains("interrupted before the run began") => {
                assert!(!place.path("run").exists());
            }
            Some(143) => {
                assert_eq!(place.json("run/summary.json")["outcome"], "interrupted");
                std::fs::remove_dir_all(place.path("run")).unwrap();
            }
            other => panic!("{other:?}: {stderr}"),
        }
    }
}

#[test]
fn a_hangup_is_nothing_to_who_was_told_to_ignore_it() {
    let place = Place::new();
    let mut command = std::process::Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_refrain")).args(LONG).current_dir(place.path(""));
    let Ok(run) = Started::begin(&mut command, "Epoch 3/") else {
        return; // no nohup here
    };
    let mut run = run;
    run.send(libc::SIGHUP);
    let epochs = run.seen.matches("Epoch ").count();
    run.wait_for(&format!("Epoch {}/", epochs + 50));
    run.kill();
}

/// Rows of a table that takes seconds to read.
const ROWS: usize = 1_500_000;

/// A table of so many rows.
fn table(place: &Place, rows: usize) {
    let lines: String =
        (0..rows).map(|i| format!("{i}.25,{}.5,-{i},{}\n", i % 997, i % 3)).collect();
    place.write("big.csv", "a,b,c,y\n".to_owned() + &lines);
}

/// A recipe on such a table.
fn large_table(place: &Place) {
    table(place, ROWS);
    place.write(
        "big.toml",
        "[data]\nsource = \"csv\"\npath = \"big.csv\"\ntarget = \"y\"\n[model]\nlayers = [{ type = \
         \"dense\", units = 3, activation = \"softmax\" }]\n[compile]\noptimizer = \"sgd\"\nloss = \
         \"sparse_categorical_crossentropy\"\n[fit]\nepochs = 1\n",
    );
}

/// Interrupts the training once `is_due`.
fn interrupt_once(place: &Place, in_memory: bool, is_due: impl Fn(u32) -> bool) -> Done {
    let set = format!("data.in_memory={in_memory}");
    Done::of(interrupted(place, &["train", "big.toml", "--dir", "run", "--set", &set], is_due))
}

/// Interrupts the command once `is_due`.
fn interrupted(place: &Place, args: &[&str], is_due: impl Fn(u32) -> bool) -> Output {
    let mut command = place.command(args);
    command.env("REFRAIN_CACHE", place.path("cache"));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let began = Instant::now();
    while !is_due(child.id()) {
        assert!(began.elapsed() < Duration::from_secs(120), "nothing was read");
        std::thread::sleep(Duration::from_millis(1));
    }
    #[expect(unsafe_code, reason = "there is no safe kill in std")]
    // SAFETY: the process is our child and has not been waited for.
    unsafe {
        libc::kill(child.id() as i32, libc::SIGINT)
    };
    child.wait_with_output().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_the_reading_of_a_large_file() {
    let place = Place::new();
    large_table(&place);
    let table = place.path("big.csv").canonicalize().unwrap();
    let is_open = |process: u32| {
        let files = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == table))
    };
    let converted = place.path("cache/converted");
    let converts = |_| common::list(&converted).iter().any(|name| name.ends_with(".rows.tmp"));
    for done in [interrupt_once(&place, true, is_open), interrupt_once(&place, false, converts)] {
        let done = done.fails(130, &["`big.csv`, line "]);
        // The line at which it was left says how many rows were read after the signal.
        let line = done.stderr.split("line ").nth(1).and_then(|rest| rest.split(',').next());
        let line: usize = line.unwrap().parse().unwrap();
        assert!(line < ROWS / 2, "{}", done.stderr);
        assert!(done.stderr.contains("was interrupted"), "{}", done.stderr);
        assert!(!place.path("run").exists());
    }
    assert!(common::list(&converted).is_empty(), "{:?}", common::list(&converted));
}

#[test]
fn a_signal_leaves_nothing_half_converted_where_nothing_is_trained() {
    let place = Place::new();
    large_table(&place);
    // A run on a small one, which a large one then takes the place of.
    table(&place, 300);
    let on_disk = ["--set", "data.in_memory=false"];
    let mut train = place.command(&["train", "big.toml", "--dir", "run", "--verbose", "0"]);
    let trained = train.args(on_disk).env("REFRAIN_CACHE", place.path("cache")).output().unwrap();
    Done::of(trained).ok();
    table(&place, ROWS);
    place.write("log.json", r#"[{"epoch": 1, "timestamp": "2026-01-01T00:00:00Z", "loss": 1}]"#);
    let converted = place.path("cache/converted");
    let before = common::list(&converted);
    assert_eq!(before.len(), 2, "{before:?}");
    let check = |args: &[&str]| {
        let begins = |_| common::list(&converted).iter().any(|name| name.ends_with(".rows.tmp"));
        let output = interrupted(&place, args, begins);
        // As by the signal itself; and nothing of what was begun.
        assert_eq!(output.status.signal(), Some(libc::SIGINT), "{args:?}: {output:?}");
        assert_eq!(common::list(&converted), before, "{args:?}");
    };
    check(&["evaluate", "--dir", "run"]);
    check(&[&["check", "big.toml"], &on_disk[..]].concat());
    check(&[&["replay", "big.toml", "--log", "log.json"], &on_disk[..]].concat());
    // A run of a version that noted nothing of its data.
    for name in ["run/data.json", "run/journal.jsonl"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    check(&["predict", "--dir", "run", "--input", "big.csv"]);
}
