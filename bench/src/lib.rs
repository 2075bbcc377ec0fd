//! Benchmarks of Refrain; see `README.md` for how to run them and what they gave.

#![forbid(unsafe_code)]
