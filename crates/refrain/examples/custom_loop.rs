//! A training loop written by hand that fires the same callbacks with the same events as `fit`:
//! here with a batch size that doubles. `cargo run --example custom_loop`

use refrain::burn::nn::{Linear, LinearConfig};
use refrain::burn::tensor::{Device, Tensor};
use refrain::burn::{self, module::Module};
use refrain::callbacks::{EarlyStopping, StepLrScheduler};
use refrain::{Dataset as _, Epochs, prelude::*};

#[derive(Module, Debug)]
struct Net {
    output: Linear,
}

impl Forward for Net {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.output.forward(x)
    }
}

fn main() -> Result {
    let device = Device::default();
    device.seed(42);
    let net = Net { output: LinearConfig::new(64, 10).init(&device) };
    let digits = refrain::data::digits()?;
    let data = ArrayDataset::new(&[64], digits.pixels)?.labels(digits.labels)?;
    let train: Vec<usize> = (0..1437).collect();

    let loss = SparseCategoricalCrossentropy::new().from_logits(true);
    let mut trainer = Trainer::compile(net, Sgd::new(0.1), loss)
        .metric(Accuracy::new())
        .callback(StepLrScheduler::new(0.5, 3))
        .callback(EarlyStopping::new(Monitor::min("loss")).patience(2));

    let mut session = trainer.session(Epochs::new(8))?;
    while session.begin_epoch()? {
        let batch_size = 32 << (session.progress().epoch / 2);
        for indices in train.chunks(batch_size) {
            session.train_batch(data.batch(indices)?, None)?;
            if session.should_stop() {
                break;
            }
        }
        session.end_epoch()?;
    }
    let history = session.finish()?;
    println!("{} epochs, {:?}", history.len(), history.ending);
    Ok(())
}
