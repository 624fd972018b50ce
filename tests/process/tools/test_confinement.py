"""Confined tools with the real kernel: what no program gets, and what administrators' programs still do.

Every escape is tried as the user of the tests and, where that is root, as a plain user too. A kernel without Landlock
skips them by name; `test_confinement_support` says what the product tells there.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.processes.cleanup import CleanupProcess
from kubiya_worker.tools.toolset import build_toolset

KEY = "sk-planted-4f1d"
NOBODY = 65534

needs_landlock = pytest.mark.skipif(not support.probe().abi, reason=f"no confinement here: {support.probe().reason}")

# One command a line; none may show the key. {home} is the worker's home, {other} another workspace, {pid} a process
# with the key in its environment.
ESCAPES = (
    "cat {home}/.kubiya/key",
    "head -c 100 {home}/.kubiya/key",
    "curl -s file://{home}/.kubiya/key",
    "curl -s file://{home}/.kubiya/%6bey",
    "curl -s file://{home}/.kubiya/{{key,x}}",
    "curl -s -K {home}/.kubiya/key",
    "bash -c 'cat {home}/.kub*/k*'",
    "bash -c 'cat < {home}/.kubiya/key'",
    "sh -c 'cd {home}/.kubiya && cat key'",
    "grep -r planted {home}",
    "find {home} -name key -exec cat {{}} +",
    "tar cf - {home}/.kubiya",
    "tar cf - -T list",
    "sort --files0-from=list0",
    "wc --files0-from=list0",
    "cat link",
    "cat folder/key",
    "cp {home}/.kubiya/key copy",
    "ln {home}/.kubiya/key hard",
    "dd if={home}/.kubiya/key",
    "base64 -w0 {home}/.kubiya/key",
    "diff /dev/null {home}/.kubiya/key",
    "awk '{{print}}' {home}/.kubiya/key",
    "sed -n p {home}/.kubiya/key",
    "git hash-object -w {home}/.kubiya/key",
    "git diff --no-index /dev/null {home}/.kubiya/key",
    "python3 -c \"print(open('{home}/.kubiya/key').read())\"",
    "cat {other}/notes.txt",
    "grep -r planted {other}",
    "cat /proc/{pid}/environ",
    "strings /proc/{pid}/environ",
    "grep -a planted /proc/{pid}/environ",
    "cat /proc/{pid}/root{home}/.kubiya/key",
    "cat /proc/{pid}/cwd/key",
    "cat /proc/{pid}/fd/9",
    "head -c 4096 /proc/{pid}/mem",
    "python3 -c \"import os; print(os.open('/proc/{pid}/mem', 0))\"",
    "strace -p {pid} -s 200",
    "gdb -p {pid} -batch",
    "ps eww {pid}",
    "bash -c 'cat /proc/[0-9]*/environ'",
    'python3 -c "import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.ptrace(16, {pid}, 0, 0))"',
    "bash -c 'kill -SEGV {pid}; sleep 0.2; cat core* {home}/core*'",
    "prlimit --pid {pid} --core=unlimited",
    "unshare -Ur cat {home}/.kubiya/key",
    "chroot / cat {home}/.kubiya/key",
    "unshare -Urm mount --bind {home} .",
    "setpriv --reuid=0 cat {home}/.kubiya/key",
    "busybox cat {home}/.kubiya/key",
    "perl -pe 1 {home}/.kubiya/key",
)
BENIGN = (
    "du -sh /var/log",
    "du -d 1 /usr/share",
    "df -h /",
    "ps aux",
    "ps -eo pid,comm",
    "ss -tln",
    "free -m",
    "uptime",
    "id",
    "hostname",
    "uname -a",
    "date",
    "env",
    "cat /etc/passwd",
    "cat /etc/hosts",
    "cat /etc/os-release",
    "cat /proc/meminfo",
    "cat /proc/self/status",
    "cat /sys/kernel/mm/transparent_hugepage/enabled",
    "ls /",
    "ls -la /etc",
    "ls /var/log",
    "find /etc -maxdepth 1 -name 'host*'",
    "find . -type f",
    "stat /etc/passwd",
    "wc -l /etc/passwd",
    "sort /etc/passwd",
    "grep root /etc/passwd",
    "awk -F: '{{print $1}}' /etc/passwd",
    "sed -n 1p /etc/passwd",
    "head -1 /etc/passwd",
    "getent passwd root",
    "journalctl -n 1 --no-pager",
    "git init -q repository",
    "git -C repository -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m one",
    "git -C repository log --oneline",
    "git clone -q repository copy",
    "python3 -c 'print(6 * 7)'",
    "python3 -c 'import multiprocessing as m; print(m.Pool(1).map(abs, [-1]))'",
    "python3 -c 'import tempfile; tempfile.TemporaryFile()'",
    "python3 -c 'import socket; socket.socket(); socket.socketpair()'",
    "bash -c 'echo a > b; mkdir d; mv b d; cat d/b; rm -r d'",
    "bash -c 'mktemp'",
    "bash -c 'echo a > /dev/null; echo a > /dev/stdout; echo a > /dev/shm/$$; rm /dev/shm/$$'",
    "tar cf t.tar list",
    "tar xf t.tar",
    "gzip -k t.tar",
    "touch new",
    "chmod 700 new",
    "ln -s new newer",
    "timeout 5 sleep 0.01",
    "openssl rand -hex 4",
    "dpkg -l",
)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    tmp_path = Path(tempfile.mkdtemp(prefix="confined-"))  # pytest's own folders are closed to other users
    tmp_path.chmod(0o755)
    home, workspace, other = tmp_path / "home", tmp_path / "all" / "ws", tmp_path / "all" / "other"
    for folder in (home / ".kubiya", workspace, other):
        folder.mkdir(parents=True)
    (home / ".kubiya" / "key").write_text(KEY)
    (other / "notes.txt").write_text(KEY)
    (workspace / "list").write_text(f"{home}/.kubiya/key\n")
    (workspace / "list0").write_text(f"{home}/.kubiya/key\0")
    (workspace / "link").symlink_to(home / ".kubiya" / "key")
    (workspace / "folder").symlink_to(home / ".kubiya")
    monkeypatch.setenv("HOME", str(home))
    before = support.mode()
    support.use(support.PREFER)
    yield {"home": str(home), "ws": workspace, "other": str(other)}
    support.use(before)
    shutil.rmtree(tmp_path)


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


def attempts(places: dict[str, Any], commands: tuple[str, ...]) -> dict[str, str]:
    """Call the shell tool with each command, past its own checks. Returns the outputs."""
    victim = subprocess.Popen(
        ["sleep", "600"], env={"SECRET": KEY}, cwd=Path(places["home"], ".kubiya"), stdout=subprocess.DEVNULL
    )
    try:
        names = {name: str(value) for name, value in places.items()} | {"pid": str(victim.pid)}
        tool, found = shell(places["ws"]), {}
        vars(tool)["_allowance"] = Anything()
        for command in commands:
            found[command] = str(call(tool, places["ws"], command.format(**names)).output)
        found["victim"] = "alive" if victim.poll() is None else "ended"
        return found
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()


@needs_landlock
@pytest.mark.parametrize("uid", users())
def test_no_program_reads_the_key_or_the_inside_of_another_process(places: dict[str, Any], uid: int) -> None:
    """The tool's own checks of arguments are off, so that only the kernel stands in between."""
    owned(places["ws"].parents[1], uid)
    found = in_child(lambda: attempts(places, ESCAPES), uid)
    assert [command for command, output in found.items() if KEY in output or "c2stcGxhbnRlZ" in output] == []
    assert found.pop("victim") == "alive"
    for name in ("copy", "hard"):
        assert not (places["ws"] / name).exists() or KEY not in (places["ws"] / name).read_text()
    assert not any(KEY.encode() in path.read_bytes() for path in places["ws"].rglob("*") if is_plain(path))


def is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


@needs_landlock
@pytest.mark.parametrize("uid", users())
def test_without_confinement_the_same_table_finds_the_key(places: dict[str, Any], uid: int) -> None:
    """The table can fail: it is the confinement that stops it."""
    owned(places["ws"].parents[1], uid)

    def unconfined() -> dict[str, str]:
        support.use(support.OFF)
        return attempts(places, ESCAPES[:30])

    found = in_child(unconfined, uid)
    assert sum(KEY in output for output in found.values()) >= 20


@needs_landlock
@pytest.mark.parametrize("uid", users())
def test_what_administrators_run_works(places: dict[str, Any], uid: int) -> None:
    owned(places["ws"].parents[1], uid)
    present = tuple(command for command in BENIGN if shutil.which(command.split()[0], path="/usr/sbin:/usr/bin:/bin"))
    assert len(present) >= 40, "too few of the programs are on this host"

    def unconfined() -> dict[str, str]:
        support.use(support.OFF)
        return attempts(places, present)

    without = in_child(unconfined, uid)
    fails_anyway = {command for command, output in without.items() if "[exit code" in output}
    for name in ("repository", "copy", "t.tar", "t.tar.gz", "new", "newer"):
        path = places["ws"] / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    found = in_child(lambda: attempts(places, present), uid)
    failed = {c: out for c, out in found.items() if "[exit code" in out or "denied" in out}
    assert {c: out for c, out in failed.items() if c not in fails_anyway} == {}
    assert len(fails_anyway) <= 3, fails_anyway


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
    data.mkdir()
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
    before = set(Path(tempfile.gettempdir()).glob("kubiya-python-*"))
    waits = "import pathlib, time\npathlib.Path('mine').write_text('1')\n"
    waits += "while not pathlib.Path('go').exists(): time.sleep(0.02)"
    running = asyncio.create_task(run_python(first, waits))
    while not (first / "mine").exists():
        await asyncio.sleep(0.02)
    jobs = [made / "job.json" for made in set(Path(tempfile.gettempdir()).glob("kubiya-python-*")) - before]
    jobs = [job for job in jobs if job.is_file() and "mine" in job.read_text()]
    assert len(jobs) == 1, "the program of the running call"
    try:
        for workspace, path, allowed in (
            *[(second, second / "notes.txt", True), (second, first / "mine", False), (second, jobs[0], False)],
            *[(first, first / "mine", True), (first, second / "notes.txt", False), (first, jobs[0], False)],
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
