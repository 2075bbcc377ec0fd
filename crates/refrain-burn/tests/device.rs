//! Another device beside the CPU: every layer, optimizer, loss and metric gives what it gives there, and
//! runs on it are resumed to the bit.
//!
//! `REFRAIN_DEVICE` names the device; without it there is nothing to compare, and every test says so:
//!
//! ```text
//! REFRAIN_DEVICE=cuda cargo test --release -p refrain-burn --features cuda --test device -- \
//!     --nocapture --test-threads 1 --include-ignored
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use refrain_burn::burn::tensor::Device;
use refrain_burn::layers::{
    self, AveragePooling1d, AveragePooling2d, BatchNormalization, Bidirectional, Conv1d, Conv2d,
    Conv2dTranspose, Dense, DepthwiseConv2d, Dropout, Elu, Embedding, FillMode, Flatten, FlipMode,
    GaussianNoise, GlobalAveragePooling1d, GlobalAveragePooling2d, GlobalMaxPooling1d,
    GlobalMaxPooling2d, GroupNormalization, Gru, Interpolation, LayerNormalization, LeakyRelu,
    Lstm, MaxPooling1d, MaxPooling2d, MergeMode, MultiHeadAttention, Normalization, Padding,
    Permute, Prelu, RandomFlip, RandomRotation, RandomTranslation, RandomZoom, Relu, Rescaling,
    Reshape, Residual, RmsNormalization, SeparableConv1d, SeparableConv2d, SimpleRnn, Softmax,
    SpatialDropout2d,
};
use refrain_burn::{
    Activation, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, AnyLoss, AnyMetric, AnyTensor,
    ArrayDataset, BurnLearner, Constraint, Ftrl, Lamb, LayerConfig, Lion, LossScale, Muon, Nadam,
    Optimizer, Regularizer, RmsProp, ScheduleFreeAdamW, Sequential, Sgd, Targets,
};
use refrain_core::callbacks::GradientAccumulation;
use refrain_core::checkpoint::{Checkpoints, Every};
use refrain_core::console::Console;
use refrain_core::{
    BatchEnd, Callback, Fit, History, LambdaCallback, ModelAccess as _, Result, Run, StopHandle,
    Trainer,
};

/// How far losses may be apart, as a share of themselves: products of matrices are rounded in another
/// order, and where a device has units for it, to 10 bits of mantissa.
const TOLERANCE: f64 = 5e-3;

type Layers = Vec<LayerConfig>;
type Learner = BurnLearner<Sequential, AnyLoss>;
type MakeOptimizer = fn() -> Box<dyn Optimizer>;
type Images = ArrayDataset<AnyTensor, Targets>;

/// The device to compare, where one is named.
fn other() -> Option<Device> {
    let Ok(name) = std::env::var("REFRAIN_DEVICE") else {
        eprintln!("skipped: REFRAIN_DEVICE names no device, for example cuda");
        return None;
    };
    Some(refrain_burn::device(&name).unwrap_or_else(|error| panic!("{error}")))
}

/// Tries each case by itself, says how it went, and fails at the end where one did.
fn each<C>(cases: impl IntoIterator<Item = (String, C)>, mut test: impl FnMut(C) -> String) {
    let mut failed = Vec::new();
    for (name, case) in cases {
        let began = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| test(case)));
        let seconds = began.elapsed().as_secs_f64();
        match done {
            Ok(found) => eprintln!("ok     {seconds:6.2} s  {name}: {found}"),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                eprintln!("FAILED {seconds:6.2} s  {name}: {}", text.unwrap_or("no message"));
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
}

/// The largest difference as a share; fails where it is too large.
fn compare(expected: &[f64], found: &[f64]) -> String {
    assert!(!expected.is_empty() && expected.len() == found.len(), "{expected:?} {found:?}");
    let share = |(a, b): (&f64, &f64)| (a - b).abs() / a.abs().max(1e-3);
    let largest = expected.iter().zip(found).map(share).fold(0.0, f64::max);
    let is_near = largest < TOLERANCE && found.iter().all(|loss| loss.is_finite());
    assert!(is_near, "{largest:.1e} apart: {expected:?} on the CPU, and {found:?}");
    format!("{largest:.1e} apart")
}

/// Images of one channel and ten classes, each with a row of its own that is lighter than the noise.
fn images(samples: usize, size: usize) -> Images {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let mut pixels = Vec::with_capacity(samples * size * size);
    for sample in 0..samples {
        for at in 0..size * size {
            let is_light = at / size == sample % 10 % size;
            pixels.push(if is_light { 0.5 + 0.5 * noise() } else { 0.5 * noise() });
        }
    }
    let data = ArrayDataset::new(&[1, size, size], pixels).unwrap();
    data.labels((0..samples).map(|sample| (sample % 10) as u32)).unwrap()
}

fn loss(name: &str) -> AnyLoss {
    AnyLoss::from_name(name).unwrap_or_else(|| panic!("no loss {name}"))
}

fn trainer(
    model: Sequential,
    mut optimizer: Box<dyn Optimizer>,
    loss: AnyLoss,
) -> Trainer<Learner> {
    let rate = optimizer.take_learning_rate();
    Trainer::new(BurnLearner::new(model, optimizer, loss), rate).seed(3).console(Console::silent())
}

/// Losses of training and validation.
fn of_history(history: &History) -> Vec<f64> {
    let column = |name: &str| history.column(name).into_iter().flatten();
    column("loss").chain(column("val_loss")).collect()
}

/// Models for images of 8 × 8, with every layer among them, but for the last one.
fn models() -> Vec<(&'static str, Layers)> {
    let conv = |filters, size| Conv2d::new(filters, size);
    let rows = || LayerConfig::from(Reshape::new([8, 8]));
    let flat = || LayerConfig::from(Flatten::new());
    vec![
        (
            "dense with a regularizer, dropout",
            vec![
                flat(),
                Dense::new(8)
                    .activation(Activation::Glu)
                    .kernel_regularizer(Regularizer::L2(0.01))
                    .into(),
                Dropout::new(0.3).into(),
                layers::Activation::new(Activation::Mish).into(),
            ],
        ),
        (
            "conv2d with a constraint, max_pooling2d",
            vec![
                conv(3, 3)
                    .activation(Activation::Relu)
                    .kernel_constraint(Constraint::max_norm(0.5))
                    .into(),
                MaxPooling2d::new(2).into(),
                flat(),
            ],
        ),
        (
            "conv2d, strided, padded, dilated, grouped",
            vec![
                conv(4, 3).strides(2).padding(Padding::Same).into(),
                conv(4, 2).dilation_rate(2).padding(Padding::Same).groups(2).into(),
                MaxPooling2d::new(3).strides(1).padding(Padding::Same).into(),
                flat(),
            ],
        ),
        (
            "depthwise_conv2d, average_pooling2d",
            vec![
                DepthwiseConv2d::new(3).depth_multiplier(3).into(),
                AveragePooling2d::new(2).padding(Padding::Same).into(),
                flat(),
            ],
        ),
        (
            "conv2d_transpose",
            vec![
                conv(4, 3).strides(2).padding(Padding::Same).into(),
                Conv2dTranspose::new(2, 3)
                    .strides(2)
                    .padding(Padding::Same)
                    .activation(Activation::Tanh)
                    .into(),
                flat(),
            ],
        ),
        (
            "spatial_dropout2d, global_average_pooling2d",
            vec![
                conv(8, 3).into(),
                SpatialDropout2d::new(0.3).into(),
                GlobalAveragePooling2d::new().into(),
            ],
        ),
        (
            "group_normalization, global_max_pooling2d",
            vec![
                conv(8, 3).into(),
                GroupNormalization::new(2).into(),
                GlobalMaxPooling2d::new().into(),
            ],
        ),
        ("permute, lstm", vec![rows(), Permute::new([2, 1]).into(), Lstm::new(6).into()]),
        (
            "gru, simple_rnn",
            vec![rows(), Gru::new(6).return_sequences(true).into(), SimpleRnn::new(5).into()],
        ),
        (
            "bidirectional gru that resets before",
            vec![
                rows(),
                Bidirectional::new(Gru::new(4).reset_after(false))
                    .merge_mode(MergeMode::Ave)
                    .into(),
            ],
        ),
        (
            "multi_head_attention, layer_normalization, residual",
            vec![
                rows(),
                Residual::new([
                    LayerNormalization::new().into(),
                    MultiHeadAttention::new(2, 4).dropout(0.2).use_causal_mask(true).into(),
                ])
                .into(),
                GlobalAveragePooling1d::new().into(),
            ],
        ),
        (
            "conv1d, pooling1d",
            vec![
                rows(),
                Conv1d::new(6, 3).padding(Padding::Causal).into(),
                MaxPooling1d::new(2).into(),
                AveragePooling1d::new(2).strides(1).into(),
                GlobalMaxPooling1d::new().into(),
            ],
        ),
        (
            "separable_conv1d, relu, elu",
            vec![
                rows(),
                SeparableConv1d::new(5, 3).into(),
                Relu::new().negative_slope(0.1).into(),
                Elu::new().into(),
                GlobalMaxPooling1d::new().into(),
            ],
        ),
        (
            "separable_conv2d, prelu, leaky_relu, softmax",
            vec![
                SeparableConv2d::new(4, 3).into(),
                Prelu::new().into(),
                LeakyRelu::new().into(),
                flat(),
                Softmax::new().into(),
            ],
        ),
        (
            "normalization behind a convolution, batch_normalization",
            vec![
                conv(2, 3).into(),
                Normalization::new().into(),
                flat(),
                BatchNormalization::new().into(),
            ],
        ),
        (
            "rescaling, rms_normalization, gaussian_noise",
            vec![
                Rescaling::new(2.0).offset(-1.0).into(),
                flat(),
                RmsNormalization::new().into(),
                GaussianNoise::new(0.1).into(),
            ],
        ),
        (
            "random_flip, random_translation",
            vec![
                RandomFlip::new(FlipMode::Horizontal).into(),
                RandomTranslation::new(0.2, 0.2)
                    .fill_mode(FillMode::Constant)
                    .fill_value(0.5)
                    .into(),
                flat(),
            ],
        ),
        (
            "random_rotation, random_zoom",
            vec![
                RandomRotation::new(0.1).interpolation(Interpolation::Nearest).into(),
                RandomZoom::new(0.2).fill_mode(FillMode::Wrap).into(),
                flat(),
            ],
        ),
    ]
}

/// The optimizers with what makes them compute otherwise.
fn optimizers() -> Vec<(&'static str, MakeOptimizer)> {
    vec![
        ("sgd", || Box::new(Sgd::new(0.1))),
        ("sgd with nesterov, decay and clipnorm", || {
            let sgd = Sgd::new(0.1).momentum(0.9).nesterov(true);
            Box::new(sgd.weight_decay(0.01).clipnorm(1.0))
        }),
        ("adam with amsgrad and averages", || {
            Box::new(Adam::new(0.003).amsgrad(true).use_ema(0.9).ema_overwrite_frequency(3))
        }),
        ("adamw with global_clipnorm", || Box::new(AdamW::new(0.003).global_clipnorm(1.0))),
        ("rmsprop", || Box::new(RmsProp::new(0.003).centered(true).momentum(0.9))),
        ("nadam", || Box::new(Nadam::new(0.003))),
        ("adagrad with clipvalue", || Box::new(Adagrad::new(0.03).clipvalue(0.1))),
        ("adamax", || Box::new(Adamax::new(0.003))),
        ("adadelta", || Box::new(Adadelta::new(1.0))),
        // Of gradients the sign alone: those near 0 differ.
        ("lion", || Box::new(Lion::new(0.0003))),
        ("ftrl", || Box::new(Ftrl::new(0.1).l1_regularization_strength(1e-3))),
        ("lamb", || Box::new(Lamb::new(0.01).weight_decay(0.01))),
        ("adafactor", || Box::new(Adafactor::new(0.01))),
        ("muon", || Box::new(Muon::new(0.003))),
        ("schedule_free_adamw", || Box::new(ScheduleFreeAdamW::new(0.003))),
        // The first steps overflow, and halve it.
        ("a loss scale that overflows", || {
            let scale = LossScale::dynamic().initial_scale(f64::from(f32::MAX));
            Box::new(Sgd::new(0.1).momentum(0.9).loss_scale(scale))
        }),
    ]
}

fn with_output(mut layers: Layers) -> Layers {
    layers.push(Dense::new(10).activation(Activation::Softmax).into());
    layers
}

fn build(layers: &Layers, data: &Images, device: &Device) -> Sequential {
    let model = Sequential::input(&[1, 8, 8]).layers(with_output(layers.clone()));
    model.device(device).build(5).unwrap().adapt(data, 192).unwrap()
}

/// Two epochs of four batches, with a validation of two.
fn fit<'a, B>() -> Fit<'a, B> {
    Fit::epochs(2).batch_size(64).validation_split(1.0 / 3.0).verbose(0)
}

#[test]
fn every_layer_gives_the_losses_of_the_cpu() {
    let Some(device) = other() else { return };
    let data = images(384, 8);
    each(models().into_iter().map(|(name, layers)| (name.to_owned(), layers)), |layers| {
        let losses = |device: &Device| {
            let model = build(&layers, &data, device);
            let optimizer = Box::new(Adam::new(0.003));
            let mut trainer = trainer(model, optimizer, loss("sparse_categorical_crossentropy"));
            of_history(&trainer.fit(&data, fit()).unwrap())
        };
        compare(&losses(&Device::flex()), &losses(&device))
    });
}

#[test]
fn every_layer_is_tried() {
    let text = format!("{:?}", models());
    for name in LayerConfig::TYPES {
        // As the type is written, in the debug text of its configuration.
        let camel: String = name.split('_').map(capitalised).collect();
        assert!(text.contains(&format!("{camel}(")) || *name == "embedding", "{name} is not tried");
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[test]
fn every_optimizer_gives_the_losses_of_the_cpu() {
    let Some(device) = other() else { return };
    let data = images(384, 8);
    let hidden = vec![Flatten::new().into(), Dense::new(16).activation(Activation::Relu).into()];
    each(optimizers().into_iter().map(|(name, make)| (name.to_owned(), make)), |make| {
        let losses = |device: &Device| {
            let model = build(&hidden, &data, device);
            let mut trainer = trainer(model, make(), loss("sparse_categorical_crossentropy"));
            of_history(&trainer.fit(&data, fit()).unwrap())
        };
        compare(&losses(&Device::flex()), &losses(&device))
    });
}

/// With one-hot rows, or labels for a loss that takes these alone.
fn for_loss(name: &str) -> Images {
    let of_labels = [
        "sparse_categorical_crossentropy",
        "circle",
        "categorical_generalized_cross_entropy",
        "ctc",
    ];
    if of_labels.contains(&name) {
        return images(384, 8);
    }
    let is_class = |sample, class| f32::from(u8::from(sample % 10 == class));
    let rows = (0..384).flat_map(|sample| (0..10).map(move |class| is_class(sample, class)));
    images(384, 8).targets(&[10], rows.collect()).unwrap()
}

#[test]
fn every_loss_gives_the_losses_of_the_cpu() {
    let Some(device) = other() else { return };
    each(AnyLoss::NAMES.iter().map(|name| ((*name).to_owned(), *name)), |name| {
        let data = for_loss(name);
        let losses = |device: &Device| {
            let model = build(&vec![Flatten::new().into()], &data, device);
            let mut trainer = trainer(model, Box::new(Sgd::new(0.01)), loss(name));
            of_history(&trainer.fit(&data, fit()).unwrap())
        };
        compare(&losses(&Device::flex()), &losses(&device))
    });
}

#[test]
fn every_metric_gives_the_numbers_of_the_cpu() {
    let Some(device) = other() else { return };
    let data = for_loss("categorical_crossentropy");
    each(AnyMetric::NAMES.iter().map(|name| ((*name).to_owned(), *name)), |name| {
        let numbers = |device: &Device| {
            let model = build(&vec![Flatten::new().into()], &data, device);
            let optimizer = Box::new(Sgd::new(0.01));
            let trainer = trainer(model, optimizer, loss("categorical_crossentropy"));
            let mut trainer = trainer.metric(AnyMetric::from_name(name).unwrap());
            let logs = trainer.evaluate(&data, 100).unwrap();
            logs.iter().map(|(_, value)| value).collect::<Vec<f64>>()
        };
        compare(&numbers(&Device::flex()), &numbers(&device))
    });
}

/// What has no place in the other tables.
#[test]
fn what_else_a_step_may_do_gives_the_losses_of_the_cpu() {
    type Losses = fn(&Device) -> Vec<f64>;
    let Some(device) = other() else { return };
    let embedding: Losses = |device| {
        let numbers: Vec<f32> = (0..256 * 6).map(|i| ((i * 7 + i / 5) % 20) as f32).collect();
        let labels = numbers.chunks(6).map(|row| row.iter().sum::<f32>() as u32 % 3);
        let data = ArrayDataset::new(&[6], numbers.clone()).unwrap().labels(labels).unwrap();
        let model = Sequential::input(&[6]).layer(Embedding::new(20, 8)).layer(Flatten::new());
        let model = model.layer(Dense::new(3).activation(Activation::Softmax)).device(device);
        let loss = loss("sparse_categorical_crossentropy");
        let mut trainer = trainer(model.build(1).unwrap(), Box::new(Adam::new(0.01)), loss);
        of_history(&trainer.fit(&data, Fit::epochs(3).batch_size(64).verbose(0)).unwrap())
    };
    let weights: Losses = |device| {
        let data = images(384, 8);
        let model = build(&vec![Flatten::new().into()], &data, device);
        let loss = loss("sparse_categorical_crossentropy");
        let mut trainer = trainer(model, Box::new(Sgd::new(0.1)), loss);
        let weights = BTreeMap::from([(0, 3.0), (7, 0.5)]);
        of_history(&trainer.fit(&data, fit().class_weight(weights)).unwrap())
    };
    let gradients: Losses = |device| {
        let data = images(384, 8);
        let model = build(&vec![Flatten::new().into()], &data, device);
        let loss = loss("sparse_categorical_crossentropy");
        let norms = LambdaCallback::new("norms").on_backward_end(|run, _| {
            assert!(run.model.gradient_norm()?.is_finite());
            Ok(())
        });
        let trainer = trainer(model, Box::new(Sgd::new(0.1)), loss).callback(norms);
        let mut trainer = trainer.callback(GradientAccumulation::new(2));
        of_history(&trainer.fit(&data, fit()).unwrap())
    };
    let sequences: Losses = |device| {
        let numbers: Vec<f32> =
            (0..128 * 12).map(|i| ((i * 7 + i / 5) % 20) as f32 / 20.0).collect();
        let labels = (0..128).flat_map(|i| [i % 3 + 1, (i % 4) * (i % 2), 0]);
        let data = ArrayDataset::new(&[12, 1], numbers).unwrap();
        let data = data.targets(&[3], labels.map(|label| label as f32).collect()).unwrap();
        let model = Sequential::input(&[12, 1]).layer(Lstm::new(8).return_sequences(true));
        let model = model.layer(Dense::new(5)).device(device).build(1).unwrap();
        let mut trainer = trainer(model, Box::new(Adam::new(0.01)), loss("ctc").per_step(12));
        of_history(&trainer.fit(&data, Fit::epochs(3).batch_size(64).verbose(0)).unwrap())
    };
    let cases = [
        ("embedding", embedding),
        ("labels of sequences", sequences),
        ("weights of classes", weights),
        ("accumulated gradients and their norm", gradients),
    ];
    each(cases.map(|(name, losses)| (name.to_owned(), losses)), |losses| {
        compare(&losses(&Device::flex()), &losses(&device))
    });
}

/// Stops after so many batches.
struct StopAfter(usize, StopHandle);

impl Callback for StopAfter {
    fn on_train_batch_end(&mut self, _: &mut Run<'_>, _: &BatchEnd) -> Result {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.stop();
        }
        Ok(())
    }
}

/// What a run leaves: weights, optimizer, losses, as text. It takes checkpoints, may go on from one, and
/// stops after so many batches.
fn left(trainer: Trainer<Learner>, data: &Images, folder: &Path, stop: Option<usize>) -> String {
    let checkpoints = Checkpoints::in_dir(folder).every(Every::Epochs(1)).describe("run", "same");
    let mut trainer = trainer.checkpoints(checkpoints);
    if folder.exists() {
        trainer.resume().unwrap();
    }
    let stop = StopAfter(stop.unwrap_or(usize::MAX), trainer.stop_handle());
    let mut trainer = trainer.callback(stop);
    let history = trainer.fit(data, fit()).unwrap();
    let learner = trainer.learner();
    let mut left =
        format!("{:?}{:?}", learner.weights().unwrap(), learner.optimizer_state().unwrap());
    for loss in of_history(&history) {
        write!(left, " {:x}", loss.to_bits()).unwrap();
    }
    left
}

#[test]
fn a_run_is_resumed_to_the_bit() {
    let Some(device) = other() else { return };
    let data = images(384, 8);
    each(models().into_iter().map(|(name, layers)| (name.to_owned(), layers)), |layers| {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str, stop: Option<usize>| {
            let model = build(&layers, &data, &device);
            let loss = loss("sparse_categorical_crossentropy");
            let trainer = trainer(model, Box::new(Adam::new(0.003)), loss);
            left(trainer, &data, &folder.path().join(name), stop)
        };
        let expected = run("whole", None);
        let is_same = run("again", None) == expected;
        // In the middle of the second epoch.
        run("stopped", Some(6));
        let is_resumed = run("stopped", None) == expected;
        assert!(is_same && is_resumed, "same bits: again {is_same}, resumed {is_resumed}");
        "the same bits, again and resumed".to_owned()
    });
}

/// Seconds of an epoch on the CPU and on the device: told, not judged.
#[test]
#[ignore = "takes a minute"]
fn time_of_an_epoch() {
    let Some(device) = other() else { return };
    let flat = || LayerConfig::from(Flatten::new());
    let dense = |units| LayerConfig::from(Dense::new(units).activation(Activation::Relu));
    let conv = |filters| LayerConfig::from(Conv2d::new(filters, 3).activation(Activation::Relu));
    let pool = || LayerConfig::from(MaxPooling2d::new(2));
    let networks: [(&str, Layers); 4] = [
        ("784-128-10", vec![flat(), dense(128)]),
        ("784-1024-1024-10", vec![flat(), dense(1024), dense(1024)]),
        ("CNN 32-64", vec![conv(32), pool(), conv(64), pool(), flat()]),
        ("LSTM 64", vec![Reshape::new([28, 28]).into(), Lstm::new(64).into()]),
    ];
    let data = images(8_192, 28);
    let cases = networks.into_iter().flat_map(|(name, layers)| {
        [128, 1024].map(|batch| (format!("{name}, batch {batch}"), (layers.clone(), batch)))
    });
    each(cases, |(layers, batch)| {
        let mut told = String::from("seconds of each epoch of 8192 samples:");
        for (name, device) in [("CPU", &Device::flex()), ("device", &device)] {
            let model = Sequential::input(&[1, 28, 28]).layers(with_output(layers.clone()));
            let model = model.device(device).build(1).unwrap();
            let loss = loss("sparse_categorical_crossentropy");
            let trainer = trainer(model, Box::new(Adam::new(0.001)), loss);
            let mut trainer = trainer.metric(AnyMetric::from_name("accuracy").unwrap());
            write!(told, " {name}").unwrap();
            for _ in 0..3 {
                let began = Instant::now();
                trainer.fit(&data, Fit::epochs(1).batch_size(batch).verbose(0)).unwrap();
                write!(told, " {:.3}", began.elapsed().as_secs_f64()).unwrap();
            }
        }
        told
    });
}
