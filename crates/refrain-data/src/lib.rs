//! Data sets of Refrain, and the formats they come in: plain arrays on the host, no tensors.
//!
//! - [`digits`]: inside the binary. [`Published`]: downloaded, with [`MnistFiles`] to read them.
//! - [`ArrayFile`]: IDX, NPY and NPZ. [`CsvTable`]: tables of numbers and text.
//! - [`FileRows`]: rows read from a file by their position, for what is larger than memory.
//!
//! Readers take files from anybody: time and memory are bounded by what is really in the file, and
//! errors name it with the byte, or with line and column.

#![forbid(unsafe_code)]

mod arrays;
mod csv;
mod digits;
mod images;
mod layout;
mod mnist;

mod converted;
mod file_rows;
mod stop;

mod cache;
mod download;
mod published;

pub use arrays::{Array, ArrayFile, Element, read_idx, read_npy};
pub use cache::cache_folder;
pub use converted::Converted;
pub use csv::{
    Column, ColumnKind, CsvBatch, CsvOptions, CsvReader, CsvTable, Fill, Target, Unknown,
};
pub use digits::digits;
pub use download::{Download, RemoteFile};
pub use file_rows::FileRows;
pub use images::Images;
pub use layout::to_channels_first;
pub use mnist::{LabelledFiles, MnistFiles};
pub use published::Published;

/// Bytes as hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
