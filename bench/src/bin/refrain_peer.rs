//! Refrain in `bench/peers`: `refrain_peer WORK FOLDER` trains a work of `works.py` by `fit`.

#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Instant;

use refrain::burn::tensor::{Int, Tensor, TensorData};
use refrain::event::Hook;
use refrain::layers::{Conv2d, Dense, Flatten, Lstm, MaxPooling2d};
use refrain::prelude::*;
use refrain::weights::Weights;
use refrain::{Access, Activation, AnyTensor, SequentialBuilder};

/// As in the command `refrain`: it keeps memory between steps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[path = "../../peers/commands.rs"]
mod commands;

const BATCH: usize = 128;

type Digits = ArrayDataset<AnyTensor, Tensor<1, Int>>;

/// The model of a work, and the shape of one sample.
fn model(work: &str) -> (&'static [usize], SequentialBuilder) {
    let softmax = || Dense::new(10).activation(Activation::Softmax);
    let relu = |units| Dense::new(units).activation(Activation::Relu);
    let input = Sequential::input;
    match work {
        "mlp_sgd" | "mlp_adam" | "predict_one" => {
            (&[784], input(&[784]).layer(relu(128)).layer(softmax()))
        }
        "wide_adam" => (&[784], input(&[784]).layer(relu(1024)).layer(relu(1024)).layer(softmax())),
        "cnn_adam" => {
            let conv = |filters| Conv2d::new(filters, 3).activation(Activation::Relu);
            let pool = MaxPooling2d::default;
            let input = input(&[1, 28, 28]).layer(conv(32)).layer(pool());
            let input = input.layer(conv(64)).layer(pool());
            (&[1, 28, 28], input.layer(Flatten::new()).layer(softmax()))
        }
        "lstm_adam" => (&[28, 28], input(&[28, 28]).layer(Lstm::new(128)).layer(softmax())),
        _ => commands::fail(format!("work `{work}` is not known here; see works.py")),
    }
}

/// Waits at each epoch's begin until it is asked for, and answers at its end.
struct Served {
    began: Instant,
}

impl Callback for Served {
    fn access(&self) -> Access {
        Access::new().observes().acts_in([Hook::EpochBegin, Hook::EpochEnd])
    }

    fn on_epoch_begin(&mut self, _: &mut Run<'_>) -> Result {
        self.began = commands::wait_for_epoch();
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &mut Run<'_>, epoch: &mut EpochEnd<'_>) -> Result {
        let numbers: Vec<(&str, f64)> = epoch.logs.iter().collect();
        commands::epoch(self.began, &numbers);
        Ok(())
    }
}

fn main() -> Result {
    let mut arguments = std::env::args().skip(1);
    let (Some(work), Some(folder)) = (arguments.next(), arguments.next()) else {
        commands::fail("usage: refrain_peer WORK FOLDER");
    };
    let (shape, model) = model(&work);
    let arrays = Weights::load(&Path::new(&folder).join("digits.safetensors"))?;
    let pixels = |name| arrays.f32s(name).ok_or_else(|| Error::data(format!("no `{name}`")));
    let weights = Path::new(&folder).join(format!("{work}.safetensors"));
    let loss = SparseCategoricalCrossentropy::new();
    // Nothing is drawn from the seed: the weights are given, and the order is the data's.
    let model = model.build(0)?;

    if work.ends_with("_adam") {
        let epsilon = if work == "lstm_adam" { 1e-8 } else { 1e-7 };
        let trainer = Trainer::compile(model, Adam::new(0.001).epsilon(epsilon), loss);
        serve(trainer, &weights, &arrays, shape, &pixels)
    } else if work == "predict_one" {
        let mut trainer = Trainer::compile(model, Sgd::new(0.1), loss);
        trainer.load_weights(&weights)?;
        let model = trainer.into_learner().into_model()?;
        let row = pixels("x_valid")?[..784].to_vec();
        commands::ready("refrain", env!("CARGO_PKG_VERSION"));
        commands::serve_predictions(|| predict(&model, &row))
    } else {
        let trainer = Trainer::compile(model, Sgd::new(0.1).momentum(0.9), loss);
        serve(trainer, &weights, &arrays, shape, &pixels)
    }
}

/// From an array on the host to an array on the host.
fn predict(model: &Sequential, row: &[f32]) -> Vec<f32> {
    let row = TensorData::new(row.to_vec(), [1, 784]);
    let row = Tensor::<2>::from_data(row, &refrain::burn::tensor::Device::default());
    let output = model.forward(AnyTensor::from(row)).into_data();
    output.as_slice::<f32>().map(<[f32]>::to_vec).unwrap_or_default()
}

/// Trains until there are no more commands.
fn serve(
    trainer: Trainer<refrain::BurnLearner<Sequential, SparseCategoricalCrossentropy>>,
    weights: &Path,
    arrays: &Weights,
    shape: &[usize],
    pixels: &dyn Fn(&'static str) -> Result<Vec<f32>>,
) -> Result {
    let data = |x, y| Digits::new(shape, pixels(x)?)?.labels(labels(arrays, y)?);
    let (training, validation) = (data("x_train", "y_train")?, data("x_valid", "y_valid")?);
    let mut trainer = trainer.metric(Accuracy::new()).callback(Served { began: Instant::now() });
    trainer.load_weights(weights)?;
    commands::ready("refrain", env!("CARGO_PKG_VERSION"));
    let endless = Fit::epochs(1 << 30).batch_size(BATCH).shuffle(false).verbose(0);
    trainer.fit(&training, endless.validation_data(&validation))?;
    Ok(())
}

fn labels(arrays: &Weights, name: &str) -> Result<Vec<i64>> {
    let array = arrays.get(name).ok_or_else(|| Error::data(format!("no `{name}`")))?;
    Ok(array.bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}
