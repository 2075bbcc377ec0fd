//! The networks of `works.py` on Burn's own layers, and what they are trained with.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::MaxPool2dConfig;
use burn::nn::{Linear, LinearConfig, Lstm, LstmConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;

use crate::commands;

pub const BATCH: usize = 128;
const SIDE: usize = 28;

/// Convolutions, each with its pooling, or an LSTM, or neither; then dense layers.
#[derive(Module, Debug)]
pub struct Net {
    convolutions: Vec<Conv2d>,
    lstm: Option<Lstm>,
    dense: Vec<Linear>,
}

impl Net {
    /// With the weights of `FOLDER/WORK.safetensors`.
    pub fn load(work: &str, folder: &Path, device: &Device) -> Self {
        let file = File::read(&folder.join(format!("{work}.safetensors")));
        let (convolutions, has_lstm, dense): (&[[usize; 2]], _, &[[usize; 2]]) = match work {
            "mlp_sgd" | "mlp_adam" | "predict_one" => (&[], false, &[[784, 128], [128, 10]]),
            "wide_adam" => (&[], false, &[[784, 1024], [1024, 1024], [1024, 10]]),
            "cnn_adam" => (&[[1, 32], [32, 64]], false, &[[1600, 10]]),
            "lstm_adam" => (&[], true, &[[128, 10]]),
            _ => commands::fail(format!("work `{work}` is not known here; see works.py")),
        };
        let name = |kind: &str, i: usize, what: &str| match i {
            0 => format!("{kind}.{what}"),
            _ => format!("{kind}_{i}.{what}"),
        };
        let convolutions = (0..).zip(convolutions).map(|(i, channels)| {
            let mut conv = Conv2dConfig::new(*channels, [3, 3]).init(device);
            conv.weight = Param::from_data(file.floats(&name("conv2d", i, "weight")), device);
            conv.bias = Some(Param::from_data(file.floats(&name("conv2d", i, "bias")), device));
            conv
        });
        let dense = (0..).zip(dense).map(|(i, [inputs, units])| {
            let mut dense = LinearConfig::new(*inputs, *units).init(device);
            dense.weight = Param::from_data(file.floats(&name("dense", i, "weight")), device);
            dense.bias = Some(Param::from_data(file.floats(&name("dense", i, "bias")), device));
            dense
        });
        Self {
            convolutions: convolutions.collect(),
            lstm: has_lstm.then(|| lstm(&file, device)),
            dense: dense.collect(),
        }
    }

    /// Logits of rows of pixels.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let samples = x.dims()[0];
        let mut x = if let Some(lstm) = &self.lstm {
            lstm.forward(x.reshape([samples, SIDE, SIDE]), None).1.hidden
        } else if self.convolutions.is_empty() {
            x
        } else {
            let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
            let images = x.reshape([samples, 1, SIDE, SIDE]);
            let images = self
                .convolutions
                .iter()
                .fold(images, |x, convolution| pool.forward(relu(convolution.forward(x))));
            images.flatten(1, 3)
        };
        for (i, dense) in self.dense.iter().enumerate() {
            x = dense.forward(x);
            if i + 1 < self.dense.len() {
                x = relu(x);
            }
        }
        x
    }
}

/// Keras' gates stand side by side: input, forget, cell, output.
fn lstm(file: &File, device: &Device) -> Lstm {
    let kernel = Tensor::<2>::from_data(file.floats("lstm.kernel"), device);
    let recurrent = Tensor::<2>::from_data(file.floats("lstm.recurrent_kernel"), device);
    let bias = Tensor::<1>::from_data(file.floats("lstm.bias"), device);
    let [inputs, gates] = kernel.dims();
    let units = gates / 4;
    let mut lstm = LstmConfig::new(inputs, units, true).init(device);
    let Lstm { input_gate, forget_gate, cell_gate, output_gate, .. } = &mut lstm;
    let gates = [Some(input_gate), forget_gate.as_mut(), Some(cell_gate), Some(output_gate)];
    for (i, gate) in gates.into_iter().enumerate() {
        let columns = i * units..(i + 1) * units;
        let cut = |x: &Tensor<2>| x.clone().slice([0..x.dims()[0], columns.clone()]).into_data();
        if let Some(gate) = gate {
            gate.input_transform.weight = Param::from_data(cut(&kernel), device);
            gate.hidden_transform.weight = Param::from_data(cut(&recurrent), device);
            let bias = bias.clone().slice([columns]).into_data();
            gate.input_transform.bias = Some(Param::from_data(bias, device));
            // A second bias would be trained too.
            gate.hidden_transform.bias = None;
        }
    }
    lstm
}

/// The loss of each sample.
pub fn losses(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1).gather(1, labels.unsqueeze_dim::<2>(1)).neg().squeeze_dim(1)
}

/// The optimizer of a work, and its rate.
pub fn optimizer(work: &str) -> (ModuleOptimizer, f64) {
    if work.ends_with("_adam") {
        let epsilon = if work == "lstm_adam" { 1e-8 } else { 1e-7 };
        return (AdamConfig::new().with_epsilon(epsilon).init(), 1e-3);
    }
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    (SgdConfig::new().with_momentum(Some(momentum)).init(), 0.1)
}

/// Pixels `[samples, 784]` and labels of a part, `train` or `valid`.
pub struct Digits {
    pub pixels: TensorData,
    pub labels: TensorData,
}

impl Digits {
    pub fn load(folder: &Path, part: &str) -> Self {
        let file = File::read(&folder.join("digits.safetensors"));
        let pixels = file.floats(&format!("x_{part}"));
        Self { pixels, labels: file.integers(&format!("y_{part}")) }
    }

    /// The batches on a device, in the data's order.
    pub fn batches(&self, device: &Device) -> Vec<(Tensor<2>, Tensor<1, Int>)> {
        let pixels = Tensor::<2>::from_data(self.pixels.clone(), device);
        let labels = Tensor::<1, Int>::from_data(self.labels.clone(), device);
        pixels.split(BATCH, 0).into_iter().zip(labels.split(BATCH, 0)).collect()
    }
}

/// A safetensors file. What is wrong in it ends the process: the runner has written it.
struct File {
    bytes: Vec<u8>,
    path: String,
}

impl File {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path)
            .unwrap_or_else(|error| commands::fail(format!("`{}`: {error}", path.display())));
        Self { bytes, path: path.display().to_string() }
    }

    fn floats(&self, name: &str) -> TensorData {
        let (shape, bytes) = self.array(name);
        let values = bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        TensorData::new::<f32, _>(values, shape)
    }

    fn integers(&self, name: &str) -> TensorData {
        let (shape, bytes) = self.array(name);
        let values = bytes.as_chunks().0.iter().map(|x| i64::from_le_bytes(*x)).collect();
        TensorData::new::<i64, _>(values, shape)
    }

    fn array(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let array = SafeTensors::deserialize(&self.bytes)
            .and_then(|file| file.tensor(name).map(|x| (x.shape().to_vec(), x.data().to_vec())));
        array.unwrap_or_else(|error| commands::fail(format!("`{}`: `{name}`: {error}", self.path)))
    }
}
