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
}
# Whose images are turned.
IMAGES = ("conv2d", "pooling2d", "normalization")

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


def depthwise(x):
    """[height, width, channels, multiplier] to [channels, multiplier, height, width]."""
    return np.transpose(np.asarray(x), (2, 3, 0, 1)) if x.ndim == 4 else np.asarray(x)


def flat(x):
    return [float(f"{v:.8g}") for v in np.asarray(x, np.float32).ravel()]


def case(options, shape, rng):
    options = dict(options)
    kind = options.pop("type")
    is_image = kind.endswith(IMAGES)
    turn, turn_back = (last, first) if is_image else (same, same)
    turn_kernel = {"conv2d": kernel, "depthwise_conv2d": depthwise}.get(kind, same)
    is_windows = kind.endswith(("conv2d", "pooling2d"))
    layer = CLASSES[kind](**({"data_format": "channels_last"} if is_windows else {}), **options)
    x = rng.normal(size=[3, *shape]).round(2).astype("float32")
    if kind == "embedding":
        x = rng.integers(0, options["input_dim"], size=[3, *shape]).astype("float32")
    layer.build(turn(x).shape)
    variables = [rng.normal(size=v.shape).round(2).astype("float32") for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]
    moving = {}
    if kind == "batch_normalization":
        others = [np.abs(rng.normal(size=v.shape)).round(2).astype("float32") + 0.1 for v in others]
        moving = dict(zip([v.name for v in layer.non_trainable_variables], others))
    renamed = {"kernel": "weight"} if kind.endswith("conv2d") else {}
    names = [renamed.get(v.name, v.name) for v in layer.trainable_variables]

    def forward(variables, x):
        return layer.stateless_call(variables, others, x, **({"training": True} if moving else {}))[0]

    output = layer.stateless_call(variables, others, turn(x))[0]
    in_training = {}
    if moving:
        output_in_training, moved = layer.stateless_call(variables, others, turn(x), training=True)
        in_training = {
            "output_in_training": flat(turn_back(output_in_training)),
            "moved": {n: flat(v) for n, v in zip(moving, moved)},
        }
    upstream = rng.normal(size=turn_back(output).shape).round(2).astype("float32")
    total = lambda variables, x: (forward(variables, x) * turn(upstream)).sum()  # noqa: E731
    by_weight, by_input = jax.grad(total, argnums=(0, 1))(variables, turn(x))
    return {
        "input": flat(x),
        "weights": {n: flat(turn_kernel(v)) for n, v in zip(names, variables)}
        | {n: flat(v) for n, v in moving.items()},
        "output_shape": list(turn_back(output).shape[1:]),
        "output": flat(turn_back(output)),
        **in_training,
        "upstream": flat(upstream),
        "input_gradient": None if kind == "embedding" else flat(turn_back(by_input)),
        "gradients": {n: flat(turn_kernel(g)) for n, g in zip(names, by_weight)},
    }


def main():
    rng = np.random.default_rng(42)
    with open(os.path.join(HERE, "layers.jsonl"), "w") as out:
        for options, shape in CASES:
            line = {"layer": options, "shape": shape, **case(options, shape, rng)}
            out.write(json.dumps(line) + "\n")


main()
