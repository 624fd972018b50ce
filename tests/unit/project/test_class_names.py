"""A class name stands for one idea: it is used once in the packages, except for the names listed here."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from tests.unit.project.source import modules, statements

# Names that classes of these modules share on purpose, as each stands for the same idea.
SAME_IDEA: Final = {
    # The approvals of executions: as the control plane stores them, and as a workflow holds its own.
    "Approvals": {"kubiya_worker.server.store.approvals", "kubiya_worker.workflows.approvals"},
    # A job's run: as the worker creates it, and as the body of the request that does it.
    "JobExecution": {"kubiya_worker.protocol.calls", "kubiya_worker.server.edges.worker"},
    # An argument parser of a program of ours, that reports an error in one line.
    "Parser": {"kubiya_worker.process.main", "kubiya_worker.server.command_line"},
    # A skill of an agent: as a request stores it, and as the worker reads it.
    "Skill": {"kubiya_worker.server.edges.definitions", "kubiya_worker.tools.skill_configuration"},
}


def shared(trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Return the names of more than one class, with the modules that define them."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees.items():
        for node in statements(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(module)
    return {name: places for name, places in found.items() if len(places) > 1}


def test_a_class_name_stands_for_one_idea() -> None:
    assert {name: places for name, places in shared(modules()).items() if SAME_IDEA.get(name) != set(places)} == {}


def test_the_list_of_shared_names_is_current() -> None:
    assert SAME_IDEA.keys() - shared(modules()).keys() == set()


def test_a_second_class_of_a_name_is_found() -> None:
    trees = {"a": ast.parse("class Answer: ..."), "b": ast.parse("def f():\n    class Answer: ...\nclass Other: ...")}
    assert shared(trees) == {"Answer": ["a", "b"]}
