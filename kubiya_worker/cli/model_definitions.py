"""`kubiya models edit`, `rm` and `history`: stored models; and the models that the control plane gives to workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from kubiya_worker.cli import choice, completion, kinds, tables
from kubiya_worker.cli import definitions as definition_commands
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.connection import Api, connect, not_offered
from kubiya_worker.control_plane import errors
from kubiya_worker.errors import NotAllowed, UsageError, WorkerError
from kubiya_worker.protocol import model_entries

Object = dict[str, Any]
KIND: Final = "models"
STORED: Final = "stored"
QUEUE: Final = "queue"
WORKER: Final = "worker"
PATIENCE: Final = (2.0, 5.0)  # seconds to connect, and for an answer: a list of this host's models does not wait long


@dataclass(frozen=True)
class StoredModels(kinds.Noun):
    """The kind `Model`; a name that only a queue's own list has is said to be there."""

    def name(self, api: Api, key: str) -> str:
        try:
            return super().name(api, key)
        except UsageError:
            listed = next((row for row in of_queues(api) if row["model"] == key), None)
            if listed is None:
                raise
            queue = listed["queues"][0]
            raise UsageError(
                f"The model {key!r} is in the queue {queue!r}'s own list", remedy=f"kubiya queues edit {queue}"
            ) from None


MODELS: Final = StoredModels(KIND, (), "small")
_COMMANDS: Final = kinds.commands_of(MODELS)
edit: Final = _COMMANDS["edit"]
rm: Final = _COMMANDS["rm"]


@click.command(context_settings=kinds.SETTINGS)
@click.argument("name", shell_complete=completion.names(KIND))
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each version.")
@tables.output(default=tables.TEXT)
@click.pass_context
def history(ctx: click.Context, name: str, as_json: bool, output: str) -> None:
    """List the versions of a stored model, newest first. `kubiya rollback model NAME VERSION` goes back to one.

    Example: kubiya models history small
    """
    ctx.invoke(definition_commands.history, kind=KIND, name=name, as_json=as_json, output=output)


def api_here() -> Api | None:
    """Return the control plane that the environment names; None when it names none."""
    try:
        return connect()
    except NotAllowed:
        return None


def stored(api: Api) -> list[Object]:
    """Return the stored models; none where this key or this control plane has no such list."""
    try:
        answer = api.ask("GET", completion.LISTS[KIND], timeout=PATIENCE)
    except errors.ControlPlaneError as error:
        if not_offered(error):
            return []
        raise
    return [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []


def stored_name(api: Api, key: str) -> str | None:
    """Return the name of the stored model that a name, an id or the beginning of one means; None for none."""
    rows, begun = stored(api), key.lower()
    if not any(str(row[field]).lower().startswith(begun) for row in rows for field in ("name", "id")):
        return None
    return str(choice.choose("model", key, rows)["name"])


def rows(api: Api) -> list[Object]:
    """Return the models that workers get from the control plane, as rows of `kubiya models ls`."""
    return [*(_stored_row(row) for row in stored(api)), *of_queues(api)]


def rows_on(queue: str) -> list[Object]:
    """Return the models that the workers of a queue get. Raises UsageError, which lists the queues."""
    api = connect()
    name = QueuesApi(api).find(queue)["name"]
    return [row for row in rows(api) if name in row["queues"] or (row["origin"] == STORED and not row["queues"])]


def of_queues(api: Api) -> list[Object]:
    """Return the entries of queues' own lists; none where this key has no list of queues."""
    try:
        queues = api.ask("GET", completion.LISTS["queues"], timeout=PATIENCE)
    except errors.ControlPlaneError as error:
        if not_offered(error):
            return []
        raise
    return [
        _row(str(entry["model_name"]), QUEUE, entry.get("litellm_params") or {}, [str(queue["name"])])
        for queue in queues
        for entry in model_entries.own_list(queue)
    ]


def _stored_row(model: Mapping[str, Any]) -> Object:
    hidden = model.get("hidden_in") or []
    note = f"hidden by the own list of {', '.join(hidden)}" if hidden else None
    row = _row(str(model["name"]), STORED, model, model.get("queues") or [])
    return {**row, "used_by": [str(each["name"]) for each in model.get("used_by") or ()], "note": note}


def _row(name: str, origin: str, params: Mapping[str, Any], queues: list[str]) -> Object:
    upstream = str(params.get("model") or "")
    return {
        "model": name,
        "origin": origin,
        "endpoint": str(params.get("api_base") or params.get("base_url") or model_entries.provider_of(upstream)),
        "server": upstream,
        "context_window": None,
        "price": None,
        "queues": queues,
        "used_by": [],
        "note": None,
    }


def fault(error: WorkerError, api: Api) -> Object:
    return {"endpoint": api.base_url, "error": error.line()}
