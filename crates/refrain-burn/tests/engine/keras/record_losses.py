"""Records values and gradients of Keras' losses and values of its metrics, for
`tests/engine/keras_losses.rs`.

    KERAS_BACKEND=jax python record_losses.py        (environment: requirements.txt)

One line of JSON per case: the loss or metric by its name, rows of outputs and of targets, the value
of each row, and for losses the gradient of their mean. With "steps", a row holds those of several
steps, and targets are classes, or a number for each output.
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

PLAIN = ([[0.5, -1.5, 2.0], [0.25, 3.0, -0.75]], [[1.0, -1.0, 2.5], [0.5, -2.0, 0.25]])
FAR = ([[1e4, -1e4, 1e-4], [1e10, 0.5, -30.0]], [[-1e4, 1e4, 2e-4], [0.5, 1e10, 30.0]])
POSITIVE = ([[0.5, 1.5, 2.0], [0.25, 3.0, 1e-9]], [[1.0, 0.5, 2.5], [0.0, 2.0, 0.25]])
HALVES = ([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.0, 1.0, 1e-9]], [[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
ONE_HOT = ([[0.7, -0.2, 3.1], [0.5, 0.25, -0.3], [1e6, -1e6, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
SIGNS = ([[0.7, -0.2], [3.5, -0.25], [1e6, -1e6]], [[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])

LOSSES = {
    "mean_absolute_error": [PLAIN, FAR],
    "mean_absolute_percentage_error": [PLAIN, ([[1.0, 2.0]], [[0.0, 1e-9]])],
    "mean_squared_logarithmic_error": [POSITIVE, PLAIN],
    "huber": [PLAIN, ([[1e4, -1e4, 1e-4]], [[-1e4, 1e4, 2e-4]])],
    "log_cosh": [PLAIN, FAR],
    "hinge": [ONE_HOT, SIGNS, PLAIN],
    "squared_hinge": [ONE_HOT, SIGNS],
    "categorical_hinge": [ONE_HOT],
    "kl_divergence": [HALVES],
    "poisson": [POSITIVE],
    "cosine_similarity": [PLAIN, ONE_HOT],
    "binary_focal_crossentropy": [HALVES],
    "categorical_focal_crossentropy": [HALVES],
}
UNIT = [[0.6, 0.8], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]]
REDUCED = [
    ("dice", {}, keras.losses.Dice, HALVES),
    ("dice", {"per_sample": True}, keras.losses.Dice, HALVES),
    ("tversky", {}, keras.losses.Tversky, HALVES),
    ("tversky", {"alpha": 0.2, "beta": 1.5}, keras.losses.Tversky, HALVES),
    ("tversky", {"alpha": 0.2, "beta": 1.5, "per_sample": True}, keras.losses.Tversky, HALVES),
    ("circle", {}, keras.losses.Circle, (UNIT, [0, 0, 1, 1, 2])),
    ("circle", {"gamma": 4.0, "margin": 0.1}, keras.losses.Circle, (UNIT, [0, 0, 1, 0, 1])),
    ("circle", {"gamma": 4.0, "remove_diagonal": False}, keras.losses.Circle, (UNIT, [0, 0, 1, 0, 1])),
    ("categorical_generalized_cross_entropy", {}, keras.losses.CategoricalGeneralizedCrossEntropy, (HALVES[0][:2], [0, 2])),
    ("categorical_generalized_cross_entropy", {"q": 0.8}, keras.losses.CategoricalGeneralizedCrossEntropy, (HALVES[0][:2], [1, 1])),
]
SMOOTHED = ["binary_crossentropy", "categorical_crossentropy", "binary_focal_crossentropy", "categorical_focal_crossentropy"]
RANKED = ([[0.1, 0.9, 0.3, 0.3], [0.4, 0.3, 0.2, 0.1], [0.5, 0.5, 0.5, 0.5]], [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])

# Two sequences of two steps: outputs, one-hot targets and labels.
SEQUENCES = [[[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]], [[0.1, 0.1, 0.8], [0.2, 0.7, 0.1]]]
CLASSES = [[0, 2], [2, 0]]
ROWS = np.eye(3)[CLASSES].tolist()
NUMBERS = [[[1.5], [-0.5]], [[0.25], [2.0]]]
# (loss, options, outputs, targets)
PER_STEP = [
    ("sparse_categorical_crossentropy", {}, SEQUENCES, CLASSES),
    ("sparse_categorical_crossentropy", {"from_logits": True}, SEQUENCES, CLASSES),
    ("sparse_categorical_crossentropy", {"ignore_class": 0}, SEQUENCES, CLASSES),
    ("sparse_categorical_crossentropy", {"ignore_class": -1}, SEQUENCES, [[-1, 2], [2, -1]]),
    ("sparse_categorical_crossentropy", {"ignore_class": 255, "from_logits": True}, SEQUENCES, [[0, 255], [2, 1]]),
    ("sparse_categorical_crossentropy", {"ignore_class": 1}, SEQUENCES, [[1, 1], [1, 1]]),
    ("categorical_crossentropy", {"label_smoothing": 0.1}, SEQUENCES, ROWS),
    ("categorical_focal_crossentropy", {}, SEQUENCES, ROWS),
    # Where two are the largest, Keras gives half of the gradient to each.
    ("categorical_hinge", {}, [[[0.7, 0.2, 0.1], [0.5, 0.3, 0.25]], [[0.15, 0.1, 0.8], [0.2, 0.7, 0.1]]], ROWS),
    ("kl_divergence", {}, SEQUENCES, ROWS),
    ("cosine_similarity", {}, SEQUENCES, ROWS),
    ("binary_crossentropy", {}, SEQUENCES, ROWS),
    ("mean_squared_error", {}, SEQUENCES, ROWS),
    ("mean_absolute_error", {}, NUMBERS, [[1.0, 0.5], [0.5, 3.0]]),
    # Of samples, where labels count from 0 and one says nothing.
    ("sparse_categorical_crossentropy", {"ignore_class": 2}, HALVES[0], [0, 2, 1]),
    ("sparse_categorical_crossentropy", {"ignore_class": 7, "from_logits": True}, ONE_HOT[0], [0, 7, 1]),
]

def logits(seed, *shape, scale=1.0):
    return (scale * np.random.RandomState(seed).randn(*shape)).round(3).tolist()


# Outputs [samples, steps, classes], and rows of labels with 0 behind them.
CTC = [
    # As many as there are, fewer, two equal ones in a row, none.
    (logits(1, 4, 6, 4), [[1, 2, 3], [2, 0, 0], [3, 3, 1], [0, 0, 0]]),
    # No step to spare, where a row is longer than the sequence.
    (logits(2, 3, 3, 3), [[1, 2, 1, 0, 0], [2, 2, 0, 0, 0], [2, 1, 2, 0, 0]]),
    # One label, and far between what is likely and what is not.
    (logits(3, 2, 12, 5, scale=30.0), [[4], [1]]),
    (logits(4, 2, 1, 3), [[2, 0], [0, 0]]),
    (logits(5, 2, 40, 6, scale=3.0), [[1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 1, 1], [5, 1, 5, 1, 5, 0, 0, 0, 0, 0, 0, 0]]),
]
LOSS_CLASSES = {
    "ctc": keras.losses.CTC,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "categorical_focal_crossentropy": keras.losses.CategoricalFocalCrossentropy,
    "categorical_hinge": keras.losses.CategoricalHinge,
    "kl_divergence": keras.losses.KLDivergence,
    "cosine_similarity": keras.losses.CosineSimilarity,
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "mean_squared_error": keras.losses.MeanSquaredError,
    "mean_absolute_error": keras.losses.MeanAbsoluteError,
}


def flat(x):
    return [float(f"{v:.8g}") for v in np.asarray(x, np.float32).ravel()]


def main():
    with open(os.path.join(HERE, "losses.jsonl"), "w") as out:
        for name, cases in LOSSES.items():
            loss = getattr(keras.losses, name)
            for outputs, targets in cases:
                p, y = np.array(outputs, "float32"), np.array(targets, "float32")
                gradient = jax.grad(lambda p: loss(y, p).mean())(p)
                line = {"loss": name, "columns": p.shape[1], "outputs": flat(p), "targets": flat(y),
                        "values": flat(loss(y, p)), "gradient": flat(gradient)}
                out.write(json.dumps(line) + "\n")
        for name in SMOOTHED:
            for from_logits, (outputs, targets) in [(False, HALVES), (True, ONE_HOT)]:
                p, y = np.array(outputs, "float32"), np.array(targets, "float32")
                if "focal" in name and from_logits:
                    p = p.clip(-5, 5)
                options = {"label_smoothing": 0.1, "from_logits": from_logits}
                if "focal" in name:
                    options.update(alpha=0.4, gamma=3.0)
                loss = lambda y, p: getattr(keras.losses, name)(y, p, **options)  # noqa: E731
                gradient = jax.grad(lambda p: loss(y, p).mean())(p)
                line = {"loss": name, "options": options, "columns": p.shape[1], "outputs": flat(p), "targets": flat(y),
                        "values": flat(loss(y, p)), "gradient": flat(gradient)}
                out.write(json.dumps(line) + "\n")
        for name, options, make, (outputs, targets) in REDUCED:
            loss = make(**{k: v for k, v in options.items() if k != "per_sample"}, **({"axis": 1} if options.get("per_sample") else {}))
            p, y = np.array(outputs, "float32"), np.array(targets)
            y = y.astype("int32" if y.ndim == 1 else "float32")
            value, gradient = jax.value_and_grad(lambda p: loss(y, p))(p)
            line = {"loss": name, "options": options, "columns": p.shape[1], "outputs": flat(p), "targets": flat(y),
                    "mean": float(value), "gradient": flat(gradient)}
            out.write(json.dumps(line) + "\n")
        metrics = [
            ("root_mean_squared_error", keras.metrics.RootMeanSquaredError(), PLAIN, False),
            ("mean_absolute_error", keras.metrics.MeanAbsoluteError(), PLAIN, False),
            ("binary_accuracy", keras.metrics.BinaryAccuracy(), HALVES, False),
            ("categorical_hinge", keras.metrics.CategoricalHinge(), ONE_HOT, False),
        ]
        for k in (1, 2, 3):
            metrics.append(("top_k_categorical_accuracy", keras.metrics.TopKCategoricalAccuracy(k=k), RANKED, k))
        for name, metric, (outputs, targets), k in metrics:
            metric.update_state(np.array(targets, "float32"), np.array(outputs, "float32"))
            line = {"metric": name, "columns": len(outputs[0]), "outputs": flat(outputs), "targets": flat(targets),
                    "result": float(metric.result())}
            if k:
                line["k"] = k
            out.write(json.dumps(line) + "\n")
        for name, options, outputs, targets in PER_STEP:
            out.write(json.dumps(per_step(name, options, outputs, targets)) + "\n")
        for outputs, targets in CTC:
            out.write(json.dumps(per_step("ctc", {}, outputs, targets)) + "\n")


def per_step(name, options, outputs, targets):
    loss = LOSS_CLASSES[name](**options)
    p, y = np.array(outputs, "float32"), np.array(targets)
    y = y.astype("int32" if name.startswith(("sparse", "ctc")) else "float32")
    value, gradient = jax.value_and_grad(lambda p: loss(y, p))(p)
    steps = {"steps": p.shape[1]} if p.ndim == 3 else {}
    return {"loss": name, "options": options, "columns": int(p[0].size), **steps, "outputs": flat(p), "targets": flat(y),
            "mean": float(value), "gradient": flat(gradient)}


main()
