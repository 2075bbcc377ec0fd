//! A loss of labels that are read off a sequence, wherever in it they are.

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Bool, Int, Tensor};
use refrain_core::{Error, Result};

use super::{Loss, log_sum_exp};

pub(super) const NAME: &str = "ctc";

/// The logarithm of what has no probability: finite, so that differences of it are numbers, and far
/// below all that steps add up to.
const NOTHING: f32 = -1e30;

/// Connectionist temporal classification, Keras' `CTC`: how likely it is that labels are read off a
/// sequence in their order, whichever steps they are at.
///
/// Outputs: logits `[samples, steps, classes]`, of which class 0 is the blank, which reads as nothing.
/// Targets: the labels of each sample, whole numbers `[samples, most labels]`, from 1 to classes − 1,
/// with 0 behind them. Steps that name one class after the other read as one label, so two equal labels
/// in a row need a blank between them. The loss of a sample is minus the logarithm of the probability of
/// all ways to read its labels.
///
/// Labels that need more steps than there are have an infinite loss, and those that are none of the
/// classes, or stand behind a 0, have none, NaN; such samples have no gradient.
/// [`ArrayDataset::check_label_sequences`](crate::ArrayDataset::check_label_sequences) finds them before.
///
/// Cost: two passes over the steps, with 2 × most labels + 1 numbers a step; nothing is read from the
/// device.
///
/// By its name, `ctc`, it is for outputs `[samples, steps × classes]`, and
/// [`AnyLoss::per_step`](crate::AnyLoss::per_step) says how many steps.
///
/// # Errors
/// `check` refuses outputs and targets of different numbers of samples.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::{Ctc, Loss as _};
///
/// // Two steps, the blank and one class, all as likely. "1" is read in three of four ways: "1 1", "0 1"
/// // and "1 0".
/// let outputs = Tensor::<3>::zeros([1, 2, 2], &Device::default());
/// let labels = Tensor::<2>::from_data([[1.0_f32, 0.0]], &Device::default());
/// let loss = Ctc.forward(outputs, labels).into_scalar::<f32>();
/// assert!((loss + 0.75_f32.ln()).abs() < 1e-6);
/// ```
///
/// # Source
/// "Connectionist temporal classification: labelling unsegmented sequence data with recurrent neural
/// networks", ICML 2006.
#[derive(Clone, Copy, Debug)]
pub struct Ctc;

impl Loss<Tensor<3>> for Ctc {
    type Targets = Tensor<2>;

    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, outputs: Tensor<3>, targets: Tensor<2>) -> Tensor<1> {
        let [samples, steps, classes] = outputs.dims();
        let labels = Labels::of(targets, classes);
        let states = labels.states();
        let width = states.dims()[1];

        let read = states.clone().unsqueeze_dim::<3>(1).expand([samples, steps, width]);
        let emitted = log_softmax(outputs, 2).gather(2, read).clamp_min(NOTHING);
        let known = emitted.clone().detach();

        // A sequence and its labels read backwards: both directions are one pass over the steps.
        let (begin, end) = labels.ends();
        let scores = Self::scores(
            Tensor::cat(vec![known.clone(), known.clone().flip([1, 2])], 0),
            Tensor::cat(vec![states.clone(), states.flip([1])], 0),
            Tensor::cat(vec![begin, end.clone().flip([1])], 0),
        );
        let forward = scores.clone().narrow(0, 0, samples);
        let backward = scores.narrow(0, samples, samples).flip([1, 2]);

        let last = forward.clone().narrow(1, steps - 1, 1).squeeze_dim::<2>(1);
        let likelihood = log_sum_exp(last + end);
        let is_impossible = likelihood.clone().lower_scalar(NOTHING / 2.0);
        let values = likelihood.neg();

        // How likely it is that a step is at a label, which is the gradient: to go back through all
        // steps would take their square, since each of them is a part of the whole.
        let shares = softmax(forward + backward - known.clone(), 2);
        let is_lost = is_impossible.clone().bool_or(labels.is_wrong.clone());
        let lost = is_lost.reshape([samples, 1, 1]).expand([samples, steps, width]);
        let change = (emitted - known) * shares.mask_fill(lost, 0.0);
        let change = change.reshape([samples, steps * width]).sum_dim(1).squeeze_dim::<1>(1);
        (values - change)
            .mask_fill(is_impossible, f32::INFINITY)
            .mask_fill(labels.is_wrong, f32::NAN)
    }

    fn check(&self, outputs: &Tensor<3>, targets: &Tensor<2>) -> Result {
        let ([samples, steps, classes], rows) = (outputs.dims(), targets.dims()[0]);
        if samples != rows {
            return Err(Error::data(format!(
                "{NAME}: {samples} outputs and {rows} rows of labels; there must be one row for each"
            )));
        }
        if steps == 0 || classes < 2 {
            return Err(Error::data(format!(
                "{NAME}: outputs are {steps} steps of {classes} classes; there must be a step, and a \
                 class beside the blank, which is class 0"
            )));
        }
        Ok(())
    }
}

impl Ctc {
    /// The logarithm of how likely it is to be at a state after a step, for all steps: of `emitted`
    /// `[samples, steps, states]`, begun where `begin` says.
    fn scores(emitted: Tensor<3>, states: Tensor<2, Int>, begin: Tensor<2>) -> Tensor<3> {
        let [samples, steps, width] = emitted.dims();
        let device = emitted.device();
        let blanks = Tensor::<2, Int>::zeros([samples, 2], &device);
        let before = Tensor::cat(vec![blanks, states.clone()], 1).narrow(1, 0, width);
        let may_skip = states.clone().not_equal(before).bool_and(states.not_equal_scalar(0));
        let skipping = Tensor::zeros([samples, width], &device);
        let skipping = skipping.mask_fill(may_skip.bool_not(), NOTHING);

        let nothing = Tensor::full([samples, 2], NOTHING, &device);
        let at = |step| emitted.clone().narrow(1, step, 1).squeeze_dim::<2>(1);
        let mut now = begin + at(0);
        let mut all = vec![now.clone()];
        for step in 1..steps {
            let padded = Tensor::cat(vec![nothing.clone(), now.clone()], 1);
            let next = padded.clone().narrow(1, 1, width);
            let second = padded.narrow(1, 0, width) + skipping.clone();
            let most = now.clone().max_pair(next.clone()).max_pair(second.clone());
            let sum = (now - most.clone()).exp()
                + (next - most.clone()).exp()
                + (second - most.clone()).exp();
            now = sum.log() + most + at(step);
            all.push(now.clone());
        }
        Tensor::stack(all, 1)
    }
}

/// The labels of a batch, whatever they were.
struct Labels {
    /// `[samples, most labels]`, each a class, with 0 behind them.
    labels: Tensor<2, Int>,
    /// How many there are: `[samples, 1]`.
    lengths: Tensor<2, Int>,
    /// Whether some are no classes, or stand behind a 0.
    is_wrong: Tensor<1, Bool>,
}

impl Labels {
    fn of(targets: Tensor<2>, classes: usize) -> Self {
        let [samples, most] = targets.dims();
        if most == 0 {
            // As rows that are all padding: nothing is to be read.
            return Self::of(Tensor::zeros([samples, 1], &targets.device()), classes);
        }
        let labels = targets.clone().int();
        let known = labels.clone().clamp(0, classes.saturating_sub(1) as i64);
        let is_no_class = known.clone().float().not_equal(targets);
        let is_label = labels.not_equal_scalar(0);
        let lengths = is_label.clone().int().sum_dim(1);
        let place = Tensor::<1, Int>::arange(0..most as i64, &known.device());
        let place = place.unsqueeze_dim::<2>(0).expand([samples, most]);
        let is_in_place = is_label.equal(place.lower(lengths.clone().expand([samples, most])));
        let is_wrong = is_no_class.bool_or(is_in_place.bool_not());
        Self { labels: known, lengths, is_wrong: is_wrong.any_dim(1).squeeze_dim(1) }
    }

    /// What a step can be at: a blank, the first label, a blank, the second one, .., a blank.
    fn states(&self) -> Tensor<2, Int> {
        let [samples, most] = self.labels.dims();
        let blanks = Tensor::zeros_like(&self.labels);
        let pairs = Tensor::stack::<3>(vec![blanks, self.labels.clone()], 2);
        let last = Tensor::zeros([samples, 1], &self.labels.device());
        Tensor::cat(vec![pairs.reshape([samples, 2 * most]), last], 1)
    }

    /// 0 at the states that a sequence may begin at, and at those that it may end at: the first label or
    /// the blank before it, the last one or the blank behind it.
    fn ends(&self) -> (Tensor<2>, Tensor<2>) {
        let [samples, most] = self.labels.dims();
        let shape = [samples, 2 * most + 1];
        let device = self.labels.device();
        let state = Tensor::<1, Int>::arange(0..shape[1] as i64, &device);
        let state = state.unsqueeze_dim::<2>(0).expand(shape);
        let last = (self.lengths.clone() * 2).expand(shape);
        let behind = last - state.clone();
        let only = |is_one: Tensor<2, Bool>| {
            Tensor::zeros(shape, &device).mask_fill(is_one.bool_not(), NOTHING)
        };
        let is_end = behind.clone().equal_scalar(0).bool_or(behind.equal_scalar(1));
        (only(state.lower_scalar(2)), only(is_end))
    }
}
