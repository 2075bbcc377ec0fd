"""Records `schedules.jsonl`: what Keras' learning-rate schedules say, in float64.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python record_schedules.py > schedules.jsonl

Each line is one schedule: its recipe (`options`, with the name that Refrain gives it), steps, and
the rate of each step. Keras computes in float32 by default; the fixture is in float64, so that it
is the formulas that are compared, not the rounding.
"""

import json
import os
import random

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import numpy as np
from keras.optimizers import schedules
from keras.src.backend.common import dtypes

# Outside TensorFlow, Keras narrows every result to 32 bits; as on TensorFlow, keep float64.
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
keras.config.set_floatx("float64")
random.seed(20260101)
CASES = 78
STEPS = 12


def rate():
    return random.choice([0.0, 1e-4, 0.1, 1.0, round(random.uniform(1e-4, 0.5), 5)])


def length(most=400):
    return random.choice([1, 2, 10, random.randint(1, most), random.randint(1, most)])


def exponential_decay():
    return dict(
        initial_learning_rate=rate(),
        decay_steps=length(),
        decay_rate=random.choice([0.5, 0.96, 0.0, 1.0, 1.01, round(random.random(), 4)]),
        staircase=random.random() < 0.5,
    )


def piecewise_constant_decay():
    boundaries = sorted(random.sample(range(1, 500), random.randint(1, 5)))
    return dict(boundaries=boundaries, values=[rate() for _ in range(len(boundaries) + 1)])


def polynomial_decay():
    options = dict(
        initial_learning_rate=rate(),
        decay_steps=length(),
        power=random.choice([1.0, 2.0, 0.5, 0.0, round(random.uniform(0.1, 3), 3)]),
        cycle=random.random() < 0.5,
    )
    if random.random() < 0.6:
        options["end_learning_rate"] = rate()
    return options


def inverse_time_decay():
    return dict(
        initial_learning_rate=rate(),
        decay_steps=length(),
        decay_rate=random.choice([0.0, 0.5, 1.0, round(random.uniform(0, 3), 4)]),
        staircase=random.random() < 0.5,
    )


def cosine_decay():
    options = dict(initial_learning_rate=rate(), decay_steps=length())
    if random.random() < 0.6:
        options["alpha"] = random.choice([0.0, 0.1, 1.0, 1.5, round(random.random(), 3)])
    if random.random() < 0.6:
        options["warmup_target"] = rate()
    if random.random() < 0.6:
        options["warmup_steps"] = random.choice([0, 1, 4, length()])
    return options


def cosine_decay_restarts():
    options = dict(initial_learning_rate=rate(), first_decay_steps=length(100))
    if random.random() < 0.7:
        options["t_mul"] = random.choice([1.0, 1.5, 2.0, 3.0, round(random.uniform(1, 3), 3)])
    if random.random() < 0.6:
        options["m_mul"] = random.choice([1.0, 0.5, 0.9, 0.0, round(random.uniform(0, 1.2), 3)])
    if random.random() < 0.5:
        options["alpha"] = random.choice([0.0, 0.1, round(random.random(), 3)])
    return options


KINDS = {
    exponential_decay: schedules.ExponentialDecay,
    piecewise_constant_decay: schedules.PiecewiseConstantDecay,
    polynomial_decay: schedules.PolynomialDecay,
    inverse_time_decay: schedules.InverseTimeDecay,
    cosine_decay: schedules.CosineDecay,
    cosine_decay_restarts: schedules.CosineDecayRestarts,
}


def steps(options):
    """Random steps, and those around every place where something changes."""
    edges = []
    for name, value in options.items():
        if name.endswith("steps"):
            edges += [value, 2 * value, 3 * value, 7 * value]
        if name == "boundaries":
            edges += value
    if options.get("warmup_target") is not None:
        edges.append(options["decay_steps"] + options.get("warmup_steps", 0))
    near = {edge + offset for edge in edges for offset in (-1, 0, 1)}
    near = sorted(step for step in near if step > 0)
    chosen = {0, 1, random.randint(0, 1000), random.randint(0, 1000), random.randint(0, 100_000)}
    random.shuffle(near)
    return sorted(chosen | set(near[: STEPS - len(chosen)]))


def in_float64(option):
    """Keras computes in the type of the first rate; a float of Python would be float32."""
    if isinstance(option, list):
        return [in_float64(item) for item in option]
    return np.array(option, "float64") if isinstance(option, float) else option


def main():
    assert keras.__version__ == "3.15.1", keras.__version__
    for make, kind in KINDS.items():
        for _ in range(CASES):
            options = make()
            schedule = kind(**{name: in_float64(value) for name, value in options.items()})
            at = steps(options)
            rates = [np.asarray(schedule(step)) for step in at]
            assert all(rate.dtype == np.float64 for rate in rates), (options, rates[0].dtype)
            # A rate that grows beyond all numbers is refused when it is set.
            at, rates = zip(*[(a, r) for a, r in zip(at, rates) if np.isfinite(r)])
            options = {"type": make.__name__, **options}
            line = {"options": options, "steps": at, "rates": [float(rate) for rate in rates]}
            print(json.dumps(line, separators=(",", ":"), allow_nan=False))


main()
