//! Adam.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::common::Common;
use super::rule::{Formula, Rule, optimizer};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the running means of the gradient and of its square, and
/// the largest that the latter ever was.
const MEAN: &str = "m";
const SQUARE: &str = "v";
const LARGEST: &str = "v_hat";

/// Adam as Keras has it: running means of the gradient and of its square, both corrected for
/// their start at 0.
///
/// `weights −= rate × √(1 − β₂ᵗ) / (1 − β₁ᵗ) × m / (√v + ε)`: epsilon is added before the
/// correction ("epsilon hat"), unlike in Burn and PyTorch.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7, no AMSGrad.
///
/// # Source
/// "Adam: a method for stochastic optimization", ICLR 2015, the formula before section 2.1.
/// AMSGrad: "On the convergence of Adam and beyond", ICLR 2018, without its correction.
#[derive(Debug)]
pub struct Adam {
    common: Common,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    amsgrad: bool,
}

impl Adam {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        Self::named("adam", learning_rate.into())
    }

    pub(super) fn named(name: &'static str, learning_rate: Rate) -> Self {
        Self {
            common: Common::new(name, LEARNING_RATE, learning_rate),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            amsgrad: false,
        }
    }

    fn current_beta_1(&self) -> f64 {
        self.common.momentum.unwrap_or(self.beta_1)
    }
}

optimizer!(Adam {
    /// How much of the mean of gradients is kept, 0..1. Default 0.9.
    beta_1: f64,
    /// How much of the mean of squares is kept, 0..1. Default 0.999.
    beta_2: f64,
    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    epsilon: f64,
    /// Whether the largest mean of squares so far takes the place of the mean, so that no weight's
    /// steps grow again. Default false.
    amsgrad: bool,
});

impl Rule for Adam {
    type Formula = Moments;

    fn formula(&self) -> Moments {
        let betas = [self.current_beta_1(), self.beta_2];
        Moments::at(self.common.step(), self.common.rate, betas, self.epsilon)
    }

    const SLOTS: &'static [&'static str] = &[MEAN, SQUARE, LARGEST];
    const OPTIONAL: &'static [&'static str] = &[LARGEST];
    const COUNTS_STEPS: bool = true;

    fn check(&self) -> Result {
        self.common.check_share("beta_1", self.beta_1, "0.9")?;
        self.common.check_share("beta_2", self.beta_2, "0.999")?;
        self.common.check_positive("epsilon", self.epsilon, "1e-7")
    }

    fn check_momentum(&self, momentum: f64) -> Option<Result> {
        Some(self.common.check_share("beta_1", momentum, "0.9"))
    }

    fn keeps(&self, _: &str) -> bool {
        self.amsgrad
    }
}

/// AMSGrad, where there are three slots.
#[derive(Clone, Copy)]
pub(super) struct Moments {
    /// The rate with both corrections.
    rate: f32,
    new_1: f32,
    new_2: f32,
    epsilon: f32,
}

impl Moments {
    pub(super) fn at(step: f32, rate: f32, [beta_1, beta_2]: [f64; 2], epsilon: f64) -> Self {
        // In f32, as Keras: β₂ rounds to a number that makes the first steps longer by 2e-5.
        // Harmless, but with f64 no run would agree with Keras beyond the fourth digit.
        let beta_1_power = (beta_1 as f32).powf(step);
        let beta_2_power = (beta_2 as f32).powf(step);
        Self {
            rate: rate * (1.0 - beta_2_power).sqrt() / (1.0 - beta_1_power),
            new_1: (1.0 - beta_1) as f32,
            new_2: (1.0 - beta_2) as f32,
            epsilon: epsilon as f32,
        }
    }
}

impl Formula for Moments {
    #[inline(always)]
    fn elements(self, weights: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        let Self { rate, new_1, new_2, epsilon } = self;
        let [m, v, largest @ ..] = slots else {
            return;
        };
        let moments = m.iter_mut().zip(v.iter_mut());
        match largest {
            [largest] => {
                let moments = moments.zip(largest.iter_mut());
                for ((w, g), ((m, v), largest)) in weights.iter_mut().zip(gradient).zip(moments) {
                    *m += (*g - *m) * new_1;
                    *v += (*g * *g - *v) * new_2;
                    // Not `max`, which would take a number in place of NaN.
                    *largest = if *largest > *v { *largest } else { *v };
                    *w -= *m * rate / (largest.sqrt() + epsilon);
                }
            }
            _ => {
                for ((w, g), (m, v)) in weights.iter_mut().zip(gradient).zip(moments) {
                    *m += (*g - *m) * new_1;
                    *v += (*g * *g - *v) * new_2;
                    *w -= *m * rate / (v.sqrt() + epsilon);
                }
            }
        }
    }

    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let [m, v, largest @ ..] = slots.as_mut_slice() else {
            return weights;
        };
        *m = m.clone() + (gradient.clone() - m.clone()) * self.new_1;
        *v = v.clone() + (gradient.square() - v.clone()) * self.new_2;
        let mut square = v.clone();
        if let [largest] = largest {
            *largest = largest.clone().max_pair(square);
            square = largest.clone();
        }
        weights - m.clone() * self.rate / (square.sqrt() + self.epsilon)
    }
}
