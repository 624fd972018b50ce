"""Agents as A2A agents: the SDK's own client starts, follows, answers and cancels tasks of a real control plane.

The SDK is no part of the development environment, so it is installed for the run, beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from tests.support.demo_scripts import script
from tests.support.stack import ROOT, Process, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# What the SDK needs beyond the development environment. Its dependencies are not resolved anew: they would hide ours.
PACKAGES: Final = (
    *("a2a-sdk==1.3.0", "google-api-core==2.44.0", "googleapis-common-protos==1.76.0", "google-auth==2.63.0"),
    *("proto-plus==1.29.0", "pyasn1==0.6.5", "pyasn1-modules==0.4.2", "json-rpc==1.15.0", "culsans==0.11.0"),
    *("aiologic==0.17.1", "wrapt==2.5.2"),
)
QUESTION: Final = {"tools": [{"name": "ask_person", "arguments": {"question": "Which host?"}}]}
SAVE: Final = {"tools": [{"name": "save_file", "arguments": {"path": "a.txt", "content": "a"}}]}
LONG: Final = {"tools": [{"name": "sleep", "arguments": {"seconds": 600}}]}


class StackWithSdk(Stack):
    """A stack whose programs find the SDK."""

    def __init__(self, folder: Path, packages: Path) -> None:
        super().__init__(folder)
        self.packages = packages

    def start(self, argv: list[str], env: dict[str, str] | None = None, *, tied: bool = False) -> Process:
        paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{self.packages}"}
        return super().start(argv, {**(env or {}), **paths}, tied=tied)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a2a")
    argv = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *PACKAGES]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"pip cannot install the SDK: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def a2a(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackWithSdk]:
    with StackWithSdk(tmp_path_factory.mktemp("stack"), packages) as running:
        running.worker()
        yield running


def played(stack: StackWithSdk, agent: str, *steps: dict[str, Any], version: str = "1.0") -> dict[str, Any]:
    """Play steps with the SDK's client in a program of its own: {card, results}."""
    plan = {"url": f"{stack.url}/a2a/agents/{agent}", "key": stack.key, "steps": steps, "version": version}
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{stack.packages}"}
    argv = [sys.executable, str(ROOT / "tests" / "support" / "a2a_driver.py")]
    done = subprocess.run(argv, input=json.dumps(plan), env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def agent(stack: Stack, *skills: str) -> str:
    name = f"helper-{uuid.uuid4().hex[:8]}"
    stack.agent(name, skills=[{"name": each, "type": each} for each in skills])
    return name


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("streaming", [True, False])
def test_a_task_is_started_followed_and_answers(a2a: StackWithSdk, streaming: bool, version: str) -> None:
    name = agent(a2a, "sleep")
    task = script({"tools": [{"name": "sleep", "arguments": {"seconds": 0.2}}]}, {"text": "Done."})
    told = played(a2a, name, {"send": task, "streaming": streaming}, {"get": True}, version=version)
    assert told["card"]["name"] == name
    sent, found = told["results"]
    assert found["state"] == "TASK_STATE_COMPLETED"
    assert found["answer"] == "Done."
    if streaming:
        assert "runs sleep" in sent["said"]
        assert sent["states"][-1] == "TASK_STATE_COMPLETED"
    row = a2a.execution(found["id"])
    assert row["execution_metadata"]["source"] == "a2a"


def test_a_question_is_answered_by_a_message_and_an_approval_by_a_person_only(a2a: StackWithSdk) -> None:
    name = agent(a2a, "ask_person", "file_system")
    told = played(
        a2a,
        name,
        {"send": script(QUESTION, SAVE, {"text": "Done."}), "streaming": True},
        {"send": "web-7", "streaming": True, "follows": True},
        {"send": "approve", "streaming": False, "follows": True},
    )
    asked, waiting, refused = told["results"]
    assert asked["states"][-1] == waiting["states"][-1] == "TASK_STATE_INPUT_REQUIRED"
    assert "Which host?" in asked["said"][-1]
    assert "save_file" in waiting["said"][-1]
    assert "A person decides this, in the inbox" in refused["error"]
    (approval,) = a2a.call("GET", f"/approvals?status=pending&execution_id={waiting['id']}")
    a2a.call("POST", f"/approvals/{approval['id']}/approve", {"reason": "a test"})
    assert a2a.wait(waiting["id"])["response"] == "Done."
    done = [event["data"] for event in a2a.events(waiting["id"]) if event["event"] == "tool_completed"]
    assert done[0]["tool_output"] == "web-7"


def test_a_task_is_cancelled_and_is_not_the_task_of_another_agent(a2a: StackWithSdk) -> None:
    name, other = agent(a2a, "sleep"), agent(a2a)
    told = played(a2a, name, {"send": script(LONG, {"text": "Done."}), "at_once": True}, {"cancel": True})
    execution = told["results"][0]["id"]
    a2a.wait(execution, "cancelled")
    again, foreign = played(a2a, name, {"get": True, "id": execution}, {"cancel": True, "id": execution})["results"]
    assert again["state"] == "TASK_STATE_CANCELED"
    assert "cannot be canceled" in foreign["error"].lower() or "cancelable" in foreign["error"].lower()
    (unknown,) = played(a2a, other, {"get": True, "id": execution})["results"]
    assert "not found" in unknown["error"].lower()


def test_keys_and_roles_are_those_of_the_api(a2a: StackWithSdk) -> None:
    name = agent(a2a)
    place = f"{a2a.url}/a2a/agents/{name}"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "kubiya_session=x"}):
        assert requests.get(f"{place}/.well-known/agent-card.json", headers=headers, timeout=10).status_code == 401
        assert requests.post(place, json={}, headers=headers, timeout=10).status_code == 401
    viewer = a2a.call("POST", "/keys", {"name": f"looks-{name}", "role": "viewer"})["key"]
    own = {"Authorization": f"Bearer {viewer}", "A2A-Version": "1.0"}
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    answer = requests.post(place, json=body, headers=own, timeout=30).json()
    assert "has the role viewer" in answer["error"]["message"]
    own["Authorization"] = f"Bearer {a2a.key}"
    for path in (f"{a2a.url}/a2a/agents/nobody", f"{a2a.url}/a2a/others/x"):
        assert requests.post(path, json=body, headers=own, timeout=30).status_code == 404
