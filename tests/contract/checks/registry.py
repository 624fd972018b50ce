"""One check for each rule that the double can switch off (tests/support/published_plane/rules.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.contract.control_planes import PlaneUnderTest
from tests.support.published_plane.rules import RULES

Check = Callable[[PlaneUnderTest], None]
CHECKS: Final[dict[str, Check]] = {}


def checks(rule: str) -> Callable[[Check], Check]:
    """Register what must hold of every control plane. Fails with AssertionError where it does not."""
    assert rule in RULES and rule not in CHECKS, rule

    def register(check: Check) -> Check:
        CHECKS[rule] = check
        return check

    return register
