"""The client reads what restricts an execution as a whole or not at all; a fault is never "no restriction"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.protocol import names
from tests.support.scripted_plane import Reply, ScriptedPlane, Seen

AGENT = {"id": "a", "name": "ops", "configuration": {"disallowed_tools": ["shell"]}}
RULES = [{"id": "r", "scope_type": "all", "action": "deny"}]
BROKEN = [Reply(500, "Internal Server Error"), Reply(503, "away"), Reply(403, {}), Reply(200, {}), Reply(200, "text")]
BROKEN += [Reply(200, None), Reply(204)]


@pytest.fixture
def plane() -> Iterator[ScriptedPlane]:
    with ScriptedPlane() as running:
        yield running


def answering(plane: ScriptedPlane, end: str, reply: Reply) -> None:
    """Let the route whose path ends so give this reply, and the others sound ones."""
    sound: dict[str, Any] = {
        "/agents/a": AGENT,
        "/approval-rules": RULES,
        "/resolved": [],
        "/executions/e": {"id": "e"},
    }

    def answer(seen: Seen) -> Reply:
        path = seen.path.partition("?")[0]
        if path.endswith(end):
            return reply
        return next((Reply(200, body) for known, body in sound.items() if path.endswith(known)), Reply(404, {}))

    plane.others = answer


def client_of(plane: ScriptedPlane, *features: str) -> ControlPlane:
    return ControlPlane(plane.url, "key", features=frozenset(features))


@pytest.mark.parametrize("reply", BROKEN, ids=lambda reply: f"{reply.status}-{reply.body}")
def test_rules_that_cannot_be_read_begin_nothing(plane: ScriptedPlane, reply: Reply) -> None:
    answering(plane, "/approval-rules", reply)
    client = client_of(plane)
    for read in (
        client.contexts.rules,
        lambda: client.contexts.execution_context("e", "a"),
        lambda: client.contexts.authority("agent", "a"),
    ):
        with pytest.raises(errors.ControlPlaneError):
            read()


@pytest.mark.parametrize("reply", [*BROKEN[:3], Reply(200, []), Reply(204)], ids=lambda r: f"{r.status}-{r.body}")
def test_a_configuration_that_cannot_be_read_begins_nothing(plane: ScriptedPlane, reply: Reply) -> None:
    answering(plane, "/agents/a", reply)
    with pytest.raises(errors.ControlPlaneError):
        client_of(plane).contexts.execution_context("e", "a")


def test_a_control_plane_without_rules_or_a_row_has_none(plane: ScriptedPlane) -> None:
    answering(plane, "/approval-rules", Reply(404, {}))
    assert client_of(plane).contexts.execution_context("e", "a")["approval_rules"] == []
    answering(plane, "/agents/a", Reply(404, {}))  # a dynamic agent, whose definition is in the workflow's input
    assert client_of(plane).contexts.execution_context("e", "a")["agent"] == {}


@pytest.mark.parametrize("body", [{}, {"rules": None, "approval_rules": None}, []])
def test_one_answer_with_everything_counts_only_with_its_rules(plane: ScriptedPlane, body: Any) -> None:
    client = client_of(plane, names.FEATURE_CONTEXT, names.FEATURE_AUTHORITY)
    plane.others = lambda seen: Reply(200, body)
    with pytest.raises(errors.Unreachable):
        client.contexts.execution_context("e", "a")
    with pytest.raises(errors.Unreachable):
        client.contexts.authority("agent", "a")
