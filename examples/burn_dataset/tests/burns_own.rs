//! Burn's data sets, and those that it makes of others.

use burn_dataset::transform::{Mapper, MapperDataset, PartialDataset, ShuffledDataset};
use burn_dataset::{Dataset, DatasetError, InMemDataset};
use refrain_burn_dataset::items;
use refrain_core::Dataset as _;

fn numbers() -> InMemDataset<u32> {
    InMemDataset::new((0..10).collect())
}

/// One whose items cannot be had from the seventh on.
struct Torn;

impl Dataset<u32> for Torn {
    fn get(&self, index: usize) -> Result<u32, DatasetError> {
        let read = std::io::Error::other("the disk is gone");
        if index < 7 { Ok(index as u32) } else { Err(DatasetError::new(read)) }
    }
    fn len(&self) -> usize {
        10
    }
}

struct Square;

impl Mapper<u32, u32> for Square {
    fn map(&self, number: &u32) -> u32 {
        number * number
    }
}

#[test]
fn any_of_them_makes_batches() {
    let squared = MapperDataset::new(numbers(), Square);
    let tail = PartialDataset::new(numbers(), 6, 10);
    let mut shuffled = items(&ShuffledDataset::new(numbers(), 7u64), Ok)
        .batch(&(0..10).collect::<Vec<_>>())
        .unwrap();
    shuffled.sort_unstable();
    assert_eq!(shuffled, (0..10).collect::<Vec<_>>());
    let cases: [(&dyn Dataset<u32>, usize, &[u32]); 3] =
        [(&numbers(), 10, &[3, 1]), (&squared, 10, &[9, 1]), (&tail, 4, &[9, 7])];
    for (data, len, batch) in cases {
        let data = items(data, Ok);
        assert_eq!(data.len(), len);
        assert_eq!(data.batch(&[3, 1]).unwrap(), batch);
    }
}

#[test]
fn an_item_that_cannot_be_had_is_named() {
    let data = items(&Torn, Ok);
    assert_eq!(data.batch(&[6, 0]).unwrap(), [6, 0]);
    let error = data.batch(&[0, 8]).unwrap_err().to_string();
    assert!(error.starts_with("item 8: ") && error.contains("the disk is gone"), "{error}");
}
