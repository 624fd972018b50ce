"""An agent's skills become the set of its tools."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools import toolset
from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.toolset import assemble, build_toolset

FILE_TOOLS = [
    *("list_files", "read_file", "search_files", "save_file"),
    *("replace_in_file", "append_to_file", "insert_in_file", "move_file", "delete_file"),
]
CASES = Path(__file__).parents[2] / "cases" / "skills"
VARIANTS: list[dict[str, Any]] = json.loads((CASES / "variants.json").read_text())
STORED = frozenset((CASES / "stored_keys.txt").read_text().split())


def skill(kind: str, name: str = "mine", enabled: Any = True, **configuration: Any) -> dict[str, Any]:
    return {"id": "1", "name": name, "type": kind, "enabled": enabled, "configuration": configuration}


def names(tmp_path: Path, *skills: dict[str, Any]) -> list[str]:
    return [spec.name for spec in build_toolset(skills, workspace=tmp_path).specs]


@pytest.mark.parametrize(
    ("kind", "tools"),
    [
        ("shell", ["shell"]),
        ("bash", ["shell"]),
        ("Shell", ["shell"]),
        ("file_system", FILE_TOOLS),
        ("file", FILE_TOOLS),
        ("sleep", ["sleep"]),
    ],
)
def test_each_type_gives_its_tools(kind: str, tools: list[str], tmp_path: Path) -> None:
    assert names(tmp_path, skill(kind)) == tools


def test_only_enabled_skills_count(tmp_path: Path) -> None:
    assert names(tmp_path, skill("shell", enabled=False), skill("nonsense", enabled=False)) == []


def test_switches_of_the_file_skill_take_tools_away(tmp_path: Path) -> None:
    assert "save_file" not in names(tmp_path, skill("file_system", read_only=True))
    some = names(tmp_path, skill("file_system", enable_read_file=False, enable_search_files=False))
    assert some == [name for name in FILE_TOOLS if name not in ("read_file", "search_files")]


def test_a_name_that_is_taken_gets_the_skills_name_before_it(tmp_path: Path) -> None:
    assert names(
        tmp_path, skill("shell"), skill("shell", "Ops / prod"), skill("bash", "Ops / prod"), skill("bash", "x" * 90)
    ) == ["shell", "ops_prod_shell", "ops_prod_2_shell", f"{'x' * 55}_shell"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (skill("shel"), "Did you mean 'shell'"),
        (skill("quantum"), "Types that this worker runs: agent_communication, agent_skills, ask_person, bash, "),
        (skill("slack"), "is not one of this worker's; remove it, or attach an MCP server"),
        (skill("shell", enabled="yes"), "`enabled` is 'yes'"),
        (
            {"name": "x", "type": "shell", "configuration": []} | {"configuration": [1]},
            "`configuration` is not an object",
        ),
        (skill("shell", allowed_comands=["ls"]), "Did you mean `allowed_commands`"),
        (skill("shell", allowed_commands="ls; id"), "`allowed_commands` is 'ls; id'"),
        (skill("shell", allowed_commands=["git status"]), "`allowed_commands`"),
        (skill("shell", allowed_commands=[1]), "a list of strings"),
        (skill("shell", blocked_commands=["*"]), "`blocked_commands`"),
        (skill("shell", timeout=601), "from 1 to 600"),
        (skill("shell", timeout="30"), "from 1 to 600"),
        (skill("shell", timeout=True), "from 1 to 600"),
        (skill("shell", working_directory=5), "a string"),
        (skill("file_system", read_only="yes"), "true or false"),
        (skill("file_system", base_dir="/does/not/exist", read_only=True), "does not exist on this host"),
        (skill("file_system", max_file_size="ten"), "10MB"),
        (skill("file_system", max_file_size=0), "10MB"),
        (skill("sleep", seconds=5), "unknown configuration key `seconds`"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(broken: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_toolset([broken], workspace=tmp_path)
    assert message in caught.value.line()
    assert repr(broken["name"]) in caught.value.line()


def test_a_skill_that_cannot_start_is_left_out_and_named(tmp_path: Path) -> None:
    skills = [skill("slack", "team chat"), skill("shell"), skill("shell", "ops", allowed_comands=["ls"])]
    tools, missing = assemble(skills, workspace=tmp_path)
    assert [spec.name for spec in tools.specs] == ["shell"]
    assert [(each.name, each.type) for each in missing] == [("team chat", "slack"), ("ops", "shell")]
    assert "MCP server" in missing[0].line() and "`allowed_commands`" in missing[1].line()


@pytest.mark.parametrize("stored", [False, True], ids=["as defined", "as stored"])
@pytest.mark.parametrize("case", VARIANTS, ids=lambda case: f"{case['definition']}-{case['variant'] or 'default'}")
def test_each_variant_that_the_published_server_hands_out(case: dict[str, Any], stored: bool, tmp_path: Path) -> None:
    """A server that stores a skill keeps only some of its keys (docs/protocol.md#a8)."""
    configuration = case["configuration"]
    if stored:
        configuration = {key: value for key, value in configuration.items() if key in STORED}
    tools, missing = assemble([skill(case["definition"], **configuration)], workspace=tmp_path)
    offered = [spec.name for spec in tools.specs]
    expected = case["tools_when_stored"] if stored and "tools_when_stored" in case else case["tools"]
    if expected is None:
        assert offered == [] and [each.type for each in missing] == [case["definition"]]
    else:
        assert missing == []
        assert offered == expected


def test_no_list_of_commands_means_every_command_unless_nobody_chose_the_skill(tmp_path: Path) -> None:
    def description(**configuration: Any) -> str:
        return build_toolset([skill("shell", **configuration)], workspace=tmp_path).specs[0].description

    assert "Any command may be used." in description(timeout=300)
    assert "Any command may be used." in description(timeout=60)
    assert "Commands that may be used: cat, echo," in description()
    assert "Commands that may be used: ls." in description(timeout=300, allowed_commands=["ls"])


def test_a_base_folder_that_is_not_on_the_host_is_made_inside_the_workspace(tmp_path: Path) -> None:
    tool = build_toolset([skill("file_system", base_dir="/sandbox-of-nobody")], workspace=tmp_path).get("save_file")
    assert tool is not None
    result = asyncio.run(tool.run({"path": "a", "content": "x"}, ToolContext("e", "t", tmp_path)))
    assert result.error is None and (tmp_path / "sandbox-of-nobody" / "a").read_text() == "x"


def test_null_is_the_default(tmp_path: Path) -> None:
    assert names(tmp_path, skill("shell", timeout=None, allowed_commands=None, shell_binary=None)) == ["shell"]
    assert names(tmp_path, {"name": "shell", "type": None, "configuration": None}) == ["shell"]


def test_the_risk_follows_what_may_be_run(tmp_path: Path) -> None:
    def risk(**configuration: Any) -> str:
        return build_toolset([skill("shell", **configuration)], workspace=tmp_path).specs[0].risk

    assert (risk(), risk(allowed_commands=["ls", "rm"]), risk(allowed_commands=["*"])) == ("medium", "high", "critical")


def test_names_fit_what_providers_take(tmp_path: Path) -> None:
    for name in names(tmp_path, *(skill("file_system", "ünï" * 40) for _ in range(3))):
        assert len(name) <= 64 and name.isascii() and name.replace("_", "").replace("-", "").isalnum()


def test_a_skill_says_what_the_model_should_know(tmp_path: Path) -> None:
    spec = build_toolset(
        [skill("shell", usage_guidelines="Ask before rm.", blocked_commands=["cat"])], workspace=tmp_path
    ).specs[0]
    assert "Ask before rm." in spec.description and "Not these: cat" in spec.description


def test_the_reference_page_is_current() -> None:
    """Regenerate with scripts/docs."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "skills.md"
    assert toolset.reference() in page.read_text()


def test_the_guide_names_every_skill() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "skills.md").read_text()
    for module in toolset.MODULES:
        assert f"`{module.TYPES[0]}`" in guide
