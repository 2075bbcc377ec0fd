//! A learner that plays metric values from a list.

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::learner::{Learner, ModelAccess, TrainStep};
use crate::logs::Logs;
use crate::weights::Weights;

/// Metric values to be played to callbacks: one row an epoch, the last one repeated.
///
/// Training and validation get the same values. The model has one weight, `w`, which holds the
/// number of updates made so far, so that a test sees which epoch's weights were restored.
///
/// # Example
/// ```
/// use refrain_core::testing::Script;
/// use refrain_core::{Fit, ModelAccess as _, Trainer};
///
/// let script = Script::losses(&[3.0, 2.0, 1.0]);
/// let mut trainer = Trainer::new(script.learner(), 0.1);
/// let history = trainer.fit(&script.data(), Fit::epochs(3).verbose(0))?;
/// assert_eq!(history.column("loss"), [Some(3.0), Some(2.0), Some(1.0)]);
/// assert_eq!(trainer.learner().updates(), 3);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Script {
    /// One loss an epoch.
    pub fn losses(losses: &[f64]) -> Self {
        Self::new(&["loss"], losses.iter().map(|loss| vec![*loss]).collect())
    }

    /// Several metrics: names, `loss` first, and one row of values an epoch.
    pub fn new(names: &[&str], rows: Vec<Vec<f64>>) -> Self {
        Self { names: names.iter().map(|&name| name.to_owned()).collect(), rows }
    }

    /// A learner that plays the values.
    pub fn learner(&self) -> ScriptLearner {
        ScriptLearner {
            script: self.clone(),
            epoch: 0,
            has_trained: false,
            weight: 0.0,
            gradient: None,
            reads: 0,
        }
    }

    /// Data of one sample: one batch an epoch.
    pub fn data(&self) -> ScriptData {
        ScriptData { len: 1 }
    }

    /// Data of `len` samples.
    pub fn samples(&self, len: usize) -> ScriptData {
        ScriptData { len }
    }
}

/// Plays the values of a [`Script`].
#[derive(Clone, Debug)]
pub struct ScriptLearner {
    script: Script,
    /// Epochs begun, from the first training batch on.
    epoch: usize,
    has_trained: bool,
    weight: f32,
    gradient: Option<f64>,
    reads: usize,
}

impl ScriptLearner {
    /// Updates of the weights so far; what a snapshot of the weights holds.
    pub fn updates(&self) -> u64 {
        self.weight as u64
    }

    /// How often the metrics were read: the device reads of a real engine.
    pub fn reads(&self) -> usize {
        self.reads
    }
}

impl ModelAccess for ScriptLearner {
    fn weights(&self) -> Result<Weights> {
        Ok(Weights::from_f32([("w", vec![1], vec![self.weight])]))
    }

    fn set_weights(&mut self, weights: &Weights) -> Result {
        let bytes = weights.get("w").and_then(|tensor| tensor.bytes.as_slice().try_into().ok());
        let bytes = bytes.ok_or_else(|| Error::data("no tensor `w` of one f32"))?;
        self.weight = f32::from_le_bytes(bytes);
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64> {
        self.gradient.ok_or_else(|| Error::engine("there are no gradients now"))
    }

    fn read_metrics(&mut self, logs: &mut Logs) -> Result {
        self.reads += 1;
        let index = self.epoch.saturating_sub(1).min(self.script.rows.len().saturating_sub(1));
        let row = self.script.rows.get(index).map_or(&[][..], Vec::as_slice);
        for (name, value) in self.script.names.iter().zip(row) {
            logs.insert(name.as_str(), *value);
        }
        Ok(())
    }
}

impl Learner for ScriptLearner {
    type Batch = usize;
    type Output = Vec<f64>;

    fn metric_names(&self) -> Vec<String> {
        self.script.names.clone()
    }

    fn forward_backward(&mut self, batch: usize, _: TrainStep<'_>) -> Result<usize> {
        if !self.has_trained {
            self.has_trained = true;
            self.epoch += 1;
        }
        self.gradient = Some(1.0);
        Ok(batch)
    }

    fn apply_gradients(&mut self, _: f64) -> Result {
        self.gradient.take().ok_or_else(|| Error::engine("there are no gradients to apply"))?;
        self.weight += 1.0;
        Ok(())
    }

    fn clear_gradients(&mut self) {
        self.gradient = None;
    }

    fn evaluate(&mut self, batch: usize, _: Option<&[f32]>) -> Result<usize> {
        Ok(batch)
    }

    fn predict(&mut self, batch: usize) -> Result<(Vec<f64>, usize)> {
        Ok((vec![0.0; batch], batch))
    }

    fn concat(&mut self, outputs: Vec<Vec<f64>>) -> Result<Vec<f64>> {
        Ok(outputs.concat())
    }

    fn reset_metrics(&mut self) {
        self.has_trained = false;
    }
}

/// Samples without content; a batch is their number.
#[derive(Clone, Copy, Debug)]
pub struct ScriptData {
    len: usize,
}

impl Dataset for ScriptData {
    type Batch = usize;

    fn len(&self) -> usize {
        self.len
    }

    fn batch(&self, indices: &[usize]) -> Result<usize> {
        Ok(indices.len())
    }

    fn class(&self, index: usize) -> Option<usize> {
        Some(index % 10)
    }
}
