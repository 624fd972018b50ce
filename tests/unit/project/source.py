"""The source files of the packages that are installed, as modules with their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
PACKAGES: Final = ("kubiya_worker", "supervisor")


@cache
def modules() -> dict[str, ast.Module]:
    """Return the tree of each module by its dotted name; a package is named without `__init__`."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {_dotted(path): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in files}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield all statements of a module at any depth, such as classes and imports: a tenth of what `ast.walk` does."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        found = getattr(tree, block, None)
        for node in found if isinstance(found, list) else ():  # of a lambda and of `a if b else c` it is an expression
            if isinstance(node, ast.stmt):
                yield node
            yield from statements(node)
