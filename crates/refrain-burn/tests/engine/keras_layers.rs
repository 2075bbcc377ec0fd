//! Layers against outputs and gradients recorded from Keras 3.15.1 by `keras/record.py`.

use std::collections::HashMap;

use refrain_burn::burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use refrain_burn::burn::tensor::{Device, Gradients, Tensor, TensorData};
use refrain_burn::layers::{
    self, AveragePooling1d, AveragePooling2d, BatchNormalization, Bidirectional, Conv1d, Conv2d,
    Conv2dTranspose, Dense, DepthwiseConv2d, Elu, Embedding, GlobalAveragePooling1d,
    GlobalAveragePooling2d, GlobalMaxPooling1d, GlobalMaxPooling2d, GroupNormalization, Gru,
    HeightWidth, LayerConfig, LayerNormalization, LeakyRelu, Lstm, MaxPooling1d, MaxPooling2d,
    MergeMode, MultiHeadAttention, Normalization, Padding, Permute, Prelu, Relu, Rescaling,
    Reshape, RmsNormalization, SeparableConv1d, SeparableConv2d, SimpleRnn, Softmax,
};
use refrain_burn::{
    Activation, AnyTensor, ArrayDataset, Constraint, Forward as _, FromArray as _, Pass,
    Regularizer, Sequential, Targets,
};
use serde_json::Value;

use crate::{assert_close, floats};

#[test]
fn output_and_gradients_are_those_of_keras() {
    let recording = include_str!("keras/layers.jsonl");
    assert!(recording.lines().count() > 170);
    for line in recording.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        // What Keras calls so gives no distribution: it adds up running sums.
        if case["layer"]["activation"] != "sparsemax" {
            check(&case);
        }
    }
}

fn check(case: &Value) {
    let what = case["layer"].to_string();
    // Its softmax of large products loses a digit, here and there.
    let is_attention = case["layer"]["type"] == "multi_head_attention";
    let tolerance = if is_attention { 5e-5 } else { 1e-5 };
    let shape = lengths(&case["shape"]);
    let model = Sequential::input(&shape).layer(layer(&case["layer"])).build(0).unwrap();
    assert_eq!(model.output_shape(), lengths(&case["output_shape"]), "{what}");

    let mut names: Vec<String> = weights(&model).into_keys().collect();
    names.sort_unstable();
    let kind = case["layer"]["type"].as_str().unwrap();
    let expected = case["weights"].as_object().unwrap().keys();
    let mut expected: Vec<String> = expected.map(|name| format!("{kind}.{name}")).collect();
    expected.sort_unstable();
    assert_eq!(names, expected, "{what}");

    // Weights that come from the data are not set, but taken from it.
    let model = if kind == "normalization" {
        let data =
            ArrayDataset::<AnyTensor, Targets>::new(&shape, numbers(&case["input"])).unwrap();
        let model = model.adapt(&data, 3).unwrap();
        for (name, value) in weights(&model) {
            let expected = &case["weights"][name.trim_start_matches("normalization.")];
            assert_close(&value, &numbers(expected), 1e-6, &format!("{what}: {name}"));
        }
        model
    } else {
        model.map(&mut SetWeights { weights: &case["weights"], path: Vec::new() })
    };
    let penalty = model.penalty().map(|penalty| f64::from(floats(penalty)[0]));
    let expected = case.get("penalty").and_then(Value::as_f64);
    assert_eq!(penalty.is_some(), expected.is_some(), "{what}");
    if let (Some(penalty), Some(expected)) = (penalty, expected) {
        assert!(
            (penalty - expected).abs() < 1e-5 * expected.max(1.0),
            "{what}: {penalty} {expected}"
        );
    }
    let constrained = weights(&model.clone().constrained());
    for (name, value) in weights(&model) {
        let own = name.split_once('.').unwrap().1;
        let new = &constrained[&name];
        match case.get("constrained").and_then(|constrained| constrained.get(own)) {
            Some(expected) => {
                assert_close(new, &numbers(expected), 1e-6, &format!("{what}: {name}"))
            }
            None => assert_eq!(*new, value, "{what}: {name}"),
        }
    }
    let device = Device::default().autodiff();
    let values = numbers(&case["input"]);
    let elements: usize = shape.iter().product();
    let samples = values.len() / elements;
    let x = Tensor::<2>::from_data(TensorData::new(values.clone(), [samples, elements]), &device)
        .require_grad();
    let upstream = numbers(&case["upstream"]);
    let columns = upstream.len() / samples;
    let upstream = Tensor::<2>::from_data(TensorData::new(upstream, [samples, columns]), &device);

    let plain = AnyTensor::from_array(values, &[&[samples], &*shape].concat(), &Device::default());
    let output = floats(model.forward(plain.unwrap()));
    assert_close(&output, &numbers(&case["output"]), tolerance, &what);

    let shaped: AnyTensor = match *shape {
        [a, b, c] => x.clone().reshape([samples, a, b, c]).into(),
        [a, b] => x.clone().reshape([samples, a, b]).into(),
        _ => x.clone().into(),
    };
    let model = model.train();
    let (output, cost) = model.penalized_pass(shaped, Pass::training(0));
    let expected_output = case.get("output_in_training").unwrap_or(&case["output"]);
    assert_close(&floats(output.clone()), &numbers(expected_output), tolerance, &what);
    // Of weights, and of outputs.
    let activity = case.get("activity").and_then(Value::as_f64);
    let costs = (expected.is_some() || activity.is_some())
        .then(|| (expected.unwrap_or(0.0) + activity.unwrap_or(0.0)) as f32);
    let got = cost.clone().map(floats).unwrap_or_default();
    assert_close(&got, costs.as_slice(), 1e-5, &format!("{what}: costs"));
    let total = (output * upstream).sum();
    let total = match cost {
        Some(cost) => total + cost,
        None => total,
    };
    let gradients = total.backward();
    if !case["input_gradient"].is_null() {
        let by_input = floats(x.grad(&gradients).unwrap());
        assert_close(&by_input, &numbers(&case["input_gradient"]), tolerance, &what);
    }

    let mut got = GetGradients { gradients, path: Vec::new(), found: HashMap::new() };
    model.visit(&mut got);
    if let Some(moved) = case.get("moved").and_then(Value::as_object) {
        let values = weights(&model.valid());
        for (name, expected) in moved {
            let value = &values[&format!("{kind}.{name}")];
            assert_close(value, &numbers(expected), 1e-6, &format!("{what}: {name}"));
        }
    }
    let expected = case["gradients"].as_object().unwrap();
    assert_eq!(got.found.len(), expected.len(), "{what}");
    for (name, gradient) in expected {
        assert_close(&got.found[name], &numbers(gradient), tolerance, &format!("{what}: {name}"));
    }
}

/// The name of a weight below its layer.
fn own_name(path: &[String]) -> String {
    path[1..].join(".")
}

fn regularizer(options: &Value) -> Regularizer {
    let kind = options.as_str().or(options["type"].as_str()).unwrap();
    let factor = |key: &str| options.get(key).and_then(Value::as_f64);
    match (kind, factor("l1"), factor("l2")) {
        ("l1", Some(l1), _) => Regularizer::L1(l1),
        ("l2", _, Some(l2)) => Regularizer::L2(l2),
        ("l1_l2", Some(l1), Some(l2)) => Regularizer::L1L2 { l1, l2 },
        _ => Regularizer::from_name(kind).unwrap(),
    }
}

fn constraint(options: &Value) -> Constraint {
    let kind = options.as_str().or(options["type"].as_str()).unwrap();
    let number = |key: &str, default| options.get(key).and_then(Value::as_f64).unwrap_or(default);
    let constraint = match kind {
        "max_norm" => Constraint::max_norm(number("max_value", 2.0)),
        "min_max_norm" => Constraint::min_max_norm(
            number("min_value", 0.0),
            number("max_value", 1.0),
            number("rate", 1.0),
        ),
        other => Constraint::from_name(other).unwrap(),
    };
    match options.get("axis") {
        None => constraint,
        Some(Value::Number(axis)) => constraint.axis([axis.as_u64().unwrap() as usize]),
        Some(axes) => constraint.axis(lengths(axes)),
    }
}

/// The layer with the penalty that the options have for its outputs.
macro_rules! active {
    ($options:expr, $layer:expr) => {
        match $options.get("activity_regularizer") {
            Some(rule) => $layer.activity_regularizer(regularizer(rule)),
            None => $layer,
        }
    };
}

/// The layer with the rules that the options have for these weights.
macro_rules! ruled {
    ($options:expr, $layer:expr, $($regularizer:ident, $constraint:ident);+) => {{
        let mut layer = $layer;
        $(
            if let Some(rule) = $options.get(stringify!($regularizer)) {
                layer = layer.$regularizer(regularizer(rule));
            }
            if let Some(rule) = $options.get(stringify!($constraint)) {
                layer = layer.$constraint(constraint(rule));
            }
        )+
        layer
    }};
}

fn layer(options: &Value) -> LayerConfig {
    let length = |name: &str, default| {
        options.get(name).map_or(default, |length| length.as_u64().unwrap() as usize)
    };
    let use_bias = options["use_bias"].as_bool().unwrap_or(true);
    let numbers_of = |name: &str| match options.get(name)? {
        Value::Number(number) => Some(vec![number.as_f64().unwrap() as f32]),
        several => Some(numbers(several)),
    };
    let padding = match options["padding"].as_str() {
        Some(name) => Padding::from_name(name).unwrap(),
        None => Padding::Valid,
    };
    macro_rules! pooling {
        ($name:ident) => {{
            let size = height_width(&options["pool_size"]).unwrap_or(2.into());
            let strides = height_width(&options["strides"]).unwrap_or(size);
            $name::new(size).strides(strides).padding(padding).into()
        }};
    }
    let activation = |name: &str, default: &str| {
        Activation::from_name(options[name].as_str().unwrap_or(default)).unwrap()
    };
    let recurrent_activation = activation("recurrent_activation", "sigmoid");
    let is = |name: &str| options[name].as_bool().unwrap_or(false);
    macro_rules! recurrent {
        ($name:ident) => {
            $name::new(options["units"].as_u64().unwrap() as usize)
                .activation(activation("activation", "tanh"))
                .use_bias(options["use_bias"].as_bool().unwrap_or(true))
                .return_sequences(is("return_sequences"))
                .go_backwards(is("go_backwards"))
        };
    }
    macro_rules! normalization {
        ($layer:expr) => {
            $layer
                .epsilon(options["epsilon"].as_f64().unwrap_or(1e-3))
                .center(options["center"].as_bool().unwrap_or(true))
                .scale(options["scale"].as_bool().unwrap_or(true))
        };
    }
    match options["type"].as_str().unwrap() {
        "conv2d" => {
            let filters = options["filters"].as_u64().unwrap() as usize;
            let size = height_width(&options["kernel_size"]).unwrap();
            let conv = Conv2d::new(filters, size)
                .strides(height_width(&options["strides"]).unwrap_or(1.into()))
                .padding(padding)
                .dilation_rate(height_width(&options["dilation_rate"]).unwrap_or(1.into()))
                .groups(options["groups"].as_u64().unwrap_or(1) as usize)
                .activation(activation("activation", "linear"))
                .use_bias(use_bias);
            active!(options, ruled!(options, conv, kernel_regularizer, kernel_constraint)).into()
        }
        "separable_conv2d" => {
            let size = height_width(&options["kernel_size"]).unwrap();
            let conv = SeparableConv2d::new(length("filters", 0), size)
                .strides(height_width(&options["strides"]).unwrap_or(1.into()))
                .padding(padding)
                .dilation_rate(height_width(&options["dilation_rate"]).unwrap_or(1.into()))
                .depth_multiplier(length("depth_multiplier", 1))
                .activation(activation("activation", "linear"))
                .use_bias(use_bias);
            ruled!(
                options,
                conv,
                depthwise_regularizer,
                depthwise_constraint;
                pointwise_regularizer,
                pointwise_constraint
            )
            .into()
        }
        "separable_conv1d" => SeparableConv1d::new(length("filters", 0), length("kernel_size", 0))
            .strides(length("strides", 1))
            .padding(padding)
            .depth_multiplier(length("depth_multiplier", 1))
            .activation(activation("activation", "linear"))
            .use_bias(use_bias)
            .into(),
        "prelu" => {
            let axes = match &options["shared_axes"] {
                Value::Null => Vec::new(),
                Value::Number(axis) => vec![axis.as_u64().unwrap() as usize],
                axes => lengths(axes),
            };
            let prelu = Prelu::new().shared_axes(axes);
            ruled!(options, prelu, alpha_regularizer, alpha_constraint).into()
        }
        "leaky_relu" => LeakyRelu::new()
            .negative_slope(options["negative_slope"].as_f64().unwrap_or(0.3))
            .into(),
        "elu" => Elu::new().alpha(options["alpha"].as_f64().unwrap_or(1.0)).into(),
        "relu" => {
            let relu = Relu::new()
                .negative_slope(options["negative_slope"].as_f64().unwrap_or(0.0))
                .threshold(options["threshold"].as_f64().unwrap_or(0.0));
            match options["max_value"].as_f64() {
                Some(largest) => relu.max_value(largest).into(),
                None => relu.into(),
            }
        }
        "softmax" => Softmax::new().into(),
        "conv2d_transpose" => {
            let size = height_width(&options["kernel_size"]).unwrap();
            let conv = Conv2dTranspose::new(length("filters", 0), size)
                .strides(height_width(&options["strides"]).unwrap_or(1.into()))
                .padding(padding)
                .dilation_rate(height_width(&options["dilation_rate"]).unwrap_or(1.into()))
                .activation(activation("activation", "linear"))
                .use_bias(use_bias);
            match height_width(&options["output_padding"]) {
                Some(output_padding) => conv.output_padding(output_padding).into(),
                None => conv.into(),
            }
        }
        "conv1d" => {
            let conv = Conv1d::new(length("filters", 0), length("kernel_size", 0))
                .strides(length("strides", 1))
                .padding(padding)
                .dilation_rate(length("dilation_rate", 1))
                .groups(length("groups", 1))
                .activation(activation("activation", "linear"))
                .use_bias(use_bias);
            active!(options, conv).into()
        }
        "max_pooling1d" => MaxPooling1d::new(length("pool_size", 2))
            .strides(length("strides", length("pool_size", 2)))
            .padding(padding)
            .into(),
        "average_pooling1d" => AveragePooling1d::new(length("pool_size", 2))
            .strides(length("strides", length("pool_size", 2)))
            .padding(padding)
            .into(),
        "global_average_pooling1d" => GlobalAveragePooling1d::new().into(),
        "global_max_pooling1d" => GlobalMaxPooling1d::new().into(),
        "bidirectional" => {
            let both = match layer(&options["layer"]) {
                LayerConfig::Lstm(layer) => Bidirectional::new(layer),
                LayerConfig::Gru(layer) => Bidirectional::new(layer),
                LayerConfig::SimpleRnn(layer) => Bidirectional::new(layer),
                other => panic!("{other:?}"),
            };
            let mode = options["merge_mode"].as_str().unwrap_or("concat");
            both.merge_mode(MergeMode::from_name(mode).unwrap()).into()
        }
        "multi_head_attention" => {
            let key_dim = length("key_dim", 0);
            let mut attention = MultiHeadAttention::new(length("num_heads", 0), key_dim)
                .value_dim(length("value_dim", key_dim))
                .use_bias(use_bias)
                .use_causal_mask(is("use_causal_mask"));
            if options.get("output_shape").is_some() {
                attention = attention.output_shape(length("output_shape", 0));
            }
            ruled!(options, attention, kernel_regularizer, kernel_constraint).into()
        }
        "normalization" => {
            let normalization = Normalization::new().invert(is("invert"));
            match (numbers_of("mean"), numbers_of("variance")) {
                (Some(mean), Some(variance)) => normalization.statistics(mean, variance).into(),
                _ => normalization.into(),
            }
        }
        "activation" => layers::Activation::new(activation("activation", "linear")).into(),
        "dense" => {
            let dense = Dense::new(length("units", 0))
                .activation(activation("activation", "linear"))
                .use_bias(use_bias);
            let dense = active!(options, dense);
            ruled!(
                options,
                dense,
                kernel_regularizer,
                kernel_constraint;
                bias_regularizer,
                bias_constraint
            )
            .into()
        }
        "max_pooling2d" => pooling!(MaxPooling2d),
        "average_pooling2d" => pooling!(AveragePooling2d),
        "global_average_pooling2d" => GlobalAveragePooling2d::new().into(),
        "global_max_pooling2d" => GlobalMaxPooling2d::new().into(),
        "reshape" => {
            let lengths = options["target_shape"].as_array().unwrap();
            let lengths: Vec<isize> =
                lengths.iter().map(|x| x.as_i64().unwrap() as isize).collect();
            Reshape::new(lengths).into()
        }
        "gru" => recurrent!(Gru)
            .recurrent_activation(recurrent_activation)
            .reset_after(options["reset_after"].as_bool().unwrap_or(true))
            .into(),
        "layer_normalization" => normalization!(LayerNormalization::new()).into(),
        "batch_normalization" => {
            let layer = normalization!(BatchNormalization::new())
                .momentum(options["momentum"].as_f64().unwrap_or(0.99));
            ruled!(
                options,
                layer,
                gamma_regularizer,
                gamma_constraint;
                beta_regularizer,
                beta_constraint
            )
            .into()
        }
        "group_normalization" => {
            let groups = options["groups"].as_u64().unwrap() as usize;
            normalization!(GroupNormalization::new(groups)).into()
        }
        "rms_normalization" => {
            RmsNormalization::new().epsilon(options["epsilon"].as_f64().unwrap_or(1e-6)).into()
        }
        "embedding" => {
            let length = |name: &str| options[name].as_u64().unwrap() as usize;
            Embedding::new(length("input_dim"), length("output_dim")).into()
        }
        "rescaling" => Rescaling::new(options["scale"].as_f64().unwrap())
            .offset(options["offset"].as_f64().unwrap_or(0.0))
            .into(),
        "depthwise_conv2d" => {
            let conv = DepthwiseConv2d::new(height_width(&options["kernel_size"]).unwrap())
                .strides(height_width(&options["strides"]).unwrap_or(1.into()))
                .padding(padding)
                .depth_multiplier(length("depth_multiplier", 1))
                .activation(activation("activation", "linear"))
                .use_bias(use_bias);
            ruled!(options, conv, depthwise_regularizer, depthwise_constraint).into()
        }
        "simple_rnn" => recurrent!(SimpleRnn).into(),
        "lstm" => {
            let lstm = recurrent!(Lstm).recurrent_activation(recurrent_activation);
            ruled!(
                options,
                lstm,
                recurrent_regularizer,
                recurrent_constraint;
                bias_regularizer,
                bias_constraint
            )
            .into()
        }
        "permute" => Permute::new(lengths(&options["dims"])).into(),
        other => panic!("no layer {other} here"),
    }
}

fn height_width(value: &Value) -> Option<HeightWidth> {
    match value {
        Value::Null => None,
        Value::Number(length) => Some((length.as_u64().unwrap() as usize).into()),
        lengths => Some([0, 1].map(|i| lengths[i].as_u64().unwrap() as usize).into()),
    }
}

fn lengths(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize).collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// Puts recorded weights in the place of those of the same name.
struct SetWeights<'a> {
    weights: &'a Value,
    path: Vec<String>,
}

impl ModuleMapper for SetWeights<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let values = numbers(&self.weights[own_name(&self.path)]);
        param.map(|old| Tensor::from_data(TensorData::new(values, old.dims()), &old.device()))
    }
}

struct GetGradients {
    gradients: Gradients,
    path: Vec<String>,
    found: HashMap<String, Vec<f32>>,
}

impl ModuleVisitor for GetGradients {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.grad(&self.gradients) {
            self.found.insert(own_name(&self.path), floats(gradient));
        }
    }
}

/// By their full names.
fn weights(model: &Sequential) -> HashMap<String, Vec<f32>> {
    #[derive(Default)]
    struct GetWeights {
        path: Vec<String>,
        found: HashMap<String, Vec<f32>>,
    }

    impl ModuleVisitor for GetWeights {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.insert(self.path.join("."), floats(param.val()));
        }
    }

    let mut weights = GetWeights::default();
    model.visit(&mut weights);
    weights.found
}
