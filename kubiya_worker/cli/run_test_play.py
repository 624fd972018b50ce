"""This module plays tests of runs: it makes what they ran with, gives the recorded answers, and compares.

The engine is the real one, in a local stack of its own: workflow, rules, budgets, approvals and teams are not imitated.
"""

from __future__ import annotations

import copy
import json
import os
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubiya_worker import templates
from kubiya_worker._supervisor.posix import files
from kubiya_worker.cli.api.approvals import ApprovalsApi
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.api.executions import ExecutionsApi
from kubiya_worker.cli.api.runs import RunApi
from kubiya_worker.cli.api.secrets import SecretsApi
from kubiya_worker.cli.connection import Api
from kubiya_worker.cli.progress import ExecutionProgress
from kubiya_worker.cli.run_calls import RunReading
from kubiya_worker.cli.run_test_checks import AskedNow, CheckedLine, checked
from kubiya_worker.cli.run_test_file import APPROVED, NamedTest, PersonsAnswer, RunTest
from kubiya_worker.cli.stream import END, FAILED, Follower, Frame
from kubiya_worker.errors import UsageError
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex

Object = dict[str, Any]
SOURCE: Final = "kubiya test"  # the set of documents that a test makes, and the next one takes away
QUEUE: Final = "default"
_BY_PERSON: Final = ("approver_type", "approver_value", "separate_approver", "auto_approve_roles")


@dataclass(frozen=True)
class Changes:
    """These things differ from the recorded run. Without a model, the recorded answers are given."""

    model: str = ""
    agent: Mapping[str, Any] | None = None  # a document of the kind Agent
    prompt: str | None = None
    skills: Sequence[Mapping[str, Any]] = ()
    real_tools: bool = False


@dataclass(frozen=True)
class PlayedTest:
    """The outcome of one test. `lines` are all expectations; it holds if all of them do."""

    named: NamedTest
    execution_id: str
    seconds: float
    lines: list[CheckedLine] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return all(line.holds for line in self.lines)


def changed(test: RunTest, changes: Changes) -> list[Object]:
    """Return the definitions to play with. Raises UsageError for a change that the test has no place for. Pure."""
    documents = [each.model_dump(exclude_unset=True) for each in copy.deepcopy(test.definitions)]
    of = {(each["kind"], each["name"]): each for each in documents}
    own = of[(test.kind.capitalize(), test.entity)]
    if changes.agent is not None:
        name = test.entity if test.kind == "agent" else str(changes.agent["name"])
        if ("Agent", name) not in of:
            raise UsageError(
                f"--agent: the team {test.entity!r} has no agent {name!r} to put it in place of",
                remedy=f"Name a file with one of {', '.join(sorted(name for kind, name in of if kind == 'Agent'))}",
            )
        of[("Agent", name)]["spec"] = dict(changes.agent.get("spec") or {})
    if changes.prompt is not None:
        if test.kind != "agent":
            raise UsageError(
                f"--prompt-file is for tests of agents, and {test.entity!r} is a team",
                remedy="Put the prompt into the file of one of its agents, and give --agent FILE",
            )
        own["spec"] = {**(own.get("spec") or {}), "system_prompt": changes.prompt}
    for skill in changes.skills:
        spec = own.get("spec") or {}
        others = [each for each in spec.get("skills") or () if each.get("type") != skill["type"]]
        own["spec"] = {**spec, "skills": [*others, dict(skill)]}
    for document in documents:
        spec = dict(document.get("spec") or {})
        if document["kind"] == "Rule":  # one person plays all of them
            spec = {name: value for name, value in spec.items() if name not in _BY_PERSON}
        configuration = dict(spec.get("configuration") or {})
        configuration.pop("member_queues", None)
        if not changes.real_tools:
            configuration.pop("cwd", None)  # a folder of the host where the run was recorded
        if "configuration" in spec:
            spec["configuration"] = configuration
        document["spec"] = spec
    return documents


def check(test: RunTest, changes: Changes) -> None:
    """Raise UsageError for changes that the test has no place for, and for secrets that real tools would lack."""
    for name in sorted(set(templates.secrets_in(changed(test, changes)))):
        secret_of(name, changes)


def secret_of(name: str, changes: Changes) -> str:
    """Return the value of a secret: of this shell for tools that run, else one that means nothing."""
    if not changes.real_tools:
        return f"not-the-secret-{name}"
    value = os.environ.get(name, "")
    if not value:
        raise UsageError(
            f"--real-tools: the test needs the secret {name}", remedy=f"Set the variable {name} to its value"
        )
    return value


def recording_of(test: RunTest, changes: Changes) -> Object:
    """Return what the worker plays (kubiya_worker/recording.py). Pure."""
    runs = None if changes.model else [each.model_dump(exclude_none=True) for each in test.model]
    tools = None if changes.real_tools else [each.model_dump(exclude_none=True) for each in test.tools or ()]
    return {"runs": runs, "tools": tools}


class TestPlayer:
    """Plays one test after the other against a control plane of its own."""

    __test__ = False  # for pytest, which collects classes by this name

    def __init__(self, api: Api, recording: Path, changes: Changes, timeout: float) -> None:
        """Take the control plane, the file that its worker reads, and the seconds that a run may take."""
        self._definitions, self._executions = DefinitionsApi(api), ExecutionsApi(api)
        self._api, self._recording, self._changes, self._timeout = api, recording, changes, timeout

    def play(self, named: NamedTest) -> PlayedTest:
        """Play a test. Raises WorkerError when it cannot be played."""
        test, began = named.test, time.monotonic()
        documents = changed(test, self._changes)
        for name in sorted(set(templates.secrets_in(documents))):
            SecretsApi(self._api).set(name, {"value": secret_of(name, self._changes)})
        self._definitions.apply(documents, source=SOURCE, prune=True)
        kept = {each["name"] for each in documents if each["kind"] == "Rule"}
        for rule in self._definitions.all("Rule"):
            if rule["name"] not in kept:  # a fresh control plane has one of its own
                self._definitions.delete("Rule", str(rule["name"]))
        files.replace(self._recording, json.dumps(recording_of(test, self._changes)))
        waits = test.expect.status == ex.WAITING
        body: Object = {
            "prompt": test.prompts[0],
            "worker_queue_id": QUEUE,
            "execution_metadata": {"source": "test", "interactive": waits or len(test.prompts) > 1},
            **({"system_prompt": test.system_prompt} if test.system_prompt and self._changes.prompt is None else {}),
        }
        execution_id = str(self._executions.start(test.kind, test.entity, body)["execution_id"])
        played = _PlayedRun(self._api, execution_id, test, time.monotonic() + self._timeout)
        over = played.follow()
        run = self._executions.get(execution_id)
        reading = RunReading(test.entity, RunApi(self._api).events(execution_id))
        lines = checked(test, run, reading.calls, played.asked)
        if not over:
            lines.insert(0, CheckedLine("time", "-", f"not over within {self._timeout:g} s, and cancelled", False))
        if not ex.is_final(str(run.get("status"))):
            self._executions.cancel(execution_id)
            played.wait_for_end()
        return PlayedTest(named, execution_id, time.monotonic() - began, lines)


class _PlayedRun:
    """Follows one execution, and says what the recorded person said."""

    def __init__(self, api: Api, execution_id: str, test: RunTest, deadline: float) -> None:
        self._executions, self._approvals = ExecutionsApi(api), ApprovalsApi(api)
        self._id, self._test, self._deadline = execution_id, test, deadline
        self._prompts = list(test.prompts[1:])
        self._answers = list(test.answers or ())
        self._told: set[str] = set()
        self._progress = ExecutionProgress()
        self.asked: list[AskedNow] = []

    def follow(self) -> bool:
        """Follow it to its end, or to where the test ends; return False when its time is over."""
        for frame in self._frames():
            if frame is None:
                return False
            self._progress.apply(frame)
            if frame.event_type == ev.APPROVAL_REQUESTED:
                self._answer(frame.data)
            elif self._progress.wants_input and self._waits():
                return True
        return True

    def wait_for_end(self) -> None:
        """Wait until a cancelled execution is over: the next test takes away what it runs with."""
        self._deadline = time.monotonic() + 30
        for _ in self._frames():
            pass

    def _frames(self) -> Iterator[Frame | None]:
        """Yield the frames of the stream to its last one; None when the time is over."""
        follower = Follower(self._id, self._executions.open_stream)
        follower.start()
        try:
            while True:
                left = self._deadline - time.monotonic()
                if left <= 0 or not select.select([follower.fileno()], [], [], left)[0]:
                    yield None
                    return
                for frame in follower.take_frames():
                    if frame.event_type == FAILED:
                        raise frame.fault
                    if frame.event_type == END:
                        return
                    yield frame
        finally:
            follower.close()

    def _waits(self) -> bool:
        """Say the next thing, or end the conversation; return True where the test ends with a run that waits."""
        if self._prompts:
            self._progress.turn_over = False
            self._executions.send_text(self._id, self._prompts.pop(0))
            return False
        if self._test.expect.status == ex.WAITING:
            return True
        self._progress.turn_over = False
        self._executions.mark_done(self._id)
        return False

    def _answer(self, data: Mapping[str, Any]) -> None:
        """Answer a request as it was answered, or reject one that nobody has decided."""
        key, tool, arguments = str(data["approval_id"]), str(data.get("tool_name")), data.get("tool_args") or {}
        if key in self._told:
            return
        self._told.add(key)
        answer = next((each for each in self._answers if _fits(each, tool, arguments)), None)
        self.asked.append(AskedNow(tool, arguments, answer))
        if answer is None:
            self._approvals.reject(key, "no answer to this was recorded (kubiya test)")
            return
        self._answers.remove(answer)
        reason = answer.reason or "as it was recorded (kubiya test)"
        if answer.decision != APPROVED:
            self._approvals.reject(key, reason)
        elif answer.answer is not None:
            self._approvals.approve(key, answer=answer.answer)
        else:
            self._approvals.approve(key, comment=reason, arguments=answer.edited)


def _fits(answer: PersonsAnswer, tool: str, arguments: Mapping[str, Any]) -> bool:
    return answer.tool == tool and (answer.arguments or {}) == arguments
