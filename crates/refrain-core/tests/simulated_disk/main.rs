//! Runs on a disk in memory that is cut off, or fails, at any operation.
//!
//! `REFRAIN_SIMULATED_STATES` says how many states are looked at, at least; 100,000 where it is not
//! set. With `REFRAIN_LONG`, as `.ci/run` has it, they are those of nine stories, without, of three.

mod accepted;
mod crashes;
mod failures;
#[path = "../length/mod.rs"]
mod length;
mod overwritten;
mod runs;
