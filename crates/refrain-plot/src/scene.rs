//! A picture as a list of primitives, in pixels, y pointing down.
//!
//! # Why a scene of our own
//! kuva 0.6 and rizzma 1.14 were tried with the same figure: kuva breaks a curve off
//! at its first NaN and shows no one-point series, rizzma lays the legend over the
//! curves and shows no one-point series either; neither has whole-number epoch ticks,
//! and a figure of lines, dots and text is few primitives to own. The scene is
//! written as SVG by `svg.rs` and rasterised in `png.rs` by tiny-skia, the rasteriser
//! inside of resvg: the same pixels without parsing our own SVG again, in 18 crates
//! instead of 60 and a sixth of resvg's build time (25 s of processor time, not 147).

use crate::error::printable;
use crate::font;
use crate::ticks::Label;

/// A colour, red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Color(pub u8, pub u8, pub u8);

impl Color {
    pub const WHITE: Self = Self(255, 255, 255);
    pub const TEXT: Self = Self(38, 38, 38);
    pub const AXIS: Self = Self(64, 64, 64);
    pub const GRID: Self = Self(226, 226, 226);
    pub const BEST: Self = Self(96, 96, 96);
    pub const BLUE: Self = Self(31, 119, 180);
    pub const ORANGE: Self = Self(255, 127, 14);
    pub const GREEN: Self = Self(0, 140, 105);
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub x: f64,
    pub y: f64,
}

/// How a line is drawn; `dash` alternates drawn and left-out lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stroke {
    pub color: Color,
    pub width: f64,
    pub dash: &'static [f64],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of text; `at` is on its baseline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    pub label: Label,
    pub at: Point,
    pub size: f64,
    pub anchor: Anchor,
    /// Reads upwards.
    pub upright: bool,
    pub color: Color,
    /// The whole text where `label` is a shortened one.
    pub tooltip: Option<String>,
}

impl Text {
    /// Horizontal text in the colour of text.
    pub fn new(label: impl Into<Label>, at: Point, size: f64, anchor: Anchor) -> Self {
        Self {
            label: label.into(),
            at,
            size,
            anchor,
            upright: false,
            color: Color::TEXT,
            tooltip: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    /// Lines that share a stroke; each run has two points or more.
    Lines { runs: Vec<Vec<Point>>, stroke: Stroke },
    /// Discs, with a white rim that sets them off from lines.
    Dots { centres: Vec<Point>, radius: f64, color: Color, rim: bool },
    /// The outline of a rectangle.
    Frame { corner: Point, width: f64, height: f64, stroke: Stroke },
    /// A line of text.
    Text(Text),
}

/// Everything on the picture, later items above earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scene {
    pub width: u32,
    pub height: u32,
    /// What the picture is called, for readers that cannot see it.
    pub title: String,
    pub items: Vec<Item>,
}

impl Scene {
    pub fn line(&mut self, from: Point, to: Point, stroke: Stroke) {
        self.items.push(Item::Lines { runs: vec![vec![from, to]], stroke });
    }

    pub fn text(&mut self, text: Text) {
        self.items.push(Item::Text(text));
    }
}

/// The printable form of `name`, and its middle replaced by `…` if it is wider than
/// `width`: names of metrics differ at either end.
pub(crate) fn fit(name: &str, size: f64, width: f64) -> String {
    // No name is looked at beyond this; the widest picture has fewer characters.
    const LONGEST: usize = 400;
    let mut chars: Vec<char> = name.chars().take(LONGEST + 1).collect();
    let text = printable(&chars.iter().collect::<String>());
    if chars.len() <= LONGEST && font::width(&text, size) <= width {
        return text;
    }
    if chars.len() > LONGEST {
        // The end of the name, which would be out of sight.
        let tail = name.chars().rev().take(LONGEST / 2).collect::<Vec<_>>();
        chars.truncate(LONGEST / 2);
        chars.extend(tail.into_iter().rev());
    }
    let shortened = |kept: usize| {
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let head = chars.iter().take(head);
        let tail = chars.iter().skip(chars.len() - tail);
        printable(&head.chain(&['\u{2026}']).chain(tail).collect::<String>())
    };
    // The most characters that fit, by halving; two at least, however narrow it is.
    let (mut fits, mut too_many) = (2.min(chars.len()), chars.len());
    while fits + 1 < too_many {
        let kept = fits.midpoint(too_many);
        match font::width(&shortened(kept), size) <= width {
            true => fits = kept,
            false => too_many = kept,
        }
    }
    shortened(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(fit("loss", 12.0, 100.0), "loss");
        assert_eq!(fit("lo\u{0}ss", 12.0, 100.0), "lo\\0ss");
        let short = fit("val_mean_absolute_percentage_error", 12.0, 100.0);
        assert!(short.starts_with("val_") && short.ends_with("rror"), "{short}");
        assert!(font::width(&short, 12.0) <= 100.0);

        let short = fit(&format!("a{}z", "m".repeat(1_000_000)), 12.0, 100.0);
        assert!(short.starts_with("am") && short.ends_with("mz"), "{short}");
    }
}
