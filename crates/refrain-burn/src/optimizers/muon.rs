//! Muon.

use burn::tensor::Tensor;
use refrain_core::Result;
use refrain_core::schedule::Rate;

use super::adam::Moments;
use super::common::Common;
use super::names::{no_such, unmatched};
use super::rule::{Decay, Formula, Rule, by_tensors, optimizer};
use super::values::Values;
use super::{ParameterInfo, names};

const LEARNING_RATE: f64 = 0.001;
const WEIGHT_DECAY: f64 = 0.004;
/// What is remembered of each parameter: the momentum; of those that go Adam's way also the running
/// mean of the squared gradient.
const MOMENTUM: &str = "momentum";
const SQUARE: &str = "velocity";

/// The momentum of a matrix, made orthogonal: all directions count the same; Keras' `Muon`.
///
/// Of parameters with two axes: `m += gradient + (momentum − 1) × m`; with Nesterov's momentum
/// `m` is looked ahead to; a few Newton-Schulz steps make it nearly orthogonal; then
/// `weights −= rate × √max(rows, columns) × rms_rate × it`. All other parameters, those of embeddings
/// and of `exclude_layers` go the way of [`AdamW`](super::AdamW). Leave the last layer to that way
/// too.
///
/// Defaults: learning rate 0.001, momentum 0.95, Nesterov, 5 steps of Newton-Schulz, rms rate 0.2,
/// weight decay 0.004; of Adam β₁ 0.9, β₂ 0.999, ε 1e-7, weight decay 0.004, the same rate.
///
/// Cost: some 15 matrix products of the parameter's size a step.
///
/// # Example
/// ```
/// use refrain_burn::{Muon, Optimizer as _};
/// assert!(Muon::new(0.02).exclude_layers(["dense_1"]).check().is_ok());
/// let error = Muon::new(0.02).ns_steps(0).check().unwrap_err();
/// assert_eq!(error.to_string(), "muon: ns_steps is 0; allowed: 1 or more, for example 5");
/// ```
///
/// # Source
/// "Muon: an optimizer for hidden layers in neural networks", 2024; the scale is that of "Muon is
/// scalable for LLM training", 2025.
#[derive(Debug)]
pub struct Muon {
    common: Common,
    adam_beta_1: f64,
    adam_beta_2: f64,
    adam_weight_decay: f64,
    adam_lr_ratio: f64,
    epsilon: f64,
    exclude_layers: Vec<String>,
    exclude_embeddings: bool,
    coefficients: [f64; 3],
    momentum: f64,
    ns_steps: usize,
    nesterov: bool,
    rms_rate: Option<f64>,
}

impl Muon {
    /// `learning_rate`: a number above 0, or a schedule.
    pub fn new(learning_rate: impl Into<Rate>) -> Self {
        let mut common = Common::new("muon", LEARNING_RATE, learning_rate.into());
        common.set_weight_decay(WEIGHT_DECAY);
        Self {
            common,
            adam_beta_1: 0.9,
            adam_beta_2: 0.999,
            adam_weight_decay: WEIGHT_DECAY,
            adam_lr_ratio: 1.0,
            epsilon: 1e-7,
            exclude_layers: Vec::new(),
            exclude_embeddings: true,
            coefficients: [3.4445, -4.7750, 2.0315],
            momentum: 0.95,
            ns_steps: 5,
            nesterov: true,
            rms_rate: Some(0.2),
        }
    }

    /// Names of layers or parameters that go Adam's way; `*` stands for anything. Default none.
    pub fn exclude_layers(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.exclude_layers = names.into_iter().map(Into::into).collect();
        self
    }

    /// The polynomial of a Newton-Schulz step: of x, x³ and x⁵. Default 3.4445, −4.7750, 2.0315.
    pub fn coefficients(mut self, a: f64, b: f64, c: f64) -> Self {
        self.coefficients = [a, b, c];
        self
    }

    /// How large updates are, so that Adam's rates and decays fit; above 0. `None`: not scaled.
    /// Default 0.2.
    pub fn rms_rate(mut self, rate: impl Into<Option<f64>>) -> Self {
        self.rms_rate = rate.into();
        self
    }

    /// Rows and columns; `None`: it goes Adam's way.
    fn matrix(&self, parameter: Option<&ParameterInfo>) -> Option<[usize; 2]> {
        let parameter = parameter?;
        let [rows, columns] = *parameter.shape.as_slice() else {
            return None;
        };
        let name = &parameter.name;
        let excluded = (self.exclude_embeddings && name.to_lowercase().contains("embedding"))
            || names::any(&self.exclude_layers, name);
        (!excluded).then_some([rows, columns])
    }
}

optimizer!(Muon {
    /// β₁ of what goes Adam's way, 0..1. Default 0.9.
    adam_beta_1: f64,
    /// β₂ of what goes Adam's way, 0..1. Default 0.999.
    adam_beta_2: f64,
    /// The weight decay of what goes Adam's way, 0 or more. Default 0.004.
    adam_weight_decay: f64,
    /// The rate of what goes Adam's way, as a multiple of the learning rate; above 0. Default 1.
    adam_lr_ratio: f64,
    /// Keeps Adam's update finite where gradients vanish; above 0. Default 1e-7.
    epsilon: f64,
    /// Whether parameters with `embedding` in their name go Adam's way. Default true.
    exclude_embeddings: bool,
    /// How much of the momentum is kept, 0..=1. Default 0.95.
    momentum: f64,
    /// Steps of Newton-Schulz, 1 or more. Default 5.
    ns_steps: usize,
    /// Whether the momentum is looked ahead to. Default true.
    nesterov: bool,
});

impl Rule for Muon {
    type Formula = Orthogonal;

    fn formula(&self) -> Orthogonal {
        let adam_rate = self.common.rate * self.adam_lr_ratio as f32;
        let betas = [self.adam_beta_1, self.adam_beta_2];
        Orthogonal {
            matrix: None,
            rate: self.common.rate,
            momentum: self.common.momentum.unwrap_or(self.momentum) as f32,
            nesterov: self.nesterov,
            ns_steps: self.ns_steps,
            coefficients: self.coefficients.map(|x| x as f32),
            rms_rate: self.rms_rate.map(|x| x as f32),
            adam: Moments::at(self.common.step(), adam_rate, betas, self.epsilon),
        }
    }

    fn formula_for(&self, parameter: Option<&ParameterInfo>) -> Orthogonal {
        Orthogonal { matrix: self.matrix(parameter), ..self.formula() }
    }

    fn weight_decay(&self, parameter: Option<&ParameterInfo>) -> Option<f64> {
        match self.matrix(parameter) {
            Some(_) => self.common.weight_decay(),
            None => Some(self.adam_weight_decay),
        }
    }

    const SLOTS: &'static [&'static str] = &[MOMENTUM, SQUARE];
    const OPTIONAL: &'static [&'static str] = &[SQUARE];
    const COUNTS_STEPS: bool = true;

    fn check(&self) -> Result {
        let common = &self.common;
        common.check_share("adam_beta_1", self.adam_beta_1, "0.9")?;
        common.check_share("adam_beta_2", self.adam_beta_2, "0.999")?;
        let decay = self.adam_weight_decay;
        let is_allowed = decay.is_finite() && decay >= 0.0;
        let allowed = "a finite number, 0 or more, for example 0.004";
        common.check_option("adam_weight_decay", decay, is_allowed, allowed)?;
        common.check_positive("adam_lr_ratio", self.adam_lr_ratio, "1.0")?;
        common.check_positive("epsilon", self.epsilon, "1e-7")?;
        for (option, value) in ["muon_a", "muon_b", "muon_c"].into_iter().zip(self.coefficients) {
            common.check_option(option, value, value.is_finite(), "a finite number")?;
        }
        self.check_momentum(self.momentum).unwrap_or(Ok(()))?;
        let steps = self.ns_steps;
        common.check_option("ns_steps", steps as f64, steps > 0, "1 or more, for example 5")?;
        if let Some(rate) = self.rms_rate {
            common.check_positive("rms_rate", rate, "0.2")?;
        }
        match unmatched(&self.exclude_layers, common.parameters()) {
            Some(name) => Err(no_such("muon: exclude_layers", name, common.parameters())),
            None => Ok(()),
        }
    }

    fn check_momentum(&self, momentum: f64) -> Option<Result> {
        let is_allowed = (0.0..=1.0).contains(&momentum);
        let allowed = "0..=1, for example 0.95";
        Some(self.common.check_option("momentum", momentum, is_allowed, allowed))
    }

    fn keeps_for(&self, _: &str, parameter: Option<&ParameterInfo>) -> bool {
        self.matrix(parameter).is_none()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Orthogonal {
    /// Of a parameter that does not go Adam's way.
    matrix: Option<[usize; 2]>,
    rate: f32,
    momentum: f32,
    nesterov: bool,
    ns_steps: usize,
    coefficients: [f32; 3],
    rms_rate: Option<f32>,
    adam: Moments,
}

impl Orthogonal {
    /// Newton-Schulz: every singular value is driven to about 1.
    fn orthogonal(&self, matrix: Tensor<2>) -> Tensor<2> {
        let [a, b, c] = self.coefficients;
        let [rows, columns] = matrix.dims();
        let is_tall = rows > columns;
        let mut x = if is_tall { matrix.transpose() } else { matrix };
        let dims = x.dims();
        // No singular value is above 1.
        let norm = x.clone().square().sum().sqrt() + 1e-7;
        x = x / norm.unsqueeze::<2>().expand(dims);
        for _ in 0..self.ns_steps {
            let gram = x.clone().matmul(x.clone().transpose());
            let quintic = gram.clone() * b + (gram.clone() * c).matmul(gram);
            x = x.clone() * a + quintic.matmul(x);
        }
        if is_tall { x.transpose() } else { x }
    }
}

impl Formula for Orthogonal {
    fn tensors(
        self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        slots: &mut Vec<Tensor<1>>,
    ) -> Tensor<1> {
        let (Some([rows, columns]), [m, ..]) = (self.matrix, slots.as_mut_slice()) else {
            return self.adam.tensors(weights, gradient, slots);
        };
        *m = m.clone() + (gradient.clone() + m.clone() * (self.momentum - 1.0));
        let ahead = match self.nesterov {
            true => gradient + m.clone() * self.momentum,
            false => m.clone(),
        };
        let update = self.orthogonal(ahead.reshape([rows, columns])) * self.rate;
        let update = match self.rms_rate {
            Some(rate) => update * (rows.max(columns) as f32).sqrt() * rate,
            None => update,
        };
        weights - update.reshape([rows * columns])
    }

    fn values(
        self,
        decay: Option<Decay>,
        weights: Values,
        gradient: Values,
        slots: &mut Vec<Values>,
    ) -> Values {
        match self.matrix {
            Some(_) => by_tensors(self, decay, weights, gradient, slots),
            None => self.adam.values(decay, weights, gradient, slots),
        }
    }
}
