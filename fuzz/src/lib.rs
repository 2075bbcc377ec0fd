//! What the fuzz targets run: plain functions that take any bytes and panic where a promise is
//! broken. Tests of the workspace include these files and run them over `corpus/`, without a nightly
//! compiler.

pub mod data;
pub mod log_reader;
pub mod memory;
pub mod recipe;
pub mod run_folder;
pub mod seal;
pub mod weights;
