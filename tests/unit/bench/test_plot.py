"""Plots as SVG: what is in the figures is in the picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from scripts.bench.plot import Panel, nice, svg


@pytest.mark.parametrize(
    ("highest", "end"), [(0, 1), (1, 1), (1.2, 1.5), (36, 40), (181, 200), (0.07, 0.08), (81, 100)]
)
def test_an_axis_ends_at_a_round_number(highest: float, end: float) -> None:
    assert nice(highest) == pytest.approx(end)


def test_lines_go_from_edge_to_edge_and_from_zero_to_the_axis_end() -> None:
    drawn = svg("A & B", "step", [Panel("memory <MiB>", {"worker": [0, 50, 100], "server": [100, 100, 100]})])
    ElementTree.fromstring(drawn)
    assert "A &amp; B" in drawn and "memory &lt;MiB&gt;" in drawn and "3 step" in drawn
    worker, server = re.findall(r'points="([^"]+)"', drawn)
    (x0, y0), (_, middle), (x2, y2) = (tuple(map(float, point.split(","))) for point in worker.split())
    assert x2 - x0 == 680 and y0 - y2 == 120 and middle == (y0 + y2) / 2
    assert {point.split(",")[1] for point in server.split()} == {f"{y2:.1f}"}
