//! Where the ticks of an axis stand and what is written beside them.

/// A text with an optional raised exponent, such as 10 to the −3.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Label {
    pub text: String,
    pub exponent: Option<String>,
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Self { text, exponent: None }
    }
}

/// A number with a mark on the axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    /// Place on the axis, 0 (low end) to 1 (high end).
    pub position: f64,
    pub label: Label,
}

/// Distance between ticks: `tenths` / 10 × 10^`power`, with tenths 10, 20, 25 or 50.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    tenths: i32,
    power: i32,
}

impl Step {
    /// The smallest step that puts at most `max_count` intervals into `span` (> 0,
    /// finite).
    pub fn for_span(span: f64, max_count: usize) -> Self {
        let intervals = max_count.max(1) as f64;
        let low = (span / intervals).log10().floor() as i32;
        (low - 1..=low + 1)
            .flat_map(|power| [10, 20, 25, 50].map(|tenths| Self { tenths, power }))
            // The small slack lets 0.1 + 0.2 count as 0.3.
            .find(|step| span / step.size() <= intervals * (1.0 + 1e-9))
            .unwrap_or(Self { tenths: 10, power: low + 2 })
    }

    pub fn size(self) -> f64 {
        self.multiple(1)
    }

    /// `n` steps, rounded once only: dividing by a power of ten is exact where
    /// multiplying by 0.1 is not.
    pub fn multiple(self, n: i64) -> f64 {
        let tenths = n as f64 * f64::from(self.tenths);
        match self.power - 1 {
            power if power < 0 => tenths / 10f64.powi(-power),
            power => tenths * 10f64.powi(power),
        }
    }

    /// The whole multiples of the step within `low..=high`.
    pub fn multiples_within(self, low: f64, high: f64) -> impl Iterator<Item = i64> {
        let slack = 1e-6;
        let first = (low / self.size() - slack).ceil() as i64;
        let last = (high / self.size() + slack).floor() as i64;
        first..=last
    }

    /// Digits behind the point that tell neighbours apart.
    pub fn decimals(self) -> usize {
        let digits = if self.tenths == 25 { 1 - self.power } else { -self.power };
        usize::try_from(digits).unwrap_or(0)
    }
}

/// `value` with a fixed number of decimals, a true minus sign and no minus zero.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().all(|b| matches!(b, b'0' | b'.')) => digits.to_owned(),
        Some(digits) => format!("\u{2212}{digits}"),
        None => text,
    }
}

/// `value` to four significant digits, for a legend.
pub(crate) fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&magnitude) {
        let text = format!("{value:.3e}").replace('-', "\u{2212}");
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", mantissa.trim_end_matches('0').trim_end_matches('.'));
    }
    let decimals = 3 - magnitude.log10().floor() as i32;
    fixed(value, usize::try_from(decimals).unwrap_or(0))
}

/// The label of 10^`power`.
pub(crate) fn power_of_ten(power: i32) -> Label {
    Label { text: "10".into(), exponent: Some(fixed(f64::from(power), 0)) }
}

/// The label of `mantissa` × 10^`power`.
pub(crate) fn scientific(mantissa: f64, decimals: usize, power: i32) -> Label {
    if mantissa == 0.0 {
        return Label::from("0".to_owned());
    }
    Label {
        text: format!("{}\u{d7}10", fixed(mantissa, decimals)),
        exponent: Some(fixed(f64::from(power), 0)),
    }
}

/// Ticks for whole numbers in `first..=last`: at most `max_count`, at least one.
pub(crate) fn whole_numbers(first: u64, last: u64, max_count: usize) -> Vec<u64> {
    let max_count = u64::try_from(max_count.max(1)).unwrap_or(1);
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let Some(step) = power.checked_mul(factor) else {
                return vec![first];
            };
            // Multiples of the step up to `last` less those below `first`; 0 is one.
            let below = first.saturating_sub(1) / step;
            let count = (last / step - below).saturating_add(u64::from(first == 0));
            if count > max_count {
                continue;
            }
            if count == 0 {
                return vec![first];
            }
            let begin = first.div_ceil(step).saturating_mul(step);
            return (0..count)
                .filter_map(|n| begin.checked_add(n.checked_mul(step)?))
                .take_while(|tick| *tick <= last)
                .collect();
        }
        let Some(next) = power.checked_mul(10) else {
            return vec![first];
        };
        power = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(low: f64, high: f64, max_count: usize) -> String {
        let step = Step::for_span(high - low, max_count);
        step.multiples_within(low, high)
            .map(|n| fixed(step.multiple(n), step.decimals()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn ticks_stand_at_round_numbers() {
        for (low, high, max_count, ticks) in [
            (0.0, 1.0, 5, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (0.0, 1.0, 4, "0.00 0.25 0.50 0.75 1.00"),
            (0.03, 2.31, 6, "0.5 1.0 1.5 2.0"),
            (-1.1, 1.1, 5, "−1.0 −0.5 0.0 0.5 1.0"),
            (97.0, 104.0, 4, "98 100 102 104"),
            (0.0, 250.0, 5, "0 50 100 150 200 250"),
            (0.0011, 0.0042, 4, "0.002 0.003 0.004"),
            (0.0, 0.3, 3, "0.0 0.1 0.2 0.3"),
        ] {
            assert_eq!(linear(low, high, max_count), ticks, "{low}..{high} by {max_count}");
        }
    }

    #[test]
    fn epochs_have_whole_numbers_only() {
        for (first, last, max_count, ticks) in [
            (1, 1, 10, &[1_u64][..]),
            (1, 3, 10, &[1, 2, 3]),
            (1, 20, 10, &[2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
            (1, 26, 8, &[5, 10, 15, 20, 25]),
            (0, 4, 10, &[0, 1, 2, 3, 4]),
            (101, 150, 6, &[110, 120, 130, 140, 150]),
            (1, 10_000, 6, &[2000, 4000, 6000, 8000, 10_000]),
            (1, 2, 1, &[2]),
            (7, 9, 1, &[8]),
            (1, 4, 0, &[1]),
            (u64::MAX - 1, u64::MAX, 10, &[u64::MAX - 1, u64::MAX]),
        ] {
            assert_eq!(whole_numbers(first, last, max_count), ticks, "{first}..={last}");
        }
        for max_count in 0..12 {
            let ticks = whole_numbers(0, u64::MAX, max_count);
            assert!((1..=max_count.max(1)).contains(&ticks.len()), "{ticks:?}");
        }
    }

    #[test]
    fn legends_show_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.293_14, "0.2931"),
            (1.0, "1.000"),
            (-12.3456, "−12.35"),
            (99_999.0, "99999"),
            (1e5, "1e5"),
            (1.234e-9, "1.234e−9"),
            (-0.001, "−0.001000"),
            (f64::MAX, "1.798e308"),
            (5e-324, "4.941e−324"),
        ] {
            assert_eq!(significant(value), text);
        }
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(fixed(-0.0, 2), "0.00");
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(-0.01, 2), "−0.01");
    }
}
