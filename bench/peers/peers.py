"""Who is measured, and how each is started."""

import dataclasses
import typing

import environments
import works

# Of every peer. Two threads each.
VARIABLES = {
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "RAYON_NUM_THREADS": "2",
    # One thread for other people's BLAS: numpy's has nothing to do here.
    "OPENBLAS_NUM_THREADS": "1",
    # Threads that wait for work sleep at once. Peers take turns, and one that spins (ACTIVE) takes
    # the processor from the next; without the variable, PyTorch took five times as long beside
    # other load.
    "OMP_WAIT_POLICY": "PASSIVE",
    # f32 means f32.
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "NVIDIA_TF32_OVERRIDE": "0",
}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


@dataclasses.dataclass
class Peer:
    """`serve(work, folder)` is the command that answers `commands.py`'s protocol."""

    label: str
    serve: typing.Callable
    variables: dict
    # The whole process of the built-in recipe, for those who are compared in it.
    digits: typing.Callable | None = None


def script(environment, file, *options):
    def command(*arguments):
        return [environments.python(environment), environments.HERE / file, *arguments, *options]

    return command


def program(name):
    return lambda work, folder: [environments.rust(name), work, folder]


def keras(backend, label):
    environment = f"keras-{backend}"
    csv = environments.REPOSITORY / "crates" / "refrain-data" / "data" / "digits.csv.gz"
    digits = script(environment, "digits_keras.py")
    return Peer(
        label,
        script(environment, "keras_peer.py"),
        {"KERAS_BACKEND": backend, **QUIET},
        lambda folder: digits(csv, folder),
    )


OURS = "refrain"
PEERS = {
    OURS: Peer(
        "Refrain",
        program("refrain_peer"),
        {},
        lambda folder: [environments.rust("refrain"), "train", "--dir", folder / "run"],
    ),
    "keras_tensorflow": keras("tensorflow", "Keras, TensorFlow"),
    "keras_jax": keras("jax", "Keras, JAX"),
    "pytorch": Peer("PyTorch", script("torch", "torch_peer.py"), QUIET),
    "pytorch_compile": Peer(
        "PyTorch, torch.compile",
        script("torch", "torch_peer.py", "--compile"),
        # Compiling in this process: its helpers would stay.
        {"TORCHINDUCTOR_COMPILE_THREADS": "1", **QUIET},
    ),
    "burn": Peer("Burn, plain loop", program("burn_loop"), {}),
    "burn_train": Peer("burn-train", program("burn_train"), {}),
}


def takes_part(name, work):
    kind = works.kind(work)
    if kind == "process":
        return PEERS[name].digits is not None
    # burn-train trains; to predict, one calls the module as in the plain loop.
    return not (kind == "predict" and name == "burn_train")
