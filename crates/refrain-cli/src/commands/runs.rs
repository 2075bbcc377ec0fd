//! `refrain runs`: the runs in a folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use refrain::checkpoint::{JournalText, inspect};
use refrain::files::Files;
use refrain::{Error, Escaped, Result};
use serde_json::{Value, json};

use crate::args::RunsArgs;
use crate::claim::is_being_made;
use crate::output::say;
use crate::run_folder::{holds_run, without_journal};
use crate::run_state::{State, journal_damage};

/// A folder that was looked at.
struct Row {
    folder: PathBuf,
    /// What is known of the run; else why it is none that can be shown.
    run: Result<Run, String>,
}

struct Run {
    state: State,
    epochs: usize,
    planned: Option<usize>,
    best: Option<Best>,
    /// When its journal was written last.
    time: Option<SystemTime>,
    bytes: u64,
    is_damaged: bool,
}

struct Best {
    monitor: &'static str,
    value: f64,
    epoch: usize,
}

pub(crate) fn runs(args: &RunsArgs) -> Result {
    let dir = args.dir.as_deref().unwrap_or(Path::new("runs"));
    let mut rows: Vec<Row> = folders(dir, args.dir.is_some())?.into_iter().map(row).collect();
    // The newest first; what is no run, last.
    let time = |row: &Row| row.run.as_ref().ok().map(|run| run.time);
    rows.sort_by(|a, b| time(b).cmp(&time(a)).then_with(|| a.folder.cmp(&b.folder)));
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::to_json).collect();
        return say(&format!("{:#}", Value::from(rows)));
    }
    if rows.is_empty() {
        return say(&format!("no runs in `{}`", dir.display()));
    }
    let rows: Vec<[String; 6]> = rows.iter().map(Row::to_cells).collect();
    say(&table(["run", "state", "epoch", "best", "age", "size"].map(str::to_owned), &rows))
}

/// `dir` itself where it is a run, else the folders in it.
fn folders(dir: &Path, is_named: bool) -> Result<Vec<PathBuf>> {
    if holds_run(dir) {
        return Ok(vec![dir.to_owned()]);
    }
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !is_named => return Ok(Vec::new()),
        Err(e) => return Err(Error::config(format!("cannot list `{}`: {e}", dir.display()))),
    };
    let folders = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        // A link is not followed: it may lead anywhere. What is being made is no run yet.
        let is_run = entry.file_type().ok()?.is_dir()
            && !is_being_made(&entry.file_name().to_string_lossy());
        is_run.then(|| entry.path())
    });
    Ok(folders.collect())
}

fn row(folder: PathBuf) -> Row {
    let run = match inspect(&Files::default(), &folder) {
        Ok(Some(report)) => Ok(Run {
            state: State::of(&report),
            epochs: report.journal.epochs().last().map_or(0, |(epoch, _)| *epoch),
            planned: report.journal.planned(),
            best: best(&report.journal),
            time: last_time(&report.journal),
            bytes: size(&folder),
            is_damaged: journal_damage(&report).is_some(),
        }),
        Ok(None) => Err(without_journal(&folder).unwrap_or("no run").to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Row { folder, run }
}

/// The epoch with the lowest validation loss, or loss where there is none.
fn best(journal: &JournalText) -> Option<Best> {
    let epochs = journal.epochs();
    let of = |monitor: &'static str| {
        let values = epochs.iter().filter_map(|(epoch, logs)| {
            Some(Best { monitor, value: logs.get(monitor)?.as_f64()?, epoch: *epoch })
        });
        values.min_by(|a, b| a.value.total_cmp(&b.value))
    };
    of("val_loss").or_else(|| of("loss"))
}

fn last_time(journal: &JournalText) -> Option<SystemTime> {
    journal.entries.last()?.at()
}

/// Bytes of all files below a folder; links count as nothing.
fn size(folder: &Path) -> u64 {
    let mut bytes: u64 = 0;
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(entry.path()),
                Ok(metadata) if metadata.is_file() => bytes = bytes.saturating_add(metadata.len()),
                _ => {}
            }
        }
    }
    bytes
}

impl Run {
    fn age(&self) -> Option<Duration> {
        SystemTime::now().duration_since(self.time?).ok()
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let dir = self.folder.display().to_string();
        match &self.run {
            Err(problem) => json!({ "dir": dir, "state": Value::Null, "problem": problem }),
            Ok(run) => json!({
                "dir": dir,
                "state": run.state.word(),
                "by": run.state.by(),
                "epoch": run.epochs,
                "planned": run.planned,
                "monitor": run.best.as_ref().map(|best| best.monitor),
                "best": run.best.as_ref().map(|best| best.value),
                "best_epoch": run.best.as_ref().map(|best| best.epoch),
                "age_seconds": run.age().map(|age| age.as_secs()),
                "bytes": run.bytes,
                "problem": run.is_damaged.then_some(DAMAGED),
            }),
        }
    }

    fn to_cells(&self) -> [String; 6] {
        let name = Escaped(&self.folder.display().to_string()).to_string();
        let run = match &self.run {
            Err(problem) => {
                let nothing = String::new;
                let problem = Escaped(problem).to_string();
                return [name, problem, nothing(), nothing(), nothing(), nothing()];
            }
            Ok(run) => run,
        };
        let state = match run.is_damaged {
            true => format!("{} ({DAMAGED})", run.state),
            false => run.state.to_string(),
        };
        let planned = run.planned.map_or("?".to_owned(), |planned| planned.to_string());
        let best = run.best.as_ref().map_or("-".to_owned(), |best| {
            format!("{} {:.4} (epoch {})", best.monitor, best.value, best.epoch)
        });
        let age = run.age().map_or("?".to_owned(), short);
        [name, state, format!("{}/{planned}", run.epochs), best, age, bytes(run.bytes)]
    }
}

const DAMAGED: &str = "journal damaged, see refrain verify";

/// `45 s`, `12 min`, `3 h`, `8 d`.
fn short(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `512 B`, `1.2 MB`: powers of 1000.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 999.95
        && let Some(next) = units.next()
    {
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Columns as wide as they need to be; a text that nothing follows in its row may be longer.
fn table<const N: usize>(head: [String; N], rows: &[[String; N]]) -> String {
    let all = || std::iter::once(&head).chain(rows);
    let cell_width = |row: &[String; N], column: usize| {
        let is_last = row.iter().skip(column + 1).all(String::is_empty);
        if is_last { 0 } else { row.get(column).map_or(0, |cell| cell.chars().count()) }
    };
    let width = |column| all().map(|row| cell_width(row, column)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_short() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "1 h"), (200_000, "2 d")]
        {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_230_000_000, "1.2 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(n), text, "{n}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let cells = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let rows = [cells("digits", "x"), cells("what nothing follows", "")];
        let text = "run     state\ndigits  x\nwhat nothing follows";
        assert_eq!(table(cells("run", "state"), &rows), text);
    }
}
