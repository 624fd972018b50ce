"""Server-sent events over HTTP: where they begin, how they are resumed, and how they end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import requests

from kubiya_worker.server.stream import counter_of
from tests.support import event_stream
from tests.support.control_plane import ControlPlane

Frame = dict[str, Any]

STOPPED: Final = 5  # clients that read one event, and then nothing
HELD: Final = 8 << 20  # bytes of the server for each of them: some pages of the log, which has 10 MB


def event(number: int, kind: str = "message_chunk", **data: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "event_type": kind, "data": {"message_id": "m", "content": f"{number}", **data}}


def publish(plane: ControlPlane, execution: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = plane.call("POST", f"/executions/{execution}/events/batch", {"events": events}, 202)
    return told


def finish(plane: ControlPlane, execution: str) -> None:
    plane.call("PATCH", f"/executions/{execution}", {"status": "running"})
    plane.call("PATCH", f"/executions/{execution}", {"status": "completed", "response": "Yes.", "usage": {"n": 1}})


def open_stream(plane: ControlPlane, execution: str, last: str | None = None, **query: str) -> requests.Response:
    headers = {} if last is None else {"Last-Event-ID": last}
    url = f"{plane.url}/api/v1/executions/{execution}/stream"
    return plane.http.get(url, headers=headers, params=query, stream=True, timeout=60)


def frames(answer: requests.Response) -> Iterator[Frame]:
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    yield from event_stream.frames(answer.iter_lines(chunk_size=None, decode_unicode=True))


def numbers(found: list[Frame]) -> list[int]:
    return [int(frame["id"].split("_")[-2]) for frame in found if "id" in frame]


@pytest.fixture
def execution(plane: ControlPlane) -> str:
    return plane.execute()


def test_every_event_comes_once_in_order_with_its_number(plane: ControlPlane, execution: str) -> None:
    publish(plane, execution, [event(n) for n in range(1, 451)])
    finish(plane, execution)
    with open_stream(plane, execution, "0") as answer:
        found = list(frames(answer))
    assert numbers(found) == list(range(1, len(found) + 1))
    assert [f["data"]["data"]["content"] for f in found[:450]] == [str(n) for n in range(1, 451)]
    assert [f["event"] for f in found[450:]] == ["status", "status", "done"]
    done = found[-1]["data"]  # what the server says itself is flat
    assert (done["status"], done["response"], done["usage"]) == ("completed", "Yes.", {"n": 1})


@pytest.mark.parametrize("where", ["header", "query", "bare number"])
def test_a_client_resumes_behind_the_last_event_that_it_had(plane: ControlPlane, execution: str, where: str) -> None:
    publish(plane, execution, [event(n) for n in range(1, 11)])
    with open_stream(plane, execution, "0") as answer:
        last = [f for _, f in zip(range(4), frames(answer), strict=False)][-1]["id"]
    finish(plane, execution)
    if where == "header":
        again = open_stream(plane, execution, last)
    elif where == "query":
        again = open_stream(plane, execution, None, last_event_id=last)
    else:
        again = open_stream(plane, execution, "4")
    with again:
        assert numbers(list(frames(again))) == list(range(5, 14))


def test_without_a_last_event_the_conversation_comes_first_and_then_what_is_open(
    plane: ControlPlane, execution: str
) -> None:
    first = {"role": "user", "content": "Hi"}
    publish(plane, execution, [event(1, "message", message_id="u1", **first), event(2), event(3)])
    with open_stream(plane, execution) as answer:
        coming = frames(answer)
        found = [next(coming) for _ in range(4)]
        assert found[0]["data"]["content"] == "Hi" and "data" not in found[0]["data"]
        assert found[1]["event"] == "history_complete"
        assert found[1]["data"] == {
            "execution_id": execution,
            "message_count": 1,
            "is_truncated": False,
            "has_more": False,
        }
        assert [f["data"]["data"]["content"] for f in found[2:]] == ["2", "3"]  # text that is still being written
        publish(plane, execution, [event(4)])
        assert next(coming)["data"]["data"]["content"] == "4"
    finish(plane, execution)
    with open_stream(plane, execution, found[2]["id"]) as answer:
        assert numbers(list(frames(answer))) == [3, 4, 5, 6, 7]


def test_a_long_history_says_that_it_is_cut(plane: ControlPlane, execution: str) -> None:
    messages = [event(n, "message", message_id=f"m{n}", role="user") for n in range(1, 251)]
    publish(plane, execution, messages)
    finish(plane, execution)
    with open_stream(plane, execution) as answer:
        found = list(frames(answer))
    assert [f["event"] for f in found].index("history_complete") == 200
    assert found[200]["data"]["is_truncated"] is True
    assert numbers(found) == list(range(51, 254))


def test_an_event_that_the_log_does_not_have_is_a_gap(plane: ControlPlane, execution: str) -> None:
    publish(plane, execution, [event(1, "message", message_id="u", role="user")])
    finish(plane, execution)
    with open_stream(plane, execution, f"{execution}_900_1") as answer:
        found = list(frames(answer))
    assert found[0]["event"] == "gap_detected" and found[0]["data"]["last_known"] == 4
    assert [f["event"] for f in found[1:]] == ["message", "history_complete", "status", "status", "done"]


def test_an_event_that_is_sent_again_is_stored_once(plane: ControlPlane, execution: str) -> None:
    assert publish(plane, execution, [event(1), event(2), event(1)])["accepted"] == 2
    told = publish(plane, execution, [event(2), event(3)])
    assert (told["accepted"], told["duplicates"], told["last_sequence"]) == (1, 1, 3)
    plane.call("POST", f"/executions/{execution}/events", event(3), 202)
    assert [e["data"]["content"] for e in plane.call("GET", f"/executions/{execution}/events")] == ["1", "2", "3"]


def test_a_batch_with_one_bad_event_is_refused_as_a_whole(plane: ControlPlane, execution: str) -> None:
    wrong: list[Any] = [{"data": {}}, {"event_type": "a\nb"}, "text", {"event_type": "x", "data": []}]
    for bad in wrong:
        plane.call("POST", f"/executions/{execution}/events/batch", {"events": [event(1), bad]}, 422)
    assert plane.call("GET", f"/executions/{execution}/events") == []


def test_several_clients_see_the_same_live(plane: ControlPlane, execution: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        streams = [open_stream(plane, execution, "0") for _ in range(3)]
        reading = [pool.submit(lambda stream: list(frames(stream)), stream) for stream in streams]
        for start in range(0, 300, 10):
            publish(plane, execution, [event(n) for n in range(start, start + 10)])
        finish(plane, execution)
        found = [future.result(60) for future in reading]
        for stream in streams:
            stream.close()
    assert found[0] == found[1] == found[2]
    assert numbers(found[0]) == list(range(1, 304))


def test_a_client_that_does_not_read_holds_up_nobody_and_loses_nothing(plane: ControlPlane, execution: str) -> None:
    """The socket's buffers fill up with 20 MB to come; the server goes on for everybody else meanwhile."""
    with socket.create_connection(("127.0.0.1", plane.port), 30) as lazy:
        head = f"GET /api/v1/executions/{execution}/stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n"
        lazy.sendall(f"{head}Authorization: Bearer {plane.key}\r\nConnection: close\r\n\r\n".encode())
        for start in range(0, 400, 20):
            publish(plane, execution, [event(n, filler="x" * 50_000) for n in range(start, start + 20)])
        finish(plane, execution)
        with open_stream(plane, execution, "0") as answer:
            assert numbers(list(frames(answer))) == list(range(1, 404))
        received = bytearray()
        while piece := lazy.recv(1 << 20):
            received += piece
    ids = [line.split(b"_")[-2] for line in received.splitlines() if line.startswith(b"id: ")]
    assert ids == [str(n).encode() for n in range(1, 404)]


def test_clients_that_stop_reading_harm_no_other_stream_and_go_on_where_they_were(
    plane: ControlPlane, execution: str
) -> None:
    other = plane.execute()
    publish(plane, execution, [event(1)])
    assert plane.process is not None
    server = psutil.Process(plane.process.pid)
    with contextlib.ExitStack() as stack:
        stopped = [stack.enter_context(open_stream(plane, execution, "0")) for _ in range(STOPPED)]
        last = [next(frames(answer))["id"] for answer in stopped]  # and then they read nothing
        before = server.memory_info().rss
        for start in range(2, 202, 20):
            publish(plane, execution, [event(n, filler="x" * 50_000) for n in range(start, start + 20)])
        publish(plane, other, [event(1)])
        beside = stack.enter_context(open_stream(plane, other, "0"))
        assert numbers([next(frames(beside))]) == [1]
        grown = server.memory_info().rss - before
        assert grown < STOPPED * HELD, f"{grown / 2**20:.0f} MiB for what nobody reads"
    finish(plane, execution)
    for number in last:
        with open_stream(plane, execution, number) as answer:
            assert numbers(list(frames(answer))) == list(range(2, 205))


def test_a_stream_of_an_execution_that_is_deleted_ends(plane: ControlPlane, execution: str) -> None:
    finish(plane, execution)
    plane.call("DELETE", f"/executions/{execution}", status=204)
    plane.call("GET", f"/executions/{execution}/stream", status=404)


def test_a_server_that_stops_sends_its_clients_to_the_next_one(tmp_path: Path) -> None:
    with ControlPlane(tmp_path) as plane:
        execution = plane.execute()
        publish(plane, execution, [event(1)])
        with open_stream(plane, execution, "0") as answer:
            coming = frames(answer)
            assert numbers([next(coming)]) == [1]
            assert plane.process is not None
            plane.process.popen.terminate()
            goodbye = next(coming)
            assert (goodbye["event"], goodbye["data"]["reason"]) == ("reconnect", "shutdown")
            assert list(coming) == []
        assert plane.process.wait(30) == 0
        plane.start()
        publish(plane, execution, [event(1), event(2)])
        finish(plane, execution)
        with open_stream(plane, execution, f"{execution}_1_0") as answer:
            assert numbers(list(frames(answer))) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("given", "counter"),
    [("e_1_5_1700", 5), ("7", 7), ("0", 0), ("", 0), ("words", 0), ("e_x_1", 0), ("-3", 0), ("٣", 0), ("9" * 30, 0)],
)
def test_the_number_in_an_event_id(given: str, counter: int) -> None:
    assert counter_of(given) == counter
