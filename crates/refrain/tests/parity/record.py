"""Records losses of five epochs of Keras, for `tests/parity.rs`.

    KERAS_BACKEND=jax python record.py
    (environment: crates/refrain-burn/tests/engine/keras/requirements.txt)

Each network begins with weights that both sides compute, and sees the embedded digits in their order.
One line of JSON per network: its recipe, the weights as (name, shape, scale, seed), and the logs of
each epoch. The embedding reads pixels as whole numbers, which no recipe does: its model is built by
the test.
"""

import gzip
import json
import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers as L  # noqa: E402

assert keras.__version__ == "3.15.1", keras.__version__
HERE = os.path.dirname(os.path.abspath(__file__))
DIGITS = os.path.join(HERE, "..", "..", "..", "refrain-data", "data", "digits.csv.gz")
EPOCHS = 5


def numbers(shape, scale, seed):
    """Evenly from -scale to scale, by a generator of whole numbers."""
    state, values = seed, []
    for _ in range(int(np.prod(shape))):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(((state >> 8) / 2**24 * 2 - 1) * scale)
    return np.array(values, "float64").astype("float32").reshape(shape)


def digits():
    with gzip.open(DIGITS, "rt") as file:
        rows = np.array([[int(n) for n in line.split(",")] for line in file], "float32")
    return rows[:, :64].reshape(-1, 1, 8, 8) / 16, rows[:, 64].astype("int32")


def dense(name, inputs, units, seed):
    """Specifications of weights, and how Keras has each."""
    scale = (6 / (inputs + units)) ** 0.5
    same = lambda x: x  # noqa: E731
    return [((f"{name}.weight", [inputs, units], scale, seed), same), ((f"{name}.bias", [units], 0.1, seed + 1), same)]


def conv2d(name, channels, filters, size, seed):
    scale = (6 / (size * size * (channels + filters))) ** 0.5
    transposed = lambda x: x.transpose(2, 3, 1, 0)  # noqa: E731
    return [
        ((f"{name}.weight", [filters, channels, size, size], scale, seed), transposed),
        ((f"{name}.bias", [filters], 0.1, seed + 1), lambda x: x),
    ]


def same(name, shape, scale, seed):
    return ((name, shape, scale, seed), lambda x: x)


HEAD = '{ type = "dense", units = 10, activation = "softmax" }'
FIRST = {"data_format": "channels_first"}

NETWORKS = [
    (
        "mlp_sgd",
        '{ type = "flatten" }, { type = "dense", units = 32, activation = "relu" }, ' + HEAD,
        'type = "sgd", learning_rate = 0.1, momentum = 0.9',
        lambda: [L.Flatten(), L.Dense(32, activation="relu"), L.Dense(10, activation="softmax")],
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        dense("dense", 64, 32, 1) + dense("dense_1", 32, 10, 3),
    ),
    (
        "mlp_adam",
        '{ type = "flatten" }, { type = "dense", units = 32, activation = "tanh" }, ' + HEAD,
        'type = "adam", learning_rate = 0.01, clipnorm = 1.0, weight_decay = 0.01',
        lambda: [L.Flatten(), L.Dense(32, activation="tanh"), L.Dense(10, activation="softmax")],
        lambda: keras.optimizers.Adam(0.01, clipnorm=1.0, weight_decay=0.01),
        dense("dense", 64, 32, 1) + dense("dense_1", 32, 10, 3),
    ),
    (
        "cnn_adam",
        '{ type = "conv2d", filters = 8, kernel_size = 3, activation = "relu" }, { type = "max_pooling2d" }, { type = "flatten" }, ' + HEAD,
        'type = "adam", learning_rate = 0.005',
        lambda: [L.Conv2D(8, 3, activation="relu", **FIRST), L.MaxPooling2D(**FIRST), L.Reshape((72,)), L.Dense(10, activation="softmax")],
        lambda: keras.optimizers.Adam(0.005),
        conv2d("conv2d", 1, 8, 3, 5) + dense("dense", 72, 10, 7),
    ),
    (
        "lstm_rmsprop",
        '{ type = "reshape", target_shape = [8, 8] }, { type = "lstm", units = 16 }, ' + HEAD,
        'type = "rmsprop", learning_rate = 0.005',
        lambda: [L.Reshape((8, 8)), L.LSTM(16), L.Dense(10, activation="softmax")],
        lambda: keras.optimizers.RMSprop(0.005),
        [same("lstm.kernel", [8, 64], 0.3, 9), same("lstm.recurrent_kernel", [16, 64], 0.3, 10), same("lstm.bias", [64], 0.1, 11)]
        + dense("dense", 16, 10, 12),
    ),
    (
        "batch_normalization_adamw",
        # Without a bias: its gradient would be 0 but for rounding, of which AdamW makes whole steps.
        '{ type = "flatten" }, { type = "dense", units = 32, use_bias = false }, { type = "batch_normalization", momentum = 0.9 }, '
        '{ type = "activation", activation = "relu" }, ' + HEAD,
        'type = "adamw", learning_rate = 0.01',
        lambda: [L.Flatten(), L.Dense(32, use_bias=False), L.BatchNormalization(momentum=0.9), L.Activation("relu"), L.Dense(10, activation="softmax")],
        lambda: keras.optimizers.AdamW(0.01),
        dense("dense", 64, 32, 1)[:1] + dense("dense_1", 32, 10, 3),
    ),
    (
        "embedding_adam",
        None,
        None,
        lambda: [L.Flatten(), L.Embedding(17, 4), L.Flatten(), L.Dense(10, activation="softmax")],
        lambda: keras.optimizers.Adam(0.005),
        [same("embedding.embeddings", [17, 4], 0.5, 15)] + dense("dense", 256, 10, 16),
    ),
    (
        # A dense layer on each step; smoothed labels, which Keras takes as one-hot rows alone.
        "steps_adam",
        '{ type = "reshape", target_shape = [8, 8] }, { type = "gru", units = 12, return_sequences = true, reset_after = false }, '
        '{ type = "dense", units = 16, activation = "relu", activity_regularizer = { type = "l2", l2 = 0.001 } }, '
        '{ type = "global_average_pooling1d" }, ' + HEAD,
        'type = "adam", learning_rate = 0.005',
        lambda: [
            L.Reshape((8, 8)),
            L.GRU(12, return_sequences=True, reset_after=False),
            L.Dense(16, activation="relu", activity_regularizer=keras.regularizers.L2(0.001)),
            L.GlobalAveragePooling1D(),
            L.Dense(10, activation="softmax"),
        ],
        lambda: keras.optimizers.Adam(0.005),
        [same("gru.kernel", [8, 36], 0.3, 18), same("gru.recurrent_kernel", [12, 36], 0.3, 19), same("gru.bias", [36], 0.1, 20)]
        + dense("dense", 12, 16, 21)
        + dense("dense_1", 16, 10, 23),
    ),
]
SMOOTHED = '{ type = "categorical_crossentropy", label_smoothing = 0.1 }'


def run(name, layers, optimizer, build, compiled, weights):
    x, y = digits()
    if layers is None:
        x = x * 16
    model = keras.Sequential([keras.Input(x.shape[1:])] + build())
    values = [in_keras(numbers(*spec[1:])) for spec, in_keras in weights]
    trained = [v for layer in model.layers for v in layer.trainable_weights if v.path.split("/")[-1] not in ("gamma", "beta")]
    assert [list(v.shape) for v in trained] == [list(v.shape) for v in values], name
    for variable, value in zip(trained, values):
        variable.assign(value)
    loss, in_recipe = "sparse_categorical_crossentropy", '"sparse_categorical_crossentropy"'
    if name == "steps_adam":
        loss, in_recipe = keras.losses.CategoricalCrossentropy(label_smoothing=0.1), SMOOTHED
        y = np.eye(10, dtype="float32")[y]
    model.compile(compiled(), loss, metrics=["accuracy"])
    history = model.fit(x, y, batch_size=128, epochs=EPOCHS, shuffle=False, validation_split=0.2, verbose=0).history
    line = {"network": name, "weights": [spec for spec, _ in weights],
            "logs": {key: [float(v) for v in of_epochs] for key, of_epochs in history.items()}}
    if layers is not None:
        line["recipe"] = f"""name = "parity"

[data]
source = "digits"
validation_split = 0.2

[model]
layers = [{layers}]

[compile]
optimizer = {{ {optimizer} }}
loss = {in_recipe}
metrics = ["accuracy"]

[fit]
epochs = {EPOCHS}
batch_size = 128
shuffle = false
"""
    return line


with open(os.path.join(HERE, "runs.jsonl"), "w") as out:
    for network in NETWORKS:
        out.write(json.dumps(run(*network)) + "\n")
