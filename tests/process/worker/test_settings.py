"""A worker with a wrong setting ends with one line and the right code, before it sends anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.worker.conftest import KEY, Start
from tests.support.scripted_plane import ScriptedPlane

CASES = [
    ({"QUEUE_ID": ""}, 64, "No queue is given. Use --queue-id Q, or set QUEUE_ID"),
    ({"QUEUE_ID": "../etc"}, 78, "QUEUE_ID '../etc' is not a queue's id or name"),
    ({"KUBIYA_API_KEY": ""}, 77, "No API key is given. Set KUBIYA_API_KEY"),
    (
        {"KUBIYA_API_KEY": "two words"},
        77,
        "The API key contains characters that a key cannot have. Check KUBIYA_API_KEY",
    ),
    ({"KUBIYA_API_KEY": "schlüssel"}, 77, "The API key contains characters that a key cannot have"),
    ({"CONTROL_PLANE_GATEWAY_URL": "localhost:7777"}, 78, "CONTROL_PLANE_GATEWAY_URL 'localhost:7777' is not a URL"),
    ({"CONTROL_PLANE_GATEWAY_URL": "http://127.0.0.1:99999"}, 78, "is not a URL"),
    ({"HEARTBEAT_INTERVAL": "soon"}, 78, "HEARTBEAT_INTERVAL 'soon' is not a time"),
    ({"MAX_CONCURRENT_ACTIVITIES": "0"}, 78, "MAX_CONCURRENT_ACTIVITIES '0' is not a whole number"),
    ({"LOG_LEVEL": "LOUD"}, 78, "LOG_LEVEL 'LOUD' is not one of DEBUG"),
    ({"TEMPORAL_TLS": "maybe"}, 78, "TEMPORAL_TLS 'maybe' is not true or false"),
]


@pytest.mark.parametrize(("env", "code", "says"), CASES, ids=[" ".join(map("=".join, c[0].items())) for c in CASES])
def test_a_bad_setting_ends_in_one_line(start: Start, env: dict[str, str], code: int, says: str) -> None:
    with ScriptedPlane() as plane:
        worker = start(plane.url, **env)
        assert worker.wait() == code, worker.lines
        assert not plane.seen
    assert len(worker.lines) == 1 and says in worker.lines[0], worker.lines


def test_a_key_file_that_cannot_be_read(start: Start, tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.write_text("\n")
    for path in (missing, empty, tmp_path):
        worker = start("http://127.0.0.1:1", KUBIYA_API_KEY="", KUBIYA_API_KEY_FILE=str(path))
        assert worker.wait() == 78, worker.lines
        assert len(worker.lines) == 1 and str(path) in worker.lines[0], worker.lines


def test_a_key_from_a_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    with ScriptedPlane() as plane:
        start(plane.url, KUBIYA_API_KEY="", KUBIYA_API_KEY_FILE=str(tmp_path / "key"))
        assert plane.expect("/start")[0].key == f"Bearer {KEY}"


def test_an_unknown_flag_is_wrong_usage(start: Start) -> None:
    for arguments in (("--api-key", KEY), ("--queue-id",), ("surplus",)):
        worker = start("http://127.0.0.1:1", *arguments)
        assert worker.wait() == 64
        assert len(worker.lines) == 1 and "worker.py takes --queue-id Q" in worker.lines[0], worker.lines
