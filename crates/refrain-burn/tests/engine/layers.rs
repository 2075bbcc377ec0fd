//! Layers that hold others, that draw, that look at the data; and what is refused.

use refrain_burn::burn::tensor::{Device, Tensor};
use refrain_burn::layers::{
    Activation as ActivationLayer, Bidirectional, Conv1d, Conv2d, Conv2dTranspose, Dense, Dropout,
    Embedding, Flatten, Gru, LayerConfig, MaxPooling1d, MaxPooling2d, MultiHeadAttention,
    Normalization, Padding, RandomFlip, RandomRotation, RandomTranslation, RandomZoom, Residual,
    SeparableConv1d,
};
use refrain_burn::{
    Activation, AnyTensor, ArrayDataset, BurnLearner, Constraint, Forward as _, FromArray as _,
    MeanSquaredError, Pass, Regularizer, Sequential, Sgd, Targets,
};
use refrain_core::{Fit, ModelAccess as _, Trainer};

use crate::{assert_close, floats};

fn batch(values: &[f32], shape: &[usize]) -> AnyTensor {
    AnyTensor::from_array(values.to_vec(), shape, &Device::default()).unwrap()
}

/// Numbers that are all different.
fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| i as f32 / len as f32 - 0.4).collect()
}

fn build(shape: &[usize], layer: impl Into<LayerConfig>) -> Sequential {
    Sequential::input(shape).layer(layer).build(3).unwrap()
}

#[test]
fn a_residual_adds_its_input_to_what_its_layers_make_of_it() {
    let dense = || Dense::new(4).activation(Activation::Tanh);
    let residual = build(&[4], Residual::new([dense().into(), dense().into()]));
    let names: Vec<String> = weights(residual.clone()).into_iter().map(|(name, _)| name).collect();
    let expected = [
        "residual.dense.weight",
        "residual.dense.bias",
        "residual.dense_1.weight",
        "residual.dense_1.bias",
    ];
    assert_eq!(names, expected);

    let x = ramp(12);
    let inner = Sequential::input(&[4]).layer(dense()).layer(dense()).build(3).unwrap();
    let mut taken = weights(residual.clone());
    for (name, _) in &mut taken {
        *name = name.replace("residual.", "");
    }
    let mut inner = BurnLearner::new(inner, Box::new(Sgd::new(0.1)), MeanSquaredError::new());
    let mut all = inner.weights().unwrap();
    for (tensor, (name, values)) in all.tensors.iter_mut().zip(&taken) {
        assert_eq!(tensor.name, *name);
        tensor.bytes = values.clone().into();
    }
    inner.set_weights(&all).unwrap();
    let within = floats(inner.into_model().unwrap().forward(batch(&x, &[3, 4])));
    let sum: Vec<f32> = within.iter().zip(&x).map(|(y, x)| y + x).collect();
    assert_close(&floats(residual.forward(batch(&x, &[3, 4]))), &sum, 1e-6, "residual");
}

/// Names and bytes.
fn weights(model: Sequential) -> Vec<(String, Vec<u8>)> {
    let learner = BurnLearner::new(model, Box::new(Sgd::new(0.1)), MeanSquaredError::new());
    let weights = learner.weights().unwrap();
    weights.tensors.into_iter().map(|tensor| (tensor.name, tensor.bytes.to_vec())).collect()
}

/// What is drawn is a function of the seed and of the place of the layer; nothing is without training.
#[test]
fn random_layers_draw_by_seed_and_place() {
    let x = ramp(4 * 36);
    let table: [(&str, LayerConfig); 5] = [
        ("random_flip", RandomFlip::default().into()),
        ("random_translation", RandomTranslation::new(0.3, [0.1, 0.4]).into()),
        ("random_rotation", RandomRotation::new(0.2).into()),
        ("random_zoom", RandomZoom::new([-0.3, 0.1]).into()),
        ("dropout", Dropout::new(0.5).into()),
    ];
    for (what, layer) in table {
        let pass = |model: &Sequential, pass| floats(model.pass(batch(&x, &[4, 1, 6, 6]), pass));
        let model = build(&[1, 6, 6], layer.clone());
        assert_eq!(pass(&model, Pass::inference()), x, "{what}");
        let drawn = pass(&model, Pass::training(5));
        assert_ne!(drawn, x, "{what}");
        assert_eq!(drawn, pass(&model, Pass::training(5)), "{what}");
        assert_ne!(drawn, pass(&model, Pass::training(6)), "{what}");
        assert!(drawn.iter().all(|value| value.is_finite()), "{what}");

        let other = Sequential::input(&[1, 6, 6])
            .layer(ActivationLayer::new(Activation::Linear))
            .layer(layer.clone())
            .build(3)
            .unwrap();
        assert_ne!(drawn, pass(&other, Pass::training(5)), "{what}: another place");
        let within = build(&[1, 6, 6], Residual::new([layer]));
        let within: Vec<f32> =
            pass(&within, Pass::training(5)).iter().zip(&x).map(|(y, x)| y - x).collect();
        assert_ne!(drawn, within, "{what}: within another layer");
    }
}

/// The features of each of three rows of two, and the statistics of the first two alone.
#[test]
fn a_normalization_is_adapted_to_the_samples_that_it_is_given() {
    let data: ArrayDataset<AnyTensor, Targets> =
        ArrayDataset::new(&[2], vec![1.0, 10.0, 3.0, 30.0, 1000.0, -1e6]).unwrap();
    let model = Sequential::input(&[2])
        .layer(Normalization::new())
        .layer(Residual::new([Normalization::new().into()]))
        .build(1)
        .unwrap();
    let adapted = model.clone().adapt(&data, 2).unwrap();
    let values: Vec<(String, Vec<f32>)> = weights(adapted.clone())
        .into_iter()
        .map(|(name, bytes)| {
            let floats = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            (name, floats.collect())
        })
        .collect();
    // The second one sees what the first one makes of the samples.
    let expected = [
        ("normalization.mean", vec![2.0, 20.0]),
        ("normalization.variance", vec![1.0, 100.0]),
        ("residual.normalization_1.mean", vec![0.0, 0.0]),
        ("residual.normalization_1.variance", vec![1.0, 1.0]),
    ];
    let expected = expected.map(|(name, values)| (name.to_owned(), values));
    assert_eq!(values, expected);
    let summary = adapted.summary();
    assert_eq!((summary.trainable, summary.non_trainable), (0, 8));

    for (values, samples, expected) in [
        (vec![], 5, "layer `normalization`: there are no samples to take mean and variance from"),
        (vec![1.0, f32::NAN], 5, "layer `normalization`: the data has numbers that are not finite"),
    ] {
        let data: ArrayDataset<AnyTensor, Targets> = ArrayDataset::new(&[2], values).unwrap();
        let error = model.clone().adapt(&data, samples).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// One weight, one sample: everything can be told by hand. Also in validation, and without a gradient of
/// its own where the weight is not regularised.
#[test]
fn a_penalty_is_part_of_the_loss_and_of_the_validation_loss() {
    let data: ArrayDataset<AnyTensor, Tensor<2>> =
        ArrayDataset::new(&[1], vec![1.0; 6]).unwrap().targets(&[1], vec![0.0; 6]).unwrap();
    let layer = Dense::new(1)
        .use_bias(false)
        .kernel_initializer(refrain_burn::Initializer::Ones)
        .kernel_regularizer(Regularizer::L1L2 { l1: 0.5, l2: 0.25 });
    let model = Sequential::input(&[1]).layer(layer).build(0).unwrap();
    let mut trainer = Trainer::compile(model, Sgd::new(0.1), MeanSquaredError::new());
    let fit = Fit::epochs(1).batch_size(4).shuffle(false).validation_data(&data).verbose(0);
    let history = trainer.fit(&data, fit).unwrap();
    // Batches of 4 and 2: w = 1, then w − 0.1 (2w + 0.5 + 0.5 w).
    let loss = |w: f64| w * w + 0.5 * w + 0.25 * w * w;
    let step = |w: f64| w - 0.1 * (2.5 * w + 0.5);
    let (second, third) = (step(1.0), step(step(1.0)));
    let logs = history.last().unwrap();
    let near = |name: &str, expected: f64| {
        let got = logs.get(name).unwrap();
        assert!((got - expected).abs() < 1e-6, "{name} is {got} instead of {expected}");
    };
    near("loss", (4.0 * loss(1.0) + 2.0 * loss(second)) / 6.0);
    near("val_loss", loss(third));
}

/// One weight: the output is w, its square a penalty, in batches of any size. Behind the layer stands
/// another, so that not only a model's output is seen; and the layer is within another one.
#[test]
fn a_penalty_of_outputs_is_the_mean_over_the_samples() {
    let data: ArrayDataset<AnyTensor, Tensor<2>> =
        ArrayDataset::new(&[1], vec![1.0; 6]).unwrap().targets(&[1], vec![0.0; 6]).unwrap();
    let layer = Dense::new(1)
        .use_bias(false)
        .kernel_initializer(refrain_burn::Initializer::Ones)
        .activity_regularizer(Regularizer::L2(0.25));
    let model = Sequential::input(&[1])
        .layer(Residual::new([layer.into()]))
        .layer(ActivationLayer::new(Activation::Linear))
        .build(0)
        .unwrap();
    let mut trainer = Trainer::compile(model, Sgd::new(0.1), MeanSquaredError::new());
    let fit = Fit::epochs(1).batch_size(4).shuffle(false).validation_data(&data).verbose(0);
    let history = trainer.fit(&data, fit).unwrap();
    // The residual gives 1 + w.
    let loss = |w: f64| (1.0 + w).powi(2) + 0.25 * w * w;
    let step = |w: f64| w - 0.1 * (2.0 * (1.0 + w) + 0.5 * w);
    let (second, third) = (step(1.0), step(step(1.0)));
    let logs = history.last().unwrap();
    let near = |name: &str, expected: f64| {
        let got = logs.get(name).unwrap();
        assert!((got - expected).abs() < 1e-5, "{name} is {got} instead of {expected}");
    };
    near("loss", (4.0 * loss(1.0) + 2.0 * loss(second)) / 6.0);
    near("val_loss", loss(third));
}

/// The softmax at the end is not left to the loss, and the pooling behind a convolution not part of it.
#[test]
fn a_penalty_of_outputs_sees_them() {
    let penalized = |model: &Sequential, input: Tensor<4>| {
        let pass = Pass::training(0).logits(model.closing_activation().is_some());
        floats(model.penalized_pass(input.into(), pass).1.unwrap())
    };
    let ones = || Tensor::<4>::ones([2, 1, 4, 4], &Device::default());
    let softmax = Dense::new(4)
        .activation(Activation::Softmax)
        .kernel_initializer(refrain_burn::Initializer::Ones)
        .activity_regularizer(Regularizer::L2(1.0));
    let model =
        Sequential::input(&[1, 4, 4]).layer(Flatten::new()).layer(softmax).build(0).unwrap();
    assert_close(&penalized(&model, ones()), &[0.25], 1e-6, "four quarters squared");
    let conv = Conv2d::new(1, 1)
        .kernel_initializer(refrain_burn::Initializer::Ones)
        .activity_regularizer(Regularizer::L1(1.0));
    let model =
        Sequential::input(&[1, 4, 4]).layer(conv).layer(MaxPooling2d::default()).build(0).unwrap();
    assert_eq!(penalized(&model, ones()), [16.0]);
}

/// No recipe can show it the digits: two runs, and weights that come back.
#[test]
fn an_embedding_trains_to_the_same_bits() {
    let words = |sample: usize| (0..3).map(move |at| ((sample * 5 + at * 3) % 7) as f32);
    let data: ArrayDataset<AnyTensor, Tensor<2>> =
        ArrayDataset::new(&[3], (0..20).flat_map(words).collect()).unwrap();
    let data = data.targets(&[1], (0..20).map(|i| (i % 3) as f32).collect()).unwrap();
    let compile = |seed| {
        let model = Sequential::input(&[3])
            .layer(Embedding::new(7, 4).embeddings_regularizer(Regularizer::L2(0.01)))
            .layer(Bidirectional::new(Gru::new(3)))
            .layer(Dense::new(1));
        Trainer::compile(model.build(seed).unwrap(), Sgd::new(0.1), MeanSquaredError::new())
    };
    let trained = || {
        let mut trainer = compile(1);
        trainer.fit(&data, Fit::epochs(3).batch_size(6).verbose(0)).unwrap();
        trainer
    };
    let (one, mut other) = (trained().learner().weights().unwrap(), trained());
    assert_eq!(format!("{one:?}"), format!("{:?}", other.learner().weights().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    other.save_weights(&file).unwrap();
    let mut again = compile(2);
    again.load_weights(&file).unwrap();
    let [expected, got] = [&mut other, &mut again]
        .map(|trainer| format!("{:?}", trainer.evaluate(&data, 6).unwrap()));
    assert_eq!(got, expected);
}

#[test]
fn a_constraint_holds_after_each_update() {
    let inputs: Vec<f32> = ramp(80);
    let data: ArrayDataset<AnyTensor, Tensor<2>> =
        ArrayDataset::new(&[4], inputs).unwrap().targets(&[3], vec![5.0; 60]).unwrap();
    let layer = Dense::new(3)
        .kernel_constraint(Constraint::max_norm(0.5))
        .bias_constraint(Constraint::non_neg());
    let model = Sequential::input(&[4]).layer(layer).build(0).unwrap();
    let mut trainer = Trainer::compile(model, Sgd::new(0.1), MeanSquaredError::new());
    trainer.fit(&data, Fit::epochs(3).batch_size(4).verbose(0)).unwrap();
    let weights = trainer.learner().weights().unwrap();
    let values = |name: &str| -> Vec<f32> {
        let bytes = &weights.get(name).unwrap().bytes;
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let kernel = values("dense.weight");
    for unit in 0..3 {
        let norm = (0..4).map(|i| kernel[i * 3 + unit].powi(2)).sum::<f32>().sqrt();
        assert!((norm - 0.5).abs() < 1e-5, "unit {unit}: {norm}");
    }
    assert!(values("dense.bias").iter().all(|bias| *bias >= 0.0));
}

#[test]
fn what_cannot_work_is_refused_with_place_and_way_out() {
    let max_norm = || Constraint::max_norm(1.0);
    let table: Vec<(&[usize], LayerConfig, &str)> = vec![
        (
            &[4],
            Conv1d::new(2, 3).into(),
            "layer 1 `conv1d`: conv1d layers take sequences of shape [steps, features], and its input \
             has the shape [4]",
        ),
        (
            &[4, 2],
            Conv1d::new(2, 5).into(),
            "layer 1 `conv1d`: kernel_size 5 is larger than its input of shape [4, 2] ([steps, \
             features]); allowed: up to 4, or padding = \"same\"",
        ),
        (&[4, 2], Conv1d::new(2, 0).into(), "kernel_size is 0; allowed: 1 or more"),
        (&[4, 2], Conv1d::new(0, 1).into(), "filters is 0; allowed: 1 or more"),
        (
            &[4, 3],
            Conv1d::new(2, 1).groups(2).into(),
            "groups is 2; allowed: what divides both its 2 filters and the 3 features",
        ),
        (
            &[4, 2],
            Conv1d::new(2, 1).strides(2).dilation_rate(3).into(),
            "strides is 2 and dilation_rate is 3; allowed: one of them other than 1",
        ),
        (
            &[4, 2],
            SeparableConv1d::new(2, 1).strides(2).dilation_rate(3).into(),
            "strides is 2 and dilation_rate is 3; allowed: one of them other than 1",
        ),
        (
            &[4, 2],
            SeparableConv1d::new(2, 3).dilation_rate(2).into(),
            "kernel_size 3 with dilation_rate 2 is larger than its input of shape [4, 2] ([steps, \
             features]); allowed: up to 2",
        ),
        (
            &[1, 4, 4],
            Conv2d::new(2, 1).padding(Padding::Causal).into(),
            "padding is \"causal\"; allowed in a conv2d layer: \"valid\" or \"same\"",
        ),
        (
            &[4, 2],
            MaxPooling1d::new(5).into(),
            "pool_size 5 is larger than its input of shape [4, 2]",
        ),
        (
            &[2, 3, 3],
            Conv2dTranspose::new(1, 3).strides(2).output_padding(2).into(),
            "output_padding is 2 where strides is 2; allowed: below the strides",
        ),
        (
            &[2, 1, 1],
            Conv2dTranspose::new(1, 2).padding(Padding::Same).output_padding(0).into(),
            "the output would be empty or too large",
        ),
        (&[2, 3, 3], Conv2dTranspose::new(usize::MAX, 3).into(), "its output would have the shape"),
        (&[2, 3, 3], Conv2dTranspose::new(1, usize::MAX).into(), "kernel_size is"),
        (
            &[2, 3],
            Conv2dTranspose::new(1, 1).into(),
            "take images of shape [channels, height, width]",
        ),
        (
            &[4],
            MultiHeadAttention::new(2, 2).into(),
            "multi_head_attention layers take sequences of shape [steps, features]",
        ),
        (&[4, 2], MultiHeadAttention::new(0, 2).into(), "num_heads is 0; allowed: 1 or more"),
        (&[4, 2], MultiHeadAttention::new(1, 2).dropout(1.0).into(), "rate is 1; allowed"),
        (
            &[4, 2],
            MultiHeadAttention::new(1 << 30, 4).into(),
            "allowed here: num_heads up to 268435456",
        ),
        (
            &[70_000, 2],
            MultiHeadAttention::new(1, 2).into(),
            "its output would have the shape [1, 70000, 70000]",
        ),
        (
            &[4, 2],
            Bidirectional::new(Gru::new(2).go_backwards(true)).into(),
            "layer 1 `bidirectional`: go_backwards is true in `gru`; allowed: false",
        ),
        (
            &[4, 2],
            Bidirectional::new(Gru::new(0)).into(),
            "layer 1 `bidirectional`, layer 1 `forward_gru`: units is 0",
        ),
        (
            &[4],
            Residual::new([]).into(),
            "layer 1 `residual`: it holds no layers; allowed: 1 or more",
        ),
        (
            &[4],
            Residual::new([Dense::new(3).into()]).into(),
            "layer 1 `residual`: its input has the shape [4], and its layers make [3] of it",
        ),
        (
            &[2, 2],
            Residual::new([Flatten::new().into(), Residual::new([Dense::new(0).into()]).into()])
                .into(),
            "layer 1 `residual`, layer 2 `residual_1`, layer 1 `dense`: units is 0; allowed: 1 or more",
        ),
        (
            &[3],
            Normalization::new().statistics([1.0, 2.0], [1.0]).into(),
            "mean has 2 numbers, and the features of its input of shape [3] are 3; allowed: 1 or 3",
        ),
        (
            &[3],
            Normalization::new().statistics([1.0], [-1.0]).into(),
            "variance has -1; allowed: finite numbers, 0 or more",
        ),
        (&[3], RandomFlip::default().into(), "random_flip layers take images"),
        (
            &[1, 3, 3],
            RandomRotation::new(1.5).into(),
            "layer 1 `random_rotation`: factor is [-1.5, 1.5]; allowed: -1 to 1, or two such numbers",
        ),
        (
            &[1, 3, 3],
            RandomZoom::new(-1.0).into(),
            "height_factor is [-1, 1]; allowed: above -1 to 1",
        ),
        (
            &[1, 3, 3],
            RandomTranslation::new(0.1, f64::NAN).into(),
            "width_factor is [NaN, NaN]; allowed: -1 to 1",
        ),
        (
            &[1, 3, 3],
            RandomZoom::new(0.1).fill_value(f64::INFINITY).into(),
            "fill_value is inf; allowed: a finite number",
        ),
        (
            &[3],
            Dense::new(3).activation(Activation::Glu).into(),
            "units is 3, and glu halves them; allowed: an even number",
        ),
        (
            &[1, 3, 3],
            Conv2d::new(2, 1).activation(Activation::Glu).into(),
            "its activation is glu, which halves the features; allowed: in dense layers",
        ),
        (
            &[3],
            ActivationLayer::new(Activation::Glu).into(),
            "glu halves the last axis, and its input of shape [3] has 3, which is odd",
        ),
        (
            &[3],
            Dense::new(2).kernel_regularizer(Regularizer::L2(-1.0)).into(),
            "kernel_regularizer: a factor of l2 is -1; allowed: a finite number, 0 or more",
        ),
        (
            &[3],
            Dense::new(2).kernel_constraint(max_norm().axis([2])).into(),
            "kernel_constraint: axis is [2]; allowed: one or more of 0 to 1",
        ),
        (
            &[3],
            Dense::new(2).bias_constraint(Constraint::max_norm(0.0)).into(),
            "bias_constraint: max_value is 0; allowed: a finite number above 0",
        ),
        (
            &[3],
            Dense::new(2).kernel_constraint(Constraint::min_max_norm(2.0, 1.0, 1.0)).into(),
            "min_value is 2 and max_value is 1; allowed",
        ),
    ];
    for (shape, layer, expected) in table {
        let error = Sequential::input(shape).layer(layer).build(0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nhas no\n{expected}");
    }
    let mut deep: LayerConfig = Dense::new(1).into();
    for _ in 0..20 {
        deep = Residual::new([deep]).into();
    }
    let error = Sequential::input(&[1]).layer(deep).build(0).unwrap_err().to_string();
    assert!(
        error.contains("it is the 17th residual within another; allowed: 16 levels"),
        "{error}"
    );
}
