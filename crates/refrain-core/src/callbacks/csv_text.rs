//! Lines of comma-separated values, as Python's `csv` module writes them.

/// A line of these cells; those that need quotes get them.
pub(crate) fn line(separator: char, cells: impl IntoIterator<Item = String>) -> String {
    let mut line = String::new();
    for (i, cell) in cells.into_iter().enumerate() {
        if i > 0 {
            line.push(separator);
        }
        if cell.contains([separator, '"', '\r', '\n']) {
            line.push_str(&format!("\"{}\"", cell.replace('"', "\"\"")));
        } else {
            line.push_str(&cell);
        }
    }
    line + "\r\n"
}

/// The cells of a text's first line.
pub(crate) fn first_row(text: &str, separator: char) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(cell) = cells.last_mut() else { break };
        match c {
            // Two quotes inside quotes are one.
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => is_quoted = !is_quoted,
            '\r' | '\n' if !is_quoted => break,
            c if c == separator && !is_quoted => cells.push(String::new()),
            c => cell.push(c),
        }
    }
    cells
}

/// Appends `header` to the first line and `row` to the others.
pub(crate) fn extend_lines(lines: &[u8], header: &str, row: &str) -> Vec<u8> {
    let mut extended = Vec::with_capacity(lines.len() * 2);
    let mut is_quoted = false;
    let mut extra = header;
    for &byte in lines {
        if byte == b'"' {
            is_quoted = !is_quoted;
        }
        if byte != b'\n' || is_quoted {
            extended.push(byte);
            continue;
        }
        let end: &[u8] = if extended.last() == Some(&b'\r') { b"\r\n" } else { b"\n" };
        extended.truncate(extended.len() + 1 - end.len());
        extended.extend_from_slice(extra.as_bytes());
        extended.extend_from_slice(end);
        extra = row;
    }
    extended
}

/// Keeps the first line, `header` in its place, and the first `cells` cells of `rows` lines after
/// it; cells after the first line hold no quotes.
pub(crate) fn cut_lines(
    lines: &[u8],
    header: &str,
    separator: char,
    cells: usize,
    rows: u64,
) -> String {
    let text = String::from_utf8_lossy(lines);
    let mut kept = header.to_owned();
    // A name in the header may hold line ends: what comes after it is found from behind it.
    let mut is_quoted = false;
    let end = text.char_indices().find(|(_, c)| {
        is_quoted ^= *c == '"';
        *c == '\n' && !is_quoted
    });
    let rest = end.map_or("", |(at, _)| text.get(at + 1..).unwrap_or(""));
    for row in rest.lines().take(usize::try_from(rows).unwrap_or(usize::MAX)) {
        let row = row.split(separator).take(cells).map(str::to_owned);
        kept.push_str(&line(separator, row));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back() {
        for cells in [&["epoch", "a;b", "say \"hi\"", "two\r\nlines", ""][..], &["epoch"]] {
            let text = line(';', cells.iter().map(|&cell| cell.to_owned())) + "next\r\n";
            assert_eq!(first_row(&text, ';'), cells, "{text}");
        }
    }

    #[test]
    fn lines_are_extended_whatever_their_end() {
        for (lines, extended) in [
            ("a\r\n1\r\n2\r\n", "a,b\r\n1,NA\r\n2,NA\r\n"),
            ("a\n1\n", "a,b\n1,NA\n"),
            ("\"a\n\"\n1\n", "\"a\n\",b\n1,NA\n"),
            ("", ""),
        ] {
            let found = extend_lines(lines.as_bytes(), ",b", ",NA");
            assert_eq!(String::from_utf8(found).unwrap(), extended);
        }
    }
}
