//! A user's module trained by `fit`, against the same loop written by hand on Burn: the same
//! weights to the bit, and the ratio of the two times, measured in turn in one process.
//!
//! `cargo bench -p refrain-bench --bench fit_against_hand`

use std::time::{Duration, Instant};

use refrain::burn::module::{ModuleMapper, Param};
use refrain::burn::nn::{Linear, LinearConfig};
use refrain::burn::tensor::activation::relu;
use refrain::burn::tensor::{Device, Gradients, Int, Tensor};
use refrain::burn::{self, module::Module};
use refrain::prelude::*;
use refrain::{Batch, BurnLearner, Dataset as _, Loss as _, ModelAccess as _};

const EPOCHS: usize = 20;
const BATCH: usize = 128;
const RATE: f64 = 0.1;

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    output: Linear,
}

impl Forward for Net {
    type Input = Tensor<2>;
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.output.forward(relu(self.hidden.forward(x)))
    }
}

type Data = ArrayDataset<Tensor<2>, Tensor<1, Int>>;

/// SGD as one would write it on Burn.
struct Descend(Gradients);

impl ModuleMapper for Descend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(gradient) = tensor.grad_remove(&mut self.0) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let updated = tensor.inner() - gradient * RATE as f32;
        Param::from_mapped_value(id, Tensor::from_inner(updated).require_grad(), mapper)
    }
}

/// Of both: what is compared is the loop.
fn loss() -> SparseCategoricalCrossentropy {
    SparseCategoricalCrossentropy::new().from_logits(true)
}

/// The loop by hand: the loss summed on the device, read once an epoch.
fn by_hand(mut net: Net, data: &Data) -> Result<(Net, Vec<f32>)> {
    let order: Vec<usize> = (0..data.len()).collect();
    let mut losses = Vec::new();
    for _ in 0..EPOCHS {
        let mut sum = None;
        for indices in order.chunks(BATCH) {
            let Batch { inputs, targets, .. } = data.batch(indices)?;
            let Some(labels) = targets else {
                return Err(Error::data("no labels"));
            };
            let logits = net.forward(Tensor::from_inner(inputs));
            let loss = loss().sum(logits, Tensor::from_inner(labels));
            let batch_sum = loss.clone().inner();
            sum = Some(match sum {
                Some(sum) => sum + batch_sum,
                None => batch_sum,
            });
            let gradients = loss.div_scalar(indices.len() as f32).backward();
            net = net.map(&mut Descend(gradients));
        }
        let sum = sum.map_or(f32::NAN, |sum| sum.into_scalar::<f32>());
        losses.push(sum / data.len() as f32);
    }
    Ok((net, losses))
}

fn by_fit(net: Net, data: &Data) -> Result<BurnLearner<Net, SparseCategoricalCrossentropy>> {
    let mut trainer = Trainer::compile(net, Sgd::new(RATE), loss());
    trainer.fit(data, Fit::epochs(EPOCHS).batch_size(BATCH).shuffle(false).verbose(0))?;
    Ok(trainer.into_learner())
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let value = f();
    (value, began.elapsed())
}

fn main() -> Result {
    // `cargo test --benches` only wants to see it run.
    let pairs = if std::env::args().any(|arg| arg == "--bench") { 41 } else { 3 };
    let digits = refrain::data::digits()?;
    let data: Data = ArrayDataset::new(&[64], digits.pixels)?.labels(digits.labels)?;
    let device = Device::flex().autodiff();
    device.seed(42);
    let net = Net {
        hidden: LinearConfig::new(64, 128).init(&device),
        output: LinearConfig::new(128, 10).init(&device),
    };

    let mut ratios = Vec::new();
    let mut seconds = [0.0; 2];
    for pair in 0..pairs {
        // In turn first, so that a drift of the machine's speed favours neither.
        let (fit, hand);
        if pair % 2 == 0 {
            fit = timed(|| by_fit(net.clone(), &data));
            hand = timed(|| by_hand(net.clone(), &data));
        } else {
            hand = timed(|| by_hand(net.clone(), &data));
            fit = timed(|| by_fit(net.clone(), &data));
        }
        let (hand, hand_time) = (hand.0?, hand.1);
        let hand = BurnLearner::new(hand.0, Box::new(Sgd::new(RATE)), loss()).weights()?;
        assert!(fit.0?.weights()? == hand, "fit and the loop by hand must give the same bits");
        // The first pair warms caches and thread pools.
        if pair > 0 {
            ratios.push(fit.1.as_secs_f64() / hand_time.as_secs_f64());
            seconds[0] += fit.1.as_secs_f64() / (pairs - 1) as f64;
            seconds[1] += hand_time.as_secs_f64() / (pairs - 1) as f64;
        }
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share) as usize];
    println!(
        "fit ÷ by hand: median {:.3}, quartiles {:.3} to {:.3}, range {:.3} to {:.3}, {} pairs",
        at(0.5),
        at(0.25),
        at(0.75),
        at(0.0),
        at(1.0),
        ratios.len()
    );
    println!("means: fit {:.1} ms, by hand {:.1} ms", seconds[0] * 1e3, seconds[1] * 1e3);
    println!("weights: bit-equal");
    Ok(())
}
