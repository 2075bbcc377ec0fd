//! A learner that plays metric values from a list.

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::learner::{Clip, Learner, ModelAccess, TrainStep};
use crate::logs::Logs;
use crate::testing::Curve;
use crate::weights::Weights;

/// Metric values to be played to callbacks: one value an epoch, the last one repeated. A second
/// `fit` of the same learner goes on in the list where the first ended.
///
/// Validation plays the values named `val_*`, where there are some, else the same as training. The
/// model has one weight, `w`, which holds the number of updates made so far, so that a test sees
/// which epoch's weights were restored.
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
    train: Vec<(String, Curve)>,
    validation: Vec<(String, Curve)>,
    /// The update that goes wrong, from 1, and the rate above which it does.
    diverges: Option<(u64, f64)>,
}

impl Script {
    /// One loss an epoch.
    pub fn losses(losses: &[f64]) -> Self {
        Self::new(&["loss"], losses.iter().map(|loss| vec![*loss]).collect())
    }

    /// Several metrics: names, `loss` first, and one row of values an epoch.
    pub fn new(names: &[&str], rows: Vec<Vec<f64>>) -> Self {
        let column = |i: usize| rows.iter().map(|row| row.get(i).copied()).collect();
        Self::curves(names.iter().enumerate().map(|(i, &name)| (name, column(i))))
    }

    /// Several metrics by name, `loss` first; those named `val_*` are played in validation.
    ///
    /// # Example
    /// ```
    /// use refrain_core::testing::{Curve, Script};
    /// use refrain_core::{Fit, Trainer};
    ///
    /// let script = Script::curves([
    ///     ("loss", Curve::decreasing(3)),
    ///     ("val_loss", Curve::values(&[0.9, 0.8, 0.85]).missing(1)),
    /// ]);
    /// let data = script.data();
    /// let mut trainer = Trainer::new(script.learner(), 0.1);
    /// let history = trainer.fit(&data, Fit::epochs(3).validation_data(&data).verbose(0))?;
    /// assert_eq!(history.column("val_loss"), [Some(0.9), None, Some(0.85)]);
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn curves<S: AsRef<str>>(curves: impl IntoIterator<Item = (S, Curve)>) -> Self {
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (name, curve) in curves {
            match name.as_ref().strip_prefix("val_") {
                Some(bare) => validation.push((bare.to_owned(), curve)),
                None => train.push((name.as_ref().to_owned(), curve)),
            }
        }
        Self { train, validation, diverges: None }
    }

    /// The update `update`, counted from 1, makes the weight NaN where the learning rate is above
    /// `rate`; then the metrics are NaN too.
    ///
    /// # Example
    /// ```
    /// use refrain_core::testing::Script;
    /// use refrain_core::{Fit, Trainer};
    ///
    /// let script = Script::losses(&[3.0, 2.0]).diverges(2, 0.01);
    /// for (rate, is_nan) in [(0.1, true), (0.01, false)] {
    ///     let mut trainer = Trainer::new(script.learner(), rate);
    ///     let history = trainer.fit(&script.data(), Fit::epochs(2).verbose(0))?;
    ///     assert_eq!(history.last().and_then(|logs| logs.get("loss")).unwrap().is_nan(), is_nan);
    /// }
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn diverges(mut self, update: u64, rate: f64) -> Self {
        self.diverges = Some((update, rate));
        self
    }

    fn curve(&self, name: &str, is_validation: bool) -> Option<&Curve> {
        let find = |curves: &'_ [(String, Curve)]| curves.iter().position(|(key, _)| key == name);
        let validation = || Some(&self.validation[find(&self.validation)?].1);
        let train = || Some(&self.train[find(&self.train)?].1);
        if is_validation { validation().or_else(train) } else { train() }
    }

    /// Names of what training and validation play, without `val_`.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.train.iter().map(|(name, _)| name.as_str()).collect();
        for (name, _) in &self.validation {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// A learner that plays the values.
    pub fn learner(&self) -> ScriptLearner {
        ScriptLearner {
            script: self.clone(),
            epoch: 0,
            has_trained: false,
            is_evaluating: false,
            weight: 0.0,
            gradient: None,
            kept: 0,
            momentum: None,
            optimizer_updates: 0.0,
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
    is_evaluating: bool,
    weight: f32,
    gradient: Option<f64>,
    kept: usize,
    momentum: Option<f64>,
    optimizer_updates: f32,
    reads: usize,
}

impl ScriptLearner {
    /// Updates of the weights so far; what a snapshot of the weights holds.
    pub fn updates(&self) -> u64 {
        self.weight as u64
    }

    /// Batches whose gradients are kept for the next update.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// The momentum that was set last.
    pub fn momentum(&self) -> Option<f64> {
        self.momentum
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
        let bytes = weights.get("w").and_then(|tensor| (&*tensor.bytes).try_into().ok());
        let bytes = bytes.ok_or_else(|| Error::data("no tensor `w` of one f32"))?;
        self.weight = f32::from_le_bytes(bytes);
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64> {
        self.gradient.ok_or_else(|| Error::engine("there are no gradients now"))
    }

    fn gradient_norms(&mut self) -> Result<Vec<(String, f64)>> {
        Ok(vec![("w".to_owned(), self.gradient_norm()?)])
    }

    fn clip_gradients(&mut self, clip: Clip) -> Result {
        let (Clip::Value(most) | Clip::Norm(most) | Clip::GlobalNorm(most)) = clip;
        self.gradient = Some(self.gradient_norm()?.min(most));
        Ok(())
    }

    fn set_momentum(&mut self, momentum: f64) -> Result {
        self.momentum = Some(momentum);
        Ok(())
    }

    fn optimizer_state(&self) -> Result<Weights> {
        Ok(Weights::from_f32([("updates", vec![1], vec![self.optimizer_updates])]))
    }

    fn set_optimizer_state(&mut self, state: &Weights) -> Result {
        let bytes = state.get("updates").and_then(|tensor| (&*tensor.bytes).try_into().ok());
        self.optimizer_updates = bytes.map_or(0.0, f32::from_le_bytes);
        Ok(())
    }

    fn read_metrics(&mut self, logs: &mut Logs) -> Result {
        self.reads += 1;
        let epoch = self.epoch.saturating_sub(1);
        for name in self.script.names() {
            let curve = self.script.curve(name, self.is_evaluating);
            if let Some(value) = curve.and_then(|curve| curve.at(epoch)) {
                let value = if self.weight.is_nan() { f64::NAN } else { value };
                logs.insert(name, value);
            }
        }
        Ok(())
    }
}

impl Learner for ScriptLearner {
    type Batch = usize;
    type Output = Vec<f64>;

    fn metric_names(&self) -> Vec<String> {
        self.script.names().into_iter().map(str::to_owned).collect()
    }

    fn forward_backward(&mut self, batch: usize, _: TrainStep<'_>) -> Result<usize> {
        if !self.has_trained {
            self.has_trained = true;
            self.epoch += 1;
        }
        self.gradient = Some(1.0);
        Ok(batch)
    }

    fn apply_gradients(&mut self, learning_rate: f64) -> Result {
        self.gradient.take().ok_or_else(|| Error::engine("there are no gradients to apply"))?;
        self.weight += 1.0;
        let is_at = |(update, rate)| self.updates() == update && learning_rate > rate;
        if self.script.diverges.is_some_and(is_at) {
            self.weight = f32::NAN;
        }
        self.optimizer_updates += 1.0;
        self.kept = 0;
        Ok(())
    }

    fn clear_gradients(&mut self) {
        self.gradient = None;
        self.kept = 0;
    }

    fn accumulate_gradients(&mut self) -> Result {
        self.gradient.take().ok_or_else(|| Error::engine("there are no gradients to keep"))?;
        self.kept += 1;
        Ok(())
    }

    fn evaluate(&mut self, batch: usize, _: Option<&[f32]>) -> Result<usize> {
        self.is_evaluating = true;
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
        self.is_evaluating = false;
    }

    fn step_state(&self) -> Result<Weights> {
        let kept = [self.epoch as f32, f32::from(self.has_trained), self.kept as f32];
        let mut state = Weights::from_f32([("place", vec![3], kept.to_vec())]);
        if let Some(momentum) = self.momentum {
            state
                .tensors
                .extend(Weights::from_f32([("momentum", vec![1], vec![momentum as f32])]).tensors);
        }
        Ok(state)
    }

    fn set_step_state(&mut self, state: &Weights) -> Result {
        let (epoch, has_trained, kept) = match state.f32s("place").as_deref() {
            Some([epoch, has_trained, kept]) => (*epoch, *has_trained, *kept),
            _ => (0.0, 0.0, 0.0),
        };
        (self.epoch, self.has_trained, self.kept) =
            (epoch as usize, has_trained > 0.0, kept as usize);
        self.momentum = state.f32s("momentum").and_then(|x| x.first().map(|x| f64::from(*x)));
        Ok(())
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
