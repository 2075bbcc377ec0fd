//! [`Items`] makes a [`Dataset`](refrain_core::Dataset) of any data set of Burn's.
//!
//! With Burn's feature `dataset` they are `burn::data::dataset`, and a batch is `refrain::Batch` of tensors.
//!
//! ```
//! use burn_dataset::{Dataset as _, InMemDataset};
//! use refrain_core::testing::Script;
//! use refrain_core::{Fit, Items, Trainer};
//!
//! let words = InMemDataset::new(vec!["so", "much", "depends", "upon"]);
//! let data = Items::new(words.len(), |i| words.get(i), |words| Ok(words.len()));
//!
//! // A learner that plays losses from a list. Two batches of two.
//! let mut trainer = Trainer::new(Script::losses(&[0.9, 0.4]).learner(), 0.1);
//! let history = trainer.fit(&data, Fit::epochs(2).batch_size(2).verbose(0))?;
//! assert_eq!(history.len(), 2);
//! assert_eq!(trainer.learner().updates(), 4);
//! # Ok::<(), refrain_core::Error>(())
//! ```

use burn_dataset::Dataset;
use refrain_core::{Items, Result};

/// Any data set of Burn's, of whatever items, as one of Refrain's. `collate` makes a batch of some items.
pub fn items<'a, I, B>(
    data: &'a dyn Dataset<I>,
    collate: impl Fn(Vec<I>) -> Result<B> + 'a,
) -> impl refrain_core::Dataset<Batch = B> + 'a
where
    I: 'a,
    B: 'a,
{
    Items::new(data.len(), |i| data.get(i), collate)
}
