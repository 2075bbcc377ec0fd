//! Adam.

use std::collections::HashMap;

use burn::module::ParamId;
use refrain_core::schedule::Rate;
use refrain_core::{Error, Result};

use super::values::{Values, in_place};
use super::{Optimizer, OptimizerState, check_option, check_rate, take_rate};

const LEARNING_RATE: f64 = 0.001;
/// What is remembered of each parameter: the running means of the gradient and of its square.
const MEAN: &str = "m";
const SQUARE: &str = "v";

/// Adam as Keras has it: running means of the gradient and of its square, both corrected for
/// their start at 0.
///
/// `weights −= rate × √(1 − β₂ᵗ) / (1 − β₁ᵗ) × m / (√v + ε)`: epsilon is added before the
/// correction ("epsilon hat"), unlike in Burn and PyTorch.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7.
///
/// # Source
/// "Adam: a method for stochastic optimization", ICLR 2015, the formula before section 2.1.
#[derive(Debug)]
pub struct Adam {
    learning_rate: Option<Rate>,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    /// In place of β₁, once it was set during a run.
    set_beta_1: Option<f64>,
    /// Steps made.
    step: u64,
    // Of the current step.
    rate: f32,
    moments: HashMap<ParamId, Moments>,
}

#[derive(Debug)]
struct Moments {
    mean: Values,
    square: Values,
}

impl Adam {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        Self {
            learning_rate: Some(learning_rate.into()),
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            set_beta_1: None,
            step: 0,
            rate: 0.0,
            moments: HashMap::new(),
        }
    }

    /// How much of the mean of gradients is kept, 0..1. Default 0.9.
    pub fn beta_1(mut self, beta_1: f64) -> Self {
        self.beta_1 = beta_1;
        self
    }

    /// How much of the mean of squares is kept, 0..1. Default 0.999.
    pub fn beta_2(mut self, beta_2: f64) -> Self {
        self.beta_2 = beta_2;
        self
    }

    /// Keeps the update finite where gradients vanish; above 0. Default 1e-7.
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    fn current_beta_1(&self) -> f64 {
        self.set_beta_1.unwrap_or(self.beta_1)
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self::new(LEARNING_RATE)
    }
}

impl Optimizer for Adam {
    fn take_learning_rate(&mut self) -> Rate {
        take_rate(&mut self.learning_rate, LEARNING_RATE)
    }

    fn check(&self) -> Result {
        check_rate("adam", &self.learning_rate)?;
        check_beta("beta_1", self.beta_1)?;
        check_beta("beta_2", self.beta_2)?;
        let is_allowed = self.epsilon.is_finite() && self.epsilon > 0.0;
        let allowed = "a finite number above 0, for example 1e-7";
        check_option("adam", "epsilon", self.epsilon, is_allowed, allowed)
    }

    fn begin_step(&mut self, learning_rate: f64) {
        self.step = self.step.saturating_add(1);
        // In f32, as Keras: β₂ rounds to a number that makes the first steps longer by 2e-5.
        // Harmless, but with f64 no run would agree with Keras beyond the fourth digit.
        let beta_1_power = (self.current_beta_1() as f32).powf(self.step as f32);
        let beta_2_power = (self.beta_2 as f32).powf(self.step as f32);
        self.rate = learning_rate as f32 * (1.0 - beta_2_power).sqrt() / (1.0 - beta_1_power);
    }

    fn update(&mut self, id: ParamId, mut weights: Values, mut gradient: Values) -> Values {
        let Moments { mut mean, mut square } = self.moments.remove(&id).unwrap_or_else(|| {
            Moments { mean: gradient.zeros_like(), square: gradient.zeros_like() }
        });
        let rate = self.rate;
        let epsilon = self.epsilon as f32;
        let new_1 = (1.0 - self.current_beta_1()) as f32;
        let new_2 = (1.0 - self.beta_2) as f32;

        let values = [&mut weights, &mut gradient, &mut mean, &mut square];
        let done = in_place(values, |[weights, gradient, m, v]| {
            for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(m).zip(v) {
                *m += (*g - *m) * new_1;
                *v += (*g * *g - *v) * new_2;
                *w -= *m * rate / (v.sqrt() + epsilon);
            }
        });
        if !done {
            let (m, v, gradient) =
                (mean.into_tensor(), square.into_tensor(), gradient.into_tensor());
            let m = m.clone() + (gradient.clone() - m) * new_1;
            let v = v.clone() + (gradient.square() - v) * new_2;
            let update = m.clone() * rate / (v.clone().sqrt() + epsilon);
            weights = (weights.into_tensor() - update).into();
            (mean, square) = (m.into(), v.into());
        }
        self.moments.insert(id, Moments { mean, square });
        weights
    }

    fn set_momentum(&mut self, momentum: f64) -> Result {
        check_beta("beta_1", momentum)?;
        self.set_beta_1 = Some(momentum);
        Ok(())
    }

    fn state(&self) -> OptimizerState {
        let mut state = OptimizerState {
            step: Some(self.step),
            momentum: self.set_beta_1,
            ..OptimizerState::default()
        };
        state.put(MEAN, self.moments.iter().map(|(id, moments)| (id, &moments.mean)));
        state.put(SQUARE, self.moments.iter().map(|(id, moments)| (id, &moments.square)));
        state
    }

    fn set_state(&mut self, mut state: OptimizerState) -> Result {
        let set_beta_1 = state.momentum.take();
        set_beta_1.map_or(Ok(()), |beta_1| check_beta("beta_1", beta_1))?;
        let step = state.step.take();
        let mut means = state.take(MEAN);
        let mut moments = HashMap::new();
        for (id, square) in state.take(SQUARE) {
            let mean = means.remove(&id).ok_or_else(|| lacks(MEAN))?;
            moments.insert(id, Moments { mean, square });
        }
        if !means.is_empty() {
            return Err(lacks(SQUARE));
        }
        state.finish("adam")?;
        let step = match step {
            None if !moments.is_empty() => return Err(lacks("step")),
            step => step.unwrap_or(0),
        };
        (self.set_beta_1, self.step, self.moments) = (set_beta_1, step, moments);
        Ok(())
    }
}

fn check_beta(option: &str, beta: f64) -> Result {
    let example = if option == "beta_1" { "0.9" } else { "0.999" };
    let allowed = format!("0 or more and below 1, for example {example}");
    check_option("adam", option, beta, (0.0..1.0).contains(&beta), &allowed)
}

fn lacks(name: &str) -> Error {
    Error::data(format!("adam's state lacks `{name}`; it is incomplete, or another optimizer's"))
}
