//! Where a layer stands while it is built.

use std::cell::RefCell;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::{Error, Result};

use super::MAX_ELEMENTS;
use super::names::Names;
use crate::activation::Activation;
use crate::initializer::Seed;

/// Where a layer stands: what its building may depend on.
pub(crate) struct Place<'a> {
    pub name: String,
    pub type_name: &'static str,
    /// Within its stack, counted from 0.
    pub position: usize,
    /// What tells its random numbers from those of other layers; the position of a model's own layers.
    pub index: u64,
    pub input_shape: &'a [usize],
    pub seed: Seed,
    pub device: &'a Device,
    /// The layer that it is within.
    pub parent: Option<&'a Place<'a>>,
    /// Of the whole model.
    pub names: &'a RefCell<Names>,
}

impl Place<'_> {
    pub(crate) fn input_elements(&self) -> usize {
        self.input_shape.iter().product()
    }

    /// A weight of the layer. In an outline it has its shape, and takes no memory.
    pub(crate) fn weight<const D: usize>(
        &self,
        values: Vec<f32>,
        shape: [usize; D],
    ) -> Param<Tensor<D>> {
        match self.seed {
            Seed::Of(_) => Param::from_data(TensorData::new(values, shape), self.device),
            Seed::Outline => Param::from_tensor(self.constant(0.0, shape)),
        }
    }

    /// The same number everywhere.
    pub(crate) fn constant<const D: usize>(&self, value: f64, shape: [usize; D]) -> Tensor<D> {
        match self.seed {
            Seed::Of(_) => Tensor::full(shape, value, self.device),
            // One number, seen everywhere.
            Seed::Outline => Tensor::<D>::full([1; D], value, self.device).expand(shape),
        }
    }

    /// Refuses an output that is too large.
    pub(crate) fn check_elements(&self, output_shape: &[usize]) -> Result {
        let elements = output_shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
        if elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
            return Err(self.error(format!(
                "its output would have the shape {output_shape:?}; allowed: up to {MAX_ELEMENTS} \
                 elements for each sample"
            )));
        }
        Ok(())
    }

    /// Refuses an activation that changes the number of features, where they are counted already.
    pub(crate) fn check_elementwise(&self, activation: Activation) -> Result {
        if activation == Activation::Glu {
            return Err(self.error(format!(
                "its activation is glu, which halves the features; allowed: in dense layers, and as \
                 {{ type = \"activation\", activation = \"glu\" }} where those of the input of shape \
                 {:?} are to be halved: the channels of an image, else the last axis",
                self.input_shape
            )));
        }
        Ok(())
    }

    /// How many layers it is within.
    pub(crate) fn depth(&self) -> usize {
        self.parent.map_or(0, |parent| parent.depth() + 1)
    }

    /// `layer 3 `residual`, layer 2 `dense`: message`.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        let mut place = format!("layer {} `{}`", self.position + 1, self.name);
        let mut outer = self.parent;
        while let Some(parent) = outer {
            place.insert_str(0, &format!("layer {} `{}`, ", parent.position + 1, parent.name));
            outer = parent.parent;
        }
        Error::config(format!("{place}: {message}"))
    }
}
