//! Stochastic gradient descent.

use std::collections::HashMap;

use burn::module::ParamId;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::values::{Values, in_place};
use super::{Optimizer, OptimizerState, check_option, check_rate, take_rate};

const LEARNING_RATE: f64 = 0.01;
/// What is remembered of each parameter.
const VELOCITY: &str = "velocity";

/// Stochastic gradient descent, with momentum if asked for; Keras' `SGD`.
///
/// `velocity = momentum × velocity − rate × gradient`, `weights += velocity`; with Nesterov
/// momentum `weights += momentum × velocity − rate × gradient`.
///
/// Defaults: learning rate 0.01, momentum 0, no Nesterov.
///
/// # Example
/// ```
/// use refrain_burn::{Optimizer as _, Sgd};
/// assert!(Sgd::new(0.1).momentum(0.9).check().is_ok());
/// let error = Sgd::new(0.1).momentum(1.5).check().unwrap_err();
/// assert_eq!(error.to_string(), "sgd: momentum is 1.5; allowed: 0..=1, for example 0.9");
/// ```
#[derive(Debug)]
pub struct Sgd {
    learning_rate: Option<Rate>,
    momentum: f64,
    nesterov: bool,
    /// In place of `momentum`, once it was set during a run. From then on velocities are kept also
    /// where it is 0, so that they are what the formula says when it rises again.
    set_momentum: Option<f64>,
    // Of the current step.
    rate: f64,
    velocities: HashMap<ParamId, Values>,
}

impl Sgd {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        Self {
            learning_rate: Some(learning_rate.into()),
            momentum: 0.0,
            nesterov: false,
            set_momentum: None,
            rate: 0.0,
            velocities: HashMap::new(),
        }
    }

    /// How much of the last step's velocity is kept, 0..=1. Default 0.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Whether the gradient is applied ahead of the velocity. Default false.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }
}

impl Default for Sgd {
    fn default() -> Self {
        Self::new(LEARNING_RATE)
    }
}

impl Optimizer for Sgd {
    fn take_learning_rate(&mut self) -> Rate {
        take_rate(&mut self.learning_rate, LEARNING_RATE)
    }

    fn check(&self) -> Result {
        check_rate("sgd", &self.learning_rate)?;
        check_momentum(self.momentum)
    }

    fn begin_step(&mut self, learning_rate: f64) {
        self.rate = learning_rate;
    }

    fn update(&mut self, id: ParamId, weights: Values, gradient: Values) -> Values {
        let rate = self.rate as f32;
        if self.momentum == 0.0 && self.set_momentum.is_none() {
            return plain(rate, weights, gradient);
        }
        let momentum = self.set_momentum.unwrap_or(self.momentum) as f32;
        let velocity = self.velocities.remove(&id).unwrap_or_else(|| gradient.zeros_like());
        let (weights, velocity) = if self.nesterov {
            nesterov(rate, momentum, weights, gradient, velocity)
        } else {
            with_momentum(rate, momentum, weights, gradient, velocity)
        };
        self.velocities.insert(id, velocity);
        weights
    }

    fn set_momentum(&mut self, momentum: f64) -> Result {
        check_momentum(momentum)?;
        self.set_momentum = Some(momentum);
        Ok(())
    }

    fn state(&self) -> OptimizerState {
        let mut state = OptimizerState { momentum: self.set_momentum, ..Default::default() };
        state.put(VELOCITY, &self.velocities);
        state
    }

    fn set_state(&mut self, mut state: OptimizerState) -> Result {
        let set_momentum = state.momentum.take();
        set_momentum.map_or(Ok(()), check_momentum)?;
        let velocities = state.take(VELOCITY);
        state.finish("sgd")?;
        (self.set_momentum, self.velocities) = (set_momentum, velocities);
        Ok(())
    }
}

fn check_momentum(momentum: f64) -> Result {
    let is_allowed = (0.0..=1.0).contains(&momentum);
    check_option("sgd", "momentum", momentum, is_allowed, "0..=1, for example 0.9")
}

fn plain(rate: f32, mut weights: Values, mut gradient: Values) -> Values {
    let done = in_place([&mut weights, &mut gradient], |[weights, gradient]| {
        for (w, g) in weights.iter_mut().zip(gradient) {
            *w -= rate * *g;
        }
    });
    if done {
        return weights;
    }
    (weights.into_tensor() - gradient.into_tensor() * rate).into()
}

fn with_momentum(
    rate: f32,
    momentum: f32,
    mut weights: Values,
    mut gradient: Values,
    mut velocity: Values,
) -> (Values, Values) {
    let values = [&mut weights, &mut gradient, &mut velocity];
    let done = in_place(values, |[weights, gradient, velocity]| {
        for ((w, g), m) in weights.iter_mut().zip(gradient).zip(velocity) {
            *m = momentum * *m - rate * *g;
            *w += *m;
        }
    });
    if done {
        return (weights, velocity);
    }
    let velocity = velocity.into_tensor() * momentum - gradient.into_tensor() * rate;
    ((weights.into_tensor() + velocity.clone()).into(), velocity.into())
}

fn nesterov(
    rate: f32,
    momentum: f32,
    mut weights: Values,
    mut gradient: Values,
    mut velocity: Values,
) -> (Values, Values) {
    let values = [&mut weights, &mut gradient, &mut velocity];
    let done = in_place(values, |[weights, gradient, velocity]| {
        for ((w, g), m) in weights.iter_mut().zip(gradient).zip(velocity) {
            let step = rate * *g;
            *m = momentum * *m - step;
            *w += momentum * *m - step;
        }
    });
    if done {
        return (weights, velocity);
    }
    let step = gradient.into_tensor() * rate;
    let velocity = velocity.into_tensor() * momentum - step.clone();
    ((weights.into_tensor() + velocity.clone() * momentum - step).into(), velocity.into())
}
