"""This module models query strings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.edges.base import LARGEST, Filters, Skip, cut
from kubiya_worker.server.edges.problems import nearest
from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store.execution_search import place_of

KINDS = ("agent", "team", "dynamic", "workflow", "plan_generation")
EVERY = "all"


def _word(words: tuple[str, ...]) -> AfterValidator:
    def check(word: str, info: ValidationInfo) -> str:
        lowered = word.lower()
        if lowered not in words:
            near = nearest(lowered, words)
            context = {
                "name": info.field_name or "",
                "words": ", ".join(words),
                "near": f"Did you mean {near}? " * bool(near),
            }
            raise PydanticCustomError("enum", "{near}{name} is one of {words}", context)
        return lowered

    return AfterValidator(check)


def _words_of(text: str, known: tuple[str, ...], name: str) -> str:
    """Return the words of a list with commas, as they are known."""
    checked = []
    for word in text.lower().split(","):
        known_word = word.strip()
        if known_word not in known:
            near = nearest(known_word, known)
            context = {"name": name, "words": ", ".join(known), "near": f"Did you mean {near}? " * bool(near)}
            raise PydanticCustomError("enum", "{near}{name} is one of {words}, or several with commas", context)
        checked.append(known_word)
    return ",".join(checked)


STATUSES = (EVERY, *sorted(ex.STATUSES | {ex.TERMINATED}))
Statuses = Annotated[str, AfterValidator(lambda text: _words_of(text, STATUSES, "status"))]
Status = Annotated[str, _word(STATUSES)]
ApprovalStatus = Annotated[str, _word((ap.PENDING, ap.APPROVED, ap.REJECTED, ap.EXPIRED))]


def statuses_of(*words: str) -> frozenset[str]:
    """Return the statuses of the first list that does not ask for all; none for all."""
    lists = (frozenset(each.split(",")) for each in words)
    return next((each for each in lists if EVERY not in each), frozenset())


class Page(Filters):
    """Part of a list."""

    skip: Skip = 0
    limit: Annotated[int, cut(1, LARGEST)] = LARGEST


class WorkerFilters(Filters):
    """`gone` adds the workers that left or fell silent in the last day; they have `disconnect`, with the reason."""

    gone: bool = False


class Deletion(Filters):
    """`force` ends or disables whoever needs what is deleted."""

    force: bool = False


class AuthorityFilters(Filters):
    """The agent or team whose rules and skills are asked for."""

    kind: Annotated[str, _word(("agent", "team"))] = "agent"
    entity: str = ""


def _moment(text: str) -> str:
    """Return a time as records have it, which text can compare; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PydanticCustomError("datetime_parsing", "Input should be a time such as 2026-11-28T12:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


Moment = Annotated[str, AfterValidator(_moment)]


def _cursor(text: str) -> str:
    """Return a cursor; an empty one asks for the first page."""
    try:
        if text:
            place_of(text)
    except ValueError:
        raise PydanticCustomError("cursor", "Input should be a cursor that this list gave; leave it empty") from None
    return text


class ExecutionFilters(Filters):
    """These filters say which executions. With `cursor`, also an empty one, the answer is a page {executions, next}.

    `status` may have several with commas; `status_filter` is the published name for one. `agent` is an agent or a
    team, and `queue` a queue, by id or name. `person` is the id of who asked for it, or `me`. `since` is included and
    `until` is not. `text` looks in the prompt, the agent's name and the id; `id` is the beginning of an id. `waits`
    leaves those with an open request to a person. `summary` leaves out fields that can be long.
    """

    status_filter: Status = EVERY
    status: Statuses = EVERY
    execution_type: Annotated[str, _word(KINDS)] = ""
    agent: str = ""
    queue: str = ""
    person: str = ""
    since: Moment = ""
    until: Moment = ""
    text: Annotated[str, StringConstraints(max_length=200)] = ""
    id: Annotated[str, StringConstraints(min_length=4, max_length=100)] = ""
    waits: bool = False
    order: Annotated[str, _word(("newest", "oldest"))] = "newest"
    cursor: Annotated[str, AfterValidator(_cursor)] | None = None
    summary: bool = False
    skip: Skip = 0
    limit: Annotated[int, cut(1, 500)] = 50

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, query: Any) -> Any:
        """Leave out what is empty, but keep an empty cursor, which asks for the first page."""
        if not isinstance(query, dict):
            return query
        if "cursor" in query and query.get("skip"):
            raise PydanticCustomError("cursor", "skip cannot be used with cursor, which says where the page begins")
        return {k: v for k, v in query.items() if v or k == "cursor" or k not in cls.model_fields}


class QueueExecutionFilters(Filters):
    status: Status = EVERY
    limit: Annotated[int, cut(1, 200)] = 10


class EventFilters(Filters):
    """Events after a number."""

    after: Annotated[int, cut(0, 10**15)] = 0
    limit: Annotated[int, cut(1, 1000)] = 500


class Stream(Filters):
    last_event_id: str = ""


class SessionFilters(Filters):
    """`session_id` is the execution's id."""

    session_id: str = ""


class ApprovalFilters(Filters):
    """`queue` is that of the execution that asks, by id or name."""

    queue: str = ""
    status: ApprovalStatus = ""
    execution_id: str = ""
    requester_email: str = ""
    limit: Annotated[int, cut(1, 500)] = 50
    offset: Skip = 0


class PendingApprovalFilters(Filters):
    execution_id: str = ""


class JobFilters(Page):
    """`due` adds the time of each job's next run."""

    due: bool = False


class JobRunFilters(Filters):
    """`offset` is another name of `skip`."""

    skip: Skip = 0
    offset: Skip = 0
    limit: Annotated[int, cut(1, 500)] = 50


class DefinitionFilters(Filters):
    """`kind` is one of the kinds of definitions, in any case, also in the plural."""

    kind: str = ""


class ModelFilters(Filters):
    provider: str = ""
    runtime: str = ""
    type: str = ""


class InstallScript(Filters):
    deployment_type: str = "local"


class EnvironmentFilters(Filters):
    """`execution_id` adds the variables of that execution."""

    execution_id: str = ""


class AuditFilters(Filters):
    """`since` is included and `until` is not; `object` is the kind, id or name of what a record is about."""

    since: Moment = ""
    until: Moment = ""
    person: str = ""
    action: str = ""
    object: str = ""
    outcome: Annotated[str, _word(("", "done", "refused"))] = ""
    before: Skip = 0
    limit: Annotated[int, cut(1, 1000)] = 50


class AuditExport(Filters):
    """The number of the record after which the export begins."""

    after: Skip = 0
