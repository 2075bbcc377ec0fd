//! Refrain's engine on [Burn](burn): trains any Burn module, and the recipes' [`Sequential`].
//!
//! A model is a Burn module that implements [`Forward`]; with an optimizer and a loss it becomes
//! a [`BurnLearner`], which is what `refrain_core`'s trainer drives. Optimizers, losses and
//! initialisers follow Keras' formulas and defaults.
//!
//! # Example
//! ```
//! use refrain_burn::burn::{self, module::Module, nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
//! use refrain_burn::{Accuracy, ArrayDataset, Forward, Sgd, SparseCategoricalCrossentropy};
//! use refrain_core::{Fit, Trainer};
//!
//! #[derive(Module, Debug)]
//! struct Net {
//!     linear: Linear,
//! }
//!
//! impl Forward for Net {
//!     type Input = Tensor<2>;
//!     type Output = Tensor<2>;
//!     fn forward(&self, input: Tensor<2>) -> Tensor<2> {
//!         self.linear.forward(input)
//!     }
//! }
//!
//! let net = Net { linear: LinearConfig::new(2, 2).init(&Device::default()) };
//! let data = ArrayDataset::new(&[2], vec![0.0, 1.0, 1.0, 0.0])?.labels([1, 0])?;
//!
//! let loss = SparseCategoricalCrossentropy::new().from_logits(true);
//! let mut trainer =
//!     Trainer::compile(net, Sgd::new(0.1).momentum(0.9), loss).metric(Accuracy::new());
//! let history = trainer.fit(&data, Fit::epochs(20).batch_size(2).verbose(0))?;
//! assert_eq!(history.last().and_then(|logs| logs.get("accuracy")), Some(1.0));
//! # Ok::<(), refrain_core::Error>(())
//! ```

#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("weights are exchanged as little-endian bytes; this machine is big-endian");

mod forward;
mod gradients;
mod learner;
mod weights;

mod activation;
mod constraint;
mod initializer;
mod kernels;
pub mod layers;
pub mod nn;
mod regularizer;
mod sequential;
mod simd;
mod step_state;
mod summary;

pub mod losses;
pub mod metrics;
mod optimizer_state;
pub mod optimizers;

mod any_tensor;
mod dataset;
mod device;
mod samples;
mod targets;

pub use activation::Activation;
pub use any_tensor::AnyTensor;
pub use burn;
pub use constraint::Constraint;
pub use dataset::{ArrayDataset, Batch, FromArray};
pub use device::device;
pub use forward::{ClosingActivation, Forward, Pass};
pub use initializer::Initializer;
pub use layers::LayerConfig;
pub use learner::BurnLearner;
pub use losses::{
    AnyLoss, BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy,
    CategoricalFocalCrossentropy, CategoricalGeneralizedCrossEntropy, CategoricalHinge, Circle,
    CosineSimilarity, Ctc, CustomLoss, Hinge, Huber, KlDivergence, LogCosh, Loss,
    MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError,
    Poisson, SparseCategoricalCrossentropy, SquaredHinge, Tversky,
};
pub use metrics::{
    Accuracy, AnyMetric, Auc, BinaryAccuracy, CategoricalAccuracy, ConfusionMatrix, FBetaScore,
    MeanIoU, Metric, Precision, R2Score, Recall, RootMeanSquaredError, TopKCategoricalAccuracy,
};
pub use optimizers::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Group, Lamb, Lion, LossScale, Muon,
    Nadam, Optimizer, OptimizerSlot, OptimizerState, ParameterGroups, ParameterInfo, RmsProp,
    ScheduleFreeAdamW, Sgd, Values,
};
pub use regularizer::Regularizer;
pub use samples::Samples;
pub use sequential::{Sequential, SequentialBuilder};
pub use summary::{Summary, SummaryRow};
pub use targets::{ClassRows, FromTargets, Targets};
