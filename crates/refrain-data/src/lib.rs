//! Data sets of Refrain: plain arrays on the host, no tensors.

#![forbid(unsafe_code)]

mod digits;
mod images;

pub use digits::digits;
pub use images::Images;
