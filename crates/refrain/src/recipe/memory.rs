//! What a run needs of memory, known before anything of it is allocated.

use std::cmp::Reverse;
use std::fmt;

use refrain_burn::Summary;
use refrain_burn::burn::tensor::Device;
use refrain_core::{Dataset as _, Error, Finding, Result};
use serde_json::{Value, json};

use super::memory_limit::MemoryLimit;
use super::{AnyLoss, Recipe, RecipeData, RecipeLearner, compile};

/// Bytes of a number.
const NUMBER: u64 = 4;
/// What is certain of the estimated activations, in tenths: of the networks that were measured, which
/// took 0.79 to 2 times the estimate, none took less.
const CERTAIN_TENTHS: u64 = 7;
/// Numbers that `ctc` has of each step for each state that it can be at, forward and backward: of 300
/// labels in 1,000 steps it took 7.5.
const OF_CTC: usize = 8;

/// What a run of a recipe needs of memory, in bytes.
///
/// Weights, gradients, the optimizer's state and the data are exact. `activations` and `checkpoint`
/// are estimates:
///
/// - `activations`: what a step on one batch keeps from the forward to the backward pass, and what is
///   on its way: 4 bytes × batch size × (the input, what each layer [keeps](refrain_burn::SummaryRow),
///   what loss `ctc` has of it, and three times the largest output). Measured on the CPU, networks of each kind took 0.8 to
///   1.8 times the total, and up to 2.5 times where other work disturbed them.
/// - `checkpoint`: the copy of weights and state that is written while training goes on.
///
/// Not in it: the program itself (about 30 MiB), copies of weights that callbacks keep, and memory
/// that the allocator has back and keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// All weights.
    pub weights: u64,
    /// One for each weight that is trained.
    pub gradients: u64,
    /// What the optimizer remembers from its first step on.
    pub optimizer: u64,
    /// Of one training step, or of a validation on one batch where that takes more.
    pub activations: u64,
    /// A checkpoint that is being written; 0 where the recipe asks for none.
    pub checkpoint: u64,
    /// The samples that are in memory.
    pub data: u64,
    /// Samples in the batch that takes so much for activations.
    pub batch_size: usize,
    /// The option of the recipe that says how many: `batch_size` or `validation_batch_size`.
    pub batch_option: &'static str,
}

impl MemoryEstimate {
    /// `state`: numbers that the optimizer remembers; `inputs`, `in_loss`: of a sample, and of its loss;
    /// `evaluated`: samples in a batch of validation.
    fn new(
        model: &Summary,
        state: usize,
        [inputs, in_loss]: [usize; 2],
        batch_size: usize,
        evaluated: usize,
    ) -> Self {
        let kept = model.rows.iter().map(|row| row.kept);
        let outputs =
            model.rows.iter().filter(|row| row.kept > 0).map(|row| len(&row.output_shape));
        let on_their_way = outputs.max().unwrap_or(0).saturating_mul(3);
        let of_sample = kept.chain([inputs, in_loss, on_their_way]).fold(0, usize::saturating_add);
        let in_step = of_sample.saturating_mul(batch_size);
        let in_validation =
            [inputs, in_loss, on_their_way].into_iter().fold(0, usize::saturating_add);
        let in_validation = in_validation.saturating_mul(evaluated);
        let (activations, batch_size, batch_option) = match in_validation > in_step {
            true => (in_validation, evaluated, "validation_batch_size"),
            false => (in_step, batch_size, "batch_size"),
        };
        Self {
            weights: bytes(model.parameters()),
            gradients: bytes(model.trainable),
            optimizer: bytes(state),
            activations: bytes(activations),
            checkpoint: 0,
            data: 0,
            batch_size,
            batch_option,
        }
    }

    /// What is certain, and needed at one moment of each step: weights, gradients, the optimizer's
    /// state and the data.
    pub fn least(&self) -> u64 {
        [self.weights, self.gradients, self.optimizer, self.data]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.least().saturating_add(self.activations).saturating_add(self.checkpoint)
    }

    /// As JSON, by the names of the fields, with `least` and `total`.
    pub fn to_json(&self) -> Value {
        json!({
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
            "checkpoint": self.checkpoint,
            "data": self.data,
            "batch_size": self.batch_size,
            "batch_option": self.batch_option,
            "least": self.least(),
            "total": self.total(),
        })
    }

    /// What is to be said of it where so much memory can be had: an error where it can never fit, a
    /// warning where it may not.
    ///
    /// Refused is only what does not fit for sure: what is exact, and of the activations
    /// [so much](CERTAIN_TENTHS).
    fn finding(&self, model: &Summary, limit: &MemoryLimit) -> Option<Finding> {
        let Self { weights, gradients, optimizer, activations, checkpoint, data, .. } = *self;
        let certain = format!(
            "weights {} + gradients {} + optimizer's state {} + data {}",
            Bytes(weights),
            Bytes(gradients),
            Bytes(optimizer),
            Bytes(data)
        );
        let rows = (1..).zip(&model.rows);
        let largest = rows.min_by_key(|(_, row)| Reverse(row.parameters));
        let largest = largest.map_or(String::new(), |(place, row)| {
            let weights = Bytes(bytes(row.parameters));
            format!("layer {place} `{}` alone has {weights} of weights", row.name)
        });
        if self.least() > limit.bytes {
            let message = format!(
                "the run needs {} of memory ({certain}), and there are {limit}",
                Bytes(self.least())
            );
            let fix = format!("make the model smaller: {largest}");
            return Some(Finding::error("not-enough-memory", message).fix(fix).option("layers"));
        }
        let (batch, option) = (self.batch_size, self.batch_option);
        let sure = self.least().saturating_add(activations / 10 * CERTAIN_TENTHS);
        if sure > limit.bytes {
            let message = format!(
                "the run needs more than {} of memory ({certain} + about {} of activations at \
                 {option} {batch}), and there are {limit}",
                Bytes(sure),
                Bytes(activations)
            );
            let fix = format!("make {option} smaller, or the model");
            return Some(Finding::error("not-enough-memory", message).fix(fix).option(option));
        }
        if self.total() <= limit.available {
            return None;
        }
        let message = format!(
            "the run may need {} of memory ({certain} + about {} of activations at {option} {batch} \
             + {} of a checkpoint), and {} are free",
            Bytes(self.total()),
            Bytes(activations),
            Bytes(checkpoint),
            Bytes(limit.available)
        );
        let (option, fix) = if activations > self.least() {
            (option, format!("make {option} smaller"))
        } else {
            ("layers", format!("make the model or the batches smaller: {largest}"))
        };
        Some(Finding::warning("little-memory", message).fix(fix).option(option))
    }
}

impl Recipe {
    /// What a run on so many samples of this shape needs of memory. `learner`: of this recipe, with
    /// weights or without; `target_shape`: where rows of targets have been read; `data`: bytes of the
    /// samples that are in memory.
    pub(super) fn memory(
        &self,
        learner: &RecipeLearner,
        (samples, sample_shape): (usize, &[usize]),
        target_shape: Option<&[usize]>,
        data: u64,
    ) -> Result<MemoryEstimate> {
        let (model, state) = (learner.model()?.summary(), learner.optimizer_state_len()?);
        let trained = self.fit.trained_samples(samples, self.data.validation_split);
        // How many a test part has is not known without reading it.
        let held_out = self.data.validation_split.map_or(samples, |_| samples - trained);
        let batch_size = self.fit.batch_size.min(trained.max(1));
        let evaluated = self.fit.validation_batch_size().min(held_out.max(1));
        let output_shape = model.rows.last().map_or(&[][..], |row| &row.output_shape);
        let in_loss = match (&self.compile.loss, target_shape, compile::steps(output_shape)) {
            (AnyLoss::Ctc { .. }, Some(labels), Some(steps)) => {
                let states = len(labels).saturating_mul(2).saturating_add(1);
                steps.saturating_mul(states).saturating_mul(OF_CTC)
            }
            _ => 0,
        };
        let of_sample = [len(sample_shape), in_loss];
        let estimate = MemoryEstimate::new(&model, state, of_sample, batch_size, evaluated);
        let is_saved = self.checkpoint.takes_some();
        let checkpoint = estimate.weights.saturating_add(estimate.optimizer);
        Ok(MemoryEstimate { checkpoint: if is_saved { checkpoint } else { 0 }, data, ..estimate })
    }

    /// What is to be said of this machine's memory that a run on `data` needs.
    pub(super) fn memory_finding(
        &self,
        learner: &RecipeLearner,
        data: &RecipeData,
    ) -> Result<Option<Finding>> {
        let Some(limit) = MemoryLimit::of_process() else {
            return Ok(None);
        };
        let samples = (data.len(), data.sample_shape());
        let mut estimate = self.memory(learner, samples, data.target_shape(), data.bytes())?;
        if self.device != Device::flex() {
            // What the model takes is in another memory, whose size is not known here.
            (estimate.weights, estimate.gradients) = (0, 0);
            (estimate.optimizer, estimate.activations) = (0, 0);
        }
        Ok(estimate.finding(&learner.model()?.summary(), &limit))
    }
}

/// Refuses a model whose weights alone do not fit.
///
/// # Errors
/// A configuration error with the numbers.
pub(super) fn check_weights(model: &Summary, data: u64) -> Result {
    let Some(limit) = MemoryLimit::of_process() else {
        return Ok(());
    };
    let weights = bytes(model.parameters());
    let needed = weights.saturating_add(data);
    if needed <= limit.bytes {
        return Ok(());
    }
    Err(Error::config(format!(
        "the model needs {} of memory (weights {} + data {}), and there are {limit}; make the model \
         smaller",
        Bytes(needed),
        Bytes(weights),
        Bytes(data)
    )))
}

fn len(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &axis| n.saturating_mul(axis))
}

fn bytes(numbers: usize) -> u64 {
    (numbers as u64).saturating_mul(NUMBER)
}

/// A number of bytes for people: `23.5 GiB`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut size = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // What would be shown as 1024 is 1 of the next.
        while size >= 1023.95 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{size:.1} {}", UNITS[unit]))
    }
}

#[cfg(test)]
mod tests {
    use refrain_burn::Sequential;
    use refrain_burn::layers::Dense;
    use refrain_core::Severity;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn limit(bytes: u64, available: u64) -> MemoryLimit {
        MemoryLimit { bytes, by: "a test".to_owned(), available }
    }

    #[test]
    fn ctc_takes_memory_for_each_step_and_state() {
        let changes = [
            "model.layers=[{ type = 'dense', units = 3 }]",
            "compile.loss='ctc'",
            "compile.metrics=[]",
            "callbacks=[]",
            "fit.batch_size=4",
        ];
        let recipe = Recipe::builtin(&changes.map(str::to_owned)).unwrap();
        let shape = [50, 2];
        let trainer = recipe.outline_on(&shape, &Device::flex()).unwrap();
        let trainer = recipe.trainer_of(trainer).unwrap();
        let activations = |labels: Option<&[usize]>| {
            recipe.memory(trainer.learner(), (10, &shape), labels, 0).unwrap().activations
        };
        let more = activations(Some(&[20])) - activations(None);
        assert_eq!(more, 4 * 4 * 50 * 41 * OF_CTC as u64);
    }

    #[test]
    fn refuses_what_never_fits_and_warns_of_what_may_not() {
        let model = Sequential::input(&[1 << 14]).layer(Dense::new(1 << 14).use_bias(false));
        let model = model.outline().unwrap().summary();
        // Weights of 1 GiB; with gradients and Adam's two 4 GiB, with a checkpoint 7.
        let estimate = MemoryEstimate::new(&model, 2 << 28, [1 << 14, 0], 1 << 11, 1);
        let estimate = MemoryEstimate { checkpoint: 3 * GIB, data: GIB / 2, ..estimate };
        assert_eq!((estimate.weights, estimate.optimizer), (GIB, 2 * GIB));
        assert_eq!(estimate.activations, 4 * 2048 * (5 << 14));
        assert_eq!(estimate.least(), 4 * GIB + GIB / 2);
        // Inputs and three outputs of 10,000 samples are more than all that a step on 2,048 keeps.
        let validated = MemoryEstimate::new(&model, 2 << 28, [1 << 14, 0], 1 << 11, 10_000);
        assert_eq!(validated.activations, 4 * 10_000 * (4 << 14));
        assert_eq!(
            (validated.batch_size, validated.batch_option),
            (10_000, "validation_batch_size")
        );
        assert_eq!((estimate.batch_size, estimate.batch_option), (2048, "batch_size"));
        let limited = limit(validated.least() + GIB, 0);
        let finding = validated.finding(&model, &limited).unwrap();
        assert_eq!(finding.option, Some("validation_batch_size"));
        for words in [
            "activations at validation_batch_size 10000), and",
            "make validation_batch_size smaller, or the model",
        ] {
            assert!(finding.to_string().contains(words), "no {words:?} in {finding}");
        }
        assert_eq!(estimate.total(), 8 * GIB + GIB / 8);
        // The limit, what is free of it, what is found, words.
        let (error, warning) = (Some(Severity::Error), Some(Severity::Warning));
        #[rustfmt::skip]
        let cases: &[(u64, u64, Option<Severity>, &[&str])] = &[
            (4 * GIB, 4 * GIB, error, &["needs 4.5 GiB", "weights 1.0 GiB + gradients 1.0 GiB + optimizer's state 2.0 GiB + data 512.0 MiB", "4.0 GiB, a test", "layer 1 `dense` alone has 1.0 GiB"]),
            (estimate.least() - 1, 0, error, &["4.5 GiB"]),
            (estimate.least(), estimate.least(), error, &["needs more than 4.9 GiB", "about 640.0 MiB of activations at batch_size 2048", "4.5 GiB, a test", "make batch_size smaller, or the model"]),
            (estimate.least() + estimate.activations / 10 * 7, estimate.least(), warning, &["may need 8.1 GiB", "640.0 MiB of activations at batch_size 2048", "3.0 GiB of a checkpoint", "4.5 GiB are free"]),
            (9 * GIB, estimate.total() - 1, warning, &["8.1 GiB"]),
            (9 * GIB, estimate.total(), None, &[]),
        ];
        for (bytes, available, severity, words) in cases {
            let finding = estimate.finding(&model, &limit(*bytes, *available));
            assert_eq!(finding.as_ref().map(|finding| finding.severity), *severity, "{bytes}");
            let text = finding.map(|finding| finding.to_string()).unwrap_or_default();
            for word in *words {
                assert!(text.contains(word), "no {word:?} in {text}");
            }
        }
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (25_276_502_016, "23.5 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>8}", Bytes(1)), "     1 B");
    }
}
