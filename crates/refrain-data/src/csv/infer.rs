//! Finding out what the columns of a training file are.

use std::collections::BTreeSet;
use std::path::Path;

use refrain_core::{Error, Escaped, Result, StopHandle, list_names, validation_split_at};

use super::number::Field;
use super::records::{Place, Record, Records, shown};
use super::table::{Column, ColumnKind, CsvOptions, CsvTable, Fill, Target, Unknown, position};

/// Numbers that are held at once to find medians.
const MOST_HELD: usize = 1 << 24;

impl CsvTable {
    /// Finds out what the columns of `path` are, the file that a model is trained on.
    ///
    /// A column is text where its first value is: its texts, of the whole file, sorted, are its
    /// categories. `validation_split`: the part at the end that statistics for missing values leave
    /// out. Reads the file once, and once more for means and medians. Memory: one line and the
    /// categories; for medians 64 MB.
    ///
    /// # Errors
    /// When the file cannot be read; when a column is missing, or holds numbers and text; when a value
    /// is missing and no `missing` was given. The message names line and column.
    pub fn infer(path: &Path, options: &CsvOptions, validation_split: Option<f64>) -> Result<Self> {
        let stop = StopHandle::default();
        Self::infer_with(path, options, validation_split, &stop).map(|(table, _)| table)
    }

    /// As [`infer`](Self::infer), with the number of rows. `stop` breaks it off.
    ///
    /// # Errors
    /// As [`infer`](Self::infer), and when it was stopped.
    pub fn infer_with(
        path: &Path,
        options: &CsvOptions,
        validation_split: Option<f64>,
        stop: &StopHandle,
    ) -> Result<(Self, usize)> {
        let mut records = Records::open(path, options.delimiter, stop)?;
        let (names, first) = header(&mut records, path, options.has_header)?;
        let choice = Choice::new(path, &names, options)?;
        let mut rows = 0;
        let mut inputs: Vec<Seen> = choice.inputs.iter().map(|_| Seen::default()).collect();
        let mut targets: Vec<Seen> = choice.targets.iter().map(|_| Seen::default()).collect();
        let mut look = |record: Record<'_>| -> Result {
            rows += 1;
            for (&index, seen) in choice.inputs.iter().zip(&mut inputs) {
                seen.look(record, (index, name(&names, index)), options, Role::Input)?;
            }
            for (&index, seen) in choice.targets.iter().zip(&mut targets) {
                seen.look(record, (index, name(&names, index)), options, Role::Target)?;
            }
            Ok(())
        };
        if let Some(first) = first {
            first.look(&mut look)?;
        }
        while let Some(record) = records.next()? {
            look(record)?;
        }
        if rows == 0 {
            return Err(Error::data(format!("`{}` has no rows", path.display())));
        }

        let column = |(&index, seen): (&usize, Seen)| Column {
            name: name(&names, index).to_owned(),
            index,
            kind: seen.kind(options),
        };
        let mut columns: Vec<Column> = choice.inputs.iter().zip(inputs).map(column).collect();
        let target = target(&names, &choice.targets, targets, options)?;
        if let Some(fill) = options.missing {
            let trained = match validation_split {
                Some(split) => validation_split_at(rows, split)?,
                None => rows,
            };
            set_fills(&Trained { path, options, rows: trained, stop }, fill, &mut columns)?;
        }
        let CsvOptions { unknown, delimiter, has_header, .. } = *options;
        let delimiter = char::from(delimiter);
        let fields = names.len();
        Ok((Self { columns, target, unknown, delimiter, has_header, fields }, rows))
    }
}

impl CsvTable {
    /// A table of `width` columns of numbers; the first line is a header where all its fields are words, or
    /// they are 0, 1, 2 and so on.
    ///
    /// # Errors
    /// When the file cannot be read, has another number of columns, or a first line of words and numbers.
    pub fn of_numbers(path: &Path, width: usize) -> Result<Self> {
        let mut records = Records::open(path, b',', &StopHandle::default())?;
        let Some(first) = records.next()? else {
            return Err(Error::data(format!("`{}` is empty", path.display())));
        };
        if first.len() != width {
            return Err(first.place.error(format_args!(
                "{} columns, and the model takes {width} numbers a sample",
                first.len()
            )));
        }
        let has_header = is_header(first)?;
        let names = match has_header {
            true => names(first)?,
            false => (0..width).map(|i| i.to_string()).collect(),
        };
        let column =
            |(index, name)| Column { name, index, kind: ColumnKind::Number { fill: None } };
        Ok(Self {
            columns: names.into_iter().enumerate().map(column).collect(),
            target: Target::None,
            unknown: Unknown::Error,
            delimiter: ',',
            has_header,
            fields: width,
        })
    }

    /// Number of rows of a file, which is read for it. `stop` breaks it off.
    ///
    /// # Errors
    /// When it cannot be read, naming the line, or was stopped.
    pub fn count_rows(&self, path: &Path, stop: &StopHandle) -> Result<usize> {
        let mut records = Records::open(path, self.delimiter(), stop)?;
        let mut rows = 0_usize;
        while records.next()?.is_some() {
            rows += 1;
        }
        Ok(rows.saturating_sub(usize::from(self.has_header)))
    }
}

/// Whether the first line of a table of numbers names its columns: with words throughout, or, as pandas
/// does it, with 0, 1, 2 and so on. One word among numbers is no header, and no row either.
fn is_header(first: Record<'_>) -> Result<bool> {
    let (mut words, mut places) = (0, 0);
    let mut word = None;
    for index in 0..first.len() {
        let text = first.text(index)?;
        places += usize::from(text == index.to_string());
        if Field::of(text) == Field::Text {
            words += 1;
            word.get_or_insert((index, text));
        }
    }
    match word {
        _ if words == first.len() => Ok(true),
        Some((index, text)) => Err(first.place.error(format_args!(
            "column {}: {} is no number, and the line is no header, which would have a name for each \
             column",
            index + 1,
            shown(text)
        ))),
        None => Ok(first.len() > 1 && places == first.len()),
    }
}

/// The first line of a file without a header, which had to be read to count its columns.
pub(super) struct FirstRow {
    place: Place,
    texts: Vec<String>,
}

impl FirstRow {
    fn look(&self, look: &mut impl FnMut(Record<'_>) -> Result) -> Result {
        let mut fields = Vec::new();
        let mut ends = Vec::new();
        for text in &self.texts {
            fields.extend_from_slice(text.as_bytes());
            ends.push(fields.len());
        }
        look(Record::new(&self.place, &fields, &ends))
    }
}

/// Names of the columns; and, where no header has them, the line that is a row already.
fn header(
    records: &mut Records,
    path: &Path,
    has_header: bool,
) -> Result<(Vec<String>, Option<FirstRow>)> {
    let Some(record) = records.next()? else {
        return Err(Error::data(format!("`{}` is empty", path.display())));
    };
    if has_header {
        return Ok((names(record)?, None));
    }
    let texts: Vec<String> =
        (0..record.len()).map(|i| record.text(i).map(str::to_owned)).collect::<Result<_>>()?;
    let names = (0..texts.len()).map(|i| i.to_string()).collect();
    Ok((names, Some(FirstRow { place: record.place.clone(), texts })))
}

/// The names in a header. A column without one gets that of pandas: `Unnamed: 0`.
pub(super) fn names(header: Record<'_>) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    let mut taken = BTreeSet::new();
    for index in 0..header.len() {
        let name = match header.text(index)? {
            "" => format!("Unnamed: {index}"),
            name => name.to_owned(),
        };
        if !taken.insert(name.clone()) {
            let what = format_args!("two columns have this name; give one of them another");
            return Err(header.place.error_in((index, &name), what));
        }
        names.push(name);
    }
    Ok(names)
}

fn name(names: &[String], index: usize) -> &str {
    names.get(index).map_or("", String::as_str)
}

/// Which columns are used, by their places.
struct Choice {
    inputs: Vec<usize>,
    targets: Vec<usize>,
}

impl Choice {
    fn new(path: &Path, names: &[String], options: &CsvOptions) -> Result<Self> {
        let find = |wanted: &[String], what: &str| -> Result<Vec<usize>> {
            let mut found = Vec::with_capacity(wanted.len());
            for wanted in wanted {
                let index = position(path, names, wanted, what)?;
                if found.contains(&index) {
                    return Err(Error::data(format!(
                        "column `{}`, which {what}, is named twice",
                        Escaped(wanted)
                    )));
                }
                found.push(index);
            }
            Ok(found)
        };
        let targets = find(&options.targets, "`target` names")?;
        let dropped = find(&options.drop, "`drop` names")?;
        find(&options.text, "`text` names")?;
        if let Some(&both) = dropped.iter().find(|index| targets.contains(index)) {
            return Err(Error::data(format!(
                "column `{}` is named by `target` and by `drop`; take it out of one of them",
                Escaped(name(names, both))
            )));
        }
        let inputs = match &options.columns {
            Some(columns) => find(columns, "`columns` names")?,
            None => (0..names.len()).filter(|index| !targets.contains(index)).collect(),
        };
        if let Some(&both) = inputs.iter().find(|index| targets.contains(index)) {
            return Err(Error::data(format!(
                "column `{}` is named by `target` and by `columns`: a model would be told what it is to \
                 find out",
                Escaped(name(names, both))
            )));
        }
        let inputs: Vec<usize> =
            inputs.into_iter().filter(|index| !dropped.contains(index)).collect();
        if inputs.is_empty() {
            return Err(Error::data(format!(
                "`{}` has no column left for the inputs; it has {}",
                path.display(),
                list_names(names)
            )));
        }
        Ok(Self { inputs, targets })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Input,
    Target,
}

/// What was seen of a column.
#[derive(Default)]
struct Seen {
    /// The line of the first number.
    number: Option<u64>,
    texts: BTreeSet<String>,
}

impl Seen {
    fn look(
        &mut self,
        record: Record<'_>,
        column: (usize, &str),
        options: &CsvOptions,
        role: Role,
    ) -> Result {
        let text = record.text(column.0)?;
        let is_text = options.text.iter().any(|name| name == column.1);
        let error = |what: String| Err(record.place.error_in(column, what));
        match Field::of(text) {
            Field::Missing if role == Role::Target => {
                error("the target is missing; take the line out".to_owned())
            }
            Field::Missing if options.missing.is_none() => error(
                "the value is missing; fill it with missing = \"mean\", \"median\", \"zero\" or a \
                 number, or take the line out"
                    .to_owned(),
            ),
            Field::Missing => Ok(()),
            Field::Number(_) if !is_text => {
                if let Some(first) = self.texts.first() {
                    return error(format!(
                        "{} is a number, and lines before have text ({}); correct them, or take all \
                         for text: text = [\"{}\"]",
                        shown(text),
                        shown(first),
                        Escaped(column.1)
                    ));
                }
                self.number.get_or_insert(record.place.line);
                Ok(())
            }
            Field::Number(_) if role == Role::Target && options.targets_are_numbers => {
                error(format!(
                    "`text` takes the target's numbers for names of classes, and the loss compares \
                     numbers; take `{}` out of `text`, or use loss = \
                     \"sparse_categorical_crossentropy\"",
                    Escaped(column.1)
                ))
            }
            Field::Text if role == Role::Target && options.targets_are_numbers => error(format!(
                "{} is no number, and the loss compares numbers; correct it: a number has neither a \
                 sign of a currency (`$`) nor separators of thousands (`1,210` is 1210). Texts that \
                 name classes need another loss, for example \"sparse_categorical_crossentropy\"",
                shown(text)
            )),
            Field::Number(_) | Field::Text => {
                if let Some(line) = self.number {
                    return error(format!(
                        "{} is no number, and line {line} has one; correct it, or take all for text: \
                         text = [\"{}\"]",
                        shown(text),
                        Escaped(column.1)
                    ));
                }
                if !self.texts.contains(text) {
                    self.texts.insert(text.to_owned());
                }
                if self.texts.len() > options.max_categories {
                    return error(format!(
                        "more than {} different texts up to here; leave the column out (drop = \
                         [\"{}\"]), or allow more (max_categories = {})",
                        options.max_categories,
                        Escaped(column.1),
                        options.max_categories.saturating_mul(10)
                    ));
                }
                Ok(())
            }
        }
    }

    fn kind(self, options: &CsvOptions) -> ColumnKind {
        if self.texts.is_empty() {
            // What has no number either is missing throughout.
            return ColumnKind::Number { fill: None };
        }
        let categories = self.texts.into_iter().collect();
        ColumnKind::Text { categories, may_be_missing: options.missing.is_some() }
    }
}

fn target(
    names: &[String],
    indices: &[usize],
    seen: Vec<Seen>,
    options: &CsvOptions,
) -> Result<Target> {
    let has_text = seen.iter().position(|seen| !seen.texts.is_empty());
    let column = |index: usize| name(names, index).to_owned();
    Ok(match (indices, has_text) {
        ([], _) => Target::None,
        ([index], Some(_)) => {
            let classes = seen.into_iter().flat_map(|seen| seen.texts).collect();
            Target::Names { column: column(*index), index: *index, classes }
        }
        ([index], None) if options.targets_are_classes => {
            Target::Labels { column: column(*index), index: *index }
        }
        (_, Some(place)) => {
            let index = indices.get(place).copied().unwrap_or_default();
            return Err(Error::data(format!(
                "column `{}` holds text, and there are {} targets; text can be the only one, where it \
                 names the class",
                Escaped(name(names, index)),
                indices.len()
            )));
        }
        (indices, None) => Target::Numbers {
            columns: indices.iter().map(|index| column(*index)).collect(),
            indices: indices.to_vec(),
        },
    })
}

/// The part of a file that a model is trained on.
struct Trained<'a> {
    path: &'a Path,
    options: &'a CsvOptions,
    /// Its first rows.
    rows: usize,
    stop: &'a StopHandle,
}

/// Sets what missing numbers become.
fn set_fills(trained: &Trained<'_>, fill: Fill, columns: &mut [Column]) -> Result {
    let numbers: Vec<usize> = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| matches!(column.kind, ColumnKind::Number { .. }))
        .map(|(i, _)| i)
        .collect();
    // As many columns a pass as fit; for means and numbers one pass, or none.
    let at_once = match fill {
        Fill::Median => (MOST_HELD / trained.rows.max(1)).max(1),
        Fill::Mean | Fill::Number(_) => numbers.len().max(1),
    };
    for group in numbers.chunks(at_once) {
        let indices: Vec<usize> =
            group.iter().filter_map(|&i| columns.get(i).map(|column| column.index)).collect();
        let fills = match fill {
            Fill::Number(number) => vec![Some(number); group.len()],
            Fill::Mean => means(trained, &indices)?,
            Fill::Median => medians(trained, &indices)?,
        };
        for (&i, found) in group.iter().zip(fills) {
            let Some(column) = columns.get_mut(i) else { continue };
            if found.is_none() {
                return Err(Error::data(format!(
                    "`{}`, column {} (`{}`): all values of the training part are missing, so there is \
                     nothing to fill them with; leave the column out (drop = [\"{}\"]), or use missing \
                     = \"zero\"",
                    trained.path.display(),
                    column.index + 1,
                    Escaped(&column.name),
                    Escaped(&column.name)
                )));
            }
            column.kind = ColumnKind::Number { fill: found };
        }
    }
    Ok(())
}

/// Calls `f` with each number of these columns: its place among the columns, and itself.
fn each_number(trained: &Trained<'_>, indices: &[usize], mut f: impl FnMut(usize, f64)) -> Result {
    let mut records = Records::open(trained.path, trained.options.delimiter, trained.stop)?;
    if trained.options.has_header {
        records.next()?;
    }
    for _ in 0..trained.rows {
        let Some(record) = records.next()? else { break };
        for (place, &index) in indices.iter().enumerate() {
            if let Field::Number(number) = Field::of(record.text(index)?) {
                f(place, number);
            }
        }
    }
    Ok(())
}

fn means(trained: &Trained<'_>, indices: &[usize]) -> Result<Vec<Option<f32>>> {
    let mut sums = vec![(0.0, 0_u64); indices.len()];
    each_number(trained, indices, |place, number| {
        if let Some((sum, count)) = sums.get_mut(place) {
            *sum += number;
            *count += 1;
        }
    })?;
    let mean = |(sum, count)| (count > 0).then(|| (sum / count as f64) as f32);
    Ok(sums.into_iter().map(mean).collect())
}

fn medians(trained: &Trained<'_>, indices: &[usize]) -> Result<Vec<Option<f32>>> {
    let mut columns = vec![Vec::new(); indices.len()];
    each_number(trained, indices, |place, number| {
        if let Some(column) = columns.get_mut(place) {
            column.push(number as f32);
        }
    })?;
    let median = |mut numbers: Vec<f32>| {
        numbers.sort_unstable_by(f32::total_cmp);
        let middle = numbers.len() / 2;
        let upper = *numbers.get(middle)?;
        if !numbers.len().is_multiple_of(2) {
            return Some(upper);
        }
        // Of an even number, the mean of the two in the middle.
        let lower = *numbers.get(middle.checked_sub(1)?)?;
        Some(((f64::from(lower) + f64::from(upper)) / 2.0) as f32)
    };
    Ok(columns.into_iter().map(median).collect())
}

/// For messages about what the options leave no choice in.
impl Unknown {
    pub(super) const WAY_OUT: &str = "to take it for none of them, train with unknown = \"zero\" in \
                                      [data], or resume the run with --set data.unknown=zero \
                                      --accept-changes";
}
