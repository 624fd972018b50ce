"""The pool of sessions against tests/cases/mcp: whose sessions they are, how many there are, and how they end."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psutil
import pytest

from kubiya_worker.tools import mcp
from kubiya_worker.tools.base import ToolContext, ToolResult
from tests.support.mcp_cases import FOLDER

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def pool() -> AsyncIterator[mcp.SessionPool]:
    pool = mcp.SessionPool()
    yield pool
    await pool.close()


@pytest.fixture(scope="module")
def http_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("http") / "log"


@pytest.fixture(scope="module")
def url(http_log: Path) -> Iterator[str]:
    argv = [sys.executable, str(FOLDER / "http.py"), "0", f"log={http_log}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def nasty(*switches: str, **settings: Any) -> dict[str, Any]:
    return {"s": {"command": sys.executable, "args": [str(FOLDER / "nasty.py"), *switches], **settings}}


class Client:
    """A client uses the pool as one execution does."""

    def __init__(self, pool: mcp.SessionPool, servers: dict[str, Any], workspace: Path, owner: str = "e1") -> None:
        self.pool, self.servers, self.workspace, self.owner = pool, mcp.parse(servers), workspace, owner
        self.told: list[str] = []

    async def found(self, patience: float | None = None) -> Any:
        return await mcp.discover(self.servers, self.pool, {}, self.workspace, [], owner=self.owner, patience=patience)

    async def call(self, name: str, **arguments: Any) -> ToolResult:
        tools = {tool.spec.name: tool for tool in mcp.tools_of((await self.found()).specs, self.servers, self.pool)}
        context = ToolContext(self.owner, "c1", self.workspace, tell=self.told.append)
        return await tools[f"mcp__s__{name}"].run(arguments, context)


def events(log: Path, kind: str) -> list[dict[str, Any]]:
    """Return what a server of tests/cases/mcp has noted of this kind."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in map(json.loads, lines) if line["event"] == kind]


async def gone(pid: str) -> None:
    deadline = time.monotonic() + 60
    while psutil.pid_exists(int(pid.partition("=")[2])):
        assert time.monotonic() < deadline, f"{pid} is left"
        await asyncio.sleep(0.02)


async def test_each_execution_has_its_own_server_which_ends_with_it(pool: mcp.SessionPool, tmp_path: Path) -> None:
    one, two = (Client(pool, nasty(), tmp_path, owner) for owner in ("e1", "e2"))
    pids = [(await client.call("pid")).output for client in (one, two, one)]
    assert pids[0] == pids[2] != pids[1]
    pool.release("e1")
    await gone(pids[0])
    assert (await two.call("pid")).output == pids[1]


async def test_a_shared_server_is_one_for_all_and_outlives_each(pool: mcp.SessionPool, tmp_path: Path) -> None:
    one, two = (Client(pool, nasty(shared=True), tmp_path / owner, owner) for owner in ("e1", "e2"))
    pid = (await one.call("pid")).output
    pool.release("e1")
    assert (await two.call("pid")).output == pid


async def test_an_execution_that_ended_elsewhere_loses_its_servers(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("kubiya_worker.tools.mcp.pool.LOOK", 0.1)
    asked: list[str] = []

    async def over(owner: str) -> bool:
        asked.append(owner)
        return owner == "e1"

    pool = mcp.SessionPool(over=over)
    try:
        one, two = (Client(pool, nasty(), tmp_path, owner) for owner in ("e1", "e2"))
        pids = [(await client.call("pid")).output for client in (one, two)]
        await gone(pids[0])
        while "e2" not in asked:
            await asyncio.sleep(0.02)
        assert (await two.call("pid")).output == pids[1]
    finally:
        await pool.close()


async def test_at_the_limit_one_waits_for_a_place_and_is_told_why_there_is_none(tmp_path: Path) -> None:
    pool = mcp.SessionPool(limit=2)
    try:
        clients = [Client(pool, nasty(), tmp_path, f"e{number}") for number in range(3)]
        assert [(await client.found()).faults for client in clients[:2]] == [[], []]
        # Only the wait for a place has a short limit: a server that starts may need longer on a busy machine.
        (fault,) = (await Client(pool, nasty(timeout=1), tmp_path, "e2").found()).faults
        assert "2 sessions" in fault and "KUBIYA_MCP_MAX_SESSIONS" in fault
        waiting = asyncio.create_task(clients[2].call("pid"))
        await asyncio.sleep(0)
        pool.release("e0")
        assert (await waiting).error is None
    finally:
        await pool.close()


async def test_an_idle_session_makes_place(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("kubiya_worker.tools.mcp.pool.EVICTED_AFTER", 0.0)
    pool = mcp.SessionPool(limit=1)
    try:
        one, two = (Client(pool, nasty(), tmp_path, owner) for owner in ("e1", "e2"))
        first = (await one.call("pid")).output
        assert (await two.call("pid")).error is None
        await gone(first)
        assert (await one.call("pid")).output != first
    finally:
        await pool.close()


async def test_who_stops_waiting_does_not_stop_the_start(pool: mcp.SessionPool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    client = Client(pool, nasty("slow-start=1.5", f"log={log}"), tmp_path)
    assert (await client.found(patience=0.2)).starting == ["s"]
    assert (await client.call("echo", s="up")).output == '{"s": "up"}'
    assert len(events(log, "start")) == 1, "it was not started again"


async def test_a_server_that_hangs_is_ended_and_nobody_waits_for_it(pool: mcp.SessionPool, tmp_path: Path) -> None:
    for limit in (2, 8, 32):  # on a busy machine the server itself may not run within two seconds
        log = tmp_path / f"log{limit}"
        client = Client(pool, nasty("hang-start", f"log={log}", timeout=limit), tmp_path)
        (fault,) = (await client.found()).faults
        assert f"did not start within {limit} seconds" in fault
        if events(log, "start"):
            break
    (started,) = events(log, "start")
    assert psutil.pid_exists(started["server"]), (
        "the fault came only when the server, which ignores SIGTERM, had been killed"
    )
    await gone(f"pid={started['server']}")


async def test_closing_is_quick_whatever_servers_do(tmp_path: Path, url: str) -> None:
    pool = mcp.SessionPool()
    servers = {**nasty("hang-start", timeout=240), "far": {"url": f"{url}/close-hangs"}}
    starting = ["far"]
    while "far" in starting:  # on a busy machine it may not be there within a second
        found = await mcp.discover(mcp.parse(servers), pool, {}, tmp_path, [], owner="e1", patience=1.0)
        starting = found.starting
    assert starting == ["s"]
    began = time.monotonic()
    await pool.close()
    assert time.monotonic() - began < 20  # the server answers the DELETE after 60 s


async def test_progress_renews_the_limit_up_to_the_longest(pool: mcp.SessionPool, tmp_path: Path) -> None:
    client = Client(pool, nasty("progress=5", call_timeout=4), tmp_path)
    assert (await client.call("work")).output == "work done, token given"
    assert "step 2 of 5 (2 of 5)" in client.told
    short = Client(pool, nasty("progress=9", call_timeout=3, max_call_timeout=4), tmp_path)
    result = await short.call("work")
    assert result.error and "did not answer within 4 seconds" in result.error


async def test_a_call_under_way_goes_on_while_another_opens_the_session_again(
    pool: mcp.SessionPool, tmp_path: Path, url: str, http_log: Path
) -> None:
    client = Client(pool, {"s": {"url": f"{url}/restart-404"}}, tmp_path)
    await client.call("session")
    slow = asyncio.create_task(client.call("slow", seconds=2))
    while not any('"name": "slow"' in json.dumps(line["params"]) for line in events(http_log, "in")):
        await asyncio.sleep(0.02)
    await asyncio.to_thread(_post, f"{url}/restart-404/forget")
    assert (await client.call("session")).output.endswith("calls=1")
    assert (await slow).output == "slow is done"


def _post(address: str) -> None:
    import requests

    requests.post(address, timeout=10).raise_for_status()


async def test_a_lost_call_is_repeated_only_where_that_is_safe(pool: mcp.SessionPool, tmp_path: Path) -> None:
    """The program ends in mid-call, the first time; a tool that says `readOnlyHint` may run again."""
    program = tmp_path / "dies.py"
    program.write_text(DIES)
    mark = tmp_path / "mark"
    servers = {"s": {"command": sys.executable, "args": [str(program), str(mark)]}}
    result = await Client(pool, servers, tmp_path).call("write")
    assert result.error and "outcome is unknown" in result.error
    mark.unlink()
    assert (await Client(pool, servers, tmp_path).call("read")).output == "read again"


async def test_what_a_server_prints_beside_the_protocol_does_no_harm_and_is_not_logged(
    pool: mcp.SessionPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "talks.py"
    program.write_text(TALKS + (FOLDER / "nasty.py").read_text())
    client = Client(pool, {"s": {"command": sys.executable, "args": [str(program)]}}, tmp_path)
    assert (await client.call("echo", s="x")).output == '{"s": "x"}'
    assert "hunter2-canary" not in caplog.text


TALKS = """
import sys
print("Starting with password=hunter2-canary", flush=True)
sys.stdout.buffer.write(bytes([0xff, 0x0a]))
"""
DIES = """
import json, pathlib, sys
mark = pathlib.Path(sys.argv[1])
for line in sys.stdin:
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        answer = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "d"}}
    elif method == "tools/list":
        tools = [{"name": "read", "inputSchema": {}, "annotations": {"readOnlyHint": True}}]
        answer = {"tools": [*tools, {"name": "write", "inputSchema": {}}]}
    elif method == "tools/call":
        if not mark.exists():
            mark.touch()
            sys.exit(1)
        answer = {"content": [{"type": "text", "text": message["params"]["name"] + " again"}]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": number, "result": answer}), flush=True)
"""


class Guarded(BaseHTTPRequestHandler):
    """An MCP server that wants a token, and gives them for client credentials at /token. A token lasts two calls."""

    protocol_version = "HTTP/1.1"
    tokens: list[str]  # given
    used: dict[str, int]
    in_form = False  # whether the credentials are taken in the form only

    def log_message(self, *ignored: Any) -> None:
        pass

    def answer(self, status: int, body: Any, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer(405, {})

    def do_DELETE(self) -> None:
        self.answer(200, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
            basic = base64.b64encode(b"me:s3cret%2F%2B").decode()
            told = form.get("client_secret") == "s3cret/+" if self.in_form else basic in str(self.headers)
            if not told or form["grant_type"] != "client_credentials" or form.get("scope") != "tickets":
                return self.answer(401, {"error": "invalid_client", "error_description": "who are you"})
            self.tokens.append(f"tok-{len(self.tokens)}-abcdef")
            return self.answer(200, {"access_token": self.tokens[-1], "expires_in": 3600})
        message = json.loads(body)
        token = str(self.headers["Authorization"]).removeprefix("Bearer ")
        if token not in self.tokens:
            return self.answer(401, {"error": "invalid_token"})
        if message["method"] == "tools/call":
            self.used[token] = self.used.get(token, 0) + 1
            if self.used[token] > 2:
                return self.answer(401, {"error": "invalid_token"})
        if "id" not in message:
            return self.answer(202, {})
        results: dict[str, Any] = {
            "initialize": {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "g"}},
            "tools/list": {"tools": [{"name": "echo", "inputSchema": {}}]},
            "tools/call": {"content": [{"type": "text", "text": f"with {self.headers['Authorization']}"}]},
        }
        return self.answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]})


@pytest.fixture(params=[False, True], ids=["basic", "form"])
def guarded(request: Any) -> Iterator[tuple[str, type[Guarded]]]:
    kind = type("Kind", (Guarded,), {"tokens": [], "used": {}, "in_form": request.param})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", kind
    server.shutdown()
    server.server_close()
    thread.join()


def credentials(url: str, secret: str = "s3cret/+") -> dict[str, Any]:
    oauth = {"token_url": f"{url}/token", "client_id": "me", "client_secret": secret, "scope": "tickets"}
    return {"s": {"url": f"{url}/mcp", "oauth": oauth}}


async def test_a_token_is_fetched_kept_and_renewed(
    guarded: tuple[str, type[Guarded]], pool: mcp.SessionPool, tmp_path: Path
) -> None:
    url, kind = guarded
    for owner in ("e1", "e2"):  # the token is the worker's, sessions are not
        client = Client(pool, credentials(url), tmp_path, owner)
        for _ in range(2):
            result = await client.call("echo")
            assert result.error is None and result.output == "with Bearer [redacted]"
    assert len(kind.tokens) == 2, "one was refused, and one fetched in its place"
    assert (await client.call("echo")).error is None


async def test_why_there_is_no_token_is_told(
    guarded: tuple[str, type[Guarded]], pool: mcp.SessionPool, tmp_path: Path
) -> None:
    url, _ = guarded
    (fault,) = (await Client(pool, credentials(url, "wrong-secret"), tmp_path).found()).faults
    assert "token_url" in fault and "401" in fault and "who are you" in fault and "wrong-secret" not in fault
