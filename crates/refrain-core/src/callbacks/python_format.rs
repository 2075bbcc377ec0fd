//! Numbers as Python writes them, so that files and their names are those that Keras makes.

/// `repr` of a float: the shortest digits that give it back, `0.1`, `1e-07`, `nan`.
pub(crate) fn repr(x: f64) -> String {
    if let Some(word) = word(x) {
        return word.to_owned();
    }
    // Rust's exponent form has the same shortest digits; Python differs in when it is used.
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => format!("{digits}e{}", signed(exponent)),
        _ => {
            let plain = format!("{x}");
            if plain.contains('.') { plain } else { format!("{plain}.0") }
        }
    }
}

/// `{x:.3f}`.
pub(crate) fn fixed(x: f64, decimals: usize) -> String {
    word(x).map_or_else(|| format!("{x:.decimals$}"), str::to_owned)
}

/// `{x:.3e}`: the exponent has a sign and at least two digits.
pub(crate) fn exponent(x: f64, decimals: usize) -> String {
    if let Some(word) = word(x) {
        return word.to_owned();
    }
    let text = format!("{x:.decimals$e}");
    match text.split_once('e').map(|(digits, e)| (digits, e.parse::<i32>())) {
        Some((digits, Ok(exponent))) => format!("{digits}e{}", signed(exponent)),
        _ => text,
    }
}

/// Fills a number up to `width`: with zeros after the sign, or with blanks in front.
pub(crate) fn pad(number: String, width: usize, with_zeros: bool) -> String {
    let missing = width.saturating_sub(number.chars().count());
    match number.strip_prefix('-') {
        _ if !with_zeros => format!("{}{number}", " ".repeat(missing)),
        Some(digits) => format!("-{}{digits}", "0".repeat(missing)),
        None => format!("{}{number}", "0".repeat(missing)),
    }
}

fn word(x: f64) -> Option<&'static str> {
    match x {
        _ if x.is_nan() => Some("nan"),
        f64::INFINITY => Some("inf"),
        f64::NEG_INFINITY => Some("-inf"),
        _ => None,
    }
}

fn signed(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_python_3_writes_them() {
        #[rustfmt::skip]
        let cases = [
            // x, repr(x), f"{x:.3f}", f"{x:.2e}", f"{x:09.3f}"
            (0.0, "0.0", "0.000", "0.00e+00", "00000.000"),
            (-0.0, "-0.0", "-0.000", "-0.00e+00", "-0000.000"),
            (0.1, "0.1", "0.100", "1.00e-01", "00000.100"),
            (-1.5, "-1.5", "-1.500", "-1.50e+00", "-0001.500"),
            (1e-4, "0.0001", "0.000", "1.00e-04", "00000.000"),
            (1e-5, "1e-05", "0.000", "1.00e-05", "00000.000"),
            (1.25e-7, "1.25e-07", "0.000", "1.25e-07", "00000.000"),
            (1e15, "1000000000000000.0", "1000000000000000.000", "1.00e+15", "1000000000000000.000"),
            (1e16, "1e+16", "10000000000000000.000", "1.00e+16", "10000000000000000.000"),
            (1.5e300, "1.5e+300", "", "1.50e+300", ""),
            (5e-324, "5e-324", "0.000", "4.94e-324", "00000.000"),
            (0.010000000149011612, "0.010000000149011612", "0.010", "1.00e-02", "00000.010"),
            (2.5, "2.5", "2.500", "2.50e+00", "00002.500"),
            (f64::NAN, "nan", "nan", "nan", "000000nan"),
            (f64::INFINITY, "inf", "inf", "inf", "000000inf"),
            (f64::NEG_INFINITY, "-inf", "-inf", "-inf", "-00000inf"),
        ];
        for (x, as_repr, as_fixed, as_exponent, padded) in cases {
            assert_eq!(repr(x), as_repr);
            assert_eq!(exponent(x, 2), as_exponent);
            if !as_fixed.is_empty() {
                assert_eq!(fixed(x, 3), as_fixed);
                assert_eq!(pad(fixed(x, 3), 9, true), padded);
            }
        }
        assert_eq!(pad("7".into(), 3, false), "  7");
    }
}
