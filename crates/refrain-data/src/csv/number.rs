//! What a field says.

/// What stands for a missing value, as for pandas.
const MISSING: [&str; 18] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "null",
];

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field {
    Missing,
    Number(f64),
    Text,
}

impl Field {
    pub(crate) fn of(text: &str) -> Self {
        if MISSING.contains(&text) || text == "nan" {
            return Self::Missing;
        }
        // What begins otherwise is a word to Rust too: `inf`, `infinity`.
        let is_number = text.bytes().any(|byte| byte.is_ascii_digit())
            || matches!(
                text.trim_start_matches(['+', '-']),
                "inf" | "Inf" | "Infinity" | "infinity"
            );
        match text.parse() {
            Ok(number) if is_number => Self::Number(number),
            _ => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_missing_numbers_or_text() {
        for (text, expected) in [
            ("", Field::Missing),
            ("NA", Field::Missing),
            ("nan", Field::Missing),
            ("NaN", Field::Missing),
            ("null", Field::Missing),
            ("7", Field::Number(7.0)),
            ("-.5", Field::Number(-0.5)),
            ("1e3", Field::Number(1000.0)),
            ("+1", Field::Number(1.0)),
            ("inf", Field::Number(f64::INFINITY)),
            ("1,5", Field::Text),
            ("0x10", Field::Text),
            ("1 000", Field::Text),
            ("infinite", Field::Text),
            ("red", Field::Text),
        ] {
            assert_eq!(Field::of(text), expected, "{text:?}");
        }
    }
}
