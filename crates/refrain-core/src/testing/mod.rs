//! A test kit: callbacks are tested without a model, a data set or time.
//!
//! - [`Script`] plays made-up metrics ([`Curve`]) to a [`Trainer`](crate::Trainer).
//! - [`Stage`] tells one callback one event at a time.
//! - [`Trace`] writes down what happens, [`FailAt`] makes something fail.
//! - [`SimulatedDisk`] is cut off, or fails, at any operation.
//! - [`assert_callback_contract`] checks what every callback promises.

mod contract;
mod curve;
mod fail_at;
mod script;
mod simulated_disk;
mod stage;
mod trace;

pub use contract::{assert_callback_contract, assert_resumes};
pub use curve::Curve;
pub use fail_at::FailAt;
pub use script::{Script, ScriptData, ScriptLearner};
pub use simulated_disk::{Call, Failure, Operation, SimulatedDisk};
pub use stage::Stage;
pub use trace::Trace;
