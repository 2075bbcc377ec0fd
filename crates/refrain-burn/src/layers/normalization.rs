//! Layers that bring their input to one mean and one deviation.

use burn::module::{Module, Param, RunningState};
use burn::tensor::module::{batch_norm, batch_norm_train};
use burn::tensor::{Device, Tensor};
use refrain_core::Result;

use super::Place;
use super::rules::{Rules, rules};
use crate::forward::Pass;
use crate::initializer::{Initializer, stream};

/// What the layers with `gamma` and `beta` are asked for.
#[derive(Clone, Debug)]
struct Options {
    epsilon: f64,
    center: bool,
    scale: bool,
    beta_initializer: Initializer,
    gamma_initializer: Initializer,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            epsilon: 1e-3,
            center: true,
            scale: true,
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
        }
    }
}

macro_rules! options {
    ($default:literal) => {
        #[doc = concat!("Gives the layer a name. Default: `", $default, "`, `", $default, "_1`, ...")]
        pub fn named(mut self, name: impl Into<String>) -> Self {
            self.name = Some(name.into());
            self
        }

        /// Added to the variance, against a division by 0; above 0. Default 0.001.
        pub fn epsilon(mut self, epsilon: f64) -> Self {
            self.options.epsilon = epsilon;
            self
        }

        /// Whether `beta` is added. Default true.
        pub fn center(mut self, center: bool) -> Self {
            self.options.center = center;
            self
        }

        /// Whether the output is multiplied by `gamma`. Default true.
        pub fn scale(mut self, scale: bool) -> Self {
            self.options.scale = scale;
            self
        }

        /// How `beta` begins. Default `zeros`.
        pub fn beta_initializer(mut self, initializer: Initializer) -> Self {
            self.options.beta_initializer = initializer;
            self
        }

        /// How `gamma` begins. Default `ones`.
        pub fn gamma_initializer(mut self, initializer: Initializer) -> Self {
            self.options.gamma_initializer = initializer;
            self
        }

        rules! {
            "beta", beta_regularizer, beta_constraint;
            "gamma", gamma_regularizer, gamma_constraint;
        }
    };
}

/// Brings the features of each position to mean 0 and deviation 1, then scales and shifts them.
///
/// The features are the channels of an image `[channels, height, width]`, and the last axis of
/// anything else. Weights: `gamma` and `beta`, `[features]`. Defaults as Keras': epsilon 0.001, both
/// weights, which begin as ones and zeros.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Dense, LayerNormalization};
///
/// let model = Sequential::input(&[4])
///     .layer(Dense::new(16))
///     .layer(LayerNormalization::new())
///     .build(42)?;
/// assert_eq!(model.summary().rows[1].parameters, 32);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Layer normalization", arXiv:1607.06450.
#[derive(Clone, Debug, Default)]
pub struct LayerNormalization {
    pub(super) name: Option<String>,
    options: Options,
    pub(super) rules: Rules,
}

impl LayerNormalization {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    options!("layer_normalization");

    pub(super) fn build(&self, place: &Place<'_>) -> Result<NormalizationLayer> {
        self.options.build(place, None)
    }
}

/// Brings each group of features of a sample, over all its positions, to mean 0 and deviation 1, then
/// scales and shifts each feature.
///
/// The features are the channels of an image `[channels, height, width]`, and the last axis of
/// anything else. Weights: `gamma` and `beta`, `[features]`. Defaults as Keras': 32 groups, epsilon
/// 0.001, both weights, which begin as ones and zeros.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Conv2d, GroupNormalization};
///
/// let model = Sequential::input(&[1, 8, 8])
///     .layer(Conv2d::new(16, 3))
///     .layer(GroupNormalization::new(4))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [16, 6, 6]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Group normalization", ECCV 2018.
#[derive(Clone, Debug)]
pub struct GroupNormalization {
    pub(super) name: Option<String>,
    groups: usize,
    options: Options,
    pub(super) rules: Rules,
}

impl Default for GroupNormalization {
    fn default() -> Self {
        Self::new(32)
    }
}

impl GroupNormalization {
    /// `groups`: 1 or more, a divisor of the number of features. As many as features: instance
    /// normalization, for which Keras has −1.
    pub fn new(groups: usize) -> Self {
        Self { name: None, groups, options: Options::default(), rules: Rules::default() }
    }

    options!("group_normalization");

    pub(super) fn build(&self, place: &Place<'_>) -> Result<NormalizationLayer> {
        let Features { features, .. } = Features::of(place);
        if self.groups == 0 || !features.is_multiple_of(self.groups) {
            return Err(place.error(format!(
                "groups is {}, and its input of shape {:?} has {features} features; allowed: what \
                 divides {features}",
                self.groups, place.input_shape
            )));
        }
        self.options.build(place, Some(self.groups))
    }
}

/// Divides the features of each position by the root of their mean square, then scales them.
///
/// The features are the channels of an image `[channels, height, width]`, and the last axis of
/// anything else. Weight: `scale`, `[features]`, which begins as ones. Default as Keras': epsilon
/// 1e-6.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::RmsNormalization;
///
/// let model = Sequential::input(&[16]).layer(RmsNormalization::new()).build(42)?;
/// assert_eq!(model.summary().parameters(), 16);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Root mean square layer normalization", NeurIPS 2019.
#[derive(Clone, Debug)]
pub struct RmsNormalization {
    pub(super) name: Option<String>,
    epsilon: f64,
}

impl Default for RmsNormalization {
    fn default() -> Self {
        Self { name: None, epsilon: 1e-6 }
    }
}

impl RmsNormalization {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the layer a name. Default: `rms_normalization`, `rms_normalization_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Added to the mean square, against a division by 0; above 0. Default 1e-6.
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<RmsLayer> {
        check_epsilon(self.epsilon, place)?;
        let features = Features::of(place);
        let scale = Param::from_tensor(place.constant(1.0, [features.features]));
        Ok(RmsLayer { scale, features, epsilon: self.epsilon })
    }
}

/// In training, brings each feature to mean 0 and deviation 1 over the batch and all positions, then
/// scales and shifts it; in evaluation and prediction, with moving statistics in place of the batch's.
///
/// The features are the channels of an image `[channels, height, width]`, and the last axis of
/// anything else. Weights, all `[features]`: `gamma`, `beta`; not trained, but saved with them:
/// `moving_mean`, `moving_variance`. Each training step moves these towards the batch's by
/// 1 − momentum. Defaults as Keras': momentum 0.99, epsilon 0.001, `gamma` and `moving_variance` begin
/// as ones, `beta` and `moving_mean` as zeros.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{BatchNormalization, Dense};
///
/// let model = Sequential::input(&[4])
///     .layer(Dense::new(16))
///     .layer(BatchNormalization::new())
///     .build(42)?;
/// let summary = model.summary();
/// assert_eq!((summary.trainable, summary.non_trainable), (4 * 16 + 16 + 32, 32));
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Batch normalization: accelerating deep network training by reducing internal covariate shift",
/// ICML 2015.
#[derive(Clone, Debug)]
pub struct BatchNormalization {
    pub(super) name: Option<String>,
    momentum: f64,
    options: Options,
    pub(super) rules: Rules,
}

impl Default for BatchNormalization {
    fn default() -> Self {
        Self { name: None, momentum: 0.99, options: Options::default(), rules: Rules::default() }
    }
}

impl BatchNormalization {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    options!("batch_normalization");

    /// How much of the moving statistics stays in each step; 0 to 1. Default 0.99.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    pub(super) fn build(&self, place: &Place<'_>) -> Result<BatchNormalizationLayer> {
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(place.error(format!("momentum is {}; allowed: 0 to 1", self.momentum)));
        }
        let NormalizationLayer { gamma, beta, features, epsilon, .. } =
            self.options.build(place, None)?;
        let statistic = |value| RunningState::new(place.constant(value, [features.features]));
        Ok(BatchNormalizationLayer {
            gamma,
            beta,
            moving_mean: statistic(0.0),
            moving_variance: statistic(1.0),
            features,
            epsilon,
            momentum: self.momentum,
        })
    }
}

impl Options {
    fn build(&self, place: &Place<'_>, groups: Option<usize>) -> Result<NormalizationLayer> {
        check_epsilon(self.epsilon, place)?;
        let features = Features::of(place);
        let mut rng = stream(place.seed, place.index);
        let mut weight = |wanted: bool, initializer: Initializer| {
            wanted.then(|| {
                let values = initializer.fill([features.features, 1], &mut rng);
                place.weight(values, [features.features])
            })
        };
        let gamma = weight(self.scale, self.gamma_initializer);
        let beta = weight(self.center, self.beta_initializer);
        Ok(NormalizationLayer { gamma, beta, features, groups, epsilon: self.epsilon })
    }
}

fn check_epsilon(epsilon: f64, place: &Place<'_>) -> Result {
    if epsilon.is_finite() && epsilon > 0.0 {
        return Ok(());
    }
    Err(place.error(format!("epsilon is {epsilon}; allowed: a finite number above 0")))
}

/// Where the features of a sample are: between so many positions before and behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    before: usize,
    pub(super) features: usize,
    pub(super) behind: usize,
}

impl Features {
    pub(super) fn of(place: &Place<'_>) -> Self {
        match *place.input_shape {
            [channels, height, width] => {
                Self { before: 1, features: channels, behind: height * width }
            }
            ref shape => {
                let features = shape.last().copied().unwrap_or(1);
                Self { before: place.input_elements() / features, features, behind: 1 }
            }
        }
    }

    /// `[samples × before, features, behind]`.
    pub(super) fn split(self, x: Tensor<2>) -> Tensor<3> {
        let samples = x.dims()[0];
        x.reshape([samples * self.before, self.features, self.behind])
    }

    pub(super) fn rows(self, x: Tensor<3>) -> Tensor<2> {
        let samples = x.dims()[0] / self.before;
        x.reshape([samples, self.before * self.features * self.behind])
    }

    /// For what was [split](Self::split).
    fn weight(self, weight: &Param<Tensor<1>>) -> Tensor<3> {
        weight.val().reshape([1, self.features, 1])
    }
}

#[derive(Module, Debug)]
pub(crate) struct NormalizationLayer {
    gamma: Option<Param<Tensor<1>>>,
    beta: Option<Param<Tensor<1>>>,
    #[module(skip)]
    features: Features,
    /// `None`: each position for itself.
    #[module(skip)]
    groups: Option<usize>,
    #[module(skip)]
    epsilon: f64,
}

impl NormalizationLayer {
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let features = self.features;
        let x = match self.groups {
            None => {
                let x = features.split(x);
                let centered = x.clone() - x.mean_dim(1);
                let variance = centered.clone().square().mean_dim(1);
                centered / (variance + self.epsilon).sqrt()
            }
            Some(groups) => {
                let Features { before, features: count, behind } = features;
                let samples = x.dims()[0];
                let x = x.reshape([samples, before, groups, count / groups * behind]);
                let centered = x.clone() - x.mean_dim(3).mean_dim(1);
                let variance = centered.clone().square().mean_dim(3).mean_dim(1);
                let x = centered / (variance + self.epsilon).sqrt();
                x.reshape([samples * before, count, behind])
            }
        };
        let x = match &self.gamma {
            Some(gamma) => x * features.weight(gamma),
            None => x,
        };
        features.rows(match &self.beta {
            Some(beta) => x + features.weight(beta),
            None => x,
        })
    }
}

#[derive(Module, Debug)]
pub(crate) struct RmsLayer {
    scale: Param<Tensor<1>>,
    #[module(skip)]
    features: Features,
    #[module(skip)]
    epsilon: f64,
}

impl RmsLayer {
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.features.split(x);
        let mean_square = x.clone().square().mean_dim(1);
        let x = x / (mean_square + self.epsilon).sqrt();
        self.features.rows(x * self.features.weight(&self.scale))
    }
}

#[derive(Module, Debug)]
pub(crate) struct BatchNormalizationLayer {
    gamma: Option<Param<Tensor<1>>>,
    beta: Option<Param<Tensor<1>>>,
    moving_mean: RunningState<Tensor<1>>,
    moving_variance: RunningState<Tensor<1>>,
    #[module(skip)]
    features: Features,
    #[module(skip)]
    epsilon: f64,
    #[module(skip)]
    momentum: f64,
}

impl BatchNormalizationLayer {
    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        let device = x.device();
        // Inside of a user's module there is no seed, and autodiff says that it is being trained.
        let in_training = pass.seed.is_some() || x.is_autodiff();
        let x = self.features.split(x);
        let weight = |weight: &Option<Param<Tensor<1>>>, default| match weight {
            Some(weight) => weight.val(),
            None => Tensor::full([self.features.features], default, &device),
        };
        let (gamma, beta) = (weight(&self.gamma, 1.0), weight(&self.beta, 0.0));
        if !in_training {
            let mean = self.moving_mean.value().to_device(&device);
            let variance = self.moving_variance.value().to_device(&device);
            return self.features.rows(batch_norm(x, gamma, beta, mean, variance, self.epsilon));
        }
        let normalized = batch_norm_train(x, gamma, beta, self.epsilon);
        self.follow(&self.moving_mean, normalized.mean, &device);
        self.follow(&self.moving_variance, normalized.variance, &device);
        self.features.rows(normalized.output)
    }

    fn follow(&self, moving: &RunningState<Tensor<1>>, of_batch: Tensor<1>, device: &Device) {
        let kept = moving.value_sync().to_device(device) * self.momentum;
        moving.update((kept + of_batch.detach() * (1.0 - self.momentum)).detach());
    }
}
