"""`kubiya secrets`: values that agents use and nobody reads back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from kubiya_worker.cli import choice, completion, kinds, reason, tables
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.api.secrets import SecretsApi
from kubiya_worker.cli.connection import connect
from kubiya_worker.cli.moments import age
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.errors import UsageError

COLUMNS: Final = (
    *(field("name"), field("source")),
    Cells("SET BY", lambda row: (row.get("updated_by") or {}).get("name")),
    Cells("SET", lambda row: age(row.get("updated_at"))),
    Cells("USED", lambda row: age(row["used_at"]) if row.get("used_at") else "never"),
    Cells("USED BY", lambda row: _users(row.get("used_by") or [])),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def secrets() -> None:
    """Set, list and remove secrets. A definition uses one as {{.secret.NAME}}; its value is never shown again."""


@secrets.command(name="set")
@click.argument("name")
@click.option("--from-file", type=click.Path(path_type=Path), help="Read the value from this file, as it is.")
@click.option("--source", help="Keep no value but this place of it: env:NAME, file:PATH or vault:MOUNT/PATH#FIELD.")
@reason.option()
def set_(name: str, from_file: Path | None, source: str | None) -> None:
    """Set a secret, in place of what it was.

    The value comes from standard input or from a question without echo, never from the command line, which every user
    of the host can read.

    Example: pass show github | kubiya secrets set GITHUB_TOKEN
    """
    if from_file is not None and source:
        raise UsageError("--from-file and --source contradict each other", remedy="Give one of them")
    body = {"source": source} if source else {"value": _value(from_file)}
    answer = SecretsApi(connect()).set(name, body)
    users = answer.get("used_by") or []
    print(f"set: {answer.get('name')}, used by {_users(users) if users else 'nobody yet'}")
    if not users:
        print(f"Use it as {{{{.secret.{answer.get('name')}}}}}", file=sys.stderr)


def _value(file: Path | None) -> str:
    """Return the value from a file, from a question, or from standard input without its last line break."""
    if file is not None:
        try:
            return file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} cannot be read as text", remedy="Check the path") from error
    if sys.stdin.isatty():
        return str(click.prompt("Value", hide_input=True, confirmation_prompt="Once more", err=True))
    value = sys.stdin.read()
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise UsageError("Standard input holds no value", remedy="kubiya secrets set NAME < FILE")
    return value


@secrets.command()
@tables.output(default=tables.TEXT)
def ls(output: str) -> None:
    """List the secrets: who set them, when a worker got them last, and which definitions use them.

    Example: kubiya secrets ls -o wide
    """
    rows = SecretsApi(connect()).all()
    if output != "text":
        tables.show(rows, COLUMNS, output, none="There are no secrets.")
        return
    if not rows:
        print("There are no secrets.", file=sys.stderr)
        return
    paint = Paint.for_stream(sys.stdout)
    for secret in rows:
        by = one_line(str((secret.get("updated_by") or {}).get("name") or "somebody"), 60)
        used = f"used {age(secret['used_at'])} ago" if secret.get("used_at") else "never used"
        source = f"  from {one_line(secret['source'], 100)}" if secret.get("source") else ""
        facts = f"set by {by} {age(secret.get('updated_at'))} ago, {used}"
        print(f"{paint.bold(str(secret.get('name')))}{source}  {paint.dim(facts)}")
        if secret.get("used_by"):
            print(f"    {one_line(_users(secret['used_by']), 200)}")


@secrets.command()
@click.argument("name", shell_complete=completion.names("secrets"))
@tables.output(default=tables.YAML)
def get(name: str, output: str) -> None:
    """Show what is known of a secret, and who uses it: never its value.

    Example: kubiya secrets get GITHUB_TOKEN
    """
    tables.show_one(choice.choose("secret", name, SecretsApi(connect()).all(), fields=("name",)), COLUMNS, output)


@secrets.command()
@click.argument("name", shell_complete=completion.names("secrets"))
@reason.option()
def edit(name: str) -> None:
    """Change the source of a secret in $EDITOR. A value is never shown: `kubiya secrets set` replaces it.

    Example: kubiya secrets edit GITHUB_TOKEN
    """
    api = connect()
    name = str(choice.choose("secret", name, SecretsApi(api).all(), fields=("name",))["name"])
    document = DefinitionsApi(api).get("secrets", name)
    if not (document.get("spec") or {}).get("source"):
        raise UsageError(f"{name} has a value, which nobody reads back", remedy=f"kubiya secrets set {name}")
    kinds.edit_document(api, document)


@secrets.command()
@click.argument("name", shell_complete=completion.names("secrets"))
@reason.option()
def rm(name: str) -> None:
    """Remove a secret. One that a definition uses is kept, and the command says what uses it.

    Example: kubiya secrets rm OLD_TOKEN
    """
    secrets_api = SecretsApi(connect())
    name = str(choice.choose("secret", name, secrets_api.all(), fields=("name",))["name"])
    secrets_api.remove(name)
    print(f"removed: {name}")


def _users(users: list[dict[str, Any]]) -> str:
    return ", ".join(f"{user.get('kind')} {user.get('name')}" for user in users)
