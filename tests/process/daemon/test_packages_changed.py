"""A step cannot import what it needs: it is tried again, and the worker finishes its steps and is started again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import Daemons
from tests.support.installed import Installed
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack, wait_until

SHELL = {"type": "shell", "name": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 200}}
# A package of which a module is missing until a file exists, as while `pip` replaces it.
HALF = """
import pathlib, sys

class Half:
    def find_spec(self, name, path=None, target=None):
        if name == "kubiya_worker.models.session" and not pathlib.Path({whole!r}).exists():
            raise ImportError("half of a package")

sys.meta_path.insert(0, Half())
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_step_is_tried_again_and_the_worker_is_started_again(
    stack: Stack, daemons: Daemons, tmp_path: Path
) -> None:
    whole, gate = tmp_path / "whole", tmp_path / "gate"
    extension = tmp_path / "half.py"
    extension.write_text(HALF.format(whole=str(whole)))
    with ModelEndpoint([{"text": "It is whole."}]) as endpoint:
        daemons.start(OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-of-the-host", KUBIYA_EXTENSIONS=str(extension))
        first = daemons.worker_pid()
        command = f"sh -c 'until [ -e {gate} ]; do sleep 0.05; done'"
        steps = [{"tools": [{"name": "shell", "arguments": {"command": command}}]}, {"text": "I was not cut off."}]
        long = stack.execute("demo:script " + json.dumps(steps), agent=stack.agent("long", skills=[SHELL]))
        stack.first(long, "tool_started")
        execution = stack.execute("Are you whole?", agent=stack.agent("model", model_id="gpt-test"))
        wait_until(lambda: daemons.status()["worker"].get("must_restart"), 60, "it says that it must be restarted")
        shown = daemons.run("worker", "status", "--queue-id", "default").stdout
        assert "must restart" in shown and "ImportError: half of a package" in shown, shown
        assert daemons.worker_pid() == first, "it finishes its steps first"
        whole.touch()
        gate.touch()
        assert stack.wait(long)["response"] == "I was not cut off."
        row = stack.wait(execution, timeout=120)
        assert (row["status"], row["response"]) == ("completed", "It is whole."), row
        assert daemons.worker_pid() != first and "must_restart" not in daemons.status()["worker"]
        # A worker that is started again has the keys of the first one.
        assert [request["headers"]["authorization"] for request in endpoint.requests] == ["Bearer sk-of-the-host"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_packages_that_are_replaced_are_told_and_a_restart_clears_it(
    stack: Stack, daemons: Daemons, tmp_path: Path
) -> None:
    """One package is there by half while the worker starts, as in the middle of `pip`, and a person restarts it."""
    installed = Installed(tmp_path)
    gate = stack.trace("gate")
    command = f"sh -c 'until [ -e {gate} ]; do sleep 0.05; done'"
    steps = [{"tools": [{"name": "shell", "arguments": {"command": command}}]}, {"text": "I was not cut off."}]

    def kubiya(*words: str, **env: str) -> subprocess.Popen[str]:
        argv = [str(installed.python), "-P", "-m", "kubiya_worker", "worker", *words, "--queue-id", "default"]
        variables = daemons.environment(PYTHONPATH="", **env)
        return subprocess.Popen(argv, env=variables, cwd=daemons.home, stdout=subprocess.PIPE, text=True)

    def told(process: subprocess.Popen[str]) -> str:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return output

    with ModelEndpoint([{"text": "It is whole."}]) as endpoint:
        installed.leave_half("httpx2")
        told(kubiya("start", "-d", OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-of-the-host"))
        first, log = daemons.worker_pid(), daemons.folder() / "logs" / "worker.log"
        long = stack.execute("demo:script " + json.dumps(steps), agent=stack.agent("held", skills=[SHELL]))
        stack.first(long, "tool_started")
        execution = stack.execute("Are you whole?", agent=stack.agent("whole", model_id="gpt-test"))
        wait_until(lambda: daemons.status()["worker"].get("must_restart"), 60, "it says that it must be restarted")
        assert "must restart" in told(kubiya("status"))
        (line,) = [line for line in log.read_text().splitlines() if "worker.must_restart" in line]
        assert "httpx2" in line and "Restart the worker: the packages that it runs from were changed" in line

        installed.make_whole("httpx2")
        installed.upgrade()
        restart = kubiya("restart")
        wait_until(lambda: daemons.state()["state"] == "stopping", 60, "the supervisor restarts it")
        gate.touch()
        told(restart)
        assert stack.wait(long)["response"] == "I was not cut off."
        row = stack.wait(execution)
        assert (row["status"], row["response"]) == ("completed", "It is whole."), row
        assert daemons.worker_pid() != first and "must_restart" not in daemons.status()["worker"]
        assert "must restart" not in told(kubiya("status"))
        assert log.read_text().count("worker.must_restart") == 1
