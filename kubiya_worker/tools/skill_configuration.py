"""This module reads a skill as the control plane resolves it (docs/protocol.md#a8), key by key with types and limits.

Anything unclear is a ConfigurationError that names the skill, the key and the right form. A misspelt key that is
ignored would be a restriction that nobody enforces.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError

_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}


@dataclass(frozen=True)
class Skill:
    """One enabled skill; `configuration` has only keys that its type knows, and null means the default."""

    name: str
    type: str
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Skill | None:
        """Return the skill, or None if it is switched off.

        A skill without a type is known by its name (docs/protocol.md#d3).
        """
        name = str(raw.get("name") or raw.get("id") or "unnamed")
        enabled = raw.get("enabled", True)
        if not isinstance(enabled, bool):
            raise ConfigurationError(f"skill {name!r}: `enabled` is {enabled!r}", remedy="Set it to true or false")
        if not enabled:
            return None
        configuration = raw.get("configuration") or {}
        if not isinstance(configuration, Mapping):
            raise ConfigurationError(f"skill {name!r}: `configuration` is not an object", remedy="Send a JSON object")
        return cls(name, str(raw.get("type") or name).strip().lower(), configuration)

    def check_keys(self, known: Iterable[str]) -> None:
        names = sorted(known)
        for key in self.configuration:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, 1)
                hint = f"Did you mean `{near[0]}`?" if near else f"Known keys: {', '.join(names) or 'none'}"
                raise ConfigurationError(
                    f"skill {self.name!r} ({self.type}): unknown configuration key `{key}`",
                    remedy=hint,
                )

    def wrong(self, key: str, wanted: str) -> ConfigurationError:
        value = repr(self.configuration.get(key))
        shown = value if len(value) <= 80 else f"{value[:77]}..."
        return ConfigurationError(
            f"skill {self.name!r} ({self.type}): `{key}` is {shown}", remedy=f"It must be {wanted}"
        )

    def flag(self, key: str, default: bool) -> bool:
        value = self.configuration.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self.configuration.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or "\0" in value:
            raise self.wrong(key, "a string")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self.configuration.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.wrong(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def size(self, key: str, default: int | None) -> int | None:
        """Return a size in bytes: a whole number, or a text such as "10MB" (units of 1024)."""
        value = self.configuration.get(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        match = re.fullmatch(r"\s*(\d{1,12})\s*([A-Za-z]{0,2})\s*", value) if isinstance(value, str) else None
        if match is None or match[2].lower() not in _UNITS or int(match[1]) == 0:
            raise self.wrong(key, 'a number of bytes above 0, or a string such as "10MB"')
        return int(match[1]) * _UNITS[match[2].lower()]

    def strings(self, key: str, default: Sequence[str] | None) -> tuple[str, ...] | None:
        """Return a list of non-empty texts; one text with commas is the same as a list."""
        value = self.configuration.get(key)
        if value is None:
            return None if default is None else tuple(default)
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item.strip() for item in value):
            raise self.wrong(key, "a list of strings")
        return tuple(item.strip() for item in value)
