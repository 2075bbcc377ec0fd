"""Measures Refrain against its peers: `python3 bench/peers/run.py`.

Makes what the peers run in first (once; `~/.cache/refrain-peers`, several GB). Says what it skips
and why. Needs Python 3.11, Cargo, and `cc` and `c++` for PyTorch.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import tempfile

import environments
import measure
import peers
import report
import works
from environments import REPOSITORY, say


def main():
    options = arguments()
    # Before anybody counts processors: on a larger machine all get the same two.
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)

    peers.VARIABLES.update(text.partition("=")[::2] for text in options.variable)
    chosen = [name for name in peers.PEERS if name in options.peers]
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(len(cores)),
        "commit": commit(),
        "variables": peers.VARIABLES,
        "rounds": options.rounds,
        "works": {},
        "steady": {},
    }
    with tempfile.TemporaryDirectory(prefix="refrain-peers-") as folder:
        inputs = pathlib.Path(folder)
        logs = environments.CACHE / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        make_inputs(options.data, inputs)
        for name in options.works:
            if options.steady:
                if works.kind(name) == "train":
                    result["steady"][name] = measure.steady(
                        name, chosen, options.steady, inputs, logs
                    )
            else:
                result["works"][name] = measure.work(name, chosen, options.rounds, inputs, logs)
            # After each work: what is measured is kept when a later one is cut off.
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(rounded(result), indent=1) + "\n")
    say(f"written to {options.output}")
    print(report.render(result))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", nargs="+", choices=works.WORKS, default=list(works.WORKS))
    parser.add_argument("--peers", nargs="+", choices=peers.PEERS, default=list(peers.PEERS))
    parser.add_argument("--rounds", type=int, default=15, help="timed epochs of each (default 15)")
    parser.add_argument(
        "--steady",
        type=int,
        nargs="?",
        const=200,
        metavar="EPOCHS",
        help="instead: time per step and memory over EPOCHS (default 200), each peer alone",
    )
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        default=REPOSITORY.parent / "shared" / "datasets" / "mnist10k",
        help="the folder of MNIST's four files, gzipped",
    )
    parser.add_argument(
        "--variable",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable of all peers, in place of what peers.py says",
    )
    results = REPOSITORY / "bench" / "results"
    parser.add_argument("--output", type=pathlib.Path, default=results / "peers.json")
    options = parser.parse_args()
    if not (options.data / "train-images-idx3-ubyte.gz").is_file():
        parser.error(f"`{options.data}` holds no train-images-idx3-ubyte.gz; name MNIST's --data")
    if options.rounds < 1 or (options.steady is not None and options.steady < 2):
        parser.error("--rounds must be 1 or more, --steady 2 or more")
    return options


def make_inputs(data, folder):
    script = environments.HERE / "inputs.py"
    subprocess.run([environments.python("inputs"), script, data, folder], check=True)


def machine(cores):
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in info if "model name" in line), "unknown")
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True)
    return {
        "cpu": cpu,
        "cores": cores,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rust": rust.stdout.split()[1] if rust.returncode == 0 else None,
        "load_at_start": os.getloadavg()[0],
    }


def commit():
    git = ["git", "-C", REPOSITORY, "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or None


def rounded(value):
    """Numbers with five digits: more is noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
