"""Line plots as SVG text: small multiples over one horizontal axis. Pure.

No plotting library: the two axes and the polylines that the benches draw are fewer lines than a dependency's set-up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 760, 120, 64, 16, 34, 40
COLOURS: Final = ("#1f6feb", "#d1570a", "#2da44e", "#8250df")
STYLE: Final = "text{font:12px system-ui,sans-serif;fill:#57606a}.t{font-weight:600;fill:#24292f}"


@dataclass(frozen=True)
class Panel:
    """One plot: lines by their name, which may be empty for the only one."""

    title: str
    lines: Mapping[str, Sequence[float]]


def nice(highest: float) -> float:
    """The end of an axis from 0 that has `highest` on it: 1, 1.5, 2, 3, 4, 5 or 8 times a power of ten."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 8, 10) if step * power >= highest * 0.999)


def svg(title: str, across: str, panels: Sequence[Panel]) -> str:
    """`across` names the horizontal axis, which counts the points of the lines from 1."""
    height = TOP + len(panels) * (PANEL + GAP) + 16
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="t" x="{LEFT}" y="18">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        out += _panel(panel, TOP + number * (PANEL + GAP) + 18, across if number == len(panels) - 1 else "")
    return "\n".join([*out, "</svg>", ""])


def _panel(panel: Panel, top: float, across: str) -> list[str]:
    longest = max(map(len, panel.lines.values()))
    end = nice(max(max(line) for line in panel.lines.values()))
    inner = WIDTH - LEFT - RIGHT

    def x(at: int) -> float:
        return LEFT + inner * at / max(1, longest - 1)

    def y(value: float) -> float:
        return top + PANEL * (1 - value / end)

    out = [f'<text class="t" x="{LEFT}" y="{top - 6:g}">{escape(panel.title)}</text>']
    for share in (0.0, 0.5, 1.0):
        level = y(end * share)
        out.append(f'<path d="M{LEFT} {level:.1f}H{WIDTH - RIGHT}" stroke="#d0d7de" stroke-width="1"/>')
        out.append(f'<text x="{LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{end * share:g}</text>')
    for at in range(6):
        place = round((longest - 1) * at / 5)
        anchor = "start" if at == 0 else "end" if at == 5 else "middle"
        label = f"{place + 1}{f' {across}' if across and at == 5 else ''}"
        out.append(f'<text x="{x(place):.1f}" y="{top + PANEL + 14:g}" text-anchor="{anchor}">{escape(label)}</text>')
    for (name, line), colour in zip(panel.lines.items(), COLOURS, strict=False):
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in enumerate(line))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if name:
            last, of = y(line[-1]) - 5, f'text-anchor="end" style="fill:{colour}"'
            out.append(f'<text x="{WIDTH - RIGHT}" y="{last:.1f}" {of}>{escape(name)}</text>')
    return out
