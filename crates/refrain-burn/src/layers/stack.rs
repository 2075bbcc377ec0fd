//! Layers one after the other, with weights named after them.

use std::cell::RefCell;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};
use refrain_core::Result;

use super::adapted::Batches;
use super::names::Names;
use super::{Kind, Layer, LayerConfig, Place};
use crate::forward::Pass;
use crate::initializer::Seed;

/// Layers, each taking what the one before gives.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    pub(crate) layers: Vec<Layer>,
}

impl Stack {
    /// The layers of a whole model.
    pub(crate) fn build(
        configs: &[LayerConfig],
        input_shape: &[usize],
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let names = RefCell::new(Names::default());
        Self::around(configs, input_shape, &Around { seed, device, names: &names, parent: None })
    }

    /// Layers within the layer at `parent`, for the same input.
    pub(super) fn inside(parent: &Place<'_>, configs: &[LayerConfig]) -> Result<Self> {
        let Place { seed, device, names, .. } = *parent;
        let around = Around { seed, device, names, parent: Some(parent) };
        Self::around(configs, parent.input_shape, &around)
    }

    /// Layers within the layer at `parent`, each for the same input.
    pub(super) fn beside(parent: &Place<'_>, configs: &[LayerConfig]) -> Result<Self> {
        let mut layers = Vec::with_capacity(configs.len());
        for (position, config) in configs.iter().enumerate() {
            let name = parent.names.borrow_mut().name(config)?;
            let around = Around {
                seed: parent.seed,
                device: parent.device,
                names: parent.names,
                parent: Some(parent),
            };
            layers.push(config.build(&around.place(name, config, position, parent.input_shape))?);
        }
        Ok(Self { layers })
    }

    fn around(configs: &[LayerConfig], input_shape: &[usize], around: &Around<'_>) -> Result<Self> {
        let mut shape = input_shape.to_vec();
        let mut layers = Vec::with_capacity(configs.len());
        for (position, config) in configs.iter().enumerate() {
            let name = around.names.borrow_mut().name(config)?;
            let layer = config.build(&around.place(name, config, position, &shape))?;
            shape.clone_from(&layer.output_shape);
            layers.push(layer);
        }
        Ok(Self { layers })
    }

    /// The layers' outputs, one after the other. Adds what outputs cost to `penalties`.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        pass: Pass,
        penalties: &mut Vec<Tensor<1>>,
    ) -> Tensor<2> {
        forward(&self.layers, x, pass, penalties)
    }

    /// Shape of the output for one sample, where there are layers.
    pub(crate) fn output_shape(&self) -> Option<&[usize]> {
        self.layers.last().map(|layer| &*layer.output_shape)
    }

    /// Adapts each normalization to its input, when the stack gets `batches`.
    pub(crate) fn adapt(&mut self, batches: &mut Batches<'_>) -> Result {
        for position in 0..self.layers.len() {
            let (before, at) = self.layers.split_at_mut(position);
            let Some(layer) = at.first_mut() else {
                break;
            };
            let mut inputs = |visit: &mut dyn FnMut(Tensor<2>) -> Result| {
                batches(&mut |x| visit(forward(before, x, Pass::inference(), &mut Vec::new())))
            };
            match &mut layer.kind {
                Kind::Adapted(normalization) => normalization.adapt(&layer.name, &mut inputs)?,
                Kind::Residual(layers) => layers.adapt(&mut inputs)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What the regularisers of weights ask for, in the layers' order.
    pub(crate) fn penalties(&self, penalties: &mut Vec<Tensor<1>>) {
        for layer in &self.layers {
            layer.rules.penalties(&layer.kind, penalties);
            if let Some(inner) = layer.kind.inner() {
                inner.penalties(penalties);
            }
        }
    }

    /// With weights as the constraints ask for.
    pub(crate) fn constrained(mut self) -> Self {
        let constrained = |layer: Layer| {
            let kind = layer.rules.constrained(layer.kind).map_inner(Stack::constrained);
            Layer { kind, ..layer }
        };
        self.layers = self.layers.into_iter().map(constrained).collect();
        self
    }

    /// The same stack with each layer's weights changed.
    fn map_layers(mut self, mut change: impl FnMut(&str, Kind) -> Kind) -> Self {
        let layers = self.layers.into_iter();
        let change = |layer: Layer| Layer { kind: change(&layer.name, layer.kind), ..layer };
        self.layers = layers.map(change).collect();
        self
    }

    /// Layers that have weights.
    fn weighted(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.kind.has_weights())
    }
}

/// Rows in, rows out.
fn forward(
    mut layers: &[Layer],
    mut x: Tensor<2>,
    pass: Pass,
    penalties: &mut Vec<Tensor<1>>,
) -> Tensor<2> {
    while let [layer, rest @ ..] = layers {
        layers = rest;
        if let [Layer { kind: Kind::MaxPooling2d(pool), .. }, rest @ ..] = rest
            && layer.pools_in_one_pass()
            && let Some(pooled) = layer.kind.forward_pooled(&x, pool)
        {
            x = pooled;
            layers = rest;
            continue;
        }
        x = layer.forward(x, pass.logits(pass.logits && layers.is_empty()), penalties);
    }
    x
}

/// What all layers of a stack have around them.
struct Around<'a> {
    seed: Seed,
    device: &'a Device,
    names: &'a RefCell<Names>,
    parent: Option<&'a Place<'a>>,
}

impl Around<'_> {
    fn place<'s>(
        &'s self,
        name: String,
        config: &LayerConfig,
        position: usize,
        input_shape: &'s [usize],
    ) -> Place<'s> {
        let Self { seed, device, names, parent } = *self;
        let index = match parent {
            None => position as u64,
            Some(parent) => inner_index(parent.index, position as u64),
        };
        let type_name = config.type_name();
        Place { name, type_name, position, index, input_shape, seed, device, names, parent }
    }
}

/// What tells the random numbers of a layer within a layer from those of all others: mixed, since any
/// sum would meet another one's.
fn inner_index(parent: u64, position: u64) -> u64 {
    let mut bits = parent.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(position + 1);
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        bits = (bits ^ (bits >> shift)).wrapping_mul(factor);
    }
    // Never one of a model's own layers.
    (bits ^ (bits >> 31)) | (1 << 63)
}

/// Written by hand because a parameter's path is to be `dense.weight`, and the derived one is
/// `layers.0.Dense.weight`.
impl Module for Stack {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.layers.iter().fold(devices, |devices, layer| layer.kind.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.map_layers(|_, layer| layer.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_layers(|_, layer| layer.onto(device))
    }

    fn train(self) -> Self {
        self.map_layers(|_, layer| layer.train())
    }

    fn valid(&self) -> Self {
        self.clone().map_layers(|_, layer| layer.valid())
    }

    fn materialize(self) -> Self {
        self.map_layers(|_, layer| layer.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for Layer { name, kind, .. } in self.weighted() {
            visitor.enter_module(name, "Struct:Sequential");
            kind.visit(visitor);
            visitor.exit_module(name, "Struct:Sequential");
        }
    }

    fn map<V: ModuleMapper>(self, mapper: &mut V) -> Self {
        self.map_layers(|name, layer| {
            if !layer.has_weights() {
                return layer;
            }
            mapper.enter_module(name, "Struct:Sequential");
            let layer = layer.map(mapper);
            mapper.exit_module(name, "Struct:Sequential");
            layer
        })
    }
}

impl ModuleDisplayDefault for Stack {
    fn content(&self, content: Content) -> Option<Content> {
        self.layers
            .iter()
            .fold(content, |content, layer| content.add_formatted(&layer.name))
            .set_top_level_type("Sequential")
            .optional()
    }
}

impl ModuleDisplay for Stack {}
