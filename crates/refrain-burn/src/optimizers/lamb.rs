//! Lamb.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Decay, Formula, Rule, by_tensors, in_blocks, optimizer};
use super::values::{Values, in_place};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the running means of the gradient and of its square.
const MEAN: &str = "m";
const SQUARE: &str = "v";

/// Adam's update, made as long for each parameter as its weights are, times the rate: for large
/// batches; Keras' `Lamb`.
///
/// `update = m̂ / (√v̂ + ε)`, both corrected for their start at 0;
/// `weights −= rate × ‖weights‖ / ‖update‖ × update`, where both norms are above 0; else
/// `weights −= rate × update`. A parameter is one layer's weights or biases.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7. Cost: two passes and two norms.
///
/// # Example
/// ```
/// use refrain_burn::{Lamb, Optimizer as _};
/// assert!(Lamb::default().check().is_ok());
/// let error = Lamb::default().beta_1(1.0).check().unwrap_err();
/// assert_eq!(error.to_string(), "lamb: beta_1 is 1; allowed: 0 or more and below 1, for example 0.9");
/// ```
///
/// # Source
/// "Large batch optimization for deep learning: training BERT in 76 minutes", ICLR 2020.
#[derive(Debug)]
pub struct Lamb {
    common: Common,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
}

impl Lamb {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let common = Common::new("lamb", LEARNING_RATE, learning_rate.into());
        Self { common, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 }
    }
}

optimizer!(Lamb {
    /// How much of the mean of gradients is kept, 0..1. Default 0.9.
    beta_1: f64,
    /// How much of the mean of squares is kept, 0..1. Default 0.999.
    beta_2: f64,
    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    epsilon: f64,
});

impl Rule for Lamb {
    type Formula = Trust;

    fn formula(&self) -> Trust {
        let step = self.common.step();
        Trust {
            rate: self.common.rate,
            new_1: (1.0 - self.beta_1) as f32,
            new_2: (1.0 - self.beta_2) as f32,
            unbias_1: 1.0 - (self.beta_1 as f32).powf(step),
            unbias_2: 1.0 - (self.beta_2 as f32).powf(step),
            epsilon: self.epsilon as f32,
        }
    }

    const SLOTS: &'static [&'static str] = &[MEAN, SQUARE];
    const COUNTS_STEPS: bool = true;

    fn check(&self) -> Result {
        self.common.check_share("beta_1", self.beta_1, "0.9")?;
        self.common.check_share("beta_2", self.beta_2, "0.999")?;
        self.common.check_positive("epsilon", self.epsilon, "1e-7")
    }
}

#[derive(Clone, Copy)]
pub(super) struct Trust {
    rate: f32,
    new_1: f32,
    new_2: f32,
    unbias_1: f32,
    unbias_2: f32,
    epsilon: f32,
}

impl Formula for Trust {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { new_1, new_2, unbias_1, unbias_2, epsilon, .. } = self;
        let [m, v] = slots else {
            return;
        };
        let moments = m.iter_mut().zip(v.iter_mut());
        for (g, (m, v)) in gradient.iter_mut().zip(moments) {
            *m += (*g - *m) * new_1;
            *v += (*g * *g - *v) * new_2;
            *g = *m / unbias_1 / ((*v / unbias_2).sqrt() + epsilon);
        }
        let _ = weights;
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [m, v] = slots.as_mut_slice() else {
            return weights;
        };
        *m = m.clone() + (gradient.clone() - m.clone()) * self.new_1;
        *v = v.clone() + (gradient.square() - v.clone()) * self.new_2;
        let root = (v.clone() / self.unbias_2).sqrt();
        let update = m.clone() / self.unbias_1 / (root + self.epsilon);
        let norm = |x: &Tensor<1>| x.clone().square().sum().sqrt();
        let (of_weights, of_update) = (norm(&weights), norm(&update));
        let is_zero = (of_weights.clone() * of_update.clone()).equal_elem(0.0);
        let ratio = (of_weights / of_update).mask_fill(is_zero, 1.0) * self.rate;
        let elements = update.dims();
        weights - update * ratio.expand(elements)
    }

    /// `elements` makes the gradient the update; how long it is, shows when all of it is known.
    fn values(
        self,
        decay: Option<Decay>,
        mut weights: Values,
        mut gradient: Values,
        slots: &mut Vec<Values>,
    ) -> Values {
        if !in_blocks(self, decay, &mut weights, &mut gradient, slots) {
            return by_tensors(self, decay, weights, gradient, slots);
        }
        let norms = (norm(&mut weights), norm(&mut gradient));
        let ratio = match norms {
            (of_weights, of_update) if of_weights > 0.0 && of_update > 0.0 => {
                of_weights / of_update
            }
            _ => 1.0,
        };
        let rate = ratio * self.rate;
        in_place([&mut weights, &mut gradient], |[weights, update]| {
            for (w, update) in weights.iter_mut().zip(update) {
                *w -= rate * *update;
            }
        });
        weights
    }
}

/// The L2 norm; the same on any number of threads.
fn norm(values: &mut Values) -> f32 {
    let Some(values) = values.host() else {
        return 0.0;
    };
    // Eight sums, so that one addition need not wait for another.
    let mut sums = [0.0_f64; 8];
    for chunk in values.chunks(8) {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    sums.iter().sum::<f64>().sqrt() as f32
}
