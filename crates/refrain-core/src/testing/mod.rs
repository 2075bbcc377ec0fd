//! A test kit: callbacks are tested without a model, a data set or time.

mod script;
mod trace;

pub use script::{Script, ScriptData, ScriptLearner};
pub use trace::Trace;
