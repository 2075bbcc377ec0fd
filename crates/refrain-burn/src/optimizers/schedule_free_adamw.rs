//! Adam without a schedule.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::ParameterInfo;
use super::common::Common;
use super::rule::{Formula, Rule, optimizer};
use super::values::Values;

const LEARNING_RATE: f64 = 0.0025;
/// What is remembered of each parameter: the weights that steps are made from, and the running mean
/// of the squared gradient.
const BASE: &str = "momentum";
const SQUARE: &str = "velocity";

/// Adam in which an average of all steps takes the place of a falling learning rate; Keras'
/// `ScheduleFreeAdamW`.
///
/// Steps are made from a sequence of their own, `z −= rate × gradient / (√v̂ + ε)`; the model has
/// weights between it and its average `x`: `weights = (1 − β₁) × z + β₁ × x`. As in Keras, these are
/// evaluated too.
///
/// Defaults: learning rate 0.0025, β₁ 0.9, β₂ 0.999, ε 1e-8, no warm-up, no weight decay.
///
/// # Example
/// ```
/// use refrain_burn::{Optimizer as _, ScheduleFreeAdamW};
/// assert!(ScheduleFreeAdamW::default().warmup_steps(100).check().is_ok());
/// let error = ScheduleFreeAdamW::default().beta_1(0.0).check().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "schedule_free_adamw: beta_1 is 0; allowed: above 0 and below 1, for example 0.9"
/// );
/// ```
///
/// # Source
/// "The road less scheduled", NeurIPS 2024.
#[derive(Debug)]
pub struct ScheduleFreeAdamW {
    common: Common,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    warmup_steps: usize,
}

impl ScheduleFreeAdamW {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("schedule_free_adamw", LEARNING_RATE, learning_rate.into());
        Self { common, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, warmup_steps: 0 }
    }
}

optimizer!(ScheduleFreeAdamW {
    /// How near the weights are to the average; above 0 and below 1. Default 0.9.
    beta_1: f64,
    /// How much of the mean of squares is kept, 0..1. Default 0.999.
    beta_2: f64,
    /// Keeps the update finite where gradients vanish; above 0. Default 1e-8.
    epsilon: f64,
    /// Steps over which the rate rises from 0. Default 0: none.
    warmup_steps: usize,
});

impl Rule for ScheduleFreeAdamW {
    type Formula = Averaged;

    fn formula(&self) -> Averaged {
        let step = self.common.step();
        let warmup = match self.warmup_steps {
            0 => 1.0,
            steps => (step / steps as f32).min(1.0),
        };
        let (beta_1, beta_2) = (self.beta_1 as f32, self.beta_2 as f32);
        Averaged {
            rate: self.common.rate * warmup,
            beta_1,
            new_2: 1.0 - beta_2,
            unbias: 1.0 - beta_2.powf(step),
            epsilon: self.epsilon as f32,
            new: 1.0 / step,
        }
    }

    const SLOTS: &'static [&'static str] = &[BASE, SQUARE];
    const COUNTS_STEPS: bool = true;

    fn check(&self) -> Result {
        let is_allowed = self.beta_1 > 0.0 && self.beta_1 < 1.0;
        let allowed = "above 0 and below 1, for example 0.9";
        self.common.check_option("beta_1", self.beta_1, is_allowed, allowed)?;
        self.common.check_share("beta_2", self.beta_2, "0.999")?;
        self.common.check_positive("epsilon", self.epsilon, "1e-8")
    }

    fn first(&self, slot: &str, _: Option<&ParameterInfo>, weights: &Values) -> Values {
        if slot == BASE { weights.clone() } else { weights.zeros_like() }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Averaged {
    rate: f32,
    beta_1: f32,
    new_2: f32,
    unbias: f32,
    epsilon: f32,
    /// What the newest step counts in the average.
    new: f32,
}

impl Formula for Averaged {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, beta_1, new_2, unbias, epsilon, new } = self;
        let [base, v] = slots else {
            return;
        };
        let slots = base.iter_mut().zip(v.iter_mut());
        for ((w, g), (z, v)) in weights.iter_mut().zip(gradient).zip(slots) {
            *v += (*g * *g - *v) * new_2;
            let average = (*w - (1.0 - beta_1) * *z) / beta_1;
            *z -= rate * *g / ((*v / unbias).sqrt() + epsilon);
            let average = (1.0 - new) * average + new * *z;
            *w = (1.0 - beta_1) * *z + beta_1 * average;
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let Self { rate, beta_1, new_2, unbias, epsilon, new } = self;
        let [z, v] = slots.as_mut_slice() else {
            return weights;
        };
        *v = v.clone() + (gradient.clone().square() - v.clone()) * new_2;
        let average = (weights - z.clone() * (1.0 - beta_1)) / beta_1;
        *z = z.clone() - gradient * rate / ((v.clone() / unbias).sqrt() + epsilon);
        let average = average * (1.0 - new) + z.clone() * new;
        z.clone() * (1.0 - beta_1) + average * beta_1
    }
}
