//! Layers against outputs and gradients recorded from Keras 3.15.1 by `keras/record.py`.

use std::collections::HashMap;

use refrain_burn::burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use refrain_burn::burn::tensor::{Device, Gradients, Tensor, TensorData};
use refrain_burn::layers::{
    AveragePooling2d, BatchNormalization, Conv2d, DepthwiseConv2d, Embedding,
    GlobalAveragePooling2d, GlobalMaxPooling2d, GroupNormalization, Gru, HeightWidth, LayerConfig,
    LayerNormalization, Lstm, MaxPooling2d, Padding, Permute, Rescaling, Reshape, RmsNormalization,
    SimpleRnn,
};
use refrain_burn::{Activation, AnyTensor, Forward as _, FromArray as _, Pass, Sequential};
use serde_json::Value;

use crate::{assert_close, floats};

#[test]
fn output_and_gradients_are_those_of_keras() {
    let recording = include_str!("keras/layers.jsonl");
    assert!(recording.lines().count() > 20);
    for line in recording.lines() {
        check(&serde_json::from_str(line).unwrap());
    }
}

fn check(case: &Value) {
    let what = case["layer"].to_string();
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

    let model = model.map(&mut SetWeights { weights: &case["weights"], name: String::new() });
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
    assert_close(&output, &numbers(&case["output"]), 1e-5, &what);

    let shaped: AnyTensor = match *shape {
        [a, b, c] => x.clone().reshape([samples, a, b, c]).into(),
        [a, b] => x.clone().reshape([samples, a, b]).into(),
        _ => x.clone().into(),
    };
    let model = model.train();
    let output = model.pass(shaped, Pass::training(0));
    let expected = case.get("output_in_training").unwrap_or(&case["output"]);
    assert_close(&floats(output.clone()), &numbers(expected), 1e-5, &what);
    let gradients = (output * upstream).sum().backward();
    if !case["input_gradient"].is_null() {
        let by_input = floats(x.grad(&gradients).unwrap());
        assert_close(&by_input, &numbers(&case["input_gradient"]), 1e-5, &what);
    }

    let mut got = GetGradients { gradients, name: String::new(), found: HashMap::new() };
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
        assert_close(&got.found[name], &numbers(gradient), 1e-5, &format!("{what}: {name}"));
    }
}

fn layer(options: &Value) -> LayerConfig {
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
            Conv2d::new(filters, size)
                .strides(height_width(&options["strides"]).unwrap_or(1.into()))
                .padding(padding)
                .dilation_rate(height_width(&options["dilation_rate"]).unwrap_or(1.into()))
                .groups(options["groups"].as_u64().unwrap_or(1) as usize)
                .activation(activation("activation", "linear"))
                .use_bias(options["use_bias"].as_bool().unwrap_or(true))
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
        "batch_normalization" => normalization!(BatchNormalization::new())
            .momentum(options["momentum"].as_f64().unwrap_or(0.99))
            .into(),
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
        "depthwise_conv2d" => DepthwiseConv2d::new(height_width(&options["kernel_size"]).unwrap())
            .strides(height_width(&options["strides"]).unwrap_or(1.into()))
            .padding(padding)
            .depth_multiplier(options["depth_multiplier"].as_u64().unwrap_or(1) as usize)
            .activation(activation("activation", "linear"))
            .use_bias(options["use_bias"].as_bool().unwrap_or(true))
            .into(),
        "simple_rnn" => recurrent!(SimpleRnn).into(),
        "lstm" => recurrent!(Lstm).recurrent_activation(recurrent_activation).into(),
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
    name: String,
}

impl ModuleMapper for SetWeights<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        name.clone_into(&mut self.name);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let values = numbers(&self.weights[&self.name]);
        param.map(|old| Tensor::from_data(TensorData::new(values, old.dims()), &old.device()))
    }
}

struct GetGradients {
    gradients: Gradients,
    name: String,
    found: HashMap<String, Vec<f32>>,
}

impl ModuleVisitor for GetGradients {
    fn enter_module(&mut self, name: &str, _: &str) {
        name.clone_into(&mut self.name);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.grad(&self.gradients) {
            self.found.insert(self.name.clone(), floats(gradient));
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
