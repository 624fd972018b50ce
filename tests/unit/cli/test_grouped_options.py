"""Options that belong together reach a command as one value."""

from __future__ import annotations

from dataclasses import dataclass

import click
from click.testing import CliRunner

from kubiya_worker.cli.grouped_options import grouped


@dataclass(frozen=True)
class Place:
    host: str
    port: int


@click.command()
@click.argument("name")
@grouped("place", Place, click.option("--host", default="here"), click.option("--port", default=1))
@click.option("--loud", is_flag=True)
def greet(name: str, place: Place, loud: bool) -> None:
    """Greet."""
    print(name, place, loud)


def test_a_group_of_options_is_one_parameter() -> None:
    done = CliRunner().invoke(greet, ["Ann", "--port", "7", "--loud"], catch_exceptions=False)
    assert done.output == "Ann Place(host='here', port=7) True\n"


def test_the_help_lists_the_options_in_their_order() -> None:
    assert [param.name for param in greet.params] == ["name", "host", "port", "loud"]
    assert greet.help == "Greet."
