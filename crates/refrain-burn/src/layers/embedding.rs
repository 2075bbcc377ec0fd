//! Numbers that stand for words or categories, to vectors.

use burn::module::{Module, Param};
use burn::tensor::{DType, Int, Tensor};
use refrain_core::{Error, Result};

use super::rules::{Rules, rules};
use super::{MAX_WEIGHTS, Place};
use crate::initializer::{Initializer, stream};

/// A row of a table for each number of the input.
///
/// Input: whole numbers, 0 or more and below `input_dim`, of any shape; as the first layer of a
/// model. Output: the input's shape and behind it `output_dim`. Weight: `embeddings`
/// `[input_dim, output_dim]`. Default as Keras': uniform within ±0.05.
///
/// Numbers are checked before each pass: one that is not in the table is an error.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::{Dense, Embedding, Lstm};
///
/// let model = Sequential::input(&[20])
///     .layer(Embedding::new(1000, 16))
///     .layer(Lstm::new(32))
///     .layer(Dense::new(1))
///     .build(42)?;
/// assert_eq!(model.summary().rows[0].output_shape, [20, 16]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Embedding {
    pub(super) name: Option<String>,
    input_dim: usize,
    output_dim: usize,
    embeddings_initializer: Initializer,
    pub(super) rules: Rules,
}

impl Embedding {
    /// A table of `input_dim` vectors of `output_dim` numbers; both 1 or more.
    pub fn new(input_dim: usize, output_dim: usize) -> Self {
        let embeddings_initializer = Initializer::RandomUniform;
        let rules = Rules::default();
        Self { name: None, input_dim, output_dim, embeddings_initializer, rules }
    }

    /// Gives the layer a name. Default: `embedding`, `embedding_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How the table begins. Default `random_uniform`.
    pub fn embeddings_initializer(mut self, initializer: Initializer) -> Self {
        self.embeddings_initializer = initializer;
        self
    }

    rules! {
        "embeddings", embeddings_regularizer, embeddings_constraint;
    }

    /// The layer, and the shape of its output.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(EmbeddingLayer, Vec<usize>)> {
        let Self { input_dim, output_dim, .. } = *self;
        if place.index != 0 {
            return Err(place.error(
                "an embedding layer takes whole numbers, which no layer gives; put it first",
            ));
        }
        if input_dim == 0 || output_dim == 0 {
            return Err(place.error(format!(
                "input_dim is {input_dim} and output_dim is {output_dim}; allowed: 1 or more"
            )));
        }
        if input_dim.checked_mul(output_dim).is_none_or(|weights| weights > MAX_WEIGHTS) {
            let allowed = match MAX_WEIGHTS / input_dim {
                0 => format!("input_dim up to {MAX_WEIGHTS}"),
                most => format!("output_dim up to {most}"),
            };
            return Err(place.error(format!(
                "{input_dim} vectors of {output_dim} numbers make more than {MAX_WEIGHTS} weights (8 \
                 GiB); allowed here: {allowed}"
            )));
        }
        let output_shape = [place.input_shape, &[output_dim]].concat();
        place.check_elements(&output_shape)?;
        let shape = [input_dim, output_dim];
        let table = self.embeddings_initializer.fill(shape, &mut stream(place.seed, place.index));
        let name = place.name.clone();
        Ok((EmbeddingLayer { embeddings: place.weight(table, shape), name }, output_shape))
    }
}

#[derive(Module, Debug)]
pub(crate) struct EmbeddingLayer {
    embeddings: Param<Tensor<2>>,
    #[module(skip)]
    name: String,
}

impl EmbeddingLayer {
    /// Refuses what is not in the table.
    pub(crate) fn check(&self, input: Tensor<2>) -> Result {
        let count = self.embeddings.lazy_shape()[0];
        let data = input.try_into_data_dtype(DType::F32).map_err(|error| {
            Error::engine("the input cannot be read from the device").with_source(error)
        })?;
        let numbers = data.as_slice::<f32>().unwrap_or_default();
        let is_in_table = |x: &f32| *x >= 0.0 && x.fract() == 0.0 && (*x as usize) < count;
        match numbers.iter().find(|x| !is_in_table(x)) {
            None => Ok(()),
            Some(other) => Err(Error::data(format!(
                "layer 1 `{}`: its input has the number {other}; allowed: whole numbers, 0 to {}",
                self.name,
                count - 1
            ))),
        }
    }

    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let table = self.embeddings.val();
        let [samples, numbers] = x.dims();
        let [_, width] = table.dims();
        let rows: Tensor<1, Int> = x.int().reshape([samples * numbers]);
        table.select(0, rows).reshape([samples, numbers * width])
    }
}
