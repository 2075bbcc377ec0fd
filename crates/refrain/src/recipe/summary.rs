//! What a recipe's model is made of, and what training it needs of memory; without training.

use std::fmt;

use refrain_burn::Summary;
use refrain_burn::burn::tensor::Device;
use refrain_core::Result;
use serde_json::{Value, json};

use super::Recipe;
use super::memory::{Bytes, MemoryEstimate};
use super::memory_limit::MemoryLimit;

/// The layers of a recipe's model, and what a run needs of memory; displays as a table.
#[derive(Clone, Debug)]
pub struct RecipeSummary {
    /// Name of the run.
    pub name: String,
    /// Shape of one sample.
    pub input_shape: Vec<usize>,
    /// Number of samples that are trained on, with those that are held out of them.
    pub samples: usize,
    /// Layers, shapes, weights.
    pub model: Summary,
    /// Name of the optimizer, as the recipe has it.
    pub optimizer: String,
    /// What a run needs.
    pub memory: MemoryEstimate,
    /// What can be had, where the system says so.
    pub limit: Option<MemoryLimit>,
}

impl Recipe {
    /// Layers, shapes, weights and the memory of a run. Nothing is trained, no weight allocated, and of
    /// the data no more is read than tells its shape; of what would be downloaded, nothing.
    ///
    /// # Example
    /// ```
    /// use refrain::Recipe;
    ///
    /// let recipe = Recipe::builtin(&[])?;
    /// let summary = recipe.summary()?;
    /// assert_eq!(summary.model.parameters(), 9_610);
    /// // SGD with momentum remembers a number for each weight.
    /// assert_eq!((summary.memory.weights, summary.memory.optimizer), (38_440, 38_440));
    /// # Ok::<(), refrain::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the layers do not fit the data or each other, or the data's shape cannot be read.
    pub fn summary(&self) -> Result<RecipeSummary> {
        let (samples, input_shape) = self.data_shape()?;
        let trainer = self.trainer_of(self.outline_on(&input_shape, &Device::flex())?)?;
        let learner = trainer.learner();
        let data = self.data.bytes_in_memory(samples, &input_shape);
        let memory = self.memory(learner, (samples, &input_shape), None, data)?;
        let model = learner.model()?.summary();
        Ok(RecipeSummary {
            name: self.name.clone(),
            input_shape,
            samples,
            model,
            optimizer: self.optimizer_name(),
            memory,
            limit: MemoryLimit::of_process(),
        })
    }
}

impl Recipe {
    /// The optimizer's type, as recipes have it.
    fn optimizer_name(&self) -> String {
        let mut settings = self.compile.settings().into_iter();
        let kind = settings.find(|(key, _)| key == "compile.optimizer.type");
        kind.and_then(|(_, kind)| kind).unwrap_or_default()
    }
}

impl RecipeSummary {
    fn samples_in_words(&self) -> String {
        match self.memory.data {
            0 => format!("{} samples, read from the disk in parts", self.samples),
            _ => format!("{} samples", self.samples),
        }
    }

    /// As JSON: `name`, `input_shape`, `samples`, `layers` (each `name`, `type`, `output_shape`,
    /// `parameters`, `trainable`), `parameters` (`total`, `trainable`, `non_trainable`), `optimizer`,
    /// `memory` (bytes, as [`MemoryEstimate::to_json`]), `memory_limit` (`bytes`, `by`, `available`).
    pub fn to_json(&self) -> Value {
        let layers = self.model.rows.iter().map(|row| {
            json!({
                "name": row.name,
                "type": row.type_name,
                "output_shape": row.output_shape,
                "parameters": row.parameters,
                "trainable": row.trainable,
            })
        });
        json!({
            "name": self.name,
            "input_shape": self.input_shape,
            "samples": self.samples,
            "layers": layers.collect::<Vec<_>>(),
            "parameters": {
                "total": self.model.parameters(),
                "trainable": self.model.trainable,
                "non_trainable": self.model.non_trainable,
            },
            "optimizer": self.optimizer,
            "memory": self.memory.to_json(),
            "memory_limit": self.limit.as_ref().map(|limit| json!({
                "bytes": limit.bytes,
                "by": limit.by,
                "available": limit.available,
            })),
        })
    }
}

impl fmt::Display for RecipeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = &self.memory;
        write!(f, "{}", self.model.with_trainable())?;
        writeln!(f, " Input: {}", shape(&self.input_shape))?;
        writeln!(f)?;
        writeln!(f, "Memory of a run")?;
        let of_validation = match memory.batch_option {
            "validation_batch_size" => "validation ",
            _ => "",
        };
        let batch = format!("of a {of_validation}batch of {}, estimated", memory.batch_size);
        let rows = [
            ("weights", memory.weights, String::new()),
            ("gradients", memory.gradients, String::new()),
            ("optimizer", memory.optimizer, format!("what {} remembers", self.optimizer)),
            ("activations", memory.activations, batch),
            ("checkpoint", memory.checkpoint, "a copy while it is written".to_owned()),
            ("data", memory.data, self.samples_in_words()),
            ("total", memory.total(), "beside the program itself".to_owned()),
        ];
        let limit = self.limit.as_ref();
        let limit = limit.map(|limit| ("available", limit.available, format!("of {limit}")));
        for (what, bytes, note) in rows.into_iter().chain(limit) {
            let line = format!("  {what:<11} {:>10}  {note}", Bytes(bytes));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// As the table has shapes.
fn shape(axes: &[usize]) -> String {
    let axes: Vec<String> = axes.iter().map(usize::to_string).collect();
    format!("(None, {})", axes.join(", "))
}
