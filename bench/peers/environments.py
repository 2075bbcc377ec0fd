"""Makes what the peers run in, and remembers it: virtual environments with pinned packages, and
the programs in Rust."""

import os
import pathlib
import subprocess
import sys

import cuda_stubs

HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parent.parent
CACHE = pathlib.Path.home() / ".cache" / "refrain-peers"


class Unavailable(Exception):
    """Why something cannot be measured here."""


def python(name):
    """The interpreter of the environment `requirements/NAME.txt`, which is made where it is not
    there or no longer what the file says."""
    folder = CACHE / name
    interpreter = folder / "bin" / "python"
    pinned = HERE / "requirements" / f"{name}.txt"
    installed = folder / "requirements.txt"
    if installed.is_file() and installed.read_bytes() == pinned.read_bytes():
        return interpreter
    say(f"installing {name} into {folder}")
    execute([sys.executable, "-m", "venv", "--clear", folder])
    # The files list everything, so that nothing comes along unpinned. Of PyTorch's own list it
    # leaves out CUDA.
    pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    execute([*pip, "--no-deps", "-r", pinned])
    if name == "torch":
        (site,) = folder.glob("lib/python3.*/site-packages")
        cuda_stubs.build(site / "torch" / "lib")
        # Functions that are not there are an error unless they are bound when they are called.
        line = "import os, sys; sys.setdlopenflags(os.RTLD_LAZY)\n"
        (site / "lazy_binding.pth").write_text(line)
    installed.write_bytes(pinned.read_bytes())
    return interpreter


_built = {}


def rust(name):
    """A program in Rust, built in the release profile; `refrain` is the command."""
    own, package = {
        "refrain_peer": (False, "refrain-bench"),
        "refrain": (False, "refrain-cli"),
        "burn_loop": (True, "refrain-bench-burn"),
        "burn_train": (True, "refrain-bench-burn"),
    }[name]
    if name in _built:
        return _built[name]
    manifest = (HERE / "burn" if own else REPOSITORY) / "Cargo.toml"
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    # Its own folder within: two workspaces in one would build what they share in turn.
    target = target / "peers-burn" if own else target
    say(f"building {name}")
    execute(
        ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", target]
        + ["--manifest-path", manifest, "--package", package, "--bin", name]
    )
    _built[name] = target / "release" / name
    return _built[name]


def execute(command):
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise Unavailable(f"`{command[0]}` is not installed") from None
    except subprocess.CalledProcessError as error:
        text = " ".join(map(str, command))
        raise Unavailable(f"`{text}` ended with exit status {error.returncode}") from None


def say(line):
    print(line, file=sys.stderr, flush=True)
