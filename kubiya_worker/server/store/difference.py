"""This module says what changed in an object, for a record that is kept for ever and shown to many. Pure.

Only fields that are listed here are shown with their values. All others are shown by name with `(hidden)`, since a
definition can hold a credential anywhere: in a variable, a header, an argument of a program. Long texts are shown as
their SHA-256, which proves later which text it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker import credentials

Object = dict[str, Any]
Path = tuple[str, ...]
HIDDEN: Final = "(hidden)"
LONGEST: Final = 1000  # characters of a value, as text
MOST: Final = 300  # fields of one object
# Of every object.
SHOWN: Final = frozenset(
    (
        *("name", "display_name", "description", "status", "enabled", "tags", "type", "capabilities", "worker_type"),
        *("model", "model_id", "runtime", "runner_name", "team_id", "environment_id", "environment_ids", "queue_id"),
        *("scope_type", "scope_value", "approver_type", "approver_value", "auto_approve_roles", "require_reason"),
        *("separate_approver", "timeout_minutes", "priority", "action", "argument_pattern"),
        *(
            "trigger_type",
            "cron_schedule",
            "cron_timezone",
            "overlap_policy",
            "catch_up_seconds",
            "planning_mode",
            "entity_type",
            "entity_id",
            "entity_name",
        ),
        *("executor_type", "worker_queue_name", "environment_name", "max_workers", "heartbeat_interval", "ephemeral"),
        *("single_execution_mode", "auto_cleanup_after_seconds", "mode", "leader_id", "member_ids", "member_timeout"),
        *("allowed_commands", "blocked_commands", "allowed_paths", "blocked_paths", "read_paths", "write_paths"),
        *("allowed_hosts", "allowed_tools", "disallowed_tools", "permission_mode", "read_only", "base_dir", "cwd"),
        *("working_dir", "timeout", "execution_type", "parent_execution_id", "error_message", "risk_level"),
        *("fork_of", "fork_at", "ref"),
        *("edited_arguments_hash", "expires_at", "approved_by_email", "approved_by_name", "rejection_reason"),
        *("comment", "requester_email", "reason", "at", "paused", "id", "email", "role", "groups", "queues", "agents"),
        *("revoked_at", "answered_by", "events", "teams", "person"),
    )
)
PLACES: Final = frozenset({"configuration", "config", "scopes", "by", "channel", "filters"})
# Texts of which a record proves what they were, without telling them.
TEXTS: Final = frozenset({"system_prompt", "prompt", "prompt_template", "instructions"})
# What says nothing about a decision.
LEFT_OUT: Final = frozenset(
    {"id", "created_at", "updated_at", "organization_id", "state", "last_active_at", "icon"} | {"schedule_since"}
)


def difference(before: Object | None, after: Object | None) -> tuple[Object, Object]:
    """Return the fields that differ, as {path: shown value} before and after; one side alone shows all that it says."""
    old, new = _flat(before or {}), _flat(after or {})
    paths = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    if before is None or after is None:  # what is empty says nothing about an object that comes or goes
        paths = [path for path in paths if old.get(path, new.get(path)) not in (None, "", [], {})]
    left_out = len(paths) - MOST
    sides = [{".".join(path): _shown(path, side[path]) for path in paths[:MOST] if path in side} for side in (old, new)]
    if left_out > 0:
        sides[1]["…"] = f"{left_out} fields more"
    return sides[0], sides[1]


def _flat(value: Mapping[str, Any], path: Path = ()) -> dict[Path, Any]:
    """Return the leaves by their paths. A list of objects with names counts as an object, by these names."""
    flat: dict[Path, Any] = {}
    for key, inner in value.items():
        if not path and key in LEFT_OUT:
            continue
        place, inner = (*path, str(key)), _by_name(inner)
        if isinstance(inner, Mapping) and inner:
            flat |= _flat(inner, place)
        else:
            flat[place] = inner
    return flat


def _by_name(value: Any) -> Any:
    if not isinstance(value, list) or not value or not all(isinstance(v, Mapping) and v.get("name") for v in value):
        return value
    named = {str(v["name"]): {k: item for k, item in v.items() if k not in ("name", *LEFT_OUT)} for v in value}
    return named if len(named) == len(value) else value


def _shown(path: Path, value: Any) -> Any:
    *parents, field = path
    if value is None or value == "" or value == [] or value == {}:
        return value
    if field in TEXTS and isinstance(value, str):
        return _proof(value)
    if field == "edited_arguments_hash":  # long and mixed as a credential is
        return value
    if field not in SHOWN or not _is_place(parents):
        return HIDDEN
    if isinstance(value, list):
        if not all(isinstance(each, str | int | bool) for each in value):
            return HIDDEN
        value, text = [_plain(each) for each in value], "\n".join(map(str, value))
        return value if len(text) <= LONGEST else _proof(text)
    return _plain(value)


def _is_place(parents: list[str]) -> bool:
    """Return whether the names there are ours: a variable or a header may be called `name` or `path` too."""
    if parents[:1] == ["skills"]:
        return len(parents) == 2 or (len(parents) == 3 and parents[2] == "configuration")
    return not parents or (len(parents) == 1 and parents[0] in PLACES)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int) or value is None:
        return value
    text = str(value)
    if next(credentials.of_text(text), None) is not None:
        return HIDDEN
    return text if len(text) <= LONGEST else _proof(text)


def _proof(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"sha256:{digest} of {len(text):,} characters"
