"""Read what an agent or team works with, and what restricts it: definition, skills, environment, rules.

Our local control plane gives each of these in one answer, when it has announced that. At a published one it is put
together from several routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from kubiya_worker.control_plane import errors, lenient
from kubiya_worker.control_plane.answers import API, OPTIONAL_TIMEOUT, Answers
from kubiya_worker.protocol import names

if TYPE_CHECKING:
    from kubiya_worker.control_plane.direct import DirectConnections


class Contexts:
    """Read contexts of executions at `base_url`. `features` returns what the control plane has announced."""

    def __init__(self, base_url: str, answers: Answers, features: Callable[[], frozenset[str]]) -> None:
        self._base_url, self._answers, self._features = base_url, answers, features

    def execution_context(self, execution_id: str, entity_id: str, kind: str = "agent") -> dict[str, Any]:
        """Return {execution, agent or team, skills, environment, approval_rules, session}; failed parts are empty."""
        if names.FEATURE_CONTEXT in self._features():
            return _with_rules(self._answers.object("GET", f"/executions/{execution_id}/context"), "approval_rules")
        return {**self.execution_parts(execution_id), **self.entity_context(kind, entity_id, execution_id)}

    async def directly(self, connections: DirectConnections, execution_id: str) -> dict[str, Any] | None:
        """Do what `execution_context` does, from the event loop.

        Return None where the caller has to use `execution_context` instead.
        """
        if names.FEATURE_CONTEXT not in self._features():
            return None
        path = f"{urlsplit(self._base_url).path}{API}/executions/{quote(execution_id, safe='')}/context"
        answer = await connections.call("GET", path, b"")
        return answer if isinstance(answer, dict) and isinstance(answer.get("approval_rules"), list) else None

    def execution_parts(self, execution_id: str) -> dict[str, Any]:
        """Return {execution, session, approval_rules}: the parts that do not depend on the agent or team."""
        return {
            "execution": self._answers.optional(f"/executions/{execution_id}", {}),
            "approval_rules": self.rules(),
            "session": self._answers.optional(f"/executions/{execution_id}/session", None),
        }

    def entity_context(self, kind: str, entity_id: str, execution_id: str) -> dict[str, Any]:
        """Return {agent or team, skills, environment, approval_rules} of an entity that works in `execution_id`."""
        return {
            kind: self._answers.required(f"/{kind}s/{quote(entity_id, safe='')}", {}),
            "skills": self._answers.or_default(
                f"/skills/associations/{kind}s/{entity_id}/skills/resolved", [], execution_id
            ),
            "environment": self.environment(kind, entity_id, execution_id),
            "approval_rules": self.rules(),
        }

    def environment(self, kind: str, entity_id: str, execution_id: str) -> dict[str, Any]:
        """Return variables, servers and prompt of an agent or team. The execution's own variables win.

        For a test, `execution_id` is the test's token, and `kind` one of names.TRIAL_KINDS.
        """
        path = f"/execution-environment/{kind}s/{entity_id}/resolved/full?execution_id={quote(execution_id, safe='')}"
        return dict(self._answers.or_default(path, {}, execution_id))

    def rules(self) -> list[Any]:
        """Return the organization's approval rules; none where the control plane has no such route."""
        return list(self._answers.required("/approval-rules", []))

    def authority(self, kind: str, entity_id: str) -> dict[str, Any]:
        """Return what holds now for an agent or team: {rules, skills, stopped}.

        The published control plane has no such route: there it is put together, without `stopped`.
        """
        if names.FEATURE_AUTHORITY in self._features():
            path = f"/authority?kind={kind}&entity={quote(entity_id, safe='')}"
            answer = _with_rules(self._answers.object("GET", path, timeout=OPTIONAL_TIMEOUT), "rules")
            stopped = answer.get("stopped") or None
            if stopped is not None and not isinstance(stopped, dict):
                stopped = {"reason": str(stopped)}
            return {**answer, "skills": _skills(answer.get("skills")), "stopped": stopped}
        skills: list[Any] | None = None
        try:
            answer = self._answers.call(
                "GET", f"/skills/associations/{kind}s/{entity_id}/skills/resolved", timeout=OPTIONAL_TIMEOUT
            )
            skills = _skills(answer)
        except errors.ControlPlaneError as error:
            if error.outage:
                raise
        return {"rules": self.rules(), "skills": skills}


def _skills(found: Any) -> list[dict[str, Any]] | None:
    """Return skills; None where the answer holds none that can be read. What is no skill allows nothing."""
    return lenient.only_objects(found) if isinstance(found, list) else None


def _with_rules(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an answer that has a list of rules under `name`; one without says nothing about what is allowed."""
    if not isinstance(told.get(name), list):
        raise errors.Unreachable(f"The control plane's answer has no list {name!r}", remedy="It is tried again")
    return told
