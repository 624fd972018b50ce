"""The spool keeps events on disk during an outage: in order, bounded, private, and open to the next worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.control_plane import errors, sender
from kubiya_worker.control_plane import spool as sp
from kubiya_worker.control_plane.sender import SpoolSender
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.protocol import events as ev


def _event(name: str, kind: str = ev.NOTICE, size: int = 0) -> ev.Event:
    return ev.event(name, kind, {"message_id": "m", "content": "x" * size})


def _ids(spool: Spool, execution: str) -> list[str]:
    return [event["event_id"] for event in spool.first(execution)[1]]


class Plane:
    """Takes events, or is away; `early` are executions whose turn it is not."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.early: set[str] = set()
        self.got: list[tuple[str, str]] = []

    def publish(self, execution_id: str, events: list[ev.Event]) -> None:
        if self.away:
            raise self.away
        if execution_id in self.early:
            raise errors.from_status(425, "not yet", None)
        self.got += [(execution_id, event["event_id"]) for event in events]


def _send(plane: Plane, spool: Spool) -> tuple[bool, bool]:
    return SpoolSender(plane, spool)._round()  # type: ignore[arg-type]


def test_events_come_out_in_their_order_and_the_disk_is_empty_afterwards(tmp_path: Path) -> None:
    spool, plane = Spool(tmp_path / "s" / "lane"), Plane()
    for number in range(5):
        assert spool.add("a", [_event(f"a{number}"), _event(f"a{number}+")])
        assert spool.add("b", [_event(f"b{number}")])
    plane.away = errors.Unreachable("away")
    assert _send(plane, spool) == (False, True) and plane.got == []
    plane.away = None
    assert _send(plane, spool) == (True, False)
    assert [name for run, name in plane.got if run == "a"] == [f"a{n}{s}" for n in range(5) for s in ("", "+")]
    assert [name for run, name in plane.got if run == "b"] == [f"b{n}" for n in range(5)]
    assert (spool.empty, spool.bytes, list((tmp_path / "s" / "lane").iterdir())) == (True, 0, [])


def test_one_whose_turn_it_is_not_holds_nobody_else(tmp_path: Path) -> None:
    spool, plane = Spool(tmp_path), Plane()
    spool.add("a", [_event("a")])
    spool.add("b", [_event("b")])
    plane.early = {"a"}
    assert _send(plane, spool) == (True, True)
    assert plane.got == [("b", "b")] and spool.holds("a") and not spool.holds("b")


def test_what_the_control_plane_refuses_is_counted_as_lost(tmp_path: Path) -> None:
    spool, plane = Spool(tmp_path), Plane()
    spool.add("a", [_event("1"), _event("2")])
    plane.away = errors.Refused("no such execution", status=404)
    assert _send(plane, spool) == (False, False)
    assert spool.lost == 2


def test_a_wrong_key_loses_nothing(tmp_path: Path) -> None:
    spool, plane = Spool(tmp_path), Plane()
    spool.add("a", [_event("1")])
    plane.away = errors.Unauthorized("no", status=401)
    assert _send(plane, spool) == (False, True)
    assert spool.holds("a") and spool.lost == 0


def test_nothing_is_on_disk_until_something_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s" / "lane")
    assert not spool.holds("a") and spool.empty and spool.age() == 0
    spool.adopt()
    assert not (tmp_path / "s").exists()


def test_folders_and_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Spool(tmp_path / "s" / "lane").add("a", [_event("1")])
    finally:
        os.umask(before)
    found = [*sorted((tmp_path / "s").rglob("*")), tmp_path / "s"]
    assert {(path.is_dir(), oct(path.stat().st_mode & 0o777)) for path in found} == {(True, "0o700"), (False, "0o600")}


def test_what_a_worker_that_is_gone_has_left_is_taken_over_and_what_was_delivered_is_not(tmp_path: Path) -> None:
    first, plane = Spool(tmp_path), Plane()
    for name in "123":
        first.add("a", [_event(name)])
    first.add("b", [_event("b")])
    entries, _ = first.first("a")
    first.delivered(entries[:1])
    alive = Spool(tmp_path)
    assert alive.adopt() == 0  # its worker lives
    first.close()
    assert alive.adopt() == 3
    assert _ids(alive, "a") == ["2", "3"] and alive.bytes > 0
    assert _send(plane, alive) == (True, False)
    assert [x for x in plane.got if x[0] == "a"] == [("a", "2"), ("a", "3")]  # streams have no order among them
    assert [x for x in plane.got if x[0] == "b"] == [("b", "b")] and list(tmp_path.iterdir()) == []


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    first.add("a", [_event("1")])
    first.add("a", [_event("2")])
    first.close()
    (file,) = tmp_path.rglob("*.log")
    file.write_bytes(file.read_bytes()[:-20])
    second = Spool(tmp_path)
    assert second.adopt() == 1 and _ids(second, "a") == ["1"]


def test_what_is_taken_over_goes_before_what_is_new(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    first.add("a", [_event("old")])
    first.close()
    second = Spool(tmp_path)
    second.adopt()
    second.add("a", [_event("new")])
    assert _ids(second, "a") == ["old", "new"]


def test_past_the_cap_pieces_of_text_go_first_and_every_loss_is_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit=4_000)
    text = [_event(f"c{n}", ev.MESSAGE_CHUNK, 900) for n in range(5)]
    assert spool.add("a", [*text, _event("whole", ev.MESSAGE, 900)])
    assert _ids(spool, "a") == ["whole"] and spool.lost == 5
    assert not spool.add("a", [_event("big", ev.MESSAGE, 4_000)])
    assert _ids(spool, "a") == ["whole"] and spool.bytes <= 4_000
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.log")) == spool.bytes


def test_a_disk_that_takes_nothing_is_no_error_and_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    assert spool.add("a", [_event("1")])
    real, calls = os.pwrite, 0

    def pwrite(file: int, data: Any, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(28, "No space left on device")
        return real(file, data[:7], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    assert not spool.add("a", [_event("2")])
    monkeypatch.undo()
    assert spool.add("a", [_event("3")])
    assert _ids(spool, "a") == ["1", "3"]
    spool.close()
    again = Spool(tmp_path)
    assert again.adopt() == 2 and _ids(again, "a") == ["1", "3"]


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not Spool(tmp_path / "file" / "lane").add("a", [_event("1")])
    assert not Spool().add("a", [_event("1")])
    assert not Spool(tmp_path / "none", limit=0).add("a", [_event("1")])
    assert not (tmp_path / "none").exists()


def test_much_goes_in_requests_that_are_small_enough(tmp_path: Path) -> None:
    spool, plane = Spool(tmp_path), Plane()
    many = [_event(str(n), ev.MESSAGE, 3_000) for n in range(1_000)]
    assert spool.add("a", many)
    entries, events = spool.first("a")
    assert len(events) <= sp.ENTRY_EVENTS and sum(entry.length for entry in entries) <= 2 * sp.ENTRY_BYTES
    assert _send(plane, spool) == (True, False)
    assert [name for _, name in plane.got] == [str(n) for n in range(1_000)]
    assert list(tmp_path.iterdir()) == []


def test_its_age_is_that_of_the_oldest_event(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add("a", [{**_event("1"), "timestamp": "2026-01-01T00:00:00+00:00"}])
    spool.add("a", [_event("2")])
    assert spool.age() > 86_400


def test_the_sender_delivers_by_itself_and_sleeps_when_there_is_nothing(tmp_path: Path) -> None:
    spool, plane = Spool(tmp_path), Plane()
    running = SpoolSender(plane, spool)  # type: ignore[arg-type]
    running.start()
    spool.add("a", [_event("1")])
    from tests.support.stack import wait_until

    wait_until(lambda: plane.got == [("a", "1")], 60, "delivered")
    plane.away = errors.Unreachable("away")
    spool.add("a", [_event("2")])
    running.stop()
    assert plane.got == [("a", "1")]
    assert Spool(tmp_path).adopt() == 1
    assert sender.LONGEST_DELAY <= 5
