"""This module asks the control plane for all that a test of a run needs, and writes the test as YAML or JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from kubiya_worker import credentials, definition_text
from kubiya_worker.cli import run_test_export
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.api.runs import Run, RunApi
from kubiya_worker.cli.run_calls import RunReading
from kubiya_worker.control_plane.errors import Refused
from kubiya_worker.errors import UsageError
from kubiya_worker.protocol import execution as ex

LEAST: Final = 8  # characters of a variable's value that is taken out of a test
PENDING: Final = "pending"
KINDS: Final = ("agent", "team")


def text_of(api: RunApi, run: Run, name: str, *, as_json: bool) -> str:
    """Return the test of an execution. Raises UsageError for one that cannot be a test."""
    execution_id, kind, status = str(run["id"]), str(run.get("execution_type")), str(run.get("status"))
    if kind not in KINDS:
        raise UsageError(
            f"An execution of the kind {kind} cannot be a test: what ran is stored nowhere",
            remedy="Export a run of an agent or of a team: kubiya runs ls lists them",
        )
    if not ex.is_final(status) and status != ex.WAITING:
        raise UsageError(f"The execution is {status}", remedy="Wait until it is over: kubiya runs watch")
    entity = str(run.get("entity_name"))
    reading = RunReading(entity, api.events(execution_id))
    needed = run_test_export.needed(kind, entity, reading, DefinitionsApi(api.api).all())
    if not any(each["kind"].lower() == kind and each["name"] == entity for each in needed):
        raise UsageError(f"There is no {kind} {entity!r} any more", remedy="kubiya rollback brings one back")
    at = str(run.get("created_at") or "")
    definitions = [
        run_test_export.as_it_was(each, DefinitionsApi(api.api).history(str(each["kind"]), str(each["name"])), at)
        for each in needed
    ]
    approvals = _approvals(api, execution_id)
    if any(each.get("status") == PENDING for each in approvals):
        raise UsageError("The execution waits for a person", remedy="Answer it first: kubiya approvals ls")
    whole = _whole(api, execution_id)
    document = run_test_export.document(name, run, reading, definitions, approvals, whole, _secrets())
    return (
        json.dumps(document, ensure_ascii=False, indent=1) if as_json else definition_text.dump([document]).rstrip("\n")
    )


def _approvals(api: RunApi, execution_id: str) -> list[dict[str, Any]]:
    """Return the requests to people, oldest first."""
    stored = api.api.ask("GET", f"/approvals?execution_id={quote(execution_id, safe='')}&limit=500")
    rows = [each for each in stored or () if isinstance(each, dict) and each.get("execution_id") == execution_id]
    return sorted(rows, key=lambda each: str(each.get("created_at") or each.get("requested_at") or ""))


def _whole(api: RunApi, execution_id: str) -> dict[str, str]:
    """Return what the model read of each call: an event has only its beginning."""
    try:
        session = api.api.ask("GET", f"/executions/{quote(execution_id, safe='')}/session")
    except Refused:  # it has none
        return {}
    messages = session.get("messages") if isinstance(session, Mapping) else None
    return {
        str(each["tool_call_id"]): str(each.get("content") or "")
        for each in messages or ()
        if each.get("role") == "tool" and each.get("tool_call_id")
    }


def _secrets() -> list[str]:
    """Return the values of this shell's secret variables, such as the key of the control plane."""
    named = ((name, value) for name, value in os.environ.items() if credentials.names_a_secret(name))
    return [value for _, value in named if len(value) >= LEAST]
