"""This module says who may call which route: one table, which every route must stand in.

A new route needs a line here; without one the control plane does not start. Each line names the roles that may call it.
`| WHOLE` marks what touches the whole organization, or makes a new thing in it: a key that is limited to queues or
agents may not do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from kubiya_worker.server.person import ADMIN, APPROVER, OPERATOR, ROLES, VIEWER, WORKER, Person


@dataclass(frozen=True)
class Need:
    """The roles of which a caller needs one, and whether a limited key is refused."""

    roles: frozenset[str]
    whole: bool = False

    def __or__(self, other: Need) -> Need:
        return Need(self.roles | other.roles, self.whole or other.whole)

    def refusal(self, person: Person) -> str:
        """Return why this person may not; empty when they may. Pure."""
        if person.role not in self.roles:
            able = [role for role in ROLES if role in self.roles]
            return f"The key of {person.name} has the role {person.role}; this needs {_either(able)}"
        if self.whole and person.scope.limited:
            return f"The key of {person.name} is limited to some queues or agents; this concerns the whole organization"
        return ""


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _of(*roles: str) -> Need:
    return Need(frozenset(roles))


WHOLE: Final = replace(_of(), whole=True)
WORK: Final = _of(WORKER, ADMIN)  # what a worker asks; an admin may too, so that one key is enough on one's own host
READ: Final = _of(VIEWER, OPERATOR, APPROVER, ADMIN)
RUN: Final = _of(OPERATOR, ADMIN)
ANSWER: Final = _of(OPERATOR, APPROVER, ADMIN)  # which of them may answer a request: approvers.py
MANAGE: Final = _of(ADMIN)
ANY: Final = READ | WORK

# By the method and the path under /api/v1. Keep the table in the order of the paths.
NEEDS: Final[dict[str, Need]] = {
    "GET /agents": ANY,
    "POST /agents": MANAGE | WHOLE,
    "GET /agents/{entity}": ANY,
    "PATCH /agents/{entity}": MANAGE | WORK,  # a worker's key may change the status only: api/agents.py
    "DELETE /agents/{entity}": MANAGE,
    "POST /agents/{entity}/execute": RUN | WORK,  # a worker too, for an agent that asks another one
    "POST /agents/{entity}/test": RUN,
    "POST /analytics/batch": WORK,
    "GET /analytics/executions/{execution}/details": ANY,
    "POST /analytics/tool-calls": WORK,
    "POST /analytics/turns": WORK,
    "GET /approval-rules": ANY,
    "POST /approval-rules": MANAGE | WHOLE,
    "POST /approval-rules/resolve": ANY,
    "PUT /approval-rules/{rule}": MANAGE | WHOLE,
    "DELETE /approval-rules/{rule}": MANAGE | WHOLE,
    "GET /approvals": ANY,
    "POST /approvals": WORK,
    "GET /approvals/pending": ANY,
    "GET /approvals/{approval}": ANY,
    "POST /approvals/{approval}/approve": ANSWER,
    "POST /approvals/{approval}/expire": WORK,
    "POST /approvals/{approval}/reject": ANSWER,
    "GET /audit": MANAGE | WHOLE,
    "GET /audit/export": MANAGE | WHOLE,
    "GET /audit/head": MANAGE | WHOLE,
    "GET /audit/verify": MANAGE | WHOLE,
    "GET /auth/validate": ANY,
    "GET /authority": ANY,
    "POST /batch": ANY,  # each request of a batch needs what its own route needs
    "GET /client/config": ANY,
    "GET /definitions": READ | WHOLE,
    "POST /definitions/apply": MANAGE | WHOLE,
    "POST /definitions/read": READ,
    "GET /definitions/schema": READ,
    "POST /definitions/write": READ,
    "DELETE /definitions/{kind}/{name}": MANAGE | WHOLE,
    "GET /definitions/{kind}/{name}": READ | WHOLE,
    "GET /definitions/{kind}/{name}/history": READ | WHOLE,
    "POST /definitions/{kind}/{name}/rollback": MANAGE | WHOLE,
    "POST /dynamic-executions/execute": RUN | WHOLE,
    "GET /environments": READ,
    "POST /environments": MANAGE | WHOLE,
    "GET /environments/{environment}": READ,
    "PATCH /environments/{environment}": MANAGE | WHOLE,
    "DELETE /environments/{environment}": MANAGE | WHOLE,
    "POST /environments/{environment}/test": RUN | WHOLE,
    "GET /environments/{environment}/worker-queues": READ,
    "POST /environments/{environment}/worker-queues": MANAGE | WHOLE,
    "GET /execution-environment/agents/{entity}/resolved": WORK,
    "GET /execution-environment/agents/{entity}/resolved/full": WORK,
    "GET /execution-environment/environments/{environment}/resolved/full": WORK,
    "GET /execution-environment/mcp-servers/{server}/resolved/full": WORK,
    "GET /execution-environment/teams/{entity}/resolved": WORK,
    "GET /execution-environment/teams/{entity}/resolved/full": WORK,
    "GET /executions": READ,
    "POST /executions/batch/terminate": RUN,
    "POST /executions/create": WORK,
    "POST /executions/job-executions": WORK,
    "GET /executions/{execution}": ANY,
    "PATCH /executions/{execution}": WORK,
    "DELETE /executions/{execution}": MANAGE,
    "POST /executions/{execution}/cancel": RUN,
    "GET /executions/{execution}/context": WORK,
    "GET /executions/{execution}/details": READ,
    "GET /executions/{execution}/events": ANY,
    "POST /executions/{execution}/events": WORK,
    "POST /executions/{execution}/events/batch": WORK,
    "GET /executions/{execution}/files": ANY,  # a worker sends only what is not there yet
    "POST /executions/{execution}/files": WORK,
    "GET /executions/{execution}/files/{path:file}": ANY,  # a worker begins a fork with the files of its origin
    "POST /executions/{execution}/job/{job}/status": WORK,
    "POST /executions/{execution}/mark-done": RUN,
    "POST /executions/{execution}/message": RUN | WORK,
    "POST /executions/{execution}/pause": RUN,
    "POST /executions/{execution}/resume": RUN,
    "POST /executions/{execution}/retry": RUN,
    "POST /executions/{execution}/fork": RUN,
    "GET /executions/{execution}/session": ANY,
    "POST /executions/{execution}/session": WORK,
    "GET /executions/{execution}/stream": READ,
    "POST /executions/{execution}/terminate": RUN,
    "GET /hooks": READ | WHOLE,
    "POST /hooks": MANAGE | WHOLE,
    "GET /hooks/{hook}": READ | WHOLE,
    "PATCH /hooks/{hook}": MANAGE | WHOLE,
    "DELETE /hooks/{hook}": MANAGE | WHOLE,
    "GET /hooks/{hook}/deliveries": READ | WHOLE,
    "POST /hooks/{hook}/test": RUN | WHOLE,
    "GET /jobs": READ,
    "POST /jobs": RUN,
    "GET /jobs/{job}": READ,
    "PATCH /jobs/{job}": RUN,
    "DELETE /jobs/{job}": RUN,
    "POST /jobs/{job}/disable": RUN,
    "POST /jobs/{job}/enable": RUN,
    "GET /jobs/{job}/executions": READ,
    "POST /jobs/{job}/trigger": RUN,
    "DELETE /keys/{key}": MANAGE | WHOLE,
    "GET /keys": MANAGE | WHOLE,
    "POST /keys": MANAGE | WHOLE,
    "PATCH /keys/{key}": MANAGE | WHOLE,
    "GET /mcp-servers": READ | WHOLE,
    "POST /mcp-servers": MANAGE | WHOLE,
    "GET /mcp-servers/{server}": READ | WHOLE,
    "PATCH /mcp-servers/{server}": MANAGE | WHOLE,
    "DELETE /mcp-servers/{server}": MANAGE | WHOLE,
    "POST /mcp-servers/{server}/test": RUN | WHOLE,
    "GET /models": ANY,
    "GET /models/default": ANY,
    "GET /models/{model:path}": ANY,
    "GET /notifications": READ | WHOLE,
    "POST /notifications": MANAGE | WHOLE,
    "GET /notifications/{notification}": READ | WHOLE,
    "PATCH /notifications/{notification}": MANAGE | WHOLE,
    "DELETE /notifications/{notification}": MANAGE | WHOLE,
    "GET /notifications/{notification}/deliveries": READ | WHOLE,
    "POST /notifications/{notification}/retry": MANAGE | WHOLE,
    "POST /notifications/{notification}/test": MANAGE | WHOLE,
    "GET /runtimes": ANY,
    "GET /secrets": READ | WHOLE,
    "POST /secrets/resolve": WORK,  # of the admins the local user only: api/secrets.py
    "DELETE /secrets/{secret}": MANAGE | WHOLE,
    "PUT /secrets/{secret}": MANAGE | WHOLE,
    "DELETE /session": ANY,
    "GET /session": ANY,
    "POST /session": ANY,
    "DELETE /sessions": ANY,
    "GET /skills": READ | WHOLE,
    "POST /skills": MANAGE | WHOLE,
    "GET /skills/associations/agents/{entity}/skills/resolved": ANY,
    "GET /skills/associations/agents/{entity}/toolsets/resolved": ANY,
    "GET /skills/associations/teams/{entity}/skills/resolved": ANY,
    "GET /skills/associations/teams/{entity}/toolsets/resolved": ANY,
    "DELETE /skills/{skill}": MANAGE | WHOLE,
    "PATCH /skills/{skill}": MANAGE | WHOLE,
    "GET /skills/{skill}": ANY,
    "GET /stored-models": READ | WHOLE,
    "POST /stored-models": MANAGE | WHOLE,
    "DELETE /stored-models/{model}": MANAGE | WHOLE,
    "GET /stored-models/{model}": READ | WHOLE,
    "PATCH /stored-models/{model}": MANAGE | WHOLE,
    "POST /stored-models/{model}/test": RUN | WHOLE,
    "DELETE /stop": MANAGE | WHOLE,
    "GET /stop": ANY,
    "POST /stop": ANSWER | WHOLE,
    "GET /teams": ANY,
    "POST /teams": MANAGE | WHOLE,
    "GET /teams/{entity}": ANY,
    "PATCH /teams/{entity}": MANAGE,
    "DELETE /teams/{entity}": MANAGE,
    "POST /teams/{entity}/execute": RUN | WORK,
    "POST /teams/{entity}/test": RUN,
    "DELETE /teams/{team}/agents/{agent}": MANAGE,
    "POST /teams/{team}/agents/{agent}": MANAGE,
    "GET /worker-queues": ANY,
    "GET /worker-queues/{queue}": ANY,
    "PATCH /worker-queues/{queue}": MANAGE,
    "DELETE /worker-queues/{queue}": MANAGE | WORK,  # a worker's key may delete an ephemeral one only: api/queues.py
    "GET /worker-queues/{queue}/config": ANY,
    "GET /worker-queues/{queue}/executions": ANY,
    "GET /worker-queues/{queue}/install-script": READ,
    "GET /worker-queues/{queue}/metrics": ANY,
    "POST /worker-queues/{queue}/start": WORK,
    "GET /worker-queues/{queue}/update-lock-status": ANY,
    "GET /worker-queues/{queue}/worker-command": READ,
    "GET /worker-queues/{queue}/workers": ANY,
    "DELETE /worker-queues/{queue}/workers/{worker}/update-lock": WORK,
    "POST /worker-queues/{queue}/workers/{worker}/update-lock": WORK,
    "GET /workers": READ,
    "GET /workers/{queue}/health": READ,
    "POST /workers/{worker}/disconnect": WORK,
    "POST /workers/{worker}/drain": RUN,
    "POST /workers/{worker}/heartbeat": WORK,
    "POST /workers/{worker}/restart": RUN,
    "POST /workers/{worker}/undrain": RUN,
}
# Paths that are not in the table: they hold no data, or check a proof of their own: a webhook and a hook their
# sender's, an answer from a message its token, a sign-in what the provider says, /mcp and /a2a a key, with which they
# ask the routes of the table, and the metrics, which are counts only, a key where the client is not on this host.
OPEN: Final = frozenset(
    {
        "/health",
        "/api/health",
        "/api/health/detailed",
        "/api/ready",
        "/metrics",
        "/api/v1/jobs/webhook/{path}",
        "/hooks/{name}",
    }
    | {"/openapi.json", "/api", "/", "/static/{name}", "/mcp"}
    | {"/a2a/{kind}/{name}", "/a2a/{kind}/{name}/.well-known/agent-card.json"}
    | {"/auth/oidc", "/auth/oidc/callback", "/api/v1/session/providers"}
    | {"/answers/{token}", "/answers/mattermost", "/answers/slack"}
)
PREFIX: Final = "/api/v1"


def need_of(method: str, path: str) -> Need:
    """Return what a route needs; raise LookupError for a route that nobody has decided about."""
    try:
        return NEEDS[f"{method} {path.removeprefix(PREFIX)}"]
    except KeyError:
        raise LookupError(f"{method} {path} has no line in the table of server/access.py") from None


def routes_of(person: Person) -> list[str]:
    """Return the routes that a person may call, in the table's words: a page offers nothing else. Pure."""
    return [route for route, need in NEEDS.items() if not need.refusal(person)]
