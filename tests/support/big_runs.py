"""Events of runs that are large, for the page: many steps, and outputs of megabytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.stack import Stack

PIECES = 5  # of each message
PER_STEP = PIECES + 5  # events: the pieces, the message, two calls with a start and an end each
BATCH = 500
MOST_NODES = 3000  # of the document, whatever the length of the run
NODES = """() => {
  const walker = document.createTreeWalker(document, NodeFilter.SHOW_ALL);
  let count = 1;
  while (walker.nextNode()) count += 1;
  return count;
}"""


def steps(count: int) -> list[dict[str, Any]]:
    """Return the events of `count` steps: a message in pieces, then two calls with outputs of 2 kB."""
    events: list[dict[str, Any]] = []
    begin = datetime.now(UTC) - timedelta(seconds=4 * count)

    def add(key: str, kind: str, data: dict[str, Any], second: float) -> None:
        at = (begin + timedelta(seconds=second)).isoformat()
        events.append({"event_id": key, "event_type": kind, "data": data, "timestamp": at})

    for number in range(count):
        start = 4.0 * number
        message = {"role": "assistant", "message_id": f"big_assistant_{number}", "model": "demo"}
        words = [f"**Step {number}**: I look into `/var/log/app-{number}.log` and " for _ in range(PIECES)]
        for piece, text in enumerate(words):
            add(
                f"{number}p{piece}", "message_chunk", {**message, "content": text, "is_chunk": True}, start + piece / 10
            )
        usage = {"input_tokens": 1000 + number, "output_tokens": 50, "total_tokens": 1050 + number, "cost_usd": 0.001}
        add(f"{number}m", "message", {**message, "content": "".join(words), "usage": usage}, start + 1)
        for call in range(2):
            about = {"tool_name": "shell", "tool_execution_id": f"big{number}_{call}", "source": "agent"}
            about["message_id"] = message["message_id"]
            values = {"tool_arguments": {"command": f"tail -n 50 /var/log/app-{number}.log"}}
            add(f"{number}s{call}", "tool_started", {**about, **values}, start + 1.1 + call)
            output = f"app-{number} says: all is well, once more\n" * 50
            result = {"status": "success", "tool_output": output, "duration_seconds": 0.9}
            add(f"{number}c{call}", "tool_completed", {**about, **result}, start + 2 + call)
    return events


def call(tool: str, arguments: dict[str, Any], output: str) -> list[dict[str, Any]]:
    """Return the events of one call."""
    about = {"tool_name": tool, "tool_execution_id": "one", "message_id": "m", "source": "agent"}
    result = {"status": "success", "tool_output": output, "duration_seconds": 0.2}
    return [
        {"event_id": "one:start", "event_type": "tool_started", "data": {**about, "tool_arguments": arguments}},
        {"event_id": "one:end", "event_type": "tool_completed", "data": {**about, **result}},
    ]


def post(stack: Stack, execution: str, events: list[dict[str, Any]]) -> None:
    for start in range(0, len(events), BATCH):
        stack.call("POST", f"/executions/{execution}/events/batch", {"events": events[start : start + BATCH]})


def long_output(characters: int) -> str:
    """Return an output of this many characters, in lines that can be told apart."""
    lines: list[str] = []
    size = 0
    while size < characters:
        lines.append(f"line {len(lines):07d}: the quick brown fox jumps over the lazy dog")
        size += len(lines[-1]) + 1
    return "\n".join(lines)[:characters]
