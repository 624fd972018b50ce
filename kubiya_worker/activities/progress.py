"""Progress lines of a tool call for the clients, limited to one in a while however often the tool reports."""

from __future__ import annotations

import time
from typing import Final

from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.protocol import calls
from kubiya_worker.protocol import events as ev
from kubiya_worker.tools.redaction import Redactor

APART: Final = 0.5  # seconds between two lines
OFTEN: Final = 40  # lines of one call after which there are fewer: a stream shows an execution's first 1,000 events
SELDOM: Final = 30.0  # seconds between two lines then


class ToolProgress:
    """The progress lines of one call."""

    def __init__(self, call: calls.ToolInput, out: Publisher, redactor: Redactor) -> None:
        self._call, self._out, self._redactor = call, out, redactor
        self._told = 0
        self._last = -SELDOM

    def tell(self, line: str) -> None:
        """Show a line, unless one was shown a moment ago."""
        now = time.monotonic()
        if now - self._last < (APART if self._told < OFTEN else SELDOM):
            return
        self._last = now
        self._told += 1
        call = self._call
        data = {
            "kind": "tool_progress",
            "severity": "info",
            "message": f"{call.tool_name}: {self._redactor.text(line)}",
            "tool_name": call.tool_name,
            "tool_execution_id": call.tool_execution_id,
            "message_id": call.message_id,
        }
        self._out.emit(ev.event(f"progress:{call.tool_execution_id}:{self._told}", ev.NOTICE, data))
