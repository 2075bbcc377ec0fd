"""Lets the PyTorch of the package index run without 3 GB of CUDA libraries.

The index has one wheel for Linux on x86-64, and it is linked against CUDA. Nothing of CUDA runs on
a CPU, but the libraries must be there when `import torch` loads the wheel's own. The functions in
them are bound when they are first called, so that libraries without functions will do.
"""

import pathlib
import subprocess

# Shared object -> the version that the wheel asks of its symbols, `None` where it asks for none.
LIBRARIES = {
    "libcublas.so.13": "libcublas.so.13",
    "libcublasLt.so.13": "libcublasLt.so.13",
    "libcudnn.so.9": "libcudnn.so.9",
    "libcufft.so.12": "libcufft.so.12",
    "libcusolver.so.12": "libcusolver.so.12",
    "libcusparse.so.12": "libcusparse.so.12",
    "libcusparseLt.so.0": None,
    "libnccl.so.2": None,
    "libnvrtc.so.13": "libnvrtc.so.13",
    "libnvshmem_host.so.3": "NVSHMEM",
}
# The one variable: unlike functions, variables are bound at once.
SOURCES = {"libnvshmem_host.so.3": "void *nvshmem_selected_device_transport;"}


def build(folder: pathlib.Path) -> None:
    """Makes the libraries in `folder`. Needs `cc`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, version in LIBRARIES.items():
        command = ["cc", "-shared", "-x", "c", "-", "-o", name, f"-Wl,-soname,{name}"]
        if version:
            (folder / "version").write_text(f"{version} {{ global: *; }};\n")
            command.append("-Wl,--version-script=version")
        source = SOURCES.get(name, "") + "\n"
        subprocess.run(command, cwd=folder, input=source, text=True, check=True)
