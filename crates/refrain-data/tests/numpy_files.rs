//! What numpy has written, by `numpy/record.py`.

use std::path::{Path, PathBuf};

use refrain_data::{Array, ArrayFile, Element, read_npy};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numpy").join(name)
}

#[test]
fn arrays_are_read_as_numpy_wrote_them() {
    let recorded = std::fs::read(fixture("arrays.json")).unwrap();
    let recorded: Value = serde_json::from_slice(&recorded).unwrap();
    let recorded = recorded.as_object().unwrap();
    assert_eq!(recorded.len(), 29);
    for (name, expected) in recorded {
        let path = fixture(&format!("{name}.npy"));
        let file = ArrayFile::open_npy(&path).unwrap();
        let array = file.read().unwrap();
        assert_eq!(array, read_npy(&std::fs::read(&path).unwrap()).unwrap());
        let shape: Vec<u64> = array.shape.iter().map(|&axis| axis as u64).collect();
        assert_eq!(expected["shape"], Value::from(shape), "{name}");
        assert_eq!(expected["type"], array.element.to_string(), "{name}");
        let values: Vec<f32> = expected["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap() as f32)
            .collect();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&array.values), bits(&values), "{name}");
        if array.shape.len() > 1 {
            let mut rows = Vec::new();
            let each = |batch: Vec<f32>| {
                rows.extend(batch);
                Ok(())
            };
            file.each_rows(2, each).unwrap();
            assert_eq!(bits(&rows), bits(&values), "{name}, row by row");
        }
    }
}

#[test]
fn an_archive_is_read_stored_and_deflated() {
    for name in ["stored.npz", "deflated.npz"] {
        assert_eq!(
            ArrayFile::names_in_npz(&fixture(name)).unwrap(),
            ["x_train", "y_train", "x_test", "y_test"]
        );
        let arrays = ArrayFile::open_npz(&fixture(name), |name| name != "x_test").unwrap();
        assert_eq!(arrays.len(), 3);
        let arrays = ArrayFile::open_npz(&fixture(name), |_| true).unwrap();
        let names: Vec<&str> = arrays.iter().filter_map(ArrayFile::name).collect();
        assert_eq!(names, ["x_train", "y_train", "x_test", "y_test"]);
        assert_eq!(arrays[0].shape(), [6, 2, 2]);
        assert_eq!(arrays[0].element(), Element::U8);
        let Array { values, .. } = arrays[0].read().unwrap();
        assert_eq!(values, (0..24).map(|x| x as f32).collect::<Vec<_>>());
        assert_eq!(arrays[3].read().unwrap().values, [2.0, 0.0]);
    }
}

#[test]
fn what_holds_no_numbers_is_refused() {
    for (name, words) in [
        ("refused_text", "the type '<U1' is text"),
        ("refused_objects", "the type '|O' is Python objects, which only Python can read"),
        ("refused_fields", "the array has fields"),
        ("refused_complex", "complex numbers"),
        ("refused_times", "times"),
    ] {
        let path = fixture(&format!("{name}.npy"));
        let error = ArrayFile::open_npy(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains(&format!("{name}.npy`: the NPY header at byte ")), "{error}");
    }
}
