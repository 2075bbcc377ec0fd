//! A finished picture and the ways to take it away.

use std::path::Path;

use crate::error::{PlotError, printable, printable_path};
use crate::png;
use crate::scene::Scene;
use crate::svg;
use refrain_core::files::Files;

/// Width of every picture in pixels.
pub(crate) const WIDTH: u32 = 1000;
/// Height of every picture in pixels.
pub(crate) const HEIGHT: u32 = 500;

/// A picture of 1000 x 500 pixels, as PNG or SVG.
///
/// Drawn by [`training`](Self::training) or [`learning_rate`](Self::learning_rate).
/// The same input gives the same bytes.
///
/// # Example
/// ```
/// use refrain_plot::{Figure, ScheduleAxis};
///
/// let figure = Figure::learning_rate(&[0.1, 0.1, 0.05], ScheduleAxis::Epoch, "StepDecay")?;
/// let folder = tempfile::tempdir()?;
/// figure.write(folder.path().join("schedule.png"))?;
///
/// let png = std::fs::read(folder.path().join("schedule.png"))?;
/// assert_eq!(png, figure.to_png()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub(crate) scene: Scene,
}

impl Figure {
    /// The picture as an SVG document in UTF-8; its text is text.
    ///
    /// Size: below 1 MB however long the log is, since at most a few points are kept
    /// per column of pixels.
    pub fn to_svg(&self) -> String {
        svg::write(&self.scene)
    }

    /// The picture as a PNG, 8 bits per channel, white ground.
    ///
    /// Cost: 10 to 20 ms in an optimised build.
    ///
    /// # Errors
    /// When there is no memory for the pixels.
    pub fn to_png(&self) -> Result<Vec<u8>, PlotError> {
        png::encode(&self.scene)
    }

    /// Writes the picture to `path`, in the format that its extension names: `.png`
    /// or `.svg`, in small or capital letters.
    ///
    /// Atomic: the file is the old one or the whole new one at every instant. The
    /// folder must exist.
    ///
    /// # Errors
    /// When the extension is another one, or the file cannot be written; what was
    /// there before is then still there.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), PlotError> {
        self.write_on(&Files::default(), path)
    }

    /// As [`write`](Self::write), on the disk of a run.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_on(&self, files: &Files, path: impl AsRef<Path>) -> Result<(), PlotError> {
        let path = path.as_ref();
        let bytes = match Format::of(path)? {
            Format::Png => self.to_png()?,
            Format::Svg => self.to_svg().into_bytes(),
        };
        files
            .replace(path, &bytes)
            .map_err(|source| PlotError::Write { path: printable_path(path), source })
    }

    /// Checks without drawing that [`write`](Self::write) knows the format of `path`,
    /// so that a wrong name is refused before a long training.
    ///
    /// # Errors
    /// When the extension is neither `.png` nor `.svg`.
    pub fn check_extension(path: impl AsRef<Path>) -> Result<(), PlotError> {
        Format::of(path.as_ref()).map(|_| ())
    }
}

enum Format {
    Png,
    Svg,
}

impl Format {
    fn of(path: &Path) -> Result<Self, PlotError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        let problem = match extension {
            None => "its name has no extension".to_owned(),
            Some(extension) if extension.eq_ignore_ascii_case("png") => return Ok(Self::Png),
            Some(extension) if extension.eq_ignore_ascii_case("svg") => return Ok(Self::Svg),
            Some(extension) => format!("its extension is .{}", printable(&extension)),
        };
        Err(PlotError::Extension { path: printable_path(path), problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_chooses_the_format() {
        for (path, expected) in [
            ("a.png", "ok"),
            ("b/a.SVG", "ok"),
            ("a.svg.png", "ok"),
            ("a.jpg", "cannot draw into a.jpg: its extension is .jpg; allowed: .png and .svg"),
            ("a", "its name has no extension"),
            (".png", "its name has no extension"),
            ("a.\u{1b}", "a.\\u{1b}: its extension is .\\u{1b};"),
        ] {
            let outcome = Figure::check_extension(path)
                .map_or_else(|error| error.to_string(), |()| "ok".into());
            assert!(outcome.contains(expected), "{path}: {outcome}");
        }
    }
}
