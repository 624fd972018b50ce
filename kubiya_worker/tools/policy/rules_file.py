"""This module reads the host's own rules (`KUBIYA_POLICY_FILE`), used beside the control plane's approval rules.

The file is YAML (or JSON): a list, or an object with the list as `rules`. A rule has the fields of an approval rule. An
unclear rule of the control plane asks a person; an unclear file is refused as a whole before the worker starts, because
its author is there to correct it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.policy import rules

KEYS: Final = (
    *("name", "description", "enabled", "priority", "action", "scope_type", "scope_value", "argument_pattern"),
    *("timeout_minutes", "require_reason", "approver_type", "approver_value"),
)
LARGEST: Final = 1 << 20  # bytes

Rule = dict[str, Any]


def read(path: str | None) -> list[Rule]:
    """Return the rules, none without a file; raise ConfigurationError with the file, the rule and the problem."""
    if not path:
        return []
    import yaml  # import here, so that a worker without such a file does not load it

    place = Path(path).expanduser()
    try:
        with place.open("rb") as file:
            raw = file.read(LARGEST + 1)
        document = yaml.safe_load(raw.decode()) if len(raw) <= LARGEST else None
    except OSError as error:
        raise ConfigurationError(
            f"The policy file {path} cannot be read: {error.strerror}", remedy="Check KUBIYA_POLICY_FILE"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        detail = " ".join(str(error).split())
        raise ConfigurationError(
            f"The policy file {path} is not valid YAML: {detail}", remedy="Mend the file"
        ) from error
    entries = document.get("rules") if isinstance(document, Mapping) and set(document) == {"rules"} else document
    if not isinstance(entries, list):
        raise ConfigurationError(f"The policy file {path} is no list of rules", remedy="Begin it with `rules:`")
    return [_rule(path, number, each) for number, each in enumerate(entries, 1)]


def _rule(path: str, number: int, raw: Any) -> Rule:
    name = str(raw.get("name") or "") if isinstance(raw, Mapping) else ""
    where = f"{path}: rule {number}{f' ({name})' if name else ''}"
    if isinstance(raw, Mapping):
        for key in raw:
            if key not in KEYS:
                near = difflib.get_close_matches(str(key), KEYS, 1)
                remedy = f"Did you mean {near[0]!r}?" if near else f"A rule has: {', '.join(KEYS)}"
                raise ConfigurationError(f"{where}: unknown key {key!r}", remedy=remedy)
    fault = rules.fault(raw)
    if fault:
        raise ConfigurationError(f"{where}: {fault}", remedy="Mend the file (docs/policy.md)")
    return {**raw, "name": name or f"{number} of {Path(path).name}"}
