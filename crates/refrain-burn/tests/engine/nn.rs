//! Modules for networks of one's own: the same bits as the layers of a `Sequential`, and trained.

use refrain_burn::burn::module::Module;
use refrain_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use refrain_burn::layers::{
    Conv2d, Dense, Gru, HeightWidth, LayerConfig, Lstm, MaxPooling2d, Padding, SimpleRnn,
};
use refrain_burn::nn::{self, Conv2dConfig, LinearConfig, RecurrentConfig};
use refrain_burn::{
    Activation, Adam, AnyTensor, ArrayDataset, Forward, Pass, Sequential,
    SparseCategoricalCrossentropy,
};
use refrain_core::{Fit, Trainer};

use crate::floats;

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + 11) % 101) as f32 / 101.0 - 0.5).collect()
}

/// Output, and the gradient of the input of a sum of squares.
fn both<const D: usize, const E: usize>(
    shape: [usize; D],
    forward: impl FnOnce(Tensor<D>) -> Tensor<E>,
) -> (Vec<f32>, Vec<f32>) {
    let device = Device::default().autodiff();
    let data = TensorData::new(numbers(shape.iter().product()), shape);
    let x = Tensor::<D>::from_data(data, &device).require_grad();
    let output = forward(x.clone());
    let gradients = output.clone().square().sum().backward();
    (floats(output), floats(x.grad(&gradients).unwrap()))
}

/// The same from the only layer of a model, or its first.
fn of_layers<const D: usize>(shape: [usize; D], layers: Vec<LayerConfig>) -> (Vec<f32>, Vec<f32>) {
    let model = Sequential::input(&shape[1..]).layers(layers).build(5).unwrap().train();
    both(shape, |x: Tensor<D>| model.pass(AnyTensor::from(x), Pass::training(0)))
}

#[test]
fn modules_compute_what_layers_compute() {
    let device = Device::default();
    let images = [3, 2, 7, 8];
    for (what, config, layer) in [
        ("plain", Conv2dConfig::new(2, 4, 3), Conv2d::new(4, 3)),
        (
            "relu, strides, no bias",
            Conv2dConfig::new(2, 4, 2).strides([2, 1]).relu(true).use_bias(false),
            Conv2d::new(4, 2).strides([2, 1]).activation(Activation::Relu).use_bias(false),
        ),
        (
            "padded, groups",
            Conv2dConfig::new(2, 4, 3).padding([1, 1]).groups(2),
            Conv2d::new(4, 3).padding(Padding::Same).groups(2),
        ),
        (
            "dilated",
            Conv2dConfig::new(2, 3, 0).kernel_size([2, 3]).dilation([2, 1]),
            Conv2d::new(3, [2, 3]).dilation_rate([2, 1]),
        ),
    ] {
        let module = config.init(5, &device).train();
        let ours = both(images, |x| module.forward(x));
        assert_eq!(ours, of_layers(images, vec![layer.clone().into()]), "{what}");
        let pooled = both(images, |x| nn::max_pool2d(module.forward(x), [2, 3]));
        let pool = MaxPooling2d::new(HeightWidth::from([2, 3]));
        assert_eq!(
            pooled.0,
            of_layers(images, vec![layer.into(), pool.into()]).0,
            "{what}, pooled"
        );
    }
    for (config, layer) in [
        (LinearConfig::new(7, 5), Dense::new(5)),
        (
            LinearConfig::new(7, 5).relu(true).use_bias(false),
            Dense::new(5).activation(Activation::Relu).use_bias(false),
        ),
    ] {
        let module = config.init(5, &device).train();
        let ours = both([3, 7], |x: Tensor<2>| module.forward(x));
        assert_eq!(ours, of_layers([3, 7], vec![layer.into()]));
        // Along the last axis, whatever is before it.
        let of_rows = both([3, 1, 7], |x: Tensor<3>| module.forward(x));
        assert_eq!(of_rows, ours);
    }
    let sequences = [3, 5, 4];
    let config = RecurrentConfig::new(4, 6);
    let module = config.init_lstm(5, &device).train();
    let layer = Lstm::new(6).return_sequences(true);
    assert_eq!(both(sequences, |x| module.forward(x)), of_layers(sequences, vec![layer.into()]));
    let module = config.init_gru(5, &device).train();
    let layer = Gru::new(6).return_sequences(true);
    assert_eq!(both(sequences, |x| module.forward(x)), of_layers(sequences, vec![layer.into()]));
    let module = config.init_simple_rnn(5, &device).train();
    let layer = SimpleRnn::new(6).return_sequences(true);
    assert_eq!(both(sequences, |x| module.forward(x)), of_layers(sequences, vec![layer.into()]));
}

#[test]
#[should_panic(
    expected = "windows of [5, 5] with strides [1, 1], padding [0, 0] and dilation [1, 1] do \
                           not fit images of [4, 9]"
)]
fn kernels_larger_than_images_are_a_panic_that_says_so() {
    let conv = Conv2dConfig::new(1, 1, 5).init(0, &Device::default());
    conv.forward(Tensor::zeros([1, 1, 4, 9], &Device::default()));
}

/// Which half of an image is bright.
#[derive(Module, Debug)]
struct Net {
    conv: nn::Conv2d,
    rows: nn::Lstm,
    head: nn::Linear,
}

impl Forward for Net {
    type Input = Tensor<4>;
    type Output = Tensor<2>;

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let [samples, ..] = images.dims();
        let features = nn::max_pool2d(self.conv.forward(images), [1, 2]);
        let [_, channels, height, width] = features.dims();
        let rows = features.swap_dims(1, 2).reshape([samples, height, channels * width]);
        let last = self.rows.forward(rows).narrow(1, height - 1, 1);
        self.head.forward(last.flatten(1, 2))
    }
}

#[test]
fn a_network_of_ones_own_is_trained() {
    let device = Device::default();
    let net = Net {
        conv: Conv2dConfig::new(1, 4, 3).padding([1, 1]).relu(true).init(1, &device),
        rows: RecurrentConfig::new(4 * 3, 8).init_lstm(2, &device),
        head: LinearConfig::new(8, 2).init(9, &device),
    };
    let images = (0..64 * 36).map(|i| {
        let (sample, row) = (i / 36, i % 36 / 6);
        let is_bright = (row < 3) == (sample % 2 == 0);
        if is_bright { 1.0 } else { 0.1 * (i % 7) as f32 / 7.0 }
    });
    let data: ArrayDataset<Tensor<4>, Tensor<1, Int>> =
        ArrayDataset::new(&[1, 6, 6], images.collect()).unwrap();
    let data = data.labels((0..64).map(|i| i % 2)).unwrap();
    let loss = SparseCategoricalCrossentropy::new().from_logits(true);
    let mut trainer = Trainer::compile(net, Adam::new(0.01), loss);
    let history = trainer.fit(&data, Fit::epochs(15).batch_size(16).verbose(0)).unwrap();
    let loss = history.last().and_then(|logs| logs.get("loss")).unwrap();
    assert!(loss < 0.05, "{loss}");
}
