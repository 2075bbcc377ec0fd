//! Tables of comma-separated values.

mod encode;
mod infer;
mod number;
mod records;
mod table;

pub use encode::{CsvBatch, CsvReader};
pub use table::{Column, ColumnKind, CsvOptions, CsvTable, Fill, Target, Unknown};
