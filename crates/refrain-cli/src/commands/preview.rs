//! `refrain preview`: the learning rate before any training.

use std::fmt::Write as _;
use std::sync::Arc;

use refrain::plot::{Figure, ScheduleAxis, TrainingLog};
use refrain::{Registry, Result};
use serde_json::Value;

use super::load;
use super::plot::plot_error;
use crate::args::PreviewArgs;
use crate::output::say;

pub(crate) fn preview(args: &PreviewArgs, registry: &Arc<Registry>) -> Result {
    let recipe = load(registry, args.recipe.as_deref(), &args.set)?;
    let log = args.log.as_ref().map(TrainingLog::read).transpose().map_err(plot_error)?;
    if let Some(output) = &args.output {
        Figure::check_extension(output).map_err(plot_error)?;
    }
    let (unit, rates) = if args.steps {
        (ScheduleAxis::Step, recipe.preview_steps(log.as_ref())?)
    } else {
        (ScheduleAxis::Epoch, recipe.preview_epochs(log.as_ref())?)
    };
    if let Some(output) = &args.output {
        let title = format!("Learning rate of {}", recipe.name());
        let figure = Figure::learning_rate(&rates, unit, &title).map_err(plot_error)?;
        figure.write(output).map_err(plot_error)?;
    }
    if args.json {
        return say(&Value::from(rates).to_string());
    }
    match &args.output {
        Some(output) => say(&output.display().to_string()),
        None => say(&table(unit, &rates)),
    }
}

/// One line for each stretch in which the rate stays the same.
fn table(unit: ScheduleAxis, rates: &[f64]) -> String {
    let unit = unit.to_string();
    let mut text = format!("{unit:>12}  Learning rate");
    let mut first = 0;
    while first < rates.len() {
        let stretch = rates[first..].iter().take_while(|rate| **rate == rates[first]).count();
        let last = first + stretch;
        let range = if stretch == 1 { last.to_string() } else { format!("{} - {last}", first + 1) };
        let _ = write!(text, "\n{range:>12}  {:?}", rates[first]);
        first = last;
    }
    text
}
