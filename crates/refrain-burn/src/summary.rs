//! What a model is made of, as a table.

use std::fmt;

use unicode_width::UnicodeWidthStr as _;

/// Layers, shapes and numbers of weights of a model; displays as Keras' `summary()`.
///
/// Counts weights alone: what an optimizer keeps beside them is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// One row for each layer.
    pub rows: Vec<SummaryRow>,
    /// Weights that are trained.
    pub trainable: usize,
    /// Weights that are not.
    pub non_trainable: usize,
}

/// One layer of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// The layer's name.
    pub name: String,
    /// The layer's type, as `Dense`.
    pub type_name: String,
    /// Shape of its output for one sample.
    pub output_shape: Vec<usize>,
    /// Number of its weights.
    pub parameters: usize,
    /// How many of them are trained.
    pub trainable: usize,
    /// About how many numbers a training step keeps of each sample for the backward pass: the
    /// output, and what else the layer's gradient needs.
    pub kept: usize,
}

impl Summary {
    /// All weights.
    pub fn parameters(&self) -> usize {
        self.trainable.saturating_add(self.non_trainable)
    }
}

/// As Keras' `summary()`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

/// A [`Summary`] that says which layers are trained, as Keras' `summary(show_trainable=True)`.
struct WithTrainable<'a>(&'a Summary);

impl fmt::Display for WithTrainable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, true)
    }
}

impl Summary {
    /// The same table with a column that says which layers are trained: `Y`, `N`, `Y/N` where some of
    /// a layer's weights are not, `-` where it has none.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::Sequential;
    /// use refrain_burn::layers::BatchNormalization;
    ///
    /// let model = Sequential::input(&[8]).layer(BatchNormalization::new()).build(0)?;
    /// let table = model.summary().with_trainable().to_string();
    /// assert!(table.contains("┃ Trainable ┃"));
    /// // Gamma and beta are trained, the moving mean and variance are not.
    /// assert!(table.contains("│            32 │    Y/N    │"));
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn with_trainable(&self) -> impl fmt::Display + '_ {
        WithTrainable(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, shows_trainable: bool) -> fmt::Result {
        // Keras' widths, and more where a name needs it.
        let mut columns = vec![
            Column::new("Layer (type)", 31, Side::Left),
            Column::new("Output Shape", 22, Side::Left),
            Column::new("Param #", 13, Side::Right),
        ];
        if shows_trainable {
            columns.push(Column::new("Trainable", 9, Side::Middle));
        }
        for row in &self.rows {
            for (column, cell) in columns.iter_mut().zip(row.cells()) {
                column.cells.push(cell);
            }
        }

        writeln!(f, "Model: \"sequential\"")?;
        rule(f, &columns, ['┏', '━', '┳', '┓'])?;
        for index in 0..=self.rows.len() {
            match index {
                0 => {}
                1 => rule(f, &columns, ['┡', '━', '╇', '┩'])?,
                _ => rule(f, &columns, ['├', '─', '┼', '┤'])?,
            }
            let bar = if index == 0 { '┃' } else { '│' };
            for column in &columns {
                write!(f, "{bar} {} ", column.padded(index))?;
            }
            writeln!(f, "{bar}")?;
        }
        rule(f, &columns, ['└', '─', '┴', '┘'])?;
        for (what, parameters) in [
            ("Total", self.parameters()),
            ("Trainable", self.trainable),
            ("Non-trainable", self.non_trainable),
        ] {
            let memory = Memory(parameters.saturating_mul(4));
            writeln!(f, " {what} params: {} ({memory})", thousands(parameters))?;
        }
        Ok(())
    }
}

impl SummaryRow {
    fn cells(&self) -> [String; 4] {
        let axes: Vec<String> = self.output_shape.iter().map(usize::to_string).collect();
        let trainable = match (self.trainable, self.parameters - self.trainable) {
            (0, 0) => "-",
            (0, _) => "N",
            (_, 0) => "Y",
            _ => "Y/N",
        };
        [
            format!("{} ({})", self.name, self.type_name),
            format!("(None, {})", axes.join(", ")),
            thousands(self.parameters),
            trainable.to_owned(),
        ]
    }
}

/// Where a column's cells stand.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Middle,
    Right,
}

/// A column of the table: its head, then a cell for each layer.
struct Column {
    least: usize,
    side: Side,
    cells: Vec<String>,
}

impl Column {
    fn new(head: &str, least: usize, side: Side) -> Self {
        Self { least, side, cells: vec![head.to_owned()] }
    }

    /// Columns of a terminal.
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).fold(self.least, usize::max)
    }

    fn padded(&self, index: usize) -> String {
        let cell = self.cells.get(index).map_or("", String::as_str);
        let free = self.width() - cell.width();
        let before = match self.side {
            Side::Left => 0,
            Side::Middle => free / 2,
            Side::Right => free,
        };
        format!("{}{cell}{}", " ".repeat(before), " ".repeat(free - before))
    }
}

fn rule(
    f: &mut fmt::Formatter<'_>,
    columns: &[Column],
    [left, line, cross, right]: [char; 4],
) -> fmt::Result {
    let lines: Vec<String> =
        columns.iter().map(|column| String::from(line).repeat(column.width() + 2)).collect();
    writeln!(f, "{left}{}{right}", lines.join(&cross.to_string()))
}

/// Bytes as Keras writes them.
struct Memory(usize);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut size = self.0 as f64;
        for unit in ["B", "KB", "MB", "GB"] {
            if size < 1024.0 {
                return write!(f, "{size:.2} {unit}");
            }
            size /= 1024.0;
        }
        write!(f, "{size:.2} TB")
    }
}

/// `9610` as `9,610`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As printed by Keras 3.15.1 for the built-in recipe's model, but for the colours.
    #[test]
    fn displays_as_keras_does() {
        let row = |name: &str, type_name: &str, units, parameters| SummaryRow {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            output_shape: vec![units],
            parameters,
            trainable: parameters,
            kept: units,
        };
        let summary = Summary {
            rows: vec![
                row("flatten", "Flatten", 64, 0),
                row("dense", "Dense", 128, 8320),
                row("dense_1", "Dense", 10, 1290),
            ],
            trainable: 9610,
            non_trainable: 0,
        };
        let expected = "\
Model: \"sequential\"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ flatten (Flatten)               │ (None, 64)             │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense (Dense)                   │ (None, 128)            │         8,320 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense_1 (Dense)                 │ (None, 10)             │         1,290 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 9,610 (37.54 KB)
 Trainable params: 9,610 (37.54 KB)
 Non-trainable params: 0 (0.00 B)
";
        assert_eq!(summary.to_string(), expected);
    }

    #[test]
    fn groups_digits_and_bytes() {
        for (number, digits, bytes) in [
            (0, "0", "0.00 B"),
            (999, "999", "3.90 KB"),
            (1000, "1,000", "3.91 KB"),
            (1_234_567, "1,234,567", "4.71 MB"),
        ] {
            assert_eq!(thousands(number), digits);
            assert_eq!(Memory(number * 4).to_string(), bytes);
        }
    }
}
