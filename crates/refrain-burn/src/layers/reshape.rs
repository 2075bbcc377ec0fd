//! Other shapes and other orders of the same numbers.

use burn::tensor::Tensor;
use refrain_core::Result;

use super::Place;

/// Gives each sample another shape; the numbers keep their order.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::Reshape;
///
/// let model = Sequential::input(&[1, 28, 28]).layer(Reshape::new([28, 28])).build(42)?;
/// assert_eq!(model.output_shape(), [28, 28]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reshape {
    pub(super) name: Option<String>,
    target_shape: Vec<isize>,
}

impl Reshape {
    /// `target_shape`: the lengths of a sample's axes, each 1 or more; one may be −1, which stands
    /// for what is left.
    pub fn new(target_shape: impl Into<Vec<isize>>) -> Self {
        Self { name: None, target_shape: target_shape.into() }
    }

    /// Gives the layer a name. Default: `reshape`, `reshape_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The new shape.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<Vec<usize>> {
        let target = &self.target_shape;
        let unknown = target.iter().filter(|&&length| length == -1).count();
        if target.is_empty() || target.iter().any(|&length| length < -1 || length == 0) {
            return Err(place.error(format!(
                "target_shape is {target:?}; allowed: 1 axis or more, each of length 1 or more, or \
                 -1 for what is left"
            )));
        }
        if unknown > 1 {
            return Err(place.error(format!(
                "target_shape is {target:?}; allowed: one -1, since two could be anything"
            )));
        }
        let elements = place.input_elements();
        let known = target
            .iter()
            .filter_map(|&length| usize::try_from(length).ok())
            .try_fold(1_usize, usize::checked_mul);
        let left =
            known.filter(|&known| elements.is_multiple_of(known)).map(|known| elements / known);
        let Some(left) = left.filter(|&left| left == 1 || unknown == 1) else {
            return Err(place.error(format!(
                "its input of shape {:?} has {elements} elements, and target_shape {target:?} \
                 {}; allowed: lengths whose product is {elements}, or -1 for one of them",
                place.input_shape,
                match known {
                    Some(known) if unknown == 0 => format!("has {known}"),
                    Some(known) => format!("has a multiple of {known}"),
                    None => "has more".to_owned(),
                },
            )));
        };
        Ok(target.iter().map(|&length| usize::try_from(length).unwrap_or(left)).collect())
    }
}

/// Exchanges the axes of each sample.
///
/// # Example
/// ```
/// use refrain_burn::Sequential;
/// use refrain_burn::layers::Permute;
///
/// let model = Sequential::input(&[10, 64]).layer(Permute::new([2, 1])).build(42)?;
/// assert_eq!(model.output_shape(), [64, 10]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Permute {
    pub(super) name: Option<String>,
    dims: Vec<usize>,
}

impl Permute {
    /// `dims`: for each axis of the output, which of the input's axes it is; counted from 1, as in
    /// Keras.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Self { name: None, dims: dims.into() }
    }

    /// Gives the layer a name. Default: `permute`, `permute_1`, ...
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The axes, and the new shape.
    pub(super) fn build(&self, place: &Place<'_>) -> Result<(Axes, Vec<usize>)> {
        let input = place.input_shape;
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(1..=input.len()) {
            return Err(place.error(format!(
                "dims is {:?}, and its input has the shape {input:?}; allowed: the numbers {:?}, \
                 each once, in any order",
                self.dims,
                (1..=input.len()).collect::<Vec<_>>()
            )));
        }
        let shape = self.dims.iter().filter_map(|axis| input.get(axis - 1).copied()).collect();
        Ok((Axes { input: input.to_vec(), dims: self.dims.clone() }, shape))
    }
}

/// Axes that are exchanged.
#[derive(Clone, Debug)]
pub(crate) struct Axes {
    input: Vec<usize>,
    dims: Vec<usize>,
}

impl Axes {
    /// Axis by axis: each one is brought to the front of those that are not in place yet.
    pub(super) fn permute(&self, x: Tensor<2>) -> Tensor<2> {
        let [samples, elements] = x.dims();
        // The axes in their order so far, and the number of elements in front of the open ones.
        let mut order: Vec<usize> = (1..=self.input.len()).collect();
        let length = |axis: usize| self.input.get(axis - 1).copied().unwrap_or(1);
        let mut front = samples;
        let mut x = x;
        for (done, &axis) in self.dims.iter().enumerate() {
            let at = order.iter().position(|&other| other == axis).unwrap_or(done);
            let between: usize = order[done..at].iter().map(|&axis| length(axis)).product();
            let behind: usize = order[at + 1..].iter().map(|&axis| length(axis)).product();
            if at > done {
                x = x
                    .reshape([front, between, length(axis), behind])
                    .swap_dims(1, 2)
                    .reshape([samples, elements]);
                order[done..=at].rotate_right(1);
            }
            front *= length(axis);
        }
        x
    }
}
