//! What can go wrong between a log and a picture.

use std::io;
use std::path::Path;

/// Why a log could not be read or a picture not be drawn or written.
///
/// Each message is one line without a final dot and names the thing, the value,
/// what is allowed and the way out. Names from files are printed with control
/// characters escaped, so a message is always safe to print.
///
/// # Example
/// ```
/// use refrain_plot::TrainingLog;
///
/// let error = TrainingLog::parse("[]", "log.json").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "log.json: the log holds no epochs; a picture needs 1 or more: \
///      draw again when the first epoch has ended",
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The log file could not be read.
    #[error("cannot read the log {path}: {source}; check that the file exists and may be read")]
    Read {
        /// The file, printable.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// The log is not what a training run writes.
    #[error("{log}: {place}: {problem}; {way_out}")]
    Log {
        /// The file or the name given to the log, printable.
        log: String,
        /// Entry number (1-based), or line and column.
        place: String,
        /// What is there and what was expected.
        problem: String,
        /// What the reader of the message can do.
        way_out: String,
    },

    /// The log is well formed and holds no epoch.
    #[error(
        "{log}: the log holds no epochs; a picture needs 1 or more: \
         draw again when the first epoch has ended"
    )]
    EmptyLog {
        /// The file or the name given to the log, printable.
        log: String,
    },

    /// A metric was asked for that the log does not have.
    #[error("no metric named `{name}`; {log} has {known}{suggestion}")]
    UnknownMetric {
        /// The name asked for, printable.
        name: String,
        /// The file or the name given to the log, printable.
        log: String,
        /// The names that exist, separated by commas.
        known: String,
        /// Empty, or the nearest name as a question.
        suggestion: String,
    },

    /// There is no number to draw.
    #[error("nothing to draw: {problem}; {way_out}")]
    NothingToDraw {
        /// What is missing.
        problem: String,
        /// What the reader of the message can do.
        way_out: String,
    },

    /// Columns in memory do not form a log.
    #[error("{problem}; {way_out}")]
    Columns {
        /// What does not fit, with the numbers.
        problem: String,
        /// What the caller can do.
        way_out: String,
    },

    /// The name of a picture does not say which format is wanted.
    #[error("cannot draw into {path}: {problem}; allowed: .png and .svg, as in training.png")]
    Extension {
        /// The file, printable.
        path: String,
        /// What is wrong with its name.
        problem: String,
    },

    /// The picture could not be written; the file is as it was before.
    #[error(
        "cannot write the picture {path}: {source}; \
         check that its folder exists, may be written and has room"
    )]
    Write {
        /// The file, printable.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// The picture could not be made into a PNG.
    #[error("cannot make a PNG of {width} x {height} pixels: {reason}; write an .svg instead")]
    Encode {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What the encoder said.
        reason: String,
    },
}

/// `text` with everything that a terminal or an XML parser would not take as a
/// plain character escaped: control characters, direction overrides, non-characters.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

/// [`printable`] for a path; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn printable_path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, shown) in [
            ("loss", "loss"),
            ("Verlust_ä", "Verlust_ä"),
            ("损失", "损失"),
            ("a\nb", "a\\nb"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("a\u{0}", "a\\0"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("\u{ffff}", "\\u{ffff}"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }
}
