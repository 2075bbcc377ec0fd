//! A loss chosen by name.

use burn::tensor::{Int, Tensor};
use refrain_core::{Error, Result};

use super::per_step::{PerStep, Steps};
use super::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy,
    CategoricalFocalCrossentropy, CategoricalGeneralizedCrossEntropy, CategoricalHinge, Circle,
    CosineSimilarity, Ctc, CustomLoss, Hinge, Huber, KlDivergence, LogCosh, Loss,
    MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError,
    Poisson, SparseCategoricalCrossentropy, SquaredHinge, Tversky,
};
use crate::forward::ClosingActivation;
use crate::targets::{ClassRows as _, Targets};

/// One of the losses, chosen at run time.
///
/// # Example
/// ```
/// use refrain_burn::AnyLoss;
/// assert!(AnyLoss::from_name("mse").is_some());
/// assert!(AnyLoss::NAMES.contains(&"binary_crossentropy"));
/// ```
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant is the loss of that name")]
pub enum AnyLoss {
    SparseCategoricalCrossentropy(SparseCategoricalCrossentropy),
    CategoricalCrossentropy(CategoricalCrossentropy),
    BinaryCrossentropy(BinaryCrossentropy),
    MeanSquaredError(MeanSquaredError),
    /// Of sequences of so many steps; see [`per_step`](Self::per_step).
    Ctc {
        steps: usize,
    },
    Custom(CustomLoss),
}

impl AnyLoss {
    /// A loss of your own.
    pub fn custom(loss: impl Loss<Tensor<2>, Targets = Targets> + Sync) -> Self {
        Self::Custom(CustomLoss::new(loss))
    }

    /// A loss against rows; class labels become rows of one column.
    pub fn of_rows(loss: impl Loss<Tensor<2>, Targets = Tensor<2>> + Sync) -> Self {
        Self::custom(OfRows(loss))
    }

    /// A loss against rows with a number for each class; class labels become one-hot rows where there
    /// are several outputs. Keras takes no labels there.
    pub fn of_class_rows(loss: impl Loss<Tensor<2>, Targets = Tensor<2>> + Sync) -> Self {
        Self::custom(OfClassRows(loss))
    }

    /// A loss against class labels.
    pub fn of_labels(loss: impl Loss<Tensor<2>, Targets = Tensor<1, Int>> + Sync) -> Self {
        Self::custom(OfLabels(loss))
    }

    /// The mean of this loss over the steps of sequences: outputs `[samples, steps × outputs]` are one
    /// for each step, as Keras takes `[samples, steps, outputs]`. Targets: rows with the class of each
    /// step, `[samples, steps]`, or with a number for each output of each step.
    ///
    /// A label that is no class of the outputs makes the loss NaN.
    ///
    /// `ctc` is a loss of whole sequences, and learns here how many steps they have: targets are rows of
    /// labels with 0 behind them, of any length.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::burn::tensor::{Device, Tensor};
    /// use refrain_burn::{AnyLoss, Loss as _, Targets};
    ///
    /// let loss = AnyLoss::from_name("sparse_categorical_crossentropy").unwrap().per_step(2);
    /// // Two steps of two classes each.
    /// let outputs = Tensor::from_data([[0.5_f32, 0.5, 0.0, 1.0]], &Device::default());
    /// let classes = Targets::Rows(Tensor::from_data([[0.0_f32, 1.0]], &Device::default()));
    /// let mean = loss.forward(outputs, classes).into_scalar::<f32>();
    /// assert!((mean - 2_f32.ln() / 2.0).abs() < 1e-6);
    /// ```
    pub fn per_step(self, steps: usize) -> Self {
        match self {
            Self::Ctc { .. } => Self::Ctc { steps },
            loss => Self::custom(PerStep::new(loss, steps)),
        }
    }

    /// Whether outputs are taken for logits; `None` where that is no question.
    pub fn takes_logits(&self) -> Option<bool> {
        match self {
            Self::SparseCategoricalCrossentropy(loss) => Some(loss.is_from_logits()),
            Self::CategoricalCrossentropy(loss) => Some(loss.is_from_logits()),
            Self::BinaryCrossentropy(loss) => Some(loss.is_from_logits()),
            Self::Ctc { .. } => Some(true),
            Self::MeanSquaredError(_) | Self::Custom(_) => None,
        }
    }

    /// The label of samples that have no loss, where the loss leaves some out.
    pub fn ignored_class(&self) -> Option<i64> {
        match self {
            Self::SparseCategoricalCrossentropy(loss) => loss.ignored_class(),
            _ => None,
        }
    }

    /// Keras' names.
    pub const NAMES: &[&str] = &[
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "binary_crossentropy",
        "bce",
        "mean_squared_error",
        "mse",
        "mean_absolute_error",
        "mae",
        "mean_absolute_percentage_error",
        "mape",
        "mean_squared_logarithmic_error",
        "msle",
        "huber",
        "log_cosh",
        "hinge",
        "squared_hinge",
        "categorical_hinge",
        "kl_divergence",
        "kld",
        "poisson",
        "cosine_similarity",
        "binary_focal_crossentropy",
        "categorical_focal_crossentropy",
        "dice",
        "tversky",
        "circle",
        "categorical_generalized_cross_entropy",
        "ctc",
    ];

    /// The loss of that name, on probabilities; `ctc`, on logits, of one step.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "sparse_categorical_crossentropy" => {
                Self::SparseCategoricalCrossentropy(SparseCategoricalCrossentropy::new())
            }
            "categorical_crossentropy" => {
                Self::CategoricalCrossentropy(CategoricalCrossentropy::new())
            }
            "binary_crossentropy" | "bce" => Self::BinaryCrossentropy(BinaryCrossentropy::new()),
            "mean_squared_error" | "mse" => Self::MeanSquaredError(MeanSquaredError::new()),
            "mean_absolute_error" | "mae" => Self::of_rows(MeanAbsoluteError),
            "mean_absolute_percentage_error" | "mape" => Self::of_rows(MeanAbsolutePercentageError),
            "mean_squared_logarithmic_error" | "msle" => Self::of_rows(MeanSquaredLogarithmicError),
            "huber" => Self::of_rows(Huber::new()),
            "log_cosh" => Self::of_rows(LogCosh),
            "hinge" => Self::of_class_rows(Hinge),
            "squared_hinge" => Self::of_class_rows(SquaredHinge),
            "categorical_hinge" => Self::of_class_rows(CategoricalHinge),
            "kl_divergence" | "kld" => Self::of_class_rows(KlDivergence),
            "poisson" => Self::of_rows(Poisson),
            "cosine_similarity" => Self::of_rows(CosineSimilarity),
            "binary_focal_crossentropy" => Self::of_class_rows(BinaryFocalCrossentropy::new()),
            "categorical_focal_crossentropy" => {
                Self::of_class_rows(CategoricalFocalCrossentropy::new())
            }
            "dice" => Self::of_class_rows(Tversky::dice()),
            "tversky" => Self::of_class_rows(Tversky::new()),
            "circle" => Self::of_labels(Circle::new()),
            "categorical_generalized_cross_entropy" => {
                Self::of_labels(CategoricalGeneralizedCrossEntropy::new())
            }
            "ctc" => Self::Ctc { steps: 1 },
            _ => return None,
        })
    }

    /// Whether outputs are logits. All but the cross-entropies take outputs as they are, `ctc` logits.
    pub fn from_logits(self, from_logits: bool) -> Self {
        match self {
            Self::SparseCategoricalCrossentropy(loss) => {
                Self::SparseCategoricalCrossentropy(loss.from_logits(from_logits))
            }
            Self::CategoricalCrossentropy(loss) => {
                Self::CategoricalCrossentropy(loss.from_logits(from_logits))
            }
            Self::BinaryCrossentropy(loss) => {
                Self::BinaryCrossentropy(loss.from_logits(from_logits))
            }
            Self::MeanSquaredError(_) | Self::Ctc { .. } | Self::Custom(_) => self,
        }
    }
}

impl Loss<Tensor<2>> for AnyLoss {
    type Targets = Targets;

    fn name(&self) -> &'static str {
        match self {
            Self::SparseCategoricalCrossentropy(loss) => loss.name(),
            Self::CategoricalCrossentropy(loss) => loss.name(),
            Self::BinaryCrossentropy(loss) => loss.name(),
            Self::MeanSquaredError(loss) => Loss::<Tensor<2>>::name(loss),
            Self::Ctc { .. } => Ctc.name(),
            Self::Custom(loss) => loss.name(),
        }
    }

    fn forward(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        match (self, targets) {
            (Self::SparseCategoricalCrossentropy(loss), Targets::Labels(labels)) => {
                loss.forward(outputs, labels)
            }
            // `check` refuses this, since the range of the classes is not known on the host.
            (Self::SparseCategoricalCrossentropy(loss), Targets::Rows(rows)) => {
                loss.forward(outputs, rows.int().squeeze_dim(1))
            }
            (Self::CategoricalCrossentropy(loss), targets) => {
                let rows = targets.class_rows(outputs.dims()[1]);
                loss.forward(outputs, rows)
            }
            (Self::BinaryCrossentropy(loss), targets) => {
                let rows = targets.class_rows(outputs.dims()[1]);
                loss.forward(outputs, rows)
            }
            (Self::MeanSquaredError(loss), targets) => loss.forward(outputs, targets.into_rows()),
            (Self::Ctc { steps }, targets) => {
                Ctc.forward(Steps(*steps).apart(outputs), targets.into_rows())
            }
            (Self::Custom(loss), targets) => loss.forward(outputs, targets),
        }
    }

    fn sum(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        match (self, targets) {
            (Self::SparseCategoricalCrossentropy(loss), Targets::Labels(labels)) => {
                loss.sum(outputs, labels)
            }
            (_, targets) => self.forward(outputs, targets).sum(),
        }
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        match (self, targets) {
            (Self::SparseCategoricalCrossentropy(loss), Targets::Labels(labels)) => {
                loss.check(outputs, labels)
            }
            (Self::SparseCategoricalCrossentropy(loss), Targets::Rows(rows)) => {
                Err(Error::data(format!(
                    "{} takes class labels, and the data set has rows of targets (shape {:?}); \
                     give it labels, or use `categorical_crossentropy`",
                    loss.name(),
                    rows.dims()
                )))
            }
            (Self::CategoricalCrossentropy(loss), targets) => {
                loss.check(outputs, &targets.clone().class_rows(outputs.dims()[1]))
            }
            (Self::BinaryCrossentropy(loss), targets) => {
                loss.check(outputs, &targets.clone().class_rows(outputs.dims()[1]))
            }
            (Self::MeanSquaredError(loss), targets) => {
                loss.check(outputs, &targets.clone().into_rows())
            }
            (Self::Ctc { steps }, targets) => {
                Steps(*steps).check_outputs(Ctc.name(), outputs)?;
                let outputs = Steps(*steps).apart(outputs.clone());
                Ctc.check(&outputs, &targets.clone().into_rows())
            }
            (Self::Custom(loss), targets) => loss.check(outputs, targets),
        }
    }

    fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        match self {
            Self::SparseCategoricalCrossentropy(loss) => loss.classes(outputs),
            Self::CategoricalCrossentropy(_) | Self::BinaryCrossentropy(_) => one_hot(outputs),
            Self::Custom(loss) => loss.classes(outputs),
            Self::MeanSquaredError(_) | Self::Ctc { .. } => None,
        }
    }

    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        match self {
            Self::SparseCategoricalCrossentropy(loss) => {
                loss.on_logits(closing).map(Self::SparseCategoricalCrossentropy)
            }
            Self::CategoricalCrossentropy(loss) => {
                loss.on_logits(closing).map(Self::CategoricalCrossentropy)
            }
            Self::BinaryCrossentropy(loss) => loss.on_logits(closing).map(Self::BinaryCrossentropy),
            Self::MeanSquaredError(_) | Self::Ctc { .. } => None,
            Self::Custom(loss) => loss.on_logits(closing).map(Self::Custom),
        }
    }
}

/// A loss against rows, for targets of any kind.
#[derive(Clone)]
struct OfRows<L>(L);

impl<L: Loss<Tensor<2>, Targets = Tensor<2>> + Sync> Loss<Tensor<2>> for OfRows<L> {
    type Targets = Targets;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        self.0.forward(outputs, targets.into_rows())
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        self.0.check(outputs, &targets.clone().into_rows())
    }

    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        self.0.on_logits(closing).map(Self)
    }
}

/// The classes that labels are looked up in where they become one-hot rows of so many outputs.
fn one_hot(outputs: &Tensor<2>) -> Option<usize> {
    Some(outputs.dims()[1]).filter(|outputs| *outputs > 1)
}

/// A loss against rows with a number for each class, for targets of any kind.
#[derive(Clone)]
struct OfClassRows<L>(L);

impl<L: Loss<Tensor<2>, Targets = Tensor<2>> + Sync> Loss<Tensor<2>> for OfClassRows<L> {
    type Targets = Targets;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        let rows = targets.class_rows(outputs.dims()[1]);
        self.0.forward(outputs, rows)
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        self.0.check(outputs, &targets.clone().class_rows(outputs.dims()[1]))
    }

    fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        one_hot(outputs)
    }

    fn on_logits(&self, closing: ClosingActivation) -> Option<Self> {
        self.0.on_logits(closing).map(Self)
    }
}

/// A loss against labels, for targets of any kind.
#[derive(Clone)]
struct OfLabels<L>(L);

impl<L: Loss<Tensor<2>, Targets = Tensor<1, Int>> + Sync> Loss<Tensor<2>> for OfLabels<L> {
    type Targets = Targets;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, outputs: Tensor<2>, targets: Targets) -> Tensor<1> {
        self.0.forward(outputs, targets.classes())
    }

    fn check(&self, outputs: &Tensor<2>, targets: &Targets) -> Result {
        match targets {
            Targets::Labels(labels) => self.0.check(outputs, labels),
            Targets::Rows(rows) => Err(Error::data(format!(
                "{} takes class labels, and the data set has rows of targets (shape {:?}); give it \
                 labels",
                self.0.name(),
                rows.dims()
            ))),
        }
    }

    fn classes(&self, outputs: &Tensor<2>) -> Option<usize> {
        self.0.classes(outputs)
    }
}
