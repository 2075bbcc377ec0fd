//! The engine seam: what the loop, and what callbacks, need from a model.

use std::any::Any;

use crate::error::Result;
use crate::logs::Logs;
use crate::schedule::Rate;
use crate::weights::Weights;

/// What a callback may ask of the model. No tensors: callbacks depend on no engine.
pub trait ModelAccess: Any {
    /// A snapshot of all weights, exact to the bit.
    ///
    /// Cost: a copy of every weight to the host.
    ///
    /// # Errors
    /// When the device cannot be read.
    fn weights(&self) -> Result<Weights>;

    /// Sets all weights to those of a snapshot.
    ///
    /// # Errors
    /// When a name or shape does not fit, naming the tensor; the model stays as it was.
    fn set_weights(&mut self, weights: &Weights) -> Result;

    /// L2 norm over all gradients of the batch; valid in `on_backward_end`.
    ///
    /// Cost: one reduction over all parameters and one read from the device.
    ///
    /// # Errors
    /// When there are no gradients now.
    fn gradient_norm(&mut self) -> Result<f64>;

    /// L2 norm of each parameter's gradient, by the parameter's name; valid in `on_backward_end`.
    ///
    /// Cost: a reduction over all parameters and one read from the device.
    ///
    /// # Errors
    /// When there are no gradients now.
    fn gradient_norms(&mut self) -> Result<Vec<(String, f64)>>;

    /// Clips the gradients of the batch; valid in `on_backward_end`. Where gradients of earlier
    /// batches are kept, the mean of all of them is clipped, as in Keras: what the update would be
    /// made with.
    ///
    /// Cost: one or two passes over all gradients, no read from the device.
    ///
    /// # Errors
    /// When there are no gradients now.
    fn clip_gradients(&mut self, clip: Clip) -> Result;

    /// Sets the optimizer's momentum (Adam: β₁) from the next update on.
    ///
    /// # Errors
    /// When the optimizer has none, or the value is not in 0..1.
    fn set_momentum(&mut self, momentum: f64) -> Result;

    /// What the optimizer remembers (momenta, step count), as named tensors, exact to the bit.
    ///
    /// Cost: a copy of all of it to the host.
    ///
    /// # Errors
    /// When the device cannot be read.
    fn optimizer_state(&self) -> Result<Weights>;

    /// Sets what the optimizer remembers; an empty state is that of a new optimizer.
    ///
    /// # Errors
    /// When a name or shape does not fit; the optimizer stays as it was.
    fn set_optimizer_state(&mut self, state: &Weights) -> Result;

    /// Adds loss and metrics since [`Learner::reset_metrics`] to `logs`: means weighted by samples.
    ///
    /// Cost: one read from the device. Callbacks use [`Run::batch_logs`](crate::Run::batch_logs),
    /// which reads once however many look.
    ///
    /// # Errors
    /// When the device cannot be read.
    fn read_metrics(&mut self, logs: &mut Logs) -> Result;
}

/// How gradients are clipped, by Keras' formulas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Each element to `-value..=value`; Keras' `clipvalue`.
    Value(f64),
    /// Each parameter's gradient to an L2 norm of at most this; Keras' `clipnorm`.
    Norm(f64),
    /// All gradients together to an L2 norm of at most this; Keras' `global_clipnorm`.
    GlobalNorm(f64),
}

/// How one batch is to be trained.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrainStep<'a> {
    /// A weight for each sample of the batch, from `sample_weight` or `class_weight`.
    pub sample_weight: Option<&'a [f32]>,
    /// Seed of everything random in this step (dropout); a function of (seed, step).
    pub seed: u64,
}

/// A model with its loss, metrics and optimizer: whatever can take a training step.
///
/// The loop calls [`forward_backward`](Self::forward_backward), then
/// [`apply_gradients`](Self::apply_gradients), [`clear_gradients`](Self::clear_gradients) or
/// [`accumulate_gradients`](Self::accumulate_gradients).
/// Losses and metrics accumulate inside, on the device, until somebody reads them.
pub trait Learner: ModelAccess {
    /// What one step is trained on.
    type Batch;
    /// What the model predicts for a batch.
    type Output: Any;

    /// Whether this can be trained at all: ranges of the optimizer's options, names that clash.
    /// Called once before the first batch.
    ///
    /// # Errors
    /// A configuration error that says what is allowed.
    fn check(&self) -> Result {
        Ok(())
    }

    /// Names of what [`ModelAccess::read_metrics`] adds: `loss` first, then the metrics.
    fn metric_names(&self) -> Vec<String>;

    /// Forward and backward pass of one batch; returns its number of samples.
    ///
    /// Adds to the running loss and metrics, as they are before the update. Gradients stay inside.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    fn forward_backward(&mut self, batch: Self::Batch, step: TrainStep<'_>) -> Result<usize>;

    /// Updates the weights with the gradients of the last backward pass.
    ///
    /// # Errors
    /// When there are no gradients.
    fn apply_gradients(&mut self, learning_rate: f64) -> Result;

    /// Called once after the last step of a run that did not fail, before callbacks are told that it
    /// ended: for what an optimizer leaves to the end, such as a moving average that the weights
    /// become. Does nothing by default.
    ///
    /// # Errors
    /// When there is no model.
    fn end_training(&mut self) -> Result {
        Ok(())
    }

    /// Throws the gradients away, those that were kept too.
    fn clear_gradients(&mut self);

    /// Keeps the gradients of the last backward pass: the next update is made with the mean of
    /// what was kept and its own.
    ///
    /// # Errors
    /// When there are no gradients.
    fn accumulate_gradients(&mut self) -> Result;

    /// Forward pass without training; returns the number of samples. Adds to the running loss
    /// and metrics.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    fn evaluate(&mut self, batch: Self::Batch, sample_weight: Option<&[f32]>) -> Result<usize>;

    /// Forward pass without training, returning outputs and the number of samples.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    fn predict(&mut self, batch: Self::Batch) -> Result<(Self::Output, usize)>;

    /// Joins the outputs of several batches along the sample axis.
    ///
    /// # Errors
    /// When there are none, or they do not fit.
    fn concat(&mut self, outputs: Vec<Self::Output>) -> Result<Self::Output>;

    /// Forgets the running loss and metrics.
    fn reset_metrics(&mut self);

    /// What is kept between two steps beside weights and optimizer, as named tensors, exact to the
    /// bit: the sums behind the running loss and metrics, gradients that are kept. Without it a run
    /// could not go on in the middle of an epoch.
    ///
    /// Cost: a copy of all of it to the host. Nothing else changes by it.
    ///
    /// # Errors
    /// When the device cannot be read.
    fn step_state(&self) -> Result<Weights>;

    /// Sets what is kept between two steps; an empty state: nothing is.
    ///
    /// # Errors
    /// When a name or shape does not fit.
    fn set_step_state(&mut self, state: &Weights) -> Result;
}

/// Turns a model, an optimizer and a loss into a learner; what
/// [`Trainer::compile`](crate::Trainer::compile) calls. Engines implement it for their optimizers.
///
/// The optimizer is `Self` because models belong to users: the orphan rule lets an engine
/// implement a foreign trait for its own types only, not for every model.
pub trait IntoLearner<M, S> {
    /// The engine's learner.
    type Learner: Learner;

    /// The learner, and the learning rate that the optimizer was given.
    fn into_learner(self, model: M, loss: S) -> (Self::Learner, Rate);
}

/// A learner that can track the metric `M` beside its loss.
pub trait TrackMetric<M>: Learner {
    /// Adds a metric; its name goes to the end of [`Learner::metric_names`].
    fn track_metric(&mut self, metric: M);
}
