//! Building a stack of layers, its names and shapes, and what it refuses.

use refrain_burn::burn::tensor::{Device, Tensor, TensorData};
use refrain_burn::layers::{
    self, AveragePooling2d, BatchNormalization, Conv2d, Dense, DepthwiseConv2d, Dropout, Embedding,
    Flatten, GaussianNoise, GlobalAveragePooling2d, GroupNormalization, LayerConfig,
    LayerNormalization, Lstm, MaxPooling2d, Padding, Permute, Rescaling, Reshape, SpatialDropout2d,
};
use refrain_burn::{Activation, AnyTensor, Forward as _, Initializer, Pass, Sequential};

use crate::{assert_close, floats, rows};

fn recipe(seed: u64) -> Sequential {
    Sequential::input(&[1, 8, 8])
        .layer(Flatten::new())
        .layer(Dense::new(128).activation(Activation::Relu))
        .layer(Dropout::new(0.2))
        .layer(Dense::new(10).activation(Activation::Softmax))
        .build(seed)
        .unwrap()
}

#[test]
fn names_shapes_and_numbers_of_weights() {
    let model = recipe(42);
    assert_eq!(model.input_shape(), [1, 8, 8]);
    assert_eq!(model.output_shape(), [10]);
    let names: Vec<_> = model.layer_names().collect();
    assert_eq!(names, ["flatten", "dense", "dropout", "dense_1"]);
    let summary = model.summary();
    let parameters: Vec<_> = summary.rows.iter().map(|row| row.parameters).collect();
    assert_eq!(parameters, [0, 8320, 0, 1290]);
    assert_eq!((summary.trainable, summary.non_trainable), (9610, 0));
}

#[test]
fn images_through_convolutions_and_poolings() {
    let model = Sequential::input(&[1, 28, 28])
        .layer(Conv2d::new(32, 3).activation(Activation::Relu))
        .layer(MaxPooling2d::default())
        .layer(Conv2d::new(64, 3).groups(2).padding(Padding::Same))
        .layer(AveragePooling2d::new([3, 2]).strides(2))
        .layer(GlobalAveragePooling2d::new())
        .layer(Dense::new(10))
        .build(42)
        .unwrap();
    let summary = model.summary();
    let rows: Vec<_> = summary
        .rows
        .iter()
        .map(|row| (row.name.as_str(), row.output_shape.as_slice(), row.parameters))
        .collect();
    let expected: [(&str, &[usize], usize); 6] = [
        ("conv2d", &[32, 26, 26], 320),
        ("max_pooling2d", &[32, 13, 13], 0),
        ("conv2d_1", &[64, 13, 13], 64 * 16 * 9 + 64),
        ("average_pooling2d", &[64, 6, 6], 0),
        ("global_average_pooling2d", &[64], 0),
        ("dense", &[10], 650),
    ];
    assert_eq!(rows, expected);
    let types: Vec<_> = summary.rows.iter().map(|row| row.type_name.as_str()).collect();
    assert_eq!(
        types,
        ["Conv2D", "MaxPooling2D", "Conv2D", "AveragePooling2D", "GlobalAveragePooling2D", "Dense"]
    );
    let images = AnyTensor::from(Tensor::<4>::ones([3, 1, 28, 28], &Device::default()));
    assert_eq!(model.forward(images).dims(), [3, 10]);
}

/// A convolution and the pooling behind it are computed at once; with a layer between, they are not.
#[test]
fn a_pooling_behind_a_convolution_changes_nothing_in_it() {
    let conv = || Conv2d::new(7, 3).padding(Padding::Same);
    let relu = || layers::Activation::new(Activation::Relu);
    let joined = Sequential::input(&[3, 9, 10])
        .layer(conv().activation(Activation::Relu))
        .layer(MaxPooling2d::new([2, 3]));
    let apart =
        Sequential::input(&[3, 9, 10]).layer(conv()).layer(relu()).layer(MaxPooling2d::new([2, 3]));
    let x = || {
        let values: Vec<f32> =
            (0..4 * 270).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        rows(&values, 270, &Device::default()).reshape([4, 3, 9, 10])
    };
    let [joined, apart] =
        [joined, apart].map(|model| floats(model.build(5).unwrap().forward(x().into())));
    assert_close(&joined, &apart, 1e-6, "joined and apart");
}

#[test]
fn a_dense_layer_is_a_product_a_sum_and_an_activation() {
    let model = Sequential::input(&[2])
        .layer(
            Dense::new(3)
                .kernel_initializer(Initializer::Ones)
                .bias_initializer(Initializer::Ones)
                .activation(Activation::Relu),
        )
        .build(0)
        .unwrap();
    let x = AnyTensor::from(rows(&[1.0, 2.0, -3.0, 1.0], 2, &Device::default()));
    assert_eq!(floats(model.forward(x)), [4.0, 4.0, 4.0, 0.0, 0.0, 0.0]);
}

/// A softmax over an image works line by line, as Keras' does, and not over the whole row.
#[test]
fn activations_are_along_the_last_axis_of_a_sample() {
    let model = Sequential::input(&[2, 2])
        .layer(layers::Activation::new(Activation::Softmax))
        .build(0)
        .unwrap();
    let x = Tensor::<3>::from_data([[[0.0, 0.0], [1.0, 3.0]]], &Device::default());
    let expected = [0.5, 0.5, 0.119_202_92, 0.880_797_1];
    assert_close(&floats(model.forward(x.into())), &expected, 1e-6, "softmax of lines");
    let closing = model.closing_activation();
    assert_eq!(closing, Some(refrain_burn::ClosingActivation::StepSoftmax), "none of the row");
    let x =
        || AnyTensor::from(Tensor::<3>::from_data([[[0.0, 0.0], [1.0, 3.0]]], &Device::default()));
    let logits = model.pass(x(), Pass::inference().logits(true));
    assert_eq!(floats(model.close(logits)), floats(model.forward(x())));
}

/// As Keras' last axis, where channels come last.
#[test]
fn activations_of_an_image_are_along_its_channels() {
    let image = |channels: usize| {
        let values = (0..2 * channels * 6).map(|i| (i * 7 % 11) as f32 / 3.0).collect();
        let data = TensorData::new::<f32, _>(values, [2, channels, 2, 3]);
        AnyTensor::from(Tensor::<4>::from_data(data, &Device::default()))
    };
    let conv = || layers::Conv2d::new(3, 1);
    for activation in [Activation::Softmax, Activation::LogSoftmax, Activation::Sparsemax] {
        let of_conv = Sequential::input(&[2, 2, 3]).layer(conv().activation(activation));
        let of_its_own =
            Sequential::input(&[2, 2, 3]).layer(conv()).layer(layers::Activation::new(activation));
        let [of_conv, of_its_own] =
            [of_conv, of_its_own].map(|model| floats(model.build(3).unwrap().forward(image(2))));
        assert_eq!(of_conv, of_its_own, "{activation:?}");
    }
    let model = Sequential::input(&[3, 2, 3]).layer(layers::Softmax::new()).build(0).unwrap();
    let output = floats(model.forward(image(3)));
    for sample in output.chunks(18) {
        for at in 0..6 {
            let sum = sample[at] + sample[at + 6] + sample[at + 12];
            assert_close(&[sum], &[1.0], 1e-6, "sum over the channels");
        }
    }
    let glu = || layers::Activation::new(Activation::Glu);
    let model = Sequential::input(&[4, 2, 3]).layer(glu()).build(0).unwrap();
    assert_eq!(model.output_shape(), [2, 2, 3]);
    let (input, output) = (floats(image(4).into_rows()), floats(model.forward(image(4))));
    for (x, y) in input.chunks(24).zip(output.chunks(12)) {
        let expected: Vec<f32> = (0..12).map(|i| x[i] / (1.0 + (-x[i + 12]).exp())).collect();
        assert_close(y, &expected, 1e-6, "the first half of the channels by the second");
    }
    let error = Sequential::input(&[3, 2, 2]).layer(glu()).build(0).unwrap_err().to_string();
    assert!(error.contains("halves the channels of an image"), "{error}");
}

#[test]
fn logits_and_closing_activation_make_the_output() {
    let model = recipe(3);
    let x = || AnyTensor::from(Tensor::<4>::ones([2, 1, 8, 8], &Device::default()));
    let logits = model.pass(x(), Pass::inference().logits(true));
    assert_eq!(floats(model.close(logits)), floats(model.forward(x())));
}

#[test]
fn dropout_is_of_the_step_and_only_in_training() {
    let model = Sequential::input(&[1000]).layer(Dropout::new(0.25)).build(0).unwrap();
    let ones = || AnyTensor::from(Tensor::<2>::ones([10, 1000], &Device::default()));
    let training = |seed| floats(model.pass(ones(), Pass::training(seed)));

    assert_eq!(floats(model.pass(ones(), Pass::inference())), vec![1.0; 10_000]);
    assert_eq!(training(7), training(7));
    assert_ne!(training(7), training(8));
    let kept = training(7).iter().filter(|&&x| x != 0.0).count();
    // 0.75 within five standard errors.
    assert!((kept as f64 / 10_000.0 - 0.75).abs() < 5.0 * (0.25 * 0.75 / 10_000.0_f64).sqrt());
    let scale = (1.0 / 0.75) as f32;
    assert!(training(7).iter().all(|&x| x == 0.0 || x == scale));

    let two = Sequential::input(&[1000])
        .layer(Dropout::new(0.5))
        .layer(Dropout::new(0.5))
        .build(0)
        .unwrap();
    let kept = floats(two.pass(ones(), Pass::training(7))).iter().filter(|&&x| x != 0.0).count();
    assert!((2000..3000).contains(&kept), "layers must not drop the same: {kept}");
}

#[test]
fn an_lstm_forgets_little_at_first() {
    let bias = |lstm: Lstm| {
        let model = Sequential::input(&[3, 2]).layer(lstm).build(1).unwrap();
        floats(model.forward(Tensor::<3>::zeros([1, 3, 2], &Device::default()).into()))
    };
    // The state is the sum of sigmoid(1) × tanh(1), of which sigmoid(1) is kept each time.
    let ones = || Lstm::new(1).bias_initializer(Initializer::Ones);
    let none = || ones().recurrent_initializer(Initializer::Zeros);
    let (gate, candidate) = (1.0 / (1.0 + (-1.0_f32).exp()), 1.0_f32.tanh());
    let state = gate * candidate * (1.0 + gate + gate * gate);
    assert_close(&bias(none()), &[gate * state.tanh()], 1e-6, "all ones");
    let zeros = || Lstm::new(1).bias_initializer(Initializer::Zeros);
    assert_eq!(bias(zeros()), [0.0], "no candidate");
}

#[test]
fn spatial_dropout_drops_whole_channels() {
    let model = Sequential::input(&[50, 4, 3]).layer(SpatialDropout2d::new(0.5)).build(0).unwrap();
    let ones = || AnyTensor::from(Tensor::<4>::ones([10, 50, 4, 3], &Device::default()));
    assert_eq!(floats(model.pass(ones(), Pass::inference())), vec![1.0; 6000]);
    let training = |seed| floats(model.pass(ones(), Pass::training(seed)));
    assert_eq!(training(7), training(7));
    assert_ne!(training(7), training(8));
    let channels: Vec<_> = training(7).chunks(12).map(<[f32]>::to_vec).collect();
    assert!(channels.iter().all(|channel| *channel == [0.0; 12] || *channel == [2.0; 12]));
    let kept = channels.iter().filter(|channel| channel[0] != 0.0).count();
    // A half of 500 within five standard errors.
    assert!(kept.abs_diff(250) < 56, "{kept}");
}

#[test]
fn noise_is_of_the_step_and_only_in_training() {
    let model = Sequential::input(&[1000]).layer(GaussianNoise::new(0.5)).build(0).unwrap();
    let ones = || AnyTensor::from(Tensor::<2>::ones([10, 1000], &Device::default()));
    let training = |seed| floats(model.pass(ones(), Pass::training(seed)));
    assert_eq!(floats(model.pass(ones(), Pass::inference())), vec![1.0; 10_000]);
    assert_eq!(training(7), training(7));
    assert_ne!(training(7), training(8));
    let mean = training(7).iter().sum::<f32>() / 10_000.0;
    let variance = training(7).iter().map(|x| (x - 1.0).powi(2)).sum::<f32>() / 10_000.0;
    // Within five standard errors.
    assert!((mean - 1.0).abs() < 5.0 * 0.5 / 100.0, "{mean}");
    assert!((variance - 0.25).abs() < 5.0 * 0.25 * 2.0_f32.sqrt() / 100.0, "{variance}");
}

#[test]
fn numbers_that_are_not_in_the_table_are_refused() {
    let model = Sequential::input(&[2]).layer(Embedding::new(5, 3)).build(0).unwrap();
    let check =
        |numbers: &[f32]| model.check_input(&AnyTensor::from(rows(numbers, 2, &Device::default())));
    check(&[0.0, 4.0, 2.0, 3.0]).unwrap();
    for other in [5.0, -1.0, 0.5, f32::NAN, 1e20] {
        let error = check(&[0.0, other]).unwrap_err();
        let expected = format!(
            "layer 1 `embedding`: its input has the number {other}; allowed: whole numbers, 0 to 4"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn initial_weights_are_a_function_of_the_seed() {
    let outputs = |seed| {
        let x = Tensor::<4>::ones([1, 1, 8, 8], &Device::default());
        floats(recipe(seed).forward(x.into()))
    };
    assert_eq!(outputs(42), outputs(42));
    assert_ne!(outputs(42), outputs(43));
}

#[test]
fn refuses_what_cannot_be_built() {
    type Layers = Vec<LayerConfig>;
    let units = |units| -> Layers { vec![Dense::new(units).into()] };
    let named = |name: &str| -> LayerConfig { Dense::new(2).named(name).into() };
    let rate = |rate| -> Layers { vec![Dropout::new(rate).into()] };
    let cases: Vec<(&[usize], Layers, &str)> = vec![
        (&[4], vec![], "the model has no layers; allowed: 1 or more"),
        (
            &[1, 8, 8],
            units(10),
            "layer 1 `dense`: a dense layer takes vectors of shape [inputs], or sequences [steps, inputs], and its input has the shape [1, 8, 8]; \
             put { type = \"flatten\" } before it",
        ),
        (&[4], units(0), "layer 1 `dense`: units is 0; allowed: 1 or more"),
        (
            &[1000],
            units(usize::MAX),
            "make more than 2147483648 weights (8 GiB); allowed here: units up to 2147483",
        ),
        (&[], units(1), "the model's input has the shape []"),
        (&[4, 0], units(1), "the model's input has the shape [4, 0]"),
        (&[usize::MAX, 2], units(1), "the model's input has the shape"),
        (
            &[1, 8, 8],
            vec![Conv2d::new(4, 3).into(), Dense::new(10).into()],
            "layer 2 `dense`: a dense layer takes vectors of shape [inputs], or sequences [steps, inputs], and its input has the shape [4, 6, 6]; \
             put { type = \"flatten\" } before it",
        ),
        (
            &[64],
            vec![Conv2d::new(4, 3).into()],
            "layer 1 `conv2d`: conv2d layers take images of shape [channels, height, width], \
             and its input has the shape [64]; put it before `flatten` and `dense`",
        ),
        (
            &[8, 6],
            vec![MaxPooling2d::default().into()],
            "its input has the shape [8, 6]; { type = \"reshape\", target_shape = [1, 8, 6] } before it makes one",
        ),
        (
            &[8, 8],
            vec![GlobalAveragePooling2d::new().named("mean").into()],
            "layer 1 `mean`: global_average_pooling2d layers take images",
        ),
        (
            &[3, 4, 5],
            vec![Conv2d::new(4, [5, 3]).into()],
            "layer 1 `conv2d`: kernel_size [5, 3] is larger than its input of shape [3, 4, 5] \
             ([channels, height, width]); allowed: up to [4, 5], or padding = \"same\"",
        ),
        (
            &[3, 4, 5],
            vec![Conv2d::new(4, [2, 3]).dilation_rate([2, 3]).into()],
            "kernel_size [2, 3] with dilation_rate [2, 3] is larger than its input of shape \
             [3, 4, 5] ([channels, height, width]); allowed: up to [2, 2], or",
        ),
        (
            &[3, 4, 5],
            vec![Conv2d::new(4, 3).padding(Padding::Same).into(), MaxPooling2d::new(6).into()],
            "layer 2 `max_pooling2d`: pool_size [6, 6] is larger than its input of shape [4, 4, 5]",
        ),
        (
            &[3, 4, 5],
            vec![Conv2d::new(4, usize::MAX).into()],
            "is larger than its input of shape [3, 4, 5]",
        ),
        (
            &[3, 4, 5],
            vec![Conv2d::new(4, 3).padding(Padding::Same).dilation_rate(usize::MAX).into()],
            "on its input of shape [3, 4, 5] is beyond all bounds",
        ),
        (&[1, 8, 8], vec![Conv2d::new(0, 3).into()], "`conv2d`: filters is 0; allowed: 1 or more"),
        (&[1, 8, 8], vec![Conv2d::new(1, 0).into()], "kernel_size is [0, 0]; allowed: 1 or more"),
        (
            &[1, 8, 8],
            vec![AveragePooling2d::new(2).strides([1, 0]).into()],
            "`average_pooling2d`: strides is [1, 0]; allowed: 1 or more",
        ),
        (
            &[3, 8, 8],
            vec![Conv2d::new(4, 3).groups(2).into()],
            "groups is 2; allowed: what divides both its 4 filters and the 3 channels of its \
             input of shape [3, 8, 8]",
        ),
        (
            &[1, 8, 8],
            vec![Conv2d::new(4, 3).strides(2).dilation_rate(2).into()],
            "strides is [2, 2] and dilation_rate is [2, 2]; allowed: one of them other than 1",
        ),
        (
            &[1, 8, 8],
            vec![Conv2d::new(usize::MAX, 3).into()],
            "more than 2147483648 weights (8 GiB); allowed here: filters up to 238609294",
        ),
        (
            &[1, 1000, 1000],
            vec![Conv2d::new(100_000, 1).into()],
            "its output would have the shape [100000, 1000, 1000]; allowed: up to 2147483647",
        ),
        (
            &[1, 28, 28],
            vec![Reshape::new([28, 27]).into()],
            "layer 1 `reshape`: its input of shape [1, 28, 28] has 784 elements, and target_shape \
             [28, 27] has 756; allowed: lengths whose product is 784, or -1 for one of them",
        ),
        (
            &[12],
            vec![Reshape::new([5, -1]).into()],
            "has 12 elements, and target_shape [5, -1] has a multiple of 5; allowed:",
        ),
        (&[12], vec![Reshape::new([isize::MAX, 4]).into()], "has more; allowed:"),
        (&[12], vec![Reshape::new([-1, -1]).into()], "is [-1, -1]; allowed: one -1"),
        (&[12], vec![Reshape::new([12, 0]).into()], "is [12, 0]; allowed: 1 axis or more"),
        (&[12], vec![Reshape::new([]).into()], "is []; allowed: 1 axis or more"),
        (
            &[3, 4],
            vec![Permute::new([2, 2]).into()],
            "layer 1 `permute`: dims is [2, 2], and its input has the shape [3, 4]; allowed: the \
             numbers [1, 2], each once, in any order",
        ),
        (&[3, 4], vec![Permute::new([1, 2, 3]).into()], "dims is [1, 2, 3], and"),
        (
            &[1, 28, 28],
            vec![Lstm::new(8).into()],
            "layer 1 `lstm`: lstm layers take sequences of shape [steps, features], and its \
             input has the shape [1, 28, 28]; { type = \"reshape\", target_shape = [28, 28] } \
             before it makes a step of each line",
        ),
        (
            &[3, 8, 6],
            vec![Lstm::new(8).into()],
            "{ type = \"permute\", dims = [2, 1, 3] } and { type = \"reshape\", target_shape = \
             [8, 18] } before it",
        ),
        (
            &[6, 4],
            vec![Lstm::new(8).into(), Lstm::new(4).into()],
            "layer 2 `lstm_1`: lstm layers take sequences of shape [steps, features], and its \
             input has the shape [8]; return_sequences = true in the layer before it gives all \
             steps, and { type = \"reshape\", target_shape = [8, 1] } makes a step of each number",
        ),
        (&[6, 4], vec![Lstm::new(0).into()], "layer 1 `lstm`: units is 0; allowed: 1 or more"),
        (
            &[6, 4],
            vec![Lstm::new(1 << 20).into()],
            "4 features and 1048576 units make more than 2147483648 weights (8 GiB); allowed here: units \
             up to 23170",
        ),
        (
            &[6, 4, 4],
            vec![GroupNormalization::new(4).into()],
            "layer 1 `group_normalization`: groups is 4, and its input of shape [6, 4, 4] has 6 \
             features; allowed: what divides 6",
        ),
        (&[6], vec![GroupNormalization::new(0).into()], "groups is 0, and its input"),
        (
            &[6],
            vec![LayerNormalization::new().epsilon(0.0).into()],
            "`layer_normalization`: epsilon is 0; allowed: a finite number above 0",
        ),
        (
            &[6],
            vec![BatchNormalization::new().momentum(1.5).into()],
            "`batch_normalization`: momentum is 1.5; allowed: 0 to 1",
        ),
        (
            &[4],
            vec![Dense::new(4).into(), Embedding::new(10, 2).into()],
            "layer 2 `embedding`: an embedding layer takes whole numbers, which no layer gives; put \
             it first",
        ),
        (&[4], vec![Embedding::new(0, 2).into()], "input_dim is 0 and output_dim is 2; allowed: 1"),
        (
            &[4],
            vec![Embedding::new(1 << 20, 1 << 20).into()],
            "more than 2147483648 weights (8 GiB); allowed here: output_dim up to 2048",
        ),
        (
            &[4],
            vec![SpatialDropout2d::new(0.5).into()],
            "layer 1 `spatial_dropout2d`: spatial_dropout2d layers take images",
        ),
        (&[1, 2, 2], vec![SpatialDropout2d::new(1.0).into()], "rate is 1; allowed: 0 or more"),
        (&[4], vec![GaussianNoise::new(-0.1).into()], "stddev is -0.1; allowed: 0 to 1"),
        (&[4], vec![Rescaling::new(f64::NAN).into()], "scale is NaN and offset is 0; allowed:"),
        (
            &[4],
            vec![DepthwiseConv2d::new(3).into()],
            "layer 1 `depthwise_conv2d`: depthwise_conv2d layers take images",
        ),
        (
            &[3, 8, 8],
            vec![DepthwiseConv2d::new(3).depth_multiplier(0).into()],
            "depth_multiplier is 0, and its input of shape [3, 8, 8] has 3 channels; allowed: 1",
        ),
        (&[4], rate(1.0), "layer 1 `dropout`: rate is 1; allowed: 0 or more and below 1"),
        (&[4], rate(-0.1), "layer 1 `dropout`: rate is -0.1;"),
        (&[4], rate(f64::NAN), "layer 1 `dropout`: rate is NaN;"),
        (
            &[4],
            vec![named("head"), named("head")],
            "two layers are named `head`; give one of them another `name`",
        ),
        (
            &[4],
            vec![Dense::new(2).into(), named("dense")],
            "two layers are named `dense`; give one of them another `name`",
        ),
        (
            &[4],
            vec![named("a.b")],
            "a layer is named `a.b`; allowed: at least one character, no dots",
        ),
        (&[4], vec![named("")], "a layer is named ``;"),
        (&[4], vec![named("\u{1b}[31m")], "a layer is named `\\u{1b}[31m`;"),
    ];
    for (shape, layers, expected) in cases {
        let error = Sequential::input(shape).layers(layers).build(0).unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().contains(expected), "{error}\n instead of {expected}");
    }
}

#[test]
fn refuses_samples_of_another_shape() {
    let images = AnyTensor::from(Tensor::<4>::ones([2, 8, 8, 1], &Device::default()));
    assert_eq!(
        recipe(0).check_input(&images).unwrap_err().to_string(),
        "samples have the shape [8, 8, 1], and the model takes [1, 8, 8]"
    );
}
