//! An epoch of three networks on images of 28 × 28, 8,000 to train on and 2,000 to validate, batch
//! 128, Adam: `fit`, and a loop on Burn's own modules and losses written by hand, in turn in one
//! process; the ratio of the two times.
//!
//! `cargo bench -p refrain-bench --bench networks [-- cnn]`

use std::time::Instant;

use refrain::burn::module::{ModuleMapper, Param, ParamId};
use refrain::burn::nn::conv::{Conv2d as BurnConv2d, Conv2dConfig};
use refrain::burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use refrain::burn::nn::{Linear, LinearConfig};
use refrain::burn::tensor::activation::{log_softmax, relu};
use refrain::burn::tensor::{Device, Gradients, Int, Tensor};
use refrain::burn::{self, module::Module};
use refrain::layers::{Conv2d, Dense, Flatten, LayerConfig, MaxPooling2d};
use refrain::prelude::*;
use refrain::{Activation, AnyTensor, Batch, Dataset as _, Optimizer as _, Values};

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SAMPLES: usize = 10_000;
const BATCH: usize = 128;

type Data = ArrayDataset<AnyTensor, Tensor<1, Int>>;

fn layers(name: &str) -> Vec<LayerConfig> {
    let dense = |units| LayerConfig::from(Dense::new(units).activation(Activation::Relu));
    let conv = |filters| LayerConfig::from(Conv2d::new(filters, 3).activation(Activation::Relu));
    let mut layers = match name {
        "small" => vec![Flatten::new().into(), dense(128)],
        "wide" => vec![Flatten::new().into(), dense(1024), dense(1024)],
        _ => vec![
            conv(32),
            MaxPooling2d::default().into(),
            conv(64),
            MaxPooling2d::default().into(),
            Flatten::new().into(),
        ],
    };
    layers.push(Dense::new(10).activation(Activation::Softmax).into());
    layers
}

/// The same networks of Burn's modules.
#[derive(Module, Debug)]
struct Net {
    convolutions: Vec<BurnConv2d>,
    pool: MaxPool2d,
    hidden: Vec<Linear>,
    output: Linear,
}

impl Net {
    fn new(name: &str) -> Self {
        let device = Device::flex().autodiff();
        let (convolutions, hidden): (&[[usize; 2]], &[usize]) = match name {
            "small" => (&[], &[784, 128]),
            "wide" => (&[], &[784, 1024, 1024]),
            _ => (&[[1, 32], [32, 64]], &[64 * 5 * 5]),
        };
        let convolution = |&channels: &_| Conv2dConfig::new(channels, [3, 3]).init(&device);
        Self {
            convolutions: convolutions.iter().map(convolution).collect(),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            hidden: hidden
                .windows(2)
                .map(|units| LinearConfig::new(units[0], units[1]).init(&device))
                .collect(),
            output: LinearConfig::new(hidden[hidden.len() - 1], 10).init(&device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let samples = x.dims()[0];
        let x = self.convolutions.iter().fold(x.reshape([samples, 1, 28, 28]), |x, layer| {
            self.pool.forward(relu(layer.forward(x)))
        });
        let elements = x.dims()[1..].iter().product::<usize>();
        let x = x.reshape([samples, elements]);
        let x = self.hidden.iter().fold(x, |x, layer| relu(layer.forward(x)));
        self.output.forward(x)
    }
}

/// The optimizer is ours in both: the comparison is of what computes gradients.
struct Step<'a> {
    gradients: Gradients,
    adam: &'a mut Adam,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper): (ParamId, Tensor<D>, _) = param.consume();
        let Some(gradient) = tensor.grad_remove(&mut self.gradients) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let (shape, elements) = (tensor.dims(), tensor.shape().num_elements());
        let flat = |tensor: Tensor<D>| Values::from(tensor.reshape([elements]));
        let updated = self.adam.update(id, flat(tensor.inner()), flat(gradient));
        let updated = Tensor::from_inner(updated.into_tensor().reshape(shape)).require_grad();
        Param::from_mapped_value(id, updated, mapper)
    }
}

fn epoch_by_hand(mut net: Net, adam: &mut Adam, train: &Data, test: &Data) -> Result<Net> {
    let batches = |data: &Data| {
        let order: Vec<usize> = (0..data.len()).collect();
        order.chunks(BATCH).map(<[usize]>::to_vec).collect::<Vec<_>>()
    };
    let loss_of = |net: &Net, batch: Batch<_, _>, autodiff: bool| -> Result<(Tensor<1>, usize)> {
        let Batch { inputs, targets: Some(labels), .. } = batch else {
            return Err(Error::data("no labels"));
        };
        let inputs: AnyTensor = inputs;
        let labels: Tensor<1, Int> = labels;
        let (x, labels) = match autodiff {
            true => (Tensor::from_inner(inputs.into_rows()), Tensor::from_inner(labels)),
            false => (inputs.into_rows(), labels),
        };
        let samples = labels.dims()[0];
        let logarithms = log_softmax(net.forward(x), 1).gather(1, labels.unsqueeze_dim(1));
        Ok((logarithms.neg().sum(), samples))
    };
    let mut sum = None;
    for indices in batches(train) {
        let (loss, samples) = loss_of(&net, train.batch(&indices)?, true)?;
        let read = loss.clone().inner();
        sum = Some(match sum {
            Some(sum) => sum + read,
            None => read,
        });
        let gradients = loss.div_scalar(samples as f64).backward();
        adam.begin_step(0.001);
        net = net.map(&mut Step { gradients, adam });
    }
    let plain = net.valid();
    for indices in batches(test) {
        let (loss, _) = loss_of(&plain, test.batch(&indices)?, false)?;
        sum = sum.map(|sum| sum + loss);
    }
    std::hint::black_box(sum.map(|sum| sum.into_scalar::<f32>()));
    Ok(net)
}

fn data(samples: usize) -> Result<Data> {
    // Time does not depend on what the images show.
    let pixel = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 7) % 256) as f32 / 255.0;
    ArrayDataset::new(&[1, 28, 28], (0..samples * 784).map(pixel).collect())?
        .labels((0..samples).map(|i| (i % 10) as i64))
}

fn main() -> Result {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let measured = args.iter().any(|arg| arg == "--bench");
    let only = args.iter().find(|arg| !arg.starts_with("--"));
    let (samples, pairs) = if measured { (SAMPLES, 11) } else { (300, 1) };
    let (train, test) = (data(samples * 4 / 5)?, data(samples / 5)?);
    for name in ["small", "wide", "cnn"] {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let model = Sequential::input(&[1, 28, 28]).layers(layers(name)).build(1)?;
        let loss = SparseCategoricalCrossentropy::new();
        let mut trainer = Trainer::compile(model, Adam::new(0.001), loss);
        let (mut net, mut adam) = (Net::new(name), Adam::new(0.001));
        let mut times = Vec::new();
        for _ in 0..=pairs {
            let began = Instant::now();
            let fit = Fit::epochs(1).batch_size(BATCH).validation_data(&test).verbose(0);
            trainer.fit(&train, fit)?;
            let ours = began.elapsed().as_secs_f64();
            let began = Instant::now();
            net = epoch_by_hand(net, &mut adam, &train, &test)?;
            times.push((ours, began.elapsed().as_secs_f64()));
        }
        // The first pair warms caches and thread pools.
        times.remove(0);
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        println!(
            "{name}: fit {:.3} s, Burn by hand {:.3} s, ratio {:.3} (medians of {pairs})",
            median(times.iter().map(|pair| pair.0).collect()),
            median(times.iter().map(|pair| pair.1).collect()),
            median(times.iter().map(|pair| pair.0 / pair.1).collect()),
        );
    }
    Ok(())
}
