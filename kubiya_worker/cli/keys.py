"""`kubiya keys`: API keys of persons and workers."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from kubiya_worker.cli import choice, completion, reason, tables
from kubiya_worker.cli.api.agents import AgentApi
from kubiya_worker.cli.api.keys import KeysApi
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.grouped_options import grouped
from kubiya_worker.cli.moments import age
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import UsageError

ROLES: Final = ("viewer", "operator", "approver", "admin", "worker")
FORMATS: Final = click.Choice(["text", "json"])
COLUMNS: Final = (
    *(field("id"), field("role"), Cells("PERSON", lambda row: _person(row)), field("status")),
    Cells("USED", lambda row: age(row["last_used_at"]) if row.get("last_used_at") else "never"),
    field("groups", wide=True),
    field("expires_at", "UNTIL", wide=True),
)


@dataclass(frozen=True)
class KeyLimits:
    """The options that limit a key: for whom, to what, until when."""

    groups: tuple[str, ...]
    queues: tuple[str, ...]
    agents: tuple[str, ...]
    expires_in_days: float | None

    @property
    def is_over(self) -> bool:
        """Return whether such a key would have ended already."""
        return self.expires_in_days is not None and self.expires_in_days <= 0

    def fields(self) -> dict[str, Any]:
        """Return the fields of the request, without those that are not given."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items() if value}

    def whole_names(self, api: Api) -> dict[str, list[str]]:
        """Return the queues and agents by their whole names. Raises UsageError for a name that is not there."""
        names = {
            "queues": [str(QueuesApi(api).find(queue)["name"]) for queue in self.queues],
            "agents": [str(AgentApi(api).find_any(agent)["name"]) for agent in self.agents],
        }
        return {field: ids for field, ids in names.items() if ids}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def keys() -> None:
    """Create, list, change and revoke API keys. Only an admin's key may do it."""


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the key may do.")
@click.option("--email", help="Whose key it is. Two keys with one e-mail are the same person's.")
@grouped(
    "limits",
    KeyLimits,
    click.option(
        "--group", "groups", multiple=True, help="A group of the person, for approval rules. May be repeated."
    ),
    click.option("--queue", "queues", multiple=True, help="Limit the key to this queue. May be repeated."),
    click.option("--agent", "agents", multiple=True, help="Limit the key to this agent or team. May be repeated."),
    click.option("--expires-in-days", type=float, help="When the key ends.  [default: never]"),
)
@click.option("-o", "--output", type=FORMATS, default="text", help="Output format.  [default: text]")
@reason.option()
def create(
    name: str,
    role: str,
    email: str | None,
    limits: KeyLimits,
    output: str,
) -> None:
    """Create a key for a person or a worker, and show it this once.

    When the output is not a terminal, only the key is printed.

    \b
    viewer    reads
    operator  reads; starts, steers and ends executions; makes jobs
    approver  reads, and answers requests for approval
    admin     everything
    worker    what a worker asks for, and nothing else

    Example: kubiya keys create 'Ann of the night shift' --role approver --email ann@example.org
    """
    body: dict[str, Any] = {"name": name, "role": role, **({"email": email} if email else {}), **limits.fields()}
    if limits.is_over:
        raise UsageError("--expires-in-days must be more than 0", remedy="Leave it out for a key without an end")
    api = connect()
    key = KeysApi(api).create(body | limits.whole_names(api))
    if output == "json":
        print(json.dumps(key, ensure_ascii=False))
    elif not sys.stdout.isatty():
        print(key["key"])
    else:
        print(f"created: {key['id']}, {key['role']}, for {one_line(_person(key), 100)}")
        print(f"key:     {key['key']}  (it is not shown again)")


def _reaches(key: Mapping[str, Any], queue: Mapping[str, Any]) -> bool:
    """Return whether a key is limited to other queues. Pure."""
    limits = (key.get("scopes") or {}).get("queues")
    return not limits or bool({queue["id"], queue["name"]} & set(limits))


@keys.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Show revoked and expired keys too.")
@click.option("--queue", shell_complete=completion.names("queues"), help="Only those that reach this queue.")
@tables.output(default=tables.TEXT)
def ls(everything: bool, queue: str | None, output: str) -> None:
    """List the keys: whose they are, what they may do, and when they were last used.

    Example: kubiya keys ls -o wide
    """
    api = connect()
    rows = [key for key in KeysApi(api).all() if everything or key.get("status") == "active"]
    if queue:
        chosen = QueuesApi(api).find(queue)
        rows = [key for key in rows if _reaches(key, chosen)]
    if output != "text":
        tables.show(rows, COLUMNS, output, none="There are no keys.")
        return
    tables.show_lines(rows, COLUMNS, _below, none="There are no keys.")


def _below(key: Mapping[str, Any]) -> list[str]:
    """Return what limits a key, in one line; no line where nothing does."""
    limits = [f"{kind}: {', '.join(names)}" for kind, names in (key.get("scopes") or {}).items() if names]
    limits += [f"groups: {', '.join(key['groups'])}"] if key.get("groups") else []
    limits += [f"until {key['expires_at']}"] if key.get("expires_at") else []
    return [one_line("; ".join(limits), 200)] if limits else []


@keys.command()
@click.argument("id", shell_complete=completion.ids("keys", "role", "name"))
@tables.output(default=tables.YAML)
def get(id: str, output: str) -> None:
    """Show what is known of a key. The key itself was shown once, when it was made.

    Example: kubiya keys get 3f2a
    """
    tables.show_one(choice.choose("key", id, KeysApi(connect()).all(), fields=("id",)), COLUMNS, output)


@keys.command()
@click.argument("id", shell_complete=completion.ids("keys", "role", "name"))
@click.option("--name", help="Another name.")
@grouped(
    "limits",
    KeyLimits,
    click.option("--group", "groups", multiple=True, help="The groups of the person, in place of those before."),
    click.option(
        "--queue", "queues", multiple=True, help="The queues that it is limited to, in place of those before."
    ),
    click.option("--agent", "agents", multiple=True, help="The agents and teams that it is limited to."),
    click.option("--expires-in-days", type=float, help="When it ends, counted from now."),
)
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(["groups", "queues", "agents", "end"]),
    help="Take its groups, its limit to queues or agents, or its end away.",
)
@reason.option()
def edit(
    id: str,
    name: str | None,
    limits: KeyLimits,
    without: tuple[str, ...],
) -> None:
    """Change a key's name, groups, limits or end. It stays the same key; whose it is and its role do not change.

    Example: kubiya keys edit 3f2a --expires-in-days 30 --queue staging
    """
    body: dict[str, Any] = {**({"name": name} if name else {}), **limits.fields()}
    if limits.is_over:
        raise UsageError("--expires-in-days must be more than 0", remedy="kubiya keys revoke ends a key at once")
    gone: dict[str, Any] = {"groups": [], "queues": None, "agents": None, "end": None}
    removed = {"expires_in_days" if word == "end" else word: gone[word] for word in without}
    both = sorted(body.keys() & removed.keys())
    if both:
        raise UsageError(f"{both[0]} is given, and taken away by --without", remedy="Give one of them")
    if not body and not removed:
        raise UsageError("Nothing is to be changed", remedy="See 'kubiya keys edit --help'")
    api = connect()
    keys_api = KeysApi(api)
    key_id = str(choice.choose("key", id, keys_api.all(), fields=("id",))["id"])
    changed = keys_api.change(key_id, {**body, **limits.whole_names(api), **removed})
    print(f"changed: {changed.get('id')}, of {one_line(_person(changed), 100)}")


@keys.command()
@click.argument("id", shell_complete=completion.ids("keys", "role", "name"))
@reason.option()
def revoke(id: str) -> None:
    """Revoke a key: the next request with it is refused. ID may be the beginning of an id.

    Example: kubiya keys revoke 3f2a
    """
    keys_api = KeysApi(connect())
    revoked = keys_api.revoke(str(choice.choose("key", id, keys_api.all(), fields=("id",))["id"]))
    print(f"revoked: {revoked.get('id')}, of {one_line(_person(revoked), 100)}")


def _person(key: Mapping[str, Any]) -> str:
    name, email = str(key.get("name") or ""), str(key.get("email") or "")
    return f"{name} <{email}>" if email and email != name else name


_rm = copy.copy(revoke)
_rm.help = str(revoke.help).replace("keys revoke", "keys rm")
keys.add_command(_rm, "rm")
