"""These tests are about the JSON text that the stores and the replies of the control plane are made of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubiya_worker.server.store.database import dumps, loads


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"text": "ä \u2028 \x85 \U0001f600", "of ASCII": '\x00 \x7f \t "\\/'},
        {"half a pair": "\ud83d"},
        {"numbers": [0, -1, 10**30, 1e16, 1e-5, 0.1 + 0.2], "others": [True, None, {}, []]},
        _nested(600),
    ],
)
def test_a_value_is_one_line_of_ascii_and_comes_back(value: Any) -> None:
    made = dumps(value)
    assert made.isascii() and made.isprintable() | ("\x7f" in made) and len(made.splitlines()) == 1
    assert loads(made) == json.loads(made) == value


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        dumps({"a": object()})
