//! Runs on a disk in memory that is cut off, or fails, at any operation.
//!
//! `REFRAIN_SIMULATED_STATES` says how many states are looked at, at least; 100,000 where it is not
//! set.

mod crashes;
mod failures;
mod runs;
