"""One contract for every control plane: the local one, and the double of the published one."""

from __future__ import annotations

import pytest

from tests.contract.checks import CHECKS
from tests.contract.control_planes import LONG, PlaneUnderTest
from tests.support.published_plane.rules import RULES


def test_each_rule_has_a_check() -> None:
    assert set(CHECKS) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["published", "ours"])
def test_control_plane_keeps(planes: dict[str, PlaneUnderTest], name: str, rule: str) -> None:
    plane = planes[name]
    if plane.world is not None:
        plane.world.longest = LONG
    CHECKS[rule](plane)
