"""The chaos run knows which processes are its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from scripts.chaos import run, watch
from scripts.chaos.run import Chaos
from tests.support import databases, postgres
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with postgres.postgres_server() as made:
        yield made


def strangers(known: set[int]) -> set[int]:
    return {int(line.split()[0]) for line in watch.strangers(known, 0, 0, idle=True)}


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_postgresql_server_of_the_run_is_its_own_and_no_other_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PostgresServer, replicas: int
) -> None:
    shared = replicas > 1
    monkeypatch.setattr(databases, "POSTGRESQL", True)
    monkeypatch.setattr(databases, "server", lambda: pytest.fail("one server is enough") if shared else server)
    monkeypatch.setattr(run, "postgres_server", lambda: nullcontext(server))
    assert server.pid in strangers(set())
    chaos = Chaos(tmp_path, 1, print, threading.Event(), replicas)
    with ExitStack() as opened:
        chaos._start_postgres(opened)
        own = chaos._known(chaos._stack())
        before = strangers(own)
        assert server.pid not in before
        other = [sys.executable, "-c", "import sys; sys.stdin.read()", "postgres", "-D", "/var/lib/postgresql"]
        process = opened.enter_context(subprocess.Popen(other, stdin=subprocess.PIPE))
        assert strangers(own) - before == {process.pid}
