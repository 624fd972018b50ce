"""An error says what to do: each place that makes one gives a remedy, except for those listed here."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from tests.unit.project.source import modules, statements

ROOT: Final = "WorkerError"
# What a tool says is for the model, and becomes a part of a sentence; only its configuration is a person's.
TOOLS: Final = "kubiya_worker.tools"
# Module and class of errors that have no remedy of their own, and how many.
WITHOUT: Final = {
    ("kubiya_worker.control_plane.errors", "Refused"): 1,  # the control plane's own words say what is wrong with it
    ("kubiya_worker.launch.container_start", "WorkerError"): 1,  # its text is the worker's last line, with the remedy
    # Each line of the text is a fault with its file and line.
    ("kubiya_worker.cli.definition_files", "Faults"): 2,
    ("kubiya_worker.cli.run_test_file", "Faults"): 1,
    ("kubiya_worker.cli.secret_places", "Faults"): 1,
    ("kubiya_worker.cli.skill_folders", "Faults"): 1,
}


def name_of(node: ast.expr) -> str:
    """Return the last name of `a.B`, or the name itself."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def gives_remedy(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    remedy = given.get("remedy")
    return None in given or (remedy is not None and not (isinstance(remedy, ast.Constant) and not remedy.value))


def errors(trees: Mapping[str, ast.Module]) -> dict[str, ast.ClassDef | None]:
    """Return the classes of errors for people by their names, at any depth below WorkerError."""
    classes = [node for tree in trees.values() for node in statements(tree) if isinstance(node, ast.ClassDef)]
    found: dict[str, ast.ClassDef | None] = {ROOT: None}
    while more := [each for each in classes if each.name not in found and found.keys() & set(map(name_of, each.bases))]:
        found |= {each.name: each for each in more}
    return found


def brings_its_own(definition: ast.ClassDef | None) -> bool:
    """Return whether the class itself has the remedy of all its errors."""
    own = [each for each in definition.body if getattr(each, "name", "") == "__init__"] if definition else []
    calls = [node for each in own for node in ast.walk(each) if isinstance(node, ast.Call)]
    takes = any(argument.arg == "remedy" for each in own for argument in each.args.kwonlyargs)  # type: ignore[attr-defined]
    return not takes and any(map(gives_remedy, calls))


def silent(trees: Mapping[str, ast.Module]) -> Iterator[tuple[str, str, int]]:
    """Yield (module, class, line) of each error that is made without a remedy."""
    classes = errors(trees)
    for module, tree in trees.items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = name_of(call.func)
            if name not in classes or gives_remedy(call) or brings_its_own(classes[name]):
                continue
            if name == "ConfigurationError" or not module.startswith(TOOLS):
                yield module, name, call.lineno


def test_each_error_says_what_to_do() -> None:
    places = list(silent(modules()))
    counts = Counter((module, name) for module, name, _ in places)
    assert counts == Counter(WITHOUT), [place for place in places if counts[place[:2]] != WITHOUT.get(place[:2])]


SOURCE: Final = """
class Own(ConfigurationError):
    def __init__(self): super().__init__("text", remedy="do this")
class Taken(WorkerError):
    def __init__(self, text, *, remedy=""): super().__init__(text, remedy=remedy)
class ConfigurationError(WorkerError): ...
class Other(Exception): ...
WorkerError("text")
errors.ConfigurationError("text", remedy="")
Taken("text")
Own(), Other("text"), Taken("text", remedy="do this"), ConfigurationError("text", **more)
"""


def test_an_error_without_a_remedy_is_found() -> None:
    trees = {"a": ast.parse(SOURCE)}
    found = [(name, line) for _, name, line in silent(trees)]
    assert found == [("WorkerError", 8), ("ConfigurationError", 9), ("Taken", 10)]
    assert [name for _, name, _ in silent({f"{TOOLS}.a": trees["a"]})] == ["ConfigurationError"]
