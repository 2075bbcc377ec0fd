//! What `fit`, `evaluate` and `predict` are asked to do, and the batches that follow from it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::finding::RunPlan;
use crate::random;

/// Largest batch size and number of epochs or steps that are taken: beyond it is a slip.
const MAX_COUNT: usize = 1 << 40;

/// Options of [`Trainer::fit`](crate::Trainer::fit), with Keras' names, meanings and defaults.
///
/// # Example
/// ```
/// use refrain_core::Fit;
/// let fit: Fit<'_, ()> = Fit::epochs(50).batch_size(128).validation_split(0.2);
/// ```
pub struct Fit<'a, B> {
    pub(crate) epochs: usize,
    pub(crate) initial_epoch: usize,
    batch_size: Option<usize>,
    shuffle: bool,
    validation: Validation<'a, B>,
    validation_freq: ValidationFreq,
    validation_steps: Option<usize>,
    validation_batch_size: Option<usize>,
    validation_sample_weight: Option<Vec<f32>>,
    steps_per_epoch: Option<usize>,
    class_weight: BTreeMap<usize, f32>,
    sample_weight: Option<Vec<f32>>,
    pub(crate) verbose: u8,
}

enum Validation<'a, B> {
    None,
    Data(&'a dyn Dataset<Batch = B>),
    Split(f64),
}

/// In which epochs validation runs.
///
/// # Example
/// ```
/// use refrain_core::ValidationFreq;
/// let freq: ValidationFreq = 3.into();
/// assert!(freq.is_due(2));           // epochs count from 0: this is the third
/// assert!(ValidationFreq::At(vec![1, 10]).is_due(9));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidationFreq {
    /// Every n-th epoch.
    Every(usize),
    /// In these epochs, counted from 1.
    At(Vec<usize>),
}

impl ValidationFreq {
    /// Whether validation runs at the end of `epoch`, counted from 0.
    pub fn is_due(&self, epoch: usize) -> bool {
        match self {
            ValidationFreq::Every(n) => *n > 0 && (epoch + 1).is_multiple_of(*n),
            ValidationFreq::At(epochs) => epochs.contains(&(epoch + 1)),
        }
    }

    /// Whether validation runs at the end of one of these epochs, counted from 0.
    pub(crate) fn is_due_within(&self, epochs: Range<usize>) -> bool {
        match self {
            ValidationFreq::Every(n) => *n > 0 && epochs.end / n > epochs.start / n,
            ValidationFreq::At(due) => {
                due.iter().any(|epoch| epoch.checked_sub(1).is_some_and(|e| epochs.contains(&e)))
            }
        }
    }
}

impl From<usize> for ValidationFreq {
    fn from(n: usize) -> Self {
        ValidationFreq::Every(n)
    }
}

impl<'a, B> Fit<'a, B> {
    /// What is known of a run on `data` with these options, before it begins. The metrics are those
    /// of the learner, which is not asked here.
    ///
    /// # Errors
    /// When data and options do not fit each other.
    pub fn plan(self, data: &'a dyn Dataset<Batch = B>) -> Result<RunPlan> {
        let (epochs, initial_epoch) = (self.epochs, self.initial_epoch);
        let plan = Plan::new(data, self)?;
        Ok(RunPlan {
            epochs,
            initial_epoch,
            steps_per_epoch: plan.steps_per_epoch(),
            validation: plan.validation_freq().cloned(),
            ..RunPlan::default()
        })
    }

    /// Trains until epoch `epochs` (exclusive; the number of epochs unless `initial_epoch` is
    /// given). ≥ 1.
    pub fn epochs(epochs: usize) -> Self {
        Self {
            epochs,
            initial_epoch: 0,
            batch_size: None,
            shuffle: true,
            validation: Validation::None,
            validation_freq: ValidationFreq::Every(1),
            validation_steps: None,
            validation_batch_size: None,
            validation_sample_weight: None,
            steps_per_epoch: None,
            class_weight: BTreeMap::new(),
            sample_weight: None,
            verbose: 1,
        }
    }

    /// Samples in a batch, ≥ 1. Default 32; with `steps_per_epoch` alone, what divides the data
    /// into that many. The last batch of an epoch may be smaller, and is kept.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = Some(batch_size);
        self
    }

    /// Whether the samples are put into a new order every epoch: a function of (seed, epoch).
    /// Default true.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Data to validate on. Replaces `validation_split`.
    pub fn validation_data(mut self, data: &'a dyn Dataset<Batch = B>) -> Self {
        self.validation = Validation::Data(data);
        self
    }

    /// Fraction of the data held out for validation, in 0..1 exclusive: its tail, before any
    /// shuffling; training keeps the first ⌊n × (1 − split)⌋ samples. Replaces `validation_data`.
    pub fn validation_split(mut self, split: f64) -> Self {
        self.validation = Validation::Split(split);
        self
    }

    /// In which epochs validation runs: every n-th, or those listed. Default every.
    pub fn validation_freq(mut self, freq: impl Into<ValidationFreq>) -> Self {
        self.validation_freq = freq.into();
        self
    }

    /// Validates on the first so many batches only.
    pub fn validation_steps(mut self, steps: usize) -> Self {
        self.validation_steps = Some(steps);
        self
    }

    /// Samples in a batch of the validation. Default: `batch_size`.
    pub fn validation_batch_size(mut self, batch_size: usize) -> Self {
        self.validation_batch_size = Some(batch_size);
        self
    }

    /// A weight for each sample of `validation_data`.
    pub fn validation_sample_weight(mut self, weights: impl Into<Vec<f32>>) -> Self {
        self.validation_sample_weight = Some(weights.into());
        self
    }

    /// Batches in an epoch. With fewer than the data has, the next epoch goes on where this one
    /// ended, until the data is used up; then it starts anew (10 batches by 9: 9, 1, 9, 1, …, as
    /// in Keras).
    pub fn steps_per_epoch(mut self, steps: usize) -> Self {
        self.steps_per_epoch = Some(steps);
        self
    }

    /// The epoch to begin with, counted from 0. Default 0.
    ///
    /// The epochs before count as trained: schedules, and with `steps_per_epoch` the data, go on behind
    /// them. In Keras they do in a model that was trained so far, and begin anew in a new one.
    pub fn initial_epoch(mut self, epoch: usize) -> Self {
        self.initial_epoch = epoch;
        self
    }

    /// Weight of each class in the training loss; classes that are missing weigh 1. Excludes
    /// `sample_weight`.
    pub fn class_weight(mut self, weights: impl IntoIterator<Item = (usize, f32)>) -> Self {
        self.class_weight = weights.into_iter().collect();
        self
    }

    /// Weight of each sample in the training loss. The loss stays divided by the number of
    /// samples, not by the sum of weights. A `validation_split` splits the weights alike.
    /// Excludes `class_weight`.
    pub fn sample_weight(mut self, weights: impl Into<Vec<f32>>) -> Self {
        self.sample_weight = Some(weights.into());
        self
    }

    /// 0: no progress. 1 (default): a live bar on a terminal, else a line per epoch. 2: a line
    /// per epoch.
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }
}

/// The batches of a run: everything checked, sizes known.
pub(crate) struct Plan<'a, B> {
    pub(crate) train: Batches<'a, B>,
    pub(crate) validation: Option<Batches<'a, B>>,
    validation_freq: ValidationFreq,
    steps: usize,
    shuffle: bool,
}

impl<'a, B> Plan<'a, B> {
    pub(crate) fn new(data: &'a dyn Dataset<Batch = B>, fit: Fit<'a, B>) -> Result<Self> {
        check_count("epochs", fit.epochs)?;
        if fit.initial_epoch > MAX_COUNT {
            return Err(Error::config(format!("initial_epoch is {}", fit.initial_epoch)));
        }
        for (name, count) in [
            ("batch_size", fit.batch_size),
            ("steps_per_epoch", fit.steps_per_epoch),
            ("validation_steps", fit.validation_steps),
            ("validation_batch_size", fit.validation_batch_size),
        ] {
            count.map_or(Ok(()), |count| check_count(name, count))?;
        }
        check_freq(&fit.validation_freq)?;
        check_validation(&fit)?;
        let n = data.len();
        if n == 0 {
            return Err(Error::data("the training data holds no samples"));
        }
        check_weights("sample_weight", fit.sample_weight.as_deref(), n)?;
        if fit.sample_weight.is_some() && !fit.class_weight.is_empty() {
            return Err(Error::config(
                "sample_weight and class_weight exclude each other; give one",
            ));
        }
        for (class, weight) in &fit.class_weight {
            check_weight(&format!("class_weight of class {class}"), *weight)?;
        }
        if !fit.class_weight.is_empty() && data.class(0).is_none() {
            return Err(Error::config(
                "class_weight needs data with classes, and this data has none; leave it out (from Rust, \
                 sample_weight weighs each sample)",
            ));
        }
        let split_at = match fit.validation {
            Validation::Split(split) => validation_split_at(n, split)?,
            _ => n,
        };
        let batch_size = match (fit.batch_size, fit.steps_per_epoch) {
            (Some(size), _) => size,
            (None, Some(steps)) => split_at.div_ceil(steps),
            (None, None) => 32,
        };
        let train = Batches {
            data,
            first: 0,
            len: split_at,
            batch_size,
            sample_weight: fit.sample_weight.clone(),
            class_weight: fit.class_weight,
        };
        let validation = match fit.validation {
            Validation::None => None,
            Validation::Split(_) => Some((data, split_at, n - split_at, fit.sample_weight)),
            Validation::Data(data) => {
                let len = data.len();
                if len == 0 {
                    return Err(Error::data("the validation data holds no samples"));
                }
                let weights = fit.validation_sample_weight;
                check_weights("validation_sample_weight", weights.as_deref(), len)?;
                Some((data, 0, len, weights))
            }
        };
        let validation = validation.map(|(data, first, len, sample_weight)| {
            let batch_size = fit.validation_batch_size.unwrap_or(batch_size);
            let most = fit.validation_steps.map_or(len, |steps| steps.saturating_mul(batch_size));
            let class_weight = BTreeMap::new();
            Batches { data, first, len: len.min(most), batch_size, sample_weight, class_weight }
        });
        let steps = fit.steps_per_epoch.unwrap_or_else(|| train.count());
        Ok(Self {
            train,
            validation,
            validation_freq: fit.validation_freq,
            steps,
            shuffle: fit.shuffle,
        })
    }

    /// Batches in a full epoch.
    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.steps.min(self.train.count())
    }

    /// What must be the same for a run to go on.
    pub(crate) fn config(&self) -> BTreeMap<String, String> {
        let steps = self.steps_per_epoch().to_string();
        [
            ("batch_size", self.train.batch_size.to_string()),
            ("samples", self.train.len.to_string()),
            ("shuffle", self.shuffle.to_string()),
            ("steps_per_epoch", steps),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// When validation is run; `None`: never.
    pub(crate) fn validation_freq(&self) -> Option<&ValidationFreq> {
        self.validation.as_ref().map(|_| &self.validation_freq)
    }

    /// What a user should know about `steps_per_epoch`, if anything.
    pub(crate) fn warning(&self) -> Option<String> {
        let (steps, batches) = (self.steps, self.train.count());
        if steps > batches {
            Some(format!(
                "warning: steps_per_epoch is {steps}, the data has {batches} batches; \
                 every epoch has {batches} steps"
            ))
        } else if !batches.is_multiple_of(steps) {
            Some(format!(
                "warning: steps_per_epoch is {steps}, which does not divide the {batches} batches \
                 of the data; the last of every {} epochs has {}",
                batches.div_ceil(steps),
                batches % steps
            ))
        } else {
            None
        }
    }

    /// The samples of an epoch, in the order of training. A function of (seed, epoch): nothing is
    /// carried from one epoch to the next.
    pub(crate) fn order(&self, seed: u64, epoch: usize, indices: &mut Vec<usize>) {
        let epochs_per_pass = self.train.count().div_ceil(self.steps).max(1);
        let (pass, part) = (epoch / epochs_per_pass, epoch % epochs_per_pass);
        indices.clear();
        indices.extend(0..self.train.len);
        if self.shuffle {
            random::permute(indices, seed, pass as u64);
        }
        let samples_per_epoch = self.steps.saturating_mul(self.train.batch_size);
        let first = part * samples_per_epoch;
        let last = first.saturating_add(samples_per_epoch).min(indices.len());
        indices.truncate(last);
        indices.drain(..first.min(last));
    }

    pub(crate) fn is_validation_due(&self, epoch: usize) -> bool {
        self.validation.is_some() && self.validation_freq.is_due(epoch)
    }
}

/// A stretch of a data set, cut into batches.
pub(crate) struct Batches<'a, B> {
    pub(crate) data: &'a dyn Dataset<Batch = B>,
    first: usize,
    pub(crate) len: usize,
    pub(crate) batch_size: usize,
    sample_weight: Option<Vec<f32>>,
    class_weight: BTreeMap<usize, f32>,
}

impl<'a, B> Batches<'a, B> {
    /// All of `data`, for `evaluate` and `predict`.
    pub(crate) fn all(data: &'a dyn Dataset<Batch = B>, batch_size: usize) -> Result<Self> {
        check_count("batch_size", batch_size)?;
        let len = data.len();
        if len == 0 {
            return Err(Error::data("the data holds no samples"));
        }
        let class_weight = BTreeMap::new();
        Ok(Self { data, first: 0, len, batch_size, sample_weight: None, class_weight })
    }

    pub(crate) fn count(&self) -> usize {
        self.len.div_ceil(self.batch_size)
    }

    /// Tells the data set which samples, counted from the stretch's first, come next. They are moved
    /// to where they stand in the data set, and back.
    pub(crate) fn prefetch(&self, next: &mut [usize]) {
        if next.is_empty() {
            return;
        }
        next.iter_mut().for_each(|index| *index += self.first);
        self.data.prefetch(next);
        next.iter_mut().for_each(|index| *index -= self.first);
    }

    /// As [`prefetch`](Self::prefetch), of batch `index` in the data's order; `indices` is overwritten.
    pub(crate) fn prefetch_in_order(&self, index: usize, indices: &mut Vec<usize>) {
        self.in_order(index, indices);
        self.prefetch(indices);
    }

    /// The samples of batch `index` in the data's order; none behind the last.
    pub(crate) fn in_order(&self, index: usize, indices: &mut Vec<usize>) {
        let first = index.saturating_mul(self.batch_size).min(self.len);
        indices.clear();
        indices.extend(first..self.len.min(first.saturating_add(self.batch_size)));
    }

    /// The batch of these samples, counted from the stretch's first; their weights go into
    /// `weights`, which is empty afterwards where samples have none.
    pub(crate) fn get(&self, indices: &mut [usize], weights: &mut Vec<f32>) -> Result<B> {
        for index in &mut *indices {
            *index += self.first;
        }
        weights.clear();
        if let Some(all) = &self.sample_weight {
            weights.extend(indices.iter().map(|&i| all.get(i).copied().unwrap_or(1.0)));
        } else if !self.class_weight.is_empty() {
            let weight_of = |&i: &usize| {
                let class = self.data.class(i)?;
                self.class_weight.get(&class).copied()
            };
            weights.extend(indices.iter().map(|i| weight_of(i).unwrap_or(1.0)));
        }
        self.data.batch(indices)
    }
}

fn check_count(name: &str, count: usize) -> Result {
    if (1..=MAX_COUNT).contains(&count) {
        return Ok(());
    }
    Err(Error::config(format!("{name} is {count}; allowed: 1 to {MAX_COUNT}")))
}

/// Options of a validation that there is none of are a slip.
fn check_validation<B>(fit: &Fit<'_, B>) -> Result {
    let unused = match &fit.validation {
        Validation::Data(_) => return Ok(()),
        Validation::Split(_) if fit.validation_sample_weight.is_some() => {
            return Err(Error::config(
                "validation_sample_weight goes with validation_data; with validation_split, \
                 sample_weight is split alike",
            ));
        }
        Validation::Split(_) => return Ok(()),
        Validation::None => [
            ("validation_steps", fit.validation_steps.is_some()),
            ("validation_batch_size", fit.validation_batch_size.is_some()),
            ("validation_sample_weight", fit.validation_sample_weight.is_some()),
        ],
    };
    match unused.iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(Error::config(format!(
            "{name} needs validation: give validation_data or validation_split"
        ))),
        None => Ok(()),
    }
}

fn check_freq(freq: &ValidationFreq) -> Result {
    match freq {
        ValidationFreq::Every(0) => {
            Err(Error::config("validation_freq is 0; allowed: 1 or more, or a list of epochs"))
        }
        ValidationFreq::At(epochs) if epochs.contains(&0) => Err(Error::config(
            "validation_freq lists epoch 0; epochs count from 1 here, as in Keras",
        )),
        _ => Ok(()),
    }
}

fn check_weights(name: &str, weights: Option<&[f32]>, n: usize) -> Result {
    let Some(weights) = weights else {
        return Ok(());
    };
    if weights.len() != n {
        return Err(Error::config(format!(
            "{name} has {} entries, the data {n} samples; give one weight a sample",
            weights.len()
        )));
    }
    for (i, weight) in weights.iter().enumerate() {
        check_weight(&format!("{name} of sample {i}"), *weight)?;
    }
    Ok(())
}

fn check_weight(name: &str, weight: f32) -> Result {
    if weight.is_finite() && weight >= 0.0 {
        return Ok(());
    }
    Err(Error::config(format!("{name} is {weight}; allowed: a finite number, 0 or more")))
}

/// How many of `n` samples a `validation_split` leaves for training: Keras' arithmetic, in double,
/// ⌊n × (1 − split)⌋. Those behind them are held out.
///
/// # Errors
/// When `split` is not between 0 and 1, or one of the two parts would be empty.
///
/// # Example
/// ```
/// assert_eq!(refrain_core::validation_split_at(1797, 0.2)?, 1437);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub fn validation_split_at(n: usize, split: f64) -> Result<usize> {
    if !(split > 0.0 && split < 1.0) {
        return Err(Error::config(format!(
            "validation_split is {split}; allowed: above 0 and below 1"
        )));
    }
    let at = (n as f64 * (1.0 - split)).floor() as usize;
    if at == 0 || at >= n {
        return Err(Error::config(format!(
            "validation_split {split} leaves {at} of {n} samples for training and {} for \
             validation; both need at least one",
            n - at.min(n)
        )));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(usize);

    impl Dataset for Numbers {
        type Batch = Vec<usize>;
        fn len(&self) -> usize {
            self.0
        }
        fn batch(&self, indices: &[usize]) -> Result<Vec<usize>> {
            Ok(indices.to_vec())
        }
        fn class(&self, index: usize) -> Option<usize> {
            Some(index % 3)
        }
    }

    #[test]
    fn splits_as_keras() {
        for (n, split, expected) in [
            (10, 0.2, Some(8)),
            (10, 0.25, Some(7)),
            (7, 0.1, Some(6)),
            (3, 0.5, Some(1)),
            (100, 0.33, Some(67)),
            (10, 0.05, Some(9)),
            (10, 0.9, None),
            (1797, 0.2, Some(1437)),
            (10, 0.0, None),
            (10, 1.0, None),
            (10, f64::NAN, None),
        ] {
            assert_eq!(validation_split_at(n, split).ok(), expected, "{n} {split}");
        }
    }

    fn sizes(n: usize, fit: Fit<'_, Vec<usize>>) -> Vec<usize> {
        let epochs = fit.epochs;
        let data = Numbers(n);
        let plan = Plan::new(&data, fit).unwrap();
        let mut indices = Vec::new();
        (0..epochs)
            .map(|epoch| {
                plan.order(1, epoch, &mut indices);
                indices.len().div_ceil(plan.train.batch_size)
            })
            .collect()
    }

    #[test]
    fn steps_per_epoch_as_keras() {
        for (n, batch, steps, expected) in [
            (10, 1, None, [10, 10, 10, 10]),
            (10, 1, Some(9), [9, 1, 9, 1]),
            (10, 1, Some(5), [5, 5, 5, 5]),
            (10, 1, Some(20), [10, 10, 10, 10]),
            (10, 3, Some(3), [3, 1, 3, 1]),
        ] {
            let mut fit = Fit::epochs(4).batch_size(batch);
            fit.steps_per_epoch = steps;
            assert_eq!(sizes(n, fit), expected, "{n} by {batch}, {steps:?} steps");
        }
        // Without a batch size, the data is divided into that many batches.
        assert_eq!(sizes(100, Fit::epochs(2).steps_per_epoch(7)), [7, 7]);
    }

    #[test]
    fn parts_of_a_pass_share_one_permutation() {
        let data = Numbers(10);
        let plan = Plan::new(&data, Fit::epochs(2).batch_size(1).steps_per_epoch(9)).unwrap();
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        plan.order(7, 0, &mut first);
        plan.order(7, 1, &mut rest);
        first.extend(rest);
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn weights_follow_their_samples() {
        let data = Numbers(6);
        let mut weights = Vec::new();
        let fit = Fit::epochs(1).class_weight([(1, 5.0)]);
        let plan = Plan::new(&data, fit).unwrap();
        plan.train.get(&mut [4, 0, 1], &mut weights).unwrap();
        assert_eq!(weights, [5.0, 1.0, 5.0]);

        let all: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let fit = Fit::epochs(1).sample_weight(all).validation_split(0.5);
        let plan = Plan::new(&data, fit).unwrap();
        let batch = plan.validation.as_ref().unwrap().get(&mut [0, 2], &mut weights).unwrap();
        assert_eq!((batch, weights), (vec![3, 5], vec![3.0, 5.0]));
    }

    #[test]
    fn refuses_what_cannot_be() {
        let data = Numbers(4);
        let check = |fit, word: &str| {
            let error = Plan::new(&data, fit).err().unwrap().to_string();
            assert!(error.contains(word), "{error}");
        };
        check(Fit::epochs(0), "epochs is 0");
        check(Fit::epochs(1).batch_size(0), "batch_size is 0");
        check(Fit::epochs(1).validation_freq(0), "validation_freq is 0");
        check(Fit::epochs(1).sample_weight([1.0]), "1 entries, the data 4 samples");
        check(Fit::epochs(1).sample_weight([1.0, f32::NAN, 1.0, 1.0]), "sample 1 is NaN");
        check(
            Fit::epochs(1).sample_weight([1.0; 4]).class_weight([(0, 1.0)]),
            "exclude each other",
        );
    }

    #[test]
    fn validation_within_a_run_is_that_of_one_of_its_epochs() {
        for freq in [1, 2, 3, 7].map(ValidationFreq::Every).into_iter().chain([
            ValidationFreq::Every(usize::MAX),
            ValidationFreq::At(vec![4, 9]),
            ValidationFreq::At(vec![]),
        ]) {
            for start in 0..10 {
                for end in start..12 {
                    let expected = (start..end).any(|epoch| freq.is_due(epoch));
                    assert_eq!(freq.is_due_within(start..end), expected, "{freq:?} {start} {end}");
                }
            }
        }
    }
}
