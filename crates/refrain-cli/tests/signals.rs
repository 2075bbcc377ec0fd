//! Ctrl-C and SIGTERM: the batch is finished, callbacks are ended, everything is saved.

#![cfg(unix)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use common::Place;

/// Starts a run that would take minutes, waits for its first epochs, sends `signal`.
fn interrupt(place: &Place, signal: i32) -> (i32, String) {
    let set = ["--set", "fit.epochs=100000", "--set", "callbacks.2.patience=100000"];
    let args = [&["train", "--dir", "run"], &set[..]].concat();
    let mut child =
        place.command(&args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("Epoch 3/") {
        assert!(stderr.read_line(&mut seen).unwrap() > 0, "ended early: {seen}");
    }
    #[expect(unsafe_code, reason = "there is no safe kill in std")]
    // SAFETY: the process is our child and has not been waited for.
    let sent = unsafe { libc::kill(child.id() as i32, signal) };
    assert_eq!(sent, 0);
    // Read on, so that the child never waits for us.
    std::io::copy(&mut stderr, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_first_signal_ends_the_run_and_saves() {
    for (signal, status) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let place = Place::new();
        let (code, stdout) = interrupt(&place, signal);
        assert_eq!(code, status);
        assert!(stdout.contains("Interrupted"), "{stdout}");
        let summary = place.json("run/summary.json");
        assert_eq!(summary["outcome"], "interrupted");
        let epochs = summary["epochs"].as_u64().unwrap();
        assert!(epochs >= 3, "{epochs}");
        assert_eq!(place.json("run/experiment_log.json").as_array().unwrap().len() as u64, epochs);
        assert!(place.path("run/model.safetensors").exists());
        assert!(place.path("run/training_from_json.png").exists(), "callbacks were ended");
    }
}
