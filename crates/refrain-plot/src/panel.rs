//! Panels: axes with curves, stacked in a column that shares its horizontal axis.

use crate::curve;
use crate::font;
use crate::legend::{BEST_RADIUS, BEST_STROKE, Entry, Legend, Sample};
use crate::log::Series;
use crate::scale::{Axis, Scale};
use crate::scene::{Anchor, Color, Item, Point, Scene, Stroke, Text, fit};
use crate::ticks::Tick;

const TICK_SIZE: f64 = 12.0;
const LABEL_SIZE: f64 = 13.5;
const TICK_LENGTH: f64 = 4.0;
/// From the end of a tick to its label.
const TICK_GAP: f64 = 4.0;
/// Between panels of a column; tick labels of both reach into it.
const PANEL_GAP: f64 = 16.0;
const LEGEND_GAP: f64 = 5.0;
/// Below the lowest panel: ticks, their labels and the label of the axis.
const X_AXIS_HEIGHT: f64 = 46.0;
const OUTER_MARGIN: f64 = 10.0;
const RIGHT_MARGIN: f64 = 22.0;
/// A dot on every point, while they are at least this far apart.
const DOT_DISTANCE: f64 = 9.0;

const AXIS_STROKE: Stroke = Stroke { color: Color::AXIS, width: 1.0, dash: &[] };
const GRID_STROKE: Stroke = Stroke { color: Color::GRID, width: 1.0, dash: &[] };

/// How the values of a curve are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// From point to point.
    Line,
    /// Level within an epoch, as a rate is.
    Steps,
}

/// A series and its looks.
pub(crate) struct Curve<'a> {
    pub series: &'a Series,
    pub stroke: Stroke,
    pub shape: Shape,
    pub dots: Dots,
}

/// Whether each value has a dot, where there is room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dots {
    Always,
    /// Only if epochs without the metric lie between: the dots say which have it.
    IfSparse,
    Never,
}

impl Curve<'_> {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.series.points.iter().map(|(_, value)| *value)
    }

    fn has_dots(&self) -> bool {
        let sparse = || match self.series.points.as_slice() {
            [(first, _), .., (last, _)] => last - first >= self.series.points.len() as u64,
            _ => false,
        };
        match self.dots {
            Dots::Always => true,
            Dots::IfSparse => sparse(),
            Dots::Never => false,
        }
    }
}

/// Finite values of all curves of a panel.
pub(crate) fn values<'a>(curves: &'a [Curve<'a>]) -> impl Iterator<Item = f64> {
    curves.iter().flat_map(Curve::values)
}

/// The best epoch, as a panel shows it.
#[derive(Clone, Copy)]
pub(crate) struct Mark<'a> {
    pub epoch: u64,
    pub metric: &'a str,
    pub value: f64,
}

/// One pair of axes with its legend.
pub(crate) struct Panel<'a> {
    pub label: String,
    pub curves: Vec<Curve<'a>>,
    /// `None` if no value is finite.
    pub scale: Option<Scale>,
    pub legend: Vec<Entry>,
    /// Height of the axes in pixels; `None`: an equal share of what is left.
    pub height: Option<f64>,
}

/// Panels one below the other.
pub(crate) struct Column<'a> {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    pub axis: Axis<'a>,
    pub axis_label: &'static str,
    pub panels: Vec<Panel<'a>>,
    pub best: Option<Mark<'a>>,
}

/// The rectangle of the axes, on whole pixels.
#[derive(Clone, Copy)]
struct Axes {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Axes {
    fn height(self) -> f64 {
        self.bottom - self.top
    }

    fn x(self, position: f64) -> f64 {
        self.left + position * (self.right - self.left)
    }

    fn y(self, position: f64) -> f64 {
        self.bottom - position * self.height()
    }
}

impl Column<'_> {
    pub fn draw(mut self, scene: &mut Scene) {
        let right = (self.right - RIGHT_MARGIN).round();
        // The width of the tick labels depends on the heights of the panels, these on
        // the legends, and these on the width. Twice is enough to settle.
        let mut left = self.left + OUTER_MARGIN + 60.0;
        let mut rows = self.rows(left, right);
        let needed = self.left_of_axes(&rows);
        if needed > left {
            rows = self.rows(needed, right);
        }
        left = self.left_of_axes(&rows).max(needed);
        if left < self.left + OUTER_MARGIN + 60.0 {
            rows = self.rows(left, right);
        }

        let last = self.panels.len().saturating_sub(1);
        let (axis, axis_label, best) = (self.axis, self.axis_label, self.best);
        let outer = (self.left, self.right);
        let panels = std::mem::take(&mut self.panels);
        for (number, (panel, (legend, top, bottom))) in panels.into_iter().zip(rows).enumerate() {
            let axes = Axes { left, right, top, bottom };
            let legend_top = top - LEGEND_GAP - legend.height;
            legend.draw(scene, Point { x: left, y: legend_top });
            let epochs = epoch_ticks(axis, axes, outer.1);
            panel.draw(scene, axes, axis, &epochs, best, outer.0);
            if number == last {
                draw_epochs(scene, axes, &epochs, axis_label);
            } else {
                draw_marks_below(scene, axes, &epochs);
            }
        }
    }

    /// For each panel its legend, and top and bottom of its axes.
    fn rows(&self, left: f64, right: f64) -> Vec<(Legend, f64, f64)> {
        let legends: Vec<Legend> = self
            .panels
            .iter()
            .map(|panel| Legend::new(panel.legend.clone(), right - left))
            .collect();
        let above = |legend: &Legend| match legend.height {
            0.0 => 0.0,
            height => height + LEGEND_GAP,
        };
        let gaps = PANEL_GAP * self.panels.len().saturating_sub(1) as f64;
        let fixed: f64 = self.panels.iter().filter_map(|panel| panel.height).sum();
        let shares = self.panels.iter().filter(|panel| panel.height.is_none()).count().max(1);
        let room = self.bottom
            - X_AXIS_HEIGHT
            - self.top
            - gaps
            - fixed
            - legends.iter().map(above).sum::<f64>();
        // However many names a log has, axes stay axes.
        let share = (room / shares as f64).max(24.0);

        let mut top = self.top;
        let mut rows = Vec::with_capacity(legends.len());
        for (panel, legend) in self.panels.iter().zip(legends) {
            top += above(&legend);
            let bottom = top + panel.height.unwrap_or(share);
            rows.push((legend, top.round(), bottom.round()));
            top = bottom + PANEL_GAP;
        }
        rows
    }

    fn left_of_axes(&self, rows: &[(Legend, f64, f64)]) -> f64 {
        let widest = self
            .panels
            .iter()
            .zip(rows)
            .flat_map(|(panel, (_, top, bottom))| panel.ticks(bottom - top))
            .map(|tick| font::label_width(&tick.label, TICK_SIZE))
            .fold(0.0, f64::max);
        let label = LABEL_SIZE + 8.0;
        (self.left + OUTER_MARGIN + label + widest + TICK_GAP + TICK_LENGTH).round()
    }
}

impl Panel<'_> {
    fn max_ticks(height: f64) -> usize {
        ((height / 24.0).floor() as usize).clamp(2, 9)
    }

    fn ticks(&self, height: f64) -> Vec<Tick> {
        self.scale.as_ref().map_or(Vec::new(), |scale| scale.ticks(Self::max_ticks(height)))
    }

    fn draw(
        &self,
        scene: &mut Scene,
        axes: Axes,
        axis: Axis<'_>,
        epochs: &[(f64, Tick)],
        best: Option<Mark<'_>>,
        outer_left: f64,
    ) {
        let ticks = self.ticks(axes.height());
        draw_grid(scene, axes, &ticks, epochs);
        if let Some(best) = best {
            let x = snap(axes.x(axis.position(best.epoch, 0.0)));
            let (top, bottom) = (axes.top, axes.bottom);
            scene.line(Point { x, y: top }, Point { x, y: bottom }, BEST_STROKE);
        }
        draw_frame(scene, axes);
        self.draw_values(scene, axes, &ticks);
        let label = fit(&self.label, LABEL_SIZE, axes.height() + 20.0);
        let at = Point {
            x: (outer_left + OUTER_MARGIN + LABEL_SIZE * font::CAPITAL_HEIGHT).round(),
            y: axes.y(0.5),
        };
        let text = Text::new(label, at, LABEL_SIZE, Anchor::Middle);
        scene.text(Text { upright: true, ..text });

        let Some(scale) = &self.scale else {
            let at = Point { x: axes.x(0.5), y: axes.y(0.5) + 4.0 };
            let text = Text::new("no finite values".to_owned(), at, LABEL_SIZE, Anchor::Middle);
            scene.text(Text { color: Color::BEST, ..text });
            return;
        };
        for curve in &self.curves {
            draw_curve(scene, axes, axis, scale, curve);
        }
        let marked = best.and_then(|best| {
            let curve = self.curves.iter().find(|curve| curve.series.key == best.metric)?;
            let y = axes.y(scale.position(best.value)?);
            Some((Point { x: axes.x(axis.position(best.epoch, 0.0)), y }, curve.stroke.color))
        });
        if let Some((centre, color)) = marked {
            let centres = vec![centre];
            scene.items.push(Item::Dots { centres, radius: BEST_RADIUS, color, rim: true });
        }
    }

    fn draw_values(&self, scene: &mut Scene, axes: Axes, ticks: &[Tick]) {
        for tick in ticks {
            let y = snap(axes.y(tick.position));
            let (from, to) = (Point { x: axes.left - TICK_LENGTH, y }, Point { x: axes.left, y });
            scene.line(from, to, AXIS_STROKE);
            let at = Point {
                x: axes.left - TICK_LENGTH - TICK_GAP,
                y: (y + TICK_SIZE * font::CAPITAL_HEIGHT / 2.0).round(),
            };
            scene.text(Text::new(tick.label.clone(), at, TICK_SIZE, Anchor::End));
        }
        let minor =
            self.scale.iter().flat_map(|scale| scale.minor_ticks(Self::max_ticks(axes.height())));
        for position in minor {
            let y = snap(axes.y(position));
            let (from, to) = (Point { x: axes.left - 2.0, y }, Point { x: axes.left, y });
            scene.line(from, to, AXIS_STROKE);
        }
    }
}

fn draw_curve(scene: &mut Scene, axes: Axes, axis: Axis<'_>, scale: &Scale, curve: &Curve<'_>) {
    let point = |epoch: u64, offset: f64, value: f64| {
        let y = axes.y(scale.position(value)?);
        Some(Point { x: axes.x(axis.position(epoch, offset)), y })
    };
    let points = &curve.series.points;
    let color = curve.stroke.color;
    if curve.shape == Shape::Steps {
        // A rate holds until the next one that is known.
        let next = points.iter().skip(1).map(|(epoch, _)| Some(*epoch)).chain([None]);
        let steps = points.iter().zip(next).flat_map(|((epoch, value), next)| {
            let length = next.map_or(1, |next| next - epoch) as f64;
            [point(*epoch, -0.5, *value), point(*epoch, length - 0.5, *value)]
        });
        let traced = curve::trace(steps);
        scene.items.push(Item::Lines { runs: traced.runs, stroke: curve.stroke });
        return;
    }

    let traced = curve::trace(points.iter().map(|(epoch, value)| point(*epoch, 0.0, *value)));
    // Noise drawn with a full line would be a solid band.
    let dense = points.len() as f64 > 2.0 * (axes.right - axes.left);
    let width = if dense { 1.0 } else { curve.stroke.width };
    let stroke = Stroke { width, ..curve.stroke };
    if !traced.runs.is_empty() {
        scene.items.push(Item::Lines { runs: traced.runs, stroke });
    }
    let roomy = (axes.right - axes.left) / points.len().max(1) as f64 >= DOT_DISTANCE;
    if roomy && curve.has_dots() {
        let centres: Vec<Point> =
            points.iter().filter_map(|(epoch, value)| point(*epoch, 0.0, *value)).collect();
        if !centres.is_empty() {
            scene.items.push(Item::Dots { centres, radius: 2.2, color, rim: false });
        }
    }
    // A line of one point would not be seen.
    if !traced.singles.is_empty() {
        let radius = if roomy { 3.0 } else { 1.5 };
        scene.items.push(Item::Dots { centres: traced.singles, radius, color, rim: false });
    }
}

/// Labels and their places, as many as have room side by side.
fn epoch_ticks(axis: Axis<'_>, axes: Axes, outer_right: f64) -> Vec<(f64, Tick)> {
    let width = |tick: &Tick| font::label_width(&tick.label, TICK_SIZE);
    let widest = axis.widest_ticks().iter().map(width).fold(0.0, f64::max);
    let room = (axes.right - axes.left) / (widest + 18.0);
    axis.ticks((room as usize).clamp(1, 10))
        .into_iter()
        .map(|tick| (axes.x(tick.position), tick))
        .filter(|(x, tick)| x + width(tick) / 2.0 <= outer_right)
        .collect()
}

fn draw_grid(scene: &mut Scene, axes: Axes, ticks: &[Tick], epochs: &[(f64, Tick)]) {
    let Axes { left, right, top, bottom } = axes;
    let level = ticks.iter().map(|tick| snap(axes.y(tick.position)));
    let upright = epochs.iter().map(|(x, _)| snap(*x));
    let runs: Vec<_> = level
        .map(|y| vec![Point { x: left, y }, Point { x: right, y }])
        .chain(upright.map(|x| vec![Point { x, y: top }, Point { x, y: bottom }]))
        .collect();
    if !runs.is_empty() {
        scene.items.push(Item::Lines { runs, stroke: GRID_STROKE });
    }
}

fn draw_frame(scene: &mut Scene, axes: Axes) {
    let corner = Point { x: axes.left + 0.5, y: axes.top + 0.5 };
    let (width, height) = (axes.right - axes.left - 1.0, axes.height() - 1.0);
    scene.items.push(Item::Frame { corner, width, height, stroke: AXIS_STROKE });
}

fn draw_marks_below(scene: &mut Scene, axes: Axes, epochs: &[(f64, Tick)]) {
    for (x, _) in epochs {
        let x = snap(*x);
        let y = axes.bottom;
        scene.line(Point { x, y }, Point { x, y: y + TICK_LENGTH }, AXIS_STROKE);
    }
}

fn draw_epochs(scene: &mut Scene, axes: Axes, epochs: &[(f64, Tick)], label: &str) {
    draw_marks_below(scene, axes, epochs);
    let baseline = axes.bottom + TICK_LENGTH + TICK_GAP + TICK_SIZE * font::CAPITAL_HEIGHT;
    for (x, tick) in epochs {
        let at = Point { x: *x, y: baseline.round() };
        scene.text(Text::new(tick.label.clone(), at, TICK_SIZE, Anchor::Middle));
    }
    let at = Point { x: axes.x(0.5).round(), y: (baseline + 21.0).round() };
    scene.text(Text::new(label.to_owned(), at, LABEL_SIZE, Anchor::Middle));
}

/// The middle of a pixel: a line of one pixel is sharp there.
fn snap(coordinate: f64) -> f64 {
    coordinate.floor() + 0.5
}

/// The entry of a curve in the legend.
pub(crate) fn entry(name: String, curve: &Curve<'_>) -> Entry {
    let text = match curve.values().any(f64::is_finite) {
        true => name,
        false => format!("{name} (no finite values)"),
    };
    Entry { sample: Sample::Line(curve.stroke), text }
}
