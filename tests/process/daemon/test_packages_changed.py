"""A step cannot import what it needs: it is tried again, and the worker finishes its steps and is started again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.daemon import Daemons
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
