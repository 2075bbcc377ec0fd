//! `refrain recipe`: prints the built-in recipe.

use refrain::{Recipe, Result};

use crate::output::say;

pub(crate) fn recipe() -> Result {
    say(Recipe::BUILTIN.trim_end())
}
