"""Results as tables. `python report.py RESULT.json [--readme]`.

With `--readme` they replace what stands between the two marks in `bench/README.md`.
"""

import json
import pathlib
import sys

import peers
import works

README = pathlib.Path(__file__).parent.parent / "README.md"
MARKS = ("<!-- peers: begin -->", "<!-- peers: end -->")


def main():
    result = json.loads(pathlib.Path(sys.argv[1]).read_text())
    text = render(result)
    if "--readme" not in sys.argv:
        print(text)
        return
    readme = README.read_text()
    begin, end = (readme.find(mark) for mark in MARKS)
    if begin < 0 or end < begin:
        sys.exit(f"`{README}` has no marks; put `{MARKS[0]}` and `{MARKS[1]}` where tables go")
    README.write_text(readme[: begin + len(MARKS[0])] + f"\n\n{text}\n\n" + readme[end:])


def render(result):
    machine = result["machine"]
    rounds = "1 round" if result["rounds"] == 1 else f"{result['rounds']} rounds"
    if result.get("steady"):
        rounds = "each alone"
    head = (
        f"{machine['cpu']}, {machine['cores']} cores used, Linux {machine['kernel']}, "
        f"{result['date']}, {rounds}. {versions(result)}."
    )
    parts = [head]
    if any(result["works"].values()):
        parts += [ratios(result), memory(result)]
    if result.get("steady"):
        parts.append(steady(result))
    parts += skipped(result)
    return "\n\n".join(parts)


def skipped(result):
    """What has no numbers, and why."""
    lines = [
        f"- `{name}`, {entry['label']}: {entry['skipped']}"
        for part in ("works", "steady")
        for name, measured in result[part].items()
        for entry in measured.values()
        if "skipped" in entry
    ]
    return ["Skipped:\n\n" + "\n".join(lines)] if lines else []


def versions(result):
    found = {}
    for measured in result["works"].values():
        for entry in measured.values():
            found |= entry.get("versions", {})
    if result["machine"]["rust"]:
        found["Rust"] = result["machine"]["rust"]
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


def ratios(result):
    """Our time ÷ each peer's, and the times."""
    labels = columns(result["works"])
    others = {name: label for name, label in labels.items() if name != peers.OURS}
    rows = [["work", "Refrain", *(f"÷ {label}" for label in others.values()), "÷ fastest", "goal"]]
    for name, measured in result["works"].items():
        ours = measured.get(peers.OURS, {})
        row = [f"`{name}`", time(ours)]
        for other in others:
            entry = measured.get(other)
            if entry and "ratio" in entry:
                low, high = entry["ratio"]["quartiles"]
                middle = entry["ratio"]["median"]
                row.append(f"{middle:.3g} ({low:.3g} to {high:.3g}), {time(entry)}")
            else:
                row.append(time(entry) if entry else "–")
        rows.append([*row, fastest(name, measured), f"≤ {works.WORKS[name]['goal']}"])
    return table(rows)


def fastest(name, measured):
    """Against the fastest of those that the goal is about."""
    asked = works.WORKS[name].get("goal_of", measured)
    medians = [
        entry["ratio"]["median"]
        for peer, entry in measured.items()
        if "ratio" in entry and peer in asked
    ]
    return f"**{max(medians):.3g}**" if medians else "–"


def memory(result):
    labels = columns(result["works"])
    rows = [["peak memory, MiB", *labels.values()]]
    for name, measured in result["works"].items():
        peaks = (measured.get(peer, {}).get("memory", {}).get("peak") for peer in labels)
        rows.append([f"`{name}`", *(f"{peak / 2**20:.0f}" if peak else "–" for peak in peaks)])
    return table(rows)


def steady(result):
    rows = [["steady", "epochs", "ms a step, begin", "end", "MiB, begin", "end", "peak"]]
    for name, measured in result["steady"].items():
        for entry in measured.values():
            if "skipped" in entry:
                continue
            rows.append(
                [
                    f"`{name}`, {entry['label']}",
                    str(entry["epochs"]),
                    f"{entry['step_seconds_begin'] * 1e3:.3f}",
                    f"{entry['step_seconds_end'] * 1e3:.3f}",
                    f"{entry['memory_begin'] / 2**20:.0f}",
                    f"{entry['memory_end'] / 2**20:.0f}",
                    f"{entry['memory_peak'] / 2**20:.0f}",
                ]
            )
    return table(rows)


def columns(measured_works):
    """Peers that occur, in the order in which they are listed."""
    occurring = {peer for measured in measured_works.values() for peer in measured}
    return {name: peer.label for name, peer in peers.PEERS.items() if name in occurring}


def time(entry):
    if "skipped" in entry or "median_seconds" not in entry:
        return "skipped"
    seconds = entry["median_seconds"]
    return f"{seconds:.3g} s" if seconds >= 0.01 else f"{seconds * 1e6:.3g} µs"


def table(rows):
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{' --- |' * len(rows[0])}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
