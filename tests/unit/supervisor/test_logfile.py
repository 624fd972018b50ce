"""The log sink alone, with a real file system; full disks are in tests/faults."""

from __future__ import annotations

import errno
import gzip
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubiya_worker._supervisor import rotating_file
from kubiya_worker._supervisor.logfile import Log


def sink(folder: Path, **fields: Any) -> Log:
    return Log(str(folder / "log"), **{"max_size": 1024, "max_backups": 5000, **fields})


def lost(log: Log) -> tuple[int, int]:
    """Return how many lines and bytes were lost."""
    counts = log.counts()
    return counts["lost_lines"], counts["lost_bytes"]


def files(folder: Path) -> list[Path]:
    """Oldest first."""
    numbered = [(int(each.name.split(".")[1]), each) for each in folder.iterdir() if each.name != "log"]
    return [path for _, path in sorted(numbered, reverse=True)] + [folder / "log"]


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def pieces(data: bytes, seed: int) -> list[bytes]:
    chance, found = random.Random(seed), []
    while data:
        size = chance.randint(1, 700)
        found.append(data[:size])
        data = data[size:]
    return found


def test_a_thousand_rotations_neither_lose_nor_split_a_line(tmp_path: Path) -> None:
    log = sink(tmp_path, max_backups=3)
    wanted = b"".join(b"%06d %s\n" % (n, b"x" * (n % 300)) for n in range(6800))
    found: list[bytes] = []
    for piece in pieces(wanted, seed=1):
        before = log.counts()["rotations"]
        log.feed(piece)
        assert log.counts()["rotations"] - before <= 2
        found += [read(tmp_path / f"log.{number}") for number in range(log.counts()["rotations"] - before, 0, -1)]
    log.end()
    assert log.counts()["rotations"] >= 1000
    found.append(read(tmp_path / "log"))
    assert all(content.endswith(b"\n") and len(content) <= 1024 for content in found)
    assert b"".join(found) == wanted
    assert lost(log) == (0, 0)


def test_only_so_many_backups_are_kept(tmp_path: Path) -> None:
    log = sink(tmp_path, max_backups=3)
    log.feed(b"".join(b"%099d\n" % n for n in range(200)))
    assert [path.name for path in files(tmp_path)] == ["log.3", "log.2", "log.1", "log"]
    assert read(tmp_path / "log").endswith(b"199\n")


def test_without_backups_the_file_begins_again(tmp_path: Path) -> None:
    log = sink(tmp_path, max_backups=0)
    log.feed(b"".join(b"%099d\n" % n for n in range(25)))
    assert files(tmp_path) == [tmp_path / "log"]
    assert read(tmp_path / "log") == b"".join(b"%099d\n" % n for n in range(20, 25))


def test_a_cap_on_the_total_removes_the_oldest(tmp_path: Path) -> None:
    log = sink(tmp_path, total_cap=4096)
    for number in range(400):
        log.feed(b"%099d\n" % number)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4096
    assert len(files(tmp_path)) == 4


def test_our_own_lines_never_come_within_a_line_of_the_childs(tmp_path: Path) -> None:
    log = sink(tmp_path, max_size=10_000_000)
    log.feed(b"first half, ")
    log.line(b"ours 1\n")
    log.feed(b"second half\n" + b"y" * 200_000)
    log.line(b"ours 2\n")
    log.feed(b"z\n")
    assert read(tmp_path / "log") == b"ours 1\nfirst half, second half\n" + b"y" * 200_000 + b"z\nours 2\n"


def test_the_end_of_the_child_finishes_its_last_line(tmp_path: Path) -> None:
    log = sink(tmp_path)
    log.feed(b"no end")
    log.end()
    log.end()
    log.line(b"ours\n")
    assert read(tmp_path / "log") == b"no end\nours\n"
    assert log.last_lines() == ["no end"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary(max_size=6000), st.integers())
def test_any_bytes_come_out_as_they_went_in(tmp_path_factory: pytest.TempPathFactory, data: bytes, seed: int) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = sink(folder)
    for piece in pieces(data, seed):
        log.feed(piece)
    log.end()
    log.close()
    assert b"".join(map(read, files(folder))) == data + (b"" if not data or data.endswith(b"\n") else b"\n")


def test_a_line_longer_than_a_file_is_whole_up_to_a_megabyte(tmp_path: Path) -> None:
    log = sink(tmp_path)
    line = b"l" * 900_000 + b"\n"
    log.feed(b"before\n")
    for piece in pieces(line, 3):
        log.feed(piece)
    log.feed(b"after\n")
    assert b"".join(map(read, files(tmp_path))) == b"before\n" + line + b"after\n"
    assert line in [read(path) for path in files(tmp_path)]


def test_a_line_without_end_cannot_fill_the_disk(tmp_path: Path) -> None:
    log = sink(tmp_path, max_backups=2)
    for _ in range(80):
        log.feed(b"e" * 100_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4_000_000


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    now = [0.0]
    log = sink(tmp_path, clock=lambda: now[0])
    log.feed(b"one\n")
    (tmp_path / "log").rename(tmp_path / "log.9")
    log.reopen()
    log.feed(b"two\n")
    assert read(tmp_path / "log") == b"two\n"
    (tmp_path / "log").unlink()
    now[0] += rotating_file.LOOK_EVERY
    log.feed(b"three\n")
    assert read(tmp_path / "log") == b"three\n"


def test_a_torn_line_of_a_predecessor_is_finished_first(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"whole\ntorn")
    log = sink(tmp_path)
    log.feed(b"new\n")
    assert read(tmp_path / "log") == b"whole\ntorn\nnew\n"


def test_rotated_files_are_compressed_by_another_process(tmp_path: Path) -> None:
    log = sink(tmp_path, compress=True)
    wanted = b"".join(b"%099d\n" % n for n in range(100))
    for start in range(0, len(wanted), 500):
        log.feed(wanted[start : start + 500])
    deadline = time.monotonic() + 60
    while log.packer.pid and time.monotonic() < deadline:
        pid, status = os.waitpid(log.packer.pid, 0)
        assert log.packer.ended(pid, status)
    found = files(tmp_path)
    assert {path.suffix for path in found[:-1]} == {".gz"} and len(found) >= 10
    assert b"".join(map(read, found)) == wanted


class FullDisk:
    """os.write of a file system with so much room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = self._write(descriptor, data[: self.room])
        self.room -= done
        return done


def test_a_full_disk_keeps_lines_whole_and_counts_what_it_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = sink(tmp_path, max_size=100_000)
    disk = FullDisk(monkeypatch)
    disk.room = 25
    log.feed(b"0123456789\n" * 5)
    assert read(tmp_path / "log") == b"0123456789\n" * 2
    assert lost(log) == (3, 33) and log.losing
    assert not log.retry()
    disk.room = 10_000
    log.feed(b"again\n")
    lines = read(tmp_path / "log").splitlines()
    assert b"supervisor.log_lost bytes=33 lines=3 reason=ENOSPC" in lines[2]
    assert lines[3] == b"again" and not log.losing


def test_a_full_disk_within_a_very_long_line_drops_that_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = sink(tmp_path, max_size=10_000_000)
    disk = FullDisk(monkeypatch)
    disk.room = 100_000
    log.feed(b"whole\n")
    for _ in range(4):
        log.feed(b"l" * 70_000)
    assert read(tmp_path / "log") == b"whole\n"
    disk.room = 1_000_000
    log.feed(b"its end\nnext\n")
    lines = read(tmp_path / "log").splitlines()
    assert lines[0] == b"whole" and lines[2] == b"next"
    assert lost(log) == (1, 280_000 + len(b"its end\n"))
    assert b"bytes=280008 lines=1" in lines[1]


def test_a_file_that_somebody_empties_does_not_come_back_as_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = sink(tmp_path, max_size=100_000)
    log.feed(b"0123456789\n" * 5)
    os.truncate(tmp_path / "log", 0)
    disk = FullDisk(monkeypatch)
    disk.room = 15
    log.feed(b"0123456789\n" * 2)
    assert read(tmp_path / "log") == b"0123456789\n"
