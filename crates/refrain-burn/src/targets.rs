//! What a batch is trained towards.

use burn::tensor::{Device, Int, Tensor, TensorData};
use refrain_core::{Error, Result};

use crate::dataset::FromArray as _;
use crate::samples::{Samples, nothing_to_join};

/// Targets whose kind is known at run time: class labels, or rows of numbers.
#[derive(Clone, Debug)]
pub enum Targets {
    /// The class of each sample: `[samples]`.
    Labels(Tensor<1, Int>),
    /// One-hot rows or numbers to be met: `[samples, outputs]`.
    Rows(Tensor<2>),
}

impl Targets {
    /// The targets as rows; labels become one column of numbers.
    pub fn into_rows(self) -> Tensor<2> {
        match self {
            Targets::Rows(rows) => rows,
            Targets::Labels(labels) => labels.float().unsqueeze_dim(1),
        }
    }
}

/// Targets as rows beside a model's outputs; what metrics of classes compare with.
pub trait ClassRows: Samples + Clone {
    /// Rows of `columns` numbers. Labels become one-hot rows; for one column they are its numbers.
    fn class_rows(self, columns: usize) -> Tensor<2>;

    /// The class of each sample: the label, or where a row is largest.
    fn classes(self) -> Tensor<1, Int>;

    /// Whether these targets go with `[samples, columns]` outputs.
    ///
    /// # Errors
    /// A data error that names both shapes.
    fn check_class_rows(&self, metric: &str, outputs: [usize; 2]) -> Result;
}

impl ClassRows for Tensor<1, Int> {
    fn class_rows(self, columns: usize) -> Tensor<2> {
        if columns == 1 {
            return self.float().unsqueeze_dim(1);
        }
        let [samples] = self.dims();
        let classes = Tensor::<1, Int>::arange(0..columns as i64, &self.device());
        let labels = self.unsqueeze_dim::<2>(1).expand([samples, columns]);
        labels.equal(classes.unsqueeze_dim::<2>(0).expand([samples, columns])).float()
    }

    fn classes(self) -> Tensor<1, Int> {
        self
    }

    fn check_class_rows(&self, metric: &str, outputs: [usize; 2]) -> Result {
        if self.samples() == outputs[0] {
            return Ok(());
        }
        Err(Error::data(format!(
            "{metric}: {} outputs and {} labels; there must be one label for each",
            outputs[0],
            self.samples()
        )))
    }
}

impl ClassRows for Tensor<2> {
    fn class_rows(self, _: usize) -> Tensor<2> {
        self
    }

    fn classes(self) -> Tensor<1, Int> {
        match self.dims() {
            [_, 1] => self.int().squeeze_dim(1),
            _ => self.argmax(1).squeeze_dim(1),
        }
    }

    fn check_class_rows(&self, metric: &str, outputs: [usize; 2]) -> Result {
        if self.dims() == outputs {
            return Ok(());
        }
        Err(Error::data(format!(
            "{metric}: outputs have the shape {outputs:?} and targets {:?}; they must be equal, or \
             the targets class labels",
            self.dims()
        )))
    }
}

impl ClassRows for Targets {
    fn class_rows(self, columns: usize) -> Tensor<2> {
        match self {
            Targets::Labels(labels) => labels.class_rows(columns),
            Targets::Rows(rows) => rows.class_rows(columns),
        }
    }

    fn classes(self) -> Tensor<1, Int> {
        match self {
            Targets::Labels(labels) => labels,
            Targets::Rows(rows) => rows.classes(),
        }
    }

    fn check_class_rows(&self, metric: &str, outputs: [usize; 2]) -> Result {
        match self {
            Targets::Labels(labels) => labels.check_class_rows(metric, outputs),
            Targets::Rows(rows) => rows.check_class_rows(metric, outputs),
        }
    }
}

/// Targets that can be made of host arrays; what a loss asks of
/// [`ArrayDataset`](crate::ArrayDataset).
pub trait FromTargets: Samples {
    /// From the class of each sample.
    ///
    /// # Errors
    /// When the loss has no use for labels.
    fn from_labels(labels: Vec<i64>, device: &Device) -> Result<Self>;

    /// From rows of numbers, `shape` with the samples' axis.
    ///
    /// # Errors
    /// When the loss has no use for rows, or for rows of that shape.
    fn from_rows(values: Vec<f32>, shape: &[usize], device: &Device) -> Result<Self>;
}

impl FromTargets for Tensor<1, Int> {
    fn from_labels(labels: Vec<i64>, device: &Device) -> Result<Self> {
        let shape = [labels.len()];
        Ok(Tensor::from_data(TensorData::new(labels, shape), device))
    }

    fn from_rows(_: Vec<f32>, shape: &[usize], _: &Device) -> Result<Self> {
        Err(Error::data(format!(
            "the loss takes class labels, and the data set has rows of targets (shape {shape:?}); \
             give it labels, or use a loss that takes rows such as `categorical_crossentropy`"
        )))
    }
}

impl<const D: usize> FromTargets for Tensor<D> {
    fn from_labels(labels: Vec<i64>, device: &Device) -> Result<Self> {
        let rows = labels.iter().map(|&label| label as f32).collect();
        let mut shape = vec![1; D];
        if let Some(samples) = shape.first_mut() {
            *samples = labels.len();
        }
        Tensor::from_array(rows, &shape, device)
    }

    fn from_rows(values: Vec<f32>, shape: &[usize], device: &Device) -> Result<Self> {
        Tensor::from_array(values, shape, device)
    }
}

impl FromTargets for Targets {
    fn from_labels(labels: Vec<i64>, device: &Device) -> Result<Self> {
        FromTargets::from_labels(labels, device).map(Targets::Labels)
    }

    fn from_rows(values: Vec<f32>, shape: &[usize], device: &Device) -> Result<Self> {
        let [samples, sample_shape @ ..] = shape else {
            return Err(Error::data("targets need an axis of samples"));
        };
        let outputs: usize = sample_shape.iter().product();
        FromTargets::from_rows(values, &[*samples, outputs], device).map(Targets::Rows)
    }
}

impl Samples for Targets {
    fn samples(&self) -> usize {
        match self {
            Targets::Labels(labels) => labels.samples(),
            Targets::Rows(rows) => rows.samples(),
        }
    }

    fn onto(self, device: &Device) -> Self {
        match self {
            Targets::Labels(labels) => Targets::Labels(labels.onto(device)),
            Targets::Rows(rows) => Targets::Rows(rows.onto(device)),
        }
    }

    fn concat(parts: Vec<Self>) -> Result<Self> {
        let mut labels = Vec::new();
        let mut rows = Vec::new();
        for part in parts {
            match part {
                Targets::Labels(part) => labels.push(part),
                Targets::Rows(part) => rows.push(part),
            }
        }
        match (labels.is_empty(), rows.is_empty()) {
            (false, true) => Tensor::concat(labels).map(Targets::Labels),
            (true, false) => Tensor::concat(rows).map(Targets::Rows),
            (true, true) => Err(nothing_to_join()),
            (false, false) => Err(Error::data("labels and rows of targets cannot be joined")),
        }
    }
}
