//! One file a command.

mod plot;
mod preview;
mod recipe;
mod train;

pub(crate) use plot::plot;
pub(crate) use preview::preview;
pub(crate) use recipe::recipe;
pub(crate) use train::train;
