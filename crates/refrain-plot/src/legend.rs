//! The legend: a row, or a grid, above its panel, where it hides no curve.

use crate::font;
use crate::scene::{Anchor, Color, Item, Point, Scene, Stroke, Text, fit};

const SIZE: f64 = 12.0;
const ROW_HEIGHT: f64 = 18.0;
const SAMPLE_WIDTH: f64 = 24.0;
const SAMPLE_GAP: f64 = 6.0;
const ENTRY_GAP: f64 = 18.0;

/// What stands before the text of an entry.
#[derive(Clone, Debug)]
pub(crate) enum Sample {
    Line(Stroke),
    /// The best epoch: its vertical line and the dot on the curve.
    Best {
        dot: Option<Color>,
    },
    None,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub sample: Sample,
    pub text: String,
}

impl Entry {
    fn width(&self) -> f64 {
        self.sample.width() + font::width(&self.text, SIZE)
    }
}

impl Sample {
    fn width(&self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Line(_) | Self::Best { .. } => SAMPLE_WIDTH + SAMPLE_GAP,
        }
    }
}

/// Entries with their places relative to the upper left corner of the legend.
pub(crate) struct Legend {
    cells: Vec<Cell>,
    pub height: f64,
}

struct Cell {
    entry: Entry,
    /// The full text if the shown one is shortened.
    tooltip: Option<String>,
    x: f64,
    y: f64,
}

impl Cell {
    fn new(entry: Entry, x: f64, y: f64, width: f64) -> Self {
        let text = fit(&entry.text, SIZE, width - entry.sample.width());
        // Long enough for any name but one made to fill the file.
        let tooltip = (text != entry.text).then(|| entry.text.chars().take(300).collect());
        Self { entry: Entry { text, ..entry }, tooltip, x, y }
    }
}

impl Legend {
    /// One row if the entries fit side by side in `width`. Else a few are wrapped like
    /// words, and many stand in the widest grid into which they fit; texts are
    /// shortened rather than listed one below the other over half of the picture.
    pub fn new(entries: Vec<Entry>, width: f64) -> Self {
        let widths = || entries.iter().map(Entry::width);
        let gaps = ENTRY_GAP * entries.len().saturating_sub(1) as f64;
        if entries.len() <= 3 || widths().sum::<f64>() + gaps <= width {
            return Self::wrapped(entries, width);
        }
        let widest = widths().fold(0.0, f64::max);
        let fitting = ((width + ENTRY_GAP) / (widest + ENTRY_GAP)).floor() as usize;
        let fewest = if entries.len() <= 12 { 2 } else { 3 };
        // As many rows as needed, then as few columns: no entry stands alone.
        let rows = entries.len().div_ceil(fitting.clamp(fewest, 5));
        let columns = entries.len().div_ceil(rows);
        Self::grid(entries, columns, width)
    }

    fn wrapped(entries: Vec<Entry>, width: f64) -> Self {
        let (mut x, mut y) = (0.0, 0.0);
        let mut cells = Vec::with_capacity(entries.len());
        for entry in entries {
            let needed = entry.width();
            if x > 0.0 && x + needed > width {
                (x, y) = (0.0, y + ROW_HEIGHT);
            }
            cells.push(Cell::new(entry, x, y, width));
            x += needed + ENTRY_GAP;
        }
        let height = if cells.is_empty() { 0.0 } else { y + ROW_HEIGHT };
        Self { cells, height }
    }

    fn grid(entries: Vec<Entry>, columns: usize, width: f64) -> Self {
        let pitch = (width + ENTRY_GAP) / columns as f64;
        let rows = entries.len().div_ceil(columns);
        let place = |(number, entry): (usize, Entry)| {
            let x = (number % columns) as f64 * pitch;
            let y = (number / columns) as f64 * ROW_HEIGHT;
            Cell::new(entry, x, y, pitch - ENTRY_GAP)
        };
        Self {
            cells: entries.into_iter().enumerate().map(place).collect(),
            height: rows as f64 * ROW_HEIGHT,
        }
    }

    pub fn draw(self, scene: &mut Scene, corner: Point) {
        for Cell { entry, tooltip, x, y } in self.cells {
            let left = corner.x + x;
            let baseline =
                (corner.y + y + ROW_HEIGHT / 2.0 + SIZE * font::CAPITAL_HEIGHT / 2.0).round();
            let middle = baseline - SIZE * font::CAPITAL_HEIGHT / 2.0;
            let text_at = Point { x: left + entry.sample.width(), y: baseline };
            draw_sample(&entry.sample, scene, left, middle);
            let text = Text::new(entry.text, text_at, SIZE, Anchor::Start);
            scene.text(Text { tooltip, ..text });
        }
    }
}

fn draw_sample(sample: &Sample, scene: &mut Scene, left: f64, y: f64) {
    match sample {
        Sample::Line(stroke) => {
            scene.line(Point { x: left, y }, Point { x: left + SAMPLE_WIDTH, y }, *stroke);
        }
        Sample::Best { dot } => {
            let x = (left + SAMPLE_WIDTH / 2.0).round() + 0.5;
            let solid = Stroke { dash: &[], ..BEST_STROKE };
            scene.line(Point { x, y: y - 8.0 }, Point { x, y: y + 8.0 }, solid);
            if let Some(color) = *dot {
                let centres = vec![Point { x, y }];
                scene.items.push(Item::Dots { centres, radius: BEST_RADIUS, color, rim: true });
            }
        }
        Sample::None => {}
    }
}

/// The line of the best epoch, in panels and in the legend.
pub(crate) const BEST_STROKE: Stroke = Stroke { color: Color::BEST, width: 1.0, dash: &[4.0, 3.0] };
/// The dot of the best epoch.
pub(crate) const BEST_RADIUS: f64 = 4.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the legend of entries with these texts, 400 pixels wide.
    fn check(texts: &[&str], expected: &str) {
        let entries =
            texts.iter().map(|text| Entry { sample: Sample::None, text: (*text).to_owned() });
        let legend = Legend::new(entries.collect(), 400.0);
        let rows: Vec<_> = legend
            .cells
            .chunk_by(|a, b| a.y == b.y)
            .map(|row| {
                row.iter().map(|cell| cell.entry.text.as_str()).collect::<Vec<_>>().join(" | ")
            })
            .collect();
        assert_eq!(rows.join("\n"), expected);
        assert_eq!(legend.height, rows.len() as f64 * ROW_HEIGHT);
        for cell in &legend.cells {
            assert!(cell.x + cell.entry.width() <= 400.5, "{}", cell.entry.text);
        }
    }

    #[test]
    fn entries_stand_in_a_row_while_they_fit() {
        check(&[], "");
        check(&["Train Loss", "Val Loss"], "Train Loss | Val Loss");
        let long = "a metric with a name of quite a certain length";
        check(
            &["Train Loss", "Val Loss", long],
            "Train Loss | Val Loss\na metric with a name of quite a certain length",
        );
        check(&["one", "two", "three", long], "one | two\nthree | a metric with a… certain length");
        let row = "metric | metric | metric | metric";
        check(&["metric"; 12], &[row, row, row].join("\n"));
    }
}
