//! `refrain predict`: a run's model on new inputs.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use refrain::{Error, Preparation, Recipe, Registry, Result};

use super::use_threads;
use crate::args::PredictArgs;
use crate::output::complain;
use crate::saved_model::{self, SavedModel};
use crate::signals::Interrupts;

/// Predicts, and prints one JSON array a row.
pub(crate) fn predict(args: &PredictArgs, registry: &Arc<Registry>) -> Result {
    use_threads(args.threads)?;
    let SavedModel { recipe, weights, .. } = SavedModel::of_run(registry, &args.dir)?;
    let preparation = preparation(&recipe, &args.dir)?;
    let mut trainer = recipe.trained_on(preparation.sample_shape(), 0, &weights)?;
    let batch_size = args.batch_size.unwrap_or(recipe.batch_size());
    let mut out = Output::new();
    let predicted = preparation.each_batch(&args.input, batch_size, |samples| {
        if out.is_closed {
            return Ok(());
        }
        let outputs = trainer.predict(&samples, batch_size)?;
        let [rows, width] = outputs.dims();
        let values = outputs.try_into_data().map_err(|error| {
            Error::engine("the outputs cannot be read from the device").with_source(error)
        })?;
        let values = values
            .as_slice::<f32>()
            .map_err(|error| Error::engine(format!("the outputs are no numbers: {error:?}")))?;
        (0..rows).try_for_each(|row| {
            out.row(values.get(row * width..(row + 1) * width).unwrap_or_default())
        })
    });
    // What was predicted before an error is a result.
    let written = out.finish();
    predicted.and(written)
}

/// How the run's data became inputs: as the run has noted it; where it has not, as its recipe says.
fn preparation(recipe: &Recipe, folder: &Path) -> Result<Preparation> {
    // Compared with the journal when the recipe was read.
    match saved_model::preparation(folder, None)? {
        Some(noted) => Ok(noted),
        None => {
            let interrupts = Interrupts::handle()?;
            let recipe = recipe.clone().stop_with(interrupts.stop());
            let data = interrupts.while_reading(|| recipe.load_data())?;
            Ok(data.preparation().clone())
        }
    }
}

/// Rows on standard output.
struct Output {
    stdout: BufWriter<io::Stdout>,
    /// Rows so far.
    rows: u64,
    /// The reader has left (`| head`): no failure.
    is_closed: bool,
    text: Vec<u8>,
    /// Numbers that JSON does not have, and the first row with one.
    non_finite: Option<(u64, u64)>,
}

impl Output {
    fn new() -> Self {
        let stdout = BufWriter::with_capacity(1 << 16, io::stdout());
        Self { stdout, rows: 0, is_closed: false, text: Vec::new(), non_finite: None }
    }

    fn row(&mut self, values: &[f32]) -> Result {
        self.rows += 1;
        let others = values.iter().filter(|value| !value.is_finite()).count() as u64;
        if others > 0 {
            let (count, _) = self.non_finite.get_or_insert((0, self.rows));
            *count += others;
        }
        self.text.clear();
        // What is not finite becomes `null`.
        serde_json::to_writer(&mut self.text, values)?;
        self.text.push(b'\n');
        let written = self.stdout.write_all(&self.text);
        self.keep(written)
    }

    fn keep(&mut self, written: io::Result<()>) -> Result {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            written => written
                .map_err(|error| Error::msg(format!("cannot write to standard output: {error}"))),
        }
    }

    fn finish(mut self) -> Result {
        if !self.is_closed {
            let flushed = self.stdout.flush();
            self.keep(flushed)?;
        }
        if let Some((count, row)) = self.non_finite {
            complain(&format!(
                "warning: {count} outputs are NaN or infinite, the first of them in row {row}; JSON has \
                 no numbers for that: null"
            ));
        }
        // Else it would be tried once more on the way out.
        let (_, _) = self.stdout.into_parts();
        Ok(())
    }
}
