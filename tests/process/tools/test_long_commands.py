"""`shell_start`, `shell_wait` and `shell_stop` with real keepers: one start, one outcome, whatever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.base import LongCommandsPlace, ToolContext, ToolResult
from kubiya_worker.tools.long_commands import folder as folders
from kubiya_worker.tools.long_commands import stopping
from kubiya_worker.tools.shell import long_tools, skill
from kubiya_worker.tools.skill_configuration import Skill
from tests.support.processes import runs
from tests.support.small_disk import small_disk
from tests.support.supervised import until

ANY: dict[str, Any] = {"allowed_commands": ["*"], "long_commands": True}


class Desk:
    """An execution whose skill allows long commands."""

    def __init__(self, folder: Path) -> None:
        self.root, self.workspace = folder / "commands", folder / "ws" / "e1"
        self.workspace.mkdir(parents=True)
        self.place = LongCommandsPlace(self.root, "host-1", "wf-1")

    def context(self, call: str, execution: str = "e1", **place: Any) -> ToolContext:
        return ToolContext(execution, call, self.workspace, long_commands=replace(self.place, **place))

    def call(self, tool: str, arguments: dict[str, Any], call: str = "c1", *, of: Any = ANY, **more: Any) -> ToolResult:
        tools = {each.spec.name: each for each in skill.build(Skill("shell", "shell", of), self.workspace)}
        return asyncio.run(tools[tool].run(arguments, self.context(call, **more)))

    def ended(self, started: ToolResult) -> ToolResult:
        return self.call("shell_wait", {"id": started.metadata["command_id"], "seconds": 60})

    def shows(self, started: ToolResult, beginning: str) -> ToolResult:
        def shown() -> ToolResult | None:
            now = self.call("shell_wait", {"id": started.metadata["command_id"]}, call="c2")
            return now if now.output.startswith(beginning) else None

        found: ToolResult = until(shown, every=0.05)
        return found

    def folder(self, started: ToolResult) -> folders.CommandFolder:
        return folders.CommandFolder(self.root / started.metadata["command_id"].partition("@")[0])


def until_free(command: folders.CommandFolder) -> None:
    until(lambda: not command.is_held())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(long_tools, "AT_ONCE", 0.0)  # seconds; tests wait for what they need
    made = Desk(tmp_path)
    yield made
    for each in folders.every(made.root):
        stopping.stop(each, "the test is over")
        until_free(each)


def test_a_command_is_read_in_parts_and_to_its_end(desk: Desk) -> None:
    gate = desk.workspace / "gate"
    script = f"echo one; until test -e {gate}; do sleep 0.05; done; echo two; exit 4"
    started = desk.call("shell_start", {"command": f"sh -c '{script}'"})
    assert started.error is None
    first = desk.shows(started, "one\n[still running")
    gate.touch()
    ended = desk.ended(started)
    assert (ended.error, ended.metadata["exit_code"]) == ("exit code 4", 4)
    rest = desk.call("shell_wait", {"id": started.metadata["command_id"], "since": first.metadata["next"]}, call="c3")
    assert rest.output.startswith("two\n[exit code 4"), "each byte once"
    folder = desk.folder(started)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.path.iterdir()}
    assert set(modes.values()) == {0o600} and stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert "until" not in "".join(each.read_text() for each in folder.path.iterdir() if each.name != "out.00000000")


def test_a_long_wait_is_left_to_the_workflow_and_goes_on_after_it(desk: Desk) -> None:
    started = desk.call("shell_start", {"command": "sleep 600"})
    key = started.metadata["command_id"].partition("@")[0]
    asked = {"id": started.metadata["command_id"], "seconds": 7200}
    first = desk.call("shell_wait", asked, call="c2", may_wait=True)
    assert first.wait is not None and first.wait[0] == key and 7000 < first.wait[1] < 7200
    assert len(desk.folder(started).waiters()) == 1
    again = desk.call("shell_wait", asked, call="c2", may_wait=True, left=5000.0)
    assert again.wait is not None and 4900 < again.wait[1] < 5000
    for woken, note in (("message", "a person has written"), ("budget", "are used up"), ("", "still running")):
        told = desk.call("shell_wait", asked, call="c2", may_wait=True, left=0.0, woken=woken)
        assert told.wait is None and "still running" in told.output and note in told.output


@pytest.mark.parametrize("may_wait", [True, False])
def test_a_worker_that_is_stopped_ends_a_wait_at_once(desk: Desk, may_wait: bool) -> None:
    started = desk.call("shell_start", {"command": "sleep 600"})
    asked = {"id": started.metadata["command_id"], "seconds": 50}
    began = time.monotonic()
    told = desk.call("shell_wait", asked, call="c2", may_wait=may_wait, stopping=lambda: True)
    assert time.monotonic() - began < 25
    assert (told.wait is not None) is may_wait, "a workflow of an older version gets the state"
    assert told.wait is None or told.wait[1] > 20


@pytest.mark.skipif(sys.platform != "linux", reason="the file system is a tmpfs")
def test_a_disk_that_is_filled_on_the_way_loses_output_and_no_outcome(desk: Desk, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "512k") as disk:
        started = desk.call("shell_start", {"command": "sh -c 'head -c 3000000 /dev/zero; exit 5'"}, root=disk / "kept")
        asked = {"id": started.metadata["command_id"], "seconds": 60}
        told = desk.call("shell_wait", asked, call="c2", root=disk / "kept")
        assert told.error == "exit code 5"
        assert "bytes of output could not be kept: No space left on device" in told.output
        until_free(next(folders.every(disk / "kept")))


@pytest.mark.slow
def test_output_of_a_gigabyte_keeps_its_two_ends_and_little_memory(desk: Desk) -> None:
    size = 1_000_000_000
    started = desk.call("shell_start", {"command": f"sh -c 'yes | head -c {size}; echo the end >&2'"})
    keeper = psutil.Process(desk.folder(started).read("keeper")["pid"])
    highest = 0
    while desk.folder(started).state() == folders.RUNNING:
        with contextlib.suppress(psutil.Error):
            highest = max(highest, keeper.memory_info().rss)
        time.sleep(0.1)
    told = desk.ended(started)
    assert told.error is None and told.metadata["output_bytes"] == size + len("the end\n")
    kept = sum(each.stat().st_size for each in desk.folder(started).path.iterdir())
    assert kept < 34 << 20, "the first 8 MB and the last 24 MB"
    assert 0 < highest < 80 << 20, "bytes of memory"
    assert told.output.splitlines()[0] == "y" and "the end" in told.output


def test_a_second_attempt_finds_what_the_first_has_started(desk: Desk) -> None:
    count = desk.workspace / "count"
    command = {"command": f"sh -c 'echo x >> {count}; sleep 600'"}
    first = desk.call("shell_start", command)
    again = desk.call("shell_start", command, attempt=2, before=("host-1", folders.place_id(desk.root)))
    assert again.metadata["command_id"] == first.metadata["command_id"]
    until(lambda: count.exists() and count.read_text())
    stopped = desk.call("shell_stop", {"id": first.metadata["command_id"]})
    assert stopped.error == "stopped: shell_stop was called"
    assert count.read_text() == "x\n"
    after = desk.call("shell_start", command)
    assert after.error == stopped.error and count.read_text() == "x\n", "never again, also after its end"


def test_many_at_once_start_it_once(desk: Desk) -> None:
    count = desk.workspace / "count"
    tools = skill.build(Skill("shell", "shell", ANY), desk.workspace)

    async def together() -> list[ToolResult]:
        calls = [tools[1].run({"command": f"sh -c 'echo x >> {count}'"}, desk.context("c1")) for _ in range(4)]
        return await asyncio.gather(*calls)

    results = asyncio.run(together())
    assert len({each.metadata["command_id"] for each in results}) == 1
    desk.ended(results[0])
    assert count.read_text() == "x\n"


def test_another_host_never_starts_it_and_says_who_has_it(desk: Desk, tmp_path: Path) -> None:
    started = desk.call("shell_start", {"command": "sleep 600"})
    there: dict[str, Any] = {"root": tmp_path / "elsewhere", "host": "host-2"}
    given: dict[str, Any] = {"attempt": 2, "before": ("host-1", folders.place_id(desk.root))}
    retried = desk.call("shell_start", {"command": "sleep 600"}, **there, **given)
    assert retried.error and "Outcome unknown" in retried.error and "host-1" in retried.error
    silent = desk.call("shell_start", {"command": "sleep 600"}, **there, attempt=2)
    assert silent.error and "Outcome unknown" in silent.error
    waited = desk.call("shell_wait", {"id": started.metadata["command_id"]}, **there)
    assert waited.error and "belongs to the host host-1" in waited.error
    assert not any(each.was_started() for each in folders.every(tmp_path / "elsewhere"))


def test_a_call_about_a_command_of_another_host_is_sent_there(desk: Desk, tmp_path: Path) -> None:
    started = desk.call("shell_start", {"command": "sleep 600"}, queue="q.host-{}".format)
    command, place = started.metadata["command_id"], folders.place_id(desk.root)
    key, home = command.partition("@")[0], ("host-1", f"q.host-{place}")
    assert started.left == (key, home[1])
    there: dict[str, Any] = {"root": tmp_path / "elsewhere", "host": "host-2", "others": {key: home}, "may_move": True}
    for tool, given, left in (
        ("shell_wait", {"id": command, "seconds": 7200}, 7200.0),
        ("shell_wait", {}, 0.0),
        ("shell_stop", {"id": command}, 0.0),
    ):
        moved = desk.call(tool, given, call="c2", **there)
        assert (moved.wait, moved.elsewhere) == ((key, left), home), tool
    again = {**there, "attempt": 2, "before": ("host-1", place), "queue": "q.host-{}".format}
    assert desk.call("shell_start", {"command": "sleep 600"}, **again).elsewhere == home, (
        "it knows whether it was started"
    )
    own = desk.call("shell_start", {"command": "sleep 601"}, call="c3", **there)
    listed = desk.call("shell_wait", {}, call="c4", **there).output
    assert f"{command}  on that host" in listed and f"{own.metadata['command_id']}  running" in listed
    desk.call("shell_stop", {"id": own.metadata["command_id"]}, call="c5", **there)


def test_it_belongs_to_its_execution(desk: Desk) -> None:
    started = desk.call("shell_start", {"command": "sleep 600"})
    for tool in ("shell_wait", "shell_stop"):
        refused = desk.call(tool, {"id": started.metadata["command_id"]}, execution="e2")
        assert refused.metadata == {"refused": True}
    assert desk.call("shell_wait", {}).metadata["command_id"] == started.metadata["command_id"], "there is only one"
    desk.call("shell_start", {"command": "sleep 601"}, call="c2")
    assert desk.call("shell_wait", {}).output.count("  running  ") == 2
    assert "no commands" in desk.call("shell_wait", {}, execution="e2").output


def test_what_shell_refuses_is_refused_here(desk: Desk) -> None:
    limited = {"allowed_commands": ["ls"], "long_commands": True}
    assert desk.call("shell_start", {"command": "rm x"}, of=limited).metadata == {"refused": True}
    shell, start, *_ = skill.build(Skill("shell", "shell", ANY), desk.workspace)
    assert (start.spec.ruled_as, start.spec.risk, start.spec.effects) == ("shell", shell.spec.risk, shell.spec.effects)


def test_it_is_confined_and_sees_nothing_of_the_worker(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_notforyou")
    monkeypatch.setenv("SUPERVISOR_RUN", "abc")
    (desk.workspace.parent / "other").write_text("theirs")
    shown = desk.ended(desk.call("shell_start", {"command": f"sh -c 'env; cat {desk.workspace.parent}/other'"}))
    assert "Permission denied" in shown.output and "theirs" not in shown.output
    assert "kby_notforyou" not in shown.output and "SUPERVISOR_RUN" not in shown.output
    assert "refused by the confinement" in shown.output


def test_the_time_limit_of_the_skill_ends_it(desk: Desk) -> None:
    short = {**ANY, "long_timeout_seconds": 2}
    started = desk.call("shell_start", {"command": "sleep 600", "timeout": 500}, of=short)
    assert desk.ended(started).error == "timed out after 2 seconds"


def test_a_limit_of_hours_is_in_the_schema_and_only_with_long_commands(tmp_path: Path) -> None:
    tools = skill.build(Skill("shell", "shell", {**ANY, "long_timeout_seconds": 7200}), tmp_path)
    assert tools[1].spec.parameters["properties"]["timeout"]["maximum"] == 7200
    assert all(each.spec.timeout <= 130 for each in tools[1:]), "no call of these holds a slot for long"
    with pytest.raises(ConfigurationError, match="long_timeout_seconds"):
        skill.build(Skill("shell", "shell", {"long_timeout_seconds": 7200}), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_killed_keeper_leaves_no_process_and_an_honest_answer(desk: Desk) -> None:
    started = desk.call("shell_start", {"command": "sh -c 'echo begun; sleep 600 & sleep 600'"})
    desk.shows(started, "begun\n")
    keeper = psutil.Process(desk.folder(started).read("keeper")["pid"])
    family = [each.pid for each in keeper.children(recursive=True)]
    keeper.kill()
    until(lambda: not any(map(runs, family)))
    told = desk.ended(started)
    assert told.error == "Outcome unknown: its keeper was killed, and the command was ended with it"
    assert told.output.startswith("begun\n")
    about = desk.folder(started).read("keeper")
    desk.folder(started).write("keeper", {**about, "boot": "id:another"})
    assert "the host was started again" in (desk.ended(started).error or "")
    desk.folder(started).write("keeper", {**about, "namespace": "pid:[1]"})
    assert "the container" in (desk.ended(started).error or "")


def test_a_keeper_that_is_killed_with_its_cleanup_process_is_cleared_up_after(desk: Desk) -> None:
    started = desk.call("shell_start", {"command": "sleep 600"})
    keeper = psutil.Process(desk.folder(started).read("keeper")["pid"])
    (command,) = until(lambda: [each for each in keeper.children(recursive=True) if each.name() == "sleep"])
    (cleanup,) = [each for each in keeper.children() if "cleanup.py" in " ".join(each.cmdline())]
    for each in (cleanup, keeper):
        each.kill()
    until(lambda: desk.folder(started).state() == folders.LOST)
    assert runs(command.pid)
    assert stopping.end_leftovers(desk.folder(started)) == 1
    until(lambda: not runs(command.pid))


STARTER = """
import asyncio, sys
from pathlib import Path
from kubiya_worker.tools.base import LongCommandsPlace, ToolContext
from kubiya_worker.tools.shell import skill
from kubiya_worker.tools.skill_configuration import Skill
root, workspace, command = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
tools = skill.build(Skill("shell", "shell", {"allowed_commands": ["*"], "long_commands": True}), workspace)
context = ToolContext("e1", "c1", workspace, long_commands=LongCommandsPlace(root, "host-1", "wf-1"))
print(asyncio.run(tools[1].run({"command": command}, context)).metadata["command_id"], flush=True)
"""


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
@pytest.mark.slow
def test_a_worker_killed_at_any_moment_of_the_start_starts_it_once(desk: Desk, moment: float) -> None:
    count = desk.workspace / "count"
    command = f"sh -c 'echo x >> {count}; sleep 1; echo done'"
    argv = [sys.executable, "-c", STARTER, str(desk.root), str(desk.workspace), command]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)
    try:
        until(desk.root.exists)
        process.wait(moment or 0.001)
    except subprocess.TimeoutExpired:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    given: dict[str, Any] = {"attempt": 2, "before": ("host-1", folders.place_id(desk.root))}
    told = desk.ended(desk.call("shell_start", {"command": command}, **given))
    assert told.error is None and "done" in told.output
    assert count.read_text() == "x\n"


def test_secrets_stay_out_of_the_keepers_command_line_and_files(desk: Desk) -> None:
    started = desk.call("shell_start", {"command": "sh -c 'sleep 600' hidden-word"})
    keeper = psutil.Process(desk.folder(started).read("keeper")["pid"])
    assert "hidden-word" not in json.dumps(keeper.cmdline())
    assert long_tools.LONGEST_HELD <= 60
