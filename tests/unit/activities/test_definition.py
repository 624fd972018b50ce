from typing import Any

import pytest

from kubiya_worker.activities.definition import strictest


@pytest.mark.parametrize(
    ("settings", "taint"),
    [
        ((), "off"),
        ((None, None, "off"), "off"),
        (("off", False, None), "off"),  # YAML reads a bare off as false
        (("ask", "off", None), "ask"),
        ((None, None, "ask"), "ask"),
        (("aks", None, None), "ask"),
        ((None, True, None), "ask"),
    ],
)
def test_nobody_lifts_the_taint_policy_of_another(settings: tuple[Any, ...], taint: str) -> None:
    assert strictest(*settings) == taint
