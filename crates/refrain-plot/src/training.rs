//! The picture of a training log: losses on one side, other metrics on the other,
//! the learning rate as a strip below, the best epoch marked in all of them.

use std::collections::HashMap;

use crate::error::{PlotError, printable};
use crate::figure::{Figure, HEIGHT, WIDTH};
use crate::legend::{Entry, Sample};
use crate::log::{Series, TrainingLog};
use crate::panel::{self, Column, Curve, Dots, Mark, Panel, Shape};
use crate::scale::{Axis, EpochAxis, Extent, Scale};
use crate::scene::{Anchor, Color, Point, Scene, Stroke, Text, fit};
use crate::ticks::significant;

const DEFAULT_TITLE: &str = "Training Progress (from JSON log)";
const TITLE_SIZE: f64 = 17.0;
const STRIP_HEIGHT: f64 = 74.0;
/// `lr` is what Keras 2 called it.
const RATE_KEYS: [&str; 2] = ["learning_rate", "lr"];
/// More metrics (a metric and its `val_` twin count once) than this are not drawn;
/// the legend says how many and how to choose.
const MAX_METRICS: usize = 16;
/// Metrics whose largest values are further apart than this factor (in decades) get
/// a panel of their own, up to [`MAX_METRIC_PANELS`].
const SCALE_GAP: f64 = 1.5;
const MAX_METRIC_PANELS: usize = 3;

/// Okabe and Ito's colours, which people with colour blindness can tell apart, without
/// their yellow, which nobody can see on white.
const PALETTE: [Color; 7] = [
    Color(0, 114, 178),
    Color(213, 94, 0),
    Color(0, 158, 115),
    Color(204, 121, 167),
    Color(86, 180, 233),
    Color(230, 159, 0),
    Color(0, 0, 0),
];
/// Train and validation dashes; the second pair serves when the colours begin again.
const DASHES: [(&[f64], &[f64]); 3] =
    [(&[], &[6.0, 3.0]), (&[9.0, 3.0, 2.0, 3.0], &[2.0, 3.0]), (&[12.0, 4.0], &[4.0, 4.0])];

/// What of a log is drawn.
///
/// # Example
/// ```
/// use refrain_plot::{Figure, Options, TrainingLog};
///
/// let log = TrainingLog::parse(r#"[{"epoch": 1, "loss": 0.9, "accuracy": 0.7}]"#, "log.json")?;
/// let options = Options { metrics: Some(vec!["acuracy".into()]), ..Options::default() };
/// let error = Figure::training(&log, &options).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "no metric named `acuracy`; log.json has loss, accuracy; did you mean `accuracy`?",
/// );
/// # Ok::<(), refrain_plot::PlotError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keys to draw, in this order. Default: all.
    pub metrics: Option<Vec<String>>,
    /// Default: `Training Progress (from JSON log)`.
    pub title: Option<String>,
}

impl Figure {
    /// Draws a log: `loss` and `val_loss` on one panel, other metrics on a second one
    /// beside it (up to three, one below the other, if their scales differ by more
    /// than a factor of 30), the learning rate as a strip below.
    ///
    /// An axis turns logarithmic if all its values are positive and span more than
    /// three decades. Values that are not finite are gaps; across epochs without the
    /// key the curve is connected. The best epoch (see [`TrainingLog::best_epoch`]) is
    /// marked whatever is selected. At most 16 metrics and their `val_` twins are
    /// drawn; the legend then says how many more there are.
    ///
    /// # Errors
    /// When a selected metric is not in the log, or there is nothing to draw.
    pub fn training(log: &TrainingLog, options: &Options) -> Result<Self, PlotError> {
        let selection = Selection::new(log, options.metrics.as_deref())?;
        let best = log.best_epoch().map(|best| Mark {
            epoch: best.epoch,
            metric: best.metric,
            value: best.value,
        });

        let mut left = Vec::from_iter(loss_panel(&selection.losses));
        let mut right = metric_panels(selection.metrics);
        let mut strip = selection.rate.map(rate_panel);
        if left.is_empty() {
            left = std::mem::take(&mut right);
        }
        if let Some(strip) = &mut strip
            && !left.is_empty()
        {
            strip.height = Some(STRIP_HEIGHT);
            strip.legend.clear();
        }
        left.extend(strip);
        if let Some((first, best)) = left.first_mut().zip(best) {
            let entry = best_entry(first, best);
            first.legend.push(entry);
        }

        let title = options.title.as_deref().unwrap_or(DEFAULT_TITLE);
        let mut scene = scene(title);
        // Never empty, hence both are there.
        let axis = Axis::Epochs(EpochAxis::new(
            log.epochs().first().copied().unwrap_or(1),
            log.epochs().last().copied().unwrap_or(1),
        ));
        let column = |left: f64, right: f64, panels| Column {
            left,
            right,
            top: TOP,
            bottom: f64::from(HEIGHT) - 4.0,
            axis,
            axis_label: "Epoch",
            panels,
            best,
        };
        let width = f64::from(WIDTH);
        if right.is_empty() {
            column(0.0, width, left).draw(&mut scene);
        } else {
            column(0.0, width / 2.0, left).draw(&mut scene);
            column(width / 2.0, width, right).draw(&mut scene);
        }
        Ok(Self { scene })
    }
}

/// Where the uppermost legend begins.
pub(crate) const TOP: f64 = 46.0;

/// An empty picture with its title.
pub(crate) fn scene(title: &str) -> Scene {
    let mut scene =
        Scene { width: WIDTH, height: HEIGHT, title: printable(title), items: Vec::new() };
    let at = Point { x: f64::from(WIDTH) / 2.0, y: 28.0 };
    let title = fit(title, TITLE_SIZE, f64::from(WIDTH) - 40.0);
    scene.text(Text::new(title, at, TITLE_SIZE, Anchor::Middle));
    scene
}

/// The series to draw, sorted by where they are drawn.
#[derive(Default)]
struct Selection<'a> {
    losses: Vec<&'a Series>,
    metrics: Vec<Metric<'a>>,
    /// Where in `metrics` a name is.
    places: HashMap<&'a str, usize>,
    rate: Option<&'a Series>,
}

/// A metric and its twin.
struct Metric<'a> {
    name: &'a str,
    train: Option<&'a Series>,
    validation: Option<&'a Series>,
}

impl<'a> Selection<'a> {
    fn new(log: &'a TrainingLog, keys: Option<&[String]>) -> Result<Self, PlotError> {
        let selected: Vec<&Series> = match keys {
            None => log.all_series().iter().collect(),
            Some(keys) => keys
                .iter()
                .map(|key| log.series(key).ok_or_else(|| unknown_metric(log, key)))
                .collect::<Result<_, _>>()?,
        };
        if selected.is_empty() {
            let (problem, way_out) = match keys {
                Some(_) => (
                    "the list of metrics is empty".to_owned(),
                    format!("name one or more of: {}", known(log)),
                ),
                None => (
                    format!("{} has epochs and no metrics", log.name()),
                    "log at least one number per epoch, such as `loss`".to_owned(),
                ),
            };
            return Err(PlotError::NothingToDraw { problem, way_out });
        }

        let mut selection = Self::default();
        for series in selected {
            selection.add(series);
        }
        selection.losses.sort_by_key(|series| series.key.starts_with("val_"));
        Ok(selection)
    }

    fn add(&mut self, series: &'a Series) {
        let key = series.key.as_str();
        if matches!(key, "loss" | "val_loss") {
            if !self.losses.iter().any(|loss| loss.key == key) {
                self.losses.push(series);
            }
            return;
        }
        if RATE_KEYS.contains(&key) && self.rate.is_none_or(|rate| rate.key == key) {
            self.rate = Some(series);
            return;
        }
        let (name, validates) = match key.strip_prefix("val_") {
            Some(name) => (name, true),
            None => (key, false),
        };
        let place = *self.places.entry(name).or_insert(self.metrics.len());
        if place == self.metrics.len() {
            self.metrics.push(Metric { name, train: None, validation: None });
        }
        if let Some(metric) = self.metrics.get_mut(place) {
            let slot = if validates { &mut metric.validation } else { &mut metric.train };
            *slot = Some(series);
        }
    }
}

fn unknown_metric(log: &TrainingLog, name: &str) -> PlotError {
    let nearest = log
        .keys()
        .map(|key| (strsim::normalized_damerau_levenshtein(key, name), key))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    PlotError::UnknownMetric {
        name: printable(name),
        log: log.name().to_owned(),
        known: known(log),
        suggestion: nearest
            .map(|(_, key)| format!("; did you mean `{}`?", printable(key)))
            .unwrap_or_default(),
    }
}

/// The names that a log has, for a message.
fn known(log: &TrainingLog) -> String {
    const SHOWN: usize = 40;
    let names: Vec<_> = log.keys().take(SHOWN).map(printable).collect();
    match log.keys().count().saturating_sub(SHOWN) {
        _ if names.is_empty() => "no metrics".into(),
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn loss_panel<'a>(losses: &[&'a Series]) -> Option<Panel<'a>> {
    if losses.is_empty() {
        return None;
    }
    let curves: Vec<Curve> = losses.iter().map(|series| paired(series)).collect();
    let legend = curves
        .iter()
        .map(|curve| {
            let name = if curve.series.key == "loss" { "Train Loss" } else { "Val Loss" };
            panel::entry(name.into(), curve)
        })
        .collect();
    Some(values_panel("Loss".into(), curves, legend))
}

fn values_panel<'a>(label: String, curves: Vec<Curve<'a>>, legend: Vec<Entry>) -> Panel<'a> {
    let scale = Extent::of(panel::values(&curves)).map(Scale::of_values);
    Panel { label, curves, scale, legend, height: None }
}

/// The only metric of its panel: blue for training, orange for validation.
fn paired(series: &Series) -> Curve<'_> {
    let color = match series.key.starts_with("val_") {
        true => Color::ORANGE,
        false => Color::BLUE,
    };
    let stroke = Stroke { color, width: 1.8, dash: &[] };
    Curve { series, stroke, shape: Shape::Line, dots: Dots::Always }
}

fn metric_panels(mut metrics: Vec<Metric<'_>>) -> Vec<Panel<'_>> {
    let left_out = metrics.len().saturating_sub(MAX_METRICS);
    metrics.truncate(MAX_METRICS);
    let mut panels: Vec<_> = by_scale(metrics).into_iter().map(metric_panel).collect();
    if let Some(last) = panels.last_mut()
        && left_out > 0
    {
        let text = format!("and {left_out} more: choose with --metrics");
        last.legend.push(Entry { sample: Sample::None, text });
    }
    panels
}

/// Groups metrics of similar size: cuts where neighbours, sorted by their largest
/// value, are furthest apart.
fn by_scale(metrics: Vec<Metric<'_>>) -> Vec<Vec<Metric<'_>>> {
    let decades = |metric: &Metric<'_>| {
        let points = metric.train.into_iter().chain(metric.validation).flat_map(|s| &s.points);
        let extent = Extent::of(points.map(|(_, value)| value.abs()))?;
        (extent.max > 0.0).then(|| extent.max.log10())
    };
    let mut sizes: Vec<f64> = metrics.iter().filter_map(decades).collect();
    sizes.sort_by(f64::total_cmp);
    let mut cuts: Vec<(f64, f64)> = sizes
        .windows(2)
        .filter_map(|pair| match pair {
            [low, high] => Some((high - low, low.midpoint(*high))),
            _ => None,
        })
        .filter(|(gap, _)| *gap > SCALE_GAP)
        .collect();
    cuts.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    cuts.truncate(MAX_METRIC_PANELS - 1);

    let mut groups: Vec<(usize, Vec<Metric>)> = Vec::new();
    for metric in metrics {
        // Without a size of its own (all zero, or nothing finite) it goes with the smallest.
        let size = decades(&metric).unwrap_or(f64::NEG_INFINITY);
        let group = cuts.iter().filter(|(_, cut)| size > *cut).count();
        match groups.iter_mut().find(|(number, _)| *number == group) {
            Some((_, members)) => members.push(metric),
            None => groups.push((group, vec![metric])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

fn metric_panel(metrics: Vec<Metric<'_>>) -> Panel<'_> {
    if let [metric] = metrics.as_slice() {
        let curves: Vec<Curve> =
            metric.train.into_iter().chain(metric.validation).map(paired).collect();
        let legend = curves.iter().map(|curve| panel::entry(shown_name(&curve.series.key), curve));
        let (label, legend) = (capitalised(metric.name), legend.collect());
        return values_panel(label, curves, legend);
    }

    let mut curves = Vec::new();
    let mut legend = Vec::new();
    // Two entries per metric would fill the panel: name each once, explain the dashes.
    let pairs = metrics.iter().all(|metric| metric.train.is_some() && metric.validation.is_some());
    let compact = pairs && metrics.len() > 3;
    let looks = (0..DASHES.len()).flat_map(|round| PALETTE.map(|color| (color, DASHES[round])));
    for (metric, (color, (train, validation))) in metrics.iter().zip(looks) {
        let solid = metric.train.map(|series| (series, train));
        let dashed = metric.validation.map(|series| (series, validation));
        for (series, dash) in solid.into_iter().chain(dashed) {
            let stroke = Stroke { color, width: 1.6, dash };
            // Dots would hide the dashes.
            let curve = Curve { series, stroke, shape: Shape::Line, dots: Dots::IfSparse };
            if !compact {
                legend.push(panel::entry(shown_name(&series.key), &curve));
            } else if series.key == metric.name {
                legend.push(panel::entry(printable(metric.name), &curve));
            }
            curves.push(curve);
        }
    }
    if compact {
        for (name, dash) in [("Train", DASHES[0].0), ("Val", DASHES[0].1)] {
            let stroke = Stroke { color: Color::BEST, width: 1.6, dash };
            legend.push(Entry { sample: Sample::Line(stroke), text: name.into() });
        }
    }
    values_panel("Metrics".into(), curves, legend)
}

fn rate_panel(series: &Series) -> Panel<'_> {
    let stroke = Stroke { color: Color::GREEN, width: 1.8, dash: &[] };
    let curves = vec![Curve { series, stroke, shape: Shape::Steps, dots: Dots::Never }];
    let rates = || series.points.iter().map(|(_, rate)| *rate);
    let scale = Extent::of(rates()).map(|extent| Scale::of_rates(extent, rates()));
    let legend = curves.iter().map(|curve| panel::entry("Learning rate".into(), curve)).collect();
    Panel { label: "Learning rate".into(), curves, scale, legend, height: None }
}

fn best_entry(panel: &Panel<'_>, best: Mark<'_>) -> Entry {
    let curve = panel.curves.iter().find(|curve| curve.series.key == best.metric);
    let value = significant(best.value);
    let text = match curve {
        Some(_) => format!("Best epoch {} ({value})", best.epoch),
        None => format!("Best epoch {} ({} {value})", best.epoch, best.metric),
    };
    Entry { sample: Sample::Best { dot: curve.map(|curve| curve.stroke.color) }, text }
}

/// The name of a metric in a legend.
fn shown_name(key: &str) -> String {
    match key.strip_prefix("val_") {
        Some(name) => format!("Val {}", printable(name)),
        None => format!("Train {}", printable(key)),
    }
}

/// The name of a metric beside an axis: `mean_squared_error` is `Mean squared error`.
fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).map(|c| if c == '_' { ' ' } else { c }).collect()
}
