"""A process is identified by PID and start time, and signalled only while it is the same one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from kubiya_worker._supervisor.posix import kernel, processes
from kubiya_worker._supervisor.posix.processes import Identity, PortableTable, Process, ProcTable, Table

TABLES = pytest.mark.parametrize(
    "table",
    [
        pytest.param(ProcTable(), marks=pytest.mark.skipif(not kernel.LINUX, reason="/proc"), id="proc"),
        pytest.param(PortableTable(), id="psutil"),
    ],
)


def me(table: Table) -> Identity:
    identity = processes.identify(os.getpid(), table)
    assert identity
    return identity


@TABLES
def test_both_tables_know_this_process(table: Table) -> None:
    process = table.one(os.getpid())
    assert process and (process.parent, process.group, process.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert table.all()[os.getpid()] == process
    assert table.one(2**22 + 1) is None
    assert processes.mismatch(me(table)) == ""


@TABLES
@pytest.mark.parametrize("part", ["start", "boot", "executable"])
def test_each_part_alone_tells_a_stranger(table: Table, part: str) -> None:
    mine = me(table)
    prefix = getattr(mine, part).partition(":")[0]
    change: dict[str, Any] = {part: f"{prefix}:1"}
    assert processes.mismatch(replace(mine, **change), table) != ""


def test_a_file_from_a_portable_run_is_read_the_portable_way() -> None:
    assert processes.mismatch(me(PortableTable())) == ""


@TABLES
def test_a_signal_reaches_whom_it_is_meant_for_or_nobody(table: Table) -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        try:
            identity = processes.identify(child.pid, table)
            assert identity
            assert processes.signal_identity(replace(identity, executable="/bin/other"), signal.SIGKILL, table) != ""
            assert child.poll() is None
            assert processes.signal_identity(identity, signal.SIGTERM, table) == ""
            assert child.wait(30) == -signal.SIGTERM
            assert "no process" in processes.signal_identity(identity, signal.SIGTERM, table)
        finally:
            child.kill()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="pidfds")
def test_a_kernel_without_pidfds_is_signalled_by_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with subprocess.Popen(["sleep", "100"]) as child:
        assert not kernel.signal_process(child.pid, signal.SIGTERM, lambda: False)
        assert child.poll() is None
        assert kernel.signal_process(child.pid, signal.SIGTERM, lambda: True)
        assert child.wait(30) == -signal.SIGTERM


def test_where_the_kernel_offers_nothing_the_answer_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LINUX", False)
    assert not kernel.become_subreaper()
    assert not kernel.die_with_parent(signal.SIGTERM, 1)
    assert isinstance(processes.table(), PortableTable)


def test_a_python_without_ctypes_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_loaded", [])
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert not kernel.become_subreaper()


def _process(pid: int, parent: int, session: int = 1, **fields: object) -> Process:
    return Process(pid, parent, pid, session, f"ticks:{pid}", **fields)  # type: ignore[arg-type]


class Made:
    """A process table of our making."""

    def __init__(self, *every: Process, marked: tuple[int, ...] = ()) -> None:
        self._every, self._marked = {each.pid: each for each in every}, marked

    def all(self) -> dict[int, Process]:
        return self._every

    def one(self, pid: int) -> Process | None:
        return self._every.get(pid)

    def executable(self, pid: int) -> str:
        return ""

    def boot(self) -> str:
        return ""

    def marked(self, run: str) -> list[int]:
        return list(self._marked)


TREE = Made(
    _process(10, 1),
    _process(11, 10, session=11),
    _process(12, 11, session=12),
    _process(13, 11, session=11, zombie=True),
    _process(14, 1, session=11),  # its parent is gone
    _process(15, 1, session=15),  # that too, and it has a session of its own
    _process(16, 15, session=16),
    _process(99, 1, session=99),
    marked=(15, 98),
)


def test_a_subreaper_has_all_below_it() -> None:
    left = processes.remains(TREE, 10, 11, "run", reaper=True)
    assert [each.pid for each in left] == [11, 12]


def test_without_one_session_and_mark_tell_who_belongs_to_a_run() -> None:
    left = processes.remains(TREE, 10, 11, "run", reaper=False)
    assert {each.pid for each in left} == {11, 12, 14, 15, 16}


def test_a_session_that_is_not_known_yet_is_nobodys() -> None:
    assert {each.pid for each in processes.remains(TREE, 10, 0, "run", reaper=False)} == {11, 12, 15, 16}


def test_who_sent_a_message_is_found_upwards() -> None:
    assert processes.is_below(12, 10, TREE) and processes.is_below(10, 10, TREE)
    assert not processes.is_below(16, 10, TREE) and not processes.is_below(77, 10, TREE)
