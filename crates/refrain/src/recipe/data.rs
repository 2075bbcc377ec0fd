//! `[data]`: where the samples come from, and what is held out.

use refrain_burn::{AnyTensor, ArrayDataset, Batch, Targets};
use refrain_core::options::Section;
use refrain_core::{Dataset, Part, Result, validation_split_at};

/// What `[data]` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    source: Source,
    pub(super) validation_split: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Digits,
}

/// Samples as a recipe's model takes them.
pub type RecipeSamples = ArrayDataset<AnyTensor, Targets>;

/// The data of a recipe: what is trained on, what is held out, and the source's own test part.
///
/// As a [`Dataset`] it is what `fit` gets together with [`Recipe::fit`](crate::Recipe::fit): all
/// training samples, with those at their end that a `validation_split` holds out.
///
/// # Example
/// ```
/// use refrain::{Dataset as _, Recipe};
///
/// let data = Recipe::builtin(&[])?.load_data()?;
/// assert_eq!((data.len(), data.train().len()), (1797, 1437));
/// assert_eq!(data.validation().map(|part| part.len()), Some(360));
/// assert!(data.test().is_none());
/// # Ok::<(), refrain::Error>(())
/// ```
#[derive(Debug)]
pub struct RecipeData {
    samples: RecipeSamples,
    test: Option<RecipeSamples>,
    held_out: HeldOut,
}

/// What a run is validated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldOut {
    Nothing,
    /// The samples from this one on.
    Tail(usize),
    Test,
}

impl RecipeData {
    /// What the model is trained on.
    pub fn train(&self) -> Part<'_, RecipeSamples> {
        let end = match self.held_out {
            HeldOut::Tail(first) => first,
            HeldOut::Nothing | HeldOut::Test => self.samples.len(),
        };
        part(&self.samples, 0, end)
    }

    /// What the run is validated on: the tail that `validation_split` holds out, or the test part
    /// with `validation = "test"`. `None`: the recipe has neither.
    pub fn validation(&self) -> Option<Part<'_, RecipeSamples>> {
        match self.held_out {
            HeldOut::Nothing => None,
            HeldOut::Tail(first) => Some(part(&self.samples, first, self.samples.len())),
            HeldOut::Test => self.test(),
        }
    }

    /// The source's own test part, where it has one.
    pub fn test(&self) -> Option<Part<'_, RecipeSamples>> {
        self.test.as_ref().map(|test| part(test, 0, test.len()))
    }

    /// The test part where it is what the run is validated on.
    pub(super) fn validation_data(&self) -> Option<&RecipeSamples> {
        self.test.as_ref().filter(|_| self.held_out == HeldOut::Test)
    }

    /// The axes of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        self.samples.sample_shape()
    }

    /// Axes of a sample's targets; `None` where there are class labels.
    pub(super) fn target_shape(&self) -> Option<&[usize]> {
        self.samples.target_shape()
    }

    /// Memory that all samples take, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let test = self.test.as_ref().map_or(0, ArrayDataset::bytes);
        self.samples.bytes().saturating_add(test)
    }

    /// Number of classes, where samples have labels: the largest label plus 1.
    pub fn classes(&self) -> Option<usize> {
        let test = self.test.as_ref().and_then(ArrayDataset::classes);
        self.samples.classes().max(test)
    }

    /// Checks all labels against the number of a model's outputs.
    ///
    /// # Errors
    /// When a label has no output, naming label, sample and outputs.
    pub fn check_labels(&self, outputs: usize) -> Result {
        self.samples.check_labels(outputs)?;
        self.test.as_ref().map_or(Ok(()), |test| {
            test.check_labels(outputs).map_err(|e| e.context("the test part"))
        })
    }

    /// A hash of all samples that a run trains on or is validated on, as
    /// [`ArrayDataset::fingerprint`].
    pub fn fingerprint(&self) -> String {
        let mut fingerprint = self.samples.fingerprint();
        if let Some(test) = self.validation_data() {
            fingerprint = format!("{fingerprint} {}", test.fingerprint());
        }
        fingerprint
    }
}

/// A stretch that is known to be there.
fn part(samples: &RecipeSamples, first: usize, end: usize) -> Part<'_, RecipeSamples> {
    Part::new(samples, first..end).unwrap_or_else(|_| Part::all(samples))
}

impl Dataset for RecipeData {
    type Batch = Batch<AnyTensor, Targets>;

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Self::Batch> {
        self.samples.batch(indices)
    }

    fn prefetch(&self, next: &[usize]) {
        self.samples.prefetch(next);
    }

    fn class(&self, index: usize) -> Option<usize> {
        self.samples.class(index)
    }
}

pub(super) fn read(section: &Section<'_>) -> Result<Data> {
    let source = section.require("source", "source = \"digits\"")?;
    let source = source
        .look_up("data source", &["digits"], |name| (name == "digits").then_some(Source::Digits))?;
    let split = section.get("validation_split");
    let split = split.map(|split| split.f64_in("above 0 and below 1", |x| x > 0.0 && x < 1.0));
    if let Some(validation) = section.get("validation") {
        return Err(validation.error(
            "`validation` takes the source's own test part, and digits has none; \
             use validation_split = 0.2",
        ));
    }
    let validation_split = split.transpose()?;
    section.finish()?;
    Ok(Data { source, validation_split })
}

impl Data {
    /// Loads the samples.
    pub(super) fn load(&self) -> Result<RecipeData> {
        let samples = match self.source {
            Source::Digits => {
                let digits = refrain_data::digits()?;
                ArrayDataset::new(&digits.shape, digits.pixels)?.labels(digits.labels)?
            }
        };
        let held_out = match self.validation_split {
            Some(split) => HeldOut::Tail(validation_split_at(samples.len(), split)?),
            None => HeldOut::Nothing,
        };
        Ok(RecipeData { samples, test: None, held_out })
    }
}
