//! Loss and metrics of weights that were trained, on a part of the recipe's data.

use refrain_core::weights::Weights;
use refrain_core::{Dataset as _, Error, Logs, ModelAccess as _, Part, Result, Trainer};

use super::data::RecipeSamples;
use super::{Recipe, RecipeData, RecipeLearner, memory};

/// A part of a recipe's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPart {
    /// What is trained on.
    Train,
    /// What the run is validated on.
    Validation,
    /// The source's own test part.
    Test,
}

impl DataPart {
    /// All of them, by name.
    pub const NAMES: &[&str] = &["train", "validation", "test"];

    /// The part of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "train" => Some(Self::Train),
            "validation" => Some(Self::Validation),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

impl Recipe {
    /// The recipe's model with these weights, its loss and its metrics; for `evaluate` and `predict`.
    /// Initial weights are neither made nor read.
    ///
    /// # Errors
    /// When the layers do not fit the data or each other, the weights not the layers, or weights and
    /// data do not fit into memory.
    pub fn trained(&self, data: &RecipeData, weights: &Weights) -> Result<Trainer<RecipeLearner>> {
        self.trained_on(data.sample_shape(), data.bytes(), weights)
    }

    /// As [`trained`](Self::trained), for samples of this shape, of which `bytes` are in memory at
    /// once; whatever they are trained towards.
    ///
    /// # Errors
    /// As [`trained`](Self::trained).
    pub fn trained_on(
        &self,
        sample_shape: &[usize],
        bytes: u64,
        weights: &Weights,
    ) -> Result<Trainer<RecipeLearner>> {
        let model = self.outline_on(sample_shape, &self.device)?;
        memory::check_weights(&model.summary(), bytes).map_err(|e| e.context(&self.origin))?;
        let mut trainer = self.trainer_of(model)?;
        trainer.learner_mut().set_weights(weights)?;
        Ok(trainer)
    }

    /// Loss and metrics of a model with these weights on a part of `data`, the recipe's own: `loss`
    /// first. Means are weighted by samples.
    ///
    /// For the weights that an epoch ended with, those of `Validation` are that epoch's `val_*` to the
    /// bit: batches are as large and, with `validation_steps`, as many. Another `batch_size` (≥ 1)
    /// gives sums that are rounded otherwise.
    ///
    /// # Example
    /// ```
    /// use refrain::console::Console;
    /// use refrain::{DataPart, ModelAccess as _, Recipe};
    ///
    /// let recipe = Recipe::builtin(&["fit.epochs=1".into(), "callbacks=[]".into()])?;
    /// let data = recipe.load_data()?;
    /// let mut trainer = recipe.trainer(&data)?.console(Console::silent());
    /// let history = trainer.fit(&data, recipe.fit(&data))?;
    ///
    /// let weights = trainer.learner().weights()?;
    /// let logs = recipe.evaluate(&data, &weights, DataPart::Validation, None)?;
    /// assert_eq!(logs.get("loss"), history.last().and_then(|epoch| epoch.get("val_loss")));
    /// # Ok::<(), refrain::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the recipe has no such part, or as [`trained`](Self::trained).
    pub fn evaluate(
        &self,
        data: &RecipeData,
        weights: &Weights,
        part: DataPart,
        batch_size: Option<usize>,
    ) -> Result<Logs> {
        let samples = self.part(data, part)?;
        let batch_size = batch_size.unwrap_or(match part {
            DataPart::Validation => self.fit.validation_batch_size(),
            DataPart::Train | DataPart::Test => self.fit.batch_size,
        });
        let mut trainer = self.trained(data, weights)?;
        let output_shape = trainer.learner().model()?.output_shape().to_vec();
        self.check_loss(data, &output_shape).map_err(|e| e.context(&self.origin))?;
        match self.fit.validation_steps() {
            Some(steps) if part == DataPart::Validation => {
                let most = steps.saturating_mul(self.fit.validation_batch_size());
                let samples = Part::new(&samples, 0..samples.len().min(most))?;
                trainer.evaluate(&samples, batch_size)
            }
            _ => trainer.evaluate(&samples, batch_size),
        }
    }

    fn part<'a>(&self, data: &'a RecipeData, part: DataPart) -> Result<Part<'a, RecipeSamples>> {
        let missing = |why: &str| Error::config(format!("{}: {why}", self.origin));
        match part {
            DataPart::Train => Ok(data.train()),
            DataPart::Validation => data.validation().ok_or_else(|| {
                missing(
                    "the recipe holds nothing out to validate on: [data] has neither \
                     validation_split nor validation = \"test\"; evaluate on --data train",
                )
            }),
            DataPart::Test => data.test().ok_or_else(|| {
                let half = data.half_test().map(|half| format!(" ({half})")).unwrap_or_default();
                missing(&format!(
                    "the recipe's data source has no test part of its own{half}; evaluate on --data \
                     validation, or --data train"
                ))
            }),
        }
    }
}
