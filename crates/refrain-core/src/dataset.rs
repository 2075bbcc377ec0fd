//! Where batches come from.

use crate::error::Result;

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
