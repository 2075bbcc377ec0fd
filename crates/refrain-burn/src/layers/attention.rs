//! Attention of a sequence to itself.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor};
use refrain_core::Result;

use super::dropout::{Dropout, DropoutLayer};
use super::kernel_options::{KernelOptions, kernel_options};
use super::recurrent::sequence;
use super::rules::Rules;
use super::{MAX_WEIGHTS, Place};
use crate::forward::Pass;
use crate::initializer::stream;
use crate::kernels;

/// Each step looks at all steps, in several heads: `softmax(query × keyᵀ / √key_dim) × value`.
///
/// Query, key and value are all made of the layer's input: self-attention.
///
/// Input and output: `[steps, features]`. Weights, with a bias each: `query.kernel` and `key.kernel`
/// `[features, num_heads, key_dim]`, `value.kernel` `[features, num_heads, value_dim]`,
/// `attention_output.kernel` `[num_heads, value_dim, features]`; `query.bias` `[num_heads, key_dim]`, ...
///
/// Defaults as Keras': `value_dim` as `key_dim`, no dropout, with biases, every step sees every step,
/// kernels `glorot_uniform`, biases `zeros`. Cost: `num_heads × steps²` numbers for each sample.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{LayerNormalization, MultiHeadAttention, Residual};
///
/// let model = Sequential::input(&[28, 32])
///     .layer(Residual::new([
///         LayerNormalization::new().into(),
///         MultiHeadAttention::new(4, 8).use_causal_mask(true).into(),
///     ]))
///     .build(42)?;
/// assert_eq!(model.output_shape(), [28, 32]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
///
/// # Source
/// "Attention is all you need", NeurIPS 2017.
#[derive(Clone, Debug)]
pub struct MultiHeadAttention {
    pub(super) name: Option<String>,
    num_heads: usize,
    key_dim: usize,
    value_dim: Option<usize>,
    dropout: f64,
    output_shape: Option<usize>,
    use_causal_mask: bool,
    /// For each of the four kernels.
    pub(super) options: KernelOptions,
    pub(super) rules: Rules,
}

impl MultiHeadAttention {
    /// `num_heads` heads whose queries and keys have the length `key_dim`; 1 or more.
    pub fn new(num_heads: usize, key_dim: usize) -> Self {
        Self {
            name: None,
            num_heads,
            key_dim,
            value_dim: None,
            dropout: 0.0,
            output_shape: None,
            use_causal_mask: false,
            options: KernelOptions::default(),
            rules: Rules::default(),
        }
    }

    /// Gives the layer a name. Default: `multi_head_attention`, `multi_head_attention_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Length of a head's values; 1 or more. Default: `key_dim`.
    pub fn value_dim(mut self, value_dim: usize) -> Self {
        self.value_dim = Some(value_dim);
        self
    }

    /// The share of attention that is dropped in training; 0 or more and below 1. Default 0.
    pub fn dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Features of each step of the output; 1 or more. Default: those of the input.
    pub fn output_shape(mut self, output_shape: usize) -> Self {
        self.output_shape = Some(output_shape);
        self
    }

    /// Whether a step sees itself and those before it alone. Default false.
    pub fn use_causal_mask(mut self, use_causal_mask: bool) -> Self {
        self.use_causal_mask = use_causal_mask;
        self
    }

    kernel_options!();

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(AttentionLayer, Vec<usize>)> {
        let [steps, features] = sequence(place)?;
        let (heads, key_dim) = (self.num_heads, self.key_dim);
        let value_dim = self.value_dim.unwrap_or(key_dim);
        let outputs = self.output_shape.unwrap_or(features);
        for (option, length) in [
            ("num_heads", heads),
            ("key_dim", key_dim),
            ("value_dim", value_dim),
            ("output_shape", outputs),
        ] {
            if length == 0 {
                return Err(place.error(format!("{option} is 0; allowed: 1 or more")));
            }
        }
        let longest = key_dim.max(value_dim);
        let weights = heads.saturating_mul(longest).saturating_mul(features.max(outputs));
        if weights > MAX_WEIGHTS {
            return Err(place.error(format!(
                "{heads} heads of {longest} for {features} features make more than {MAX_WEIGHTS} \
                 weights (8 GiB); allowed here: num_heads up to {}",
                (MAX_WEIGHTS / longest.saturating_mul(features.max(outputs))).max(1)
            )));
        }
        // What each step gives to each step.
        place.check_elements(&[heads, steps, steps])?;
        place.check_elements(&[steps, heads, longest])?;
        place.check_elements(&[steps, outputs])?;
        let dropout = Dropout::new(self.dropout).build(place)?;

        let mut rng = stream(place.seed, place.index);
        let mut projection = |length: usize| {
            // Keras takes the first axis for places of a kernel.
            let shape = [features * heads, length];
            let kernel = self.options.kernel_initializer.spread(shape, features, &mut rng);
            let bias = self.options.bias([heads, length], &mut rng, place);
            Projection { kernel: place.weight(kernel, [features, heads, length]), bias }
        };
        let (query, key, value) = (projection(key_dim), projection(key_dim), projection(value_dim));
        let kernel =
            self.options.kernel_initializer.spread([heads * value_dim, outputs], heads, &mut rng);
        let bias = self.options.bias([outputs], &mut rng, place);
        let attention_output =
            Output { kernel: place.weight(kernel, [heads, value_dim, outputs]), bias };
        let layer = AttentionLayer {
            query,
            key,
            value,
            attention_output,
            dropout,
            steps,
            is_causal: self.use_causal_mask,
        };
        Ok((layer, vec![steps, outputs]))
    }
}

#[derive(Module, Debug)]
pub(crate) struct AttentionLayer {
    query: Projection,
    key: Projection,
    value: Projection,
    attention_output: Output,
    #[module(skip)]
    dropout: DropoutLayer,
    #[module(skip)]
    steps: usize,
    #[module(skip)]
    is_causal: bool,
}

/// Of features to heads.
#[derive(Module, Debug)]
struct Projection {
    kernel: Param<Tensor<3>>,
    bias: Option<Param<Tensor<2>>>,
}

impl Projection {
    /// `[samples × steps, features]` to `[samples, heads, steps, length]`.
    fn forward(&self, x: Tensor<2>, steps: usize) -> Tensor<4> {
        let kernel = self.kernel.val();
        let [features, heads, length] = kernel.dims();
        let rows = x.dims()[0];
        let mut x = x.matmul(kernel.reshape([features, heads * length]));
        if let Some(bias) = &self.bias {
            x = x + bias.val().reshape([1, heads * length]);
        }
        x.reshape([rows / steps, steps, heads, length]).swap_dims(1, 2)
    }
}

/// Of heads to features.
#[derive(Module, Debug)]
struct Output {
    kernel: Param<Tensor<3>>,
    bias: Option<Param<Tensor<1>>>,
}

impl AttentionLayer {
    /// Numbers that a training step keeps of each sample: queries, keys, values and what becomes of
    /// them; and what each step gives to each step, before and after the softmax and the dropout.
    pub(super) fn kept(&self) -> usize {
        let [_, heads, key_dim] = self.query.kernel.lazy_shape().dims();
        let [_, _, value_dim] = self.value.kernel.lazy_shape().dims();
        let of_step = key_dim.saturating_add(value_dim).saturating_mul(2);
        let of_step = of_step.saturating_add(self.steps.saturating_mul(3));
        of_step.saturating_mul(heads).saturating_mul(self.steps)
    }

    pub(super) fn forward(&self, x: Tensor<2>, pass: Pass) -> Tensor<2> {
        let steps = self.steps;
        let [samples, elements] = x.dims();
        let x = x.reshape([samples * steps, elements / steps]);
        let query = self.query.forward(x.clone(), steps);
        let key = self.key.forward(x.clone(), steps);
        let value = self.value.forward(x, steps);
        let [_, heads, _, key_dim] = query.dims();

        let query = query / (key_dim as f64).sqrt();
        let mut scores = query.matmul(key.swap_dims(2, 3));
        if self.is_causal {
            let later = Tensor::<2, Bool>::tril_mask([steps, steps], 0, &scores.device());
            let later = later.reshape([1, 1, steps, steps]).expand(scores.dims());
            scores = scores.mask_fill(later, f32::NEG_INFINITY);
        }
        let attention = kernels::softmax(scores).reshape([samples, heads * steps * steps]);
        let attention = self.dropout.forward(attention, pass);
        let seen = attention.reshape([samples, heads, steps, steps]).matmul(value);

        let kernel = self.attention_output.kernel.val();
        let [heads, value_dim, outputs] = kernel.dims();
        let seen = seen.swap_dims(1, 2).reshape([samples * steps, heads * value_dim]);
        let mut x = seen.matmul(kernel.reshape([heads * value_dim, outputs]));
        if let Some(bias) = &self.attention_output.bias {
            x = x + bias.val().reshape([1, outputs]);
        }
        x.reshape([samples, steps * outputs])
    }
}
