"""The shell tool with real programs: what it says of them, and what is left when they are over."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubiya_worker.tools import network_variables
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.toolset import build_toolset
from tests.support.processes import runs
from tests.support.small_disk import small_disk


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return shell(tmp_path)


def shell(workspace: Path, **configuration: Any) -> Tool:
    configuration = {"allowed_commands": ["*"], **configuration}
    tool = build_toolset(
        [{"name": "ops", "type": "shell", "enabled": True, "configuration": configuration}], workspace=workspace
    ).get("shell")
    assert tool is not None
    return tool


def context(workspace: Path, **fields: Any) -> ToolContext:
    return ToolContext("e1", "call-1", workspace, **fields)


def call(tool: Tool, workspace: Path, command: str, **arguments: Any) -> ToolResult:
    return asyncio.run(tool.run({"command": command, **arguments}, context(workspace)))


def script(workspace: Path, text: str) -> str:
    (workspace / "script").write_text(text)
    return "sh script"


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Callable[[str], list[int]]]:
    """Processes of this test that run `sleep <number>`: their folder is its own, or below."""

    def find(number: str) -> list[int]:
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.cmdline() == ["sleep", number] and Path(process.cwd()).is_relative_to(tmp_path)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    yield find


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def test_a_program_that_succeeds_gives_its_output(tool: Tool, tmp_path: Path) -> None:
    result = call(tool, tmp_path, "echo 'a b' c")
    assert (result.output, result.error) == ("a b c\n", None)
    assert result.metadata["exit_code"] == 0


def test_a_full_disk_does_not_keep_a_program_from_its_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k,nr_inodes=2") as disk:  # the root, and the workspace
        workspace = disk / "workspace"
        workspace.mkdir()
        result = call(shell(workspace), workspace, "echo started")
        assert result.error is None and result.output.startswith("started"), result
        assert list(workspace.iterdir()) == []


def test_a_program_that_fails_gives_its_errors_in_order_and_its_exit_code(tool: Tool, tmp_path: Path) -> None:
    result = call(tool, tmp_path, script(tmp_path, "echo one; echo two >&2; echo three; exit 3"))
    assert (result.output, result.error) == ("one\ntwo\nthree\n[exit code 3]\n", "exit code 3")


def test_a_program_that_a_signal_ends_is_said_so(tool: Tool, tmp_path: Path) -> None:
    assert call(tool, tmp_path, script(tmp_path, "kill -SEGV $$")).error == "ended by SIGSEGV"


def test_a_program_without_output_says_so(tool: Tool, tmp_path: Path) -> None:
    assert call(tool, tmp_path, "true").output == "[no output]"


def test_it_runs_in_the_workspace_or_where_it_is_told(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert call(tool, tmp_path, "pwd").output.strip() == str(tmp_path)
    assert call(tool, tmp_path, "pwd", working_directory="sub").output.strip() == str(tmp_path / "sub")
    assert "does not exist" in str(call(tool, tmp_path, "pwd", working_directory="nowhere").error)
    assert call(shell(tmp_path, working_directory="/"), tmp_path, "pwd").output == "/\n"


def test_patterns_are_not_expanded_and_a_failure_says_so(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "a.log").touch()
    assert call(tool, tmp_path, "echo *.log").output == "*.log\n"
    assert "[no shell: *.log was passed on as it is written]" in call(tool, tmp_path, "ls *.log").output


def test_refusals_are_results_that_the_model_can_read(tmp_path: Path) -> None:
    default = shell(tmp_path, allowed_commands=None)
    for command in ("id", "ls && head", "find . -delete", "./ls", "cat /proc/self/environ"):
        result = call(default, tmp_path, command)
        assert result.error and result.metadata["refused"]


def test_its_input_is_empty(tool: Tool, tmp_path: Path) -> None:
    assert call(tool, tmp_path, "cat", timeout=60).output == "[no output]"


def test_the_environment_is_made_from_nothing(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", *network_variables.PROXY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_of_the_worker")
    monkeypatch.setenv("SOME_OTHER_SECRET", "secret")
    env = {
        "GH_TOKEN": "for tools",
        "KUBIYA_API_KEY": "kby_of_the_server",
        "LITELLM_API_KEY": "sk",
        "LD_PRELOAD": "/tmp/evil.so",
        "PATH": "/tmp/evil",
        "BAD=NAME": "x",
    }
    output = asyncio.run(tool.run({"command": "env"}, context(tmp_path, env=env))).output
    names = {line.split("=")[0] for line in output.splitlines()}
    assert "GH_TOKEN=for tools" in output and "TERM=dumb" in output
    assert "kby_" not in output and "secret" not in output and "/tmp/evil" not in output
    assert names <= {
        "GH_TOKEN", "TERM", "PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR", "PAGER", "GIT_TERMINAL_PROMPT",
        "KUBIYA_TOOL_CALL_ID",
    }  # fmt: skip


def test_a_supervisors_mark_of_the_run_reaches_programs(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor finds programs by this mark where there is no subreaper (macOS); an agent cannot change it."""
    monkeypatch.setenv("SUPERVISOR_RUN", "run-1")
    given = context(tmp_path, env={"SUPERVISOR_RUN": "x"})
    output = asyncio.run(tool.run({"command": "env"}, given)).output
    assert [line for line in output.splitlines() if line.startswith("SUPERVISOR_RUN=")] == ["SUPERVISOR_RUN=run-1"]


def test_a_program_has_the_workers_way_to_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, certificates = tmp_path / "workspace", tmp_path / "own-ca.pem"
    workspace.mkdir()
    certificates.write_text("certificates")
    for name, value in (("SSL_CERT_FILE", str(certificates)), ("HTTPS_PROXY", "http://proxy:3128")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@proxy:3128")
    tool = shell(workspace, allowed_commands=["env", "cat"])
    lines = call(tool, workspace, "env").output.splitlines()
    assert {"HTTPS_PROXY=http://proxy:3128", f"GIT_SSL_CAINFO={certificates}"} <= set(lines)
    assert not any("secret" in line for line in lines)
    assert call(tool, workspace, f"cat {certificates}").output == "certificates", "confined, it may be read"


def test_a_variable_of_the_workers_kind_passes_only_if_the_skill_says_so(tmp_path: Path) -> None:
    tool = shell(tmp_path, pass_environment=["KUBIYA_API_KEY"])
    result = asyncio.run(tool.run({"command": "env"}, context(tmp_path, env={"KUBIYA_API_KEY": "kby_1"})))
    assert "KUBIYA_API_KEY=kby_1" in result.output


def test_a_gigabyte_of_output_takes_little_memory(tool: Tool, tmp_path: Path) -> None:
    before = psutil.Process().memory_info().rss
    result = call(tool, tmp_path, script(tmp_path, "echo first; head -c 1000000000 /dev/zero; echo last"), timeout=60)
    assert psutil.Process().memory_info().rss - before < 32 << 20
    assert len(result.output) < 50_200
    assert result.output.startswith("first\n") and result.output.endswith("last\n")
    assert "characters left out …" in result.output
    assert result.metadata["output_bytes"] == 1_000_000_011


def test_the_head_and_the_tail_of_long_output_are_kept(tool: Tool, tmp_path: Path) -> None:
    result = asyncio.run(tool.run({"command": "seq 1 10000"}, context(tmp_path, keep_limit=100)))
    head, gap, tail = result.output.partition("\n… 48794 characters left out …\n")
    assert gap and len(head) == len(tail) == 50
    assert head.startswith("1\n2\n") and tail.endswith("9999\n10000\n")


def timed_out(tool: Tool, workspace: Path, text: str) -> ToolResult:
    """Run a script that prints `begun` and does not end; with more time where it could not begin in so little."""
    for limit in (1, 4, 16):
        begin = time.monotonic()
        result = call(tool, workspace, script(workspace, text), timeout=limit)
        assert time.monotonic() - begin < 60  # and not a thousand seconds
        assert result.error == f"timed out after {limit} seconds"
        if result.output.startswith("begun\n"):
            return result
    raise AssertionError("it did not begin in 16 seconds")


def test_a_timeout_ends_the_program_and_says_so(tool: Tool, tmp_path: Path, alive: Callable[[str], list[int]]) -> None:
    timed_out(tool, tmp_path, "echo begun; sleep 1000.1")
    assert not alive("1000.1")


def test_what_ignores_sigterm_is_killed(tool: Tool, tmp_path: Path, alive: Callable[[str], list[int]]) -> None:
    result = timed_out(tool, tmp_path, "trap 'echo told' TERM; echo begun; while :; do sleep 1000.2; done")
    assert "told\n" in result.output, "SIGTERM came first, and did not end it"
    assert not alive("1000.2")


def test_grandchildren_that_left_group_and_parent_are_ended_with_the_program(
    tool: Tool, tmp_path: Path, alive: Callable[[str], list[int]]
) -> None:
    text = "(setsid sh -c 'sleep 1000.3 & sleep 1000.3' >/dev/null 2>&1 &) ; sleep 1000.3 & sleep 0.2; echo done"
    result = call(tool, tmp_path, script(tmp_path, text))
    assert result.output.startswith("done\n[still running and ended with the call: ") and result.error is None
    assert not alive("1000.3")


def test_what_holds_the_output_open_does_not_hold_the_call(tool: Tool, tmp_path: Path) -> None:
    begin = time.monotonic()
    assert call(tool, tmp_path, script(tmp_path, "setsid sleep 1000.4 & echo done")).output.startswith("done\n[still")
    assert time.monotonic() - begin < 60  # and not a thousand seconds


async def test_a_cancelled_call_leaves_nothing_when_it_returns(
    tool: Tool, tmp_path: Path, alive: Callable[[str], list[int]]
) -> None:
    text = "trap '' TERM; (setsid sleep 1000.5 &) ; sleep 1000.5"
    task = asyncio.create_task(tool.run({"command": script(tmp_path, text)}, context(tmp_path)))
    await until(lambda: len(alive("1000.5")) == 2)
    task.cancel()
    await asyncio.sleep(0.1)
    task.cancel()  # a second one does not cut the ending short
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive("1000.5")


def test_sixty_calls_leave_no_descriptor_thread_or_process(tool: Tool, tmp_path: Path) -> None:
    me = psutil.Process()

    async def many(count: int) -> None:
        for _ in range(count // 10):
            await asyncio.gather(*(tool.run({"command": "echo x"}, context(tmp_path)) for _ in range(10)))

    together = threading.Barrier(2)
    list(programs._scanner.map(lambda _: together.wait(60), range(2)))  # it has both its threads

    pool, all_four = ThreadPoolExecutor(4), threading.Barrier(4)
    list(pool.map(lambda _: all_four.wait(60), range(4)))  # and so has the loop's: it would start them one by one

    def held() -> tuple[int, int, int]:
        return me.num_fds(), me.num_threads(), len(me.children())

    async def measured() -> None:
        asyncio.get_running_loop().set_default_executor(pool)
        await many(20)
        before = held()  # with, perhaps, threads that have started a program and end after its call
        await many(60)
        await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))

    asyncio.run(measured())


WORKER = """
import asyncio, sys
from pathlib import Path
from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.toolset import build_toolset
workspace = Path(sys.argv[1])
skill = {"name": "ops", "type": "shell", "configuration": {"allowed_commands": ["*"]}}
tool = build_toolset([skill], workspace=workspace)
asyncio.run(tool.get("shell").run({"command": "sh script"}, ToolContext("e1", "t1", workspace)))
"""


async def test_a_killed_worker_leaves_no_program_behind(tmp_path: Path, alive: Callable[[str], list[int]]) -> None:
    (tmp_path / "script").write_text(
        "trap '' TERM HUP; (setsid sleep 1000.6 >/dev/null 2>&1 &) ; sleep 1000.6; sleep 1000.6"
    )
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])
    try:
        await until(lambda: len(alive("1000.6")) == 2)
        children = psutil.Process(worker.pid).children()  # the cleanup process and the program
        (cleanup,) = [child for child in children if "cleanup.py" in " ".join(child.cmdline())]
        assert cleanup.environ() == {}
    finally:
        worker.kill()
        worker.wait()
    await until(lambda: not alive("1000.6"))
    await until(lambda: not runs(cleanup.pid))


async def test_a_cleanup_process_that_dies_is_replaced_and_knows_what_runs(
    tmp_path: Path, alive: Callable[[str], list[int]]
) -> None:
    text = "env -i sleep 1000.7 & echo $! > started; env -i sleep 1000.7"
    (tmp_path / "script").write_text(text)
    code = WORKER.replace(
        "asyncio.run(tool.get",
        """
async def both():
    shell = tool.get("shell")
    first = asyncio.create_task(shell.run({"command": "sh script"}, ToolContext("e1", "t1", workspace)))
    while not (workspace / "started").exists():
        await asyncio.sleep(0.01)
    from kubiya_worker.tools.processes import programs
    programs._cleanup._process.kill()
    programs._cleanup._process.wait()
    await shell.run({"command": "true"}, ToolContext("e1", "t2", workspace))
    (workspace / "again").touch()
    await first
asyncio.run(both())
"""
        + "\n#(tool.get",
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        await until((tmp_path / "again").exists)
        assert len(alive("1000.7")) == 2
    finally:
        worker.kill()
        worker.wait()
    await until(lambda: not alive("1000.7"))


def test_a_program_that_is_not_there_is_said_so(tool: Tool, tmp_path: Path) -> None:
    assert call(tool, tmp_path, "no-such-program").error == "The command no-such-program is not installed on this host"
    broken = tmp_path / "bin" / "broken"
    broken.parent.mkdir()
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    os.environ["PATH"] += os.pathsep + str(broken.parent)
    try:
        elsewhere = shell(tmp_path / "workspace")
        assert "could not be started" in str(call(elsewhere, tmp_path / "workspace", "broken").error)
    finally:
        os.environ["PATH"] = os.environ["PATH"].removesuffix(os.pathsep + str(broken.parent))


def test_a_pipe_gives_each_program_what_the_one_before_it_wrote(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "names").write_text("b\na\nb\n")
    assert call(tool, tmp_path, "cat names | sort | uniq -c").output.split() == ["1", "a", "2", "b"]
    endless = call(tool, tmp_path, "yes | head -n 2")
    assert (endless.output, endless.error) == ("y\ny\n", None)


def test_the_last_program_decides_and_the_others_are_named(tool: Tool, tmp_path: Path) -> None:
    result = call(tool, tmp_path, "cat missing | wc -l")
    assert result.error is None
    assert "No such file" in result.output and "[cat: exit code 1]" in result.output
    assert call(tool, tmp_path, "echo x | grep y").error == "exit code 1"


def test_a_program_that_is_not_allowed_is_so_in_a_pipe_too(tmp_path: Path) -> None:
    few = shell(tmp_path, allowed_commands=["cat", "xargs", "wc", "tar", "python3"])
    assert "not allowed" in call(few, tmp_path, "cat a | id").output
    for command in ("cat a | xargs cat", "cat a | tar -cf - -T -", "cat a | python3"):
        result = call(few, tmp_path, command)
        assert result.metadata.get("refused") and "must not" in result.output
    reading = shell(tmp_path, allowed_commands=["cat", "python3"], input_commands=["python3"])
    assert call(reading, tmp_path, "python3", input="print(6 * 7)").output == "42\n"


def test_a_program_reads_the_input_that_the_call_gives(tool: Tool, tmp_path: Path) -> None:
    large = "line\n" * 200_000  # more than a pipe holds
    assert call(tool, tmp_path, "wc -l", input=large).output.strip() == "200000"
    assert call(tool, tmp_path, "tr a-z A-Z | rev", input="abc\n").output == "CBA\n"
    assert call(tool, tmp_path, "cat").output == "[no output]"


def test_a_pipe_that_takes_too_long_is_ended_whole(
    tool: Tool, tmp_path: Path, alive: Callable[[str], list[int]]
) -> None:
    result = call(tool, tmp_path, "sleep 4711 | sleep 4712", timeout=1)
    assert result.error == "timed out after 1 seconds"
    assert alive("4711") == alive("4712") == []


def test_processes_that_are_ended_with_the_call_are_named(tool: Tool, tmp_path: Path) -> None:
    result = call(tool, tmp_path, script(tmp_path, "sleep 4713 & echo started"))
    assert result.error is None
    assert result.output.startswith("started\n[still running and ended with the call: ")
