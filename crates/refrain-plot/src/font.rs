//! DejaVu Sans, embedded: widths and outlines of text.
//!
//! Left to right only, one glyph per character with pair kerning: right for Latin,
//! Greek and Cyrillic. A character that the font lacks is drawn as an empty box in
//! PNG; in SVG the viewer's fonts are used.

use std::sync::LazyLock;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

use crate::ticks::Label;

/// What an SVG viewer should use; Verdana has the same proportions.
pub(crate) const FAMILIES: &str = "'DejaVu Sans', Verdana, sans-serif";
/// Height of a digit or capital, as a part of the size.
pub(crate) const CAPITAL_HEIGHT: f64 = 0.729;
/// Size of an exponent, as a part of the size of its base.
pub(crate) const EXPONENT_SIZE: f64 = 0.72;
/// How far an exponent stands above the baseline, as a part of the size.
pub(crate) const EXPONENT_RISE: f64 = 0.38;

static DEJAVU_SANS: &[u8] = include_bytes!("../font/DejaVuSans.ttf");

static FACE: LazyLock<Face<'static>> = LazyLock::new(|| {
    // The bytes are part of the program: if a test passes, this cannot fail.
    Face::parse(DEJAVU_SANS, 0).expect("the embedded font is a font")
});

/// Width of `text` in pixels at `size` pixels per em.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    glyphs(text).last().map_or(0.0, |glyph| glyph.x + glyph.advance) * scale(size)
}

/// Width of a label with its exponent.
pub(crate) fn label_width(label: &Label, size: f64) -> f64 {
    let exponent = label.exponent.as_deref().unwrap_or_default();
    width(&label.text, size) + width(exponent, size * EXPONENT_SIZE)
}

/// A glyph of a text; lengths in units of the font.
pub(crate) struct Glyph {
    id: GlyphId,
    /// Distance of its origin from the beginning of the text.
    pub x: f64,
    advance: f64,
}

/// The glyphs of `text` from left to right.
pub(crate) fn glyphs(text: &str) -> impl Iterator<Item = Glyph> {
    let mut x = 0.0;
    let mut before = None;
    text.chars().map(move |c| {
        let id = FACE.glyph_index(c).unwrap_or(GlyphId(0));
        x += before.map_or(0.0, |before| kerning(before, id));
        let glyph = Glyph { id, x, advance: f64::from(FACE.glyph_hor_advance(id).unwrap_or(0)) };
        x += glyph.advance;
        before = Some(id);
        glyph
    })
}

/// Draws the outline of a glyph, origin at (0, 0), y up; a blank one has none.
pub(crate) fn outline(glyph: &Glyph, pen: &mut impl OutlineBuilder) {
    FACE.outline_glyph(glyph.id, pen);
}

fn kerning(left: GlyphId, right: GlyphId) -> f64 {
    let tables = FACE.tables().kern.into_iter().flat_map(|table| table.subtables);
    tables
        .filter(|table| table.horizontal && !table.variable)
        .find_map(|table| table.glyphs_kerning(left, right))
        .map_or(0.0, f64::from)
}

/// Pixels per font unit.
pub(crate) fn scale(size: f64) -> f64 {
    size / f64::from(FACE.units_per_em())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_dejavu_sans() {
        // Advances from the font's hmtx table: `0` is 1303 of 2048 units.
        assert_eq!(width("0", 2048.0), 1303.0);
        assert_eq!(width("00", 2048.0), 2606.0);
        assert_eq!(width("", 12.0), 0.0);
        assert!(width("AV", 12.0) < width("A", 12.0) + width("V", 12.0));
        assert!(width("损", 12.0) > 0.0);
    }

    #[test]
    fn capitals_are_as_high_as_the_layout_thinks() {
        let glyph = glyphs("H").next().unwrap();
        let bounds = FACE.glyph_bounding_box(glyph.id).unwrap();
        let height = f64::from(bounds.y_max) * scale(1.0);
        assert!((height - CAPITAL_HEIGHT).abs() < 1e-3, "{height}");
    }
}
