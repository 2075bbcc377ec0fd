//! The mapping from a value or an epoch to a place on its axis.
//!
//! Values of any size are allowed: a linear scale works in units of a power of ten,
//! so that spans as large as the range of `f64` do not overflow.

use crate::ticks::{self, Label, Step, Tick};

/// From this ratio of largest to smallest on, a logarithmic axis is chosen.
const LOG_RATIO: f64 = 1e3;
/// The same for a rate that changes in steps: the small ones must stay visible.
const LOG_RATIO_OF_STEPS: f64 = 30.0;
/// Free room at either end, as a part of the span.
const MARGIN: f64 = 0.05;

/// Smallest and largest of the finite values of a panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extent {
    pub min: f64,
    pub max: f64,
}

impl Extent {
    /// `None` without a finite value.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        values.filter(|value| value.is_finite()).fold(None, |extent, value| {
            let Self { min, max } = extent.unwrap_or(Self { min: value, max: value });
            Some(Self { min: min.min(value), max: max.max(value) })
        })
    }

    /// Largest by smallest, or 1 if they are not both positive. May be infinite.
    fn ratio(self) -> f64 {
        if self.min > 0.0 { self.max / self.min } else { 1.0 }
    }
}

/// A vertical axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scale {
    /// `low` and `high` in units of 10^`power`.
    Linear { power: i32, low: f64, high: f64 },
    /// `low` and `high` as decimal logarithms.
    Log { low: f64, high: f64 },
}

impl Scale {
    /// For losses and metrics: logarithmic if all are positive and span more than
    /// three decades.
    pub fn of_values(extent: Extent) -> Self {
        if extent.ratio() > LOG_RATIO { Self::log(extent) } else { Self::linear(extent) }
    }

    /// For learning rates in the order of time. A linear axis begins at 0 unless
    /// that hides the changes; a schedule in steps turns logarithmic sooner.
    pub fn of_rates(extent: Extent, rates: impl Iterator<Item = f64>) -> Self {
        let (mut count, mut changes, mut before) = (0_usize, 0_usize, None);
        for rate in rates.filter(|rate| rate.is_finite()) {
            changes += usize::from(before.is_some_and(|before| before != rate));
            count += 1;
            before = Some(rate);
        }
        let in_steps = changes.saturating_mul(3) < count;
        let ratio = extent.ratio();
        if ratio > LOG_RATIO || (in_steps && ratio >= LOG_RATIO_OF_STEPS) {
            return Self::log(extent);
        }
        let Extent { min, max } = extent;
        if min < 0.0 || max <= 0.0 || (min > 0.8 * max && min < max) {
            return Self::linear(extent);
        }
        let room = if min == max { 1.4 } else { 1.12 };
        let power = display_power(max * room);
        Self::Linear { power, low: 0.0, high: in_units(max, power) * room }
    }

    /// For rates that were tried, on a horizontal axis: logarithmic from two decades on.
    pub fn of_tried_rates(extent: Extent) -> Self {
        if extent.ratio() >= 100.0 { Self::log(extent) } else { Self::linear(extent) }
    }

    fn linear(Extent { min, max }: Extent) -> Self {
        let largest = min.abs().max(max.abs());
        // With the margin, lest the uppermost label read 10 × 10^-4.
        let power = display_power(largest + MARGIN * (max / 2.0 - min / 2.0) * 2.0);
        let (low, high, largest) =
            (in_units(min, power), in_units(max, power), in_units(largest, power));
        // Differences below the resolution of f32 are noise, not a curve.
        if high - low <= 1e-6 * largest {
            let margin = if largest == 0.0 { 0.05 } else { MARGIN * largest };
            return Self::Linear { power, low: low - margin, high: high + margin };
        }
        let margin = MARGIN * (high - low);
        Self::Linear { power, low: low - margin, high: high + margin }
    }

    fn log(Extent { min, max }: Extent) -> Self {
        let (low, high) = (min.log10(), max.log10());
        let margin = MARGIN * (high - low);
        Self::Log { low: low - margin, high: high + margin }
    }

    /// Place of `value`, 0 at the lower end to 1 at the upper one; `None` if it has
    /// none: not finite, or not positive on a logarithmic axis.
    pub fn position(&self, value: f64) -> Option<f64> {
        let position = match *self {
            Self::Linear { power, low, high } => (in_units(value, power) - low) / (high - low),
            Self::Log { low, high } if value > 0.0 => (value.log10() - low) / (high - low),
            Self::Log { .. } => return None,
        };
        position.is_finite().then_some(position)
    }

    /// Labelled ticks, from low to high, `max_count` or fewer (but at least one).
    pub fn ticks(&self, max_count: usize) -> Vec<Tick> {
        match *self {
            Self::Linear { power, low, high } => {
                let step = Step::for_span(high - low, max_count);
                let label = |value: f64| match power {
                    0 => Label::from(ticks::fixed(value, step.decimals())),
                    power => ticks::scientific(value, step.decimals(), power),
                };
                step.multiples_within(low, high)
                    .map(|n| step.multiple(n))
                    .map(|value| Tick {
                        position: (value - low) / (high - low),
                        label: label(value),
                    })
                    .collect()
            }
            Self::Log { low, high } => {
                let decades = decades_within(low, high);
                let step = decade_step(decades.clone().count(), max_count);
                decades
                    .filter(|power| power % step == 0)
                    .map(|power| Tick {
                        position: (f64::from(power) - low) / (high - low),
                        label: ticks::power_of_ten(power),
                    })
                    .collect()
            }
        }
    }

    /// Unlabelled ticks between those of a logarithmic axis.
    pub fn minor_ticks(&self, max_count: usize) -> Vec<f64> {
        let Self::Log { low, high } = *self else {
            return Vec::new();
        };
        if decade_step(decades_within(low, high).count(), max_count) > 1 {
            return Vec::new();
        }
        (low.floor() as i32..=high.floor() as i32)
            .flat_map(|power| (2..=9).map(move |digit| f64::from(power) + f64::from(digit).log10()))
            .map(|value| (value - low) / (high - low))
            .filter(|position| (0.0..=1.0).contains(position))
            .collect()
    }
}

/// The power of ten that tick labels are written with; 0 for plain numbers.
fn display_power(largest: f64) -> i32 {
    if largest == 0.0 || (1e-3..1e5).contains(&largest) {
        return 0;
    }
    // Infinite if the margin reaches beyond the largest number.
    largest.min(f64::MAX).log10().floor() as i32
}

/// `value` / 10^`power`. In two steps, since 10^324 is infinite and 10^-324 is 0.
fn in_units(value: f64, power: i32) -> f64 {
    let half = power / 2;
    value / 10f64.powi(half) / 10f64.powi(power - half)
}

fn decades_within(low: f64, high: f64) -> std::ops::RangeInclusive<i32> {
    low.ceil() as i32..=high.floor() as i32
}

fn decade_step(decades: usize, max_count: usize) -> i32 {
    let max_count = max_count.max(2);
    [1, 2, 3, 5, 10, 20, 50, 100]
        .into_iter()
        .find(|step| decades.div_ceil(*step) <= max_count)
        .and_then(|step| i32::try_from(step).ok())
        .unwrap_or(200)
}

/// The horizontal axis.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Axis<'a> {
    Epochs(EpochAxis),
    /// The points of a curve are numbered from 0, and each stands at its rate.
    Rates {
        rates: &'a [f64],
        scale: &'a Scale,
    },
}

impl Axis<'_> {
    /// Place of an epoch plus `offset` (in epochs), or of the rate with this number, 0 to 1.
    pub fn position(self, number: u64, offset: f64) -> f64 {
        match self {
            Self::Epochs(epochs) => epochs.position(number, offset),
            Self::Rates { rates, scale } => {
                let rate = usize::try_from(number).ok().and_then(|number| rates.get(number));
                rate.and_then(|rate| scale.position(*rate)).unwrap_or(0.0)
            }
        }
    }

    /// Labelled ticks from left to right, `max_count` or about as many.
    pub fn ticks(self, max_count: usize) -> Vec<Tick> {
        match self {
            Self::Epochs(epochs) => {
                let tick = |epoch: u64| Tick {
                    position: epochs.position(epoch, 0.0),
                    label: Label::from(epoch.to_string()),
                };
                epochs.ticks(max_count).into_iter().map(tick).collect()
            }
            Self::Rates { scale, .. } => scale.ticks(max_count),
        }
    }

    /// Ticks of which one has the widest label.
    pub fn widest_ticks(self) -> Vec<Tick> {
        match self {
            Self::Epochs(epochs) => {
                let label = Label::from(epochs.last().to_string());
                vec![Tick { position: 1.0, label }]
            }
            Self::Rates { scale, .. } => scale.ticks(10),
        }
    }
}

/// Whole numbers on the horizontal axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EpochAxis {
    first: u64,
    last: u64,
}

impl EpochAxis {
    /// `first` ≤ `last`.
    pub fn new(first: u64, last: u64) -> Self {
        Self { first, last }
    }

    /// Place of an epoch plus `offset` (in epochs), 0 to 1.
    pub fn position(self, epoch: u64, offset: f64) -> f64 {
        // Subtracted as whole numbers: u64 is finer than f64.
        let distance = match epoch.checked_sub(self.first) {
            Some(after) => after as f64,
            None => -(self.first.saturating_sub(epoch) as f64),
        };
        let span = self.last.saturating_sub(self.first) as f64;
        let margin = (0.03 * span).max(0.6);
        (distance + offset + margin) / (span + 2.0 * margin)
    }

    /// Epochs to label, `max_count` or fewer (but at least one).
    pub fn ticks(self, max_count: usize) -> Vec<u64> {
        ticks::whole_numbers(self.first, self.last, max_count)
    }

    /// The largest epoch, whose label is the widest.
    pub fn last(self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, max_count: usize) -> String {
        let text = |label: &Label| match &label.exponent {
            Some(exponent) => format!("{}^{exponent}", label.text),
            None => label.text.clone(),
        };
        scale.ticks(max_count).iter().map(|tick| text(&tick.label)).collect::<Vec<_>>().join(" ")
    }

    fn values(min: f64, max: f64) -> Scale {
        Scale::of_values(Extent { min, max })
    }

    #[test]
    fn tick_labels_of_values() {
        for (min, max, expected) in [
            (0.1, 2.3, "0.0 0.5 1.0 1.5 2.0"),
            (0.5, 0.5, "0.48 0.49 0.50 0.51 0.52"),
            (0.0, 0.0, "−0.04 −0.02 0.00 0.02 0.04"),
            (-3.0, -1.0, "−3.0 −2.5 −2.0 −1.5 −1.0"),
            (0.001, 1.0, "0.00 0.25 0.50 0.75 1.00"),
            (0.0009, 1.0, "10^−3 10^−2 10^−1 10^0"),
            (-1e38, 1e38, "−1.0×10^38 −0.5×10^38 0 0.5×10^38 1.0×10^38"),
            (1e-30, 3e-30, "1.0×10^−30 1.5×10^−30 2.0×10^−30 2.5×10^−30 3.0×10^−30"),
            (1e-30, 1e38, "10^−20 10^0 10^20 10^40"),
            (0.0, 5e5, "0 2×10^5 4×10^5"),
            (1e6, 1e6, "0.96×10^6 0.98×10^6 1.00×10^6 1.02×10^6 1.04×10^6"),
            (1.0, 1.0 + 1e-9, "0.950 0.975 1.000 1.025 1.050"),
        ] {
            assert_eq!(labels(&values(min, max), 5), expected, "{min} to {max}");
        }
    }

    #[test]
    fn every_extent_has_ticks_on_the_axis() {
        let numbers = [
            -f64::MAX,
            -1e38,
            -1.0,
            -1e-300,
            0.0,
            5e-324,
            f64::MIN_POSITIVE,
            1e-30,
            0.999,
            1.0,
            1.000_000_1,
            1e5,
            1e38,
            f64::MAX,
        ];
        for min in numbers {
            for max in numbers.into_iter().filter(|max| *max >= min) {
                for max_count in [1, 2, 3, 5, 8] {
                    let extent = Extent { min, max };
                    let rates = [min, max].into_iter();
                    for scale in [Scale::of_values(extent), Scale::of_rates(extent, rates)] {
                        let ticks = scale.ticks(max_count);
                        assert!(ticks.len() <= max_count.max(2) + 1, "{scale:?}: {ticks:?}");
                        assert!(max_count < 3 || !ticks.is_empty(), "{scale:?}");
                        for position in ticks
                            .iter()
                            .map(|tick| tick.position)
                            .chain(scale.minor_ticks(max_count))
                            .chain(scale.position(min))
                            .chain(scale.position(max))
                        {
                            assert!((-1e-6..=1.000_001).contains(&position), "{scale:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rates_begin_at_zero_and_steps_over_decades_are_logarithmic() {
        let scale = |rates: &[f64]| {
            let extent = Extent::of(rates.iter().copied()).unwrap();
            labels(&Scale::of_rates(extent, rates.iter().copied()), 3)
        };
        assert_eq!(scale(&[0.1; 5]), "0.00 0.05 0.10");
        assert_eq!(scale(&[0.1, 0.1, 0.1, 0.05, 0.05, 0.05]), "0.00 0.05 0.10");
        assert_eq!(scale(&[0.1, 0.1, 0.1, 0.1, 0.001, 0.001, 0.001]), "10^−3 10^−2 10^−1");
        assert_eq!(scale(&[0.1, 0.05, 0.02, 0.01, 0.001]), "0.00 0.05 0.10");
        assert_eq!(scale(&[2e-5; 4]), "0 1×10^−5 2×10^−5");
    }

    #[test]
    fn epochs_lie_inside_of_their_axis() {
        for (first, last) in [(1, 1), (1, 20), (0, u64::MAX), (u64::MAX - 3, u64::MAX)] {
            let axis = EpochAxis::new(first, last);
            let (low, high) = (axis.position(first, -0.5), axis.position(last, 0.5));
            assert!(0.0 < low && low < high && high < 1.0, "{first}..={last}: {low} {high}");
        }
    }

    #[test]
    fn values_without_a_place() {
        let scale = values(1e-6, 1.0);
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(scale.position(value), None);
        }
        assert_eq!(values(0.0, 1.0).position(f64::NEG_INFINITY), None);
    }
}
