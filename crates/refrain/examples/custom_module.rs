//! A Burn module of your own, trained with `fit`. `cargo run --example custom_module`

use refrain::burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use refrain::burn::tensor::{Device, Tensor, activation::relu};
use refrain::burn::{self, module::Module};
use refrain::callbacks::EarlyStopping;
use refrain::prelude::*;

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    dropout: Dropout,
    output: Linear,
}

impl Forward for Net {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(self.hidden.forward(x));
        self.output.forward(self.dropout.forward(x))
    }
}

fn main() -> Result {
    let device = Device::default();
    device.seed(42);
    let net = Net {
        hidden: LinearConfig::new(64, 128).init(&device),
        dropout: DropoutConfig::new(0.2).init(),
        output: LinearConfig::new(128, 10).init(&device),
    };
    let digits = refrain::data::digits()?;
    let data = ArrayDataset::new(&[64], digits.pixels)?.labels(digits.labels)?;

    let loss = SparseCategoricalCrossentropy::new().from_logits(true);
    let mut trainer = Trainer::compile(net, Adam::new(0.001), loss)
        .metric(Accuracy::new())
        .callback(EarlyStopping::new(Monitor::max("val_accuracy")).patience(3))
        .seed(42);
    trainer.fit(&data, Fit::epochs(20).batch_size(64).validation_split(0.2))?;
    trainer.save_weights(std::env::temp_dir().join("net.safetensors"))?;
    println!("{:?}", trainer.evaluate(&data, 256)?);
    Ok(())
}
