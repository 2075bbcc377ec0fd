//! The picture of a learning-rate schedule, before any training.

use std::fmt;

use crate::error::PlotError;
use crate::figure::{Figure, HEIGHT, WIDTH};
use crate::log::Series;
use crate::panel::{Column, Curve, Dots, Panel, Shape};
use crate::scale::{Axis, EpochAxis, Extent, Scale};
use crate::scene::{Color, Stroke};
use crate::training::{TOP, scene};

/// What a schedule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScheduleAxis {
    /// One rate per epoch.
    Epoch,
    /// One rate per optimizer step.
    Step,
}

impl fmt::Display for ScheduleAxis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl ScheduleAxis {
    fn label(self) -> &'static str {
        match self {
            Self::Epoch => "Epoch",
            Self::Step => "Step",
        }
    }
}

impl Figure {
    /// Draws the rates of a schedule; the first is that of epoch (or step) 1.
    ///
    /// A rate is level within its epoch. The axis begins at 0; it is logarithmic if
    /// the rates span more than three decades, or a factor of 30 in a few steps.
    /// Rates that are not finite are gaps.
    ///
    /// # Errors
    /// When there is no rate.
    pub fn learning_rate(
        rates: &[f64],
        axis: ScheduleAxis,
        title: &str,
    ) -> Result<Self, PlotError> {
        if rates.is_empty() {
            return Err(PlotError::NothingToDraw {
                problem: format!(
                    "the schedule has no rates, one per {} is needed",
                    axis.label().to_lowercase()
                ),
                way_out: "give 1 or more epochs".into(),
            });
        }
        let series = Series {
            key: "learning_rate".into(),
            points: (1..).zip(rates.iter().copied()).collect(),
        };
        let stroke = Stroke { color: Color::BLUE, width: 2.0, dash: &[] };
        let panel = Panel {
            label: "Learning rate".into(),
            curves: vec![Curve { series: &series, stroke, shape: Shape::Steps, dots: Dots::Never }],
            scale: Extent::of(rates.iter().copied())
                .map(|extent| Scale::of_rates(extent, rates.iter().copied())),
            legend: Vec::new(),
            height: None,
        };
        let mut scene = scene(title);
        let column = Column {
            left: 0.0,
            right: f64::from(WIDTH),
            top: TOP,
            bottom: f64::from(HEIGHT) - 4.0,
            axis: Axis::Epochs(EpochAxis::new(1, u64::try_from(rates.len()).unwrap_or(u64::MAX))),
            axis_label: axis.label(),
            panels: vec![panel],
            best: None,
        };
        column.draw(&mut scene);
        Ok(Self { scene })
    }
}
