//! What a model is made of, as a table.

use std::fmt;

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
    /// Shapes of those that are trained, in the layer's order.
    pub trained_shapes: Vec<Vec<usize>>,
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

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = vec![["Layer (type)", "Output Shape", "Param #"].map(str::to_owned)];
        table.extend(self.rows.iter().map(SummaryRow::cells));
        // Keras' widths, and more where a name needs it.
        let width = |column: usize, least: usize| {
            table.iter().map(|cells| cells[column].chars().count()).fold(least, usize::max)
        };
        let widths = [width(0, 31), width(1, 22), width(2, 13)];

        writeln!(f, "Model: \"sequential\"")?;
        rule(f, widths, ['┏', '━', '┳', '┓'])?;
        for (index, cells) in table.iter().enumerate() {
            match index {
                0 => {}
                1 => rule(f, widths, ['┡', '━', '╇', '┩'])?,
                _ => rule(f, widths, ['├', '─', '┼', '┤'])?,
            }
            let bar = if index == 0 { '┃' } else { '│' };
            let [name, shape, parameters] = cells;
            let [name_width, shape_width, parameters_width] = widths;
            writeln!(
                f,
                "{bar} {name:<name_width$} {bar} {shape:<shape_width$} {bar} \
                 {parameters:>parameters_width$} {bar}"
            )?;
        }
        rule(f, widths, ['└', '─', '┴', '┘'])?;
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
    fn cells(&self) -> [String; 3] {
        let axes: Vec<String> = self.output_shape.iter().map(usize::to_string).collect();
        [
            format!("{} ({})", self.name, self.type_name),
            format!("(None, {})", axes.join(", ")),
            thousands(self.parameters),
        ]
    }
}

fn rule(
    f: &mut fmt::Formatter<'_>,
    widths: [usize; 3],
    [left, line, cross, right]: [char; 4],
) -> fmt::Result {
    let lines = widths.map(|width| String::from(line).repeat(width + 2));
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
            trained_shapes: Vec::new(),
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
