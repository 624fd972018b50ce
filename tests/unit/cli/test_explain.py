"""`kubiya explain` says what each field of a definition is for, without a control plane."""

from __future__ import annotations

import click
import pytest

from kubiya_worker.cli import completion, explain, explained
from kubiya_worker.cli.terminal import Paint
from kubiya_worker.errors import UsageError
from kubiya_worker.server.edges import manifests
from kubiya_worker.tools.toolset import MODULES
from tests.support.commands import Commands


def test_kinds_fields_and_fields_of_fields_are_explained(kubiya: Commands) -> None:
    listed = kubiya("explain").out
    assert all(f"  {kind.lower()}\n" in listed for kind in manifests.KINDS)
    agent = kubiya("explain", "agent").out
    assert "  system_prompt (text)\n" in agent and "kubiya explain agent.skills" in agent
    one = kubiya("explain", "Agents.LLM_config.temperature").out
    assert one.startswith("agent.llm_config.temperature (number)\nHow much chance")
    hook = kubiya("explain", "hook.proof", "-o", "json").json
    assert (hook["path"], hook["type"], hook["required"]) == ("hook.proof", "object", True)
    assert hook["fields"][0]["path"] == "hook.proof.secret"
    assert "the key" not in kubiya("explain", "rule", "-o", "table").out.splitlines()[0]


def test_the_keys_of_each_type_of_skill_are_explained() -> None:
    for path in ("skill.configuration", "agent.skills.configuration"):
        assert [each.name for each in explained.at(path).fields] == [module.TYPES[0] for module in MODULES]
    key = explained.at("team.skills.configuration.shell.allowed_commands")
    assert key.about.startswith("Programs that may be run")


@pytest.mark.parametrize(
    ("path", "says", "remedy"),
    [
        ("agnt", "There is no kind 'agnt'", "Did you mean agent?"),
        ("agent.temp", "agent has no 'temp'", "List what there is: kubiya explain agent"),
        ("agent.llm_config.temp", "agent.llm_config has no 'temp'", "Did you mean agent.llm_config.temperature?"),
        ("agent.model_id.x", "agent.model_id has no fields", "Read what it is for: kubiya explain agent.model_id"),
    ],
)
def test_a_path_that_leads_nowhere_says_the_nearest(path: str, says: str, remedy: str) -> None:
    with pytest.raises(UsageError) as refused:
        explained.at(path)
    assert (str(refused.value), refused.value.remedy) == (says, remedy)


def test_lines_keep_to_the_width() -> None:
    told = explain.lines(explained.at("rule"), Paint(), 40)
    assert max(map(len, told)) <= 50 and len(told) > 20  # a name with its type is not broken


def test_a_path_is_completed_by_one_name_at_a_time() -> None:
    def offered(text: str) -> list[str]:
        command = click.Context(explain.explain)
        return [each.value for each in completion.definition_fields(command, explain.explain.params[0], text)]

    assert offered("ag") == ["agent"]
    assert offered("agent.llm_config.t") == [
        f"agent.llm_config.{n}" for n in ("temperature", "thinking", "timeout", "top_p", "top_k")
    ]
    assert offered("nothing.") == []
