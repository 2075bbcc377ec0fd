//! Every layer on every shape, and behind every other layer: a recipe trains a step, or is refused
//! before it, with an error that names the layer by place and name and says both shapes and the way
//! out. Nothing panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use refrain::console::Console;
use refrain::{LayerConfig, Recipe, RecipeData, Result};

/// What makes samples of another shape of the digits' [1, 8, 8], whose elements they keep.
const SHAPES: &[&[usize]] = &[
    &[1, 8, 8],
    &[64],
    &[8, 8],
    &[64, 1],
    &[1, 64],
    &[64, 1, 1],
    &[4, 4, 4],
    &[1, 1, 64],
    &[2, 2, 4, 4],
    &[1, 1, 1, 8, 8],
];

/// Each layer, in variants that fit some shapes and not others.
const LAYERS: &[&str] = &[
    "type = 'flatten'",
    "type = 'dense', units = 3",
    "type = 'dense', units = 1, activation = 'softmax', use_bias = false",
    "type = 'dense', units = 3, activity_regularizer = 'l2'",
    "type = 'dropout', rate = 0.5",
    "type = 'activation', activation = 'relu'",
    "type = 'activation', activation = 'softmax'",
    "type = 'conv2d', filters = 2, kernel_size = 3",
    "type = 'conv2d', filters = 4, kernel_size = [1, 5], padding = 'same', strides = [3, 2], activation = 'relu'",
    "type = 'conv2d', filters = 2, kernel_size = 2, groups = 2, activation = 'softmax'",
    "type = 'conv2d', filters = 2, kernel_size = 3, dilation_rate = 3, padding = 'same'",
    "type = 'conv2d', filters = 2, kernel_size = 3, dilation_rate = 2, strides = 2",
    "type = 'conv2d', filters = 1, kernel_size = 8",
    "type = 'depthwise_conv2d', kernel_size = 2, depth_multiplier = 2",
    "type = 'conv2d', filters = 2, kernel_size = 3, activity_regularizer = 'l1'",
    "type = 'separable_conv2d', filters = 3, kernel_size = 2, depth_multiplier = 2, strides = 3, activation = 'softmax'",
    "type = 'separable_conv2d', filters = 3, kernel_size = 9",
    "type = 'separable_conv1d', filters = 3, kernel_size = 3, padding = 'same', activation = 'relu'",
    "type = 'separable_conv1d', filters = 3, kernel_size = 2, strides = 2, dilation_rate = 2",
    "type = 'prelu'",
    "type = 'prelu', shared_axes = [2, 3]",
    "type = 'leaky_relu'",
    "type = 'elu', alpha = 0.5",
    "type = 'relu', max_value = 1.0, negative_slope = 0.1, threshold = 0.2",
    "type = 'softmax'",
    "type = 'max_pooling2d'",
    "type = 'max_pooling2d', pool_size = [3, 2], strides = 5, padding = 'same'",
    "type = 'max_pooling2d', pool_size = 9",
    "type = 'average_pooling2d'",
    "type = 'average_pooling2d', pool_size = [1, 7], strides = 1, padding = 'same'",
    "type = 'average_pooling2d', pool_size = 9",
    "type = 'global_average_pooling2d'",
    "type = 'global_max_pooling2d'",
    "type = 'reshape', target_shape = [8, -1]",
    "type = 'reshape', target_shape = [1, 8, 8]",
    "type = 'reshape', target_shape = [3]",
    "type = 'permute', dims = [1]",
    "type = 'permute', dims = [2, 1]",
    "type = 'permute', dims = [3, 1, 2]",
    "type = 'lstm', units = 2",
    "type = 'lstm', units = 2, return_sequences = true, recurrent_activation = 'hard_sigmoid'",
    "type = 'gru', units = 2, reset_after = false",
    "type = 'gru', units = 2, return_sequences = true",
    "type = 'simple_rnn', units = 2, go_backwards = true",
    "type = 'layer_normalization'",
    "type = 'batch_normalization'",
    "type = 'batch_normalization', center = false, scale = false",
    "type = 'group_normalization', groups = 2",
    "type = 'group_normalization'",
    "type = 'rms_normalization'",
    "type = 'embedding', input_dim = 20, output_dim = 3",
    "type = 'spatial_dropout2d', rate = 0.5",
    "type = 'gaussian_noise', stddev = 0.1",
    "type = 'rescaling', scale = 2.0, offset = -1.0",
    "type = 'dense', units = 4, activation = 'glu'",
    "type = 'activation', activation = 'glu'",
    "type = 'conv1d', filters = 2, kernel_size = 3, padding = 'causal'",
    "type = 'conv1d', filters = 4, kernel_size = 2, groups = 4, strides = 3, activation = 'softmax'",
    "type = 'conv1d', filters = 2, kernel_size = 9",
    "type = 'conv2d_transpose', filters = 2, kernel_size = 3, strides = 2, output_padding = 1",
    "type = 'conv2d_transpose', filters = 2, kernel_size = 2, padding = 'same', dilation_rate = 3",
    "type = 'max_pooling1d', pool_size = 3, strides = 2, padding = 'same'",
    "type = 'average_pooling1d', pool_size = 4",
    "type = 'global_average_pooling1d'",
    "type = 'global_max_pooling1d'",
    "type = 'bidirectional', layer = { type = 'lstm', units = 2, return_sequences = true }, merge_mode = 'sum'",
    "type = 'bidirectional', layer = { type = 'gru', units = 2 }",
    "type = 'multi_head_attention', num_heads = 2, key_dim = 3, value_dim = 2, use_causal_mask = true",
    "type = 'multi_head_attention', num_heads = 1, key_dim = 2, dropout = 0.5",
    "type = 'residual', layers = [{ type = 'activation', activation = 'relu' }]",
    "type = 'residual', layers = [{ type = 'conv2d', filters = 1, kernel_size = 3, padding = 'same' }]",
    "type = 'residual', layers = [{ type = 'lstm', units = 8, return_sequences = true }, { type = 'dropout', rate = 0.1 }]",
    "type = 'residual', layers = [{ type = 'dense', units = 5 }]",
    "type = 'normalization'",
    "type = 'normalization', mean = [1.0, 2.0], variance = [1.0, 2.0]",
    "type = 'random_flip'",
    "type = 'random_translation', height_factor = 0.2, width_factor = 0.2, fill_mode = 'constant'",
    "type = 'random_rotation', factor = 0.1, interpolation = 'nearest'",
    "type = 'random_zoom', height_factor = 0.2, fill_mode = 'wrap'",
];

/// Behind what is tried, so that a loss can be taken of it.
const END: &str = "{ type = 'flatten' }, { type = 'dense', units = 10, activation = 'softmax' }";

fn recipe(layers: &str, more: &[String]) -> Result<Recipe> {
    let mut set: Vec<String> = [
        "callbacks = []",
        "fit.epochs = 1",
        "fit.batch_size = 2",
        "fit.steps_per_epoch = 1",
        "fit.validation_steps = 1",
        "checkpoint.every_epochs = 0",
    ]
    .map(|change| change.replace(" = ", "="))
    .into();
    set.push(format!("model.layers=[{layers}]"));
    set.extend_from_slice(more);
    Recipe::builtin(&set)
}

/// What a recipe comes to.
#[derive(Debug, PartialEq)]
enum Fate {
    Trains,
    /// By the check, with all its errors.
    Refused(String),
}

/// Checks a recipe, and trains it where the check lets it: never fails where the check has not
/// refused, never panics.
fn fate(recipe: &Recipe, data: &RecipeData) -> Fate {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let error = match recipe.check(data, "".as_ref()) {
            Ok(check) => check.error(),
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            assert!(error.is_config() || error.to_string().contains("label"), "{error}");
            // The numbers in the data are looked at by the check alone.
            let is_of_data = error.to_string().contains("its input has the number");
            assert!(is_of_data || recipe.trainer(data).is_err(), "checked: {error}");
            return Fate::Refused(error.to_string());
        }
        let trainer = recipe.trainer(data).unwrap_or_else(|e| panic!("not found by check: {e}"));
        let mut trainer = trainer.console(Console::silent());
        let trained = trainer.fit(data, recipe.fit(data).verbose(0));
        let history = trained.unwrap_or_else(|e| panic!("not found by check: {e}"));
        assert_eq!(history.len(), 1);
        Fate::Trains
    }));
    tried.unwrap_or_else(|_| panic!("{}", recipe.to_toml().unwrap()))
}

fn digits() -> RecipeData {
    Recipe::builtin(&[]).unwrap().load_data().unwrap()
}

/// How a stack of layers on samples of this shape ends. An error is one of a layer in `blamed`, and is
/// complete.
fn check(shape: &[usize], layers: &[&str], data: &RecipeData) -> Fate {
    let is_embedding = layers.first().is_some_and(|layer| layer.contains("'embedding'"));
    // An embedding is the first layer, or nothing.
    let reshapes = !is_embedding && shape != [1, 8, 8];
    let first = reshapes.then(|| format!("{{ type = 'reshape', target_shape = {shape:?} }}, "));
    let tried: String = layers.iter().map(|layer| format!("{{ {layer} }}, ")).collect();
    let text = format!("{}{tried}{END}", first.unwrap_or_default());
    let recipe = recipe(&text, &[]).unwrap_or_else(|e| panic!("{text}: {e}"));
    let fate = fate(&recipe, data);
    if let Fate::Refused(error) = &fate {
        let has = |word: &str| error.contains(word);
        let is_named = (1..=2 + layers.len()).any(|place| has(&format!("layer {place} `")));
        assert!(is_named, "{text}: no place in {error}");
        // The input's; and the one that the layer takes, where it takes no other.
        let shapes = error.matches('[').count();
        let of_no_shape =
            ["put it first", "its input has the number", "allowed: one of them other than 1"];
        let least =
            if of_no_shape.into_iter().any(has) { 0 } else { 1 + usize::from(has(" take")) };
        assert!(shapes >= least, "{text}: one shape alone in {error}");
        let is_helpful = ["allowed", "put ", "before it", "would be"].into_iter().any(has);
        assert!(is_helpful, "{text}: no way out in {error}");
    }
    fate
}

#[test]
fn every_layer_on_every_shape() {
    let data = digits();
    for kind in LayerConfig::TYPES {
        let kind = format!("type = '{kind}'");
        assert!(LAYERS.iter().any(|layer| layer.starts_with(&kind)), "{kind} is not tried");
    }
    let mut trained = Vec::new();
    let mut refused = 0;
    for layer in LAYERS {
        for shape in SHAPES {
            match check(shape, &[layer], &data) {
                Fate::Trains => trained.push(*layer),
                Fate::Refused(error) => {
                    println!("{shape:?}, {layer}: {error}");
                    refused += 1;
                }
            }
        }
    }
    // Else it was not tried.
    let never: Vec<_> = LAYERS.iter().filter(|layer| !trained.contains(layer)).collect();
    println!("{never:#?}");
    assert_eq!(never.len(), 9, "these fit no shape: {never:#?}");
    assert!(trained.len() > 150 && refused > 100, "{} trained, {refused} refused", trained.len());
}

/// Shape of what a layer makes of samples of this shape, where it takes them.
fn output(shape: &[usize], layer: &str) -> Option<Vec<usize>> {
    let layers = format!("{{ type = 'reshape', target_shape = {shape:?} }}, {{ {layer} }}, {END}");
    let summary = recipe(&layers, &[]).unwrap().summary().ok()?;
    Some(summary.model.rows[1].output_shape.clone())
}

#[test]
fn every_layer_behind_every_other() {
    let data = digits();
    let (mut trained, mut refused) = (0, 0);
    // What comes in is a shape, whatever made it; but a convolution and a pooling are one operation.
    let mut tried: Vec<Vec<usize>> = SHAPES.iter().map(|shape| shape.to_vec()).collect();
    for first in LAYERS {
        for shape in [&[1, 8, 8][..], &[4, 4, 4], &[8, 8], &[64]] {
            let Some(output) = output(shape, first) else { continue };
            let is_convolution = first.contains("conv2d'");
            if tried.contains(&output) && !is_convolution {
                continue;
            }
            tried.push(output);
            for second in LAYERS {
                match check(shape, &[first, second], &data) {
                    Fate::Trains => trained += 1,
                    Fate::Refused(_) => refused += 1,
                }
            }
        }
    }
    println!("{trained} trained, {refused} refused");
    assert!(trained > 500 && refused > 500, "{trained} trained, {refused} refused");
}

#[test]
fn sizes_beyond_all_bounds() {
    let data = digits();
    // Layers, and words of the error.
    #[rustfmt::skip]
    let cases: &[(&str, &[&str])] = &[
        ("{ type = 'flatten' }, { type = 'dense', units = 1152921504606846976 }", &["`units` is 1152921504606846976", "1 to 1099511627776"]),
        ("{ type = 'flatten' }, { type = 'dense', units = 9223372036854775807 }", &["`units` is 9223372036854775807"]),
        ("{ type = 'flatten' }, { type = 'dense', units = 1099511627776 }", &["layer 2 `dense`", "64 inputs", "1099511627776 units", "8 GiB", "units up to 33554432"]),
        ("{ type = 'flatten' }, { type = 'dense', units = 200000 }, { type = 'dense', units = 200000, name = 'wide' }", &["layer 3 `wide`", "200000 inputs", "8 GiB", "up to 10737"]),
        ("{ type = 'conv2d', filters = 1099511627776, kernel_size = 3 }", &["layer 1 `conv2d`", "1099511627776 filters", "8 GiB", "filters up to 238609294"]),
        ("{ type = 'conv2d', filters = 238609294, kernel_size = 3 }", &["layer 1 `conv2d`", "[238609294, 6, 6]", "allowed: up to 2147483647 elements"]),
        ("{ type = 'conv2d', filters = 1, kernel_size = 1099511627776, padding = 'same' }", &["layer 1 `conv2d`", "kernel_size", "[1, 8, 8]"]),
        ("{ type = 'conv2d', filters = 8, kernel_size = 1 }, { type = 'conv2d', filters = 1, kernel_size = 2147483647, padding = 'same' }", &["layer 2 `conv2d_1`", "kernel_size", "[8, 8, 8]"]),
        ("{ type = 'conv2d', filters = 1, kernel_size = 1, strides = 1099511627776, dilation_rate = 1099511627776 }", &["layer 1 `conv2d`", "strides", "dilation_rate", "allowed"]),
        ("{ type = 'conv2d', filters = 1, kernel_size = 2, dilation_rate = 1099511627776 }", &["layer 1 `conv2d`", "kernel_size [2, 2] with dilation_rate", "[1, 8, 8]"]),
        ("{ type = 'depthwise_conv2d', kernel_size = 1, depth_multiplier = 1099511627776 }", &["layer 1 `depthwise_conv2d`", "depth_multiplier is 1099511627776", "[1, 8, 8]"]),
        ("{ type = 'depthwise_conv2d', kernel_size = 2147483647, padding = 'same', depth_multiplier = 1073741824 }", &["layer 1 `depthwise_conv2d`", "[1, 8, 8]"]),
        ("{ type = 'separable_conv2d', filters = 1099511627776, kernel_size = 3 }", &["layer 1 `separable_conv2d`", "filters is 1099511627776", "8 GiB", "[1, 8, 8]"]),
        ("{ type = 'reshape', target_shape = [8, 8] }, { type = 'separable_conv1d', filters = 1, kernel_size = 3, depth_multiplier = 1099511627776 }", &["layer 2 `separable_conv1d`", "depth_multiplier 1099511627776", "[8, 8]"]),
        ("{ type = 'reshape', target_shape = [64, 1] }, { type = 'dense', units = 2147483647 }", &["layer 2 `dense`", "[64, 2147483647]", "allowed: up to 2147483647 elements"]),
        ("{ type = 'max_pooling2d', pool_size = 9 }", &["layer 1 `max_pooling2d`", "pool_size [9, 9]", "[1, 8, 8]", "allowed: up to [8, 8]"]),
        ("{ type = 'average_pooling2d', pool_size = 1099511627776 }", &["layer 1 `average_pooling2d`", "pool_size", "[1, 8, 8]", "allowed: up to [8, 8]"]),
        ("{ type = 'reshape', target_shape = [1099511627776, 1099511627776] }", &["layer 1 `reshape`", "[1, 8, 8] has 64 elements", "allowed"]),
        ("{ type = 'reshape', target_shape = [64, -1, 1e30] }", &["layer 1 `reshape`", "[1, 8, 8]", "allowed"]),
        ("{ type = 'reshape', target_shape = [] }", &["layer 1 `reshape`", "allowed: 1 axis or more"]),
        ("{ type = 'reshape', target_shape = [8, 8] }, { type = 'lstm', units = 1099511627776 }", &["layer 2 `lstm`", "8 features", "1099511627776 units", "8 GiB", "units up to 23170"]),
        ("{ type = 'reshape', target_shape = [8, 8] }, { type = 'gru', units = 26755, return_sequences = true }", &["layer 2 `gru`", "units up to 26754"]),
        ("{ type = 'group_normalization', groups = 1099511627776 }", &["layer 1 `group_normalization`", "groups is 1099511627776", "[1, 8, 8]"]),
        ("{ type = 'reshape', target_shape = [8, 8] }, { type = 'conv1d', filters = 1099511627776, kernel_size = 3 }", &["layer 2 `conv1d`", "1099511627776 filters", "8 GiB", "filters up to 89478485"]),
        ("{ type = 'reshape', target_shape = [8, 8] }, { type = 'conv1d', filters = 1, kernel_size = 2147483647, padding = 'same' }", &["layer 2 `conv1d`", "8 GiB"]),
        ("{ type = 'conv2d_transpose', filters = 1, kernel_size = 3, strides = 1099511627776 }", &["layer 1 `conv2d_transpose`", "strides", "2147483647"]),
        ("{ type = 'conv2d_transpose', filters = 1, kernel_size = 3, strides = 100000 }", &["layer 1 `conv2d_transpose`", "allowed: up to 2147483647 elements"]),
        ("{ type = 'reshape', target_shape = [8, 8] }, { type = 'multi_head_attention', num_heads = 1099511627776, key_dim = 1099511627776 }", &["layer 2 `multi_head_attention`", "1099511627776 heads", "8 GiB"]),
        ("{ type = 'reshape', target_shape = [8, 8] }, { type = 'bidirectional', layer = { type = 'lstm', units = 1099511627776 } }", &["layer 2 `bidirectional`", "1099511627776 units", "8 GiB"]),
        ("{ type = 'embedding', input_dim = 1099511627776, output_dim = 1099511627776 }", &["layer 1 `embedding`", "8 GiB"]),
        ("{ type = 'embedding', input_dim = 1, output_dim = 2147483647 }", &["layer 1 `embedding`", "[1, 8, 8, 2147483647]"]),
    ];
    for (layers, words) in cases {
        let refused = recipe(&format!("{layers}, {END}"), &[]).map(|recipe| fate(&recipe, &data));
        let error = match refused {
            Ok(Fate::Refused(error)) => error,
            Ok(Fate::Trains) => panic!("{layers} trains"),
            Err(error) => error.to_string(),
        };
        println!("{error}");
        for word in *words {
            assert!(error.contains(word), "{layers}: no {word:?} in {error}");
        }
    }
}

#[test]
fn what_is_too_large_for_this_machine_is_refused_with_the_numbers() {
    // Of each layer's weights 8 GiB: no machine has room for so many layers.
    let wide = "{ type = 'dense', units = 46340 }, ".repeat(2000);
    let recipe = recipe(&format!("{{ type = 'flatten' }}, {wide}{END}"), &[]).unwrap();
    let Fate::Refused(error) = fate(&recipe, &digits()) else { panic!("it trains") };
    for word in ["needs 46.9 TiB of memory", "weights 15.6 TiB", "gradients 15.6 TiB", "layer 3"] {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
}

#[test]
fn windows_far_larger_than_the_image_take_no_longer() {
    let data = digits();
    for layer in [
        "{ type = 'max_pooling2d', pool_size = 2147483647, padding = 'same' }",
        "{ type = 'average_pooling2d', pool_size = 2147483647, padding = 'same' }",
        "{ type = 'max_pooling2d', pool_size = [1, 8], strides = 1099511627776 }",
        "{ type = 'reshape', target_shape = [8, 8] }, { type = 'max_pooling1d', pool_size = 2147483647, padding = 'same' }",
        "{ type = 'reshape', target_shape = [8, 8] }, { type = 'average_pooling1d', pool_size = 1099511627776, padding = 'same' }",
    ] {
        let recipe = recipe(&format!("{layer}, {END}"), &[]).unwrap();
        match fate(&recipe, &data) {
            Fate::Trains => {}
            Fate::Refused(error) => assert!(error.contains("layer 1 `"), "{error}"),
        }
    }
}

/// Losses that take class labels.
const LABELS: [&str; 3] =
    ["sparse_categorical_crossentropy", "circle", "categorical_generalized_cross_entropy"];

/// Losses that compare numbers.
const NUMBERS: [&str; 12] = [
    "mean_squared_error",
    "mse",
    "mean_absolute_error",
    "mae",
    "mean_absolute_percentage_error",
    "mape",
    "mean_squared_logarithmic_error",
    "msle",
    "huber",
    "log_cosh",
    "poisson",
    "cosine_similarity",
];

#[test]
fn every_loss_and_metric_on_every_output() {
    let data = digits();
    let outputs = [
        ("{ type = 'flatten' }, { type = 'dense', units = 10, activation = 'softmax' }", 10),
        ("{ type = 'flatten' }, { type = 'dense', units = 12 }", 12),
        ("{ type = 'flatten' }, { type = 'dense', units = 9 }", 9),
        ("{ type = 'flatten' }, { type = 'dense', units = 1, activation = 'sigmoid' }", 1),
        ("{ type = 'conv2d', filters = 10, kernel_size = 3 }", 0),
        ("{ type = 'conv2d', filters = 1, kernel_size = 8 }", 0),
        (
            "{ type = 'reshape', target_shape = [8, 8] }, { type = 'lstm', units = 10, return_sequences = true }",
            0,
        ),
    ];
    for loss in refrain::AnyLoss::NAMES {
        for (layers, width) in outputs {
            let more = [format!("compile.loss='{loss}'"), "compile.metrics=[]".into()];
            let recipe = recipe(layers, &more).unwrap();
            let fate = fate(&recipe, &data);
            // The digits are ten classes, one a sample.
            let is_of_steps = layers.contains("return_sequences");
            let trains = match (LABELS.contains(loss), width) {
                // One label a sequence, of which 0 says that there is none.
                _ if *loss == "ctc" => is_of_steps,
                (_, 0) => false,
                (true, 1 | 9) => *loss == "circle",
                (true, _) => true,
                // Any number can be met, and a class is met by an output of its own.
                (false, 1) => NUMBERS.contains(loss),
                (false, width) => !NUMBERS.contains(loss) && width >= 10,
            };
            assert!((fate == Fate::Trains) == trains, "{loss}, {layers}: {fate:?}");
            if let Fate::Refused(error) = fate {
                assert!(error.contains("loss `") || error.contains("label 9"), "{loss}: {error}");
            }
        }
    }
    for metric in refrain::AnyMetric::NAMES {
        for (layers, width) in outputs.into_iter().filter(|(_, width)| matches!(width, 1 | 10)) {
            let loss = if width == 1 { "mse" } else { "sparse_categorical_crossentropy" };
            let more = [
                format!("compile.loss='{loss}'"),
                format!("compile.metrics=[{{ type = '{metric}', name = 'm' }}]"),
            ];
            let fate = fate(&recipe(layers, &more).unwrap(), &data);
            if let Fate::Refused(error) = fate {
                assert!(error.contains("metric `m`"), "{metric}: {error}");
            }
        }
    }
}

/// A recipe on a table with four inputs and `targets` columns of numbers.
fn table(
    folder: &std::path::Path,
    targets: usize,
    units: usize,
    loss: &str,
    metric: &str,
) -> Recipe {
    let names: Vec<String> = (0..targets).map(|i| format!("y{i}")).collect();
    let row = |row: usize| {
        let number = |column: usize| ((row * 7 + column * 3) % 10) as f64 / 10.0;
        let numbers: Vec<String> = (0..4 + targets).map(|i| number(i).to_string()).collect();
        numbers.join(",")
    };
    let rows: Vec<String> = (0..40).map(row).collect();
    let text = format!("a,b,c,d,{}\n{}\n", names.join(","), rows.join("\n"));
    std::fs::write(folder.join("table.csv"), text).unwrap();
    let recipe = format!(
        "[data]\nsource = 'csv'\npath = 'table.csv'\ntarget = {names:?}\nvalidation_split = 0.2\n\
         [model]\nlayers = [{{ type = 'dense', units = {units}, activation = 'sigmoid' }}]\n\
         [compile]\noptimizer = 'sgd'\nloss = '{loss}'\nmetrics = ['{metric}']\n[fit]\nbatch_size = 8\n"
    );
    std::fs::write(folder.join("table.toml"), recipe).unwrap();
    Recipe::load(&folder.join("table.toml"), &[]).unwrap()
}

#[test]
fn every_loss_and_metric_on_rows_of_targets() {
    let folder = tempfile::tempdir().unwrap();
    for (targets, units) in [(3, 3), (3, 1), (3, 4), (2, 1), (1, 2)] {
        for loss in refrain::AnyLoss::NAMES {
            let recipe = table(folder.path(), targets, units, loss, "accuracy");
            let data = recipe.load_data();
            if LABELS.contains(loss) {
                let Ok(data) = data else { continue };
                let fate = fate(&recipe, &data);
                assert_ne!(fate, Fate::Trains, "{loss}");
                continue;
            }
            // One number is a class to losses of distributions, and these are none.
            let is_of_classes = loss.starts_with("categorical") || loss.starts_with("kl");
            if targets == 1 && is_of_classes {
                assert!(data.unwrap_err().to_string().contains("class"), "{loss}");
                continue;
            }
            let fate = fate(&recipe, &data.unwrap());
            if *loss == "ctc" {
                let Fate::Refused(error) = fate else { panic!("{loss} {targets} {units}") };
                assert!(error.contains("loss `ctc` takes sequences of the shape"), "{error}");
                continue;
            }
            assert_eq!(
                fate == Fate::Trains,
                targets == units,
                "{loss} {targets} {units}: {fate:?}"
            );
            if let Fate::Refused(error) = fate {
                for word in
                    ["layer 1 `dense`", &format!("[{units}]"), &format!("[{targets}]"), loss]
                {
                    let aliases = ["bce", "mse", "mae", "mape", "msle", "kld"].contains(loss);
                    assert!(error.contains(word) || aliases, "no {word:?} in {error}");
                }
            }
        }
        for metric in refrain::AnyMetric::NAMES {
            // The loss fits; metrics may not.
            let recipe = table(folder.path(), targets, targets, "mse", metric);
            if let Fate::Refused(error) = fate(&recipe, &recipe.load_data().unwrap()) {
                assert!(error.contains(&format!("metric `{metric}`")), "{metric}: {error}");
            }
        }
    }
}
