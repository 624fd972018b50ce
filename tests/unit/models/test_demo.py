"""The demo model: its plans against an executor that really runs du, find, grep and ps."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.models import Delta, ModelReply, ModelRequest
from kubiya_worker.models.demo import DemoModel, plan
from kubiya_worker.protocol.messages import Message
from kubiya_worker.protocol.tools import ToolSpec
from tests.support.demo_scripts import script

TOOLS = [ToolSpec(name, "") for name in ("shell", "list_files", "read_file", "search_files", "save_file")]
Verdict = Callable[[str, dict[str, Any]], tuple[str, str] | None]


class Executor:
    """Runs what the model asks for in `folder`; `verdict` may answer instead, with (status, content)."""

    def __init__(self, folder: Path, verdict: Verdict = lambda name, arguments: None) -> None:
        self.folder = folder
        self.verdict = verdict
        self.ran: list[tuple[str, dict[str, Any]]] = []

    def run(self, name: str, arguments: dict[str, Any]) -> tuple[str, str]:
        self.ran.append((name, arguments))
        if (decided := self.verdict(name, arguments)) is not None:
            return decided
        if name == "shell":
            done = subprocess.run(
                arguments["command"],
                shell=True,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            lines = done.stdout + "".join(f"[stderr] {line}\n" for line in done.stderr.splitlines())
            if done.returncode:
                lines += f"[exit code {done.returncode}]\n"
            return ("failed" if done.returncode else "success"), lines
        try:
            return self.handle_file(name, self.folder / arguments["path"], arguments)
        except OSError as error:
            return "failed", str(error)

    def handle_file(self, name: str, path: Path, arguments: dict[str, Any]) -> tuple[str, str]:
        if name == "save_file":
            path.write_text(arguments["content"])
            return "success", "saved"
        if name == "read_file":
            return "success", path.read_text()
        if name == "list_files":
            return "success", "\n".join(sorted(entry.name for entry in path.iterdir()))
        return "failed", f"no tool {name}"

    def converse(self, prompt: str, tools: list[ToolSpec] = TOOLS, limit: int = 12) -> tuple[list[Message], ModelReply]:
        messages: list[Message] = [{"role": "user", "content": prompt}]
        for _ in range(limit):
            reply = plan(messages, tools)
            messages.append({"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls})
            if not reply.tool_calls:
                return messages, reply
            for call in reply.tool_calls:
                status, content = self.run(call["name"], json.loads(call["arguments"]))
                messages.append(
                    {
                        "role": "tool",
                        "content": content,
                        "status": status,
                        "tool_call_id": call["id"],
                        "tool_name": call["name"],
                    }
                )
        raise AssertionError("the demo model does not come to an end")


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A folder whose largest file is logs/app.log; some names are awkward on purpose."""
    root = tmp_path / "fill me"
    for name, kib in {
        "logs/app.log": 6000,
        "logs/old.log": 1500,
        "cache/it's a blob.tmp": 900,
        "notes.txt": 4,
        "deep/er/dump.sql": 2100,
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * kib * 1024)
    (root / "empty").mkdir()
    return root


def test_disk_task_names_the_right_file_and_saves_a_report(full: Path, tmp_path: Path) -> None:
    executor = Executor(tmp_path)
    messages, reply = executor.converse(f"find what fills the disk under '{full}'")
    assert [name for name, _ in executor.ran] == ["shell", "shell", "save_file"]
    assert len(messages[1]["tool_calls"]) == 1
    answer = reply.content.splitlines()
    assert f"{full}/logs/app.log" in answer[0]
    assert "10.3 MiB" in answer[0] or "10.2 MiB" in answer[0]
    files = answer[answer.index("Largest files:") + 1 :]
    assert [line.split(": ")[0] for line in files[:4]] == [
        f"1. {full}/logs/app.log",
        f"2. {full}/deep/er/dump.sql",
        f"3. {full}/logs/old.log",
        f"4. {full}/cache/it's a blob.tmp",
    ]
    assert f"1. {full}/logs: 7.3 MiB (71 %)" in answer
    assert "rotate or compress" in reply.content
    assert "Nothing was deleted" in reply.content
    report = (tmp_path / "disk-report.md").read_text()
    assert "| 5.9 MiB | 57 % | file |" in report


def test_folders_are_not_taken_for_files(full: Path, tmp_path: Path) -> None:
    reply = Executor(tmp_path).converse(f'what takes the space in "{full}"?')[1]
    files = reply.content.split("Largest files:")[1]
    assert "/logs:" not in files
    assert "/empty" not in files


def test_every_step_says_what_it_does(full: Path, tmp_path: Path) -> None:
    messages, _ = Executor(tmp_path).converse(f"find what fills the disk under '{full}'")
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    assert all(said)
    assert "du" in said[0]


def test_ids_of_tool_calls_are_unique_over_many_turns(full: Path, tmp_path: Path) -> None:
    messages, _ = Executor(tmp_path).converse(f"find what fills the disk under '{full}'")
    again = plan([*messages, {"role": "user", "content": f"largest files under '{full}'"}], TOOLS)
    used = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    used += [call["id"] for call in again.tool_calls]
    assert len(used) == len(set(used))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("denied", "saving it was denied"),
        ("expired", "nobody answered"),
        ("unknown", "is unknown"),
        ("failed", "was not saved: disk full"),
    ],
)
def test_a_report_that_was_not_saved_is_told(full: Path, tmp_path: Path, status: str, words: str) -> None:
    executor = Executor(tmp_path, lambda name, arguments: (status, "disk full") if name == "save_file" else None)
    reply = executor.converse(f"find what fills the disk under '{full}'")[1]
    assert words in reply.content
    assert f"{full}/logs/app.log" in reply.content
    assert [name for name, _ in executor.ran].count("save_file") == 1


@pytest.mark.parametrize("status", ["failed", "unknown"])
def test_a_failed_measurement_is_repeated_once(full: Path, tmp_path: Path, status: str) -> None:
    attempts: list[str] = []

    def first_fails(name: str, arguments: dict[str, Any]) -> tuple[str, str] | None:
        if arguments.get("command", "").startswith("du "):
            attempts.append(name)
            return (status, "worker died") if len(attempts) == 1 else None
        return None

    reply = Executor(tmp_path, first_fails).converse(f"what fills '{full}'")[1]
    assert len(attempts) == 2
    assert "app.log" in reply.content


def test_a_measurement_that_keeps_failing_is_given_up(tmp_path: Path) -> None:
    executor = Executor(tmp_path, lambda name, arguments: ("failed", "fork: out of memory"))
    reply = executor.converse("what fills the disk under /data")[1]
    assert "could not measure /data: fork: out of memory" in reply.content
    assert len([name for name, _ in executor.ran if name == "shell"]) == 2


def test_denied_du_is_not_asked_for_again(tmp_path: Path) -> None:
    executor = Executor(tmp_path, lambda name, arguments: ("denied", "no"))
    reply = executor.converse("what fills the disk under /data")[1]
    assert "not allowed" in reply.content
    assert len(executor.ran) == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    reply = Executor(tmp_path).converse(f"what fills the disk under {tmp_path}/nowhere?")[1]
    assert reply.content.startswith(f"There is no {tmp_path}/nowhere")


def test_an_unreadable_folder_is_reported_as_partial(tmp_path: Path) -> None:
    listing = "du: cannot read directory '/data/x': Permission denied\n8\t/data/a\n12\t/data\n[exit code 1]"
    executor = Executor(
        tmp_path, lambda name, arguments: ("failed", listing) if "du " in str(arguments) else ("failed", "")
    )
    reply = executor.converse("what fills the disk under /data", [ToolSpec("shell", "")])[1]
    assert "/data holds 12 KiB" in reply.content
    assert "could not be read" in reply.content


def test_without_a_shell_it_says_so(tmp_path: Path) -> None:
    assert "`shell`" in Executor(tmp_path).converse("what fills the disk under /tmp", [])[1].content


def test_errors_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("10:01 ERROR db 17 gone\n10:02 ok\n10:03 ERROR db 18 gone\n10:04 fatal: out\n")
    reply = Executor(tmp_path).converse(f"find errors in {tmp_path}/app.log")[1]
    assert "3 lines" in reply.content
    assert "2 times" in reply.content
    assert "fatal: out" in reply.content


def test_a_log_without_errors(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("all fine\n")
    assert "No errors" in Executor(tmp_path).converse(f"grep errors in {tmp_path}/app.log")[1].content


def test_a_question_about_memory_lists_processes(tmp_path: Path) -> None:
    reply = Executor(tmp_path).converse("what uses memory?")[1]
    assert "processes run here" in reply.content
    assert "MiB" in reply.content


def test_read_list_run_save_and_wait(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("one\ntwo\n")
    executor = Executor(tmp_path)
    assert "has 2 lines:\none" in executor.converse(f"read {tmp_path}/hosts")[1].content
    assert "hosts" in executor.converse(f"list {tmp_path}")[1].content
    assert "42" in executor.converse("run `echo $((6*7))`")[1].content
    assert "Saved" in executor.converse(f'write "hello" to {tmp_path}/note')[1].content
    assert (tmp_path / "note").read_text() == "hello\n"
    executor.ran.clear()
    executor.verdict = lambda name, arguments: ("success", "")
    assert "Waited 90 s" in executor.converse("please wait 90 seconds")[1].content
    assert executor.ran == [("shell", {"command": "sleep 90"})]


def test_a_command_whose_outcome_is_unknown_is_not_repeated(tmp_path: Path) -> None:
    executor = Executor(tmp_path, lambda name, arguments: ("unknown", ""))
    reply = executor.converse("run `reboot-the-db`")[1]
    assert "unknown" in reply.content
    assert len(executor.ran) == 1


def test_plain_talk_tells_what_it_is_and_how_to_get_a_real_model() -> None:
    reply = plan([{"role": "user", "content": "hello, who are you?"}], TOOLS)
    assert not reply.tool_calls
    for words in ("not an LLM", "OPENAI_API_KEY", "OPENAI_BASE_URL", "LITELLM_API_BASE"):
        assert words in reply.content
    assert (reply.model, reply.provider, reply.finish_reason) == ("demo", "demo", "stop")


def test_a_new_message_is_a_new_task(full: Path, tmp_path: Path) -> None:
    messages, _ = Executor(tmp_path).converse(f"find what fills the disk under '{full}'")
    reply = plan([*messages, {"role": "user", "content": "what uses memory?"}], TOOLS)
    assert json.loads(reply.tool_calls[0]["arguments"])["command"].startswith("ps ")


def test_the_same_conversation_gives_the_same_reply(full: Path, tmp_path: Path) -> None:
    messages, _ = Executor(tmp_path).converse(f"find what fills the disk under '{full}'")
    for upto in range(1, len(messages)):
        assert plan(messages[:upto], TOOLS) == plan(json.loads(json.dumps(messages[:upto])), TOOLS)


def test_usage_is_estimated_from_characters() -> None:
    reply = plan([{"role": "user", "content": "x" * 400}], [], system_prompt="y" * 40)
    assert reply.usage.input_tokens == 110
    assert reply.usage.output_tokens == -(-len(reply.content) // 4)


# -- scripts


def test_a_script_is_played_word_for_word(tmp_path: Path) -> None:
    prompt = script(
        {"text": "first", "tools": [{"name": "shell", "arguments": {"command": "echo a"}}, {"name": "shell"}]},
        {"text": "ab", "repeat_text": 3},
    )
    executor = Executor(tmp_path, lambda name, arguments: ("success", ""))
    messages, reply = executor.converse(prompt)
    assert messages[1]["content"] == "first"
    assert executor.ran == [("shell", {"command": "echo a"}), ("shell", {})]
    assert reply.content == "ababab"


def test_malformed_arguments_and_finish_reasons_in_a_script() -> None:
    prompt = script({"tools": [{"name": "shell", "arguments": "{oops"}], "finish_reason": "length"})
    reply = plan([{"role": "user", "content": prompt}], TOOLS)
    assert reply.tool_calls == [{"id": "demo_0_0", "name": "shell", "arguments": "{oops"}]
    assert reply.finish_reason == "length"


def test_a_looping_script_never_stops_calling_tools(tmp_path: Path) -> None:
    prompt = script({"text": "once"}, {"loop": {"tools": [{"name": "shell", "arguments": {"command": "true"}}]}})
    messages: list[Message] = [{"role": "user", "content": prompt}]
    for step in range(50):
        reply = plan(messages, TOOLS)
        assert bool(reply.tool_calls) == (step > 0)
        messages.append({"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls})


@pytest.mark.parametrize("prompt", ["demo:script", "demo:script [", 'demo:script ["x"]', "demo:script 7"])
def test_a_script_that_cannot_be_read_says_so(prompt: str) -> None:
    reply = plan([{"role": "user", "content": prompt}], TOOLS)
    assert "cannot be read" in reply.content
    assert not reply.tool_calls


def test_a_script_ends() -> None:
    messages = [{"role": "user", "content": script({"text": "a"})}, {"role": "assistant", "content": "a"}]
    assert plan(messages, TOOLS).content == "The demo script has ended."


# -- streaming


def stream(prompt: str, **settings: Any) -> list[Delta | ModelReply]:
    async def collect() -> list[Delta | ModelReply]:
        request = ModelRequest("demo", "", [{"role": "user", "content": prompt}], settings=settings)
        return [item async for item in DemoModel().stream(request)]

    return asyncio.run(collect())


@pytest.mark.parametrize("prompt", ["hello", script({"text": "  two\n\nparagraphs  here ", "repeat_text": 2})])
def test_it_streams_word_by_word_and_the_words_are_the_content(prompt: str) -> None:
    *deltas, reply = stream(prompt)
    assert isinstance(reply, ModelReply)
    assert len(deltas) > 2
    assert "".join(delta.content for delta in deltas if isinstance(delta, Delta)) == reply.content


def test_pace_can_be_set() -> None:
    async def seconds(prompt: str, settings: dict[str, Any]) -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        request = ModelRequest("demo", "", [{"role": "user", "content": prompt}], settings=settings)
        [_ async for _ in DemoModel().stream(request)]
        return loop.time() - started

    words = {"text": "word ", "repeat_text": 10}
    assert asyncio.run(seconds(script(words), {"demo_delay_ms": 20})) >= 0.2
    assert asyncio.run(seconds(script({**words, "delay_ms": 20}), {})) >= 0.2


def test_the_demo_model_runs_without_any_provider_package() -> None:
    program = (
        "import asyncio, sys\n"
        "from kubiya_worker.models import *\n"
        "async def main():\n"
        "    request = ModelRequest('demo', '', [{'role': 'user', 'content': 'hi'}])\n"
        "    async for item in Models(Endpoint(), {}).select('demo').stream(request): pass\n"
        "asyncio.run(main())\n"
        "sys.exit(bool({'pydantic_ai', 'openai', 'pydantic'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
