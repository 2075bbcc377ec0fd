"""The works: what is trained, by everybody alike."""

BATCH = 128
TRAIN = 8_000
VALIDATION = 2_000
CLASSES = 10
SIDE = 28

SGD = {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9}
# Keras' epsilon. Keras adds it before the correction of the second moment, the others after it.
ADAM = {"type": "adam", "learning_rate": 1e-3, "epsilon": 1e-7}
# The LSTM's gradients are small, and with Keras' epsilon the two formulas part by more than 1e-3 in
# an epoch. In the wide network a smaller one lets rounding errors grow instead: 7e-4.
ADAM_LSTM = ADAM | {"epsilon": 1e-8}


def dense(units, activation):
    return {"type": "dense", "units": units, "activation": activation}


CNN = [
    {"type": "conv2d", "filters": 32, "kernel_size": 3, "activation": "relu"},
    {"type": "max_pooling2d", "pool_size": 2},
    {"type": "conv2d", "filters": 64, "kernel_size": 3, "activation": "relu"},
    {"type": "max_pooling2d", "pool_size": 2},
    {"type": "flatten"},
    dense(CLASSES, "softmax"),
]
SMALL = [dense(128, "relu"), dense(CLASSES, "softmax")]
WIDE = [dense(1024, "relu"), dense(1024, "relu"), dense(CLASSES, "softmax")]
LSTM = [{"type": "lstm", "units": 128}, dense(CLASSES, "softmax")]

# `goal`: our time ÷ the fastest peer's, at most; `goal_of`: of these peers only.
WORKS = {
    "mlp_sgd": {"input": [784], "layers": SMALL, "optimizer": SGD, "goal": 0.7},
    "mlp_adam": {"input": [784], "layers": SMALL, "optimizer": ADAM, "goal": 0.7},
    "wide_adam": {"input": [784], "layers": WIDE, "optimizer": ADAM, "goal": 0.8},
    "cnn_adam": {"input": [1, SIDE, SIDE], "layers": CNN, "optimizer": ADAM, "goal": 0.7},
    "lstm_adam": {"input": [SIDE, SIDE], "layers": LSTM, "optimizer": ADAM_LSTM, "goal": 0.9},
    "predict_one": {
        "input": [784],
        "layers": SMALL,
        "optimizer": SGD,
        "goal": 0.2,
        "goal_of": ["keras_tensorflow", "keras_jax", "pytorch"],
        "kind": "predict",
    },
    "digits_process": {
        "goal": 0.05,
        "goal_of": ["keras_tensorflow", "keras_jax"],
        "kind": "process",
    },
}


def kind(name):
    return WORKS[name].get("kind", "train")


def weight_shapes(work):
    """Shapes of the weights by name, as Refrain names and lays them out: dense `[inputs, units]`,
    convolution `[filters, channels, height, width]`, LSTM Keras' `[inputs, 4 units]` with the gates
    input, forget, cell, output. An image is flattened channel by channel."""
    shape = list(work["input"])
    counts = {}
    shapes = {}
    for layer in work["layers"]:
        kind = layer["type"]
        count = counts[kind] = counts.get(kind, 0) + 1
        name = kind if count == 1 else f"{kind}_{count - 1}"
        if kind == "dense":
            shapes[f"{name}.weight"] = [shape[0], layer["units"]]
            shapes[f"{name}.bias"] = [layer["units"]]
            shape = [layer["units"]]
        elif kind == "conv2d":
            size, filters = layer["kernel_size"], layer["filters"]
            shapes[f"{name}.weight"] = [filters, shape[0], size, size]
            shapes[f"{name}.bias"] = [filters]
            shape = [filters, shape[1] - size + 1, shape[2] - size + 1]
        elif kind == "max_pooling2d":
            size = layer["pool_size"]
            shape = [shape[0], shape[1] // size, shape[2] // size]
        elif kind == "flatten":
            shape = [shape[0] * shape[1] * shape[2]]
        elif kind == "lstm":
            units = layer["units"]
            shapes[f"{name}.kernel"] = [shape[1], 4 * units]
            shapes[f"{name}.recurrent_kernel"] = [units, 4 * units]
            shapes[f"{name}.bias"] = [4 * units]
            shape = [units]
        else:
            raise ValueError(f"layer type `{kind}` is not known here; add it to weight_shapes")
    return shapes
