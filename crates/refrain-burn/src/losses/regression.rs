//! Losses of rows of numbers, or of distributions, against rows of the same shape.

use burn::tensor::Tensor;
use burn::tensor::activation::{relu, softplus};
use refrain_core::Result;

use super::{EPSILON, Loss, check_rows};

/// A loss without options, by its formula over `outputs` and `targets`, both `[samples, outputs]`.
macro_rules! loss_of_rows {
    ($(#[$doc:meta])* $loss:ident, $name:literal, |$outputs:ident, $targets:ident| $formula:expr) => {
        $(#[$doc])*
        ///
        /// Outputs and targets: `[samples, outputs]`.
        ///
        /// # Errors
        /// `check` refuses shapes that are not equal.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $loss;

        impl $loss {
            /// The loss.
            pub fn new() -> Self {
                Self
            }
        }

        impl Loss<Tensor<2>> for $loss {
            type Targets = Tensor<2>;

            fn name(&self) -> &'static str {
                $name
            }

            fn forward(&self, $outputs: Tensor<2>, $targets: Tensor<2>) -> Tensor<1> {
                let losses: Tensor<2> = $formula;
                losses.squeeze_dim(1)
            }

            fn check(&self, outputs: &Tensor<2>, targets: &Tensor<2>) -> Result {
                check_rows($name, outputs.dims(), targets.dims(), "")
            }
        }
    };
}

loss_of_rows!(
    /// Mean over a sample's outputs of the distance from the targets; Keras' `mae`.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::burn::tensor::{Device, Tensor};
    /// use refrain_burn::{Loss as _, MeanAbsoluteError};
    /// let row = |values: [f32; 2]| Tensor::<2>::from_data([values], &Device::default());
    /// let loss = MeanAbsoluteError::new().forward(row([1.0, 2.0]), row([1.0, 4.0]));
    /// assert_eq!(loss.into_scalar::<f32>(), 1.0);
    /// ```
    MeanAbsoluteError,
    "mean_absolute_error",
    |outputs, targets| (outputs - targets).abs().mean_dim(1)
);

loss_of_rows!(
    /// Mean of the distance in percent of the target's magnitude, which counts as 1e-7 at least;
    /// Keras' `mape`.
    MeanAbsolutePercentageError,
    "mean_absolute_percentage_error",
    |outputs, targets| {
        let magnitudes = targets.clone().abs().clamp_min(EPSILON);
        ((targets - outputs) / magnitudes).abs().mean_dim(1) * 100.0
    }
);

loss_of_rows!(
    /// Mean of the squared difference of `log(1 + x)`; numbers below 1e-7 count as that. Keras'
    /// `msle`.
    MeanSquaredLogarithmicError,
    "mean_squared_logarithmic_error",
    |outputs, targets| {
        let logarithm = |x: Tensor<2>| (x.clamp_min(EPSILON) + 1.0).log();
        (logarithm(outputs) - logarithm(targets)).square().mean_dim(1)
    }
);

loss_of_rows!(
    /// Mean of the logarithm of the error's hyperbolic cosine: half the square where the error is
    /// small, the distance less log 2 where it is large.
    LogCosh,
    "log_cosh",
    |outputs, targets| {
        let error = outputs - targets;
        (error.clone() + softplus(error * -2.0, 1.0) - std::f64::consts::LN_2).mean_dim(1)
    }
);

loss_of_rows!(
    /// Mean of `max(1 − target × output, 0)`. Targets: −1 or 1; where all of a batch's are 0 or 1,
    /// 0 counts as −1.
    Hinge,
    "hinge",
    |outputs, targets| relu(signs(targets) * outputs * -1.0 + 1.0).mean_dim(1)
);

loss_of_rows!(
    /// Mean of `max(1 − target × output, 0)²`. Targets: −1 or 1; where all of a batch's are 0 or
    /// 1, 0 counts as −1.
    SquaredHinge,
    "squared_hinge",
    |outputs, targets| relu(signs(targets) * outputs * -1.0 + 1.0).square().mean_dim(1)
);

loss_of_rows!(
    /// `max(1 + largest output of a wrong class − output of the right class, 0)`. Targets: one-hot
    /// rows. The right class counts with 0 among the wrong ones, as in Keras.
    CategoricalHinge,
    "categorical_hinge",
    |outputs, targets| {
        let right = (targets.clone() * outputs.clone()).sum_dim(1);
        let wrong = ((targets * -1.0 + 1.0) * outputs).max_dim(1);
        relu(wrong - right + 1.0)
    }
);

loss_of_rows!(
    /// Kullback-Leibler divergence of the outputs from the targets: the sum of
    /// `target × log(target / output)`. Both are kept in 1e-7..=1; Keras' `kl_divergence`.
    KlDivergence,
    "kl_divergence",
    |outputs, targets| {
        let targets = targets.clamp(EPSILON, 1.0);
        (targets.clone() * (targets / outputs.clamp(EPSILON, 1.0)).log()).sum_dim(1)
    }
);

loss_of_rows!(
    /// Mean of `output − target × log(output + 1e-7)`: how unlikely counts are, where outputs are
    /// the means of Poisson distributions. Outputs: above 0.
    Poisson,
    "poisson",
    |outputs, targets| (outputs.clone() - targets * (outputs + EPSILON).log()).mean_dim(1)
);

loss_of_rows!(
    /// The cosine of the angle between outputs and targets, negated: −1 where they point the same
    /// way. Lengths count as 1e-7 at least.
    CosineSimilarity,
    "cosine_similarity",
    |outputs, targets| (unit(outputs) * unit(targets)).sum_dim(1).neg()
);

/// Of length 1.
fn unit(rows: Tensor<2>) -> Tensor<2> {
    let squared = rows.clone().square().sum_dim(1);
    rows / squared.clamp_min(EPSILON * EPSILON).sqrt()
}

/// 0 and 1 to −1 and 1, where there is nothing else.
fn signs(targets: Tensor<2>) -> Tensor<2> {
    let is_binary = targets.clone().equal_elem(0.0).bool_or(targets.clone().equal_elem(1.0));
    let is_binary = is_binary.all().unsqueeze::<2>().expand(targets.dims());
    targets.clone().mask_where(is_binary, targets * 2.0 - 1.0)
}

/// Half the square of the error where that is small, the distance where it is large; Keras'
/// `Huber`.
///
/// Mean over a sample's outputs of `e² / 2` for `|e| ≤ δ`, else of `δ × |e| − δ² / 2`. Outputs and
/// targets: `[samples, outputs]`. Default: δ 1.
///
/// # Errors
/// `check` refuses shapes that are not equal.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Device, Tensor};
/// use refrain_burn::{Huber, Loss as _};
/// let row = |values: [f32; 2]| Tensor::<2>::from_data([values], &Device::default());
/// let loss = Huber::new().delta(2.0).forward(row([1.0, 0.0]), row([0.0, 4.0]));
/// assert_eq!(loss.into_scalar::<f32>(), (0.5 + 6.0) / 2.0);
/// ```
///
/// # Source
/// "Robust estimation of a location parameter", 1964.
#[derive(Clone, Copy, Debug)]
pub struct Huber {
    delta: f64,
}

impl Huber {
    /// The loss with δ 1.
    pub fn new() -> Self {
        Self { delta: 1.0 }
    }

    /// Where the square ends and the distance begins; above 0. Default 1.
    pub fn delta(mut self, delta: f64) -> Self {
        self.delta = delta;
        self
    }
}

impl Default for Huber {
    fn default() -> Self {
        Self::new()
    }
}

impl Loss<Tensor<2>> for Huber {
    type Targets = Tensor<2>;

    fn name(&self) -> &'static str {
        "huber"
    }

    fn forward(&self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        let distance = (outputs - targets).abs();
        // Both branches in one, so that no square overflows.
        let near = distance.clone().clamp_max(self.delta);
        (near.clone() * (distance - near * 0.5)).mean_dim(1).squeeze_dim(1)
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Tensor<2>) -> Result {
        if !(self.delta.is_finite() && self.delta > 0.0) {
            return Err(refrain_core::Error::config(format!(
                "huber: delta is {}; allowed: a finite number above 0, for example 1.0",
                self.delta
            )));
        }
        check_rows("huber", outputs.dims(), targets.dims(), "")
    }
}
