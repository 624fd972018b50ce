"""This module finds the tests that depend on the control plane's database: from imports and fixtures, not from a list.

A test depends on it when its module, or the module of a fixture that it uses, imports `tests.support.databases`, itself
or through other modules of the tests. Nothing else places a database where KUBIYA_TEST_DATABASE says.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PLACES: Final = "tests.support.databases"


@cache
def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


@cache
def imported(module: str) -> frozenset[str]:
    """Return the modules of the tests that a module of the tests imports, wherever the import stands in it."""
    path, found = _file(module), set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path is not None else ():
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return frozenset(name for name in found if name.startswith("tests.") and _file(name) is not None)


@cache
def reach(module: str) -> frozenset[str]:
    """Return a module of the tests with all that it imports, itself or through others."""
    found, left = {module}, [module]
    while left:
        new = imported(left.pop()) - found
        found |= new
        left += new
    return frozenset(found)


def depends(item: Any) -> bool:
    """Return whether a collected test depends on the database."""
    modules = {item.module.__name__}
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        modules.update(each.func.__module__ for each in definitions)
    return any(PLACES in reach(module) for module in modules if module.startswith("tests."))
