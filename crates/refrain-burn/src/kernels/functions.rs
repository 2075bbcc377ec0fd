//! Functions of one number, in operations that become vectors.

#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// To 2 units in the last place; NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Added to a number below 2²², it leaves the nearest whole number in the last bits.
    const ROUND: f32 = 12_582_912.0;
    // Beyond, the power of two below would be no normal number.
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    // ln 2 in two parts, of which the first times a whole number is exact.
    let x = x - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let series = 1.0 / 5040.0;
    let series = series * x + 1.0 / 720.0;
    let series = series * x + 1.0 / 120.0;
    let series = series * x + 1.0 / 24.0;
    let series = series * x + 1.0 / 6.0;
    let series = series * x + 0.5;
    let series = (series * x + 1.0) * x + 1.0;
    let power = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_standard_library() {
        for i in -9000..=9000 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x.clamp(-87.0, 88.0)).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 3e-7 * exact, "exp({x}): {}", exp(x));
            let exact = f64::from(x).tanh();
            assert!((f64::from(tanh(x)) - exact).abs() <= 2e-7, "tanh({x}): {}", tanh(x));
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() <= 2e-7, "sigmoid({x}): {}", sigmoid(x));
        }
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        let infinite = f32::INFINITY;
        assert_eq!([tanh(infinite), tanh(-infinite), sigmoid(infinite)], [1.0, -1.0, 1.0]);
    }
}
