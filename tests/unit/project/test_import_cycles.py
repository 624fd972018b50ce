"""Imports point one way: no module imports itself through others, wherever the import stands.

Imports inside of functions and those that only a type checker reads count too: two modules that need each other are
one module, or hold a third one. `.importlinter` says which packages may import which.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import kubiya_worker
from tests.unit.project.source import modules, statements


def imports(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Return for each module those of `trees` that it imports."""
    found: dict[str, set[str]] = {module: set() for module in trees}
    for module, tree in trees.items():
        for node in statements(tree):
            if isinstance(node, ast.Import):
                found[module].update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found[module].update(names if names <= trees.keys() else {*names, node.module})
    return {module: (named & trees.keys()) - {module} for module, named in found.items()}


def test_no_module_imports_itself_through_others() -> None:
    TopologicalSorter(imports(modules())).prepare()


def test_no_module_of_the_page_imports_itself_through_others() -> None:
    files = list((Path(kubiya_worker.__file__).parent / "server/dashboard").glob("*.js"))
    found = {file.name: set(re.findall(r'from "\./([\w.]+)"', file.read_text(encoding="utf-8"))) for file in files}
    assert len(found) > 50 and set().union(*found.values()) <= found.keys()
    TopologicalSorter(found).prepare()


@pytest.mark.parametrize(
    "back",
    ["from package import a", "def f():\n    import package.a", "if TYPE_CHECKING:\n    from package.a import Thing"],
)
def test_a_cycle_is_found_wherever_the_import_stands(back: str) -> None:
    trees = {"package.a": ast.parse("from package.b import thing"), "package.b": ast.parse(back)}
    with pytest.raises(CycleError):
        TopologicalSorter(imports(trees)).prepare()
