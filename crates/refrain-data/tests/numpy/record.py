"""Writes arrays with numpy, for the tests of the readers, and what is in them.

    pip install numpy==2.4.6 && python record.py
"""

import json
import pathlib

import numpy as np
from numpy.lib import format as npy

HERE = pathlib.Path(__file__).parent
VALUES = np.array([[0, 1, 2], [3, 4, 100]])

arrays = {}


def save(name, array, version=None):
    with open(HERE / f"{name}.npy", "wb") as file:
        npy.write_array(file, array, version=version, allow_pickle=True)
    if array.dtype.kind in "biuf":
        arrays[name] = {
            "shape": list(array.shape),
            "type": "bool" if array.dtype.kind == "b" else array.dtype.str[1:],
            "values": [float(x) for x in array.astype(np.float32).ravel()],
        }


for kind in ["b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]:
    save(kind, VALUES.astype(kind))
    if kind not in ("b1", "u1", "i1"):
        save(f"{kind}_big_endian", VALUES.astype(f">{kind}"))
save("fortran", np.asfortranarray(VALUES.astype("f4")))
save("fortran_3d", np.asfortranarray(np.arange(24, dtype="f4").reshape(2, 3, 4)))
save("version_2", VALUES.astype("f4"), version=(2, 0))
save("version_3", VALUES.astype("f4"), version=(3, 0))
save("scalar", np.float32(7).reshape(()))
save("vector", np.arange(3, dtype="f4"))
save("no_rows", np.zeros((0, 4), "f4"))
save("special", np.array([-0.0, 1e-45, 1 / 3, 3e38], "f8"))
save("refused_text", np.array(["a", "b"]))
save("refused_objects", np.array([{}, None], dtype=object))
save("refused_fields", np.zeros(2, [("a", "f4"), ("b", "i4")]))
save("refused_complex", np.zeros(2, "c8"))
save("refused_times", np.zeros(2, "M8[s]"))

parts = {
    "x_train": np.arange(24, dtype="u1").reshape(6, 2, 2),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.arange(8, dtype="u1").reshape(2, 2, 2),
    "y_test": np.array([2, 0]),
}
np.savez(HERE / "stored.npz", **parts)
np.savez_compressed(HERE / "deflated.npz", **parts)
(HERE / "arrays.json").write_text(json.dumps(arrays, indent=1) + "\n")
