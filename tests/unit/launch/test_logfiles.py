"""A log that is rotated and compressed while it is read: no line lost, none doubled."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubiya_worker.launch.logfiles import LogFollower, read, rotated


class Log:
    """Rotates as the supervisor's does: `.1` is the newest of the old ones."""

    def __init__(self, folder: Path, *, compress: bool = False) -> None:
        self.path = folder / "worker.log"
        self.compress = compress
        self.count = 0

    def write(self, lines: int) -> None:
        with self.path.open("a") as file:
            for _ in range(lines):
                self.count += 1
                file.write(f"2026-11-24T10:00:00.{self.count:06}Z info line n={self.count}\n")

    def rotate(self, keep: int = 50) -> None:
        if not self.path.exists():
            return
        for old in rotated(self.path):
            number, suffix = int(old.name.split(".")[2]), ".gz" if old.suffix == ".gz" else ""
            if number >= keep:
                old.unlink()
            else:
                old.rename(self.path.with_name(f"worker.log.{number + 1}{suffix}"))
        first = self.path.with_name("worker.log.1")
        self.path.rename(first)
        if self.compress:
            first.with_name("worker.log.1.gz").write_bytes(gzip.compress(first.read_bytes()))
            first.unlink()

    def expected(self) -> list[int]:
        return list(range(1, self.count + 1))


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[LogFollower]:
    made = LogFollower(tmp_path / "worker.log")
    yield made
    made.close()


def numbers(lines: list[str]) -> list[int]:
    return [int(line.rpartition("=")[2]) for line in lines]


@pytest.mark.parametrize("compress", [False, True])
def test_all_files_are_read_oldest_first(compress: bool, tmp_path: Path) -> None:
    log = Log(tmp_path, compress=compress)
    for _ in range(12):
        log.write(3)
        log.rotate()
    log.write(2)
    assert numbers(list(read(log.path))) == log.expected()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_following_loses_and_doubles_nothing(compress: bool, seed: int, tmp_path: Path, follower: LogFollower) -> None:
    chance = random.Random(seed)
    log, seen = Log(tmp_path, compress=compress), list[str]()
    for _ in range(300):
        action = chance.random()
        if action < 0.5:
            log.write(chance.randrange(1, 40))
        elif action < 0.75:
            log.rotate()
        else:
            seen += follower.new_lines()
    seen += follower.new_lines()
    seen += follower.new_lines()
    assert numbers(seen) == log.expected()


def test_a_rotation_in_the_middle_of_reading(tmp_path: Path, follower: LogFollower) -> None:
    log = Log(tmp_path)
    log.write(3)
    seen = list(follower.new_lines())
    log.write(3)
    reading = follower.new_lines()
    seen.append(next(reading))
    log.rotate()
    log.write(2)
    log.rotate()
    log.write(2)
    seen += reading
    seen += follower.new_lines()
    assert numbers(seen) == log.expected()


def test_a_line_is_handed_on_when_it_is_whole(tmp_path: Path, follower: LogFollower) -> None:
    path = tmp_path / "worker.log"
    path.write_text("2026 one\n2026 tw")
    assert list(follower.new_lines()) == ["2026 one"]
    with path.open("a") as file:
        file.write("o\n")
    assert list(follower.new_lines()) == ["2026 two"]


def test_what_a_crash_has_cut_off_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("one\ntw")
    assert list(read(path)) == ["one", "tw"]
    path.with_name("worker.log.1.gz").write_bytes(gzip.compress(b"zero\n" * 1000)[:-20])
    assert list(read(path))[-2:] == ["one", "tw"]


def test_no_log_is_no_line(tmp_path: Path, follower: LogFollower) -> None:
    assert list(follower.new_lines()) == [] == list(read(tmp_path / "worker.log"))
    (tmp_path / "worker.log").write_text("first\n")
    assert list(follower.new_lines()) == ["first"]
