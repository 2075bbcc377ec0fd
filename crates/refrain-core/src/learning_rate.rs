//! The learning rate as base × named factors.

use std::fmt::Write as _;

use crate::error::{Error, Escaped, Result};

/// The learning rate of a run: `base × factor × factor × …`.
///
/// A schedule, or a callback that *sets* the rate, sets the base; a callback that *reduces* it
/// owns one factor, under its own name. So two callbacks that reduce the rate commute, and
/// [`explain`](Self::explain) says why the rate is what it is.
///
/// # Example
/// ```
/// use refrain_core::LearningRate;
/// let mut rate = LearningRate::new(0.1);
/// rate.set_factor("step", 0.5)?;
/// rate.set_factor("plateau", 0.1)?;
/// assert_eq!(rate.explain(), "0.1 × 0.5 (step) × 0.1 (plateau) = 0.005000000000000001");
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRate {
    base: f64,
    /// Who sets the base, where somebody does.
    base_owner: Option<String>,
    factors: Vec<(String, f64)>,
}

impl LearningRate {
    /// A rate with no factors.
    pub fn new(base: f64) -> Self {
        Self { base, base_owner: None, factors: Vec::new() }
    }

    /// The rate of the next step: base times all factors, in the order in which they appeared.
    pub fn get(&self) -> f64 {
        self.factors.iter().fold(self.base, |rate, (_, factor)| rate * factor)
    }

    /// The base rate.
    pub fn base(&self) -> f64 {
        self.base
    }

    pub(crate) fn owned_by(self, base_owner: Option<String>) -> Self {
        Self { base_owner, ..self }
    }

    /// Who sets the base in this run: a schedule or a callback; `None`: it stays what it was.
    pub fn base_owner(&self) -> Option<&str> {
        self.base_owner.as_deref()
    }

    /// Whether more than one hand made the rate what it is: then it is worth an explanation.
    pub fn is_product(&self) -> bool {
        self.factors.len() + usize::from(self.base_owner.is_some()) > 1
    }

    /// Sets the base rate. `base`: finite, ≥ 0.
    ///
    /// # Errors
    /// When `base` is negative, NaN or infinite; the rate stays as it was.
    pub fn set_base(&mut self, base: f64) -> Result {
        check("learning rate", base)?;
        self.base = base;
        Ok(())
    }

    /// The factor `name`; 1 where nobody has set it.
    pub fn factor(&self, name: &str) -> f64 {
        self.factors.iter().find(|(key, _)| key == name).map_or(1.0, |(_, factor)| *factor)
    }

    /// Sets the factor `name`. `factor`: finite, ≥ 0. No allocation once the factor exists.
    ///
    /// # Errors
    /// When `factor` is negative, NaN or infinite; the rate stays as it was.
    pub fn set_factor(&mut self, name: &str, factor: f64) -> Result {
        check("learning-rate factor", factor).map_err(|e| e.context(format!("`{name}`")))?;
        match self.factors.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = factor,
            None => self.factors.push((name.to_owned(), factor)),
        }
        Ok(())
    }

    /// Names and factors, in the order in which they first appeared.
    pub fn factors(&self) -> impl Iterator<Item = (&str, f64)> {
        self.factors.iter().map(|(name, factor)| (name.as_str(), *factor))
    }

    /// The product written out: `0.1 × 0.5 (step_lr_scheduler) = 0.05`; who sets the base is named
    /// too.
    pub fn explain(&self) -> String {
        let mut text = format!("{}", self.base);
        if let Some(owner) = &self.base_owner {
            let _ = write!(text, " ({})", Escaped(owner));
        }
        for (name, factor) in &self.factors {
            let _ = write!(text, " × {factor} ({})", Escaped(name));
        }
        let _ = write!(text, " = {}", self.get());
        text
    }
}

fn check(what: &str, value: f64) -> Result {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::msg(format!("{what} {value}; allowed: a finite number that is not negative")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_commute() {
        let set = |names: [&str; 2]| {
            let mut rate = LearningRate::new(0.1);
            for name in names {
                rate.set_factor(name, 0.5).unwrap();
            }
            rate.get()
        };
        assert_eq!(set(["a", "b"]), set(["b", "a"]));
        assert_eq!(set(["a", "b"]), 0.025);
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            let mut rate = LearningRate::new(0.1);
            assert!(rate.set_base(bad).is_err(), "{bad}");
            assert!(rate.set_factor("x", bad).is_err(), "{bad}");
            assert_eq!(rate.get(), 0.1);
        }
    }
}
