//! Names of files with the epoch and the logs in them: `weights-{epoch:02d}-{val_loss:.3f}`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf, is_separator};

use super::python_format::{exponent, fixed, pad, repr};
use crate::error::{Error, Escaped, Result};
use crate::files::Files;
use crate::logs::Logs;

/// The most that a width or a precision may be: no name of a file is longer.
const MOST: usize = 250;

/// A name with Python's replacement fields: `{epoch}` and `{batch}`, both counted from 1, and every
/// key of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileTemplate {
    folder: PathBuf,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Count { of: Count, width: usize, with_zeros: bool },
    Value { key: String, style: Style, width: usize, with_zeros: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Epoch,
    Batch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Shortest,
    Fixed(usize),
    Exponent(usize),
}

impl FileTemplate {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: String| {
            Error::config(format!("filepath is {:?}; {why}", Escaped(text).to_string()))
        };
        if text.is_empty() {
            return Err(Error::config("filepath is empty; name a file"));
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                plain.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let field = brace.strip_prefix('{').and_then(|field| field.split_once('}'));
            let Some((field, after)) = field else {
                return Err(refuse("a brace has no partner; write `{{` or `}}` for one".into()));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::parse(field).map_err(refuse)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { folder: PathBuf::new(), parts })
    }

    /// Puts the files into this folder, in whose name braces are braces.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.folder = folder.to_owned();
        self
    }

    /// The folder that the files are put into.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keys of the logs that the name needs.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value { key, .. } => Some(key.as_str()),
            _ => None,
        })
    }

    pub(crate) fn has_batch(&self) -> bool {
        let is_batch = |part: &Part| matches!(part, Part::Count { of: Count::Batch, .. });
        self.parts.iter().any(is_batch)
    }

    /// Whether it names one file, whatever the epoch.
    pub(crate) fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The file of an epoch and a batch, both counted from 0; none where the logs lack a key.
    pub(crate) fn file(&self, epoch: usize, batch: usize, logs: &Logs) -> Option<PathBuf> {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Count { of, width, with_zeros } => {
                    let count = match of {
                        Count::Epoch => epoch,
                        Count::Batch => batch,
                    };
                    name.push_str(&pad((count + 1).to_string(), *width, *with_zeros));
                }
                Part::Value { key, style, width, with_zeros } => {
                    let value = logs.get(key)?;
                    let number = match style {
                        Style::Shortest => repr(value),
                        Style::Fixed(decimals) => fixed(value, *decimals),
                        Style::Exponent(decimals) => exponent(value, *decimals),
                    };
                    name.push_str(&pad(number, *width, *with_zeros));
                }
            }
        }
        Some(self.folder.join(name))
    }

    /// What is there under names that it can make, sorted; whoever wrote it, and in whatever format its
    /// numbers are.
    pub(crate) fn existing(&self, files: &Files) -> Result<Vec<PathBuf>> {
        let (above, patterns) = self.patterns();
        let mut found = vec![above];
        for pattern in patterns {
            let mut below = Vec::new();
            for folder in found {
                match pattern.as_slice() {
                    // Two separators in a row, or one at the end.
                    [] => below.push(folder),
                    [Piece::Text(name)] => below.push(folder.join(name)),
                    pattern => {
                        let mut names = files.names(&folder)?;
                        names.retain(|name| can_make(pattern, name));
                        below.extend(names.iter().map(|name| folder.join(name)));
                    }
                }
            }
            found = below;
        }
        found.retain(|path| files.exists(path).unwrap_or(true));
        found.sort();
        Ok(found)
    }

    /// The folder that all its files are in, and what their names below it look like, folder by folder.
    fn patterns(&self) -> (PathBuf, Vec<Vec<Piece<'_>>>) {
        let mut above = self.folder.clone();
        let (mut patterns, mut pattern) = (Vec::new(), Vec::new());
        for (i, part) in self.parts.iter().enumerate() {
            let mut text = match part {
                Part::Text(text) => text.as_str(),
                Part::Count { .. } => {
                    pattern.push(Piece::Count);
                    continue;
                }
                Part::Value { .. } => {
                    pattern.push(Piece::Value);
                    continue;
                }
            };
            if let Some(at) = text.rfind(is_separator).filter(|_| i == 0) {
                // A separator is one byte long.
                let (folder, name) = text.split_at(at + 1);
                above.push(folder);
                text = name;
            }
            for (n, text) in text.split(is_separator).enumerate() {
                if n > 0 {
                    patterns.push(std::mem::take(&mut pattern));
                }
                if !text.is_empty() {
                    pattern.push(Piece::Text(text));
                }
            }
        }
        patterns.push(pattern);
        (above, patterns)
    }
}

/// What a part of a name looks like.
enum Piece<'a> {
    Text(&'a str),
    Count,
    Value,
}

/// Whether a name consists of these pieces. Cost: pieces × length².
fn can_make(pattern: &[Piece<'_>], name: &str) -> bool {
    let mut ends = BTreeSet::from([0]);
    for piece in pattern {
        let mut next = BTreeSet::new();
        for at in ends {
            let rest = name.get(at..).unwrap_or_default();
            let mut numbers = |is_number: &dyn Fn(&str) -> bool| {
                let ends = (1..=rest.len()).filter(|n| rest.get(..*n).is_some_and(is_number));
                next.extend(ends.map(|n| at + n));
            };
            match piece {
                Piece::Text(text) => next.extend(rest.starts_with(text).then(|| at + text.len())),
                Piece::Count => numbers(&|text| text.trim_start().parse::<u64>().is_ok()),
                Piece::Value => numbers(&|text| text.trim_start().parse::<f64>().is_ok()),
            }
        }
        ends = next;
    }
    ends.contains(&name.len())
}

impl Part {
    /// Reads what stands between braces: `epoch:02d`, `val_loss:.3f`.
    fn parse(field: &str) -> Result<Self, String> {
        let (key, spec) = field.split_once(':').unwrap_or((field, ""));
        if key.is_empty() || key.contains(['{', '!', '[', '.']) {
            return Err(format!(
                "`{{{field}}}` names no value; allowed: {{epoch}}, {{batch}}, {{val_loss:.3f}}"
            ));
        }
        let refuse = || {
            format!(
                "`{spec}` in `{{{field}}}` is no format; allowed: 02d or 3d for epoch and batch, \
                 .3f, 08.3f or .2e for a metric"
            )
        };
        let digits = |text: &str| match text {
            "" => Some(0),
            _ => text.parse().ok().filter(|n| *n <= MOST && !text.starts_with('+')),
        };
        let (numbers, kind) = match spec.chars().last() {
            Some(kind @ ('d' | 'f' | 'e')) => (&spec[..spec.len() - 1], Some(kind)),
            _ => (spec, None),
        };
        let (width, decimals) = match numbers.split_once('.') {
            Some((width, decimals)) if !decimals.is_empty() => (width, Some(decimals)),
            Some(_) => return Err(refuse()),
            None => (numbers, None),
        };
        let with_zeros = width.starts_with('0');
        let width = digits(width).ok_or_else(refuse)?;
        // Without a precision Python takes 6 decimals.
        let precision = decimals.map_or(Some(6), digits).ok_or_else(refuse)?;
        let of = match key {
            "epoch" => Some(Count::Epoch),
            "batch" => Some(Count::Batch),
            _ => None,
        };
        match (of, kind, decimals) {
            (Some(of), None | Some('d'), None) => Ok(Part::Count { of, width, with_zeros }),
            (None, kind, _) => {
                let style = match (kind, decimals) {
                    (None, None) => Style::Shortest,
                    (Some('f'), _) => Style::Fixed(precision),
                    (Some('e'), _) => Style::Exponent(precision),
                    _ => return Err(refuse()),
                };
                Ok(Part::Value { key: key.to_owned(), style, width, with_zeros })
            }
            _ => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_pythons_format_makes_them() {
        let logs = Logs::from([("loss", 0.12345), ("val_loss", -1e-7), ("odd", f64::NAN)]);
        for (template, name) in [
            ("w.safetensors", "w.safetensors"),
            ("{epoch}-{batch}", "5-12"),
            ("{epoch:02d}-{epoch:03}-{epoch:3d}|{epoch:3}", "05-005-  5|  5"),
            ("{loss}-{loss:.2f}-{loss:f}", "0.12345-0.12-0.123450"),
            ("{loss:8.3f}|{loss:08.3f}", "   0.123|0000.123"),
            ("{val_loss}-{val_loss:.1e}-{val_loss:.3f}", "-1e-07--1.0e-07--0.000"),
            ("{odd:.2f}-{odd:06.2f}", "nan-000nan"),
            ("a{{b}}/{epoch}", "a{b}/5"),
        ] {
            let file = FileTemplate::parse(template).unwrap().file(4, 11, &logs);
            assert_eq!(file, Some(PathBuf::from(name)), "{template}");
        }
        let template = FileTemplate::parse("{val_accuracy}").unwrap();
        assert_eq!(template.keys().collect::<Vec<_>>(), ["val_accuracy"]);
        assert_eq!(template.file(0, 0, &logs), None);
        let template = FileTemplate::parse("w{epoch}").unwrap().in_folder(Path::new("runs/{a}"));
        assert_eq!(template.file(0, 0, &logs), Some(PathBuf::from("runs/{a}/w1")));
    }

    #[test]
    fn finds_the_files_that_it_has_named() {
        let place = tempfile::tempdir().unwrap();
        let files = Files::default();
        for name in [
            "w01-0.125.st",
            "w12-nan.st",
            "w 3--1e-07.st",
            "w.st",
            "wx-0.5.st",
            "w1-best.st",
            "w1-0.5.st.old",
            "a{b}/1/w.st",
            "a{b}/02/w.st",
            "a{b}/02/v.st",
            "a{b}/x/w.st",
        ] {
            files.write_atomically(&place.path().join(name), b"").unwrap();
        }
        let whole = place.path().to_str().unwrap();
        for (template, expected) in [
            ("w{epoch:02d}-{loss}.st", &["w 3--1e-07.st", "w01-0.125.st", "w12-nan.st"][..]),
            ("a{{b}}/{epoch}/w.st", &["a{b}/02/w.st", "a{b}/1/w.st"]),
            ("{epoch}", &[]),
            ("none/{epoch}/w.st", &[]),
            ("w.st", &["w.st"]),
            ("v.st", &[]),
        ] {
            let relative = FileTemplate::parse(template).unwrap().in_folder(place.path());
            let absolute = FileTemplate::parse(&format!("{whole}/{template}")).unwrap();
            for found in [relative, absolute].map(|template| template.existing(&files).unwrap()) {
                let names = found.iter().map(|path| path.strip_prefix(place.path()).unwrap());
                assert!(names.eq(expected.iter().map(Path::new)), "{template}: {found:?}");
            }
        }
    }

    #[test]
    fn refuses_what_is_no_template() {
        for (template, word) in [
            ("", "filepath is empty"),
            ("{epoch", "has no partner"),
            ("epoch}", "has no partner"),
            ("{}", "names no value"),
            ("{0.x}", "names no value"),
            ("{loss!r}", "names no value"),
            ("{epoch:.2f}", "`.2f` in `{epoch:.2f}` is no format"),
            ("{loss:d}", "no format"),
            ("{loss:.2}", "no format"),
            ("{loss:.f}", "no format"),
            ("{loss:,}", "no format"),
            ("{loss:+.2f}", "no format"),
            ("{loss:.3%}", "no format"),
            ("{epoch:x}", "no format"),
            ("{epoch:999999d}", "no format"),
            ("{epoch:é}", "no format"),
        ] {
            let error = FileTemplate::parse(template).unwrap_err().to_string();
            assert!(error.contains(word), "{template}: {error}");
        }
    }
}
