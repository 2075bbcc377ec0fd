//! Losses of five epochs from the same weights, without shuffling, are those of Keras 3.15.1,
//! recorded by `parity/record.py`: data, layers, losses, optimizers and the loop, all at once.

use refrain::layers::{Dense, Embedding, Flatten};
use refrain::prelude::*;
use refrain::weights::{WeightDtype, WeightTensor, Weights};
use refrain::{Activation, History, ModelAccess as _, Recipe};
use serde_json::Value;

/// What rounding in another order makes of five epochs.
const TOLERANCE: f64 = 1e-4;

#[test]
fn losses_of_five_epochs_are_those_of_keras() {
    let mut networks = 0;
    for line in include_str!("parity/runs.jsonl").lines() {
        let run: Value = serde_json::from_str(line).unwrap();
        let history = match run["recipe"].as_str() {
            Some(recipe) => of_recipe(recipe, &run),
            None => of_embedding(&run),
        };
        compare(&history, &run);
        networks += 1;
    }
    assert_eq!(networks, 7);
}

fn of_recipe(text: &str, run: &Value) -> History {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parity.toml");
    std::fs::write(&file, text).unwrap();
    let recipe = Recipe::load(&file, &[]).unwrap();
    let data = recipe.load_data().unwrap();
    let mut trainer = recipe.trainer(&data).unwrap();
    let weights = weights(trainer.learner().weights().unwrap(), run);
    trainer.learner_mut().set_weights(&weights).unwrap();
    trainer.fit(&data, recipe.fit(&data).verbose(0)).unwrap()
}

fn of_embedding(run: &Value) -> History {
    let digits = refrain::data::digits().unwrap();
    let pixels = digits.pixels.iter().map(|pixel| pixel * 16.0).collect();
    let data = ArrayDataset::new(&[64], pixels).unwrap().labels(digits.labels).unwrap();
    let model = Sequential::input(&[64])
        .layer(Embedding::new(17, 4))
        .layer(Flatten::new())
        .layer(Dense::new(10).activation(Activation::Softmax))
        .build(0)
        .unwrap();
    let loss = SparseCategoricalCrossentropy::new();
    let mut trainer = Trainer::compile(model, Adam::new(0.005), loss).metric(Accuracy::new());
    let weights = weights(trainer.learner().weights().unwrap(), run);
    trainer.learner_mut().set_weights(&weights).unwrap();
    let fit = Fit::epochs(5).batch_size(128).shuffle(false).validation_split(0.2).verbose(0);
    trainer.fit(&data, fit).unwrap()
}

/// The recorded weights in place of the model's own; what is not recorded stays.
fn weights(mut own: Weights, run: &Value) -> Weights {
    for spec in run["weights"].as_array().unwrap() {
        let name = spec[0].as_str().unwrap();
        let lengths = spec[1].as_array().unwrap().iter();
        let shape: Vec<usize> = lengths.map(|n| n.as_u64().unwrap() as usize).collect();
        let scale = spec[2].as_f64().unwrap();
        let mut state = spec[3].as_u64().unwrap();
        let number = |_| {
            state = (state * 1_664_525 + 1_013_904_223) % (1 << 32);
            (((state >> 8) as f64 / f64::from(1 << 24) * 2.0 - 1.0) * scale) as f32
        };
        let values = (0..shape.iter().product()).map(number);
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        let place = own.tensors.iter_mut().find(|tensor| tensor.name == name);
        let place = place.unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(place.shape, shape, "{name}");
        *place = WeightTensor { name: name.to_owned(), shape, dtype: WeightDtype::F32, bytes };
    }
    own
}

fn compare(history: &History, run: &Value) {
    let network = run["network"].as_str().unwrap();
    for key in ["loss", "val_loss"] {
        let expected = run["logs"][key].as_array().unwrap();
        let got = history.column(key);
        assert_eq!(got.len(), expected.len(), "{network}");
        for (epoch, (got, expected)) in got.into_iter().zip(expected).enumerate() {
            let (got, expected) = (got.unwrap(), expected.as_f64().unwrap());
            let off = (got - expected).abs() / expected.abs();
            println!("{network} {key} epoch {}: {got} {expected}, {off:.1e}", epoch + 1);
            assert!(
                off <= TOLERANCE,
                "{network}, {key} of epoch {}: {got}, Keras {expected}",
                epoch + 1
            );
        }
    }
    // One of 1,437 digits more or less.
    let of_epochs =
        history.column("accuracy").into_iter().zip(run["logs"]["accuracy"].as_array().unwrap());
    for (got, expected) in of_epochs {
        assert!((got.unwrap() - expected.as_f64().unwrap()).abs() < 2.5 / 1437.0, "{network}");
    }
}
