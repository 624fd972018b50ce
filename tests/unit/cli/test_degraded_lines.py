"""A run without something that it should have says so in `kubiya exec -o json`."""

from __future__ import annotations

from typing import Any

from kubiya_worker.cli.ndjson import line_of
from kubiya_worker.cli.stream import Frame
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import servers

LACKING = {"kind": "mcp_server", "name": "tracker", "reason": "it answered 401 Unauthorized"}


def line(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    found = line_of(Frame(event_type=kind, data=data, timestamp="2026-01-01T00:00:00+00:00", event_id="1"), "e1")
    assert found is not None
    return found


def test_the_notice_names_what_is_missing_and_why() -> None:
    event = servers.notice("n1", "e1", servers.message_of(LACKING), LACKING)
    told = line(ev.NOTICE, event["data"])
    assert told["progress"] == {
        "stage": "degraded",
        "message": "MCP server 'tracker' cannot be used: it answered 401 Unauthorized",
    }
    assert told["metadata"] == {"degraded": LACKING}


def test_the_end_says_it_again_and_a_whole_run_says_nothing() -> None:
    assert line(ev.DONE, {"status": "completed", "metadata": {"degraded": [LACKING]}})["metadata"]["degraded"]
    assert "metadata" not in line(ev.DONE, {"status": "completed"})
    assert line(ev.NOTICE, {"message": "hello"})["progress"]["stage"] == "notice"
