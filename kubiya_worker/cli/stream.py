"""Follow an execution: read each event once, in order, from the first to the last, even if the network fails."""

from __future__ import annotations

import json
import os
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from kubiya_worker.control_plane.errors import ControlPlaneError, Unreachable
from kubiya_worker.errors import WorkerError
from kubiya_worker.protocol import events as ev

LOST, BACK, FAILED, END = "_lost", "_back", "_failed", "_end"  # event types about the stream itself
SILENT: Final = frozenset({"reconnect", "keepalive", "connected", "history_complete", "timeout_warning"})
FIRST_DELAY, LONGEST_DELAY = 0.2, 5.0  # seconds between tries to connect


@dataclass(frozen=True)
class Frame:
    """One server-sent event. `sequence` is its number in the execution's log; 0 when it has none."""

    event_type: str
    data: dict[str, Any]
    event_id: str = ""
    sequence: int = 0
    timestamp: str | None = None
    error: WorkerError | None = None

    @property
    def fault(self) -> WorkerError:
        """Return the error of a FAILED frame; no other has one."""
        assert self.error is not None
        return self.error


def sequence_of(event_id: str) -> int:
    """Return the number in `{execution}_{number}_{micros}` (docs/protocol.md#c3); 0 when there is none."""
    parts = event_id.rsplit("_", 2)
    number = parts[1] if len(parts) == 3 else event_id
    return int(number) if number.isdigit() else 0


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """Parse the lines of a stream into frames. A frame that is cut off or is not JSON is skipped."""
    event_type, event_id = "message", ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                try:
                    payload = json.loads("\n".join(data))
                except ValueError:
                    payload = None
                if isinstance(payload, dict):
                    yield _frame(event_type, event_id, payload)
            event_type, event_id, data = "message", "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event_type = value
        elif name == "id":
            event_id = value
        elif name == "data":
            data.append(value)


def _frame(event_type: str, event_id: str, payload: dict[str, Any]) -> Frame:
    """Make a frame. The worker's events are wrapped as {data, timestamp}; those of the server are flat."""
    inner = payload.get("data")
    wrapped = isinstance(inner, dict) and not payload.keys() - {"data", "timestamp", "event_type", "execution_id"}
    stamp = payload.get("timestamp")
    return Frame(
        event_type,
        inner if wrapped and isinstance(inner, dict) else payload,
        event_id,
        sequence_of(event_id),
        str(stamp) if stamp else None,
    )


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """Join pieces of a stream into lines; the last line counts only when it is complete."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode(errors="replace")


class Follower:
    """Reads the stream in its own thread; `fileno` becomes readable when `taken` has frames.

    It reconnects for ever, with LOST and BACK frames around the gap. It ends with END after `done`, or with FAILED when
    the control plane refuses (its error is in the frame).
    """

    def __init__(
        self,
        execution_id: str,
        connect: Callable[[str, str], BaseHTTPResponse],
        pause: Callable[[threading.Event, float], bool] = threading.Event.wait,
        after: int = 0,
    ) -> None:
        """Read the events behind the number `after`."""
        self._execution_id = execution_id
        self._connect = connect
        self._pause = pause
        self._frames: deque[Frame] = deque()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._closed = threading.Event()
        self._last_sequence = after
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def fileno(self) -> int:
        return self._reader

    def close(self) -> None:
        """Ask the thread to end. It ends after the next piece it reads, or with this process."""
        self._closed.set()

    def take_frames(self) -> list[Frame]:
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            pass
        batch = []
        while self._frames:
            batch.append(self._frames.popleft())
        return batch

    def _put(self, frame: Frame) -> None:
        self._frames.append(frame)
        try:
            os.write(self._writer, b"x")
        except (BlockingIOError, OSError):
            pass  # the pipe is full, so `fileno` is readable already

    def _run(self) -> None:
        tries, is_lost = 0, False
        while not self._closed.is_set():
            last = f"{self._execution_id}_{self._last_sequence}_0"
            try:
                with self._connect(self._execution_id, last) as reply:
                    if is_lost:
                        self._put(Frame(BACK, {}))
                        is_lost = False
                    before = self._last_sequence
                    if self._read(reply):
                        self._put(Frame(END, {}))
                        return
                    tries = 0 if self._last_sequence > before else tries
            except Unreachable:
                if not is_lost and tries:
                    is_lost = True
                    self._put(Frame(LOST, {}))
            except ControlPlaneError as error:
                self._put(Frame(FAILED, {}, error=error))
                return
            except Exception as error:  # without this a bug would look like a silent stream
                self._put(
                    Frame(
                        FAILED,
                        {},
                        error=WorkerError(
                            f"The stream broke: {type(error).__name__}: {error}",
                            remedy="The run goes on, and kubiya runs watch shows it; please report this",
                        ),
                    )
                )
                return
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(tries, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
            tries += 1
            self._pause(self._closed, delay)

    def _read(self, reply: BaseHTTPResponse) -> bool:
        """Read until the stream ends. Return whether the execution's last event was read."""
        chunked = "chunked" in reply.headers.get("Transfer-Encoding", "")
        try:
            # Without chunks a larger read would wait until its buffer is full, so read byte by byte.
            for frame in frames(lines_of(reply.stream(None if chunked else 1))):
                if self._closed.is_set():
                    return True
                if frame.sequence and frame.sequence <= self._last_sequence:
                    continue
                self._last_sequence = max(self._last_sequence, frame.sequence)
                if frame.event_type not in SILENT:
                    self._put(frame)
                if frame.event_type == ev.DONE:
                    return True
        except (HTTPError, OSError):
            pass  # the stream was cut: the next connection continues after the last frame
        return False
