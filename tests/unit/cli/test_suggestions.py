"""These tests check what the command line suggests for a command that is not there."""

from __future__ import annotations

import pytest

from kubiya_worker.cli import main
from kubiya_worker.errors import EX_USAGE


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("agents show x", "Did you mean 'get'? See"),
        ("jobs start x", "Did you mean 'trigger'? See"),
        ("keys add", "Did you mean 'create'? See"),
        ("rules remove x", "Did you mean 'rm'? See"),
        ("worker ls", "Did you mean 'list'? See"),
        ("workers list", "Did you mean 'ls'? See"),
        ("status", "Did you mean 'worker status'? See"),
        ("wroker", "Did you mean 'worker'? See"),
        (
            "queues create q",
            "Write it in a file (kubiya init has an example) and run kubiya apply -f FILE. There are: edit",
        ),
        ("runs create", "'create'. There are: cancel,"),
    ],
)
def test_a_command_of_the_same_meaning_is_suggested(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.call(main.cli, typed.split()) == EX_USAGE
    told = capsys.readouterr().err
    assert said in told and told.count("Did you mean") <= 1
