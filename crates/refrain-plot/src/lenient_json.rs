//! Bare `NaN`, `Infinity` and `-Infinity` in JSON, as Python's `json.dump` writes them.
//!
//! `serde_json` rightly refuses these words. They are put in quotes before it sees
//! the text, outside of strings only, so that its speed, its depth limit and its
//! messages stay; [`Quoted::column`] turns its columns into those of the file.

use std::borrow::Cow;

/// JSON text in which bare non-finite numbers have become strings.
pub(crate) struct Quoted<'a> {
    pub text: Cow<'a, str>,
    /// Offsets in `text` of the quotes that were put in, ascending.
    quotes: Vec<usize>,
}

/// Puts the bare words in quotes. Time and memory: proportional to `json`.
pub(crate) fn quote_bare_numbers(json: &str) -> Quoted<'_> {
    let bytes = json.as_bytes();
    let mut out = String::new();
    let mut quotes = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' {
            at = end_of_string(bytes, at);
            continue;
        }
        let Some(word) = bare_word(bytes, at) else {
            at += 1;
            continue;
        };
        // `at` and its end are ASCII characters, hence character boundaries.
        out.push_str(json.get(copied..at).unwrap_or_default());
        quotes.push(out.len());
        out.push('"');
        out.push_str(word);
        quotes.push(out.len());
        out.push('"');
        at += word.len();
        copied = at;
    }
    if quotes.is_empty() {
        return Quoted { text: Cow::Borrowed(json), quotes };
    }
    out.push_str(json.get(copied..).unwrap_or_default());
    Quoted { text: Cow::Owned(out), quotes }
}

impl Quoted<'_> {
    /// The column in the original text of a 1-based `line` and `column` in
    /// [`text`](Self::text).
    pub fn column(&self, line: usize, column: usize) -> usize {
        let line_start = match line {
            0 | 1 => 0,
            _ => self
                .text
                .bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .nth(line - 2)
                .map_or(0, |(at, _)| at + 1),
        };
        let first = self.quotes.partition_point(|at| *at < line_start);
        let last = self.quotes.partition_point(|at| *at < line_start.saturating_add(column));
        column.saturating_sub(last - first)
    }
}

/// The offset behind the string that begins at `start`; the end of the text if it
/// is not closed.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The word at `at`, if it stands alone: `NaNs` and `xNaN` stay as they are and are
/// refused later.
fn bare_word(bytes: &[u8], at: usize) -> Option<&'static str> {
    let rest = bytes.get(at..)?;
    let word = ["NaN", "Infinity", "-Infinity"]
        .into_iter()
        .find(|word| rest.starts_with(word.as_bytes()))?;
    let part_of_a_word = |byte: Option<&u8>| {
        byte.is_some_and(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+' | b'.' | b'"')
        })
    };
    let before = at.checked_sub(1).and_then(|at| bytes.get(at));
    (!part_of_a_word(before) && !part_of_a_word(rest.get(word.len()))).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_words_outside_of_strings_are_quoted() {
        for (json, quoted) in [
            (r#"[1, 2]"#, r#"[1, 2]"#),
            (r#"[NaN]"#, r#"["NaN"]"#),
            (r#"[-Infinity,Infinity]"#, r#"["-Infinity","Infinity"]"#),
            (r#"{"a":NaN}"#, r#"{"a":"NaN"}"#),
            (r#"{"a":NaN"#, r#"{"a":"NaN""#),
            ("[NaN\n,\tNaN ]", "[\"NaN\"\n,\t\"NaN\" ]"),
            (r#"["NaN", "x NaN y"]"#, r#"["NaN", "x NaN y"]"#),
            (r#"["\"NaN", NaN]"#, r#"["\"NaN", "NaN"]"#),
            (r#"["\\", NaN]"#, r#"["\\", "NaN"]"#),
            (r#"["\\\", NaN]"#, r#"["\\\", NaN]"#),
            (r#"{"NaN": NaN}"#, r#"{"NaN": "NaN"}"#),
            (r#"["ä", NaN, "ü"]"#, r#"["ä", "NaN", "ü"]"#),
            (r#"[NaNs, xNaN, +Infinity, -NaN]"#, r#"[NaNs, xNaN, +Infinity, -NaN]"#),
            (r#"[NaN"#, r#"["NaN""#),
            (r#"["open"#, r#"["open"#),
            (r#"["open\"#, r#"["open\"#),
            ("", ""),
        ] {
            assert_eq!(quote_bare_numbers(json).text, quoted, "{json}");
        }
    }

    #[test]
    fn columns_are_those_of_the_original_text() {
        let quoted = quote_bare_numbers("[NaN,\n NaN, x]");
        // In the quoted text `x` is at column 9 of line 2.
        assert_eq!(quoted.text, "[\"NaN\",\n \"NaN\", x]");
        assert_eq!(quoted.column(2, 9), 7);
        assert_eq!(quoted.column(1, 1), 1);
        assert_eq!(quoted.column(7, 1), 1);
    }
}
