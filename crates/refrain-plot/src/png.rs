//! A scene as a PNG, rasterised by tiny-skia (see `scene.rs` for the choice).
//!
//! Anti-aliased, 8 bits per channel, opaque white ground.

use tiny_skia::{FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, StrokeDash, Transform};
use ttf_parser::OutlineBuilder;

use crate::error::PlotError;
use crate::font;
use crate::scene::{Anchor, Color, Item, Point, Scene, Stroke, Text};

/// Draws the scene, one pixel per unit.
///
/// # Errors
/// When a side is 0 or the pixels do not fit into memory.
pub(crate) fn encode(scene: &Scene) -> Result<Vec<u8>, PlotError> {
    let (width, height) = (scene.width, scene.height);
    let failed = |reason: String| PlotError::Encode { width, height, reason };
    let mut canvas =
        Pixmap::new(width, height).ok_or_else(|| failed("too few or too many pixels".into()))?;
    canvas.fill(color(Color::WHITE));
    for item in &scene.items {
        draw(item, &mut canvas);
    }

    // Opaque, hence three channels; `Fast` halves the time
    // and still makes files of some 60 kB.
    let pixels: Vec<u8> = canvas
        .pixels()
        .iter()
        .flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()])
        .collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder
        .write_header()
        .and_then(|mut writer| {
            writer.write_image_data(&pixels)?;
            writer.finish()
        })
        .map_err(|error| failed(error.to_string()))?;
    Ok(file)
}

fn draw(item: &Item, canvas: &mut Pixmap) {
    match item {
        Item::Lines { runs, stroke } => {
            let mut path = PathBuilder::new();
            for run in runs {
                let Some((first, rest)) = run.split_first() else { continue };
                path.move_to(first.x as f32, first.y as f32);
                for point in rest {
                    path.line_to(point.x as f32, point.y as f32);
                }
            }
            stroke_path(path.finish(), stroke, canvas);
        }
        Item::Dots { centres, radius, color, rim } => {
            let discs = |radius: f64| {
                let mut path = PathBuilder::new();
                for Point { x, y } in centres {
                    path.push_circle(*x as f32, *y as f32, radius as f32);
                }
                path.finish()
            };
            if *rim {
                fill_path(discs(radius + 0.75), Color::WHITE, canvas);
            }
            fill_path(discs(*radius), *color, canvas);
        }
        Item::Frame { corner, width, height, stroke } => {
            let rect = tiny_skia::Rect::from_xywh(
                corner.x as f32,
                corner.y as f32,
                *width as f32,
                *height as f32,
            );
            stroke_path(rect.map(PathBuilder::from_rect), stroke, canvas);
        }
        Item::Text(text) => fill_path(text_path(text), text.color, canvas),
    }
}

fn stroke_path(path: Option<Path>, stroke: &Stroke, canvas: &mut Pixmap) {
    // `None`: nothing to draw.
    let Some(path) = path else { return };
    let dash = stroke.dash.iter().map(|length| *length as f32).collect();
    let style = tiny_skia::Stroke {
        width: stroke.width as f32,
        line_join: LineJoin::Round,
        dash: StrokeDash::new(dash, 0.0),
        ..Default::default()
    };
    canvas.stroke_path(&path, &paint(stroke.color), &style, Transform::identity(), None);
}

fn fill_path(path: Option<Path>, color: Color, canvas: &mut Pixmap) {
    let Some(path) = path else { return };
    canvas.fill_path(&path, &paint(color), FillRule::Winding, Transform::identity(), None);
}

fn paint(of: Color) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Default::default() };
    paint.set_color(color(of));
    paint
}

fn color(Color(red, green, blue): Color) -> tiny_skia::Color {
    tiny_skia::Color::from_rgba8(red, green, blue, 255)
}

/// The outlines of all glyphs of a text; `None` if it is blank.
fn text_path(text: &Text) -> Option<Path> {
    let width = font::label_width(&text.label, text.size);
    let start = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -width / 2.0,
        Anchor::End => -width,
    };
    let mut pen = Pen {
        path: PathBuilder::new(),
        at: text.at,
        upright: text.upright,
        x: 0.0,
        rise: 0.0,
        scale: 1.0,
    };
    pen.write(&text.label.text, start, 0.0, text.size);
    if let Some(exponent) = &text.label.exponent {
        let x = start + font::width(&text.label.text, text.size);
        let rise = text.size * font::EXPONENT_RISE;
        pen.write(exponent, x, rise, text.size * font::EXPONENT_SIZE);
    }
    pen.path.finish()
}

/// Places the outline of one glyph after the other into a path.
struct Pen {
    path: PathBuilder,
    /// Where the text stands, on its baseline.
    at: Point,
    upright: bool,
    /// Pixels from `at` along the baseline, and above it.
    x: f64,
    rise: f64,
    scale: f64,
}

impl Pen {
    fn write(&mut self, text: &str, x: f64, rise: f64, size: f64) {
        self.scale = font::scale(size);
        self.rise = rise;
        for glyph in font::glyphs(text) {
            self.x = x + glyph.x * self.scale;
            font::outline(&glyph, self);
        }
    }

    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        let along = self.x + f64::from(x) * self.scale;
        let above = self.rise + f64::from(y) * self.scale;
        let (x, y) = match self.upright {
            true => (self.at.x - above, self.at.y - along),
            false => (self.at.x + along, self.at.y - above),
        };
        (x as f32, y as f32)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2)) = (self.place(x1, y1), self.place(x2, y2));
        let (x, y) = self.place(x, y);
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
