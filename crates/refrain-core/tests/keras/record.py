"""Records what Keras' own callbacks decide on random sequences, for `tests/keras_decisions.rs`.

    KERAS_BACKEND=numpy python record.py        (environment: requirements.txt)

No training: hooks are called by hand, with a stub in place of the model. Keras 3.15.1 on its numpy
backend compares in f64, as Refrain does. One line of JSON per case; the same seed, the same file.

Missing values are null; "nan", "inf" and "-inf" are words, since JSON has no numbers for them. In
a case with `deviating` Keras decides otherwise than Refrain means to; there the class was changed
as `Deviation` says, and the test checks that the case is one of those that the docs of the callback
list.
"""

import json
import math
import os
import random
import tempfile
import warnings

os.environ["KERAS_BACKEND"] = "numpy"
import keras  # noqa: E402

assert keras.__version__ == "3.15.1", keras.__version__
HERE = os.path.dirname(os.path.abspath(__file__))
WORST = {"min": math.inf, "max": -math.inf}


class Model:
    """What the callbacks ask of a model. Its weights are the epoch after which it was asked."""

    metrics = []
    built = True

    def __init__(self, rate=1.0):
        self.optimizer = keras.optimizers.SGD(rate)
        self.stop_training = False
        self.weights = None
        self.saved = []

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights

    def save(self, path, overwrite=True):
        self.saved.append(path)

    def save_weights(self, path, overwrite=True):
        self.saved.append(path)


class Deviation:
    """NaN is never an improvement, not even on nothing; weights are kept at improvements alone."""

    def _is_improvement(self, value, reference):
        return not math.isnan(value) and super()._is_improvement(value, reference)

    def on_train_end(self, logs=None):
        if self.best is None:
            self.best_weights = None
        super().on_train_end(logs)


class EarlyStopping(Deviation, keras.callbacks.EarlyStopping):
    pass


class ReduceLROnPlateau(Deviation, keras.callbacks.ReduceLROnPlateau):
    pass


class ModelCheckpoint(Deviation, keras.callbacks.ModelCheckpoint):
    pass


def plain(value):
    """A float as the fixture has it."""
    if value is None or math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def values(rng, n, odd=True):
    """A sequence with ties (two digits at most), and now and then a missing or odd value."""
    digits = rng.choice([1, 1, 2])
    trend = rng.choice([0.0, 0.0, -0.1, 0.1])
    odds = rng.choice([0.0, 0.0, 0.15, 0.3]) if odd else 0.0
    missing = rng.choice([0.0, 0.0, 0.2]) if odd else 0.0
    out = []
    for i in range(n):
        if rng.random() < missing:
            out.append(None)
        elif rng.random() < odds:
            out.append(rng.choice([math.nan, math.nan, math.inf, -math.inf]))
        else:
            out.append(round(rng.random() + trend * i, digits) + 0.0)
    return out


def logs(value):
    return {"loss": 0.0} if value is None else {"loss": 0.0, "score": value}


def fits(rng, make, run, longest):
    """One or two fits of one callback object; what it did, and what it would do with `Deviation`."""
    out = []
    for _ in range(rng.choice([1, 1, 2])):
        initial = rng.choice([0, 0, 0, 2, 5])
        out.append((initial, values(rng, rng.randint(3, longest))))
    keras_object, deviating_object = make(False), make(True)
    recorded = []
    for initial, sequence in out:
        fit = {"initial_epoch": initial, "values": [plain(v) for v in sequence]}
        ours = run(keras_object, initial, sequence)
        other = run(deviating_object, initial, sequence)
        fit["keras"] = ours
        if other != ours:
            fit["deviating"] = other
        recorded.append(fit)
    return recorded


def early_stopping(rng):
    options = {
        "mode": rng.choice(["min", "max"]),
        "patience": rng.randint(0, 4),
        "min_delta": rng.choice([0.0, 0.0, 0.05, -0.1]),
        "baseline": rng.choice([None, None, 0.5]),
        "restore_best_weights": rng.random() < 0.5,
        "start_from_epoch": rng.choice([0, 0, 0, 2, 3]),
    }

    def make(deviates):
        kind = EarlyStopping if deviates else keras.callbacks.EarlyStopping
        return kind(monitor="score", **options)

    def run(callback, initial, sequence):
        model, waits = Model(), []
        callback.set_model(model)
        callback.on_train_begin()
        for epoch, value in enumerate(sequence, initial):
            model.weights = epoch
            callback.on_epoch_end(epoch, logs(value))
            waits.append(callback.wait)
            if model.stop_training:
                break
        callback.on_train_end()
        is_known = callback.best is not None
        return {
            "waits": waits,
            "best": plain(callback.best),
            "best_epoch": callback.best_epoch if is_known else None,
            "stopped_epoch": callback.stopped_epoch or None,
            "weights": model.weights,
        }

    return {"options": options, "fits": fits(rng, make, run, 9)}


def reduce_lr_on_plateau(rng):
    options = {
        "mode": rng.choice(["min", "max"]),
        "factor": rng.choice([0.5, 0.5, 0.1, 0.3]),
        "patience": rng.randint(0, 3),
        "min_delta": rng.choice([1e-4, 0.0, 0.05, -0.1]),
        "cooldown": rng.choice([0, 0, 1, 2, 3]),
        "min_lr": rng.choice([0.0, 0.0, 0.2, 0.01, 1e-3]),
    }

    def make(deviates):
        kind = ReduceLROnPlateau if deviates else keras.callbacks.ReduceLROnPlateau
        return kind(monitor="score", **options)

    def run(callback, initial, sequence):
        model, rates = Model(rate=1.0), []
        callback.set_model(model)
        callback.on_train_begin()
        for epoch, value in enumerate(sequence, initial):
            callback.on_epoch_end(epoch, logs(value))
            # f32 in Keras: seven digits are all that is known.
            rates.append(float(f"{float(model.optimizer.learning_rate):.7g}"))
        return {
            "rates": rates,
            "wait": callback.wait,
            "cooldown": callback.cooldown_counter,
            "best": plain(callback.best),
        }

    return {"options": options, "fits": fits(rng, make, run, 14)}


def model_checkpoint(rng):
    by_steps = rng.random() < 0.4
    options = {
        "mode": rng.choice(["min", "max"]),
        "save_best_only": rng.random() < 0.6,
        "initial_value_threshold": rng.choice([None, None, 0.5]),
        "save_freq": rng.randint(1, 7) if by_steps else "epoch",
    }
    steps = rng.randint(1, 5)
    initial = rng.choice([0, 0, 2, 5])
    sequence = values(rng, rng.randint(3, 9), odd=not by_steps or rng.random() < 0.5)
    if by_steps:
        # The test's model always measures its metric.
        sequence = [v if v is not None else 0.5 for v in sequence]
    names = ["w", "w-{epoch}", "w-{epoch:03d}"]
    if by_steps:
        names += ["w-{epoch:02d}-{batch}", "w-{epoch}-{batch:02d}-{score:.3f}"]
    elif None not in sequence:
        names += ["w-{epoch}-{score:.2f}", "w-{score:.1e}-{epoch:2d}", "w-{score:07.3f}-{score}"]
    name = rng.choice(names)

    def make(deviates):
        kind = ModelCheckpoint if deviates else keras.callbacks.ModelCheckpoint
        return kind(name + ".weights.h5", monitor="score", save_weights_only=True, **options)

    def run(callback):
        model = Model()
        callback.set_model(model)
        # In Keras the direction is known after the first epoch only, and saves by steps fail.
        callback._set_monitor_op()
        callback.on_train_begin()
        for epoch, value in enumerate(sequence, initial):
            callback.on_epoch_begin(epoch)
            for batch in range(steps):
                callback.on_train_batch_end(batch, logs(value))
            before = len(model.saved)
            callback.on_epoch_end(epoch, logs(value))
            if value is None and len(model.saved) > before and options["save_best_only"]:
                model.saved[-1] = "missing:" + model.saved[-1]
        callback.on_train_end()
        saved = [path.removesuffix(".weights.h5") for path in model.saved]
        return {"saved": saved, "best": plain(callback.best)}

    case = {"filepath": name, "options": options, "steps": steps, "initial_epoch": initial}
    case["values"] = [plain(v) for v in sequence]
    case["keras"] = run(make(False))
    deviating = run(make(True))
    if deviating != case["keras"]:
        case["deviating"] = deviating
    return case


def csv_logger(rng):
    keys = ["loss", "accuracy", "learning_rate", "zeta", "Mae", "a,b", 'q"q', "val_loss", "val_zeta"]
    append = rng.random() < 0.4
    separator = rng.choice([",", ",", ";", "\t"])
    runs = []
    same = rng.sample(keys, rng.randint(1, 5))
    for _ in range(rng.choice([1, 2])):
        first = same if rng.random() < 0.7 else rng.sample(keys, rng.randint(1, 5))
        rows = []
        for _ in range(rng.randint(1, 4)):
            row = {}
            for key in first:
                if rows and rng.random() < 0.15:
                    continue
                row[key] = number(rng)
            if rows and rng.random() < 0.15:
                row[rng.choice(keys)] = number(rng)
            rows.append(row)
        runs.append({"initial_epoch": rng.choice([0, 3]), "rows": rows})
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log.csv")
        for run in runs:
            callback = keras.callbacks.CSVLogger(path, separator=separator, append=append)
            callback.set_model(Model())
            callback.on_train_begin()
            for epoch, row in enumerate(run["rows"], run["initial_epoch"]):
                # `fit` hands logs over in this order.
                callback.on_epoch_end(epoch, dict(sorted(row.items())))
            callback.on_train_end()
            with open(path, newline="") as file:
                run["text"] = file.read()
            run["rows"] = [{k: plain(v) for k, v in row.items()} for row in run["rows"]]
    return {"separator": separator, "append": append, "fits": runs}


def number(rng):
    exponent = rng.choice([0, 0, 0, -1, -5, -7, 3, 15, 17])
    common = round(rng.random() * 10.0**exponent, max(0, 3 - exponent))
    return rng.choice([common] * 6 + [1 / 3, 0.0, math.nan, math.inf, -math.inf])


def main():
    warnings.simplefilter("ignore")
    for name, record, count in [
        ("early_stopping", early_stopping, 1000),
        ("reduce_lr_on_plateau", reduce_lr_on_plateau, 800),
        ("model_checkpoint", model_checkpoint, 1000),
        ("csv_logger", csv_logger, 500),
    ]:
        rng = random.Random(name)
        path = os.path.join(HERE, name + ".jsonl")
        with open(path, "w") as file:
            for _ in range(count):
                line = json.dumps(record(rng), separators=(",", ":"), allow_nan=False)
                file.write(line + "\n")
        print(f"{count} cases in {path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
