"""This module says what a file for `kubiya test` holds: a document of the kind Test, with one recorded run.

The same models read the file, refuse what does not fit with its line, and make the JSON schema for editors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from kubiya_worker.cli import definition_files
from kubiya_worker.definition_text import PlacedDocument
from kubiya_worker.server.edges.base import Filled, Json, Strict, one_of
from kubiya_worker.server.edges.manifests import Document

KIND: Final = "Test"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"
OUTCOMES: Final = ("success", "failed", "denied", "expired")
STATUSES: Final = ("completed", "failed", "cancelled", "interrupted", "waiting_for_input")


class ScriptedCall(Strict):
    """A tool call of the scripted model. Arguments that are no JSON object are kept as text."""

    name: Filled
    arguments: Json | str | None = None


class ScriptedAnswer(Strict):
    text: str | None = None
    tools: list[ScriptedCall] | None = None
    finish_reason: str | None = None


class ScriptedRun(Strict):
    """The answers of one agent's model: those of the run itself, or of a member that was given `task`."""

    agent: Filled
    task: str | None = None
    steps: list[ScriptedAnswer]


class PlayedCall(Strict):
    """A call and what the tool returned; of the same call that comes again, each has its own entry."""

    agent: Filled
    tool: Filled
    arguments: Json | None = None
    output: str | None = None
    error: str | None = None


class PersonsAnswer(Strict):
    """A decision of a person about a call: `edited` are changed arguments, `answer` the text to a question."""

    tool: Filled
    arguments: Json | None = None
    decision: Annotated[str, one_of(APPROVED, REJECTED)]
    edited: Json | None = None
    answer: str | None = None
    reason: str | None = None


class ExpectedCall(Strict):
    """A call that is to be made. Arguments that are not named may be anything; without `outcome` it may end anyhow."""

    agent: Filled
    tool: Filled
    arguments: Json | None = None
    outcome: Annotated[str, one_of(*OUTCOMES)] | None = None


class Expectations(Strict):
    """They have to hold. Calls are compared in their order, for each agent; `more_calls` allows more between them."""

    status: Annotated[str, one_of(*STATUSES)] | None = None
    answer_contains: list[Filled] | None = None
    calls: list[ExpectedCall] | None = None
    more_calls: bool | None = None


class RecordedFacts(Strict):
    """These facts tell readers where the test comes from."""

    execution: str | None = None
    at: str | None = None
    model: str | None = None
    answer: str | None = None


class RunTest(Strict):
    """One recorded run. `definitions` are what it ran with; `prompts` what the person said, in order."""

    agent: Filled | None = None
    team: Filled | None = None
    prompts: Annotated[list[Filled], Field(min_length=1)]
    system_prompt: str | None = None
    definitions: list[Document]
    model: list[ScriptedRun]
    tools: list[PlayedCall] | None = None
    answers: list[PersonsAnswer] | None = None
    expect: Expectations
    recorded: RecordedFacts | None = None

    @property
    def kind(self) -> Literal["agent", "team"]:
        return "team" if self.team else "agent"

    @property
    def entity(self) -> str:
        return str(self.team or self.agent)


@dataclass(frozen=True)
class NamedTest:
    """A test with its name and the file that it stands in."""

    name: str
    file: str
    test: RunTest


def load(names: Sequence[str]) -> list[NamedTest]:
    """Read the tests of files and folders.

    Raises Faults with file and line of each fault, UsageError for what cannot be read.
    """
    tests: list[NamedTest] = []
    faults: list[str] = []
    for placed in definition_files.load(names):
        body = placed.body
        if body["kind"] != KIND:
            faults.append(f"{placed.place(['kind'])}: a test has the kind {KIND}, and this is a {body['kind']}")
            continue
        try:
            test = RunTest.model_validate(body.get("spec") or {})
        except ValidationError as error:
            faults += [_fault(placed, each) for each in error.errors()]
            continue
        if bool(test.agent) == bool(test.team):
            faults.append(
                f"{placed.place(['spec'])}: a test is of one agent or one team: set agent or team, to its name"
            )
        elif not any(each.name == test.entity and each.kind.lower() == test.kind for each in test.definitions):
            faults.append(f"{placed.place(['spec', test.kind])}: definitions has no {test.kind} {test.entity!r}")
        else:
            tests.append(NamedTest(str(body["name"]), placed.file, test))
    if faults:
        raise definition_files.Faults(faults)
    return tests


def _fault(placed: PlacedDocument, problem: Any) -> str:
    path = ["spec", *problem["loc"]]
    return f"{placed.place(path)}: {'.'.join(map(str, path))}: {problem['msg']}"


def schema() -> dict[str, Any]:
    """Return the JSON schema of a test, for editors."""
    spec = RunTest.model_json_schema()
    definitions = spec.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recorded run as a test",
        "type": "object",
        "properties": {"kind": {"const": KIND}, "name": {"type": "string", "minLength": 1}, "spec": spec},
        "required": ["kind", "name", "spec"],
        "additionalProperties": False,
        "$defs": definitions,
    }
