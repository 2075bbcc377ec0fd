//! Host arrays as a data set, and what a batch is.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::{Dataset, Error, Result, RowSource, StopHandle};
use twox_hash::XxHash3_128;

use crate::samples::Samples;
use crate::targets::FromTargets;

/// Numbers that a fingerprint looks at altogether, 4 GiB of them: a second in memory, and from a disk
/// of 500 MB/s eight.
const MOST_HASHED: usize = 1 << 30;
/// Samples that it looks at where there are more numbers.
const LOOKED_AT: usize = 4096;
const HASHED_AT_ONCE: usize = 1 << 18;
/// Burn's whole numbers on the CPU have 32 bits.
const LARGEST_CLASS: i64 = i32::MAX as i64;

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
    inputs: Inputs,
    targets: HostTargets,
    device: Device,
    // A data set makes tensors and holds none: it can be sent wherever its arrays can.
    batch: PhantomData<fn() -> (I, T)>,
}

enum Inputs {
    Memory(Vec<f32>),
    /// With the hash of shape and inputs.
    Rows {
        rows: Arc<dyn RowSource>,
        hash: Box<XxHash3_128>,
    },
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
            inputs: Inputs::Memory(inputs),
            targets: HostTargets::None,
            device: Device::flex(),
            batch: PhantomData,
        })
    }

    /// Inputs that are read when they are wanted, as from a file that is larger than memory.
    ///
    /// Reads what their [fingerprint](Self::fingerprint) looks at: up to 4 GiB all of them.
    ///
    /// # Errors
    /// When a row has not as many numbers as a sample; when rows cannot be read.
    ///
    /// # Example
    /// ```
    /// use refrain_burn::burn::tensor::Tensor;
    /// use refrain_burn::{ArrayDataset, Batch};
    /// use refrain_core::{Dataset as _, Result, RowSource};
    ///
    /// struct Counting;
    ///
    /// impl RowSource for Counting {
    ///     fn len(&self) -> usize {
    ///         1_000_000
    ///     }
    ///     fn width(&self) -> usize {
    ///         1
    ///     }
    ///     fn read(&self, indices: &[usize], rows: &mut Vec<f32>) -> Result {
    ///         rows.extend(indices.iter().map(|&i| i as f32));
    ///         Ok(())
    ///     }
    /// }
    /// let data = ArrayDataset::from_rows(&[1], Counting)?;
    /// let batch: Batch<Tensor<2>, Tensor<2>> = data.batch(&[7])?;
    /// assert_eq!(batch.inputs.into_scalar::<f32>(), 7.0);
    /// # Ok::<(), refrain_core::Error>(())
    /// ```
    pub fn from_rows(sample_shape: &[usize], rows: impl RowSource + 'static) -> Result<Self> {
        Self::from_rows_with(sample_shape, rows, &StopHandle::default())
    }

    /// As [`from_rows`](Self::from_rows); `stop` breaks the reading off, within a mebibyte.
    ///
    /// # Errors
    /// As [`from_rows`](Self::from_rows), and when it was stopped.
    pub fn from_rows_with(
        sample_shape: &[usize],
        rows: impl RowSource + 'static,
        stop: &StopHandle,
    ) -> Result<Self> {
        let elements = elements(sample_shape)?;
        if rows.width() != elements {
            return Err(Error::data(format!(
                "rows of {} numbers are no samples of the shape {sample_shape:?} ({elements} elements \
                 each)",
                rows.width()
            )));
        }
        let mut hash = Box::new(XxHash3_128::new());
        write_shape(&mut hash, sample_shape);
        let mut read = Vec::new();
        for indices in looked_at(rows.len(), elements) {
            if stop.is_stopped() {
                return Err(Error::msg("reading the data was interrupted"));
            }
            read.clear();
            rows.read(&indices, &mut read)?;
            write_all(&mut hash, &read, |x| x.to_le_bytes());
        }
        Ok(Self {
            samples: rows.len(),
            sample_shape: sample_shape.to_vec(),
            inputs: Inputs::Rows { rows: Arc::new(rows), hash },
            targets: HostTargets::None,
            device: Device::flex(),
            batch: PhantomData,
        })
    }

    /// Adds the class of each sample, counted from 0. Any integer type will do.
    ///
    /// # Errors
    /// When there is not one for each sample, or one is negative or above 2³¹ − 1.
    pub fn labels<L>(mut self, labels: impl IntoIterator<Item = L>) -> Result<Self>
    where
        L: TryInto<i64> + fmt::Display + Copy,
    {
        let mut host = Vec::with_capacity(self.samples);
        let mut largest: Option<LargestLabel> = None;
        for (sample, given) in labels.into_iter().enumerate() {
            let is_class = |label: &i64| (0..=LARGEST_CLASS).contains(label);
            let label = given.try_into().ok().filter(is_class).ok_or_else(|| {
                Error::data(format!(
                    "label {given} of sample {sample} is no class; allowed: 0 to {LARGEST_CLASS}"
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

    /// Where batches are made. Default: the CPU. The learner moves a batch to where the model is, one
    /// copy over the bus.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone().without_autodiff();
        self
    }

    /// The axes of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        let targets = match &self.targets {
            HostTargets::None => 0,
            HostTargets::Labels { labels, .. } => size_of_val(labels.as_slice()),
            HostTargets::Rows { values, .. } => size_of_val(values.as_slice()),
        };
        let inputs = match &self.inputs {
            Inputs::Memory(inputs) => size_of_val(inputs.as_slice()),
            // They stay on the disk.
            Inputs::Rows { .. } => 0,
        };
        (inputs + targets) as u64
    }

    /// A hash of all that the data set holds: shapes, inputs, targets. 32 hexadecimal digits. Of inputs
    /// above 4 GiB it looks at 4,096 samples spread over them: a change between these is not seen.
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
        match &self.inputs {
            Inputs::Memory(inputs) => {
                let width: usize = self.sample_shape.iter().product();
                write_shape(&mut hash, &self.sample_shape);
                for indices in looked_at(self.samples, width) {
                    for (first, last) in ends_of_runs(&indices) {
                        let stretch = inputs.get(first * width..(last + 1) * width);
                        write_all(&mut hash, stretch.unwrap_or_default(), |x| x.to_le_bytes());
                    }
                }
            }
            Inputs::Rows { hash: of_rows, .. } => hash.clone_from(of_rows),
        }
        match &self.targets {
            HostTargets::None => {}
            HostTargets::Labels { labels, .. } => {
                hash.write(b"labels");
                write_all(&mut hash, labels, |label| label.to_le_bytes());
            }
            HostTargets::Rows { sample_shape, values } => {
                write_shape(&mut hash, sample_shape);
                write_all(&mut hash, values, |x| x.to_le_bytes());
            }
        }
        format!("{:032x}", hash.finish_128())
    }

    /// The shape of a row of targets, where the data set has rows.
    pub fn target_shape(&self) -> Option<&[usize]> {
        match &self.targets {
            HostTargets::Rows { sample_shape, .. } => Some(sample_shape),
            HostTargets::None | HostTargets::Labels { .. } => None,
        }
    }

    /// Checks rows of targets as labels of steps against the number of a model's outputs: each must be
    /// a class, or `ignored`.
    ///
    /// # Errors
    /// When one is neither, naming number, sample and outputs.
    pub fn check_step_labels(&self, outputs: usize, ignored: Option<i64>) -> Result {
        let HostTargets::Rows { sample_shape, values } = &self.targets else {
            return Ok(());
        };
        let is_allowed = |label: f32| {
            let is_class = label >= 0.0 && label < outputs as f32 && label.fract() == 0.0;
            is_class || ignored.is_some_and(|ignored| label == ignored as f32)
        };
        let width: usize = sample_shape.iter().product();
        match values.iter().position(|label| !is_allowed(*label)) {
            None => Ok(()),
            Some(at) => Err(Error::data(format!(
                "label {} of sample {}, step {}, is no class of the model's {outputs} outputs; allowed: \
                 whole numbers, 0..={}",
                values.get(at).copied().unwrap_or(f32::NAN),
                at / width.max(1),
                at % width.max(1),
                outputs.saturating_sub(1)
            ))),
        }
    }

    /// Checks targets as the labels that [`Ctc`](crate::Ctc) reads off sequences of so many steps, against
    /// the number of a model's classes, the blank with them.
    ///
    /// # Errors
    /// When one is no class, stands behind a 0, or the labels of a sample need more steps, naming label,
    /// sample and what is allowed.
    pub fn check_label_sequences(&self, steps: usize, classes: usize) -> Result {
        let of_sample = |sample: usize, row: &[f32]| {
            let is_class = |x: f32| x >= 0.0 && x < classes as f32 && x.fract() == 0.0;
            if let Some(at) = row.iter().position(|label| !is_class(*label)) {
                return Err(Error::data(format!(
                    "label {} of sample {sample}, place {at}, is no class of the model's {classes}; \
                     allowed: whole numbers, 1..={}, with 0 behind them",
                    row.get(at).copied().unwrap_or(f32::NAN),
                    classes.saturating_sub(1)
                )));
            }
            let labels = row.iter().take_while(|label| **label != 0.0).count();
            if row.iter().skip(labels).any(|label| *label != 0.0) {
                return Err(Error::data(format!(
                    "sample {sample} has a 0 at place {labels} and a label behind it; 0 is the blank, and \
                     stands behind the labels alone: count classes from 1"
                )));
            }
            let repeated =
                row.windows(2).filter(|pair| pair[0] == pair[1] && pair[0] != 0.0).count();
            if labels + repeated > steps {
                return Err(Error::data(format!(
                    "the {labels} labels of sample {sample} need {} steps, one each and a blank between two \
                     equal ones, and the model has {steps}; leave the sample out, or let the model have \
                     more steps",
                    labels + repeated
                )));
            }
            Ok(())
        };
        match &self.targets {
            HostTargets::None => Ok(()),
            HostTargets::Labels { labels, .. } => (0..)
                .zip(labels.iter())
                .try_for_each(|(sample, label)| of_sample(sample, &[*label as f32])),
            HostTargets::Rows { sample_shape, values } => {
                let width: usize = sample_shape.iter().product();
                (0..)
                    .zip(values.chunks_exact(width.max(1)))
                    .try_for_each(|(sample, row)| of_sample(sample, row))
            }
        }
    }

    /// Whether these samples, and all steps of them, have this one label.
    pub fn have_only(&self, label: i64, samples: Range<usize>) -> bool {
        match &self.targets {
            HostTargets::None => false,
            HostTargets::Labels { labels, .. } => {
                labels.get(samples).is_some_and(|labels| labels.iter().all(|x| *x == label))
            }
            HostTargets::Rows { sample_shape, values } => {
                let width: usize = sample_shape.iter().product();
                let rows = samples.start.saturating_mul(width)..samples.end.saturating_mul(width);
                values.get(rows).is_some_and(|values| values.iter().all(|x| *x == label as f32))
            }
        }
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

    /// [`check_labels`](Self::check_labels), where samples of one label are left out.
    ///
    /// # Errors
    /// When another label has no output, naming label, sample and outputs.
    pub fn check_labels_but(&self, outputs: usize, ignored: i64) -> Result {
        let HostTargets::Labels { labels, .. } = &self.targets else {
            return Ok(());
        };
        let others = labels.iter().enumerate().filter(|(_, label)| **label != ignored);
        let largest = others.max_by_key(|(_, label)| **label);
        largest.map_or(Ok(()), |(sample, &label)| LargestLabel { label, sample }.check(outputs))
    }
}

impl<I: FromArray, T: FromTargets> Dataset for ArrayDataset<I, T> {
    type Batch = Batch<I, T>;

    fn len(&self) -> usize {
        self.samples
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<I, T>> {
        let (inputs, shape) = match &self.inputs {
            Inputs::Memory(inputs) => gather(inputs, &self.sample_shape, indices)?,
            Inputs::Rows { rows, .. } => {
                let mut read = Vec::new();
                rows.read(indices, &mut read)?;
                (read, batch_shape(&self.sample_shape, indices.len()))
            }
        };
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

    fn prefetch(&self, next: &[usize]) {
        // What is in memory is gathered in no time.
        if let Inputs::Rows { rows, .. } = &self.inputs {
            rows.prefetch(next);
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
    let mut buffer = vec![[0; N]; values.len().min(4096)];
    for chunk in values.chunks(4096) {
        for (bytes_of_one, value) in buffer.iter_mut().zip(chunk) {
            *bytes_of_one = bytes(*value);
        }
        hash.write(buffer.get(..chunk.len()).unwrap_or_default().as_flattened());
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
    Ok((rows, batch_shape(sample_shape, indices.len())))
}

fn batch_shape(sample_shape: &[usize], samples: usize) -> Vec<usize> {
    std::iter::once(samples).chain(sample_shape.iter().copied()).collect()
}

/// The samples that a fingerprint looks at, some at a time: all, or, where there are more than
/// [`MOST_HASHED`] numbers, some that are spread over them.
fn looked_at(samples: usize, width: usize) -> impl Iterator<Item = Vec<usize>> {
    let is_all = samples.saturating_mul(width) <= MOST_HASHED;
    let count = if is_all { samples } else { samples.min(LOOKED_AT) };
    // The first and the last among them.
    let index = move |i: usize| match is_all {
        true => i,
        false => (i as u128 * (samples - 1) as u128 / (count - 1).max(1) as u128) as usize,
    };
    let at_once = (HASHED_AT_ONCE / width.max(1)).max(1);
    (0..count)
        .step_by(at_once)
        .map(move |first| (first..count.min(first + at_once)).map(index).collect())
}

/// First and last of each stretch of indices that follow each other.
fn ends_of_runs(indices: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let runs = indices.chunk_by(|a, b| a + 1 == *b);
    runs.filter_map(|run| Some((*run.first()?, *run.last()?)))
}

fn write_shape(hash: &mut XxHash3_128, shape: &[usize]) {
    hash.write(format!("{shape:?}").as_bytes());
}

fn no_sample(index: usize) -> Error {
    Error::data(format!("there is no sample {index} in this data set"))
}
