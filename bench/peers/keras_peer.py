"""Keras on the back end that `KERAS_BACKEND` names. `python keras_peer.py WORK FOLDER`."""

import importlib.metadata
import os
import pathlib
import sys
import time

import commands

if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
else:
    import jax

    jax.config.update("jax_default_matmul_precision", "float32")

import keras
import numpy as np

import arrays
import works


def build(work):
    make = {
        "dense": lambda o: keras.layers.Dense(o["units"], activation=o["activation"]),
        "conv2d": lambda o: keras.layers.Conv2D(
            o["filters"], o["kernel_size"], activation=o["activation"]
        ),
        "max_pooling2d": lambda o: keras.layers.MaxPooling2D(o["pool_size"]),
        "flatten": lambda o: keras.layers.Flatten(),
        "lstm": lambda o: keras.layers.LSTM(o["units"]),
    }
    layers = [make[options["type"]](options) for options in work["layers"]]
    return keras.Sequential([keras.Input(to_input_shape(work)), *layers])


def to_input_shape(work):
    # Keras' default, and all that TensorFlow has on a CPU: channels last.
    shape = work["input"]
    return [*shape[1:], shape[0]] if len(shape) == 3 else shape


def set_weights(model, weights):
    """From Refrain's layout into Keras': convolutions channels last, and with them the rows of a
    dense layer behind a flatten."""
    given = iter(weights.values())
    height_width_channels = None
    for layer in model.layers:
        if isinstance(layer, keras.layers.Flatten):
            height_width_channels = layer.input.shape[1:]
        own = [next(given) for _ in layer.weights]
        if isinstance(layer, keras.layers.Conv2D):
            own[0] = own[0].transpose(2, 3, 1, 0)
        elif isinstance(layer, keras.layers.Dense) and height_width_channels is not None:
            h, w, c = height_width_channels
            own[0] = own[0].reshape(c, h, w, -1).transpose(1, 2, 0, 3).reshape(h * w * c, -1)
            height_width_channels = None
        layer.set_weights(own)


class Served(keras.callbacks.Callback):
    """One `fit` of many epochs, each of which waits until it is asked for."""

    def on_epoch_begin(self, epoch, logs=None):
        commands.wait_for_epoch()
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.began
        commands.answer(seconds=seconds, **{name: float(value) for name, value in logs.items()})


def main():
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    work = works.WORKS[name]
    digits = arrays.load(folder / "digits.safetensors")
    shape = to_input_shape(work)
    x_train, x_valid = (digits[x].reshape(-1, *shape) for x in ("x_train", "x_valid"))

    model = build(work)
    set_weights(model, arrays.load(folder / f"{name}.safetensors"))
    options = dict(work["optimizer"])
    optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[options.pop("type")]
    model.compile(optimizer(**options), "sparse_categorical_crossentropy", metrics=["accuracy"])

    backend = {"tensorflow": "tensorflow-cpu"}.get(keras.backend.backend(), keras.backend.backend())
    commands.ready(keras=keras.__version__, **{backend: importlib.metadata.version(backend)})
    if works.kind(name) == "predict":
        row = np.ascontiguousarray(x_valid[:1])
        commands.serve_predictions(lambda: model.predict_on_batch(row)[0])
    model.fit(
        x_train,
        digits["y_train"],
        batch_size=works.BATCH,
        epochs=sys.maxsize,
        shuffle=False,
        validation_data=(x_valid, digits["y_valid"]),
        callbacks=[Served()],
        verbose=0,
    )


main()
