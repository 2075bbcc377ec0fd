//! Host arrays as a data set, and what a batch is.

use std::fmt;
use std::marker::PhantomData;

use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::{Dataset, Error, Result};
use twox_hash::XxHash3_128;

use crate::samples::Samples;
use crate::targets::FromTargets;

/// One batch: inputs, and what they are trained towards.
///
/// A data set of your own makes these with [`Batch::new`]:
///
/// ```
/// use refrain_burn::Batch;
/// use refrain_burn::burn::tensor::{Device, Int, Tensor};
/// use refrain_core::{Dataset, Result};
///
/// struct Parity;
///
/// impl Dataset for Parity {
///     type Batch = Batch<Tensor<2>, Tensor<1, Int>>;
///     fn len(&self) -> usize {
///         100
///     }
///     fn batch(&self, indices: &[usize]) -> Result<Self::Batch> {
///         let device = Device::default();
///         let numbers: Vec<f32> = indices.iter().map(|&i| i as f32).collect();
///         let labels: Vec<i64> = indices.iter().map(|&i| i as i64 % 2).collect();
///         let inputs = Tensor::<1>::from_data(numbers.as_slice(), &device).unsqueeze_dim(1);
///         Ok(Batch::new(inputs, Tensor::from_data(labels.as_slice(), &device)))
///     }
/// }
/// assert_eq!(Parity.batch(&[3, 4])?.inputs.dims(), [2, 1]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batch<I, T> {
    /// What the model takes.
    pub inputs: I,
    /// What its outputs are compared with; `None` where only predictions are wanted.
    pub targets: Option<T>,
    pub(crate) largest_label: Option<LargestLabel>,
}

impl<I, T> Batch<I, T> {
    /// Inputs with targets.
    ///
    /// Class labels are not checked here: one outside of the model's outputs makes Burn panic.
    /// [`ArrayDataset`] checks its labels.
    pub fn new(inputs: I, targets: T) -> Self {
        Self { inputs, targets: Some(targets), largest_label: None }
    }

    /// Inputs alone, for predictions.
    pub fn inputs(inputs: I) -> Self {
        Self { inputs, targets: None, largest_label: None }
    }
}

/// The largest label of a data set and the first sample that has it; known on the host, so that
/// a label outside of the outputs is found without reading from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LargestLabel {
    pub label: i64,
    pub sample: usize,
}

impl LargestLabel {
    /// # Errors
    /// When the model has no output for the label.
    pub(crate) fn check(self, outputs: usize) -> Result {
        let Self { label, sample } = self;
        if label < outputs as i64 {
            return Ok(());
        }
        Err(Error::data(format!(
            "label {label} of sample {sample} is outside the model's {outputs} outputs; \
             allowed: 0..={}",
            outputs.saturating_sub(1)
        )))
    }
}

/// Samples in host memory: inputs, and class labels or rows of targets.
///
/// Which tensors a batch is made of (`I`, `T`) follows from the model and the loss that the data
/// set is used with; it is never written down.
///
/// # Example
/// ```
/// use refrain_burn::burn::tensor::{Int, Tensor};
/// use refrain_burn::{ArrayDataset, Batch};
/// use refrain_core::Dataset as _;
///
/// let data = ArrayDataset::new(&[2], vec![0.0, 0.1, 1.0, 1.1])?.labels([7, 9])?;
/// let batch: Batch<Tensor<2>, Tensor<1, Int>> = data.batch(&[1])?;
/// assert_eq!(batch.inputs.into_data().as_slice::<f32>().unwrap(), [1.0, 1.1]);
/// assert_eq!(data.class(1), Some(9));
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub struct ArrayDataset<I, T> {
    samples: usize,
    sample_shape: Vec<usize>,
    inputs: Vec<f32>,
    targets: HostTargets,
    device: Device,
    // A data set makes tensors and holds none: it can be sent wherever its arrays can.
    batch: PhantomData<fn() -> (I, T)>,
}

enum HostTargets {
    None,
    Labels { labels: Vec<i64>, largest: Option<LargestLabel> },
    Rows { sample_shape: Vec<usize>, values: Vec<f32> },
}

impl<I, T> ArrayDataset<I, T> {
    /// Inputs without targets. `sample_shape`: the axes of one sample (images:
    /// `[channels, height, width]`); `inputs`: all samples one after the other, row-major.
    ///
    /// # Errors
    /// When the number of elements is no multiple of a sample's.
    pub fn new(sample_shape: &[usize], inputs: Vec<f32>) -> Result<Self> {
        let elements = elements(sample_shape)?;
        if !inputs.len().is_multiple_of(elements) {
            return Err(Error::data(format!(
                "{} inputs do not make whole samples of the shape {sample_shape:?} \
                 ({elements} elements each)",
                inputs.len()
            )));
        }
        Ok(Self {
            samples: inputs.len() / elements,
            sample_shape: sample_shape.to_vec(),
            inputs,
            targets: HostTargets::None,
            device: Device::default(),
            batch: PhantomData,
        })
    }

    /// Adds the class of each sample, counted from 0. Any integer type will do.
    ///
    /// # Errors
    /// When there is not one for each sample, or one is negative.
    pub fn labels<L>(mut self, labels: impl IntoIterator<Item = L>) -> Result<Self>
    where
        L: TryInto<i64> + fmt::Display + Copy,
    {
        let mut host = Vec::with_capacity(self.samples);
        let mut largest: Option<LargestLabel> = None;
        for (sample, given) in labels.into_iter().enumerate() {
            let label = given.try_into().ok().filter(|&label| label >= 0).ok_or_else(|| {
                Error::data(format!(
                    "label {given} of sample {sample} is no class; allowed: 0 or more"
                ))
            })?;
            if largest.is_none_or(|largest| label > largest.label) {
                largest = Some(LargestLabel { label, sample });
            }
            host.push(label);
        }
        if host.len() != self.samples {
            return Err(Error::data(format!(
                "{} labels for {} samples; there must be one for each",
                host.len(),
                self.samples
            )));
        }
        self.targets = HostTargets::Labels { labels: host, largest };
        Ok(self)
    }

    /// Adds a row of targets for each sample: one-hot classes, or numbers to be met.
    ///
    /// # Errors
    /// When there is not one row for each sample.
    pub fn targets(mut self, sample_shape: &[usize], values: Vec<f32>) -> Result<Self> {
        let elements = elements(sample_shape)?;
        if self.samples.checked_mul(elements) != Some(values.len()) {
            return Err(Error::data(format!(
                "{} targets for {} samples of the shape {sample_shape:?}; there must be {elements} \
                 for each",
                values.len(),
                self.samples
            )));
        }
        self.targets = HostTargets::Rows { sample_shape: sample_shape.to_vec(), values };
        Ok(self)
    }

    /// Where batches are made. Default: Burn's default device. The learner moves a batch that is
    /// elsewhere.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone().without_autodiff();
        self
    }

    /// The axes of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    /// The axes of a sample's targets, where they are rows of numbers; `None` where there are class
    /// labels, or no targets.
    pub fn target_shape(&self) -> Option<&[usize]> {
        match &self.targets {
            HostTargets::Rows { sample_shape, .. } => Some(sample_shape),
            _ => None,
        }
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        let targets = match &self.targets {
            HostTargets::None => 0,
            HostTargets::Labels { labels, .. } => size_of_val(labels.as_slice()),
            HostTargets::Rows { values, .. } => size_of_val(values.as_slice()),
        };
        (size_of_val(self.inputs.as_slice()) + targets) as u64
    }

    /// A hash of all that the data set holds: shapes, inputs, targets. 32 hexadecimal digits.
    ///
    /// Tells data that has changed since a run began; it withstands no forger.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::burn::tensor::{Int, Tensor};
    /// use refrain_burn::ArrayDataset;
    ///
    /// let data = |x| ArrayDataset::<Tensor<2>, Tensor<1, Int>>::new(&[2], vec![0.0, x]);
    /// assert_eq!(data(1.0)?.fingerprint(), data(1.0)?.fingerprint());
    /// assert_ne!(data(1.0)?.fingerprint(), data(1.5)?.fingerprint());
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn fingerprint(&self) -> String {
        let mut hash = XxHash3_128::new();
        let shape = |hash: &mut XxHash3_128, shape: &[usize]| {
            hash.write(format!("{shape:?}").as_bytes());
        };
        shape(&mut hash, &self.sample_shape);
        write_all(&mut hash, &self.inputs, |x| x.to_le_bytes());
        match &self.targets {
            HostTargets::None => {}
            HostTargets::Labels { labels, .. } => {
                hash.write(b"labels");
                write_all(&mut hash, labels, |label| label.to_le_bytes());
            }
            HostTargets::Rows { sample_shape, values } => {
                shape(&mut hash, sample_shape);
                write_all(&mut hash, values, |x| x.to_le_bytes());
            }
        }
        format!("{:032x}", hash.finish_128())
    }

    /// Number of classes that occur, if there are labels: the largest label plus 1.
    pub fn classes(&self) -> Option<usize> {
        match &self.targets {
            HostTargets::Labels { largest, .. } => {
                largest.and_then(|largest| usize::try_from(largest.label + 1).ok())
            }
            _ => None,
        }
    }

    /// Checks the labels against the number of a model's outputs, as the learner does at the
    /// first batch.
    ///
    /// # Errors
    /// When a label has no output, naming label, sample and outputs.
    pub fn check_labels(&self, outputs: usize) -> Result {
        match &self.targets {
            HostTargets::Labels { largest: Some(largest), .. } => largest.check(outputs),
            _ => Ok(()),
        }
    }
}

impl<I: FromArray, T: FromTargets> Dataset for ArrayDataset<I, T> {
    type Batch = Batch<I, T>;

    fn len(&self) -> usize {
        self.samples
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<I, T>> {
        let (inputs, shape) = gather(&self.inputs, &self.sample_shape, indices)?;
        let inputs = I::from_array(inputs, &shape, &self.device)?;
        match &self.targets {
            HostTargets::None => Ok(Batch::inputs(inputs)),
            HostTargets::Labels { labels, largest } => {
                let labels = indices
                    .iter()
                    .map(|&index| labels.get(index).copied().ok_or_else(|| no_sample(index)))
                    .collect::<Result<_>>()?;
                let targets = T::from_labels(labels, &self.device)?;
                Ok(Batch { inputs, targets: Some(targets), largest_label: *largest })
            }
            HostTargets::Rows { sample_shape, values } => {
                let (rows, shape) = gather(values, sample_shape, indices)?;
                Ok(Batch::new(inputs, T::from_rows(rows, &shape, &self.device)?))
            }
        }
    }

    fn class(&self, index: usize) -> Option<usize> {
        match &self.targets {
            HostTargets::None => None,
            HostTargets::Labels { labels, .. } => {
                labels.get(index).and_then(|&label| usize::try_from(label).ok())
            }
            // As Keras: the largest of a row is its class, one column is the class itself.
            HostTargets::Rows { sample_shape, values } => {
                let width: usize = sample_shape.iter().product();
                let row = values.get(index.checked_mul(width)?..)?.get(..width)?;
                match row {
                    [class] => (*class >= 0.0).then_some(class.round() as usize),
                    _ => (0..width).reduce(|a, b| if row[b] > row[a] { b } else { a }),
                }
            }
        }
    }
}

impl<I, T> fmt::Debug for ArrayDataset<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayDataset")
            .field("samples", &self.samples)
            .field("sample_shape", &self.sample_shape)
            .finish_non_exhaustive()
    }
}

/// A batch of inputs that can be made of a host array.
pub trait FromArray: Samples {
    /// From row-major elements; `shape` has the samples' axis first.
    ///
    /// # Errors
    /// When the rank does not fit, naming both shapes.
    fn from_array(values: Vec<f32>, shape: &[usize], device: &Device) -> Result<Self>;
}

impl<const D: usize> FromArray for Tensor<D> {
    fn from_array(values: Vec<f32>, shape: &[usize], device: &Device) -> Result<Self> {
        if shape.len() != D {
            return Err(Error::data(format!(
                "a batch of the shape {shape:?} has {} axes, and a tensor of {D} is asked for; \
                 give the data set the shape of one sample that the model takes",
                shape.len()
            )));
        }
        Ok(Tensor::from_data(TensorData::new(values, shape.to_vec()), device))
    }
}

/// Hashes values, many at a time: one at a time would take ten times as long.
fn write_all<T: Copy, const N: usize>(
    hash: &mut XxHash3_128,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) {
    for chunk in values.chunks(4096) {
        hash.write(&chunk.iter().flat_map(|value| bytes(*value)).collect::<Vec<u8>>());
    }
}

/// Elements of one sample; at least one.
fn elements(sample_shape: &[usize]) -> Result<usize> {
    sample_shape
        .iter()
        .try_fold(1_usize, |product, &length| product.checked_mul(length))
        .filter(|&elements| elements > 0)
        .ok_or_else(|| {
            Error::data(format!(
                "samples of the shape {sample_shape:?}; allowed: axes of 1 or more that fit into \
                 memory"
            ))
        })
}

/// The rows with these indices, and the shape of what they make.
fn gather(
    values: &[f32],
    sample_shape: &[usize],
    indices: &[usize],
) -> Result<(Vec<f32>, Vec<usize>)> {
    let width: usize = sample_shape.iter().product();
    let mut rows = Vec::with_capacity(indices.len() * width);
    for &index in indices {
        let row = index
            .checked_mul(width)
            .and_then(|start| values.get(start..)?.get(..width))
            .ok_or_else(|| no_sample(index))?;
        rows.extend_from_slice(row);
    }
    let shape = std::iter::once(indices.len()).chain(sample_shape.iter().copied()).collect();
    Ok((rows, shape))
}

fn no_sample(index: usize) -> Error {
    Error::data(format!("there is no sample {index} in this data set"))
}
