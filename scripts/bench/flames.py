"""A flame graph as a small still picture: `python -m scripts.bench.flames STACKS.txt PICTURE.svg "title"`.

STACKS.txt is what `py-spy record --gil -f raw -o STACKS.txt -p PID` writes: frames from the outermost one on, with `;`
between them, and the number of samples. Calls on the same place of the same stack are one box, as wide as their share.
Boxes of less than 0.4 percent are left out, and so are the outermost frames that all samples have.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH, HEIGHT, FONT = 1200, 15, 10  # pixels: of the picture, of a box; of its text
SMALLEST = 0.004  # share of all samples


@dataclass
class Box:
    """A function on one place of the stack, with what it calls."""

    samples: int = 0
    calls: dict[str, Box] = field(default_factory=dict)

    def add(self, frames: list[str], samples: int) -> None:
        self.samples += samples
        if frames:
            self.calls.setdefault(frames[0], Box()).add(frames[1:], samples)


def read(stacks: str) -> Box:
    """Return the box of all samples. Frames lose their line numbers, so that a function is one box."""
    whole = Box()
    for line in stacks.splitlines():
        frames, _, samples = line.rpartition(" ")
        whole.add([re.sub(r":\d+\)$", ")", frame) for frame in frames.split(";")], int(samples))
    while len(whole.calls) == 1 or max(box.samples for box in whole.calls.values()) > 0.9 * whole.samples:
        whole = max(whole.calls.values(), key=lambda box: box.samples)
    return whole


def drawn(whole: Box, title: str) -> str:
    boxes: list[str] = []
    deepest = 0

    def draw(name: str, box: Box, x: float, depth: int) -> None:
        nonlocal deepest
        share = box.samples / whole.samples
        if share < SMALLEST:
            return
        deepest = max(deepest, depth)
        width, top = share * WIDTH, 24 + depth * HEIGHT
        ours = "kubiya_worker" in name
        fits = escape(name[: max(0, int(width / (FONT * 0.58)))]) if width > 25 else ""
        place = f'x="{x:.1f}" y="{top}" width="{max(width - 0.5, 0.5):.1f}" height="{HEIGHT - 1}"'
        text = f'<text x="{x + 2:.1f}" y="{top + 11}">{fits}</text>' if fits else ""
        colour = "#e8833a" if ours else "#f3cf7a"
        boxes.append(f'<g><title>{escape(name)}: {share:.1%}</title><rect {place} fill="{colour}"/>{text}</g>')
        for inner, called in sorted(box.calls.items()):
            draw(inner, called, x, depth + 1)
            x += called.samples / whole.samples * WIDTH

    draw("all", whole, 0, 0)
    height = 24 + (deepest + 1) * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" '
        f'font-size="{FONT}"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="4" y="15" font-size="12">{escape(title)} ({whole.samples} samples; orange: Kubiya Worker)</text>'
        + "\n".join(boxes)
        + "</svg>\n"
    )


if __name__ == "__main__":
    stacks, picture, title = sys.argv[1:4]
    Path(picture).write_text(drawn(read(Path(stacks).read_text()), title))
