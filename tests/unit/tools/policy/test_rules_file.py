"""The file of rules: what it may look like, and that a mistake in it is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.policy import rules, rules_file

GOOD = """
rules:
  - name: no deletions
    scope_type: tool
    scope_value: shell
    argument_pattern: "rm "
    action: deny
  - {scope_type: risk_level, scope_value: critical}
"""


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "rules.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_rules_are_read_and_work(tmp_path: Path) -> None:
    found = rules_file.read(write(tmp_path, GOOD))
    shell = ToolSpec("shell", "", risk="high")
    assert rules.decide(shell, {"command": "rm -r x"}, found).reason == "denied by the rule no deletions"
    assert rules.decide(shell, {"command": "ls"}, found).kind == "allow"
    assert rules.decide(ToolSpec("x", "", risk="critical"), {}, found).kind == "ask"
    assert found[1]["name"] == "2 of rules.yaml"


@pytest.mark.parametrize(
    ("text", "count"),
    [("rules: []", 0), ("[]", 0), ('[{"scope_type": "all"}]', 1), ("rules:\n- {scope_type: all, enabled: false}", 1)],
)
def test_a_list_alone_and_a_file_without_rules_are_taken_too(tmp_path: Path, text: str, count: int) -> None:
    assert len(rules_file.read(write(tmp_path, text))) == count


def test_without_a_file_there_are_no_rules() -> None:
    assert rules_file.read(None) == rules_file.read("") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no list of rules"),
        ("rules: {}", "no list of rules"),
        ("rulez: []", "no list of rules"),
        ("rules: [", "not valid YAML"),
        (b"\xff\xfe", "not valid YAML"),
        ("- 7", "rule 1: it is not an object"),
        ("- {scope_type: all}\n- {name: b, scope_type: al}", "rule 2 (b): unknown scope type"),
        ("- {scope_type: all, action: block}", "rule 1: unknown action"),
        ("- {scope_type: tool}", "rule 1: no scope value"),
        ("- {scope_type: all, scope_valu: x}", "Did you mean 'scope_value'"),
        ("- {scope_type: all, id: x}", "unknown key 'id'"),
        ("- {scope_type: all, argument_pattern: '('}", "argument_pattern"),
        ("- {scope_type: all, priority: high}", "priority"),
        ("- {scope_type: all, enabled: maybe}", "enabled"),
        ("x" * (2 << 20), "no list of rules"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rules_file.read(write(tmp_path, text))
    assert said in caught.value.line() and "rules.yaml" in caught.value.line() and "\n" not in caught.value.line()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        rules_file.read(str(tmp_path / "none.yaml"))
