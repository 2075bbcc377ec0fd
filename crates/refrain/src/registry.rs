//! What a recipe can name.

use refrain_burn::burn::tensor::Tensor;
use refrain_burn::{AnyLoss, AnyMetric, Loss, Metric, Targets};
use refrain_core::{CallbackRegistry, FromOptions};
use refrain_plot::{LrFinder, TrainingPlot};

/// Everything that a recipe can name, yours included: callbacks, losses, metrics.
///
/// # Example
/// ```
/// use refrain::burn::tensor::Tensor;
/// use refrain::{Metric, Registry, Targets};
///
/// /// The largest output of each sample: how sure the model is.
/// struct Confidence;
///
/// impl Metric<Tensor<2>, Targets> for Confidence {
///     fn name(&self) -> String {
///         "confidence".into()
///     }
///     fn values(&self, outputs: Tensor<2>, _: Targets) -> Tensor<2> {
///         outputs.max_dim(1)
///     }
/// }
///
/// let registry = Registry::builtin().metric(Confidence);
/// assert!(registry.callbacks.names().any(|name| name == "training_plot"));
/// # let changes = ["compile.metrics=[\"confidence\"]".to_owned()];
/// # refrain::Recipe::builtin_with(&registry.into(), &changes).unwrap();
/// ```
pub struct Registry {
    /// Callbacks.
    pub callbacks: CallbackRegistry,
    pub(crate) losses: Vec<(String, AnyLoss)>,
    pub(crate) metrics: Vec<(String, AnyMetric)>,
}

impl Registry {
    /// What comes with Refrain.
    pub fn builtin() -> Self {
        let callbacks = CallbackRegistry::builtin()
            .with_comparable::<LrFinder>()
            .with_comparable::<TrainingPlot>();
        Self { callbacks, losses: Vec::new(), metrics: Vec::new() }
    }

    /// Adds a callback under its [`NAME`](FromOptions::NAME); one of the same name is replaced.
    pub fn callback<C: FromOptions>(mut self) -> Self {
        self.callbacks = self.callbacks.with::<C>();
        self
    }

    /// Adds a loss under its own name; one of the same name is replaced.
    pub fn loss(mut self, loss: impl Loss<Tensor<2>, Targets = Targets> + Sync) -> Self {
        let name = Loss::name(&loss).to_owned();
        self.losses.retain(|(known, _)| *known != name);
        self.losses.push((name, AnyLoss::custom(loss)));
        self
    }

    /// Adds a metric under its own name; one of the same name is replaced.
    pub fn metric(mut self, metric: impl Metric<Tensor<2>, Targets> + Sync) -> Self {
        let name = metric.name();
        self.metrics.retain(|(known, _)| *known != name);
        self.metrics.push((name, AnyMetric::custom(metric)));
        self
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.callbacks.names();
        let losses = self.losses.iter().map(|(name, _)| name.as_str());
        let metrics = self.metrics.iter().map(|(name, _)| name.as_str());
        f.debug_list().entries(names.chain(losses).chain(metrics)).finish()
    }
}
