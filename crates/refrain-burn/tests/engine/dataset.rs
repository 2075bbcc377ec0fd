//! Rows that are read when they are wanted make the batches of rows in memory.

use refrain_burn::burn::tensor::{Int, Tensor};
use refrain_burn::{ArrayDataset, Batch};
use refrain_core::{Dataset as _, Error, Result, RowSource};

use crate::floats;

/// Rows `[i, i / 2]`; one of them may be out of reach.
struct Rows {
    len: usize,
    lost: Option<usize>,
}

impl RowSource for Rows {
    fn len(&self) -> usize {
        self.len
    }

    fn width(&self) -> usize {
        2
    }

    fn read(&self, indices: &[usize], rows: &mut Vec<f32>) -> Result {
        for &i in indices {
            if self.lost == Some(i) {
                return Err(Error::data(format!("row {i} is lost")));
            }
            rows.extend([i as f32, i as f32 / 2.0]);
        }
        Ok(())
    }
}

type Labelled = ArrayDataset<Tensor<2>, Tensor<1, Int>>;

fn in_memory(len: usize) -> Labelled {
    let values = (0..len).flat_map(|i| [i as f32, i as f32 / 2.0]).collect();
    ArrayDataset::new(&[2], values).unwrap()
}

fn from_rows(len: usize) -> Labelled {
    ArrayDataset::from_rows(&[2], Rows { len, lost: None }).unwrap()
}

#[test]
fn batches_are_those_in_memory() {
    let labels = |data: Labelled| data.labels((0..50).map(|i| i % 7)).unwrap();
    let (memory, rows) = (labels(in_memory(50)), labels(from_rows(50)));
    assert_eq!((rows.len(), rows.classes(), rows.class(8)), (50, Some(7), Some(1)));
    for indices in [vec![0], vec![49, 3, 3, 0], (0..50).rev().collect()] {
        rows.prefetch(&indices);
        let [a, b]: [Batch<_, _>; 2] = [&memory, &rows].map(|data| data.batch(&indices).unwrap());
        assert_eq!(floats(a.inputs), floats(b.inputs));
        assert_eq!(a.targets.unwrap().into_data(), b.targets.unwrap().into_data());
    }
}

#[test]
fn fingerprints_are_those_in_memory() {
    for len in [0, 1, 5, 1000] {
        assert_eq!(in_memory(len).fingerprint(), from_rows(len).fingerprint(), "{len}");
    }
    let labelled = |data: Labelled, last: i64| data.labels([1, 2, last]).unwrap().fingerprint();
    assert_eq!(labelled(in_memory(3), 5), labelled(from_rows(3), 5));
    assert_ne!(labelled(in_memory(3), 5), labelled(from_rows(3), 6));
    assert_ne!(in_memory(3).fingerprint(), from_rows(4).fingerprint());
}

#[test]
fn what_is_out_of_reach_is_an_error() {
    let lost =
        |len, lost| ArrayDataset::<Tensor<2>, Tensor<2>>::from_rows(&[2], Rows { len, lost });
    let error = lost(10, Some(3)).map(drop).unwrap_err().to_string();
    assert_eq!(error, "row 3 is lost");
    let error = ArrayDataset::<Tensor<2>, Tensor<2>>::from_rows(&[3], Rows { len: 1, lost: None });
    let error = error.map(drop).unwrap_err().to_string();
    assert!(error.contains("rows of 2 numbers are no samples of the shape [3]"), "{error}");
}
