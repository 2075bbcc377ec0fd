"""Writes what all peers read: the digits, and the initial weights of each work.

`python inputs.py DATA FOLDER`, with DATA the folder of MNIST's files.
"""

import gzip
import pathlib
import sys

import numpy as np

import arrays
import works

SEED = 42


def idx(path):
    """The bytes of an IDX file, and its axes."""
    raw = gzip.open(path).read()
    axes = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def digits(data):
    def part(name, count):
        x = idx(data / f"{name}-images-idx3-ubyte.gz")[:count]
        y = idx(data / f"{name}-labels-idx1-ubyte.gz")[:count]
        if len(x) < count:
            sys.exit(f"`{data}` holds {len(x)} digits in {name}; {count} are needed")
        return x.reshape(count, -1).astype(np.float32) / np.float32(255), y.astype(np.int64)

    x_train, y_train = part("train", works.TRAIN)
    x_valid, y_valid = part("t10k", works.VALIDATION)
    return {"x_train": x_train, "y_train": y_train, "x_valid": x_valid, "y_valid": y_valid}


def weights(work):
    """Keras' initialisers: glorot_uniform, orthogonal for what a cell feeds back, a forget bias of
    1, other biases 0."""
    random = np.random.default_rng(SEED)
    made = {}
    for name, shape in works.weight_shapes(work).items():
        if name.startswith("lstm") and name.endswith(".bias"):
            units = shape[0] // 4
            array = np.zeros(shape)
            array[units : 2 * units] = 1.0
        elif name.endswith(".bias"):
            array = np.zeros(shape)
        elif name.endswith(".recurrent_kernel"):
            square, upper = np.linalg.qr(random.normal(size=shape[::-1]))
            array = (square * np.sign(np.diag(upper))).T
        else:
            # Of a convolution, an axis of the kernel feeds as many sums as it has elements.
            field = np.prod(shape[2:], dtype=int)
            fans = field * (shape[0] + shape[1])
            limit = np.sqrt(6.0 / fans)
            array = random.uniform(-limit, limit, shape)
        made[name] = array.astype(np.float32)
    return made


def main():
    data, folder = map(pathlib.Path, sys.argv[1:3])
    folder.mkdir(parents=True, exist_ok=True)
    arrays.save(folder / "digits.safetensors", digits(data))
    for name, work in works.WORKS.items():
        if "layers" in work:
            arrays.save(folder / f"{name}.safetensors", weights(work))


if __name__ == "__main__":
    main()
