//! A scene as SVG text.
//!
//! Text stays text: it can be searched, copied and read aloud.

use std::fmt::{self, Display, Write as _};

use crate::font;
use crate::scene::{Anchor, Color, Item, Point, Scene, Stroke, Text};

/// Writes the scene as a whole SVG document; the same scene gives the same bytes.
pub(crate) fn write(scene: &Scene) -> String {
    let Scene { width, height, title, items } = scene;
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"{}\" role=\"img\">\n\
         <title>{}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>",
        font::FAMILIES,
        Escaped(title),
        Color::WHITE,
    );
    for item in items {
        let _ = writeln!(out, "{item}");
    }
    out.push_str("</svg>\n");
    out
}

impl Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines { runs, stroke } => {
                f.write_str("<path d=\"")?;
                for run in runs {
                    let mut command = 'M';
                    for point in run {
                        write!(f, "{command}{point}")?;
                        command = 'L';
                    }
                }
                write!(f, "\" fill=\"none\" {stroke}/>")
            }
            Self::Dots { centres, radius, color, rim } => {
                write!(f, "<path d=\"")?;
                let (r, d) = (Number(*radius), Number(2.0 * radius));
                for Point { x, y } in centres {
                    let left = Point { x: x - radius, y: *y };
                    write!(f, "M{left}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0z")?;
                }
                write!(f, "\" fill=\"{color}\"")?;
                if *rim {
                    write!(
                        f,
                        " stroke=\"{}\" stroke-width=\"1.5\" paint-order=\"stroke\"",
                        Color::WHITE
                    )?;
                }
                f.write_str("/>")
            }
            Self::Frame { corner, width, height, stroke } => write!(
                f,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" {stroke}/>",
                Number(corner.x),
                Number(corner.y),
                Number(*width),
                Number(*height),
            ),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (x, y, size) = (Number(self.at.x), Number(self.at.y), self.size);
        write!(
            f,
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\"",
            Number(size),
            self.color
        )?;
        match self.anchor {
            Anchor::Start => {}
            Anchor::Middle => f.write_str(" text-anchor=\"middle\"")?,
            Anchor::End => f.write_str(" text-anchor=\"end\"")?,
        }
        if self.upright {
            write!(f, " transform=\"rotate(-90 {x} {y})\"")?;
        }
        f.write_str(">")?;
        if let Some(tooltip) = &self.tooltip {
            write!(f, "<title>{}</title>", Escaped(tooltip))?;
        }
        write!(f, "{}", Escaped(&self.label.text))?;
        if let Some(exponent) = &self.label.exponent {
            write!(
                f,
                "<tspan dy=\"-{}\" font-size=\"{}\">{}</tspan>",
                Number(size * font::EXPONENT_RISE),
                Number(size * font::EXPONENT_SIZE),
                Escaped(exponent),
            )?;
        }
        f.write_str("</text>")
    }
}

impl Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

impl Display for Stroke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stroke=\"{}\" stroke-width=\"{}\"", self.color, Number(self.width))?;
        if let Some((first, rest)) = self.dash.split_first() {
            write!(f, " stroke-dasharray=\"{}", Number(*first))?;
            for length in rest {
                write!(f, " {}", Number(*length))?;
            }
            f.write_str("\"")?;
        }
        f.write_str(" stroke-linejoin=\"round\"")
    }
}

impl Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Number(self.x), Number(self.y))
    }
}

/// A length to a hundredth of a pixel, in as few characters as possible.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.0 * 100.0).round() / 100.0;
        // The shortest form of a double, and no `-0`.
        write!(f, "{}", rounded + 0.0)
    }
}

/// Text with the characters that mean something in XML escaped, and those that
/// XML 1.0 does not allow at all replaced by U+FFFD.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&apos;")?,
                '\t' | '\n' | '\r' => f.write_str(" ")?,
                '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticks::power_of_ten;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (-0.001, "0"),
            (1.0, "1"),
            (2.345_6, "2.35"),
            (-12.5, "-12.5"),
            (1000.0, "1000"),
        ] {
            assert_eq!(Number(number).to_string(), text);
        }
    }

    #[test]
    fn text_is_escaped() {
        for (text, escaped) in [
            ("a<b>&\"c'", "a&lt;b&gt;&amp;&quot;c&apos;"),
            ("]]>", "]]&gt;"),
            ("a\u{0}\u{1b}\u{ffff}", "a\u{fffd}\u{fffd}\u{fffd}"),
            ("ä损", "ä损"),
        ] {
            assert_eq!(Escaped(text).to_string(), escaped);
        }
    }

    #[test]
    fn exponents_are_raised() {
        let at = Point { x: 10.0, y: 20.0 };
        let text = Text::new(power_of_ten(-3), at, 10.0, Anchor::End);
        assert_eq!(
            text.to_string(),
            "<text x=\"10\" y=\"20\" font-size=\"10\" fill=\"#262626\" text-anchor=\"end\">10\
             <tspan dy=\"-3.8\" font-size=\"7.2\">\u{2212}3</tspan></text>",
        );
    }
}
