"""A peer's side of the protocol: one command a line in, one JSON object a line out.

| command | answer |
| --- | --- |
| `epoch` | trains one epoch in the data's order, and validates: `seconds`, `loss`, `accuracy`, `val_loss`, `val_accuracy` |
| `predict N` | predicts the first row of the validation N times, one at a time: `seconds`, the median of one; `output`, its classes |
| `quit` | none: the process ends |

The first line out, before any command, is `{"ready": VERSIONS}` or `{"skip": WHY}`. Reading blocks,
so that a peer that is not asked takes no processor time.
"""

import json
import os
import statistics
import sys
import time

# What a library prints must not get between the answers.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**fields):
    print(json.dumps(fields), file=_answers, flush=True)


def ready(**versions):
    answer(ready=versions)


def wait():
    """The next command and its arguments. Ends the process when there are no more."""
    line = sys.stdin.readline().split()
    if not line or line[0] == "quit":
        # Without the libraries' farewells: thread pools may not be joined from within a hook.
        os._exit(0)
    return line


def wait_for_epoch():
    command = wait()
    if command != ["epoch"]:
        sys.exit(f"command `{' '.join(command)}` is not known here; known: epoch, quit")


def serve_predictions(predict):
    """Answers `predict N` until it is over; `predict()` returns the classes of one row."""
    while True:
        command = wait()
        if command[0] != "predict" or len(command) != 2:
            sys.exit(f"command `{' '.join(command)}` is not known here; known: predict N, quit")
        times = []
        for _ in range(int(command[1])):
            began = time.perf_counter()
            output = predict()
            times.append(time.perf_counter() - began)
        answer(seconds=statistics.median(times), output=[float(x) for x in output])
