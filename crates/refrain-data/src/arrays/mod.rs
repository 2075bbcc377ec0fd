//! Arrays of numbers in the formats IDX, NPY and NPZ.

mod element;
mod file;
mod finite;
mod header;
mod idx;
mod npy;

pub use element::Element;
pub(crate) use element::Encoding;
pub use file::ArrayFile;
pub(crate) use file::open;
pub(crate) use finite::check_finite;
pub use header::Array;
pub use idx::read_idx;
pub use npy::read_npy;
