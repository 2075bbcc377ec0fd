//! Every layer in a recipe, on the embedded digits: two runs give the same bits, a run that was stopped
//! goes on to them, and saved weights come back.

use std::fmt::Write as _;
use std::path::Path;

use refrain::checkpoint::{Checkpoints, Every};
use refrain::console::Console;
use refrain::prelude::*;
use refrain::{LayerConfig, ModelAccess as _, Recipe, StopHandle};

/// Layers for the digits, `[1, 8, 8]`, before the dense layer that ends the network.
const MODELS: &[&str] = &[
    r#"{ type = "flatten" }, { type = "dense", units = 8, activation = "glu", kernel_regularizer = "l2" }"#,
    r#"{ type = "flatten" }, { type = "dropout", rate = 0.3 }, { type = "activation", activation = "mish" }"#,
    r#"{ type = "conv2d", filters = 3, kernel_size = 3, kernel_constraint = { type = "max_norm", max_value = 0.5, axis = [0, 1, 2] } }, { type = "max_pooling2d" }, { type = "flatten" }"#,
    r#"{ type = "depthwise_conv2d", kernel_size = 3, depth_multiplier = 3 }, { type = "average_pooling2d" }, { type = "flatten" }"#,
    r#"{ type = "separable_conv2d", filters = 6, kernel_size = 3, depth_multiplier = 2, pointwise_constraint = "non_neg" }, { type = "prelu", shared_axes = [2, 3] }, { type = "max_pooling2d" }, { type = "flatten" }"#,
    r#"{ type = "conv2d", filters = 3, kernel_size = 3, activation = "relu", activity_regularizer = "l2" }, { type = "max_pooling2d" }, { type = "flatten" }, { type = "prelu" }"#,
    r#"{ type = "reshape", target_shape = [8, 8] }, { type = "separable_conv1d", filters = 6, kernel_size = 3 }, { type = "leaky_relu" }, { type = "residual", layers = [{ type = "dense", units = 6, activation = "softmax", activity_regularizer = "l1" }, { type = "prelu" }, { type = "elu" }, { type = "softmax" }] }, { type = "relu", max_value = 1.0 }, { type = "flatten" }"#,
    r#"{ type = "conv2d", filters = 4, kernel_size = 3, strides = 2, padding = "same" }, { type = "conv2d_transpose", filters = 2, kernel_size = 3, strides = 2, padding = "same", activation = "tanh" }, { type = "flatten" }"#,
    r#"{ type = "conv2d", filters = 8, kernel_size = 3 }, { type = "spatial_dropout2d", rate = 0.3 }, { type = "global_average_pooling2d" }"#,
    r#"{ type = "conv2d", filters = 8, kernel_size = 3 }, { type = "group_normalization", groups = 2 }, { type = "global_max_pooling2d" }"#,
    r#"{ type = "reshape", target_shape = [8, 8] }, { type = "permute", dims = [2, 1] }, { type = "lstm", units = 6, recurrent_constraint = "unit_norm" }"#,
    r#"{ type = "reshape", target_shape = [8, 8] }, { type = "gru", units = 6, return_sequences = true }, { type = "simple_rnn", units = 5 }"#,
    r#"{ type = "reshape", target_shape = [8, 8] }, { type = "bidirectional", layer = { type = "gru", units = 4, bias_regularizer = "l1" }, merge_mode = "ave" }"#,
    r#"{ type = "reshape", target_shape = [8, 8] }, { type = "residual", layers = [{ type = "layer_normalization" }, { type = "multi_head_attention", num_heads = 2, key_dim = 4, dropout = 0.2, use_causal_mask = true }] }, { type = "global_average_pooling1d" }"#,
    r#"{ type = "reshape", target_shape = [8, 8] }, { type = "conv1d", filters = 6, kernel_size = 3, padding = "causal" }, { type = "max_pooling1d" }, { type = "average_pooling1d", pool_size = 2, strides = 1 }, { type = "global_max_pooling1d" }"#,
    r#"{ type = "normalization" }, { type = "flatten" }, { type = "batch_normalization" }"#,
    r#"{ type = "rescaling", scale = 2.0, offset = -1.0 }, { type = "flatten" }, { type = "rms_normalization" }, { type = "gaussian_noise", stddev = 0.1 }"#,
    r#"{ type = "random_flip" }, { type = "random_translation", height_factor = 0.2, width_factor = [0.0, 0.2], fill_mode = "constant", fill_value = 0.5 }, { type = "flatten" }"#,
    r#"{ type = "random_rotation", factor = 0.1, interpolation = "nearest" }, { type = "random_zoom", height_factor = 0.2, fill_mode = "wrap" }, { type = "flatten" }"#,
    r#"{ type = "conv2d", filters = 2, kernel_size = 1 }, { type = "residual", layers = [{ type = "random_rotation", factor = 0.1 }, { type = "dropout", rate = 0.2 }, { type = "conv2d", filters = 2, kernel_size = 3, padding = "same" }] }, { type = "flatten" }"#,
];

/// No layer gives whole numbers, and so it cannot see the digits; `engine/layers.rs` of the engine has it.
const TRIED_ELSEWHERE: &[&str] = &["embedding"];

fn recipe(layers: &str, folder: &Path) -> Recipe {
    let text = format!(
        r#"
seed = 7
[data]
source = "digits"
validation_split = 0.2
[model]
layers = [{layers}, {{ type = "dense", units = 10, activation = "softmax" }}]
[compile]
optimizer = {{ type = "adam", learning_rate = 0.01 }}
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]
[fit]
epochs = 2
batch_size = 256
"#
    );
    let path = folder.join("recipe.toml");
    std::fs::write(&path, text).unwrap();
    Recipe::load(&path, &[]).unwrap()
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

/// What a run leaves: weights, optimizer and history, as text. With a folder, it takes checkpoints there;
/// it may go on from one, and stop after so many batches.
fn train(recipe: &Recipe, checkpoints: Option<(&Path, bool, usize)>) -> String {
    let data = recipe.load_data().unwrap();
    let mut trainer = recipe.trainer(&data).unwrap().console(Console::silent());
    if let Some((folder, goes_on, stop_after)) = checkpoints {
        let checkpoints =
            Checkpoints::in_dir(folder).every(Every::Epochs(1)).describe("run", "same");
        trainer = trainer.checkpoints(checkpoints);
        if goes_on {
            trainer.resume().unwrap();
        }
        let stop = StopAfter(stop_after, trainer.stop_handle());
        trainer = trainer.callback(stop);
    }
    let history = trainer.fit(&data, recipe.fit(&data).verbose(0)).unwrap();
    let learner = trainer.learner();
    let mut left =
        format!("{:?}{:?}", learner.weights().unwrap(), learner.optimizer_state().unwrap());
    for (epoch, logs) in history.iter() {
        for (name, value) in logs.iter() {
            assert!(value.is_finite(), "{name} is {value}");
            write!(left, "\n{epoch} {name} {:x}", value.to_bits()).unwrap();
        }
    }
    left
}

#[test]
fn every_layer_trains_to_the_same_bits_also_when_it_was_stopped() {
    for layers in MODELS {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(layers, folder.path());
        let expected = train(&recipe, None);
        assert_eq!(train(&recipe, None), expected, "{layers}: a second run");

        // In the middle of the second of two epochs of six batches.
        let run = folder.path().join("run");
        train(&recipe, Some((&run, false, 8)));
        let resumed = train(&recipe, Some((&run, true, usize::MAX)));
        assert_eq!(resumed, expected, "{layers}: stopped and resumed");
    }
}

#[test]
fn weights_of_every_layer_come_back() {
    for layers in MODELS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let mut recipe = recipe(layers, folder.path());
        let data = recipe.load_data().unwrap();
        let mut trained = recipe.trainer(&data).unwrap().console(Console::silent());
        trained.fit(&data, recipe.fit(&data).verbose(0)).unwrap();
        trained.save_weights(&path).unwrap();
        let logs = trained.evaluate(&data, 256).unwrap();

        recipe = Recipe::load(&folder.path().join("recipe.toml"), &["seed=8".into()]).unwrap();
        let mut other = recipe.trainer(&data).unwrap().console(Console::silent());
        other.load_weights(&path).unwrap();
        let again = other.evaluate(&data, 256).unwrap();
        assert_eq!(format!("{logs:?}"), format!("{again:?}"), "{layers}");
    }
}

#[test]
fn every_layer_is_tried() {
    for name in LayerConfig::TYPES {
        let is_in = |layers: &&str| layers.contains(&format!("type = {name:?}"));
        let is_tried = MODELS.iter().any(is_in) || TRIED_ELSEWHERE.contains(name);
        assert!(is_tried || *name == "dense", "{name} is in no model of this test");
    }
}

/// Mean and variance are those of the part that is trained on, to the last sample and not beyond it.
#[test]
fn a_normalization_sees_the_training_part_alone() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(r#"{ type = "flatten" }, { type = "normalization" }"#, folder.path());
    let data = recipe.load_data().unwrap();
    let trainer = recipe.trainer(&data).unwrap();
    let weights = trainer.learner().weights().unwrap();
    let values = |name: &str| -> Vec<f32> {
        let bytes = &weights.get(name).unwrap().bytes;
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let (mean, variance) = (values("normalization.mean"), values("normalization.variance"));
    let digits = refrain::data::digits().unwrap();
    let samples = digits.pixels.len() / 64;
    let trained = (samples as f64 * 0.8) as usize;
    for feature in 0..64 {
        let seen: Vec<f64> =
            (0..trained).map(|i| f64::from(digits.pixels[i * 64 + feature])).collect();
        let expected = seen.iter().sum::<f64>() / trained as f64;
        let spread = seen.iter().map(|x| (x - expected).powi(2)).sum::<f64>() / trained as f64;
        assert!((f64::from(mean[feature]) - expected).abs() < 1e-7, "{feature}");
        assert!((f64::from(variance[feature]) - spread).abs() < 1e-7, "{feature}");
    }
}

/// (an entry of `layers`, what is said of it)
#[test]
fn bad_options_are_refused_with_line_and_column() {
    let table = [
        (
            r#"{ type = "conv1d", filters = 2, kernel_size = 3, padding = "full" }"#,
            "line 7, column 70: unknown padding `full`; allowed: causal, same, valid",
        ),
        (
            r#"{ type = "conv2d", filters = 2, kernel_size = 3, padding = "causal" }"#,
            "unknown padding `causal`; allowed: same, valid",
        ),
        (
            r#"{ type = "bidirectional", layer = { type = "dense", units = 3 } }"#,
            "`layer` is dense; allowed: a layer of type lstm, gru or simple_rnn",
        ),
        (
            r#"{ type = "bidirectional", layer = { type = "lstm", unit = 3 } }"#,
            "unknown key `unit`; did you mean `units`? allowed: units in layer 1, its layer",
        ),
        (
            r#"{ type = "residual", layers = [{ type = "dense" }] }"#,
            "layer 1, layer 1 needs `units`, for example units = 128",
        ),
        (r#"{ type = "residual", layers = [] }"#, "`layers` is empty; allowed: one layer or more"),
        (
            r#"{ type = "normalization", mean = 1.0 }"#,
            "`mean` is given without `variance`; give both, or neither",
        ),
        (
            r#"{ type = "normalization", mean = 1.0, variance = [1.0, -1.0] }"#,
            "`variance[1]` is -1; allowed: a finite number, 0 or more",
        ),
        (r#"{ type = "random_rotation", factor = 2 }"#, "`factor` is 2; allowed: -1 to 1"),
        (
            r#"{ type = "separable_conv1d", filters = 2, kernel_size = 3, padding = "causal" }"#,
            "unknown padding `causal`; allowed: same, valid",
        ),
        (
            r#"{ type = "prelu", shared_axes = [0] }"#,
            "`shared_axes[0]` is 0; allowed: a whole number, 1 or more",
        ),
        (
            r#"{ type = "leaky_relu", negative_slope = -0.1 }"#,
            "`negative_slope` is -0.1; allowed: a finite number, 0 or more",
        ),
        (
            r#"{ type = "dense", units = 2, activity_regularizer = "l3" }"#,
            "unknown regularizer `l3`",
        ),
        (
            r#"{ type = "random_zoom", height_factor = [-1.0, 0.0] }"#,
            "`height_factor[0]` is -1; allowed: above -1, up to 1",
        ),
        (
            r#"{ type = "random_flip", mode = "sideways" }"#,
            "unknown mode `sideways`; allowed: horizontal, horizontal_and_vertical, vertical",
        ),
        (
            r#"{ type = "dense", units = 3, kernel_regularizer = "l3" }"#,
            "unknown regularizer `l3`; did you mean `l2`? allowed: l1, l1_l2, l2",
        ),
        (
            r#"{ type = "dense", units = 3, kernel_regularizer = { type = "l2", l2 = -1 } }"#,
            "`l2` is -1; allowed: 0 or more",
        ),
        (
            r#"{ type = "dense", units = 3, kernel_constraint = { type = "max_norm", max_value = 0 } }"#,
            "`max_value` is 0; allowed: a finite number above 0",
        ),
        (
            r#"{ type = "dense", units = 3, activation = "threshold" }"#,
            "unknown activation `threshold`",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (layer, expected) in table {
        let text = format!(
            "[compile]\noptimizer = \"sgd\"\nloss = \"mse\"\n[data]\nsource = \"digits\"\n[model]\nlayers = [{layer}]\n[fit]\nepochs = 1\n"
        );
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, text).unwrap();
        let error = Recipe::load(&path, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nhas no\n{expected}");
    }
}
