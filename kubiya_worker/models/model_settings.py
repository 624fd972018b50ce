"""This module reads an agent's model_config: the settings that models know, each in its own type. Pure."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

log = logging.getLogger(__name__)

STOP: Final = "stop"
THINKING: Final = "thinking"

_EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
# Settings that session.py, the endpoints and vision.py apply.
_APPLIED_ELSEWHERE: Final = ("timeout", "caching", "compatibility", "vision")


def read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by name: numbers, counts, `stop` (list of texts), `thinking` (true, false or a level).

    A value that does not fit its type, and a key that no model knows, is left out and logged at DEBUG.
    """
    chosen: dict[str, Any] = {}
    for name, value in settings.items():
        if value is None or name in _APPLIED_ELSEWHERE:
            continue
        if name not in _KNOWN:
            log.debug("models.setting_ignored name=%s", name)
            continue
        known_name, converted = _KNOWN[name]
        try:
            chosen[known_name] = converted(value)
        except (TypeError, ValueError, OverflowError):
            log.debug("models.setting_ignored name=%s reason=not_understood", name)
    return chosen


def _effort(value: Any) -> bool | str:
    """Return on (True), off (False) or a level; raise ValueError for anything else."""
    word = str(value).strip().lower()
    if word in ("true", "false", "none", "off", "on"):
        return word in ("true", "on")
    if word not in _EFFORTS:
        raise ValueError(value)
    return word


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):  # JSON has no such numbers, so the endpoint could not read the request
        raise ValueError(value)
    return number


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


_KNOWN: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    **{name: (name, _number) for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")},
    **{name: (name, int) for name in ("max_tokens", "seed", "top_k")},
    "parallel_tool_calls": ("parallel_tool_calls", bool),
    "response_format": ("response_format", _mapping),
    STOP: (STOP, _texts),
    "stop_sequences": (STOP, _texts),
    THINKING: (THINKING, _effort),
    "reasoning_effort": (THINKING, _effort),
}
NAMES: Final = frozenset(_KNOWN)
