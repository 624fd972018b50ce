"""Each check of the contract fails when the double breaks its rule: a check that cannot fail proves nothing."""

from __future__ import annotations

import pytest

from tests.contract.checks import CHECKS
from tests.contract.control_planes import SHORT, PlaneUnderTest
from tests.support.published_plane.rules import RULES


@pytest.mark.parametrize("rule", RULES)
def test_check_fails_without_its_rule(planes: dict[str, PlaneUnderTest], rule: str) -> None:
    plane = planes["published"]
    assert plane.world is not None
    plane.world.broken, plane.world.longest = {rule}, SHORT
    try:
        with pytest.raises((AssertionError, KeyError, ValueError, IndexError)):
            CHECKS[rule](plane)
    finally:
        plane.world.broken = set()
