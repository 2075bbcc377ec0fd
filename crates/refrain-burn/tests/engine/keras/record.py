"""Records outputs and gradients of Keras' layers, for `tests/engine/keras_layers.rs`.

    KERAS_BACKEND=jax python record.py        (environment: requirements.txt)

One line of JSON per case: the layer as a recipe has it, the shape of a sample, input, weights by
their names, output, and the gradients of the sum of output × `upstream`. Images and the kernels of
convolutions are turned to Refrain's order: [channels, height, width] and [filters, channels, height, width].
"""

import json
import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
import jax  # noqa: E402
import keras  # noqa: E402
import keras.src.activations  # noqa: E402
import numpy as np  # noqa: E402

assert keras.__version__ == "3.15.1", keras.__version__
HERE = os.path.dirname(os.path.abspath(__file__))

CLASSES = {
    "conv2d": keras.layers.Conv2D,
    "depthwise_conv2d": keras.layers.DepthwiseConv2D,
    "max_pooling2d": keras.layers.MaxPooling2D,
    "average_pooling2d": keras.layers.AveragePooling2D,
    "global_average_pooling2d": keras.layers.GlobalAveragePooling2D,
    "global_max_pooling2d": keras.layers.GlobalMaxPooling2D,
    "reshape": keras.layers.Reshape,
    "permute": keras.layers.Permute,
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "simple_rnn": keras.layers.SimpleRNN,
    "layer_normalization": keras.layers.LayerNormalization,
    "batch_normalization": keras.layers.BatchNormalization,
    "group_normalization": keras.layers.GroupNormalization,
    "rms_normalization": keras.layers.RMSNormalization,
    "embedding": keras.layers.Embedding,
    "rescaling": keras.layers.Rescaling,
    "dense": keras.layers.Dense,
    "activation": keras.layers.Activation,
    "conv1d": keras.layers.Conv1D,
    "conv2d_transpose": keras.layers.Conv2DTranspose,
    "max_pooling1d": keras.layers.MaxPooling1D,
    "average_pooling1d": keras.layers.AveragePooling1D,
    "global_average_pooling1d": keras.layers.GlobalAveragePooling1D,
    "global_max_pooling1d": keras.layers.GlobalMaxPooling1D,
    "bidirectional": keras.layers.Bidirectional,
    "multi_head_attention": keras.layers.MultiHeadAttention,
    "normalization": keras.layers.Normalization,
    "separable_conv1d": keras.layers.SeparableConv1D,
    "separable_conv2d": keras.layers.SeparableConv2D,
    "prelu": keras.layers.PReLU,
    "leaky_relu": keras.layers.LeakyReLU,
    "elu": keras.layers.ELU,
    "relu": keras.layers.ReLU,
    "softmax": keras.layers.Softmax,
}
# Whose images are turned.
IMAGES = ("conv2d", "conv2d_transpose", "pooling2d", "normalization", "prelu")
# All that have a name and need no arguments.
ACTIVATIONS = sorted(set(keras.src.activations.ALL_OBJECTS_DICT) - {"threshold"})

# (layer, shape of a sample: images [channels, height, width], sequences [steps, features])
CASES = [
    ({"type": "conv2d", "filters": 2, "kernel_size": 3}, [1, 5, 6]),
    ({"type": "conv2d", "filters": 3, "kernel_size": [2, 3], "activation": "relu"}, [2, 5, 7]),
    ({"type": "conv2d", "filters": 3, "kernel_size": 1, "use_bias": False}, [4, 3, 3]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 3, "padding": "same"}, [3, 5, 4]),
    ({"type": "conv2d", "filters": 2, "kernel_size": [2, 4], "padding": "same"}, [2, 3, 5]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 3, "strides": 2}, [2, 8, 7]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 3, "strides": [1, 3], "padding": "same"}, [2, 7, 8]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 2, "strides": 3, "padding": "same"}, [1, 7, 8]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 3, "dilation_rate": 2}, [2, 7, 6]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 3, "dilation_rate": [1, 2], "padding": "same"}, [1, 5, 6]),
    ({"type": "conv2d", "filters": 4, "kernel_size": 3, "groups": 2, "activation": "tanh"}, [4, 4, 5]),
    ({"type": "conv2d", "filters": 3, "kernel_size": 3, "groups": 3, "padding": "same", "activation": "softmax"}, [3, 3, 4]),
    ({"type": "conv2d", "filters": 2, "kernel_size": [5, 4]}, [1, 5, 4]),
    ({"type": "max_pooling2d"}, [2, 4, 6]),
    ({"type": "max_pooling2d"}, [2, 5, 7]),
    ({"type": "max_pooling2d", "pool_size": 3, "strides": 1}, [1, 5, 4]),
    ({"type": "max_pooling2d", "pool_size": [3, 2], "strides": [2, 1], "padding": "same"}, [2, 5, 4]),
    ({"type": "max_pooling2d", "padding": "same"}, [1, 5, 7]),
    ({"type": "average_pooling2d", "pool_size": 2}, [2, 4, 7]),
    ({"type": "average_pooling2d", "pool_size": 3, "strides": 2}, [1, 7, 6]),
    ({"type": "average_pooling2d", "pool_size": [2, 3], "strides": 2, "padding": "same"}, [2, 5, 6]),
    ({"type": "global_average_pooling2d"}, [3, 4, 5]),
    ({"type": "global_max_pooling2d"}, [3, 4, 5]),
    ({"type": "reshape", "target_shape": [4, 6]}, [2, 3, 4]),
    ({"type": "reshape", "target_shape": [2, -1, 2]}, [12]),
    ({"type": "permute", "dims": [2, 1]}, [3, 4]),
    ({"type": "permute", "dims": [3, 1, 2]}, [2, 3, 4]),
    ({"type": "permute", "dims": [1, 3, 2]}, [2, 3, 4]),
    ({"type": "lstm", "units": 5}, [4, 3]),
    ({"type": "lstm", "units": 9, "return_sequences": True}, [5, 2]),
    ({"type": "lstm", "units": 3, "return_sequences": True, "go_backwards": True}, [4, 2]),
    ({"type": "lstm", "units": 3, "use_bias": False, "go_backwards": True}, [3, 4]),
    ({"type": "lstm", "units": 4, "activation": "relu", "return_sequences": True}, [3, 2]),
    ({"type": "lstm", "units": 2, "recurrent_activation": "hard_sigmoid"}, [3, 3]),
    ({"type": "lstm", "units": 4}, [1, 3]),
    ({"type": "gru", "units": 5}, [4, 3]),
    ({"type": "gru", "units": 9, "return_sequences": True}, [5, 2]),
    ({"type": "gru", "units": 3, "reset_after": False, "return_sequences": True}, [4, 2]),
    ({"type": "gru", "units": 3, "use_bias": False, "go_backwards": True}, [3, 4]),
    ({"type": "gru", "units": 2, "reset_after": False, "use_bias": False, "activation": "relu"}, [3, 3]),
    ({"type": "gru", "units": 2, "activation": "softsign", "recurrent_activation": "hard_sigmoid"}, [3, 3]),
    ({"type": "simple_rnn", "units": 5}, [4, 3]),
    ({"type": "simple_rnn", "units": 3, "activation": "relu", "return_sequences": True}, [4, 2]),
    ({"type": "simple_rnn", "units": 3, "use_bias": False, "go_backwards": True}, [3, 4]),
    ({"type": "layer_normalization"}, [6]),
    ({"type": "layer_normalization", "epsilon": 0.1, "center": False}, [3, 4]),
    ({"type": "layer_normalization", "scale": False}, [4, 2, 3]),
    ({"type": "batch_normalization"}, [5]),
    ({"type": "batch_normalization", "momentum": 0.7, "epsilon": 0.1, "scale": False}, [3, 4]),
    ({"type": "batch_normalization", "center": False}, [4, 2, 3]),
    ({"type": "group_normalization", "groups": 3}, [6]),
    ({"type": "group_normalization", "groups": 2, "epsilon": 0.1, "scale": False}, [3, 4]),
    ({"type": "group_normalization", "groups": 2, "center": False}, [4, 2, 3]),
    ({"type": "group_normalization", "groups": 3}, [3, 2, 2]),
    ({"type": "rms_normalization"}, [6]),
    ({"type": "rms_normalization", "epsilon": 0.1}, [3, 4]),
    ({"type": "rms_normalization"}, [4, 2, 3]),
    ({"type": "embedding", "input_dim": 5, "output_dim": 3}, [4]),
    ({"type": "embedding", "input_dim": 3, "output_dim": 2}, [2, 3]),
    ({"type": "rescaling", "scale": 0.5, "offset": -1.5}, [2, 3]),
    ({"type": "rescaling", "scale": -2}, [4]),
    ({"type": "depthwise_conv2d", "kernel_size": 3}, [3, 4, 5]),
    ({"type": "depthwise_conv2d", "kernel_size": [2, 3], "depth_multiplier": 2, "activation": "tanh"}, [2, 4, 5]),
    ({"type": "depthwise_conv2d", "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}, [2, 5, 5]),
    ({"type": "conv1d", "filters": 3, "kernel_size": 3}, [7, 2]),
    ({"type": "conv1d", "filters": 2, "kernel_size": 4, "padding": "same", "activation": "relu"}, [6, 3]),
    ({"type": "conv1d", "filters": 2, "kernel_size": 3, "padding": "causal"}, [5, 2]),
    ({"type": "conv1d", "filters": 2, "kernel_size": 3, "padding": "causal", "dilation_rate": 2, "use_bias": False}, [7, 1]),
    ({"type": "conv1d", "filters": 4, "kernel_size": 2, "strides": 3, "groups": 2, "activation": "softmax"}, [8, 4]),
    ({"type": "conv1d", "filters": 2, "kernel_size": 3, "padding": "same", "strides": 2}, [7, 2]),
    ({"type": "conv1d", "filters": 3, "kernel_size": 3, "padding": "causal", "strides": 2}, [6, 2]),
    ({"type": "conv1d", "filters": 3, "kernel_size": 1, "activation": "tanh"}, [1, 2]),
    ({"type": "conv2d_transpose", "filters": 2, "kernel_size": 3}, [3, 3, 4]),
    ({"type": "conv2d_transpose", "filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, [2, 3, 4]),
    ({"type": "conv2d_transpose", "filters": 2, "kernel_size": [2, 3], "strides": [3, 2]}, [2, 3, 2]),
    ({"type": "conv2d_transpose", "filters": 2, "kernel_size": 2, "strides": 3, "padding": "same", "use_bias": False}, [1, 3, 3]),
    ({"type": "conv2d_transpose", "filters": 2, "kernel_size": 4, "strides": 2, "padding": "same", "activation": "relu"}, [3, 4, 3]),
    ({"type": "conv2d_transpose", "filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 0}, [2, 3, 4]),
    ({"type": "conv2d_transpose", "filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 1}, [2, 3, 3]),
    ({"type": "conv2d_transpose", "filters": 1, "kernel_size": 3, "strides": 2, "output_padding": 1, "activation": "tanh"}, [2, 3, 3]),
    ({"type": "conv2d_transpose", "filters": 1, "kernel_size": [4, 1], "strides": [2, 3], "padding": "same", "output_padding": [1, 2]}, [2, 3, 3]),
    ({"type": "conv2d_transpose", "filters": 2, "kernel_size": 3, "dilation_rate": 2}, [2, 3, 4]),
    ({"type": "conv2d_transpose", "filters": 3, "kernel_size": 3, "dilation_rate": [2, 1], "padding": "same", "activation": "softmax"}, [2, 4, 3]),
    ({"type": "max_pooling1d"}, [7, 3]),
    ({"type": "max_pooling1d", "pool_size": 3, "strides": 2, "padding": "same"}, [6, 2]),
    ({"type": "average_pooling1d", "pool_size": 3}, [8, 2]),
    ({"type": "average_pooling1d", "pool_size": 2, "strides": 1, "padding": "same"}, [5, 3]),
    ({"type": "global_average_pooling1d"}, [4, 3]),
    ({"type": "global_max_pooling1d"}, [4, 3]),
    ({"type": "bidirectional", "layer": {"type": "lstm", "units": 3}}, [4, 2]),
    ({"type": "bidirectional", "layer": {"type": "lstm", "units": 2, "return_sequences": True}}, [5, 3]),
    ({"type": "bidirectional", "layer": {"type": "gru", "units": 3, "return_sequences": True}, "merge_mode": "sum"}, [4, 2]),
    ({"type": "bidirectional", "layer": {"type": "gru", "units": 3, "reset_after": False}, "merge_mode": "ave"}, [4, 2]),
    ({"type": "bidirectional", "layer": {"type": "simple_rnn", "units": 4, "use_bias": False}, "merge_mode": "mul"}, [3, 2]),
    ({"type": "bidirectional", "layer": {"type": "simple_rnn", "units": 2, "return_sequences": True}, "merge_mode": "mul"}, [3, 2]),
    ({"type": "multi_head_attention", "num_heads": 2, "key_dim": 3}, [4, 5]),
    ({"type": "multi_head_attention", "num_heads": 1, "key_dim": 2, "use_causal_mask": True}, [5, 3]),
    ({"type": "multi_head_attention", "num_heads": 3, "key_dim": 2, "value_dim": 4, "use_bias": False, "output_shape": 4}, [3, 6]),
    ({"type": "normalization"}, [4]),
    ({"type": "normalization"}, [2, 3, 4]),
    ({"type": "normalization", "invert": True}, [3, 2]),
    ({"type": "normalization", "mean": 0.5, "variance": 4.0}, [3]),
    ({"type": "normalization", "mean": [0.5, -1.0], "variance": [4.0, 0.25], "invert": True}, [3, 2]),
    ({"type": "dense", "units": 3}, [4]),
    ({"type": "dense", "units": 4, "activation": "glu"}, [3]),
    ({"type": "dense", "units": 3, "kernel_regularizer": "l2", "bias_regularizer": {"type": "l1", "l1": 0.3}}, [4]),
    ({"type": "dense", "units": 2, "kernel_regularizer": {"type": "l1_l2", "l1": 0.1, "l2": 0.2}, "kernel_constraint": "max_norm"}, [3]),
    ({"type": "dense", "units": 3, "kernel_constraint": {"type": "max_norm", "max_value": 0.5, "axis": 1}, "bias_constraint": "non_neg"}, [4]),
    ({"type": "dense", "units": 3, "kernel_constraint": "unit_norm"}, [4]),
    ({"type": "dense", "units": 3, "kernel_constraint": {"type": "min_max_norm", "min_value": 1.5, "max_value": 2.0, "rate": 0.7}}, [4]),
    ({"type": "conv2d", "filters": 2, "kernel_size": [3, 2], "kernel_constraint": "max_norm", "kernel_regularizer": "l1"}, [2, 4, 3]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 2, "kernel_constraint": {"type": "max_norm", "max_value": 1.0, "axis": [0, 1, 2]}}, [2, 3, 3]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 2, "kernel_constraint": {"type": "unit_norm", "axis": [2, 3]}}, [2, 3, 3]),
    ({"type": "depthwise_conv2d", "kernel_size": 2, "depthwise_regularizer": "l2", "depthwise_constraint": {"type": "unit_norm", "axis": [0, 1]}}, [2, 3, 3]),
    ({"type": "lstm", "units": 2, "recurrent_regularizer": "l1", "recurrent_constraint": "unit_norm", "bias_regularizer": "l2"}, [3, 2]),
    ({"type": "multi_head_attention", "num_heads": 2, "key_dim": 3, "kernel_regularizer": "l2", "kernel_constraint": {"type": "max_norm", "axis": 2}}, [3, 4]),
    ({"type": "batch_normalization", "gamma_regularizer": "l2", "beta_constraint": "non_neg"}, [5]),
] + [({"type": "activation", "activation": name}, [2, 6]) for name in ACTIVATIONS]

# With numbers of their own, so that those above stay.
LATER = [
    ({"type": "dense", "units": 3}, [2, 4]),
    ({"type": "dense", "units": 2, "activation": "softmax", "use_bias": False}, [3, 4]),
    ({"type": "dense", "units": 4, "activation": "glu", "kernel_regularizer": "l2"}, [3, 2]),
    ({"type": "dense", "units": 2, "activation": "tanh"}, [1, 3]),
    ({"type": "separable_conv2d", "filters": 3, "kernel_size": 3}, [2, 5, 4]),
    ({"type": "separable_conv2d", "filters": 2, "kernel_size": [2, 3], "depth_multiplier": 2, "activation": "relu", "padding": "same"}, [3, 4, 5]),
    ({"type": "separable_conv2d", "filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}, [2, 5, 5]),
    ({"type": "separable_conv2d", "filters": 3, "kernel_size": 2, "dilation_rate": 2, "activation": "softmax"}, [2, 4, 5]),
    ({"type": "separable_conv2d", "filters": 2, "kernel_size": 2, "depthwise_regularizer": "l2", "pointwise_regularizer": "l1", "pointwise_constraint": {"type": "max_norm", "max_value": 1.0, "axis": [0, 1, 2]}, "depthwise_constraint": "non_neg"}, [2, 3, 3]),
    ({"type": "separable_conv1d", "filters": 3, "kernel_size": 3}, [6, 2]),
    ({"type": "separable_conv1d", "filters": 2, "kernel_size": 2, "depth_multiplier": 3, "padding": "same", "activation": "tanh"}, [5, 2]),
    ({"type": "separable_conv1d", "filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}, [6, 2]),
    ({"type": "prelu"}, [5]),
    ({"type": "prelu", "shared_axes": 1}, [3, 4]),
    ({"type": "prelu", "shared_axes": [2, 3]}, [3, 2, 4]),
    ({"type": "prelu", "alpha_regularizer": "l2", "alpha_constraint": "non_neg"}, [2, 2, 3]),
    ({"type": "prelu", "alpha_constraint": {"type": "max_norm", "max_value": 0.5, "axis": 2}}, [2, 2, 3]),
    ({"type": "leaky_relu"}, [2, 6]),
    ({"type": "leaky_relu", "negative_slope": 0.05}, [6]),
    ({"type": "elu"}, [6]),
    ({"type": "elu", "alpha": 0.4}, [2, 6]),
    ({"type": "relu"}, [2, 6]),
    ({"type": "relu", "max_value": 2.0, "negative_slope": 0.1, "threshold": 0.5}, [2, 6]),
    ({"type": "relu", "max_value": 1.5}, [6]),
    ({"type": "relu", "threshold": 1.0}, [6]),
    ({"type": "softmax"}, [2, 3]),
    ({"type": "dense", "units": 3, "activation": "tanh", "activity_regularizer": "l2"}, [4]),
    ({"type": "dense", "units": 3, "activity_regularizer": {"type": "l1", "l1": 0.3}, "kernel_regularizer": "l2"}, [2, 4]),
    ({"type": "conv2d", "filters": 2, "kernel_size": 3, "activation": "relu", "activity_regularizer": {"type": "l1_l2", "l1": 0.1, "l2": 0.2}}, [2, 4, 5]),
    ({"type": "conv1d", "filters": 2, "kernel_size": 3, "activity_regularizer": "l1"}, [5, 2]),
]

# (layer, shape of a sample, what was drawn for each of three samples)
AUGMENTATIONS = [
    (cls, {"fill_mode": mode, "interpolation": interpolation, "fill_value": 0.5}, shape)
    for cls, shape in (("random_translation", [2, 5, 4]), ("random_rotation", [1, 5, 6]), ("random_zoom", [2, 4, 5]))
    for mode in ("reflect", "wrap", "constant", "nearest")
    for interpolation in ("bilinear", "nearest")
]


def last(x):
    """Channels first to channels last."""
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


def first(x):
    return np.moveaxis(np.asarray(x), -1, 1) if x.ndim == 4 else np.asarray(x)


def same(x):
    return np.asarray(x)


def kernel(x):
    """[height, width, channels, filters] to [filters, channels, height, width]."""
    return np.transpose(np.asarray(x), (3, 2, 0, 1)) if x.ndim == 4 else np.asarray(x)


RULES = {
    "l1": keras.regularizers.L1,
    "l2": keras.regularizers.L2,
    "l1_l2": keras.regularizers.L1L2,
    "max_norm": keras.constraints.MaxNorm,
    "non_neg": keras.constraints.NonNeg,
    "unit_norm": keras.constraints.UnitNorm,
    "min_max_norm": keras.constraints.MinMaxNorm,
}


def rule(value):
    """A regulariser or constraint as a recipe has it."""
    if isinstance(value, str):
        return value
    options = dict(value)
    return RULES[options.pop("type")](**options)


def made(options, rank):
    options = dict(options)
    kind = options.pop("type")
    if "shared_axes" in options:
        axes = options["shared_axes"]
        axes = axes if isinstance(axes, list) else [axes]
        # Of an image in Refrain's order.
        options["shared_axes"] = [{1: 3, 2: 1, 3: 2}[axis] if rank == 3 else axis for axis in axes]
    for name in options:
        if name.endswith(("_regularizer", "_constraint")):
            options[name] = rule(options[name])
    if kind == "bidirectional":
        inner = options["layer"]
        options["layer"] = CLASSES[inner["type"]](name=inner["type"], **{k: v for k, v in inner.items() if k != "type"})
    if kind == "normalization" and "mean" in options:
        options["mean"], options["variance"] = np.float32(options["mean"]), np.float32(options["variance"])
    is_windows = kind.endswith(("conv2d", "conv2d_transpose", "pooling2d"))
    options.pop("use_causal_mask", None)
    return CLASSES[kind](**({"data_format": "channels_last"} if is_windows else {}), **options)


def name_of(variable, kind):
    """Its path within the layer, without the cell of a recurrent one."""
    parts = [part for part in variable.path.split("/")[1:] if not part.endswith("_cell")]
    name = ".".join(parts) if len(parts) > 1 else variable.name
    return {"kernel": "weight"}.get(name, name) if kind in ("conv2d", "dense") else name


def flat(x):
    return [float(f"{v:.8g}") for v in np.asarray(x, np.float32).ravel()]


def case(options, shape, rng):
    kind = options["type"]
    is_image = kind.endswith(IMAGES) and len(shape) == 3
    turn, turn_back = (last, first) if is_image else (same, same)
    of_image = lambda x: np.moveaxis(np.asarray(x), -1, 0)  # noqa: E731
    turn_kernel = {"conv2d": kernel, "prelu": of_image if is_image else same}.get(kind, same)
    layer = made(options, len(shape))
    x = rng.normal(size=[3, *shape]).round(2).astype("float32")
    if kind in ("activation", "prelu", "leaky_relu", "elu", "relu", "softmax"):
        # On both sides of every bend.
        x = (x * 3).round(2).astype("float32")
    if kind == "embedding":
        x = rng.integers(0, options["input_dim"], size=[3, *shape]).astype("float32")
    both = kind == "multi_head_attention"
    layer.build(*[turn(x).shape] * (2 if both else 1))
    moving = {}
    if kind == "normalization" and "mean" not in options:
        layer.adapt(turn(x))
        moving = {n: np.asarray(v.value) for v in layer.non_trainable_variables if (n := v.name) != "count"}
    variables = [rng.normal(size=v.shape).round(2).astype("float32") for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]
    if kind == "batch_normalization":
        others = [np.abs(rng.normal(size=v.shape)).round(2).astype("float32") + 0.1 for v in others]
        moving = dict(zip([v.name for v in layer.non_trainable_variables], others))
    names = [name_of(v, kind) for v in layer.trainable_variables]
    arguments = {"use_causal_mask": True} if options.get("use_causal_mask") else {}
    # Keras' fused operation on JAX refuses values of another length than the keys.
    scores = both and "value_dim" in options

    def call(variables, x, **more):
        inputs = (x, x) if both else (x,)
        if scores:
            (output, _), moved = layer.stateless_call(variables, others, *inputs, return_attention_scores=True, **more)
            return output, moved
        return layer.stateless_call(variables, others, *inputs, **arguments, **more)

    def forward(variables, x):
        return call(variables, x, **({"training": True} if kind == "batch_normalization" else {}))[0]

    def penalty(variables):
        losses = [v.regularizer(w) for v, w in zip(layer.trainable_variables, variables) if v.regularizer]
        return sum(losses[1:], losses[0]) if losses else 0.0

    def activity(output):
        return layer.activity_regularizer(output) / len(x) if layer.activity_regularizer else 0.0

    output = call(variables, turn(x))[0]
    more = {}
    if layer.activity_regularizer:
        more["activity"] = float(activity(output))
    if kind == "batch_normalization":
        output_in_training, moved = call(variables, turn(x), training=True)
        more = {
            "output_in_training": flat(turn_back(output_in_training)),
            "moved": {n: flat(v) for n, v in zip(moving, moved)},
        }
    if any(v.regularizer for v in layer.trainable_variables):
        more["penalty"] = float(penalty(variables))
    if any(v.constraint for v in layer.trainable_variables):
        more["constrained"] = {
            n: flat(turn_kernel(v.constraint(w)))
            for n, v, w in zip(names, layer.trainable_variables, variables)
            if v.constraint
        }
    upstream = rng.normal(size=turn_back(output).shape).round(2).astype("float32")

    def total(variables, x):
        output = forward(variables, x)
        return (output * turn(upstream)).sum() + penalty(variables) + activity(output)

    by_weight, by_input = jax.grad(total, argnums=(0, 1))(variables, turn(x))
    return {
        "input": flat(x),
        "weights": {n: flat(turn_kernel(v)) for n, v in zip(names, variables)}
        | {n: flat(v) for n, v in moving.items()},
        "output_shape": list(turn_back(output).shape[1:]),
        "output": flat(turn_back(output)),
        **more,
        "upstream": flat(upstream),
        "input_gradient": None if kind == "embedding" else flat(turn_back(by_input)),
        "gradients": {n: flat(turn_kernel(g)) for n, g in zip(names, by_weight)},
    }


def augmentation(kind, options, shape, rng):
    """Images changed by what was drawn, which is written down."""
    x = rng.normal(size=[3, *shape]).round(2).astype("float32")
    _, height, width = shape
    options = {"data_format": "channels_first", **options}
    if kind == "random_translation":
        # Down and right, in pixels.
        drawn = (rng.uniform(-1, 1, size=[3, 2]) * [height, width]).round(2)
        layer = keras.layers.RandomTranslation(0.5, 0.5, **options)
        given = {"translations": drawn[:, ::-1].astype("float32"), "input_shape": x.shape}
    elif kind == "random_rotation":
        # Degrees.
        drawn = rng.uniform(-180, 180, size=[3, 1]).round(1)
        layer = keras.layers.RandomRotation(0.5, **options)
        zeros, ones = np.zeros(3, "float32"), np.ones(3, "float32")
        matrix = layer._compute_affine_matrix(
            0.5, 0.5, keras.ops.convert_to_tensor(drawn[:, 0].astype("float32")), zeros, zeros, ones, zeros, zeros, height, width
        )
        given = {"rotation_matrix": matrix}
    else:
        # Height and width, 1 plus the factor.
        drawn = rng.uniform(0.4, 1.8, size=[3, 2]).round(2)
        layer = keras.layers.RandomZoom(0.5, 0.5, **options)
        given = {"height_zoom": drawn[:, :1].astype("float32"), "width_zoom": drawn[:, 1:].astype("float32")}
    output = layer._transform_images(keras.ops.convert_to_tensor(x), given, options["interpolation"])
    return {"drawn": drawn.tolist(), "input": flat(x), "output": flat(output)}


def main():
    rng = np.random.default_rng(42)
    with open(os.path.join(HERE, "layers.jsonl"), "w") as out:
        for options, shape in CASES:
            line = {"layer": options, "shape": shape, **case(options, shape, rng)}
            out.write(json.dumps(line) + "\n")
        later = np.random.default_rng(43)
        for options, shape in LATER:
            line = {"layer": options, "shape": shape, **case(options, shape, later)}
            out.write(json.dumps(line) + "\n")
    with open(os.path.join(HERE, "augmentation.jsonl"), "w") as out:
        for kind, options, shape in AUGMENTATIONS:
            line = {"layer": {"type": kind, **options}, "shape": shape, **augmentation(kind, options, shape, rng)}
            out.write(json.dumps(line) + "\n")


main()
