//! Where batches come from.

use std::ops::Range;

use crate::error::{Error, Result};

/// Samples that can be gathered into batches by index.
///
/// # Example
/// ```
/// use refrain_core::{Dataset, Result};
///
/// struct Squares(usize);
///
/// impl Dataset for Squares {
///     type Batch = Vec<f32>;
///     fn len(&self) -> usize {
///         self.0
///     }
///     fn batch(&self, indices: &[usize]) -> Result<Vec<f32>> {
///         Ok(indices.iter().map(|&i| (i * i) as f32).collect())
///     }
/// }
/// assert_eq!(Squares(10).batch(&[1, 3])?, [1.0, 9.0]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub trait Dataset {
    /// What the learner trains on.
    type Batch;

    /// Number of samples.
    fn len(&self) -> usize;

    /// Gathers the samples with these indices, in this order. Each index is below
    /// [`len`](Self::len).
    ///
    /// # Errors
    /// When the samples cannot be had; ends the run.
    fn batch(&self, indices: &[usize]) -> Result<Self::Batch>;

    /// Says which samples the next call of [`batch`](Self::batch) is likely to want, so that they can
    /// be gathered meanwhile. Called after each batch, before it is trained on.
    ///
    /// A hint alone: what a batch holds depends on its indices, never on this. Does nothing by default.
    fn prefetch(&self, next: &[usize]) {
        let _ = next;
    }

    /// The class of a sample, for `class_weight`; `None` where samples have no class.
    fn class(&self, index: usize) -> Option<usize> {
        let _ = index;
        None
    }

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A data set of items that are had by their number and made into batches: of a `Vec`, of a data set of
/// Burn's (`burn::data::dataset::Dataset`), of whatever has `get`.
///
/// ```text
/// let train = MnistDataset::train();                                   // Burn's
/// let data = Items::new(train.len(), |i| train.get(i), |items| Ok(batch_of(items)));
/// ```
///
/// # Errors
/// Of a batch: where there is no such item, or it cannot be had, with its number.
///
/// # Example
/// ```
/// use refrain_core::{Dataset as _, Items};
///
/// let words = ["so", "much", "depends", "upon"];
/// let lengths = |words: Vec<&str>| Ok(words.iter().map(|word| word.len()).collect::<Vec<_>>());
/// let data = Items::new(words.len(), |i| words.get(i).copied(), lengths);
/// assert_eq!(data.batch(&[2, 0])?, [7, 2]);
///
/// // What may fail to be had.
/// let numbers = ["1", "2", "three"];
/// let data = Items::new(numbers.len(), |i| numbers[i].parse::<u8>(), Ok);
/// assert_eq!(data.batch(&[1, 0])?, [2, 1]);
/// assert_eq!(data.batch(&[2]).unwrap_err().to_string(), "item 2: invalid digit found in string");
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Items<G, C> {
    len: usize,
    get: G,
    collate: C,
}

impl<G, C> Items<G, C> {
    /// `len` items. `get`: one of them by its number, an `Option` or a `Result`; `collate`: a batch of
    /// some.
    pub fn new<T, B>(len: usize, get: G, collate: C) -> Self
    where
        T: Got,
        G: Fn(usize) -> T,
        C: Fn(Vec<T::Item>) -> Result<B>,
    {
        Self { len, get, collate }
    }
}

impl<G, C, T, B> Dataset for Items<G, C>
where
    T: Got,
    G: Fn(usize) -> T,
    C: Fn(Vec<T::Item>) -> Result<B>,
{
    type Batch = B;

    fn len(&self) -> usize {
        self.len
    }

    fn batch(&self, indices: &[usize]) -> Result<B> {
        let item = |&index: &usize| (self.get)(index).item(index);
        (self.collate)(indices.iter().map(item).collect::<Result<_>>()?)
    }
}

/// What becomes of asking for an item of [`Items`]: an `Option`, or a `Result` as of Burn's data sets.
pub trait Got {
    /// What is asked for.
    type Item;

    /// The item of that number.
    ///
    /// # Errors
    /// When there is none, or it cannot be had, with the number.
    fn item(self, index: usize) -> Result<Self::Item>;
}

impl<T> Got for Option<T> {
    type Item = T;

    fn item(self, index: usize) -> Result<T> {
        self.ok_or_else(|| Error::data(format!("there is no item {index} in this data set")))
    }
}

impl<T, E: std::error::Error + Send + Sync + 'static> Got for std::result::Result<T, E> {
    type Item = T;

    fn item(self, index: usize) -> Result<T> {
        self.map_err(|error| Error::data(format!("item {index}: {error}")).with_source(error))
    }
}

/// Rows of numbers, wherever they are kept: what a data set too large for memory is made of.
///
/// # Example
/// ```
/// use refrain_core::{Result, RowSource};
///
/// /// Row i is `[i, i²]`.
/// struct Squares;
///
/// impl RowSource for Squares {
///     fn len(&self) -> usize {
///         100
///     }
///     fn width(&self) -> usize {
///         2
///     }
///     fn read(&self, indices: &[usize], rows: &mut Vec<f32>) -> Result {
///         rows.extend(indices.iter().flat_map(|&i| [i as f32, (i * i) as f32]));
///         Ok(())
///     }
/// }
/// let mut rows = Vec::new();
/// Squares.read(&[3], &mut rows)?;
/// assert_eq!(rows, [3.0, 9.0]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub trait RowSource: Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Numbers in a row.
    fn width(&self) -> usize;

    /// Appends the rows with these indices, in this order.
    ///
    /// # Errors
    /// When one cannot be had.
    fn read(&self, indices: &[usize], rows: &mut Vec<f32>) -> Result;

    /// As [`Dataset::prefetch`].
    fn prefetch(&self, next: &[usize]) {
        let _ = next;
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stretch of a data set: some samples in a row.
///
/// # Example
/// ```
/// use refrain_core::{Dataset as _, Part};
/// # use refrain_core::{Dataset, Result};
/// # struct Squares(usize);
/// # impl Dataset for Squares {
/// #     type Batch = Vec<f32>;
/// #     fn len(&self) -> usize { self.0 }
/// #     fn batch(&self, indices: &[usize]) -> Result<Vec<f32>> {
/// #         Ok(indices.iter().map(|&i| (i * i) as f32).collect())
/// #     }
/// # }
/// let squares = Squares(10);
/// let tail = Part::new(&squares, 8..10)?;
/// assert_eq!(tail.len(), 2);
/// assert_eq!(tail.batch(&[0, 1])?, [64.0, 81.0]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Part<'a, D: ?Sized> {
    data: &'a D,
    range: Range<usize>,
}

impl<'a, D: Dataset + ?Sized> Part<'a, D> {
    /// The samples `range` of `data`.
    ///
    /// # Errors
    /// When `data` has fewer.
    pub fn new(data: &'a D, range: Range<usize>) -> Result<Self> {
        if range.start > range.end || range.end > data.len() {
            return Err(Error::data(format!(
                "samples {} to {} of a data set that has {}",
                range.start,
                range.end,
                data.len()
            )));
        }
        Ok(Self { data, range })
    }

    /// All samples of `data`.
    pub fn all(data: &'a D) -> Self {
        Self { data, range: 0..data.len() }
    }

    fn shift(&self, indices: &[usize]) -> Vec<usize> {
        // Beyond the end stays beyond it.
        indices.iter().map(|index| index.saturating_add(self.range.start)).collect()
    }
}

impl<D: ?Sized> Clone for Part<'_, D> {
    fn clone(&self) -> Self {
        Self { data: self.data, range: self.range.clone() }
    }
}

impl<D: Dataset + ?Sized> Dataset for Part<'_, D> {
    type Batch = D::Batch;

    fn len(&self) -> usize {
        self.range.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<D::Batch> {
        if let Some(index) = indices.iter().find(|index| **index >= self.len()) {
            return Err(Error::data(format!(
                "there is no sample {index} in this part of a data set; it has {}",
                self.len()
            )));
        }
        self.data.batch(&self.shift(indices))
    }

    fn prefetch(&self, next: &[usize]) {
        self.data.prefetch(&self.shift(next));
    }

    fn class(&self, index: usize) -> Option<usize> {
        (index < self.len()).then(|| self.data.class(index + self.range.start))?
    }
}
