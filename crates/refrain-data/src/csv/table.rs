//! What the columns of a table are: found in the training data, the same for whatever comes later.

use std::path::Path;

use refrain_core::{Error, Escaped, Result, list_names, nearest};
use serde::{Deserialize, Serialize};

/// How a CSV file is to be read.
///
/// # Example
/// ```
/// use refrain_data::{CsvOptions, Fill};
/// let options = CsvOptions {
///     targets: vec!["species".into()],
///     missing: Some(Fill::Mean),
///     ..CsvOptions::default()
/// };
/// assert_eq!((options.delimiter, options.has_header), (b',', true));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CsvOptions {
    /// Between fields; one ASCII character. Default `,`.
    pub delimiter: u8,
    /// Whether the first line names the columns; without it they are `0`, `1`, ... Default true.
    pub has_header: bool,
    /// The columns that a model is trained towards. Default none.
    pub targets: Vec<String>,
    /// The input columns, in this order. Default: all but the targets.
    pub columns: Option<Vec<String>>,
    /// Columns that are left out.
    pub drop: Vec<String>,
    /// Columns whose numbers are names: one-hot like text.
    pub text: Vec<String>,
    /// What a missing number becomes. Default `None`: it is an error.
    pub missing: Option<Fill>,
    /// What a text becomes that the training data has not. Default: an error.
    pub unknown: Unknown,
    /// A column with more different texts is refused. Default 100.
    pub max_categories: usize,
    /// Whether numbers in the target column are classes, which count from 0; else they are to be met.
    pub targets_are_classes: bool,
    /// Whether targets must be numbers: a text is refused, and names no class. Default false.
    pub targets_are_numbers: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            has_header: true,
            targets: Vec::new(),
            columns: None,
            drop: Vec::new(),
            text: Vec::new(),
            missing: None,
            unknown: Unknown::Error,
            max_categories: 100,
            targets_are_classes: false,
            targets_are_numbers: false,
        }
    }
}

/// What a missing number becomes: a statistic of the training part, or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// The mean of its column.
    Mean,
    /// The median of its column.
    Median,
    /// This number.
    Number(f32),
}

/// What becomes of a text that the training data has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It is refused.
    #[default]
    Error,
    /// All of its column's inputs are 0.
    Zero,
}

/// What the columns of a table are. [Inferred](Self::infer) from the training data, and serialisable,
/// so that a model gets the same inputs later.
///
/// # Example
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("train.csv");
/// # std::fs::write(&path, "size,colour,price\n1,red,10\n2,blue,20\n").unwrap();
/// use refrain_data::{CsvOptions, CsvTable};
///
/// let options = CsvOptions { targets: vec!["price".into()], ..CsvOptions::default() };
/// let table = CsvTable::infer(&path, &options, None)?;
/// // Texts are one-hot, in sorted order.
/// assert_eq!(table.input_names(), ["size", "colour=blue", "colour=red"]);
/// let rows = table.read(&path)?;
/// assert_eq!(rows.inputs, [1.0, 0.0, 1.0, 2.0, 1.0, 0.0]);
/// assert_eq!(rows.targets, [10.0, 20.0]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CsvTable {
    /// Input columns, in order.
    pub columns: Vec<Column>,
    /// What a model is trained towards.
    pub target: Target,
    pub(crate) unknown: Unknown,
    pub(crate) delimiter: char,
    pub(crate) has_header: bool,
    /// Fields of a line in the training data.
    pub(crate) fields: usize,
}

/// An input column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name in the header.
    pub name: String,
    /// Its place in the training data, from 0.
    pub index: usize,
    /// What it holds.
    #[serde(flatten)]
    pub kind: ColumnKind,
}

/// What an input column holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Numbers: one input.
    Number {
        /// What a missing one becomes; `None`: it is an error.
        fill: Option<f32>,
    },
    /// Texts: one input each, of which one is 1 and the others are 0. A missing one is all zeros
    /// where `missing` was given.
    Text {
        /// The texts, sorted.
        categories: Vec<String>,
        /// Whether a missing one is no error.
        may_be_missing: bool,
    },
}

/// What a model is trained towards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Nothing.
    None,
    /// Texts: each is a class.
    Names {
        /// Name of the column.
        column: String,
        /// Its place in the training data.
        index: usize,
        /// The texts, sorted: the first is class 0.
        classes: Vec<String>,
    },
    /// Whole numbers: the classes themselves.
    Labels {
        /// Name of the column.
        column: String,
        /// Its place in the training data.
        index: usize,
    },
    /// Numbers to be met, one or several.
    Numbers {
        /// Names of the columns, in order.
        columns: Vec<String>,
        /// Their places in the training data.
        indices: Vec<usize>,
    },
}

impl Target {
    /// Numbers of a row.
    pub fn width(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Names { .. } | Self::Labels { .. } => 1,
            Self::Numbers { columns, .. } => columns.len(),
        }
    }
}

impl CsvTable {
    /// Number of inputs in a row: the shape of a sample.
    pub fn width(&self) -> usize {
        self.columns.iter().map(Column::width).sum()
    }

    /// The same table, with what a text becomes that the training data has not.
    pub fn unknown(self, unknown: Unknown) -> Self {
        Self { unknown, ..self }
    }

    /// Names of the inputs: `size`, `colour=blue`, `colour=red`.
    pub fn input_names(&self) -> Vec<String> {
        let names = |column: &Column| match &column.kind {
            ColumnKind::Number { .. } => vec![column.name.clone()],
            ColumnKind::Text { categories, .. } => {
                categories.iter().map(|text| format!("{}={text}", column.name)).collect()
            }
        };
        self.columns.iter().flat_map(names).collect()
    }

    pub(crate) fn delimiter(&self) -> u8 {
        u8::try_from(self.delimiter).unwrap_or(b',')
    }
}

impl Column {
    /// Inputs that it makes.
    pub fn width(&self) -> usize {
        match &self.kind {
            ColumnKind::Number { .. } => 1,
            ColumnKind::Text { categories, .. } => categories.len(),
        }
    }
}

/// The place of a column among those of a file.
pub(crate) fn position(path: &Path, names: &[String], wanted: &str, what: &str) -> Result<usize> {
    names.iter().position(|name| name == wanted).ok_or_else(|| {
        let hint = nearest(wanted, names.iter().map(String::as_str))
            .map(|near| format!(" did you mean `{}`?", Escaped(near)))
            .unwrap_or_default();
        Error::data(format!(
            "`{}` has no column `{}`, which {what};{hint} it has {}",
            path.display(),
            Escaped(wanted),
            list_some(names)
        ))
    })
}

/// Names for a message, the first of many.
pub(crate) fn list_some<S: AsRef<str>>(names: &[S]) -> String {
    const MOST: usize = 20;
    let listed = list_names(names.iter().take(MOST));
    match names.len().checked_sub(MOST) {
        None | Some(0) => listed,
        Some(more) => format!("{listed} and {more} more"),
    }
}
