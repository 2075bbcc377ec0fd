"""Draws a result as SVG. `python figure.py RESULT.json FILE.svg`.

For each work and peer our time ÷ the peer's, on a logarithmic axis: the median as a dot, the
quartiles as a bar, the goal as a tick.
"""

import html
import json
import math
import pathlib
import sys

import works

ROW = 18
LEFT = 300
WIDTH = 900
# Colours that people with any colour vision tell apart (Okabe and Ito).
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]


def draw(result):
    rows = [
        (work, peer, entry)
        for work, measured in result["works"].items()
        for peer, entry in measured.items()
        if "ratio" in entry
    ]
    if not rows:
        sys.exit("the result holds no ratios; measure `refrain` and at least one other peer")
    ends = [q for _, _, entry in rows for q in entry["ratio"]["quartiles"]]
    low = math.floor(math.log10(min(*ends, 0.5)))
    high = math.ceil(math.log10(max(*ends, 1.5)))

    def x(ratio):
        return LEFT + (WIDTH - LEFT - 20) * (math.log10(ratio) - low) / (high - low)

    names = list(dict.fromkeys(work for work, _, _ in rows))
    colours = {}
    height = ROW * (len(rows) + len(names)) + 70
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="16">Time of Refrain ÷ time of the peer (less is faster)</text>',
    ]
    for tick in (m * 10**e for e in range(low, high + 1) for m in (1, 2, 5)):
        if tick <= 10**high:
            at = x(tick)
            colour = "black" if tick == 1 else "#dddddd"
            out.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="26" y2="{height - 30}" stroke="{colour}"/>'
                f'<text x="{at:.1f}" y="{height - 14}" text-anchor="middle">{tick:g}</text>'
            )
    y = 40
    before = None
    for work, peer, entry in rows:
        if work != before:
            out.append(f'<text x="8" y="{y + 4}" font-weight="bold">{html.escape(work)}</text>')
            y += ROW
            before = work
        colour = colours.setdefault(peer, COLOURS[len(colours) % len(COLOURS)])
        quarter, three_quarters = (x(q) for q in entry["ratio"]["quartiles"])
        middle, goal = x(entry["ratio"]["median"]), x(works.WORKS[work]["goal"])
        out.append(
            f'<text x="24" y="{y + 4}">{html.escape(entry["label"])}: '
            f'{entry["ratio"]["median"]:.3g}</text>'
            f'<line x1="{quarter:.1f}" x2="{three_quarters:.1f}" y1="{y}" y2="{y}" '
            f'stroke="{colour}" stroke-width="4" opacity="0.5"/>'
            f'<circle cx="{middle:.1f}" cy="{y}" r="4" fill="{colour}"/>'
        )
        if peer in works.WORKS[work].get("goal_of", [peer]):
            out.append(f'<path d="M{goal:.1f} {y - 7}v14" stroke="#444444" stroke-dasharray="2"/>')
        y += ROW
    return "\n".join([*out, "</svg>\n"])


if __name__ == "__main__":
    source, target = map(pathlib.Path, sys.argv[1:3])
    target.write_text(draw(json.loads(source.read_text())))
