//! The recipe's model, with its weights or without.

use refrain_burn::burn::tensor::Device;
use refrain_burn::{LayerConfig, Sequential, SequentialBuilder};
use refrain_core::{Dataset as _, Error, Result};

use super::{Recipe, RecipeData};

impl Recipe {
    /// The model with its initial weights, and normalizations adapted to `data`.
    pub(super) fn build(&self, data: &RecipeData) -> Result<Sequential> {
        let sample_shape = data.sample_shape();
        let model = builder(sample_shape, &self.model.layers).device(&self.device);
        let model = model.build(self.seed);
        let model = model.map_err(|error| self.in_layer(sample_shape, error))?;
        // By the part that is trained on: what is held out must not be seen.
        let adapted =
            model.adapt(data, self.fit.trained_samples(data.len(), self.data.validation_split));
        adapted.map_err(|error| error.context(&self.origin))
    }

    /// The model without weights: shapes and names. On the CPU, whatever device is asked for: nothing
    /// is computed.
    pub(super) fn outline(&self, data: &RecipeData) -> Result<Sequential> {
        self.outline_on(data.sample_shape(), &Device::flex())
    }

    /// The same for samples of this shape, for weights on `device`.
    pub(super) fn outline_on(&self, sample_shape: &[usize], device: &Device) -> Result<Sequential> {
        let model = builder(sample_shape, &self.model.layers).device(device).outline();
        model.map_err(|error| self.in_layer(sample_shape, error))
    }

    /// The same; an error with the path of the layer at fault in the recipe.
    pub(super) fn outline_or_fault(
        &self,
        data: &RecipeData,
    ) -> Result<Sequential, (Error, String)> {
        let sample_shape = data.sample_shape();
        let model = builder(sample_shape, &self.model.layers).outline();
        model.map_err(|error| (error, self.layer_at_fault(sample_shape)))
    }

    /// Adds line and column of the layer at fault.
    fn in_layer(&self, sample_shape: &[usize], error: Error) -> Error {
        self.in_place(&self.layer_at_fault(sample_shape), error)
    }

    /// The path of the layer with which the model cannot be built.
    fn layer_at_fault(&self, sample_shape: &[usize]) -> String {
        // The first with which the layers up to it cannot be built: those in front of it can.
        let layers = &self.model.layers;
        let can_be_built = |count: &usize| {
            layers
                .get(..*count)
                .is_some_and(|layers| builder(sample_shape, layers).outline().is_ok())
        };
        let counts: Vec<usize> = (1..=layers.len()).collect();
        format!("model.layers.{}", counts.partition_point(can_be_built))
    }
}

fn builder(sample_shape: &[usize], layers: &[LayerConfig]) -> SequentialBuilder {
    Sequential::input(sample_shape).layers(layers.iter().cloned()).device(&Device::flex())
}
