"""A stdio MCP server is confined by the kernel: its tools work, and it gets neither keys nor another workspace."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import Unavailable
from kubiya_worker.tools import mcp
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.mcp.answers import answer_of

KEY = "sk-planted-7c20"
SERVER = r"""
import json, os, subprocess, sys, tempfile
def read(path):
    return open(path).read()
def write(path):
    open(path, "w").write("written")
    return "written"
def run(path):
    return subprocess.run(["cat", path], capture_output=True, text=True).stdout
def state(path):
    made, variables = tempfile.mkdtemp(), sorted(os.environ)
    return json.dumps({"folder": os.getcwd(), "argv": sys.argv, "made": made, "variables": variables})
def remember(name):
    folder = os.path.join(os.path.expanduser("~"), ".server")
    os.makedirs(folder, exist_ok=True)
    return write(os.path.join(folder, name)) + " " + folder
def home(name):
    return read(os.path.join(os.path.expanduser("~"), name))
schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
tools = [{"name": name, "inputSchema": schema} for name in ("read", "write", "run", "state", "remember", "home")]
about = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "t", "version": "1"}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    answer = {"error": {"code": -32601, "message": "no such method"}}
    if asked["method"] == "initialize":
        answer = {"result": about}
    elif asked["method"] == "tools/list":
        answer = {"result": {"tools": tools}}
    elif asked["method"] == "tools/call":
        given = asked["params"]
        try:
            text, failed = globals()[given["name"]](given["arguments"]["path"]), False
        except OSError as error:
            text, failed = error.__class__.__name__, True
        answer = {"result": {"content": [{"type": "text", "text": text}], "isError": failed}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""

pytestmark = [
    pytest.mark.skipif(not support.probe().abi, reason=f"no confinement here: {support.probe().reason}"),
    pytest.mark.timeout(60),
]


class Places:
    def __init__(self, folder: Path) -> None:
        self.home, self.workspace, self.other = folder / "home", folder / "all" / "ws", folder / "all" / "other"
        for each in (self.home / ".kubiya", self.workspace, self.other):
            each.mkdir(parents=True)
        self.key, self.notes, self.server = self.home / ".kubiya" / "key", self.other / "notes", folder / "server.py"
        for path, text in ((self.key, KEY), (self.notes, KEY), (self.server, SERVER)):
            path.write_text(text)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    found = Places(tmp_path)
    monkeypatch.setenv("HOME", str(found.home))
    mode, private = support.mode(), support.private()
    support.use(support.PREFER, [found.workspace.parent])
    yield found
    support.use(mode, private)


def answers(places: Places, calls: list[tuple[str, Path]], **settings: Any) -> list[str]:
    """Start the server with these settings, and return the text of each call's answer."""
    [server] = mcp.parse({"s": {"command": sys.executable, "args": ["-u", str(places.server)], **settings}})

    async def work() -> list[str]:
        pool = mcp.SessionPool()
        try:
            found = await mcp.discover([server], pool, {}, places.workspace, [], owner="e1")
            assert found.missing == {}
            assert {spec.confirms for spec in found.specs} == {settings.get("confinement") == "off"}
            results = [
                await pool.call(server, name, {"path": str(path)}, places.workspace, "e1") for name, path in calls
            ]
            return [answer_of(result)["content"][0]["text"] for result in results]
        finally:
            await pool.close()

    return asyncio.run(work())


def test_its_tools_work_and_it_reads_neither_the_key_nor_another_workspace(places: Places) -> None:
    mine, link = places.workspace / "mine", places.workspace / "link"
    link.symlink_to(places.key)
    found = answers(
        places,
        [
            *[("write", mine), ("read", mine), ("run", mine), ("run", Path("/etc/passwd"))],
            *[("read", places.key), ("run", places.key), ("read", link), ("read", places.notes)],
            *[("write", places.other / "new"), ("run", Path("/proc/1/environ"))],
        ],
    )
    assert found[:3] == ["written"] * 3 and "root" in found[3]
    assert KEY not in "".join(found)
    assert not (places.other / "new").exists()


def test_a_server_that_may_use_nothing_of_the_home_has_one_of_its_own(places: Places) -> None:
    own = places.workspace / ".tmp" / "home"
    (places.home / ".gitconfig").write_text("[user]")
    assert answers(places, [("remember", Path("a")), ("home", Path(".gitconfig"))]) == [
        f"written {own / '.server'}",
        "[user]",
    ]
    assert (own / ".server" / "a").read_text() == "written"
    assert [each.name for each in places.home.iterdir() if each.name == ".server"] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"write_paths": ["~/.server"]},
        {"read_paths": ["~/.kube"], "write_paths": ["~/.server"]},
        {"grants": ["kubectl"], "write_paths": ["~/.server"]},
    ],
)
def test_a_server_with_something_of_the_home_keeps_it(places: Places, settings: dict[str, Any]) -> None:
    (places.home / ".kube").mkdir()
    assert answers(places, [("remember", Path("a"))], **settings) == [f"written {places.home / '.server'}"]


def test_folders_that_may_be_changed_are_made_and_files_are_not(places: Places) -> None:
    out, state = places.home / "a" / "out", places.home / "state.json"
    cache = places.home / ".cache"
    settings: dict[str, Any] = {"write_paths": [str(out), str(state)], "grants": ["packages"]}
    calls = [("write", out / "x"), ("write", cache / "x"), ("write", state), ("write", places.home / "x")]
    assert answers(places, calls, **settings) == ["written", "written", "PermissionError", "PermissionError"]


def test_the_ca_file_of_the_worker_is_told_and_can_be_read(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    file = places.server.with_name("ca.pem")
    file.write_text("certificates")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    state, read = answers(places, [("state", Path("x")), ("read", file)])
    assert {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} <= set(json.loads(state)["variables"]) and read == "certificates"
    assert "HTTPS_PROXY" not in json.loads(state)["variables"]


def test_a_home_of_the_settings_is_used(places: Places) -> None:
    mine = places.workspace / "mine"
    mine.mkdir()
    assert answers(places, [("remember", Path("a"))], env={"HOME": str(mine)}) == [f"written {mine / '.server'}"]


def test_without_confinement_the_same_server_reads_the_key(places: Places) -> None:
    """The test above can fail: it is the confinement that stops it."""
    assert answers(places, [("read", places.key), ("run", places.key)], confinement="off") == [KEY, KEY]
    support.use(support.OFF)
    assert answers(places, [("read", places.key)]) == [KEY]


def test_it_starts_as_it_would_without(places: Places) -> None:
    confined, free = (
        json.loads(answers(places, [("state", places.workspace)], confinement=word)[0]) for word in ("on", "off")
    )
    assert Path(confined.pop("made")).is_relative_to(places.workspace / ".tmp") and free.pop("made")
    assert {*confined.pop("variables")} - {*free.pop("variables")} <= {"TMPDIR"}
    assert confined == free


def test_declared_paths_open_what_they_say(places: Places) -> None:
    data = places.home / "data"
    data.mkdir()
    (data / "a").write_text("content")
    asked: list[tuple[str, Path]] = [("read", data / "a"), ("write", data / "b")]
    assert answers(places, asked) == ["PermissionError"] * 2
    assert answers(places, asked, read_paths=[str(data)]) == ["content", "PermissionError"]
    assert answers(places, asked, write_paths=[str(data)]) == ["content", "written"]
    assert answers(places, [("read", places.key)], read_paths=[str(places.home)]) == ["PermissionError"]


def test_a_server_that_cannot_start_confined_says_what_a_person_can_add(places: Places) -> None:
    hidden = places.home / "hidden.py"
    hidden.write_text(SERVER)
    settings = {"command": sys.executable, "args": ["{{FILE}}"]}
    [server] = [each.resolved({"FILE": str(hidden)}) for each in mcp.parse({"s": settings})]

    async def work() -> None:
        pool = mcp.SessionPool()
        try:
            await pool.tools(server, places.workspace)
        finally:
            await pool.close()

    with pytest.raises(Unavailable) as raised:
        asyncio.run(work())
    assert "`read_paths`" in raised.value.line() and "Permission denied" in raised.value.line()
