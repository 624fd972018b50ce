"""`kubiya notifications`: list, show, edit, remove and test them, and see what was delivered."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import click

from kubiya_worker.cli import completion, kinds, reason, tables
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.tables import field
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import Unavailable

NOUN: Final = kinds.NOUNS["notifications"]
DELIVERIES: Final = (
    *(field("id", most=40), field("event"), field("state"), field("attempts", "TRIES")),
    *(field("title", most=50), field("error", most=60)),
)
PATIENCE: Final = (3.05, 40.0)  # seconds to connect, and for the answer: a test waits for its channel

_name: Final = click.argument("name", shell_complete=completion.names(NOUN.word))


@click.group(commands=kinds.commands_of(NOUN), context_settings=kinds.SETTINGS)
def notifications() -> None:
    """List, show, edit, remove and test notifications. A name may be given by its beginning, or by the id."""


@notifications.command(context_settings=kinds.SETTINGS)
@_name
@reason.option()
def test(name: str) -> None:
    """Send a test message by the channel of a notification, and say whether it was taken.

    Example: kubiya notifications test on-call
    """
    api = connect()
    answer = api.ask("POST", f"{_path(api, name)}/test", {}, timeout=PATIENCE)
    if answer["state"] != "sent":
        raise Unavailable(
            f"The channel did not take the message: {one_line(str(answer.get('error')), 300)}",
            remedy="Correct the definition, or the channel, and try again",
        )
    print("The channel took the message.")


@notifications.command(context_settings=kinds.SETTINGS)
@_name
@tables.output()
def deliveries(name: str, output: str) -> None:
    """List the newest deliveries of a notification: what was sent, what waits, and what failed for good.

    Example: kubiya notifications deliveries on-call
    """
    api = connect()
    rows: list[dict[str, Any]] = api.ask("GET", f"{_path(api, name)}/deliveries?limit=50")
    if output in (tables.JSON, tables.YAML):
        tables.dump(rows, output)
    else:
        tables.show(rows, DELIVERIES, output, none="Nothing was delivered yet.")


@notifications.command(context_settings=kinds.SETTINGS)
@_name
@reason.option()
def retry(name: str) -> None:
    """Try the deliveries again that failed for good, after the channel was mended.

    Example: kubiya notifications retry on-call
    """
    api = connect()
    answer = api.ask("POST", f"{_path(api, name)}/retry", {})
    print(f"{answer['retried']} to be tried again.")


def _path(api: Api, name: str) -> str:
    return f"/notifications/{quote(NOUN.name(api, name), safe='')}"
