"""This module says what Temporal has to know of an execution: its workflow, its search attributes, where it goes on."""

from __future__ import annotations

from typing import Any

from kubiya_worker.protocol import search
from kubiya_worker.server.conversations import Conversations
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.stores import Stores
from kubiya_worker.server.temporal import Workflow


def workflow_of(execution: Execution) -> Workflow:
    return Workflow(execution["id"], execution["execution_type"], execution["queue_id"])


def labels_of(execution: Execution) -> dict[str, str]:
    """Return the search attributes of an execution, as names that people know. Pure."""
    kind = search.TEAM if execution["execution_type"] == "team" else search.AGENT
    person = execution.get("user_email") or execution.get("user_name") or execution.get("requested_by")
    labels = {
        kind: execution["entity_name"],
        search.QUEUE: execution["runner_name"],
        search.ORGANIZATION: execution["organization_id"],
        search.PERSON: person,
        search.STATUS: execution["status"],
    }
    return {name: str(value) for name, value in labels.items() if value}


class RunWorkflows:
    """The workflows of executions, by the ids of these. An execution can be deleted at any time."""

    def __init__(self, stores: Stores, conversations: Conversations) -> None:
        self._stores, self._conversations = stores, conversations

    def find(self, execution_id: str) -> Workflow | None:
        place = self._stores.executions.place(execution_id)
        return Workflow(execution_id, *place) if place else None

    def labels(self, execution_id: str) -> dict[str, str]:
        """Return the search attributes of an execution."""
        execution = self._stores.execution_of(execution_id)
        return labels_of(execution) if execution is not None else {}

    def go_on(self, execution_id: str, argument: dict[str, Any]) -> dict[str, Any]:
        """Return the input of a workflow that goes on, now that the run before it has closed."""
        execution = self._stores.execution_of(execution_id)
        if execution is None:  # its workflow finds out that it was deleted
            return argument
        with self._stores.database.transaction():
            return {**argument, "sequel": {**argument["sequel"], **self._conversations.go_on(execution)}}
