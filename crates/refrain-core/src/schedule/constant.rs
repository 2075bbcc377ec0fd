//! The same rate throughout.

use super::options::{FromRecipe, check_not_negative, number};
use super::{Schedule, Unit};
use crate::error::Result;
use crate::options::Section;
use crate::progress::Progress;

/// The same rate throughout: a part of a [`Chain`](super::Chain), or a factor of a
/// [`Multiply`](super::Multiply). In a recipe a plain number is one too.
///
/// `learning_rate`: finite, ≥ 0.
///
/// # Example
/// ```
/// use refrain_core::{Progress, schedule::{Constant, Schedule}};
/// assert_eq!(Constant::new(0.1).learning_rate(&Progress::default()), 0.1);
/// ```
///
/// # Source
/// PyTorch's `ConstantLR`; in Keras a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    learning_rate: f64,
}

impl Constant {
    /// This rate throughout.
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate }
    }
}

impl Schedule for Constant {
    fn learning_rate(&self, _: &Progress) -> f64 {
        self.learning_rate
    }

    fn check(&self) -> Result {
        check_not_negative("learning_rate", self.learning_rate)
    }
}

impl FromRecipe for Constant {
    fn from_recipe(options: &Section<'_>, _: Unit) -> Result<Self> {
        Ok(Self::new(number(options, "learning_rate")?))
    }
}
