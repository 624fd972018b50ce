"""Definition files: what is read, and that each fault names its file and line."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from kubiya_worker import definition_text
from kubiya_worker.cli.definition_files import Faults, explain, load
from kubiya_worker.errors import UsageError
from tests.support.rights import as_nobody, reachable

TWO = """\
# a comment
kind: Agent
name: one
spec:
  system_prompt: |
    Line one.
    Line two.
  skills:
    - type: shell
      configuration:
        allowed_commands: [df,
          du]
---
# nothing here
---
kind: Rule
name: two
spec: {scope_type: all}
"""
# Few lines that stand for more than a million values.
ALIASES = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{inner}'] * 10)}]\n" for inner, name in itertools.pairwise("abcdefg")
)


def written(folder: Path, text: str, name: str = "a.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_file_has_several_documents_and_each_value_its_line(tmp_path: Path) -> None:
    file = written(tmp_path, TWO)
    one, two = load([file])
    assert one.body["spec"]["skills"] == [{"type": "shell", "configuration": {"allowed_commands": ["df", "du"]}}]
    assert two.body == {"kind": "Rule", "name": "two", "spec": {"scope_type": "all"}}
    place = ("spec", "skills", 0, "configuration", "allowed_commands")
    assert [one.place(p) for p in [("kind",), place, (*place, 1), (*place, 1, "x")]] == [
        *(f"{file}:2", f"{file}:11", f"{file}:12", f"{file}:12"),
    ]
    assert two.place(("spec", "scope_type")) == f"{file}:18"


def test_a_folder_stands_for_its_files_and_json_is_yaml(tmp_path: Path) -> None:
    written(tmp_path, TWO, "b/one.yml")
    written(tmp_path, '{"kind": "Agent", "name": "j"}', "a.json")
    written(tmp_path, "no document", "notes.txt")
    assert [each.body["name"] for each in load([str(tmp_path)])] == ["j", "one", "two"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param("kind: [Agent", 1, "this is not YAML", id="broken"),
        pytest.param("kind: Agent\nname: a\nspec:\n  a: 1\n  a: 2\n", 5, "'a' is there twice, also in line 4", id="2"),
        pytest.param("- a\n- b\n", 1, "is an object with kind, name and spec", id="a list"),
        pytest.param("kind: Agent\nname: a\nspecs: {}\n", 3, "unknown field 'specs'", id="another key"),
        pytest.param("kind: Agent\nspec: {}\n", 1, "needs a name", id="no name"),
        pytest.param("kind: Agent\nname: 5\n", 2, "needs a name, which is a text", id="a number as name"),
        pytest.param("kind: Agent\nname: a\nspec: []\n", 3, "spec is not an object", id="spec"),
        pytest.param("kind: Agent\nname: a\nspec:\n  x: 2026-11-28\n", 4, "reads this as a date", id="a date"),
        pytest.param("kind: Agent\nname: a\nspec:\n  x: 2026-13-48\n", 1, "a value cannot be read", id="no date"),
        pytest.param("kind: Agent\nname: a\nspec:\n  8080: x\n", 3, "the key 8080 is not a text", id="a number as key"),
        pytest.param("kind: Agent\nname: a\nspec: !!python/name:os.system\n", 3, "this is not YAML", id="code"),
        pytest.param(ALIASES, 1, "more than 100,000 values", id="aliases of aliases"),
        pytest.param("a: &a [*a]\n", 1, "", id="an alias of itself"),
    ],
)
def test_what_is_no_document_is_refused_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(Faults) as caught:
        load([file])
    told = caught.value.line()
    assert told.startswith("Nothing was changed, because of 1 fault:") and f"{file}:{line}: " in told and said in told


def test_faults_of_several_files_are_told_at_once(tmp_path: Path) -> None:
    files = [written(tmp_path, "kind: Agent\n", "a.yaml"), written(tmp_path, "name: b\n", "b.yaml")]
    with pytest.raises(Faults) as caught:
        load(files)
    assert len(caught.value.line().splitlines()) == 3


@pytest.mark.parametrize("name", ["nowhere.yaml", "empty", "void.yaml"])
def test_what_cannot_be_read_is_a_wrong_command_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "void.yaml").write_text("# nothing\n")
    with pytest.raises(UsageError, match=name):
        load([str(tmp_path / name)])


def test_the_servers_faults_get_their_file_and_line(tmp_path: Path) -> None:
    file = written(tmp_path, TWO)
    documents = load([file])
    problems = [
        {"loc": ["body", "documents", 0, "spec", "skills", 0, "type"], "msg": "unknown"},
        {"loc": ["body", "documents", 1, "spec", "scope_value"], "msg": "Field required"},
        {"loc": ["body", "documents", 1], "msg": "nothing of the kind"},
    ]
    found = explain(problems, documents)
    assert found is not None
    assert found.line().splitlines()[1:] == [
        f"  {file}:9: spec.skills.0.type: unknown",
        f"  {file}:18: spec.scope_value: Field required",
        f"  {file}:16: nothing of the kind",
    ]
    assert explain([{"loc": ["body", "source"], "msg": "x"}], documents) is None
    assert explain([{"loc": ["body", "documents", 7], "msg": "x"}], documents) is None


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    spec = {"system_prompt": "Line one.\nLine two.\n", "x": ["yes", "5", 5, True, None, {"a": "ä: #"}], "e": {}}
    documents = [{"kind": "Agent", "name": "on", "spec": spec}, {"kind": "Queue", "name": "q", "spec": {}}]
    text = definition_text.dump(documents)
    assert "system_prompt: |\n" in text
    found = load([written(tmp_path, text)])
    assert [found[0].body, found[1].body] == [documents[0], {"kind": "Queue", "name": "q"}]


def test_what_this_user_may_not_read_is_told_and_not_left_out(tmp_path: Path) -> None:
    name = written(tmp_path, TWO)
    hidden = tmp_path / "more"
    hidden.mkdir()
    written(hidden, TWO)
    hidden.chmod(0)
    with as_nobody(), pytest.raises(UsageError, match=r"a\.yaml cannot be read: Permission denied"):
        load([name])
    tmp_path.chmod(0o755)
    with (
        reachable(tmp_path),
        as_nobody(),
        pytest.raises(UsageError, match=r"The folder .* cannot be read: Permission denied"),
    ):
        load([str(tmp_path)])
    hidden.chmod(0o700)
    assert len(load([str(tmp_path)])) == 4
