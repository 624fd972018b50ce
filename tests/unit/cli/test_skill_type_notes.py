"""`kubiya apply` says which types of skills look mistyped."""

from __future__ import annotations

import pytest

from kubiya_worker.cli.skill_type_notes import notes
from kubiya_worker.definition_text import documents
from kubiya_worker.tools import toolset

AGENT = """kind: Agent
name: ops
spec:
  skills:
    - name: a
      type: {}
"""


@pytest.mark.parametrize(
    ("kind", "meant"),
    [("shel", "shell"), ("filesystem", "file_system"), ("dockr", "docker"), ("agent_skill", "agent_skills")],
)
def test_a_type_that_resembles_a_known_one_is_named_with_its_place(kind: str, meant: str) -> None:
    (note,) = notes(list(documents("ops.yaml", AGENT.format(kind))), toolset.keys())
    assert note == f"ops.yaml:6: no skill of this version has the type {kind!r}. Did you mean {meant!r}?"


@pytest.mark.parametrize("kind", [*toolset.types(), "slack", "our_own_tools", "3"])
def test_known_types_and_those_of_others_are_no_reason(kind: str) -> None:
    assert notes(list(documents("ops.yaml", AGENT.format(kind))), toolset.keys()) == []


def test_a_skill_of_its_own_is_looked_at_too() -> None:
    text = "kind: Skill\nname: ops\nspec:\n  type: pyton\n"
    assert notes(list(documents("s.yaml", text)), toolset.keys()) == [
        "s.yaml:4: no skill of this version has the type 'pyton'. Did you mean 'python'?"
    ]


def test_a_key_that_runs_would_refuse_is_named_with_its_place() -> None:
    text = AGENT.format("shell") + "      configuration:\n        timeout: 5\n        allowed_comands: [df]\n"
    (note,) = notes(list(documents("ops.yaml", text)), toolset.keys())
    assert note.startswith("ops.yaml:9: skills of type 'shell' have no key 'allowed_comands' here")
    assert note.endswith("Did you mean 'allowed_commands'?")
    text = AGENT.format("of_another_worker") + "      configuration: {anything: 1}\n"
    assert notes(list(documents("ops.yaml", text)), toolset.keys()) == []
