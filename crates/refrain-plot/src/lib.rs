//! Pictures of training logs and of learning-rate schedules, as PNG or SVG.
//!
//! A [`TrainingLog`] is read from the JSON file that a run writes (or built from
//! columns in memory); a [`Figure`] is drawn from it and written to a file. No
//! font, no display and no other program is needed at run time.
//!
//! # Example
//! ```
//! use refrain_plot::{Figure, Options, TrainingLog};
//!
//! let log = TrainingLog::parse(
//!     r#"[{"epoch": 1, "loss": 0.9, "val_loss": 1.0},
//!         {"epoch": 2, "loss": 0.5, "val_loss": NaN}]"#,
//!     "experiment_log.json",
//! )?;
//! let figure = Figure::training(&log, &Options::default())?;
//!
//! assert!(figure.to_svg().contains("Training Progress (from JSON log)"));
//! assert!(figure.to_png()?.starts_with(b"\x89PNG"));
//! # Ok::<(), refrain_plot::PlotError>(())
//! ```

#![forbid(unsafe_code)]

mod lenient_json;
mod log;

mod figure;
mod learning_rate;
mod lr_finder;
mod training;
mod training_plot;
mod trial;

mod curve;
mod legend;
mod panel;
mod scale;
mod ticks;

mod font;
mod png;
mod scene;
mod svg;

mod error;

pub use error::PlotError;
pub use figure::Figure;
pub use learning_rate::ScheduleAxis;
pub use log::{BestEpoch, TrainingLog};
pub use lr_finder::{LrFinder, LrFinderState};
pub use training::Options;
pub use training_plot::TrainingPlot;
