"""A program that an extension starts with `run_program` is confined like one of the skill `shell`."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubiya_worker.extensions import ToolContext, run_program
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.custom import FunctionTool, spec_of

KEY = "sk-planted-91aa"

pytestmark = pytest.mark.skipif(not support.probe().abi, reason=f"no confinement here: {support.probe().reason}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / ".kubiya").mkdir()
    (tmp_path / ".kubiya" / "key").write_text(KEY)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("content")
    monkeypatch.setenv("HOME", str(tmp_path))
    before = support.mode()
    support.use(support.PREFER)
    yield tmp_path
    support.use(before)


def context(home: Path, **env: str) -> ToolContext:
    return ToolContext("e1", "c1", home / "all" / "ws", env, keep_limit=10_000)


async def test_it_works_in_the_workspace_and_reads_no_key(home: Path) -> None:
    made = await run_program(context(home), ["sh", "-c", "echo one > file; cat file; mktemp; cat"], input_text="two")
    assert made.code == 0 and made.output.startswith("one\n") and made.output.endswith("two")
    assert (home / "all" / "ws" / "file").read_text() == "one\n"
    for path in (".kubiya/key", "data/a"):
        refused = await run_program(context(home), ["cat", str(home / path)])
        assert refused.code and "Permission denied" in refused.output
    assert subprocess.run(["cat", str(home / ".kubiya/key")], capture_output=True, text=True).stdout == KEY


async def test_named_paths_open_what_they_say_and_a_wrong_grant_is_refused(home: Path) -> None:
    data = str(home / "data")
    assert (await run_program(context(home), ["cat", f"{data}/a"], read_paths=[data])).output == "content"
    assert (await run_program(context(home), ["touch", f"{data}/b"], read_paths=[data])).code
    assert (await run_program(context(home), ["touch", f"{data}/b"], write_paths=[data])).code == 0
    assert (await run_program(context(home), ["cat", f"{home}/.kubiya/key"], read_paths=[str(home)])).code
    with pytest.raises(ValueError, match="'dokcer' is no grant"):
        await run_program(context(home), ["true"], grants=["dokcer"])
    with pytest.raises(FileNotFoundError, match="not on this host"):
        await run_program(context(home), ["no-such-program-here"])


async def test_it_gets_the_variables_of_the_execution_and_not_the_workers(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    seen = (await run_program(context(home, REGION="eu"), ["env"], env={"MORE": "1"})).output
    assert "REGION=eu" in seen and "MORE=1" in seen and KEY not in seen


async def test_a_plain_function_uses_it_with_a_loop_of_its_own(home: Path) -> None:
    def uptime(context: ToolContext) -> str:
        """Say how the program saw it."""
        assert threading.current_thread() is not threading.main_thread()
        return asyncio.run(run_program(context, ["grep", "NoNewPrivs", "/proc/self/status"])).output

    result = await FunctionTool(spec_of(uptime), uptime).run({}, context(home))
    assert result.error is None and result.output.split() == ["NoNewPrivs:", "1"]


async def test_a_cancelled_call_ends_it(home: Path) -> None:
    (home / "all" / "ws").mkdir(parents=True)
    pipe = home / "all" / "ws" / "pipe"
    subprocess.run(["mkfifo", str(pipe)], check=True)
    running = asyncio.create_task(run_program(context(home), ["sh", "-c", "echo $$ > pipe; exec sleep 600"]))
    number = int(await asyncio.to_thread(pipe.read_text))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path(f"/proc/{number}").exists()
