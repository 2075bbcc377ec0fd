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

/// (rows of three, words of the error), for five steps of four classes, 0 the blank.
#[test]
fn labels_that_cannot_be_read_off_sequences_are_named() {
    let cases: [(&[f32], Option<&str>); 9] = [
        (&[1.0, 2.0, 3.0, 3.0, 0.0, 0.0], None),
        (&[0.0, 0.0, 0.0, 2.0, 2.0, 2.0], None),
        (
            &[1.0, 0.0, 0.0, 4.0, 0.0, 0.0],
            Some(
                "label 4 of sample 1, place 0, is no class of the model's 4; allowed: whole numbers, 1..=3, with 0 behind them",
            ),
        ),
        (&[1.0, -1.0, -1.0], Some("label -1 of sample 0, place 1")),
        (&[1.0, 2.5, 0.0], Some("label 2.5 of sample 0, place 1")),
        (&[f32::NAN, 0.0, 0.0], Some("label NaN of sample 0")),
        (&[1.0, 0.0, 2.0], Some("sample 0 has a 0 at place 1 and a label behind it")),
        (&[0.0, 0.0, 2.0], Some("sample 0 has a 0 at place 0 and a label behind it")),
        (&[1.0, 1.0, 1.0, 3.0, 3.0, 3.0], None),
    ];
    for (values, expected) in cases {
        let samples = values.len() / 3;
        let data = ArrayDataset::<Tensor<2>, Tensor<2>>::new(&[1], vec![0.0; samples]).unwrap();
        let data = data.targets(&[3], values.to_vec()).unwrap();
        let error = data.check_label_sequences(5, 4).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), expected.is_some(), "{values:?}: {error:?}");
        let error = error.unwrap_or_default();
        assert!(error.contains(expected.unwrap_or_default()), "{error}");
    }
    let data = ArrayDataset::<Tensor<2>, Tensor<2>>::new(&[1], vec![0.0; 2]).unwrap();
    let data = data.targets(&[3], vec![1.0, 2.0, 3.0, 1.0, 1.0, 2.0]).unwrap();
    data.check_label_sequences(4, 4).unwrap();
    assert_eq!(
        data.check_label_sequences(3, 4).unwrap_err().to_string(),
        "the 3 labels of sample 1 need 4 steps, one each and a blank between two equal ones, and the \
         model has 3; leave the sample out, or let the model have more steps"
    );
    let labelled = in_memory(2).labels([3, 5]).unwrap();
    labelled.check_label_sequences(1, 6).unwrap();
    let error = labelled.check_label_sequences(1, 5).unwrap_err().to_string();
    assert!(error.contains("label 5 of sample 1, place 0"), "{error}");
}
