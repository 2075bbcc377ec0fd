//! A plain loop on Burn: `burn_loop WORK FOLDER`.

use std::path::Path;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use net::{Digits, Net};

#[path = "../../commands.rs"]
mod commands;
mod net;

type Batches = Vec<(Tensor<2>, Tensor<1, Int>)>;

/// Sums over samples, on the device until an epoch's end.
struct Sums {
    loss: Tensor<1>,
    correct: Tensor<1, Int>,
    samples: usize,
}

impl Sums {
    fn new(device: &Device) -> Self {
        let (loss, correct) = (Tensor::zeros([1], device), Tensor::zeros([1], device));
        Self { loss, correct, samples: 0 }
    }

    fn add(self, loss: Tensor<1>, logits: Tensor<2>, labels: Tensor<1, Int>) -> Self {
        let samples = self.samples + labels.dims()[0];
        let predicted = logits.argmax(1).squeeze_dim::<1>(1);
        let correct = predicted.equal(labels).int().sum();
        Self { loss: self.loss + loss, correct: self.correct + correct, samples }
    }

    /// Loss and accuracy.
    fn means(self) -> (f64, f64) {
        let samples = self.samples as f64;
        let correct = self.correct.into_scalar::<i64>() as f64;
        (f64::from(self.loss.into_scalar::<f32>()) / samples, correct / samples)
    }
}

fn train(mut net: Net, optimizer: &mut ModuleOptimizer, rate: f64, data: &Batches) -> (Net, Sums) {
    let mut sums = Sums::new(&Device::flex());
    for (pixels, labels) in data {
        let logits = net.forward(pixels.clone());
        let loss = net::losses(logits.clone(), labels.clone()).sum();
        sums = sums.add(
            loss.clone().without_autodiff(),
            logits.without_autodiff(),
            labels.clone().without_autodiff(),
        );
        let gradients = loss.div_scalar(labels.dims()[0] as f32).backward();
        let gradients = GradientsParams::from_grads(gradients, &net);
        net = optimizer.step(rate, net, gradients);
    }
    (net, sums)
}

fn validate(net: &Net, data: &Batches) -> Sums {
    let net = net.valid();
    data.iter().fold(Sums::new(&Device::flex()), |sums, (pixels, labels)| {
        let logits = net.forward(pixels.clone());
        let loss = net::losses(logits.clone(), labels.clone()).sum();
        sums.add(loss, logits, labels.clone())
    })
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(work), Some(folder)) = (arguments.next(), arguments.next()) else {
        commands::fail("usage: burn_loop WORK FOLDER");
    };
    let folder = Path::new(&folder);
    let plain = Device::flex();
    let device = Device::flex().autodiff();
    let mut net = Net::load(&work, folder, &device);
    let validation = Digits::load(folder, "valid");
    if work == "predict_one" {
        let net = net.valid();
        let rows = validation.pixels;
        let row = rows.as_slice::<f32>().map(|rows| rows[..784].to_vec()).unwrap_or_default();
        commands::ready("burn", "0.22.1");
        commands::serve_predictions(|| {
            let row = Tensor::<2>::from_data(TensorData::new(row.clone(), [1, 784]), &plain);
            let output = softmax(net.forward(row), 1).into_data();
            output.as_slice::<f32>().map(<[f32]>::to_vec).unwrap_or_default()
        });
    }
    let training = Digits::load(folder, "train").batches(&device);
    let validation = validation.batches(&plain);
    let (mut optimizer, rate) = net::optimizer(&work);
    commands::ready("burn", "0.22.1");
    loop {
        let began = commands::wait_for_epoch();
        let sums;
        (net, sums) = train(net, &mut optimizer, rate, &training);
        let (loss, accuracy) = sums.means();
        let (val_loss, val_accuracy) = validate(&net, &validation).means();
        commands::epoch(
            began,
            &[
                ("loss", loss),
                ("accuracy", accuracy),
                ("val_loss", val_loss),
                ("val_accuracy", val_accuracy),
            ],
        );
    }
}
