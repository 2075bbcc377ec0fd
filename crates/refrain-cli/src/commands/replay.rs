//! `refrain replay`: a recipe's callbacks over a recorded log.

use std::io::{BufWriter, ErrorKind, Write as _};
use std::sync::Arc;

use refrain::plot::TrainingLog;
use refrain::{Error, Registry, ReplayedEpoch, Result};
use serde_json::{Map, Value, json};

use super::load;
use super::plot::plot_error;
use crate::args::ReplayArgs;
use crate::signals::Interrupts;

pub(crate) fn replay(args: &ReplayArgs, registry: &Arc<Registry>) -> Result {
    let interrupts = Interrupts::handle()?;
    let recipe = load(registry, args.recipe.as_deref(), &args.set)?.stop_with(interrupts.stop());
    let log = TrainingLog::read(&args.log).map_err(plot_error)?;
    // All lines or, where a callback fails, those until then; one write for many lines.
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut last = 0;
    let mut is_read = true;
    let mut write = |line: &Value| match writeln!(out, "{line}") {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => {
            is_read = false;
            Ok(())
        }
        Err(e) => Err(Error::msg(format!("cannot write to standard output: {e}"))),
        Ok(()) => Ok(()),
    };
    // It begins with the data; what comes then takes no time.
    let replayed = interrupts.while_reading(|| {
        recipe.replay(&log, |epoch| {
            last = epoch.epoch + 1;
            write(&line(epoch))
        })
    })?;
    write(&json!({
        "outcome": if replayed.by.is_some() { "stopped" } else { "completed" },
        "by": replayed.by,
        "epochs": last,
        "restored_epoch": replayed.restored_epoch,
    }))?;
    match out.flush() {
        Err(e) if is_read && e.kind() != ErrorKind::BrokenPipe => {
            Err(Error::msg(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

fn line(epoch: ReplayedEpoch) -> Value {
    json!({
        "epoch": epoch.epoch + 1,
        "learning_rate": epoch.learning_rate,
        "next_learning_rate": epoch.next_learning_rate,
        "stop": epoch.stop,
        "callbacks": epoch.states.into_iter().collect::<Map<String, Value>>(),
    })
}
