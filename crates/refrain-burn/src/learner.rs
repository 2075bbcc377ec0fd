//! The engine: one training step of a Burn module.

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use refrain_core::weights::Weights;
use refrain_core::{Clip, Error, Learner, Logs, ModelAccess, Result, TrackMetric, TrainStep};

use crate::dataset::Batch;
use crate::forward::{Forward, Pass};
use crate::gradients::{self, Kept};
use crate::losses::Loss;
use crate::metrics::{Metric, check_names};
use crate::optimizer_state;
use crate::optimizers::{LossScale, Optimizer, ParameterInfo};
use crate::samples::Samples;
use crate::step_state::{self, Counted, StepState};
use crate::weights::{self, Shapes};

/// Multiplications from which on Burn splits a product of matrices between threads. A layer has no
/// fewer than weights times samples.
const SPLIT: usize = 192 * 192 * 192;

type BatchOf<M, S> = Batch<<M as Forward>::Input, <S as Loss<<M as Forward>::Output>>::Targets>;

/// A Burn module with its loss, metrics and optimizer.
///
/// Made by `Trainer::compile(model, optimizer, loss)`. It trains on the device of the model's
/// parameters, whether or not that device was made for autodiff.
pub struct BurnLearner<M: Forward, S: Loss<M::Output>> {
    /// `None` only while an update runs, or after one panicked.
    model: Option<M>,
    /// The model without autodiff, from the first evaluation after a step until the next step: a
    /// second owner of the weights while they are updated would turn the update in place into a
    /// copy.
    inference: Option<M>,
    optimizer: Box<dyn Optimizer>,
    loss: S,
    /// The loss on logits, where the model can leave its closing activation out.
    logits_loss: Option<S>,
    metrics: Vec<Box<dyn Metric<M::Output, S::Targets>>>,
    gradients: Option<Gradients>,
    /// Batches of which `gradients` are the mean: more than one after a clip, which is of the mean.
    gradient_batches: usize,
    /// Of batches whose update was put off.
    kept: Kept,
    /// Sums over samples since the last reset, on the device: the loss's one, then each metric's.
    sums: Vec<Tensor<1>>,
    samples: usize,
    /// The sum of the samples' weights; of samples without one, their number.
    weight: f64,
    /// Weights, and samples of the last batch: how large the work is.
    parameters: usize,
    last_samples: usize,
    /// With autodiff.
    device: Device,
    /// The same device without.
    plain_device: Device,
    device_reads: u64,
}

impl<M: Forward, S: Loss<M::Output>> BurnLearner<M, S> {
    /// A learner of `model`. The learning rate is handed to each step.
    pub fn new(model: M, mut optimizer: Box<dyn Optimizer>, loss: S) -> Self {
        let model = model.train();
        optimizer.meet(&weights::parameter_infos(&model));
        let device = model.devices().into_iter().next().unwrap_or_default().autodiff();
        let (trained, frozen) = weights::count(&model);
        let logits_loss = model.closing_activation().and_then(|closing| loss.on_logits(closing));
        Self {
            model: Some(model),
            inference: None,
            optimizer,
            loss,
            logits_loss,
            metrics: Vec::new(),
            gradients: None,
            gradient_batches: 0,
            kept: Kept::default(),
            sums: Vec::new(),
            samples: 0,
            weight: 0.0,
            parameters: trained + frozen,
            last_samples: 0,
            plain_device: device.clone().without_autodiff(),
            device,
            device_reads: 0,
        }
    }

    /// The model as it is trained: with autodiff.
    ///
    /// # Errors
    /// After a panic in the middle of an update.
    pub fn model(&self) -> Result<&M> {
        self.model.as_ref().ok_or_else(lost_model)
    }

    /// The model, for inference: without autodiff.
    ///
    /// # Errors
    /// After a panic in the middle of an update.
    pub fn into_model(self) -> Result<M> {
        self.model.map(|model| model.valid()).ok_or_else(lost_model)
    }

    /// What the optimizer multiplies the loss by, where it does.
    pub fn loss_scale(&self) -> Option<&LossScale> {
        self.optimizer.current_loss_scale()
    }

    /// How many numbers the optimizer will remember once it has made a step; known before.
    ///
    /// # Errors
    /// After a panic in the middle of an update.
    pub fn optimizer_state_len(&self) -> Result<usize> {
        let trained = self.parameters(true)?;
        let lengths = trained.iter().map(|one| self.optimizer.state_len(one));
        Ok(lengths.fold(0, usize::saturating_add))
    }

    /// Names of all weights, as optimizers and files have them: `dense.weight`.
    ///
    /// # Errors
    /// After a panic in the middle of an update.
    pub fn parameter_names(&self) -> Result<Vec<String>> {
        Ok(self.parameters(false)?.into_iter().map(|one| one.name).collect())
    }

    /// Names of the weights that take gradients, as [`parameter_names`](Self::parameter_names).
    ///
    /// # Errors
    /// After a panic in the middle of an update.
    pub fn trained_parameter_names(&self) -> Result<Vec<String>> {
        Ok(self.parameters(true)?.into_iter().map(|one| one.name).collect())
    }

    fn parameters(&self, is_trained_only: bool) -> Result<Vec<ParameterInfo>> {
        let model = self.model()?;
        let mut shapes = Shapes::default();
        model.visit(&mut shapes);
        let mut parameters = weights::parameter_infos(model);
        let is_trained = |one: &ParameterInfo| shapes.trained.iter().any(|(id, _)| *id == one.id);
        parameters.retain(|one| !is_trained_only || is_trained(one));
        Ok(parameters)
    }

    /// How often values were read back from the device so far: once for each reading of metrics,
    /// weights or the gradients' norm, never for a step.
    pub fn device_reads(&self) -> u64 {
        self.device_reads
    }

    /// Forward pass of one batch with loss and metrics.
    fn compare(
        &self,
        model: &M,
        batch: Batch<M::Input, S::Targets>,
        pass: Pass,
        sample_weight: Option<&[f32]>,
    ) -> Result<Compared> {
        let plain = &self.plain_device;
        let device = if pass.seed.is_some() { &self.device } else { plain };
        let samples = batch.inputs.samples();
        let targets = batch.targets.ok_or_else(|| {
            Error::data(
                "the batch has no targets, and a loss needs them; give the data set labels or \
                 targets",
            )
        })?;
        if samples == 0 || targets.samples() != samples {
            return Err(Error::data(format!(
                "{samples} inputs and {} targets in one batch; there must be one for each, and at \
                 least one",
                targets.samples()
            )));
        }
        model.check_input(&batch.inputs)?;

        let loss = self.logits_loss.as_ref().unwrap_or(&self.loss);
        let pass = pass.logits(self.logits_loss.is_some());
        let (outputs, penalty) = model.penalized_pass(batch.inputs.onto(device), pass);
        if let (Some(largest), Some(classes)) = (batch.largest_label, loss.classes(&outputs)) {
            largest.check(classes)?;
        }
        loss.check(&outputs, &targets)?;
        for metric in &self.metrics {
            if let (Some(largest), Some(classes)) =
                (batch.largest_label, metric.label_classes(&outputs))
            {
                largest.check(classes)?;
            }
        }

        let mut metrics = Vec::with_capacity(self.metrics.len());
        if !self.metrics.is_empty() {
            // Metrics are no part of what is differentiated.
            let mut outputs = outputs.clone().onto(plain);
            if pass.logits {
                outputs = model.close(outputs);
            }
            let targets = targets.clone().onto(plain);
            for metric in &self.metrics {
                metric.check_batch(&outputs, &targets)?;
                let mut values = metric.values(outputs.clone(), targets.clone());
                if let Some(weights) = sample_weight.filter(|_| metric.is_weighted()) {
                    let [samples, sums] = values.dims();
                    let weights = weights_on(weights, samples, plain)?.unsqueeze_dim::<2>(1);
                    values = values * weights.expand([samples, sums]);
                }
                metrics.push(values.sum_dim(0).squeeze_dim(0));
            }
        }
        let targets = targets.onto(device);
        let (loss, weight) = match sample_weight {
            None => (loss.sum(outputs, targets), samples as f64),
            Some(weights) => {
                let weight = weights.iter().map(|weight| f64::from(*weight)).sum();
                (weigh(loss.forward(outputs, targets), weights)?.sum(), weight)
            }
        };
        // A batch's loss is the mean of its sum, and the penalty is no matter of its size.
        let loss = match penalty {
            Some(penalty) => loss + penalty * samples as f64,
            None => loss,
        };
        Ok(Compared { loss, metrics, samples, weight })
    }

    /// Does work on a batch of so many samples. Where parts of it are large enough to be split
    /// between the CPU's threads, on one of those threads: what is split there is begun at once, while
    /// each piece that another thread hands over waits until one of them wakes up. Other devices have
    /// a queue for each thread, and so get all their work from one.
    fn on_pool<R: Send>(&mut self, samples: usize, work: impl FnOnce(&mut Self) -> R + Send) -> R {
        let is_large = self.parameters.saturating_mul(samples) >= SPLIT;
        let is_worth_it = is_large && self.plain_device == Device::flex();
        if is_worth_it && rayon::current_num_threads() > 1 {
            rayon::scope(|_| work(self))
        } else {
            work(self)
        }
    }

    /// Forward and backward pass of one batch.
    fn differentiate(&mut self, batch: BatchOf<M, S>, step: TrainStep<'_>) -> Result<usize> {
        self.last_samples = batch.inputs.samples();
        self.inference = None;
        self.gradients = None;
        // For dropout and whatever else draws from the device's random numbers.
        self.plain_device.seed(step.seed);
        let pass = Pass::training(step.seed);
        let mut compared = self.compare(self.model()?, batch, pass, step.sample_weight)?;
        let (loss, samples) = (compared.loss.clone(), compared.samples);
        if !loss.is_tracked() {
            return Err(Error::engine(
                "the loss does not depend on the model's weights; does `forward` detach them?",
            ));
        }
        // Divided by the number of samples and not by the sum of their weights, as in Keras.
        let loss = loss.div_scalar(samples as f64);
        let gradients = match self.optimizer.current_loss_scale().map(LossScale::factor) {
            None => loss.backward(),
            Some(factor) => {
                let mut gradients = loss.mul_scalar(factor).backward();
                gradients::divide(self.model()?, &mut gradients, factor);
                gradients
            }
        };
        self.gradients = Some(gradients);
        self.gradient_batches = 1;
        compared.loss = compared.loss.without_autodiff();
        self.accumulate(compared)?;
        Ok(samples)
    }

    /// Updates the weights.
    fn update(&mut self, learning_rate: f64) -> Result {
        self.inference = None;
        self.merge_kept()?;
        let mut gradients = self.gradients.take().ok_or_else(no_gradients)?;
        if self.optimizer.current_loss_scale().is_some_and(LossScale::is_dynamic) {
            let zeros = gradients::zeros_of_finite(self.model()?, &gradients);
            let is_finite = self.read(zeros)?.iter().all(|zero| *zero == 0.0);
            self.optimizer.adapt_loss_scale(is_finite);
            if !is_finite {
                // The scale was too large: it is halved, and this step is not made.
                return Ok(());
            }
        }
        let model = self.model.take().ok_or_else(lost_model)?;
        if let Some(clip) = self.optimizer.clip() {
            gradients::clip(&model, &mut gradients, clip);
        }
        self.optimizer.begin_step(learning_rate);
        let model = gradients::update(model, &mut gradients, &mut *self.optimizer);
        self.model = Some(model.constrained());
        Ok(())
    }

    /// Loss and metrics of one batch.
    fn assess(&mut self, batch: BatchOf<M, S>, sample_weight: Option<&[f32]>) -> Result<usize> {
        self.inference()?;
        let model = self.inference.as_ref().ok_or_else(lost_model)?;
        let compared = self.compare(model, batch, Pass::inference(), sample_weight)?;
        let samples = compared.samples;
        self.accumulate(compared)?;
        Ok(samples)
    }

    /// Adds a batch to the running sums.
    fn accumulate(&mut self, batch: Compared) -> Result {
        let Compared { loss, metrics, samples, weight } = batch;
        let sums: Vec<_> = std::iter::once(loss).chain(metrics).collect();
        if self.sums.iter().zip(&sums).any(|(before, new)| before.dims() != new.dims()) {
            return Err(Error::data(
                "a metric has another number of sums than in the batches before; the same options \
                 must give the same number",
            ));
        }
        self.sums = if self.sums.is_empty() {
            sums
        } else {
            std::mem::take(&mut self.sums).into_iter().zip(sums).map(|(a, b)| a + b).collect()
        };
        self.samples += samples;
        self.weight += weight;
        Ok(())
    }

    /// Reads tensors, one after the other. The one place, beside the weights, where values leave the
    /// device.
    fn read(&mut self, scalars: Vec<Tensor<1>>) -> Result<Vec<f64>> {
        self.device_reads += 1;
        let data = Tensor::cat(scalars, 0).try_into_data_dtype(DType::F64).map_err(|error| {
            Error::engine("values cannot be read from the device").with_source(error)
        })?;
        data.as_slice::<f64>().map(<[f64]>::to_vec).map_err(|error| {
            Error::engine(format!("values read from the device are no numbers: {error:?}"))
        })
    }

    /// Names of the parameters that have a gradient, and its squared L2 norm.
    fn squared_gradient_norms(&mut self) -> Result<(Vec<String>, Vec<f64>)> {
        let gradients = self.gradients.as_ref().ok_or_else(no_gradients)?;
        let (names, squared): (Vec<_>, Vec<_>) =
            gradients::squared_norms(self.model()?, gradients).into_iter().unzip();
        let squared = if squared.is_empty() { Vec::new() } else { self.read(squared)? };
        Ok((names, squared))
    }

    /// Makes the gradients the mean of the last batch's and of all that were kept.
    fn merge_kept(&mut self) -> Result {
        let gradients = self.gradients.as_mut().ok_or_else(no_gradients)?;
        let model = self.model.as_ref().ok_or_else(lost_model)?;
        if !self.kept.is_empty() {
            self.gradient_batches = self.kept.merge_into(model, gradients);
        }
        Ok(())
    }

    /// The model without autodiff; made where there is none.
    fn inference(&mut self) -> Result<&M> {
        if self.inference.is_none() {
            self.inference = Some(self.model()?.valid());
        }
        self.inference.as_ref().ok_or_else(lost_model)
    }
}

/// What a forward pass with loss and metrics gives: sums over the batch, on the device.
struct Compared {
    loss: Tensor<1>,
    metrics: Vec<Tensor<1>>,
    samples: usize,
    weight: f64,
}

impl<M: Forward, S: Loss<M::Output>> ModelAccess for BurnLearner<M, S> {
    fn weights(&self) -> Result<Weights> {
        weights::export(&self.model()?.valid())
    }

    fn set_weights(&mut self, new: &Weights) -> Result {
        let model = self.model()?;
        // Running statistics that wait to be merged would overwrite the new ones; `valid` merges
        // them.
        drop(model.valid());
        weights::check(model, new)?;
        self.inference = None;
        // Gradients belong to the weights that they were computed with.
        self.clear_gradients();
        let model = self.model.take().ok_or_else(lost_model)?;
        self.model = Some(weights::import(model, new));
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64> {
        let (_, squared) = self.squared_gradient_norms()?;
        Ok(squared.iter().sum::<f64>().sqrt())
    }

    fn gradient_norms(&mut self) -> Result<Vec<(String, f64)>> {
        let (names, squared) = self.squared_gradient_norms()?;
        Ok(names.into_iter().zip(squared.into_iter().map(f64::sqrt)).collect())
    }

    fn clip_gradients(&mut self, clip: Clip) -> Result {
        let (Clip::Value(most) | Clip::Norm(most) | Clip::GlobalNorm(most)) = clip;
        if !(most.is_finite() && most > 0.0) {
            return Err(Error::config(format!(
                "gradients were to be clipped to {most}; allowed: a finite number above 0"
            )));
        }
        self.merge_kept()?;
        let mut gradients = self.gradients.take().ok_or_else(no_gradients)?;
        gradients::clip(self.model()?, &mut gradients, clip);
        self.gradients = Some(gradients);
        Ok(())
    }

    fn set_momentum(&mut self, momentum: f64) -> Result {
        self.optimizer.set_momentum(momentum)
    }

    fn optimizer_state(&self) -> Result<Weights> {
        optimizer_state::export(self.model()?, &*self.optimizer)
    }

    fn set_optimizer_state(&mut self, state: &Weights) -> Result {
        let model = self.model.as_ref().ok_or_else(lost_model)?;
        optimizer_state::import(model, &mut *self.optimizer, state)
    }

    fn read_metrics(&mut self, logs: &mut Logs) -> Result {
        if self.samples == 0 {
            return Ok(());
        }
        let lengths: Vec<usize> = self.sums.iter().map(|sum| sum.dims()[0]).collect();
        let sums = self.read(self.sums.clone())?;
        let mut rest = sums.as_slice();
        let mut sums = lengths.into_iter().filter_map(|length| {
            let (own, others) = rest.split_at_checked(length)?;
            rest = others;
            Some(own)
        });
        let samples = self.samples as f64;
        if let Some([loss]) = sums.next() {
            logs.insert("loss", loss / samples);
        }
        for (metric, sums) in self.metrics.iter().zip(sums) {
            let weight = if metric.is_weighted() { self.weight } else { samples };
            logs.insert(metric.name(), metric.result(sums, weight));
        }
        Ok(())
    }
}

impl<M: Forward, S: Loss<M::Output>> Learner for BurnLearner<M, S> {
    type Batch = Batch<M::Input, S::Targets>;
    type Output = M::Output;

    fn check(&self) -> Result {
        self.optimizer.check()?;
        check_names(&self.metric_names())?;
        let (trained, frozen) = weights::count(self.model()?);
        if trained == 0 {
            return Err(Error::config(format!(
                "the model has nothing to train: {frozen} weights, none of which take gradients"
            )));
        }
        Ok(())
    }

    fn metric_names(&self) -> Vec<String> {
        let metrics = self.metrics.iter().map(|metric| metric.name());
        std::iter::once("loss".to_owned()).chain(metrics).collect()
    }

    fn forward_backward(&mut self, batch: Self::Batch, step: TrainStep<'_>) -> Result<usize> {
        self.on_pool(batch.inputs.samples(), |learner| learner.differentiate(batch, step))
    }

    fn apply_gradients(&mut self, learning_rate: f64) -> Result {
        if !learning_rate.is_finite() {
            return Err(Error::config(format!(
                "the learning rate is {learning_rate}; allowed: a finite number"
            )));
        }
        // Where the batch was worth it, its gradients are.
        self.on_pool(self.last_samples, |learner| learner.update(learning_rate))
    }

    fn end_training(&mut self) -> Result {
        let has_average = |id| self.optimizer.average(id).is_some();
        if !weights::parameters(self.model()?).iter().any(|one| has_average(one.id)) {
            return Ok(());
        }
        self.inference = None;
        let model = self.model.take().ok_or_else(lost_model)?;
        self.model = Some(gradients::with_averages(model, &*self.optimizer));
        Ok(())
    }

    fn clear_gradients(&mut self) {
        self.gradients = None;
        self.kept = Kept::default();
    }

    fn accumulate_gradients(&mut self) -> Result {
        let mut gradients = self.gradients.take().ok_or_else(no_gradients)?;
        let model = self.model.as_ref().ok_or_else(lost_model)?;
        self.kept.add(model, &mut gradients, self.gradient_batches);
        Ok(())
    }

    fn evaluate(&mut self, batch: Self::Batch, sample_weight: Option<&[f32]>) -> Result<usize> {
        self.on_pool(batch.inputs.samples(), |learner| learner.assess(batch, sample_weight))
    }

    fn predict(&mut self, batch: Self::Batch) -> Result<(M::Output, usize)> {
        self.inference()?;
        let model = self.inference.as_ref().ok_or_else(lost_model)?;
        model.check_input(&batch.inputs)?;
        let samples = batch.inputs.samples();
        let outputs = model.pass(batch.inputs.onto(&self.plain_device), Pass::inference());
        Ok((outputs, samples))
    }

    fn concat(&mut self, outputs: Vec<M::Output>) -> Result<M::Output> {
        M::Output::concat(outputs)
    }

    fn reset_metrics(&mut self) {
        self.sums.clear();
        self.samples = 0;
        self.weight = 0.0;
    }

    fn step_state(&self) -> Result<Weights> {
        let names = self.metric_names();
        let counted = Counted { samples: self.samples, weight: self.weight };
        step_state::export(self.model()?, &names, &self.sums, counted, &self.kept)
    }

    fn set_step_state(&mut self, state: &Weights) -> Result {
        let names = self.metric_names();
        let StepState { sums, counted, kept } =
            step_state::import(self.model()?, &names, &self.plain_device, state)?;
        (self.sums, self.kept) = (sums, kept);
        (self.samples, self.weight) = (counted.samples, counted.weight);
        Ok(())
    }
}

impl<M, S, X> TrackMetric<X> for BurnLearner<M, S>
where
    M: Forward,
    S: Loss<M::Output>,
    X: Metric<M::Output, S::Targets>,
{
    fn track_metric(&mut self, metric: X) {
        self.metrics.push(Box::new(metric));
        self.reset_metrics();
    }
}

/// The values times the samples' weights.
fn weigh(values: Tensor<1>, weights: &[f32]) -> Result<Tensor<1>> {
    let weights = weights_on(weights, values.dims()[0], &values.device())?;
    Ok(values * weights)
}

/// The weights of so many samples.
fn weights_on(weights: &[f32], samples: usize, device: &Device) -> Result<Tensor<1>> {
    if weights.len() != samples {
        return Err(Error::data(format!(
            "{} sample weights for {samples} samples; there must be one for each",
            weights.len()
        )));
    }
    let data = TensorData::new(weights.to_vec(), [samples]);
    let weights = Tensor::<1>::from_data(data, &device.clone().without_autodiff());
    Ok(weights.onto(device))
}

fn lost_model() -> Error {
    Error::engine("the model was lost in a panic during an update; build it anew")
}

fn no_gradients() -> Error {
    Error::engine("there are no gradients; run a forward and backward pass first")
}
