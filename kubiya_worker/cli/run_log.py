"""This module prints the events of an execution as lines, of the past and while they come, and asks nobody anything."""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from kubiya_worker.cli import ndjson
from kubiya_worker.cli.api.executions import ExecutionsApi
from kubiya_worker.cli.connection import Api
from kubiya_worker.cli.moments import clock
from kubiya_worker.cli.progress import ExecutionProgress
from kubiya_worker.cli.render import Renderer
from kubiya_worker.cli.stream import END, FAILED, Follower, Frame
from kubiya_worker.cli.terminal import Paint
from kubiya_worker.errors import EX_OK
from kubiya_worker.protocol import execution as ex


class EventLog:
    def __init__(self, *, times: bool, full: bool, as_json: bool) -> None:
        self._times, self._as_json = times, as_json
        self._paint = Paint.for_stream(sys.stdout)
        # Whole messages instead of pieces: lines with a time before them cannot grow.
        self._renderer = Renderer(
            self._paint, verbose=True, live=False, output_lines=None if full else 10, width=100_000
        )
        self._progress = ExecutionProgress()
        self._execution_id = ""

    def read(self, run: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> int:
        """Print what is stored. Return the exit code."""
        self._execution_id = str(run["id"])
        for event in events:
            self._print(
                Frame(
                    str(event["event_type"]),
                    dict(event.get("data") or {}),
                    sequence=int(event.get("sequence") or 0),
                    timestamp=str(event.get("timestamp") or ""),
                )
            )
        self._end(run)
        return EX_OK

    def follow(self, api: Api, run: Mapping[str, Any]) -> int:
        """Print what is stored and what comes, until the execution is over. Return 1 when it has not completed.

        Raises WorkerError when the control plane refuses the stream.
        """
        self._execution_id = str(run["id"])
        follower = Follower(self._execution_id, ExecutionsApi(api).open_stream)
        follower.start()
        try:
            while True:
                select.select([follower.fileno()], [], [])
                for frame in follower.take_frames():
                    if frame.event_type == FAILED:
                        raise frame.fault
                    if frame.event_type == END:
                        now = ExecutionsApi(api).get(self._execution_id)
                        self._end(now)
                        return EX_OK if str(now.get("status")) == ex.COMPLETED else 1
                    self._print(frame)
        finally:
            follower.close()

    def _print(self, frame: Frame) -> None:
        self._progress.apply(frame)
        if self._as_json:
            line = ndjson.line_of(frame, self._execution_id, verbose=True)
            if line is not None:
                print(json.dumps(line, ensure_ascii=False), flush=True)
            return
        text = self._renderer.feed(frame, self._progress)
        self._write(text, frame.timestamp)

    def _end(self, run: Mapping[str, Any]) -> None:
        if self._as_json:
            return
        if not ex.is_final(str(run.get("status"))):
            self._write(self._renderer.notice(f"so far; it is {run.get('status')}"), None)
            return
        self._progress.finish({**run, "error": self._progress.error})
        if self._progress.answer:
            self._write(f"{self._progress.answer.rstrip()}\n", run.get("completed_at"))

    def _write(self, text: str, at: Any) -> None:
        stamp = self._paint.dim(clock(at)) + "  " if self._times and at else ""
        for line in text.splitlines():
            print(f"{stamp}{line}")
        sys.stdout.flush()
