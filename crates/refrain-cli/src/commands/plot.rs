//! `refrain plot`: draws a JSON log.

use refrain::plot::{Figure, Options, PlotError, TrainingLog};
use refrain::{Error, Result};

use crate::args::PlotArgs;
use crate::output::say;

pub(crate) fn plot(args: &PlotArgs) -> Result {
    let output =
        args.output.clone().unwrap_or_else(|| args.log.with_file_name("training_from_json.png"));
    // Before the work: a name that cannot be drawn into is wrong usage.
    Figure::check_extension(&output).map_err(plot_error)?;
    let log = TrainingLog::read(&args.log).map_err(plot_error)?;
    let options = Options { metrics: args.metrics.clone(), ..Options::default() };
    let figure = Figure::training(&log, &options).map_err(plot_error)?;
    figure.write(&output).map_err(plot_error)?;
    say(&output.display().to_string())
}

/// Names that the user typed are usage; files and their contents are failures.
pub(super) fn plot_error(error: PlotError) -> Error {
    match error {
        PlotError::Extension { .. } | PlotError::UnknownMetric { .. } => {
            Error::config(error.to_string())
        }
        _ => Error::wrap(error),
    }
}
