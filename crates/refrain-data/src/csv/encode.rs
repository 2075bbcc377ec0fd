//! Rows of a table as numbers.

use std::collections::HashMap;
use std::path::Path;

use refrain_core::{Error, Escaped, Result, StopHandle};

use super::infer::names;
use super::number::Field;
use super::records::{Record, Records, shown};
use super::table::{ColumnKind, CsvTable, Target, Unknown, list_some, position};

/// Rows of a table as numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsvBatch {
    /// Number of rows.
    pub rows: usize,
    /// Row after row, as many numbers each as the table is [wide](CsvTable::width).
    pub inputs: Vec<f32>,
    /// Row after row: the class, or the numbers to be met; none where they were not asked for.
    pub targets: Vec<f32>,
}

/// A CSV file read some rows at a time, as the table of the training data has it.
///
/// Columns are found by their names, in whatever order; without a header by their places. What the
/// table does not know is passed over.
///
/// # Example
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let (train, new) = (folder.path().join("train.csv"), folder.path().join("new.csv"));
/// # std::fs::write(&train, "a,b,y\n1,2,0\n3,4,1\n").unwrap();
/// # std::fs::write(&new, "b,a\n20,10\n").unwrap();
/// use refrain_data::{CsvOptions, CsvReader, CsvTable};
///
/// let options = CsvOptions { targets: vec!["y".into()], ..CsvOptions::default() };
/// let table = CsvTable::infer(&train, &options, None)?;
/// let mut reader = CsvReader::inputs(&table, &new)?;
/// let batch = reader.next_rows(100)?;
/// assert_eq!((batch.rows, batch.inputs), (1, vec![10.0, 20.0]));
/// assert_eq!(reader.next_rows(100)?.rows, 0);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub struct CsvReader<'t> {
    table: &'t CsvTable,
    records: Records,
    inputs: Vec<Input<'t>>,
    targets: Vec<usize>,
    classes: HashMap<&'t str, f32>,
}

/// A column of the file that is an input.
struct Input<'t> {
    index: usize,
    name: &'t str,
    kind: &'t ColumnKind,
    /// Of text, the place of each category.
    categories: HashMap<&'t str, usize>,
}

impl CsvTable {
    /// Reads a whole file: inputs and targets.
    ///
    /// # Errors
    /// When it cannot be read; when a column, a value or a target is missing, or is not what it is in
    /// the training data. The message names line and column.
    pub fn read(&self, path: &Path) -> Result<CsvBatch> {
        CsvReader::open(self, path)?.next_rows(usize::MAX)
    }
}

impl<'t> CsvReader<'t> {
    /// Opens a file for its inputs and targets.
    ///
    /// # Errors
    /// When it cannot be read, or a column is missing.
    pub fn open(table: &'t CsvTable, path: &Path) -> Result<Self> {
        Self::new(table, path, true)
    }

    /// Opens a file for its inputs alone; it may lack the targets.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn inputs(table: &'t CsvTable, path: &Path) -> Result<Self> {
        Self::new(table, path, false)
    }

    fn new(table: &'t CsvTable, path: &Path, has_targets: bool) -> Result<Self> {
        let stop = StopHandle::default();
        let mut records = Records::open(path, table.delimiter(), &stop)?;
        let places = match records.next()? {
            None => return Err(Error::data(format!("`{}` is empty", path.display()))),
            Some(header) if table.has_header => by_name(table, path, &names(header)?, has_targets)?,
            Some(first) => {
                let places = by_place(table, &first, has_targets)?;
                // That was a row.
                records = Records::open(path, table.delimiter(), &stop)?;
                places
            }
        };
        let input = |(column, index): (&'t super::Column, usize)| {
            let categories = match &column.kind {
                ColumnKind::Number { .. } => HashMap::new(),
                ColumnKind::Text { categories, .. } => {
                    categories.iter().enumerate().map(|(i, text)| (text.as_str(), i)).collect()
                }
            };
            Input { index, name: &column.name, kind: &column.kind, categories }
        };
        let classes = match &table.target {
            Target::Names { classes, .. } => {
                classes.iter().enumerate().map(|(i, text)| (text.as_str(), i as f32)).collect()
            }
            _ => HashMap::new(),
        };
        let inputs = table.columns.iter().zip(places.inputs).map(input).collect();
        Ok(Self { table, records, inputs, targets: places.targets, classes })
    }

    /// Breaks off when `stop` is stopped, after the row that is being read.
    pub fn stop_with(mut self, stop: &StopHandle) -> Self {
        self.records.stop = stop.clone();
        self
    }

    /// The next rows, at most so many; none at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read, a stop was asked for, or a value is not what it is in the training data. The message
    /// names line and column.
    pub fn next_rows(&mut self, most: usize) -> Result<CsvBatch> {
        let mut batch = CsvBatch::default();
        while batch.rows < most {
            let Some(record) = self.records.next()? else { break };
            for input in &self.inputs {
                input.encode(record, self.table, &mut batch.inputs)?;
            }
            encode_targets(self.table, &self.targets, &self.classes, record, &mut batch.targets)?;
            batch.rows += 1;
        }
        Ok(batch)
    }
}

/// Where the columns of a table are in a file.
struct Places {
    inputs: Vec<usize>,
    targets: Vec<usize>,
}

fn by_name(table: &CsvTable, path: &Path, names: &[String], has_targets: bool) -> Result<Places> {
    let is_there = |name: &&str| names.iter().any(|there| there == name);
    let columns = table.columns.iter().map(|column| column.name.as_str());
    let missing: Vec<&str> = columns.clone().filter(|name| !is_there(name)).collect();
    if missing.len() > 1 {
        return Err(Error::data(format!(
            "`{}` lacks columns of the training data: {}; it has {}",
            path.display(),
            list_some(&missing),
            list_some(names)
        )));
    }
    let find = |name: &str| position(path, names, name, "the training data has");
    let targets = if has_targets { target_columns(&table.target) } else { Vec::new() };
    Ok(Places {
        inputs: columns.map(find).collect::<Result<_>>()?,
        targets: targets.into_iter().map(find).collect::<Result<_>>()?,
    })
}

fn target_columns(target: &Target) -> Vec<&str> {
    match target {
        Target::None => Vec::new(),
        Target::Names { column, .. } | Target::Labels { column, .. } => vec![column],
        Target::Numbers { columns, .. } => columns.iter().map(String::as_str).collect(),
    }
}

fn target_indices(target: &Target) -> Vec<usize> {
    match target {
        Target::None => Vec::new(),
        Target::Names { index, .. } | Target::Labels { index, .. } => vec![*index],
        Target::Numbers { indices, .. } => indices.clone(),
    }
}

fn by_place(table: &CsvTable, first: &Record<'_>, has_targets: bool) -> Result<Places> {
    let targets = target_indices(&table.target);
    let indices = table.columns.iter().map(|column| column.index);
    let fields = first.len();
    if fields == table.fields {
        let targets = if has_targets { targets } else { Vec::new() };
        return Ok(Places { inputs: indices.collect(), targets });
    }
    if !has_targets && fields + targets.len() == table.fields {
        // Columns behind a target move up.
        let before = |index: usize| targets.iter().filter(|target| **target < index).count();
        let inputs = indices.map(|index| index.saturating_sub(before(index))).collect();
        return Ok(Places { inputs, targets: Vec::new() });
    }
    if !has_targets && fields == table.columns.len() {
        return Ok(Places { inputs: (0..fields).collect(), targets: Vec::new() });
    }
    let without = if has_targets || targets.is_empty() {
        String::new()
    } else {
        format!(", or {} without the target", table.fields.saturating_sub(targets.len()))
    };
    Err(first.place.error(format_args!(
        "{fields} columns, and the training data has {}{without}",
        table.fields
    )))
}

impl Input<'_> {
    fn encode(&self, record: Record<'_>, table: &CsvTable, inputs: &mut Vec<f32>) -> Result {
        let text = record.text(self.index)?;
        let error = |what: String| Err(record.place.error_in((self.index, self.name), what));
        match (self.kind, Field::of(text)) {
            (ColumnKind::Number { fill: Some(fill) }, Field::Missing) => {
                inputs.push(*fill);
                Ok(())
            }
            (ColumnKind::Number { .. }, Field::Number(number)) => {
                let narrow = number as f32;
                if !narrow.is_finite() {
                    return error(too_large(text));
                }
                inputs.push(narrow);
                Ok(())
            }
            (ColumnKind::Number { .. }, Field::Text) => error(format!(
                "{} is no number, and the column holds numbers in the training data",
                shown(text)
            )),
            (ColumnKind::Text { categories, may_be_missing: true }, Field::Missing) => {
                inputs.extend(std::iter::repeat_n(0.0, categories.len()));
                Ok(())
            }
            (_, Field::Missing) => error(
                "the value is missing, and the recipe of the training says not what to fill it with \
                 (missing = \"mean\", \"median\", \"zero\" or a number)"
                    .to_owned(),
            ),
            (ColumnKind::Text { categories, .. }, _) => {
                let first = inputs.len();
                inputs.extend(std::iter::repeat_n(0.0, categories.len()));
                match self.categories.get(text) {
                    Some(place) => {
                        if let Some(input) = inputs.get_mut(first + place) {
                            *input = 1.0;
                        }
                    }
                    None if table.unknown == Unknown::Zero => {}
                    None => {
                        return error(format!(
                            "{} is not among the texts of the training data: {}; {}",
                            shown(text),
                            list_some(categories),
                            Unknown::WAY_OUT
                        ));
                    }
                }
                Ok(())
            }
        }
    }
}

fn encode_targets(
    table: &CsvTable,
    indices: &[usize],
    classes: &HashMap<&str, f32>,
    record: Record<'_>,
    targets: &mut Vec<f32>,
) -> Result {
    let columns = target_columns(&table.target);
    for (&index, name) in indices.iter().zip(columns) {
        let text = record.text(index)?;
        let error = |what: String| Err(record.place.error_in((index, name), what));
        let target = match (&table.target, Field::of(text)) {
            (Target::Names { classes: names, .. }, _) => match classes.get(text) {
                Some(class) => *class,
                None => {
                    return error(format!(
                        "{} is not among the classes of the training data: {}",
                        shown(text),
                        list_some(names)
                    ));
                }
            },
            (_, Field::Missing) => return error("the target is missing".to_owned()),
            (Target::Labels { .. }, Field::Number(class))
                if class >= 0.0 && class.fract() == 0.0 && class < f64::from(1 << 24) =>
            {
                class as f32
            }
            (Target::Labels { .. }, _) => {
                return error(format!(
                    "{} is no class; allowed: whole numbers from 0, or text throughout",
                    shown(text)
                ));
            }
            (_, Field::Number(number)) if (number as f32).is_finite() => number as f32,
            (_, Field::Number(_)) => {
                return error(too_large(text));
            }
            (_, Field::Text) => return error(format!("{} is no number", Escaped(&shown(text)))),
        };
        targets.push(target);
    }
    Ok(())
}

/// Of a number that is none of 32 bits.
fn too_large(text: &str) -> String {
    let shown = shown(text);
    format!(
        "{shown} is infinite, or too large a number for an f32; correct it, or leave the column out"
    )
}
