"""Lets TensorBoard read a folder of event files, and prints what it sees as JSON.

    python read.py LOGDIR

TensorBoard is started as `tensorboard --logdir LOGDIR` starts it, and asked over HTTP as its page
asks. What its Python reader finds, the one that other programs use, is printed beside it. The
versions stand in requirements.txt.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

from tensorboard import program
from tensorboard.backend.event_processing import event_accumulator

# Until the server has loaded the files.
DEADLINE_SECONDS = 60


def ask(url, path, body=None, **query):
    address = url.rstrip("/") + path
    if query:
        address += "?" + urllib.parse.urlencode(query)
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)


def points(url, plugin, kind):
    """{run: {tag: answer}} of a plugin that serves time series."""
    tags = ask(url, f"/data/plugin/{plugin}/tags")
    return {
        run: {tag: ask(url, f"/data/plugin/{plugin}/{kind}", run=run, tag=tag) for tag in tags[run]}
        for run in tags
    }


def hparams(url):
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    experiment = ask(url, "/data/plugin/hparams/experiment", {"experimentName": ""})
    columns = [
        {"metric": metric["name"], "order": "ORDER_UNSPECIFIED"}
        for metric in experiment.get("metricInfos", [])
    ]
    groups = ask(
        url,
        "/data/plugin/hparams/session_groups",
        {
            "experimentName": "",
            "allowedStatuses": statuses,
            "colParams": columns,
            "startIndex": 0,
            "sliceSize": 1000,
        },
    )
    return {"experiment": experiment, "groups": groups}


def served(log_dir):
    """What a browser would be told, once all runs are there and nothing new comes."""
    board = program.TensorBoard()
    board.configure(
        argv=[None, "--logdir", log_dir, "--host", "127.0.0.1", "--port", "0", "--load_fast", "auto",
              "--samples_per_plugin", "scalars=100000,histograms=1000"]
    )
    url = board.launch()
    expected = {os.path.relpath(run, log_dir) for run in runs(log_dir)}
    deadline = time.monotonic() + DEADLINE_SECONDS
    before = None
    while True:
        seen = {
            "runs": ask(url, "/data/runs"),
            "scalars": points(url, "scalars", "scalars"),
            "histograms": points(url, "histograms", "histograms"),
        }
        if seen == before and set(seen["runs"]) == expected:
            break
        if time.monotonic() > deadline:
            sys.exit(f"TensorBoard did not load {sorted(expected)}; it has {seen['runs']}")
        before = seen
        time.sleep(0.5)
    seen["hparams"] = hparams(url)
    return seen


def runs(log_dir):
    return [folder for folder, _, files in os.walk(log_dir) if any("tfevents" in f for f in files)]


def accumulated(log_dir):
    """{run: {tag: [[step, value], ..]}} as the Python reader has it."""
    found = {}
    for run in runs(log_dir):
        size = {event_accumulator.SCALARS: 0, event_accumulator.HISTOGRAMS: 0}
        events = event_accumulator.EventAccumulator(run, size_guidance=size)
        events.Reload()
        found[os.path.relpath(run, log_dir)] = {
            # NaN and infinities as words: JSON has none.
            tag: [[e.step, e.value if abs(e.value) < float("inf") else repr(e.value)]
                  for e in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
    return found


def main():
    log_dir = sys.argv[1]
    print(json.dumps({"served": served(log_dir), "accumulated": accumulated(log_dir)}))
    sys.stdout.flush()
    # The server's threads need not end.
    os._exit(0)


main()
