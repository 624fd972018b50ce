"""`kubiya hooks`: where alerts come in, what was made of each, and tries without the sender."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from kubiya_worker.cli import completion, kinds, reason, runs, tables
from kubiya_worker.cli.connection import connect
from kubiya_worker.cli.moments import clock
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import clean, one_line
from kubiya_worker.errors import UsageError

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
# As kubiya_worker/server/hooks/senders.py has them; a test compares the two.
SAMPLES: Final = (
    *("alertmanager", "grafana", "pagerduty", "pagerduty-events", "zabbix", "github", "gitlab", "gitea", "forgejo"),
    *("standard", "cloudevents", "json"),
)
COLUMNS: Final = (
    Cells("TIME", lambda row: clock(row.get("taken_at"))),
    field("verdict"),
    Cells("ALERT", lambda row: (row.get("alert") or {}).get("title"), 50),
    field("execution_id", "EXECUTION", 36),
    field("reason", most=90),
    Cells("REPLY", lambda row: (row.get("reply") or {}).get("state"), wide=True),
    field("address", wide=True),
    field("number", "DELIVERY", 40, wide=True),
)


@click.group(context_settings=SETTINGS)
def hooks() -> None:
    """List, show, edit, remove and try hooks, by which alerts start agents. Make one with `kubiya apply`."""


@hooks.command(context_settings=SETTINGS)
@click.argument("name", shell_complete=completion.names("hooks"))
@click.option("--verdict", default="", help="Only deliveries with this verdict, such as refused.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@tables.output()
def deliveries(name: str, verdict: str, limit: int, output: str) -> None:
    """List the last deliveries of a hook, newest first: what was made of each, and why.

    Example: kubiya hooks deliveries alertmanager --verdict refused
    """
    api = connect()
    name = kinds.NOUNS["hooks"].name(api, name)
    query = f"limit={limit}{f'&verdict={quote(verdict)}' if verdict else ''}"
    rows = api.ask("GET", f"/hooks/{quote(name, safe='')}/deliveries?{query}")
    tables.show(rows, COLUMNS, output, none="Nothing has come to this hook.")


@hooks.command(context_settings=SETTINGS)
@click.argument("name", shell_complete=completion.names("hooks"))
@click.option(
    "--sample", type=click.Choice(SAMPLES), help="A delivery as this sender writes it.  [default: of the hook's source]"
)
@click.option("--file", "file", type=click.Path(dir_okay=False), help="A delivery's body instead, as JSON.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header of the delivery.")
@click.option("--start", is_flag=True, help="Do what the delivery asks for, such as start a run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reason.option()
def test(name: str, sample: str | None, file: str | None, headers: tuple[str, ...], start: bool, as_json: bool) -> None:
    """Show what a hook makes of a delivery: the verdict, the alert and the prompt. Nothing starts without --start.

    Example: kubiya hooks test alertmanager --sample alertmanager
    """
    if sample and file:
        raise UsageError("--sample and --file contradict each other", remedy="Give one of them")
    body: dict[str, Any] = {"start": True} if start else {}
    if sample:
        body["sample"] = sample
    if file:
        body["body"] = _read(Path(file))
    if headers:
        body["headers"] = dict(_header(each) for each in headers)
    api = connect()
    name = kinds.NOUNS["hooks"].name(api, name)
    answer = api.ask("POST", f"/hooks/{quote(name, safe='')}/test", body)
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    print(f"verdict: {answer['verdict']}{'  ' + one_line(answer['reason'], 300) if answer.get('reason') else ''}")
    if answer.get("execution_id"):
        print(f"execution: {answer['execution_id']}")
        runs.announce(api, answer)
    for field_name, value in (answer.get("alert") or {}).items():
        if value and field_name != "text":
            plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            print(f"{field_name}: {one_line(plain, 300)}")
    if answer.get("prompt"):
        print(f"\n{clean(answer['prompt'])}")


def _read(path: Path) -> dict[str, Any]:
    """Return the object in a file. Raises UsageError."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="Check the file") from error
    except ValueError as error:
        raise UsageError(
            f"{path} is no JSON: {error}", remedy="Save the body of a delivery in it, as the sender posts it"
        ) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no JSON object", remedy="A delivery is an object")
    return document


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"{one_line(text, 60)!r} is not NAME: VALUE", remedy="Such as 'X-GitHub-Event: issues'")
    return name.strip(), value.strip()


for _name, _command in kinds.commands_of(kinds.NOUNS["hooks"]).items():
    hooks.add_command(_command, _name)
