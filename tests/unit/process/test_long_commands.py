"""The watch over long commands ends those whose execution is over, and nothing when nobody can say."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from kubiya_worker._supervisor.posix import kept, processes
from kubiya_worker.launch import daemon
from kubiya_worker.process import long_commands
from kubiya_worker.process.long_commands import LongCommands
from kubiya_worker.settings import Settings
from kubiya_worker.tools.long_commands import stopping
from kubiya_worker.tools.long_commands.folder import CommandFolder, place_id

ROW = {"execution_id": "e1", "workflow_id": "wf-1", "programs": ["pg_dump"], "at": 0.0}


class Temporal:
    """A client of which only the answer about a workflow counts."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.signals: list[tuple[str, str]] = []

    def get_workflow_handle(self, workflow_id: str) -> Temporal:
        assert workflow_id == "wf-1"
        return self

    async def signal(self, name: str, key: str) -> None:
        self.signals.append((name, key))
        if isinstance(self.answer, Exception):
            raise self.answer

    async def describe(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return SimpleNamespace(status=self.answer)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    whys: list[str] = []
    monkeypatch.setattr(stopping, "stop", lambda command, why: whys.append(why))
    return whys


@pytest.fixture
def running(tmp_path: Path) -> Iterator[CommandFolder]:
    command = CommandFolder.of_call(tmp_path, "e1", "c1")
    command.make()
    command.write("facts", ROW)
    handle = os.open(command.path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield command
    os.close(handle)


def error(status: RPCStatusCode) -> RPCError:
    return RPCError("said the server", status, b"")


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (WorkflowExecutionStatus.RUNNING, False),
        (WorkflowExecutionStatus.CANCELED, True),
        (WorkflowExecutionStatus.TERMINATED, True),
        (WorkflowExecutionStatus.COMPLETED, True),
        (error(RPCStatusCode.NOT_FOUND), True),
        (error(RPCStatusCode.UNAVAILABLE), False),
    ],
)
def test_it_is_ended_with_its_execution(
    tmp_path: Path, running: CommandFolder, stopped: list[str], answer: Any, ends: bool
) -> None:
    watch = LongCommands(tmp_path, Temporal(answer), lambda place: None)  # type: ignore[arg-type]
    asyncio.run(watch.look())
    assert stopped == ([long_commands.OVER] if ends else [])
    assert [(each["id"], each["programs"]) for each in watch.running] == [(running.key, "pg_dump")]


def test_a_stop_ends_those_of_this_worker_where_no_supervisor_does(
    tmp_path: Path, running: CommandFolder, stopped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "WITHIN", 0.0)
    watch = LongCommands(tmp_path, Temporal(None), lambda place: None)  # type: ignore[arg-type]
    parent = processes.table().one(os.getppid())
    assert parent
    running.write("facts", {**ROW, "starter": {"pid": parent.pid, "start": parent.start}})
    asyncio.run(watch.end_own())
    assert stopped == [], "another worker, which runs, has started it"
    running.write("facts", ROW)
    monkeypatch.setenv(kept.VARIABLE, "/there")
    asyncio.run(watch.end_own())
    assert stopped == [], "the supervisor does it, if it has to be done"
    monkeypatch.delenv(kept.VARIABLE)
    asyncio.run(watch.end_own())
    assert stopped == [long_commands.STOPPED]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(
    ("answer", "told"),
    [(None, True), (error(RPCStatusCode.NOT_FOUND), True), (error(RPCStatusCode.UNAVAILABLE), False)],
)
def test_who_waits_for_a_command_is_told_of_its_end_until_the_signal_arrives(
    tmp_path: Path, running: CommandFolder, stopped: list[str], answer: Any, told: bool, lost: bool
) -> None:
    running.note_waiter("wf-1")
    temporal = Temporal(WorkflowExecutionStatus.RUNNING)
    watch = LongCommands(tmp_path, temporal, lambda place: None)  # type: ignore[arg-type]
    asyncio.run(watch.look())
    assert temporal.signals == [], "it runs"
    temporal.answer = answer
    if lost:
        running.write("started", {})
        (running.path / "lock").unlink()
    else:
        running.write("outcome", {"code": 0})
    for _ in range(2):
        asyncio.run(watch.look())
    assert temporal.signals == [("command_ended", running.key)] * (1 if told else 2)
    assert bool(running.waiters()) is not told


def test_a_folder_with_commands_is_told_and_has_one_id(tmp_path: Path, running: CommandFolder) -> None:
    seen: list[str] = []
    for root in (tmp_path, tmp_path / "empty", tmp_path):
        watch = LongCommands(root, Temporal(WorkflowExecutionStatus.RUNNING), seen.append)  # type: ignore[arg-type]
        asyncio.run(watch.look())
    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(lambda _: place_id(tmp_path / "other"), range(64)))
    assert seen == [place_id(tmp_path)] * 2 and len(ids) == 1 and ids != set(seen)


def test_what_ended_is_kept_for_a_while(tmp_path: Path, stopped: list[str]) -> None:
    command = CommandFolder.of_call(tmp_path, "e1", "c2")
    command.make()
    command.write("outcome", {"code": 0})
    watch = LongCommands(tmp_path, Temporal(None), lambda place: None)  # type: ignore[arg-type]
    asyncio.run(watch.look())
    assert command.path.exists()
    long_ago = time.time() - long_commands.KEPT_FOR - 60
    for each in command.path.iterdir():
        os.utime(each, (long_ago, long_ago))
    asyncio.run(watch.look())
    assert not command.path.exists()


@pytest.mark.parametrize("keep", [False, True])
def test_the_setting_says_whether_they_outlive_the_supervisor(tmp_path: Path, keep: bool) -> None:
    settings = Settings(queue_id="q1", api_key="k", keep_long_commands=keep)
    queue = SimpleNamespace(id="q1", name="q1")
    places = {"folder": tmp_path, "queue_folder": tmp_path, "instance": 1, "flags": ""}
    files = {name: tmp_path / name for name in ("pid_file", "info_file", "state_file", "log_file", "status_file")}
    given: Any = SimpleNamespace(**places, **files)
    orders = daemon.spec(given, settings, ["worker.py"], queue)  # type: ignore[arg-type]
    assert (orders["keep"], orders["keep_beyond"]) == (str(tmp_path / "kept"), keep)
    assert daemon.daemon_settings(given, settings).long_commands_root == tmp_path / "commands"
