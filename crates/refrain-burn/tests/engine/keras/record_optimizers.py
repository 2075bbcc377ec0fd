"""Records trajectories of Keras' optimizers, for `tests/engine/keras_optimizers.rs`.

    KERAS_BACKEND=jax python record_optimizers.py        (environment: requirements.txt)

One line of JSON per case: the optimizer as a recipe has it, the weights' shape where it is no list,
then weights before the first and after each step, and with `use_ema` their average at the end.
"""

import json
import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
import keras  # noqa: E402
import numpy as np  # noqa: E402

assert keras.__version__ == "3.15.1", keras.__version__
HERE = os.path.dirname(os.path.abspath(__file__))

CLASSES = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "nadam": keras.optimizers.Nadam,
    "adagrad": keras.optimizers.Adagrad,
    "adamax": keras.optimizers.Adamax,
    "adadelta": keras.optimizers.Adadelta,
    "lion": keras.optimizers.Lion,
    "ftrl": keras.optimizers.Ftrl,
    "lamb": keras.optimizers.Lamb,
    "adafactor": keras.optimizers.Adafactor,
    "muon": keras.optimizers.Muon,
    "schedule_free_adamw": keras.optimizers.ScheduleFreeAdamW,
}

CASES = [
    {"type": "sgd", "learning_rate": 0.5},
    {"type": "sgd", "learning_rate": 0.5, "weight_decay": 0.1},
    {"type": "sgd", "learning_rate": 0.5, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"type": "sgd", "learning_rate": 0.5, "clipnorm": 1.0},
    {"type": "sgd", "learning_rate": 0.5, "clipvalue": 0.3},
    {"type": "sgd", "learning_rate": 0.5, "momentum": 0.9, "global_clipnorm": 1.0},
    {"type": "adam", "learning_rate": 0.1, "amsgrad": True},
    {"type": "adam", "learning_rate": 0.1, "beta_2": 0.5, "amsgrad": True, "weight_decay": 0.02},
    {"type": "adam", "clipnorm": 0.5},
    {"type": "adamw"},
    {"type": "adamw", "learning_rate": 0.1, "weight_decay": 0.3, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.01},
    {"type": "adamw", "learning_rate": 0.1, "amsgrad": True, "beta_2": 0.5},
    {"type": "rmsprop"},
    {"type": "rmsprop", "learning_rate": 0.1, "rho": 0.5, "epsilon": 1e-3},
    {"type": "rmsprop", "learning_rate": 0.1, "momentum": 0.9},
    {"type": "rmsprop", "learning_rate": 0.1, "centered": True, "weight_decay": 0.1},
    {"type": "rmsprop", "learning_rate": 0.1, "centered": True, "momentum": 0.5},
    {"type": "nadam"},
    {"type": "nadam", "learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.01, "weight_decay": 0.1},
    {"type": "adagrad"},
    {"type": "adagrad", "learning_rate": 0.1, "initial_accumulator_value": 0.0, "epsilon": 0.01, "weight_decay": 0.1},
    {"type": "adamax"},
    {"type": "adamax", "learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.01, "weight_decay": 0.1},
    {"type": "adadelta"},
    {"type": "adadelta", "learning_rate": 1.0, "rho": 0.5, "epsilon": 0.01, "weight_decay": 0.1},
    {"type": "lion"},
    {"type": "lion", "learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.8, "weight_decay": 0.1},
    {"type": "ftrl"},
    {"type": "ftrl", "learning_rate": 0.1, "learning_rate_power": -0.2, "initial_accumulator_value": 0.4,
     "l1_regularization_strength": 0.05, "l2_regularization_strength": 0.15,
     "l2_shrinkage_regularization_strength": 0.01, "beta": 0.3, "weight_decay": 0.1},
    {"type": "ftrl", "learning_rate": 0.1, "learning_rate_power": 0.0, "initial_accumulator_value": 0.0},
    {"type": "lamb"},
    {"type": "lamb", "learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.01, "weight_decay": 0.1},
    {"type": "adafactor"},
    {"type": "adafactor", "shape": [2, 3]},
    {"type": "adafactor", "learning_rate": 0.5, "beta_2_decay": -0.65, "epsilon_1": 1e-15, "epsilon_2": 1e-4,
     "clip_threshold": 0.9, "weight_decay": 0.1, "shape": [3, 2]},
    {"type": "adafactor", "learning_rate": 0.1, "shape": [2, 1, 3]},
    {"type": "muon"},
    {"type": "muon", "shape": [2, 3]},
    {"type": "muon", "learning_rate": 0.1, "momentum": 0.5, "nesterov": False, "ns_steps": 3, "weight_decay": 0.1, "shape": [3, 2]},
    {"type": "muon", "learning_rate": 0.1, "adam_beta_1": 0.5, "adam_beta_2": 0.8, "epsilon": 0.01, "adam_weight_decay": 0.1,
     "adam_lr_ratio": 0.5},
    {"type": "muon", "learning_rate": 0.1, "rms_rate": 0.5, "shape": [1, 6]},
    {"type": "schedule_free_adamw"},
    {"type": "schedule_free_adamw", "learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.01, "warmup_steps": 4,
     "weight_decay": 0.1},
    {"type": "sgd", "learning_rate": 0.5, "use_ema": True},
    {"type": "sgd", "learning_rate": 0.5, "momentum": 0.9, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    {"type": "adam", "learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 3, "weight_decay": 0.1,
     "clipnorm": 1.0},
]

START = [1.0, 2.0, -3.0, 0.5, 0.0, -1e-3]
# With zeros, magnitudes far apart, and changes of sign.
GRADIENTS = [
    [0.1, -0.2, 0.3, 0.0, 1e-4, 5.0],
    [0.4, 0.0, -0.5, 0.0, 1e-4, -5.0],
    [-1.0, 2.0, 1e-6, 0.0, -1e-4, 2.0],
    [0.05, 0.05, 0.05, 0.7, 1e3, 0.0],
    [0.0, -0.2, 0.3, 0.7, 0.0, 1.0],
    [0.1, -0.2, 0.3, -0.7, 0.0, 1.0],
]


def rounded(values):
    return [float(f"{v:.8g}") for v in np.asarray(values).ravel()]


def case(options):
    options = dict(options)
    shape = options.pop("shape", [len(START)])
    optimizer = CLASSES[options.pop("type")](**options)
    variable = keras.Variable(np.array(START, "float32").reshape(shape))
    weights = []
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.reshape(keras.ops.array(gradient, "float32"), shape)], [variable])
        weights.append(rounded(variable))
    line = {"weights": weights}
    if options.get("use_ema"):
        optimizer.finalize_variable_values([variable])
        line["average"] = rounded(variable)
    return line


def main():
    with open(os.path.join(HERE, "optimizers.jsonl"), "w") as out:
        for options in CASES:
            line = {"optimizer": {k: v for k, v in options.items() if k != "shape"}}
            if "shape" in options:
                line["shape"] = options["shape"]
            line.update({"start": START, "gradients": GRADIENTS, **case(options)})
            out.write(json.dumps(line) + "\n")


main()
