from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools import toolset
from kubiya_worker.tools.toolset import build_toolset


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
        ("file_system", ["list_files", "read_file", "search_files", "save_file"]),
        ("file", ["list_files", "read_file", "search_files", "save_file"]),
        ("sleep", ["sleep"]),
    ],
)
def test_each_type_gives_its_tools(kind: str, tools: list[str], tmp_path: Path) -> None:
    assert names(tmp_path, skill(kind)) == tools


def test_only_enabled_skills_count(tmp_path: Path) -> None:
    assert names(tmp_path, skill("shell", enabled=False), skill("nonsense", enabled=False)) == []


def test_switches_of_the_file_skill_take_tools_away(tmp_path: Path) -> None:
    assert "save_file" not in names(tmp_path, skill("file_system", read_only=True))
    assert names(tmp_path, skill("file_system", enable_read_file=False, enable_search_files=False)) == [
        "list_files",
        "save_file",
    ]


def test_a_name_that_is_taken_gets_the_skills_name_before_it(tmp_path: Path) -> None:
    assert names(
        tmp_path, skill("shell"), skill("shell", "Ops / prod"), skill("bash", "Ops / prod"), skill("bash", "x" * 90)
    ) == ["shell", "ops_prod_shell", "ops_prod_2_shell", f"{'x' * 55}_shell"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (skill("shel"), "Did you mean 'shell'"),
        (skill("quantum"), "Types that this worker runs: agent_communication, ask_person, bash, "),
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
        (skill("file_system", base_dir="/does/not/exist"), "does not exist on this host"),
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
