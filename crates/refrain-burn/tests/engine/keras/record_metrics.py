"""Records results of Keras' metrics over several batches, for `tests/engine/keras_metrics.rs`.

    KERAS_BACKEND=jax python record_metrics.py        (environment: requirements.txt)

One line of JSON per case: the metric as a recipe has it, batches of outputs, targets and, for
weighted ones, samples' weights; and the result. With "steps", a row holds those of several steps.
"""

import json
import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
import keras  # noqa: E402
import numpy as np  # noqa: E402

assert keras.__version__ == "3.15.1", keras.__version__
HERE = os.path.dirname(os.path.abspath(__file__))
M = keras.metrics


def probabilities(samples, columns, seed):
    """Probabilities on a grid, so that many lie on thresholds, and 0 or 1 for each."""
    random = np.random.RandomState(seed)
    outputs = (random.randint(0, 41, (samples, columns)) / 40).astype("float32")
    targets = (outputs + random.normal(0, 0.4, outputs.shape) > 0.5).astype("float32")
    return outputs, targets


def rounded(values):
    return (np.round(np.asarray(values) * 64) / 64).astype("float32")


def classes(samples, columns, seed):
    random = np.random.RandomState(seed)
    right = random.randint(0, columns, samples)
    targets = np.eye(columns, dtype="float32")[right]
    outputs = rounded(np.clip(random.rand(samples, columns) * 0.7 + targets * 0.3, 0, 1))
    return outputs, targets


def numbers(samples, columns, seed):
    random = np.random.RandomState(seed)
    targets = rounded(random.normal(1, 2, (samples, columns)))
    return rounded(targets + random.normal(0, 0.7, targets.shape)), targets


ONE = [probabilities(16, 1, 1), probabilities(7, 1, 2)]
THREE = [probabilities(16, 3, 3), probabilities(5, 3, 4)]
NEVER = [(np.array([[0.1], [0.3]], "float32"), np.array([[0.0], [0.0]], "float32"))]
ALWAYS = [(np.array([[0.9], [0.8]], "float32"), np.array([[1.0], [1.0]], "float32"))]
EDGES = [(np.array([[0.0], [1.0], [0.0], [1.0], [0.5], [0.005]], "float32"), np.array([[0.0], [1.0], [1.0], [0.0], [1.0], [1.0]], "float32"))]
CLASSES = [classes(16, 4, 5), classes(9, 4, 6)]
NUMBERS = [numbers(16, 3, 7), numbers(9, 3, 8)]
LOGITS = [(rounded(o * 8 - 4), t) for o, t in THREE]

AUC_CASES = [
    ({}, d) for d in (ONE, THREE, NEVER, ALWAYS, EDGES, CLASSES)
] + [
    ({"curve": c, "summation_method": s, "num_thresholds": n}, d)
    for c in ("ROC", "PR") for s in ("interpolation", "minoring", "majoring") for n in (200, 5) for d in (ONE, EDGES)
] + [
    ({"curve": "PR"}, THREE),
    ({"num_thresholds": 2}, ONE),
    ({"from_logits": True}, LOGITS),
    ({"multi_label": True}, THREE),
    ({"multi_label": True, "label_weights": [1.0, 2.0, 0.5]}, THREE),
    ({"label_weights": [1.0, 2.0, 0.5]}, THREE),
    ({"multi_label": True, "curve": "PR"}, THREE),
]

COUNTED = {
    "precision": M.Precision, "recall": M.Recall, "true_positives": M.TruePositives, "false_positives": M.FalsePositives,
    "true_negatives": M.TrueNegatives, "false_negatives": M.FalseNegatives,
}
AT_LEAST = {
    "sensitivity_at_specificity": (M.SensitivityAtSpecificity, "specificity"),
    "specificity_at_sensitivity": (M.SpecificityAtSensitivity, "sensitivity"),
    "precision_at_recall": (M.PrecisionAtRecall, "recall"),
    "recall_at_precision": (M.RecallAtPrecision, "precision"),
}


def cases():
    for options, data in AUC_CASES:
        yield "auc", options, M.AUC(**options), data
    for name, make in COUNTED.items():
        for data in (ONE, THREE, NEVER, EDGES):
            yield name, {}, make(), data
        yield name, {"thresholds": 0.25}, make(thresholds=0.25), THREE
    for name in ("precision", "recall"):
        for options in ({"top_k": 1}, {"top_k": 2}, {"class_id": 1}, {"top_k": 2, "class_id": 3}):
            yield name, options, COUNTED[name](**options), CLASSES
    for name, (make, option) in AT_LEAST.items():
        for value in (0.2, 0.5, 0.8, 1.0):
            for data in (ONE, THREE, EDGES, NEVER):
                yield name, {option: value}, make(value), data
        yield name, {option: 0.5, "num_thresholds": 5}, make(0.5, num_thresholds=5), THREE
        yield name, {option: 0.5, "class_id": 2}, make(0.5, class_id=2), THREE
    for average in ("micro", "macro", "weighted"):
        for threshold in (None, 0.5):
            for data in (CLASSES, THREE, NEVER):
                options = {"average": average}
                if threshold:
                    options["threshold"] = threshold
                yield "f1_score", options, M.F1Score(**options), data
                yield "fbeta_score", {**options, "beta": 0.5}, M.FBetaScore(beta=0.5, **options), data
    yield "mean_io_u", {}, M.OneHotMeanIoU(num_classes=4), CLASSES
    yield "one_hot_io_u", {"target_class_ids": [1, 3]}, M.OneHotIoU(num_classes=4, target_class_ids=[1, 3]), CLASSES
    yield "cosine_similarity", {}, M.CosineSimilarity(), NUMBERS
    yield "pearson_correlation", {}, M.PearsonCorrelation(), NUMBERS
    yield "root_mean_squared_error", {}, M.RootMeanSquaredError(), NUMBERS
    for aggregation in ("uniform_average", "variance_weighted_average"):
        yield "r2_score", {"class_aggregation": aggregation}, M.R2Score(class_aggregation=aggregation), NUMBERS
    for n in (0, 3, 74, 100):
        yield "r2_score", {"num_regressors": n}, M.R2Score(num_regressors=n), NUMBERS
    yield "binary_io_u", {"threshold": 0.25, "target_class_ids": [1]}, M.BinaryIoU(threshold=0.25, target_class_ids=[1]), ONE
    yield "binary_io_u", {}, M.BinaryIoU(), ONE
    yield "categorical_accuracy", {}, M.CategoricalAccuracy(), CLASSES
    yield "binary_accuracy", {"threshold": 0.25}, M.BinaryAccuracy(threshold=0.25), THREE
    yield "top_k_categorical_accuracy", {"k": 2}, M.TopKCategoricalAccuracy(k=2), CLASSES


def weighted():
    yield "auc", {}, M.AUC(), THREE
    yield "precision", {}, M.Precision(), ONE
    yield "recall", {"class_id": 1}, M.Recall(class_id=1), CLASSES
    yield "f1_score", {"average": "weighted"}, M.F1Score(average="weighted"), CLASSES
    yield "r2_score", {}, M.R2Score(), NUMBERS
    yield "root_mean_squared_error", {}, M.RootMeanSquaredError(), NUMBERS
    yield "categorical_accuracy", {}, M.CategoricalAccuracy(), CLASSES
    yield "binary_accuracy", {}, M.BinaryAccuracy(), THREE


def sequences(seed):
    """Outputs of two steps, and the class of each."""
    random = np.random.RandomState(seed)
    outputs = rounded(random.rand(9, 2, 4))
    return outputs, random.randint(0, 4, (9, 2)).astype("float32")


def own_thresholds():
    for thresholds in ([0.25, 0.5, 0.9], [0.7, 0.05], [0.5], [0.25, 0.5, 0.75]):
        for curve in ("ROC", "PR"):
            for data in (THREE, EDGES):
                options = {"thresholds": thresholds, "curve": curve}
                yield "auc", options, M.AUC(**options), data
    options = {"thresholds": [0.1, 0.6], "multi_label": True}
    yield "auc", options, M.AUC(**options), THREE


def per_step():
    labels = [sequences(11), sequences(12)]
    one_hot = [(outputs, np.eye(4, dtype="float32")[classes.astype("int32")]) for outputs, classes in labels]
    yield "sparse_categorical_accuracy", {}, M.SparseCategoricalAccuracy(), labels
    yield "sparse_top_k_categorical_accuracy", {"k": 2}, M.SparseTopKCategoricalAccuracy(k=2), labels
    yield "sparse_categorical_crossentropy", {}, M.SparseCategoricalCrossentropy(), labels
    yield "categorical_accuracy", {}, M.CategoricalAccuracy(), one_hot
    yield "binary_accuracy", {}, M.BinaryAccuracy(), one_hot
    yield "true_positives", {}, M.TruePositives(), one_hot
    yield "precision", {}, M.Precision(), one_hot
    yield "auc", {}, M.AUC(), one_hot
    yield "root_mean_squared_error", {}, M.RootMeanSquaredError(), one_hot
    yield "one_hot_io_u", {"target_class_ids": [1, 3]}, M.OneHotIoU(num_classes=4, target_class_ids=[1, 3]), one_hot


def flat(x):
    return [float(v) for v in np.asarray(x, np.float32).ravel()]


def main():
    with open(os.path.join(HERE, "metrics.jsonl"), "w") as out:
        for is_weighted, all_cases in ((False, cases()), (True, weighted()), (False, per_step()), (False, own_thresholds())):
            for name, options, metric, data in all_cases:
                batches = []
                for outputs, targets in data:
                    batch = {"outputs": flat(outputs), "targets": flat(targets)}
                    weights = None
                    if is_weighted:
                        weights = ((np.arange(len(outputs)) % 4) / 2).astype("float32")
                        batch["weights"] = flat(weights)
                    metric.update_state(targets, outputs, sample_weight=weights)
                    batches.append(batch)
                outputs = data[0][0]
                line = {"metric": {"type": name, **options}, "columns": int(outputs[0].size), "batches": batches,
                        "result": float(metric.result())}
                if outputs.ndim == 3:
                    line["steps"] = outputs.shape[1]
                out.write(json.dumps(line) + "\n")


main()
