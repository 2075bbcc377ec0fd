//! Signals at every system call of a run: it saves, says so, and goes on later to the same bits.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compare::Remains;
use super::judge::{undisturbed, went_on};
use super::recipes;
use super::refrain::{Case, Finished, shown};
use super::strace::{self, Call};
use super::{Result, Torture, Verdict};

/// Short form: one call in so many.
const EVERY: usize = 80;
const EPOCHS: u32 = 2;

/// What is sent.
#[derive(Clone, Copy)]
struct Sent {
    signal: &'static str,
    number: i32,
    /// At every call from the first on, not once.
    is_storm: bool,
}

const SENT: [Sent; 8] = [
    Sent { signal: "INT", number: 2, is_storm: false },
    Sent { signal: "TERM", number: 15, is_storm: false },
    Sent { signal: "INT", number: 2, is_storm: true },
    Sent { signal: "TERM", number: 15, is_storm: true },
    Sent { signal: "USR1", number: 10, is_storm: false },
    Sent { signal: "USR1", number: 10, is_storm: true },
    Sent { signal: "HUP", number: 1, is_storm: false },
    Sent { signal: "PIPE", number: 13, is_storm: false },
];

#[derive(Default)]
struct Counts {
    interrupted: AtomicU64,
    completed: AtomicU64,
    killed: AtomicU64,
}

pub(super) fn prove(torture: &Torture) -> Result<Verdict> {
    if let Some(why) = strace::is_missing() {
        return Ok(Verdict::Skipped(why));
    }
    // A checkpoint after every step: there is no boundary of a step without a call.
    let variant = recipes::small_steps(EPOCHS);
    let new = |name: &str| {
        Case::new(&torture.refrain, torture.folder.join(format!("signals-{name}")), &variant.recipe)
    };
    let expected = undisturbed(&new("reference")?)?;
    let traced = new("traced")?;
    strace::finish(&traced, None, &traced.train(false))?;
    let calls = strace::calls(&traced)?;
    let every = if torture.is_short { EVERY } else { 1 };
    // Each call has some of the signals, and neighbours have others.
    let cases: Vec<(&Call, Sent)> = calls
        .iter()
        .enumerate()
        .step_by(every)
        .flat_map(|(i, call)| {
            let sent = SENT.into_iter().enumerate();
            let of_this =
                sent.filter(move |(j, _)| (i + j).is_multiple_of(2)).map(|(_, sent)| sent);
            of_this.map(move |sent| (call, sent))
        })
        .collect();
    let counts = Counts::default();
    torture.cases(cases.len() as u64, |number| {
        let (call, sent) = cases[number as usize];
        let case = new(&number.to_string())?;
        signalled(&case, call, sent, &expected, &counts)?;
        case.remove()
    })?;
    let n = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(Verdict::Held(format!(
        "{} runs, {} signals at {} system calls: {} ended by the signal after saving, {} at once, {} \
         went on to the end; 0 differences",
        cases.len(),
        SENT.len(),
        calls.len().div_ceil(every),
        n(&counts.interrupted),
        n(&counts.killed),
        n(&counts.completed),
    )))
}

fn signalled(
    case: &Case<'_>,
    call: &Call,
    sent: Sent,
    expected: &Remains,
    counts: &Counts,
) -> Result<()> {
    let plus = if sent.is_storm { "+" } else { "" };
    let inject = format!("{}:signal={}:when={}{plus}", call.name, sent.signal, call.nth);
    let command = case.train(false);
    let line = shown(&strace::line(case, Some(&inject), &command));
    let told = |what: String| format!("{call}\n{line}\n{what}");
    let finished = strace::finish(case, Some(&inject), &command).map_err(told)?;
    let count = how_it_ended(&finished, sent, counts).map_err(told)?;
    count.fetch_add(1, Ordering::Relaxed);
    went_on(case, expected)
        .map_err(|what| told(format!("{what}\nthe signalled run said: {}", finished.said)))
}

/// The count of how a run has taken a signal; an error where it may not end like this.
fn how_it_ended<'a>(finished: &Finished, sent: Sent, counts: &'a Counts) -> Result<&'a AtomicU64> {
    let status = finished.status;
    let is_ending = matches!(sent.signal, "INT" | "TERM" | "HUP");
    match (status.code(), status.signal()) {
        // After the last batch there is nothing to interrupt.
        (Some(0), _) => Ok(&counts.completed),
        (Some(code), _) if is_ending && code == 128 + sent.number => {
            let is_at_once = sent.is_storm || !finished.said.contains("Interrupted");
            Ok(if is_at_once { &counts.killed } else { &counts.interrupted })
        }
        // Before anybody has said what is to be done with it, and where nobody does.
        (None, Some(signal)) if signal == sent.number && sent.signal != "PIPE" => {
            Ok(&counts.killed)
        }
        _ => Err(format!("SIG{}: it ended with {status}: {}", sent.signal, finished.said)),
    }
}
