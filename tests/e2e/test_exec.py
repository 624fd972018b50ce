"""`kubiya exec`, `kubiya approvals` as programs: in a terminal, in a pipe, in a script."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.demo_scripts import script, until
from tests.support.dev import Dev
from tests.support.stack import BIN, wait_until
from tests.support.terminal import CONTROL_C, CONTROL_D

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tools": [{"name": name, "arguments": arguments}]}


SAVE = script(tool("save_file", path="note.txt", content="one"), {"text": "It is saved."})
SLOW = script({"text": "slowly " * 3000, "delay_ms": 100})  # five minutes of text; it is always cancelled


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    (folder / "large.log").write_bytes(b"x" * 3_000_000)
    return folder


def status_of(dev: Dev, execution: str) -> str:
    shown = dev.kubiya("exec", "attach", execution, "-o", "json", "--timeout", "20s")
    return str(json.loads(shown.stdout)["status"])


def asked_of(dev: Dev, execution: str) -> list[dict[str, Any]]:
    return list(dev.call("GET", f"/approvals?execution_id={execution}"))


# -- in a pipe and in a script


def test_stdout_is_the_answer_alone(dev: Dev, disk: Path) -> None:
    run = dev.kubiya("exec", "agent", "ops", f"What fills the disk under {disk}?", "--approve")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{disk} holds 2.9 MiB.") and str(disk / "large.log") in run.stdout
    assert "approval needed: save_file" in run.stderr and "granted, as --approve says" in run.stderr
    assert re.search(r"✓ completed · 4 steps · 3 tool calls · [\d,]+ tokens", run.stderr)
    assert "\x1b" not in run.stdout + run.stderr


def test_json_is_one_result_and_a_line_for_each_event(dev: Dev) -> None:
    run = dev.kubiya("exec", "agent", "ops", SAVE, "--approve", "-o", "json")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["status"] == "completed" and result["answer"] == "It is saved."
    assert result["steps"] == 2 and result["tool_calls"] == 1 and ID.fullmatch(result["execution_id"])
    events = [json.loads(line) for line in run.stderr.splitlines()]
    kinds = [e["type"] for e in events]
    assert {"connected", "message", "tool_started", "tool_completed", "status", "progress", "done"} <= set(kinds)
    assert kinds[-1] == "done"
    assert all(e["execution_id"] == result["execution_id"] and e["timestamp"] for e in events)
    stages = [e["progress"]["stage"] for e in events if "progress" in e]
    assert stages.index("approval_requested") < stages.index("approval_resolved")
    (completed,) = [e for e in events if e["type"] == "tool_completed"]
    assert completed["tool"]["success"] is True and "outputs" not in completed["tool"]


def test_the_prompt_comes_from_a_pipe(dev: Dev) -> None:
    run = subprocess.run(
        [str(BIN / "kubiya"), "exec", "agent", "ops", "-"],
        input='demo:script [{"text": "from the pipe"}]',
        env={**os.environ, **dev.environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout) == (0, "from the pipe\n"), run.stderr


def test_a_failed_run_is_1_and_says_why(dev: Dev) -> None:
    budget = {"configuration": {"budgets": {"max_steps": 2}}, "skills": [{"type": "shell"}]}
    dev.call("POST", "/agents", {"name": "short of breath", "model_id": "demo", **budget})
    run = dev.kubiya("exec", "agent", "short of breath", script({"loop": tool("shell", command="date")}))
    assert run.returncode == 1, run.stderr
    assert run.stdout == "" and "budget" in run.stderr and "✗ failed" in run.stderr


def test_denied_with_a_flag(dev: Dev) -> None:
    run = dev.kubiya("exec", "agent", "ops", SAVE, "--deny", "-o", "json")
    assert run.returncode == 0
    assert '"stage":"approval_resolved"' in run.stderr and '"status":"rejected"' in run.stderr


def test_a_timeout_leaves_the_run_and_says_how_to_come_back(dev: Dev) -> None:
    run = dev.kubiya("exec", "agent", "ops", SLOW, "--timeout", "2s")
    assert run.returncode == 75
    (execution,) = set(ID.findall(run.stderr))
    assert f"2 s have passed; the execution goes on. Watch it again: kubiya exec attach {execution}" in run.stderr
    stop(dev, execution)


def stop(dev: Dev, execution: str) -> None:
    """Ctrl-C of a watcher without a terminal cancels."""
    watcher = subprocess.Popen(
        [str(BIN / "kubiya"), "exec", "attach", execution, "-o", "json"],
        env={**os.environ, **dev.environment()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stderr is not None
    watcher.stderr.readline()  # it watches
    watcher.send_signal(signal.SIGINT)
    out, err = watcher.communicate(timeout=60)
    assert watcher.returncode == 130, (out, err)
    assert json.loads(out)["status"] == "cancelled"


def test_without_a_terminal_it_waits_for_somebody_elses_answer(dev: Dev) -> None:
    process = subprocess.Popen(
        [str(BIN / "kubiya"), "exec", "agent", "ops", SAVE],
        env={**os.environ, **dev.environment()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting for a person" in line:
            break
    (approval,) = ID.findall(line)
    listed = dev.kubiya("approvals", "ls")
    assert listed.stdout.split()[:4] == ["ID", "TOOL", "STATUS", "AGE"]
    assert approval in listed.stdout and "save_file" in listed.stdout and "path=note.txt" in listed.stdout
    shown = dev.kubiya("approvals", "show", approval[:12])
    assert "content: one" in shown.stdout and "status: pending" in shown.stdout
    granted = dev.kubiya("approvals", "approve", approval[:12])
    assert granted.returncode == 0 and granted.stdout.startswith("approved: save_file, execution ")
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "It is saved.\n")
    again = dev.kubiya("approvals", "approve", approval)
    assert again.returncode == 64 and "was approved already by" in again.stderr
    everything = dev.kubiya("approvals", "ls", "--all", "--json")
    assert approval in {json.loads(line)["id"] for line in everything.stdout.splitlines()}


def test_denied_from_elsewhere_with_a_reason(dev: Dev) -> None:
    left = json.loads(dev.kubiya("exec", "agent", "ops", SAVE, "--no-wait", "-o", "json").stdout)
    (approval,) = [i for i in ID.findall(left["detached"]) if i != left["execution_id"]]
    denied = dev.kubiya("approvals", "deny", approval, "--reason", "not on this host")
    assert denied.returncode == 0 and denied.stdout.startswith("denied: save_file")
    run = dev.kubiya("exec", "attach", left["execution_id"])
    assert run.returncode == 0 and "not on this host" in run.stderr


def test_edited_from_elsewhere(dev: Dev) -> None:
    left = json.loads(dev.kubiya("exec", "agent", "ops", SAVE, "--no-wait", "-o", "json").stdout)
    (approval,) = [i for i in ID.findall(left["detached"]) if i != left["execution_id"]]
    for bad in ("{", "[1]"):
        refused = dev.kubiya("approvals", "edit", approval, "--arguments", bad)
        assert refused.returncode == 64 and "--arguments is not" in refused.stderr
    edited = dev.kubiya("approvals", "edit", approval, "--arguments", '{"path": "other.txt", "content": "two words"}')
    assert edited.returncode == 0, edited.stderr
    run = dev.kubiya("exec", "attach", left["execution_id"])
    assert "Saved 9 bytes to other.txt" in run.stderr, run.stderr


@pytest.mark.parametrize("manner", ["--stream", "--no-stream"])
def test_a_reader_that_goes_away_is_not_a_failure(dev: Dev, manner: str) -> None:
    text = script({"text": "many words " * 50 + "\n", "delay_ms": 1})
    line = f"'{BIN / 'kubiya'}' exec agent ops '{text}' {manner} | head -c 1; echo \" ${{PIPESTATUS[0]}}\""
    run = subprocess.run(
        ["/bin/bash", "-c", line], env={**os.environ, **dev.environment()}, capture_output=True, text=True, timeout=60
    )
    assert run.stdout[1:] in (" 141\n", " 0\n"), run.stdout  # 0: all was in the pipe before its reader went
    assert "Traceback" not in run.stderr and "Errno" not in run.stderr


@pytest.mark.parametrize(
    "env", [{"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_any_locale_shows_what_it_can(dev: Dev, env: dict[str, str]) -> None:
    environment = {**os.environ, **dev.environment(), **env}
    run = subprocess.run(
        [str(BIN / "kubiya"), "exec", "agent", "ops", script({"text": "Grüße … 日本"}), "--stream"],
        env=environment,
        capture_output=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    encoding = env.get("PYTHONIOENCODING", "utf-8")
    wanted = {"ascii": "Gr??e ... ??", "latin-1": "Grüße ... ??", "utf-8": "Grüße … 日本"}[encoding]
    assert wanted in run.stdout.decode(encoding)


# -- in a terminal


def test_text_streams_and_colours_follow_no_color(dev: Dev) -> None:
    cases: list[tuple[dict[str, str], bool]] = [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
    for env, coloured in cases:
        with dev.terminal("exec", "agent", "ops", script({"text": "hello there"}), columns=100, **env) as terminal:
            terminal.expect("hello there")
            terminal.expect("completed")
            assert terminal.wait() == 0
            assert ("\x1b[" in terminal.raw) is coloured, terminal.raw


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("y\n", "approved by"),
        ("n\n", "rejected by"),
        ("\n\ny\n", "approved by"),
        ("rather not today\n", "rather not today"),
    ],
)
def test_an_approval_is_answered_with_the_keyboard(dev: Dev, keys: str, says: str) -> None:
    with dev.terminal("exec", "agent", "ops", SAVE) as terminal:
        terminal.expect("approval needed: save_file")
        terminal.expect("path: note.txt")
        terminal.expect("run save_file? [y]es, [n]o, [e]dit, or say why not:")
        terminal.send(keys)
        terminal.expect(says)
        terminal.expect("It is saved.")
        assert terminal.wait() == 0


def test_of_two_questions_the_answer_is_to_the_one_on_the_screen(dev: Dev) -> None:
    saves = [tool("save_file", path=f"{name}.txt", content=name)["tools"][0] for name in ("one", "two")]
    with dev.terminal("exec", "agent", "ops", script({"tools": saves}, {"text": "Both were asked."})) as terminal:
        terminal.expect("? [y]es")
        first, second = ("one", "two") if "path: one.txt" in terminal.text else ("two", "one")
        execution = dev.newest()["id"]
        wait_until(lambda: len(asked_of(dev, execution)) == 2, 30, "both are asked")
        before = len(terminal.text)
        terminal.send("no, not that\n")
        terminal.expect(f"path: {second}.txt")
        terminal.expect("? [y]es")
        terminal.send("y\n")
        terminal.expect("Both were asked.")
        assert terminal.wait() == 0
    # Its arguments, under the question about the other one, would have been what "no" was said to. The line that tells
    # of the rejection may come later: it is an event, and the other request may be here before it.
    assert terminal.text.index(f"path: {second}.txt") >= before
    answers = {asked["tool_args"]["path"]: asked["status"] for asked in asked_of(dev, execution)}
    assert answers == {f"{first}.txt": "rejected", f"{second}.txt": "approved"}


def test_what_was_typed_before_a_question_does_not_answer_it(dev: Dev, tmp_path: Path) -> None:
    shell = {"type": "shell", "name": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
    skills = [shell, {"type": "file_system", "name": "files"}]
    dev.call("POST", "/agents", {"name": "hasty", "model_id": "demo", "skills": skills})
    gate = tmp_path / "gate"
    steps = (tool("shell", command=until(gate)), tool("save_file", path="early.txt", content="x"), {"text": "Done."})
    with dev.terminal("exec", "agent", "hasty", script(*steps)) as terminal:
        terminal.expect("▸ shell")
        terminal.send("y\n")
        gate.touch()
        terminal.expect("? [y]es")
        terminal.send("not yet\n")
        terminal.expect("rejected by local user: not yet")
        assert terminal.wait() == 0


def test_a_question_is_answered_with_the_keyboard_and_with_a_command(dev: Dev) -> None:
    dev.call(
        "POST", "/agents", {"name": "curious", "model_id": "demo", "skills": [{"type": "ask_person", "name": "ask"}]}
    )
    question = script(tool("ask_person", question="Which host?", options=["web-1", "web-2"]), {"text": "I see."})
    with dev.terminal("exec", "agent", "curious", question) as terminal:
        terminal.expect("? the agent asks")
        terminal.expect("Which host?")
        terminal.expect("2. web-2")
        terminal.expect("your answer: ")
        terminal.send("\n2\n")
        terminal.expect("answered by local user")
        terminal.expect("web-2")
        terminal.expect("I see.")
        assert terminal.wait() == 0
    left = dev.kubiya("exec", "agent", "curious", question, "--no-wait")
    assert left.returncode == 75 and "kubiya approvals answer" in left.stderr
    (asked,) = asked_of(dev, dev.newest()["id"])
    refused = dev.kubiya("approvals", "approve", asked["id"])
    assert refused.returncode == 64 and f"kubiya approvals answer {asked['id']}" in refused.stderr
    assert dev.kubiya("approvals", "answer", asked["id"], " ").returncode == 64
    assert dev.kubiya("approvals", "answer", asked["id"], "web-9").returncode == 0
    told = dev.kubiya("exec", "attach", asked["execution_id"], "-v")
    assert told.returncode == 0 and "web-9" in told.stderr
    granted = dev.kubiya("exec", "agent", "curious", question, "--approve")
    assert granted.returncode == 0 and "--approve is for tools, not for questions" in granted.stderr


def test_an_editor_that_does_not_work_leaves_the_question(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", SAVE, EDITOR="/nonexistent/editor", VISUAL="") as terminal:
        terminal.expect("[e]dit")
        terminal.send("e\n")
        terminal.expect("The editor failed")
        terminal.expect("Set EDITOR")
        terminal.expect("? [y]es")
        terminal.send("y\n")
        terminal.expect("It is saved.")
        assert terminal.wait() == 0


def test_nobody_is_asked_where_that_is_said(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", SAVE, "--no-wait", KUBIYA_NON_INTERACTIVE="true") as terminal:
        terminal.expect("a person has to answer first")
        assert terminal.wait() == 75
        assert "? [y]es" not in terminal.raw
    stop(dev, ID.findall(terminal.raw.split("exec attach")[1])[0])


def test_an_approval_is_edited_in_the_editor(dev: Dev, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/"one"/"edited by hand"/\' "$1"\n')
    editor.chmod(0o755)
    with dev.terminal("exec", "agent", "ops", SAVE, EDITOR=str(editor), VISUAL="") as terminal:
        terminal.expect("[e]dit")
        terminal.send("e\n")
        terminal.expect("approved by")
        terminal.expect("Saved 14 bytes")
        assert terminal.wait() == 0


def test_somebody_elses_answer_takes_the_question_away(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", SAVE) as terminal:
        terminal.expect("run save_file?")
        mine = dev.newest()["id"]  # an approval of a run that another test has cancelled may go a moment later
        listed = [json.loads(x) for x in dev.kubiya("approvals", "ls", "--json").stdout.splitlines()]
        (waiting,) = [approval for approval in listed if approval["execution_id"] == mine]
        dev.kubiya("approvals", "approve", waiting["id"])
        terminal.expect("approved by")
        terminal.expect("It is saved.")
        assert terminal.wait() == 0


def test_ctrl_c_asks_and_cancels(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", SLOW) as terminal:
        terminal.expect("slowly slowly")
        terminal.send(CONTROL_C)
        terminal.expect("[c]ancel it (or Ctrl-C again), [d]etach and let it go on, Enter to stay:")
        terminal.send("c\n")
        terminal.expect("cancelling")
        terminal.expect("cancelled")
        assert terminal.wait() == 130


def test_ctrl_c_twice_cancels(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", SLOW) as terminal:
        terminal.expect("slowly slowly")
        terminal.send(CONTROL_C)
        terminal.expect("[c]ancel it")
        terminal.send(CONTROL_C)
        terminal.expect("cancelled")
        assert terminal.wait() == 130


def test_ctrl_c_detaches_and_attach_comes_back(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", SLOW) as terminal:
        terminal.expect("slowly slowly")
        terminal.send(CONTROL_C)
        terminal.expect("[d]etach")
        terminal.send("\n")
        terminal.expect("slowly")  # it stays
        terminal.send(CONTROL_C)
        terminal.expect("[d]etach")
        terminal.send("d\n")
        terminal.expect("detached; the execution goes on. Watch it again: kubiya exec attach")
        assert terminal.wait() == 75
        execution = ID.findall(terminal.text)[-1]
    with dev.terminal("exec", "attach", execution) as terminal:
        terminal.expect("slowly slowly")
        terminal.send(CONTROL_C)
        terminal.expect("[c]ancel it")
        terminal.send("c\n")
        assert terminal.wait() == 130
    assert status_of(dev, execution) == "cancelled"


def test_a_keyboard_that_ends_at_a_question_detaches(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", SAVE) as terminal:
        terminal.expect("run save_file?")
        terminal.send(CONTROL_D)
        terminal.expect("standard input has ended; the execution goes on")
        assert terminal.wait() == 75


def test_a_closed_window_ends_the_watching_only(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", script({"text": "word " * 30, "delay_ms": 100})) as terminal:
        terminal.expect("word word")
        terminal.hang_up()
        terminal.process.wait(60)
    listed = dev.kubiya("approvals", "ls")
    assert listed.returncode == 0
    deadline = time.monotonic() + 60
    while dev.newest()["status"] != "completed":
        assert time.monotonic() < deadline, dev.newest()
        time.sleep(0.2)


def test_a_narrow_terminal_has_no_line_that_is_too_long(dev: Dev, disk: Path) -> None:
    with dev.terminal(
        "exec", "agent", "ops", f"What fills the disk under {disk}?", "--approve", columns=44
    ) as terminal:
        terminal.expect("completed")
        assert terminal.wait() == 0
    for line in terminal.text.splitlines():
        if line.lstrip().startswith(("▸", "✓ ")) and "completed" not in line:
            assert len(line) <= 60, line


def test_a_conversation_goes_on_until_done(dev: Dev) -> None:
    with dev.terminal("exec", "agent", "ops", "-i", script({"text": "first answer"})) as terminal:
        terminal.expect("first answer")
        terminal.expect("> ")
        terminal.send(script({"text": "second answer"}) + "\n")
        terminal.expect("second answer")
        terminal.expect("> ")
        terminal.send(CONTROL_C)
        terminal.expect("Enter to stay: ")
        terminal.send("\n")
        terminal.expect("> ")  # who stays is asked again
        terminal.send("/done\n")
        terminal.expect("completed")
        assert terminal.wait() == 0


# -- the control plane restarts in mid-stream: no word is lost and none comes twice


def test_the_stream_survives_a_restart_of_the_control_plane(tmp_path: Path) -> None:
    from tests.support.stack import Stack

    with Stack(tmp_path) as stack:
        stack.worker()
        words = " ".join(f"w{n}" for n in range(80))
        environment = {**os.environ, "HOME": str(tmp_path), "KUBIYA_API_KEY": stack.key, "CONTROL_PLANE_URL": stack.url}
        environment.pop("CONTROL_PLANE_GATEWAY_URL", None)
        run = subprocess.Popen(
            [str(BIN / "kubiya"), "exec", "agent", "ops", "--stream", script({"text": words, "delay_ms": 60})],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert run.stdout is not None
        seen = b""
        while b"w10" not in seen:
            data = os.read(run.stdout.fileno(), 4096)
            assert data, seen
            seen += data
        assert stack.server is not None
        stack.server.kill()
        time.sleep(1)  # long enough to be noticed; the run goes on meanwhile
        stack.start_server()
        rest, err = run.communicate(timeout=90)
        text = (seen + rest).decode()
        assert run.returncode == 0, (text, err)
        assert re.findall(r"w\d+", text) == words.split(), text
