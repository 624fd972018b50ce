"""S5: a full disk, a real one (tmpfs); and many rotations under load, through the real pipe."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_disk import small_disk
from tests.support.supervised import Supervised, until


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "512k") as folder:
        yield folder


def test_a_full_disk_never_makes_the_child_wait_and_the_loss_is_told(tmp_path: Path, disk: Path) -> None:
    log = disk / "worker.log"
    steps = ["ready", "spam:30000:100", "status:done", "echo", "wait"]
    with Supervised(tmp_path, *steps, log_file=str(log)) as supervised:
        supervised.ready()

        def kept() -> int:
            return sum(line.endswith(b"x") for line in log.read_bytes().splitlines())

        # It says so when all is in the pipe, which is not yet read to its end.
        until(lambda: supervised.state()["child"]["status"] == "done")
        until(lambda: kept() + supervised.state()["log"]["lost_lines"] >= 30000)
        assert supervised.state()["state"] == "running"
        lines, before = log.read_bytes().splitlines(), kept()
        assert all(len(line) == 99 for line in lines if line[:8].isdigit() and line[8:9] == b" "), "no line is split"
        os.truncate(log, 0)
        until(lambda: b"supervisor.log_lost" in log.read_bytes())
        supervised.signal(signal.SIGTERM)
        assert supervised.ended() == 0
        lost = supervised.state()["log"]
        assert before + lost["lost_lines"] >= 30000 > before
        assert b"reason=ENOSPC" in log.read_bytes()


def test_many_rotations_under_load_lose_nothing(tmp_path: Path) -> None:
    count = 20_000
    fields: dict[str, Any] = {"max_size": 40_000, "max_backups": 1000}
    with Supervised(tmp_path, "ready", f"spam:{count}:100", "exit:0", **fields) as supervised:
        assert supervised.ended() == 0
        assert supervised.state()["log"]["rotations"] >= 50
        numbers = []
        for path in supervised.log.parent.iterdir():
            content = path.read_bytes()
            assert content.endswith(b"\n") and len(content) <= 40_000
            numbers += [int(line[:8]) for line in content.splitlines() if line.endswith(b"xx") and len(line) == 99]
        assert sorted(numbers) == list(range(count))


def test_what_people_read_is_put_right_when_the_disk_has_room_again(tmp_path: Path, disk: Path) -> None:
    """The child was started anew while nothing could be written: daemon_info.txt still named the old one."""
    info, filler = disk / "daemon_info.txt", disk / "filler"

    def names(pid: int) -> bool:
        return re.search(rf"\b{pid}\b", info.read_text()) is not None

    with Supervised(tmp_path, "ready", "wait", info_file=str(info)) as supervised:
        first = supervised.ready()["worker_pid"]
        assert names(first)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        os.kill(first, signal.SIGKILL)
        second = until(lambda: (child := supervised.state()["child"]) and child["pid"] != first and child["pid"])
        assert not names(second)
        filler.unlink()
        until(lambda: names(second))
        supervised.signal(signal.SIGTERM)
        assert supervised.ended() == 0
