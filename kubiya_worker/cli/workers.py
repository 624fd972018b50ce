"""`kubiya workers`: the live workers of all hosts, as the control plane knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from kubiya_worker.cli import choice, completion, reason, tables
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.moments import age
from kubiya_worker.cli.tables import Cells, Row
from kubiya_worker.cli.terminal import one_line

F = TypeVar("F", bound=Callable[..., Any])


def _host(worker: Row) -> str:
    return str(_facts(worker).get("hostname") or (worker.get("system_info") or {}).get("hostname") or "")


def _facts(worker: Row) -> Mapping[str, Any]:
    facts = worker.get("worker_metadata")
    return facts if isinstance(facts, Mapping) else {}


def _state(worker: Row) -> str:
    """Return what the worker says of itself, and what somebody wishes of it that it has not taken up yet."""
    state = str(_facts(worker).get("state") or worker.get("status") or "")
    wish = worker.get("wish") or {}
    if wish.get("action") == "drain" and state not in ("draining", "drained"):
        return f"{state}, drain asked"
    return f"{state}, restart asked" if wish.get("action") == "restart" else state


def _slots(worker: Row) -> str:
    facts = _facts(worker)
    return f"{facts.get('active_tasks', 0)}/{facts['slots']}" if facts.get("slots") else ""


COLUMNS: Final = (
    Cells("ID", lambda row: row["id"]),
    Cells("HOST", _host),
    Cells("QUEUE", lambda row: row.get("queue")),
    Cells("STATE", _state),
    Cells("SLOTS", _slots),
    Cells("LAST WORD", lambda row: f"{age(row.get('last_heartbeat'))} ago"),
    Cells("FINDINGS", lambda row: len(_facts(row).get("findings") or ()) or ""),
    Cells("VERSION", lambda row: (row.get("system_info") or {}).get("cli_version"), wide=True),
    Cells("SINCE", lambda row: row.get("registered_at"), wide=True),
    Cells("WISHED BY", lambda row: ((row.get("wish") or {}).get("by") or {}).get("name"), wide=True),
    Cells("REASON", lambda row: (row.get("wish") or {}).get("reason"), wide=True),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def workers() -> None:
    """List, drain and restart workers of any host. ID is an id, its beginning, or the name of the worker's host."""


def _all(api: Api) -> list[dict[str, Any]]:
    queues = {str(queue["id"]): queue["name"] for queue in api.ask("GET", "/worker-queues")}
    rows: list[dict[str, Any]] = api.ask("GET", "/workers")
    return [{**each, "host": _host(each), "queue": queues.get(str(each["queue_id"]))} for each in rows]


def _chosen(api: Api, id: str) -> dict[str, Any]:
    return choice.choose("worker", id, _all(api), fields=("id", "host"))


def _wish(id: str, verb: str, why: str) -> dict[str, Any]:
    api = connect()
    worker = _chosen(api, id)
    asked: dict[str, Any] = api.ask(
        "POST", f"/workers/{quote(str(worker['id']), safe='')}/{verb}", {"reason": why} if why else {}
    )
    print(f"{verb} asked: worker {asked['id']} on {one_line(_host(asked) or '?', 60)}")
    return asked


def _arguments(command: F) -> F:
    command = reason.option("Why. The worker logs it, and the audit record has it.", value="why")(command)
    return click.argument("id", shell_complete=completion.ids("workers", "status"))(command)


@workers.command()
@click.option("--queue", shell_complete=completion.names("queues"), help="Only those of this queue.")
@tables.output()
def ls(queue: str | None, output: str) -> None:
    """List the live workers of all queues, or of one.

    Example: kubiya workers ls --queue default -o wide
    """
    api = connect()
    queue_id = QueuesApi(api).find(queue)["id"] if queue else None
    shown = [each for each in _all(api) if queue_id in (None, each["queue_id"])]
    tables.show(shown, COLUMNS, output, none="No worker is alive.")


@workers.command()
@click.argument("id", shell_complete=completion.ids("workers", "status"))
@tables.output(default=tables.YAML)
def show(id: str, output: str) -> None:
    """Show what a worker tells about itself, and what somebody wishes of it.

    Example: kubiya workers show db-3
    """
    tables.show_one(_chosen(connect(), id), COLUMNS, output)


@workers.command()
@_arguments
def drain(id: str, why: str) -> None:
    """Let a worker take no work. It finishes what runs, and stays until 'undrain'.

    It learns that with its next heartbeat.

    Example: kubiya workers drain db-3 --reason "new kernel"
    """
    _wish(id, "drain", why)


@workers.command()
@_arguments
def undrain(id: str, why: str) -> None:
    """Let a worker that was drained take work again.

    Example: kubiya workers undrain db-3
    """
    _wish(id, "undrain", why)


@workers.command()
@_arguments
def restart(id: str, why: str) -> None:
    """Restart a worker: running steps have its grace period, and what supervises it starts it again.

    Example: kubiya workers restart db-3 --reason "it leaks"
    """
    _wish(id, "restart", why)
