"""Measures one work: peers in turn, one at a time, in rounds."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import peers
import works
from environments import Unavailable, say
from process import Process

# How far from the others a peer's loss may be, to count as having done the same work.
TOLERANCE = 1e-3
PREDICTIONS = 1000


def work(name, chosen, rounds, inputs, logs):
    """What is known of a work after it was measured: peers by name, each with its times or with
    why it has none."""
    measured = process_work if works.kind(name) == "process" else served_work
    results = {}
    for peer in chosen:
        if not peers.takes_part(peer, name):
            continue
        results[peer] = {"label": peers.PEERS[peer].label}
    measured(name, results, rounds, inputs, logs)
    for peer, result in results.items():
        if "skipped" in result:
            say(f"{name}: {peer} skipped: {result['skipped']}")
        elif "seconds" in result:
            result["median_seconds"] = statistics.median(result["seconds"])
    add_ratios(results)
    return results


def served_work(name, results, rounds, inputs, logs):
    predicts = works.kind(name) == "predict"
    command = f"predict {PREDICTIONS}" if predicts else "epoch"
    with contextlib.ExitStack() as stack:
        running = {}
        for peer, result in results.items():
            with skipping(result):
                process = Process(peer, name, inputs, logs / f"{name}-{peer}.log")
                stack.callback(process.quit)
                result["versions"] = process.versions
                result["first"] = process.ask("predict 1" if predicts else command)
                running[peer] = process
        for peer in differing(results):
            del running[peer]
        began = time.monotonic()
        for turn in range(-1, rounds):
            order = list(running)
            shift = turn % max(len(order), 1)
            for peer in order[shift:] + order[:shift]:
                with skipping(results[peer]):
                    answer = running[peer].ask(command)
                    # The first turn warms up what the first epoch left cold.
                    if turn >= 0:
                        results[peer].setdefault("seconds", []).append(answer["seconds"])
                        results[peer]["last"] = answer
                if "skipped" in results[peer]:
                    del running[peer]
            say(f"{name}: round {turn + 1} of {rounds}")
        elapsed = time.monotonic() - began
        for peer, process in running.items():
            results[peer]["memory"] = process.memory()
            results[peer]["idle_cpu_share"] = process.idle_seconds / elapsed


def differing(results):
    """Takes out, and names, who did not do the same as the others: the training loss after an
    epoch, or the prediction, against the median of all."""
    first = {peer: result["first"] for peer, result in results.items() if "first" in result}
    if not first:
        return []
    values = {
        peer: answer["output"] if "output" in answer else [answer["loss"]]
        for peer, answer in first.items()
    }
    middle = [statistics.median(column) for column in zip(*values.values())]
    scale = max(abs(value) for value in middle)
    out = []
    for peer, own in values.items():
        error = max(abs(a - b) for a, b in zip(own, middle)) / scale
        results[peer]["relative_difference"] = error
        # Also where it is no number.
        if not error <= TOLERANCE:
            results[peer]["skipped"] = (
                f"its first answer is {error:.2g} from the others' median, relatively; allowed: "
                f"{TOLERANCE}; loss {first[peer].get('loss')}, median {middle[0]}"
            )
            out.append(peer)
    return out


def process_work(name, results, rounds, _, logs):
    """Whole processes from start to exit."""
    for turn in range(-1, rounds):
        order = list(results)
        shift = turn % max(len(order), 1)
        for peer in order[shift:] + order[:shift]:
            if "skipped" in results[peer]:
                continue
            with skipping(results[peer]):
                seconds, peak, log = digits(peer, logs / f"{name}-{peer}.log")
                if turn >= 0:
                    results[peer].setdefault("seconds", []).append(seconds)
                    results[peer]["memory"] = {"peak": peak}
                    results[peer]["epochs"] = len(log)
                    results[peer]["val_accuracy"] = max(e["val_accuracy"] for e in log)
        say(f"{name}: round {turn + 1} of {rounds}")


def digits(peer, log):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        command = peers.PEERS[peer].digits(folder)
        variables = os.environ | peers.VARIABLES | peers.PEERS[peer].variables
        with open(log, "w") as file:
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=file, stderr=file, env=variables)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise Unavailable(f"ended with exit status {process.returncode} (see {log})")
        written = next(folder.rglob("experiment_log.json"))
        return seconds, usage.ru_maxrss * 1024, json.loads(written.read_text())


def steady(name, chosen, epochs, inputs, logs):
    """Time per step and memory over many epochs, each peer alone."""
    results = {}
    for peer in chosen:
        result = results[peer] = {"label": peers.PEERS[peer].label}
        with skipping(result), contextlib.ExitStack() as stack:
            process = Process(peer, name, inputs, logs / f"{name}-{peer}-steady.log")
            stack.callback(process.quit)
            seconds, memory = [], []
            for _ in range(epochs):
                seconds.append(process.ask("epoch")["seconds"])
                memory.append(process.memory()["now"])
            steps = -(-works.TRAIN // works.BATCH)
            few = max(1, min(5, epochs // 2))
            result |= {
                "epochs": epochs,
                # Validation is in it.
                "step_seconds_first": seconds[0] / steps,
                "step_seconds_begin": statistics.median(seconds[1 : 1 + few]) / steps,
                "step_seconds_end": statistics.median(seconds[-few:]) / steps,
                "memory_first": memory[0],
                "memory_begin": memory[min(few, epochs - 1)],
                "memory_end": memory[-1],
                "memory_peak": process.memory()["peak"],
            }
        say(f"{name}: {peer}: {json.dumps(result)}")
    return results


def add_ratios(results):
    """Our time ÷ each peer's, round by round."""
    ours = results.get(peers.OURS, {}).get("seconds")
    if not ours:
        return
    for peer, result in results.items():
        if peer == peers.OURS or "seconds" not in result or "skipped" in result:
            continue
        ratios = [a / b for a, b in zip(ours, result["seconds"])]
        low, middle, high = quartiles(ratios)
        result["ratio"] = {"median": middle, "quartiles": [low, high]}


def quartiles(values):
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


@contextlib.contextmanager
def skipping(result):
    """What fails for one peer is written down, and the others go on."""
    try:
        yield
    except Unavailable as error:
        result["skipped"] = str(error)
    except BrokenPipeError:
        result["skipped"] = "ended while it was asked"
