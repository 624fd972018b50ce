"""These tests check of the supervisor what the contracts of .importlinter cannot say."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SUPERVISOR = ROOT / "supervisor"
FILES = sorted(SUPERVISOR.rglob("*.py"))
MODULES = {f"kubiya_worker._supervisor.{path.stem}" for path in SUPERVISOR.glob("*.py")} - {
    "kubiya_worker._supervisor.__init__"
}


def contract(name: str, key: str) -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return set(parser[f"importlinter:contract:{name}"][key].split())


@pytest.mark.parametrize(("name", "key"), [("supervised", "protected_modules"), ("ground", "forbidden_modules")])
def test_no_module_of_the_supervisor_is_left_out(name: str, key: str) -> None:
    assert not MODULES - contract(name, key)


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_the_supervisor_imports_nothing_of_the_package_around_it(path: Path) -> None:
    """It has to work under another name, too: its own modules are imported relatively."""
    depth = len(path.relative_to(SUPERVISOR).parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not [name.name for name in node.names if name.name.startswith(("kubiya_worker", "supervisor"))]
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= depth and not (node.module or "").startswith(("kubiya_worker", "supervisor"))


def test_the_link_leads_to_the_folder_at_the_top() -> None:
    """An absolute link would be right on one machine only."""
    assert (ROOT / "kubiya_worker" / "_supervisor").readlink() == Path("..", "supervisor")
