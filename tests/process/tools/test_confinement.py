"""Confined tools with the real kernel: what no program gets, and what administrators' programs still do.

Every escape is tried as the user of the tests and, where that is root, as a plain user too. A kernel without Landlock
skips them by name; `test_confinement_support` says what the product tells there.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.settings.table import BY_NAME as OPTIONS
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.processes.cleanup import CleanupProcess
from kubiya_worker.tools.toolset import build_toolset

KEY = "sk-planted-4f1d"
NOBODY = 65534

needs_landlock = pytest.mark.skipif(not support.probe().abi, reason=f"no confinement here: {support.probe().reason}")

TABLES = Path(__file__).parents[2] / "cases" / "confinement"
GIVEN = [json.loads(line) for line in (TABLES.parent / "shell" / "escapes.jsonl").read_text().splitlines()][1:]

Case = tuple[str, dict[str, Any]]  # a command line, and what its skill declares


def table(name: str) -> dict[str, list[Case]]:
    """Return the sections of a table."""
    found: dict[str, list[Case]] = {}
    section, declared = "", {}
    for line in (TABLES / name).read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
            key, _, value = section.removeprefix("with ").partition(": ")
            declared = {key: [value]} if value else {}
        elif line and not line.startswith("#"):
            found.setdefault(section, []).append((line, declared))
    return found


ESCAPES = table("escapes.txt")
BENIGN = [case for cases in table("benign.txt").values() for case in cases]
# Tried unconfined too, to see that they find the key. The others would harm the host.
READING = [case for section, cases in ESCAPES.items() if section.startswith("the key file") for case in cases]
READING += [*ESCAPES["another workspace"], *ESCAPES["environments and the inside of processes"]]


REPOSITORY = """
git init -q . && git config user.email t@test && git config user.name t
printf 'x 90\\ny 10\\n' > load.txt; echo one > a.txt; tar cf a.tar a.txt; git add -A; git commit -qm 1
echo two > a.txt; git commit -qam 2; echo three > a.txt
"""
KUBE = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: me, user: {}}]
"""


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    tmp_path = Path(tempfile.mkdtemp(prefix="confined-"))  # pytest's own folders are closed to other users
    tmp_path.chmod(0o755)
    home, workspace, other = tmp_path / "home", tmp_path / "all" / "ws", tmp_path / "all" / "other"
    outside, data = tmp_path / "outside", tmp_path / "data"
    for folder in (home / ".kubiya" / "dev", workspace, other, outside, data):
        folder.mkdir(parents=True)
    (home / ".kubiya" / "key").write_text(KEY)
    (home / ".kubiya" / "dev" / "env").write_text(f"KUBIYA_API_KEY={KEY}\n")
    (other / "notes.txt").write_text(KEY)
    (data / "a.txt").write_text("content")
    for name, text in {
        ".kube/config": KUBE,
        ".docker/config.json": "{}",
        ".ssh/known_hosts": f"example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}\n",
        ".git-credentials": "https://me:word@example.com\n",
        ".gitconfig": "[user]\n\tname = me\n",
    }.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text)
    subprocess.run(["sh", "-ec", REPOSITORY], cwd=workspace, check=True)
    (workspace / "list").write_text(f"{home}/.kubiya/key\n")
    (workspace / "list0").write_text(f"{home}/.kubiya/key\0")
    (workspace / "curlrc").write_text(f"url = file://{home}/.kubiya/key\n")
    (workspace / "urls").write_text(f"file://{home}/.kubiya/key\n")
    (workspace / "link").symlink_to(home / ".kubiya" / "key")
    (workspace / "folder").symlink_to(home / ".kubiya")
    monkeypatch.setenv("HOME", str(home))
    assert support.mode() == OPTIONS["confinement"].default == support.PREFER
    with service(tmp_path / "service.sock"):
        yield {
            **{"home": str(home), "ws": workspace, "other": str(other), "outside": outside, "data": data},
            "socket": tmp_path / "service.sock",
        }
    shutil.rmtree(tmp_path)


@contextlib.contextmanager
def service(path: Path) -> Iterator[None]:
    """Answer HTTP on a unix socket that every user may connect to, as the services of a host do."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"

    class Answering(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if self.rfile.readline():
                self.wfile.write(answer)

    with socketserver.ThreadingUnixStreamServer(str(path), Answering) as server:
        path.chmod(0o777)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def shell(workspace: Path, **configuration: Any) -> Tool:
    skill = {"name": "ops", "type": "shell", "configuration": {"allowed_commands": ["*"], **configuration}}
    tool = build_toolset([skill], workspace=workspace).get("shell")
    assert tool is not None
    return tool


def call(tool: Tool, workspace: Path, command: str) -> ToolResult:
    return asyncio.run(tool.run({"command": command, "timeout": 20}, ToolContext("e1", "c1", workspace)))


def in_child(work: Callable[[], Any], uid: int) -> Any:
    """Run `work` in a forked process of this user, or of another one, and return what it returns."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if uid != os.getuid():
                os.setgroups([])
                os.setgid(uid)  # as root, both set the saved ids too
                os.setuid(uid)
            programs._cleanup = CleanupProcess()  # that of the parent is not a child of this process
            programs._scanner = ThreadPoolExecutor(2)  # threads are not forked: the parent's would never answer
            if not os.access(sys.executable, os.X_OK):
                sys.executable = shutil.which("python3", path="/usr/bin:/bin") or ""
            answer = json.dumps({"value": work()})
        except BaseException:
            answer = json.dumps({"error": traceback.format_exc()})
        with os.fdopen(writer, "w") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert "error" not in answer, answer["error"]
    return answer["value"]


def owned(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def users() -> list[Any]:
    return [pytest.param(os.getuid(), id="own")] + ([pytest.param(NOBODY, id="nobody")] if os.getuid() == 0 else [])


class Anything:
    """The tool's own checks switched off."""

    search_path = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
    allowed = frozenset({"*"})

    def check(self, argv: list[str], folder: Path) -> str:
        return shutil.which(argv[0], path=os.pathsep.join(self.search_path)) or "/bin/false"


def filled(text: str, places: dict[str, Any]) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def attempts(places: dict[str, Any], cases: list[Case]) -> dict[str, str]:
    """Call the shell tool with each command, past its own checks. Returns the outputs by the line of the table."""
    victim = subprocess.Popen(
        ["sleep", "600"], env={"SECRET": KEY}, cwd=Path(places["home"], ".kubiya"), stdout=subprocess.DEVNULL
    )
    try:
        names, found = {**places, "pid": victim.pid}, {}
        tools: dict[str, Tool] = {}
        for command, declared in cases:
            declared = json.loads(filled(json.dumps(declared), names))
            tool = tools.setdefault(str(declared), shell(places["ws"], **declared))
            vars(tool)["_allowance"] = Anything()
            result = call(tool, places["ws"], filled(command, names))
            assert not result.metadata.get("refused"), ("no program was started", command, result.output)
            found[command] = str(result.output)
        found["victim"] = "alive" if victim.poll() is None else "ended"
        return found
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()


def shows_the_key(output: str) -> bool:
    """Return whether the key is in an output: as it is, with spaces between its letters (od), or as base64."""
    return KEY in output or KEY in "".join(output.split()) or "c2stcGxhbnRlZ" in output


@needs_landlock
@pytest.mark.timeout(900)
@pytest.mark.parametrize("uid", users())
def test_no_program_reads_the_key_or_the_inside_of_another_process(places: dict[str, Any], uid: int) -> None:
    """The tool's own checks of arguments are off, so that only the kernel stands in between."""
    cases = [case for section in ESCAPES.values() for case in section]
    for case in GIVEN:
        if case.get("setup"):
            subprocess.run(["sh", "-c", filled(case["setup"], places)], cwd=places["ws"], check=True)
        cases.append((case["command"], {}))
    owned(places["ws"].parents[1], uid)
    before = set(places["outside"].rglob("*"))
    found = in_child(lambda: attempts(places, cases), uid)
    assert [command for command, output in found.items() if shows_the_key(output)] == []
    assert found.pop("victim") == "alive"
    assert len(found) >= 200
    assert not any(KEY.encode() in path.read_bytes() for path in places["ws"].rglob("*") if is_plain(path))
    assert set(places["outside"].rglob("*")) == before
    assert sorted(path.name for path in Path(places["other"]).iterdir()) == ["notes.txt"]
    assert not Path(places["home"], ".bashrc").exists()
    assert Path(places["home"], ".kubiya", "key").read_text() == KEY


def is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.resolve() == path


@needs_landlock
@pytest.mark.timeout(900)
@pytest.mark.parametrize("uid", users())
def test_without_confinement_the_same_table_finds_the_key(places: dict[str, Any], uid: int) -> None:
    """The table can fail: it is the confinement that stops it."""
    owned(places["ws"].parents[1], uid)
    found = in_child(lambda: unconfined(places, READING), uid)
    assert sum(shows_the_key(output) for output in found.values()) >= 60


def unconfined(places: dict[str, Any], cases: list[Case]) -> dict[str, str]:
    support.use(support.OFF)  # in a child: the others stay as they are
    return attempts(places, cases)


@needs_landlock
@pytest.mark.timeout(900)
@pytest.mark.parametrize("uid", users())
def test_what_administrators_run_works(places: dict[str, Any], uid: int) -> None:
    assert len(BENIGN) >= sum(map(len, ESCAPES.values())) + len(GIVEN)
    present = [case for case in BENIGN if shutil.which(case[0].split()[0], path="/usr/sbin:/usr/bin:/bin")]
    assert len(present) >= 100, "too few of the programs are on this host"
    copy = places["ws"].parent / "copied"
    shutil.copytree(places["ws"], copy, symlinks=True)
    owned(places["ws"].parents[1], uid)
    without = in_child(lambda: unconfined({**places, "ws": copy}, present), uid)
    fails_anyway = {command for command, output in without.items() if fails(output)}
    found = in_child(lambda: attempts(places, present), uid)
    assert {c: out for c, out in found.items() if fails(out) and c not in fails_anyway} == {}
    assert len(fails_anyway) <= 25, fails_anyway


def fails(output: str) -> bool:
    """Return whether a program says that it failed. `ps` shows the command lines of others, with any word in them.

    A warning is no failure: Docker's client, where it is installed, goes on without the configuration that it may not
    read.
    """
    return re.search(r"^\[exit code|^(?!WARNING: ).*[Pp]ermission denied$", output, re.MULTILINE) is not None


@needs_landlock
@pytest.mark.skipif(os.getuid() != 0, reason="root alone can become another user")
def test_what_the_workers_user_may_not_look_at_is_absent(
    places: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of the search path, and the Python that a virtual environment was made from, lie in closed folders."""
    top = places["ws"].parents[1]
    closed, venv, python = top / "closed", top / "venv" / "bin", top / "root" / "python" / "bin"
    for folder in (closed, venv, python):
        folder.mkdir(parents=True)
        (folder / "python3").touch(0o755)
    (venv.parent / "pyvenv.cfg").write_text(f"home = {python}\n")
    owned(top, NOBODY)
    for folder in (closed, top / "root"):
        os.chown(folder, 0, 0)
        folder.chmod(0o700)
    monkeypatch.setenv("PATH", f"{closed}:{venv}:/usr/bin:/bin")

    def tried() -> list[str]:
        assert not os.access(python, os.F_OK) and not os.access(closed / "python3", os.F_OK)
        tool = shell(places["ws"], allowed_commands=["ls", "id"])
        return [call(tool, places["ws"], command).output for command in ("id -u", f"ls {closed}")] + [
            asyncio.run(
                tool.run(
                    {"command": "id", "working_directory": str(closed / "below")},
                    ToolContext("e1", "c2", places["ws"]),
                )
            ).output
        ]

    ran, refused, nowhere = in_child(tried, NOBODY)
    assert ran.strip() == str(NOBODY)
    assert "ermission denied" in refused and "does not exist" in nowhere


@needs_landlock
def test_the_home_as_the_workspace_does_not_open_the_workers_folder(places: dict[str, Any]) -> None:
    home = Path(places["home"])
    tool = shell(home)
    vars(tool)["_allowance"] = Anything()
    (home / "mine").mkdir()
    assert KEY not in call(tool, home, "cat .kubiya/key").output
    assert call(tool, home, "touch mine/new").error is None


@needs_landlock
def test_declared_paths_and_grants_open_what_they_say_and_the_model_is_told(places: dict[str, Any]) -> None:
    data, workspace = Path(places["ws"]).parents[1] / "data", places["ws"]
    data.mkdir(exist_ok=True)
    (data / "a").write_text("content")
    closed = call(shell(workspace), workspace, f"cat {data}/a")
    assert "content" not in closed.output and "`read_paths`" in closed.output and "'ops'" in closed.output
    reads = shell(workspace, read_paths=[str(data)])
    assert call(reads, workspace, f"cat {data}/a").output == "content"
    assert call(reads, workspace, f"touch {data}/b").error and not (data / "b").exists()
    assert str(data) in reads.spec.description
    assert call(shell(workspace, write_paths=[str(data)]), workspace, f"touch {data}/b").error is None
    inet, unix = (f"python3 -c 'import socket; socket.socket(socket.{family})'" for family in ("AF_INET", "AF_UNIX"))
    assert call(shell(workspace), workspace, inet).error is None
    assert call(shell(workspace), workspace, unix).error
    assert call(shell(workspace, grants=["docker"]), workspace, unix).error is None
    assert call(shell(workspace, network=False), workspace, inet).error


@needs_landlock
def test_sudo_is_told_what_it_needs_and_an_unconfined_skill_asks_first(places: dict[str, Any]) -> None:
    told = shell(places["ws"])._declared.refused("ops", "sudo")  # type: ignore[attr-defined]
    assert '`confinement: "off"`' in told
    free = shell(places["ws"], confinement="off")
    assert free.spec.confirms and free.spec.risk == "critical"
    assert call(free, places["ws"], f"cat {places['other']}/notes.txt").output == KEY
    assert "NoNewPrivs:\t1" in call(shell(places["ws"]), places["ws"], "cat /proc/self/status").output
    assert "NoNewPrivs:\t0" in call(free, places["ws"], "cat /proc/self/status").output


@needs_landlock
async def test_a_python_program_reaches_its_own_workspace_and_its_own_call_only(places: dict[str, Any]) -> None:
    """Each call has rules of its own: beside a running call, another one reads neither its files nor its program."""
    first, second = places["ws"], Path(places["other"])
    waits = "import pathlib, time\npathlib.Path('mine').write_text(open('/proc/self/stat').read().split()[0])\n"
    waits += "while not pathlib.Path('go').exists(): time.sleep(0.02)"
    running = asyncio.create_task(run_python(first, waits))
    while not (first / "mine").exists() or not (first / "mine").read_text():
        await asyncio.sleep(0.02)
    program = Path("/proc", (first / "mine").read_text(), "fd", "0")  # a call gets its program as its input
    assert b"mine" in program.read_bytes()
    try:
        for workspace, path, allowed in (
            *[(second, second / "notes.txt", True), (second, first / "mine", False), (second, program, False)],
            *[(first, first / "mine", True), (first, second / "notes.txt", False), (first, program, False)],
            *[(first, Path(places["home"], ".kubiya", "key"), False), (first, Path("/proc/self/environ"), True)],
        ):
            found = await run_python(workspace, f"print(len(open({str(path)!r}, 'rb').read()))")
            assert (found.error is None) is allowed, (workspace, path, found.output)
            assert allowed or "PermissionError" in found.output
        written = await run_python(second, f"open({str(first / 'new')!r}, 'w')")
        assert written.error and not (first / "new").exists()
    finally:
        (first / "go").touch()
        assert (await running).error is None


async def run_python(workspace: Path, code: str) -> ToolResult:
    skill = {"name": "py", "type": "python", "configuration": {"timeout": 60}}
    tool = build_toolset([skill], workspace=workspace).get("run_python")
    assert tool is not None
    return await tool.run({"code": code}, ToolContext("e1", "c1", workspace))
