"""Events on disk while the control plane is away: bounded, append-only, in order for each execution.

    <folder>/<lane>/<box>/lock          held by the worker whose box it is
    <folder>/<lane>/<box>/00000001.log  one JSON line for each entry, and one that says that an entry is delivered

A lane is one queue of one control plane; any worker of that queue may deliver its events. A box whose worker is gone is
taken over by the next worker that looks. Folders are 0700, files 0600; the events are redacted before they are written.
Nothing is written, and no folder is made, while the control plane takes events at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.events import Event

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 1_048_576  # a file of this size is closed; it is deleted when all in it is delivered
DEFAULT_BYTES: Final = 67_108_864
ENTRY_EVENTS: Final = 200
ENTRY_BYTES: Final = 524_288
LOCK: Final = "lock"
SUFFIX: Final = ".log"


def lane_of(control_plane_url: str, queue_id: str) -> str:
    """Return the folder's name for one queue of one control plane."""
    return hashlib.sha256(f"{control_plane_url}\n{queue_id}".encode()).hexdigest()[:16]


def without_pieces(events: Iterable[Event]) -> list[Event]:
    """Return the events without chunks of text, which the complete messages repeat."""
    return [event for event in events if event["event_type"] not in ev.PIECES | {ev.MEMBER_MESSAGE_CHUNK}]


@dataclass
class _Segment:
    path: Path
    size: int = 0
    waiting: int = 0  # entries that are not delivered


@dataclass
class _Box:
    """A folder whose lock this process holds."""

    folder: Path
    lock: int
    segments: list[_Segment] = field(default_factory=list)
    number: int = 0


@dataclass(frozen=True)
class SpoolEntry:
    """An entry holds events of one execution in order. `made_at` is the timestamp of the first event."""

    execution_id: str
    segment: _Segment
    offset: int
    length: int
    made_at: str


class Spool:
    """The spool keeps events on disk. Without a folder it takes none and returns False. Thread-safe.

    `limit` is the most bytes that this process may keep. No method raises OSError: an event that cannot be kept is
    refused, and the caller decides what to do.
    """

    def __init__(self, folder: Path | None = None, limit: int = DEFAULT_BYTES) -> None:
        self._folder, self.limit = (folder if limit > 0 else None), limit
        self._lock = threading.Condition()
        self._box: _Box | None = None  # our own; made when it is first needed
        self._boxes: list[_Box] = []
        self._waiting: OrderedDict[str, deque[SpoolEntry]] = OrderedDict()
        self._hurry = False
        self.bytes = 0
        self.lost = 0  # events that could be kept nowhere, or that the control plane refused
        self._logged_fault: str | None = None  # the last fault that was logged

    # -- putting in

    def add(self, execution_id: str, events: Sequence[Event]) -> bool:
        """Append events of an execution. Return False without a folder, without room, or when the disk fails.

        Where there is no room for all, chunks of text are left out and counted as lost.
        """
        if self._folder is None or not events:
            return False
        with self._lock:
            for kept in (list(events), without_pieces(events)):
                lines = [_line({"execution": execution_id, "events": some}) for some in _portions(kept)]
                if lines and self.bytes + sum(map(len, lines)) <= self.limit:
                    if not all(self._append(execution_id, line, str(kept[0].get("timestamp") or "")) for line in lines):
                        return False  # those written stay: the same ids make a repeat harmless
                    self.count_lost(len(events) - len(kept), "the spool is full")
                    self._lock.notify_all()
                    return True
            self._log_fault(f"spool.full bytes={self.bytes} limit={self.limit} remedy=Raise KUBIYA_SPOOL_MAX_BYTES")
            return False

    def count_lost(self, number: int, why: str) -> None:
        """Count events as lost, and log it."""
        if number > 0:
            with self._lock:
                self.lost += number
            log.error("events.lost count=%d total=%d reason=%s", number, self.lost, why)

    def _append(self, execution_id: str, line: bytes, made_at: str) -> bool:
        segment: _Segment | None = None
        try:
            box = self._own_box()
            if not box.segments or box.segments[-1].size >= SEGMENT_BYTES:
                box.number += 1
                box.segments.append(_Segment(box.folder / f"{box.number:08d}{SUFFIX}"))
            segment = box.segments[-1]
            _write(segment.path, line, segment.size)
        except OSError as error:
            self._log_fault(f"spool.unusable folder={self._folder} error={error.strerror or error}")
            if segment is not None:
                self._tidy(segment)
            return False
        self._logged_fault = None
        entry = SpoolEntry(execution_id, segment, segment.size, len(line), made_at)
        self._grow(segment, len(line))
        segment.waiting += 1
        self._waiting.setdefault(execution_id, deque()).append(entry)
        return True

    def _own_box(self) -> _Box:
        if self._box is None:
            assert self._folder is not None
            name = secrets.token_hex(8)
            draft, folder = self._folder / f".{name}", self._folder / name
            draft.mkdir(mode=0o700, parents=True)
            for path in (draft, *draft.parents[:2]):
                if path.stat().st_mode & 0o077:
                    path.chmod(0o700)
            lock = _locked(draft)
            if lock is None:
                raise OSError("its lock is taken")
            draft.rename(folder)  # locked before anybody sees it
            self._box = _Box(folder, lock)
            self._boxes.append(self._box)
        return self._box

    def _log_fault(self, fault: str) -> None:
        if fault.split()[0] != self._logged_fault:
            self._logged_fault = fault.split()[0]
            log.warning("%s", fault)

    # -- taking out

    def holds(self, execution_id: str) -> bool:
        """Return True when events of this execution wait, which have to be sent before newer ones."""
        return execution_id in self._waiting

    @property
    def empty(self) -> bool:
        return not self._waiting

    def age(self) -> float:
        """Return the seconds since the oldest waiting event was made; 0 when there is none."""
        with self._lock:
            return max((ev.age({"timestamp": entries[0].made_at}) for entries in self._waiting.values()), default=0.0)

    def executions(self) -> list[str]:
        with self._lock:
            return list(self._waiting)

    def first(self, execution_id: str) -> tuple[list[SpoolEntry], list[Event]]:
        """Return the oldest entries of an execution and their events: one entry, or several small ones."""
        with self._lock:
            entries = list(self._waiting.get(execution_id, ()))
        batch: list[SpoolEntry] = []
        events: list[Event] = []
        size = 0
        for entry in entries:
            entry_events = _events(entry)
            if entry_events is None:
                self.count_lost(1, f"{entry.segment.path.name} cannot be read")
                self.delivered([entry])
            elif batch and (len(events) + len(entry_events) > ENTRY_EVENTS or size + entry.length > ENTRY_BYTES):
                break
            else:
                batch.append(entry)
                events += entry_events
                size += entry.length
        return batch, events

    def delivered(self, entries: Sequence[SpoolEntry]) -> None:
        """Mark entries as delivered, also for a worker that takes over this box."""
        with self._lock:
            for entry in entries:
                waiting = self._waiting.get(entry.execution_id)
                if not waiting or entry not in waiting:
                    continue
                waiting.remove(entry)
                if not waiting:
                    del self._waiting[entry.execution_id]
                entry.segment.waiting -= 1
                if entry.segment.waiting:
                    line = _line({"delivered": entry.offset})
                    with contextlib.suppress(OSError):  # a full disk: delivered once more after a kill, stored once
                        _write(entry.segment.path, line, entry.segment.size)
                        self._grow(entry.segment, len(line))
                else:
                    self._tidy(entry.segment)

    def _grow(self, segment: _Segment, by: int) -> None:
        segment.size += by
        self.bytes += by

    def _tidy(self, segment: _Segment) -> None:
        """Delete a segment in which nothing waits, and after the last one its box."""
        if segment.waiting:
            return
        for box in list(self._boxes):
            if segment in box.segments:
                box.segments.remove(segment)
                self.bytes -= segment.size
                with contextlib.suppress(OSError):
                    segment.path.unlink(missing_ok=True)
                if not box.segments:
                    self._drop(box)

    def _drop(self, box: _Box) -> None:
        self._boxes.remove(box)
        if box is self._box:
            self._box = None
        with contextlib.suppress(OSError):
            (box.folder / LOCK).unlink()
            box.folder.rmdir()
        os.close(box.lock)

    # -- waiting

    def wait(self, seconds: float, *, hurried: bool = False) -> None:
        """Wait until an event is added, or `seconds` have passed. With `hurried`, wait only for `hurry`."""
        with self._lock:
            if not self._hurry and (hurried or not self._waiting):
                self._lock.wait(seconds)
            self._hurry = False

    def hurry(self) -> None:
        """Wake the sender, because the control plane has answered."""
        if self._waiting:
            self.interrupt()

    def interrupt(self) -> None:
        with self._lock:
            self._hurry = True
            self._lock.notify_all()

    # -- what others have left

    def adopt(self) -> int:
        """Take over the boxes of workers that are gone. Return the number of entries that wait in them."""
        if self._folder is None or not self._folder.is_dir():
            return 0
        adopted = 0
        with self._lock:
            ours = {box.folder for box in self._boxes}
            for folder in _by_age(self._folder):
                if folder in ours:
                    continue
                lock = _locked(folder)
                if lock is None:
                    continue
                box = _Box(folder, lock)
                self._boxes.append(box)
                for path in sorted(folder.glob(f"*{SUFFIX}")):
                    adopted += self._load(box, path)
                if not box.segments:
                    self._drop(box)
            if adopted:
                self._lock.notify_all()
        if adopted:
            log.info("spool.taken_over entries=%d bytes=%d", adopted, self.bytes)
        return adopted

    def _load(self, box: _Box, path: Path) -> int:
        segment = _Segment(path)
        entries: dict[int, SpoolEntry] = {}
        offset = 0
        try:
            for line in path.read_bytes().splitlines(keepends=True):
                raw = _parsed(line)
                if "delivered" in raw:
                    entries.pop(raw["delivered"], None)
                elif isinstance(raw.get("events"), list) and raw["events"]:
                    made_at = str(raw["events"][0].get("timestamp") or "")
                    entries[offset] = SpoolEntry(str(raw["execution"]), segment, offset, len(line), made_at)
                offset += len(line)
        except OSError as error:
            self._log_fault(f"spool.unreadable file={path} error={error.strerror}")
            return 0
        segment.size, segment.waiting = offset, len(entries)
        box.segments.append(segment)
        self.bytes += offset
        for entry in entries.values():
            self._waiting.setdefault(entry.execution_id, deque()).append(entry)
        self._tidy(segment)
        return len(entries)

    def close(self) -> None:
        """Release the locks. Waiting events stay on disk for the next worker."""
        with self._lock:
            for box in self._boxes:
                os.close(box.lock)
            self._boxes, self._box = [], None
            self._waiting.clear()
            self._folder = None


def _portions(events: Sequence[Event]) -> list[list[Event]]:
    """Split the events, in order, into portions that each fit into one request."""
    portions: list[list[Event]] = []
    size = 0
    for event in events:
        length = len(json.dumps(event, default=str))
        if not portions or len(portions[-1]) >= ENTRY_EVENTS or size + length > ENTRY_BYTES:
            portions.append([])
            size = 0
        portions[-1].append(event)
        size += length
    return portions


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=str).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any]:
    """Parse a line. Return an empty object for an incomplete one: a worker was killed or the disk was full."""
    try:
        raw = json.loads(line) if line.endswith(b"\n") else {}
    except ValueError:
        return {}
    return raw if isinstance(raw, dict) else {}


def _events(entry: SpoolEntry) -> list[Event] | None:
    try:
        with entry.segment.path.open("rb") as file:
            file.seek(entry.offset)
            events = _parsed(file.read(entry.length)).get("events")
    except OSError:
        return None
    return events if isinstance(events, list) else None


def _write(path: Path, line: bytes, offset: int) -> None:
    """Write a whole line at `offset`, or nothing: after a failure the file is cut back. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        try:
            while written < len(line):
                written += os.pwrite(file, line[written:], offset + written)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, offset)
            raise
    finally:
        os.close(file)


def _locked(folder: Path) -> int | None:
    """Lock the folder and return the lock's descriptor; None when its worker lives or the folder is gone."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / LOCK).stat()  # its worker may have removed it a moment ago
    except OSError:
        os.close(lock)
        return None
    return lock


def _by_age(folder: Path) -> list[Path]:
    try:
        folders = [
            (path.stat().st_ctime_ns, path) for path in folder.iterdir() if path.name[0] != "." and path.is_dir()
        ]
    except OSError:
        return []
    return [path for _, path in sorted(folders)]
