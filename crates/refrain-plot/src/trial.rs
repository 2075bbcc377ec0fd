//! The picture of a trial of learning rates: the loss over the rate.

use refrain_core::Trial;

use crate::error::PlotError;
use crate::figure::{Figure, HEIGHT, WIDTH};
use crate::legend::{Entry, Sample};
use crate::log::Series;
use crate::panel::{Column, Curve, Dots, Mark, Panel, Shape, entry, values};
use crate::scale::{Axis, Extent, Scale};
use crate::scene::{Color, Stroke};
use crate::ticks::significant;
use crate::training::{TOP, scene};

/// The loss of single batches, behind the smoothed one.
const FAINT: Color = Color(158, 202, 225);
const SMOOTHED: &str = "smoothed";

impl Figure {
    /// Draws what a trial of learning rates found: the loss of each batch and the smoothed loss
    /// over the rate, with the rate at which it falls most steeply marked.
    ///
    /// # Errors
    /// When fewer than two rates above 0 were tried.
    pub fn trial(trial: &Trial, title: &str) -> Result<Self, PlotError> {
        let points = || trial.points.iter().filter(|point| point.learning_rate > 0.0);
        let rates: Vec<f64> = points().map(|point| point.learning_rate).collect();
        let extent = Extent::of(rates.iter().copied()).filter(|extent| extent.min < extent.max);
        let Some(extent) = extent else {
            return Err(PlotError::NothingToDraw {
                problem: format!("{} learning rates were tried, 2 are needed", rates.len()),
                way_out: "begin with a lower rate, with which the loss does not diverge".into(),
            });
        };
        let series = |key: &str, losses: Vec<f64>| Series {
            key: key.to_owned(),
            points: (0..).zip(losses).collect(),
        };
        // Single batches explode long before the smoothed loss: what lies above it and above all
        // that came before its minimum is left out, or the rest would be a line at the bottom.
        let lowest = points().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
        let falling = points().take_while(|point| point.smoothed > lowest).map(|point| point.loss);
        let smoothed = points().map(|point| point.smoothed);
        let highest = falling.chain(smoothed).fold(f64::NEG_INFINITY, f64::max);
        let visible = |loss: f64| if loss <= highest { loss } else { f64::NAN };
        let loss = series("loss", points().map(|point| visible(point.loss)).collect());
        let smoothed = series(SMOOTHED, points().map(|point| point.smoothed).collect());
        let curve = |series, color, width| Curve {
            series,
            stroke: Stroke { color, width, dash: &[] },
            shape: Shape::Line,
            dots: Dots::Never,
        };
        let curves = vec![curve(&loss, FAINT, 1.0), curve(&smoothed, Color::BLUE, 2.0)];
        let mut legend: Vec<Entry> = curves
            .iter()
            .zip(["Loss", "Smoothed loss"])
            .map(|(curve, name)| entry(name.to_owned(), curve))
            .collect();

        let best = trial.steepest().and_then(|steepest| {
            let number = rates.iter().position(|rate| *rate == steepest)?;
            let (epoch, value) = *smoothed.points.get(number)?;
            let text = format!("Steepest descent: {}", significant(steepest));
            legend.push(Entry { sample: Sample::Best { dot: Some(Color::BLUE) }, text });
            Some(Mark { epoch, metric: SMOOTHED, value })
        });
        if let Some(valley) = trial.valley() {
            let text = format!("Valley: {}", significant(valley));
            legend.push(Entry { sample: Sample::None, text });
        }
        let scale = Scale::of_tried_rates(extent);
        let panel = Panel {
            label: "Loss".into(),
            scale: Extent::of(values(&curves)).map(Scale::of_values),
            curves,
            legend,
            height: None,
        };
        let mut scene = scene(title);
        let column = Column {
            left: 0.0,
            right: f64::from(WIDTH),
            top: TOP,
            bottom: f64::from(HEIGHT) - 4.0,
            axis: Axis::Rates { rates: &rates, scale: &scale },
            axis_label: "Learning rate",
            panels: vec![panel],
            best,
        };
        column.draw(&mut scene);
        Ok(Self { scene })
    }
}
