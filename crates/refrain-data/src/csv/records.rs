//! The records of a CSV file with the line of each.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use csv_core::ReadRecordResult;
use refrain_core::{Error, Escaped, Result, StopHandle};

use crate::arrays::open;
use crate::stop::interrupted;

/// More characters of a value than this are not shown.
const MOST_SHOWN: usize = 40;

/// A CSV file being read: quoted fields, any line ends, a byte-order mark; empty lines are passed
/// over. Memory: one record.
pub(crate) struct Records<R = BufReader<File>> {
    reader: R,
    core: csv_core::Reader,
    place: Place,
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// Fields that each record must have, once the first was read.
    width: Option<usize>,
    /// The line that is being read, from 1.
    line: u64,
    /// Whether the last byte was a `\r`, whose `\n` is no line of its own.
    is_after_return: bool,
    is_at_start: bool,
    /// Breaks off what reads them.
    pub(crate) stop: StopHandle,
}

/// Where a record stands; for messages.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) line: u64,
}

/// One record.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) place: &'a Place,
    fields: &'a [u8],
    ends: &'a [usize],
}

impl Records {
    pub(crate) fn open(path: &Path, delimiter: u8, stop: &StopHandle) -> Result<Self> {
        let (file, _) = open(path)?;
        let records = Self::new(BufReader::with_capacity(1 << 16, file), path, delimiter);
        Ok(Self { stop: stop.clone(), ..records })
    }
}

impl<R: BufRead> Records<R> {
    pub(crate) fn new(reader: R, path: &Path, delimiter: u8) -> Self {
        Self {
            reader,
            core: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            place: Place { path: path.to_owned(), line: 1 },
            fields: vec![0; 1024],
            ends: vec![0; 64],
            width: None,
            line: 1,
            is_after_return: false,
            is_at_start: true,
            stop: StopHandle::default(),
        }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read, a stop was asked for, or the record has not as many fields as the
    /// first.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>> {
        let failed = |e| Error::file("read", &self.place.path, e);
        if std::mem::take(&mut self.is_at_start) {
            // The parser passes over a byte-order mark only where it sees it whole.
            let start = self.reader.fill_buf().map_err(failed)?;
            if start.starts_with(b"\xef\xbb\xbf") {
                self.reader.consume(3);
            }
        }
        // Ends of lines in front of the record, which it would be counted from otherwise.
        loop {
            let bytes = self.reader.fill_buf().map_err(failed)?;
            let ends = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if ends == 0 {
                break;
            }
            self.line +=
                line_ends(bytes.get(..ends).unwrap_or_default(), &mut self.is_after_return);
            self.reader.consume(ends);
        }
        self.place.line = self.line;
        let (mut filled, mut ended) = (0_usize, 0_usize);
        let mut has_begun = false;
        loop {
            if self.stop.is_stopped() {
                let Place { path, line } = &self.place;
                return Err(interrupted(format_args!(
                    "reading `{}`, line {line},",
                    path.display()
                )));
            }
            let input = self.reader.fill_buf().map_err(failed)?;
            // A last line without its end gets one, which only a quoted field takes for its own.
            let is_end = input.is_empty() && has_begun;
            let input = if is_end { b"\n" } else { input };
            let output = self.fields.get_mut(filled..).unwrap_or_default();
            let ends = self.ends.get_mut(ended..).unwrap_or_default();
            let (result, read, written, ends) = self.core.read_record(input, output, ends);
            if is_end && written > 0 {
                let before = match ended.checked_sub(1) {
                    Some(last) => self.ends.get(last).copied().unwrap_or(0),
                    None => 0,
                };
                // Lines within the fields before.
                let before = self.fields.get(..before).unwrap_or_default();
                self.place.line += line_ends(before, &mut false);
                return Err(self.place.error(format_args!(
                    "column {}: the quote is never closed; a field that begins with \" ends with one, \
                     and has those within it doubled",
                    ended + 1
                )));
            }
            if !is_end {
                self.line +=
                    line_ends(input.get(..read).unwrap_or_default(), &mut self.is_after_return);
                self.reader.consume(read);
                has_begun |= read > 0;
            }
            filled += written;
            ended += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => grow(&mut self.fields)?,
                ReadRecordResult::OutputEndsFull => grow(&mut self.ends)?,
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let width = *self.width.get_or_insert(ended);
        let ends = self.ends.get(..ended).unwrap_or_default();
        let record = Record { place: &self.place, fields: &self.fields, ends };
        if ended != width {
            return Err(record.place.error(format_args!(
                "{ended} fields, and the first line has {width}; a field that holds the delimiter is \
                 put into quotes"
            )));
        }
        Ok(Some(record))
    }
}

impl<'a> Record<'a> {
    pub(crate) fn new(place: &'a Place, fields: &'a [u8], ends: &'a [usize]) -> Self {
        Self { place, fields, ends }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of a field, without the spaces around it.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub(crate) fn text(&self, index: usize) -> Result<&'a str> {
        let end = self.ends.get(index).copied().unwrap_or(0);
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before));
        let bytes = self.fields.get(start.copied().unwrap_or(0)..end).unwrap_or_default();
        let text = std::str::from_utf8(bytes)
            .map_err(|_| self.place.error(format_args!("column {}: it is no UTF-8", index + 1)))?;
        Ok(text.trim())
    }
}

impl Place {
    /// `` `data.csv`, line 7: what ``.
    pub(crate) fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::data(format!("`{}`, line {}: {what}", self.path.display(), self.line))
    }

    /// The same with a column.
    pub(crate) fn error_in(&self, column: (usize, &str), what: impl std::fmt::Display) -> Error {
        let (index, name) = column;
        self.error(format_args!("column {} (`{}`): {what}", index + 1, Escaped(name)))
    }
}

/// A value for a message.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

/// Ends of lines: `\n`, `\r\n`, and a lone `\r`.
fn line_ends(bytes: &[u8], is_after_return: &mut bool) -> u64 {
    let mut ends = 0;
    for &byte in bytes {
        ends += u64::from(byte == b'\r' || byte == b'\n' && !*is_after_return);
        *is_after_return = byte == b'\r';
    }
    ends
}

/// Doubles a buffer: never beyond what the file holds, whose bytes fill it.
fn grow<T: Clone + Default>(buffer: &mut Vec<T>) -> Result {
    let more = buffer.len().max(64);
    buffer
        .try_reserve(more)
        .map_err(|_| Error::data("a line of the CSV file does not fit in memory"))?;
    buffer.resize(buffer.len() + more, T::default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>> {
        // A small buffer, so that records lie across its ends.
        let reader = BufReader::with_capacity(7, bytes);
        let mut records = Records::new(reader, Path::new("t.csv"), b',');
        let mut all = Vec::new();
        while let Some(record) = records.next()? {
            let texts = (0..record.len()).map(|i| Ok(record.text(i)?.to_owned()));
            all.push((record.place.line, texts.collect::<Result<_>>()?));
        }
        Ok(all)
    }

    #[test]
    fn every_record_has_its_line() {
        type Lines = &'static [(u64, &'static [&'static str])];
        let cases: &[(&str, Lines)] = &[
            ("", &[]),
            ("\n\n", &[]),
            ("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]),
            ("a,b\r\n1,2\r\n3,4", &[(1, &["a", "b"]), (2, &["1", "2"]), (3, &["3", "4"])]),
            ("\u{feff}a,b\n1,2", &[(1, &["a", "b"]), (2, &["1", "2"])]),
            ("a,b\n\n\n1,2\n\r\n3,4\n", &[(1, &["a", "b"]), (4, &["1", "2"]), (6, &["3", "4"])]),
            ("\"a\nx\",b\n1,2", &[(1, &["a\nx", "b"]), (3, &["1", "2"])]),
            ("\"a\"\"b\",\" c \"", &[(1, &["a\"b", "c"])]),
            ("\"a,b\r\nc\",2\r\n1,2", &[(1, &["a,b\r\nc", "2"]), (3, &["1", "2"])]),
            (",\n1,", &[(1, &["", ""]), (2, &["1", ""])]),
            (
                "a,b\r1,2\r3,4\r\r5,6",
                &[(1, &["a", "b"]), (2, &["1", "2"]), (3, &["3", "4"]), (5, &["5", "6"])],
            ),
            ("a,b\r1,\"x\ry\"\r\n3,4", &[(1, &["a", "b"]), (2, &["1", "x\ry"]), (4, &["3", "4"])]),
            ("a,\"b\"", &[(1, &["a", "b"])]),
            ("a,\"b\"\n\n", &[(1, &["a", "b"])]),
            ("a,\"\"", &[(1, &["a", ""])]),
            ("a,b\"", &[(1, &["a", "b\""])]),
        ];
        for (text, expected) in cases {
            let found = read(text.as_bytes()).unwrap();
            let found: Vec<(u64, Vec<&str>)> = found
                .iter()
                .map(|(line, texts)| (*line, texts.iter().map(String::as_str).collect()))
                .collect();
            let expected: Vec<(u64, Vec<&str>)> =
                expected.iter().map(|(line, texts)| (*line, texts.to_vec())).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (bytes, words) in [
            (&b"a,b\n1,2\n1,2,3\n"[..], "`t.csv`, line 3: 3 fields, and the first line has 2"),
            (b"a,b\r\n\r\n1\r\n", "line 3: 1 fields"),
            (b"a,b\n1,\xff\n", "line 2: column 2: it is no UTF-8"),
            (b"a,b\r1,2\r\r1\r", "line 4: 1 fields"),
            (b"a,b\n1,2\n3,\"4\n5,6\n7,8\n", "line 3: column 2: the quote is never closed"),
            (b"a,b\n1,2\n\"x\r\ny\",\"4\n", "line 4: column 2: the quote is never closed"),
            (b"a,b\n1,\"", "line 2: column 2: the quote is never closed"),
            (b"a,b\n1,\"2\"\"", "line 2: column 2: the quote is never closed"),
            (b"\"a,b\n1,2\n", "line 1: column 1: the quote is never closed"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
