//! The Rust peers' side of the protocol that `commands.py` describes.

use std::io::BufRead as _;
use std::process::exit;
use std::time::Instant;

/// Named numbers of an epoch.
pub type Numbers<'a> = &'a [(&'a str, f64)];

/// Tells that the peer is ready: its name and version.
pub fn ready(name: &str, version: &str) {
    println!("{{\"ready\": {{\"{name}\": \"{version}\"}}}}");
}

/// Tells why this peer does not do this work, and ends.
#[allow(dead_code, reason = "not every peer leaves something out")]
pub fn skip(why: &str) -> ! {
    println!("{{\"skip\": \"{why}\"}}");
    exit(0)
}

/// Ends for a wrong use of the program.
pub fn fail(message: impl std::fmt::Display) -> ! {
    eprintln!("{message}");
    exit(2)
}

/// Waits for the next epoch to be asked for.
pub fn wait_for_epoch() -> Instant {
    match wait().as_slice() {
        [epoch] if epoch == "epoch" => Instant::now(),
        other => fail(format!("command `{}` is not known here; known: epoch", other.join(" "))),
    }
}

/// Answers `epoch`.
pub fn epoch(began: Instant, numbers: Numbers<'_>) {
    let seconds = ("seconds", began.elapsed().as_secs_f64());
    let fields: Vec<String> = std::iter::once(&seconds)
        .chain(numbers)
        .map(|(name, value)| format!("\"{name}\": {}", number(*value)))
        .collect();
    println!("{{{}}}", fields.join(", "));
}

/// Answers `predict N` until it is over.
#[allow(dead_code, reason = "not every peer predicts")]
pub fn serve_predictions(mut predict: impl FnMut() -> Vec<f32>) -> ! {
    loop {
        let command = wait();
        let count = match command.as_slice() {
            [predict, count] if predict == "predict" => count.parse().ok().filter(|n| *n > 0),
            _ => None,
        };
        let Some(count) = count else {
            let command = command.join(" ");
            fail(format!("command `{command}` is not known here; known: predict N"))
        };
        let mut output = Vec::new();
        let mut seconds: Vec<f64> = (0..count)
            .map(|_| {
                let began = Instant::now();
                output = predict();
                began.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let median = (seconds[(count - 1) / 2] + seconds[count / 2]) / 2.0;
        let output: Vec<String> = output.iter().map(|x| number(f64::from(*x))).collect();
        println!("{{\"seconds\": {median}, \"output\": [{}]}}", output.join(", "));
    }
}

/// The words of the next command; the process ends when there are no more.
fn wait() -> Vec<String> {
    let mut line = String::new();
    if let Err(error) = std::io::stdin().lock().read_line(&mut line) {
        fail(format!("commands cannot be read: {error}"));
    }
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() || words == ["quit"] {
        exit(0);
    }
    words
}

/// As Python's `json` reads it.
fn number(x: f64) -> String {
    if x.is_finite() { x.to_string() } else { "NaN".to_owned() }
}
