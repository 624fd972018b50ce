"""Every line in which an error ends, and every event of the log that warns: found in the code itself."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from kubiya_worker import errors

PACKAGE: Final = Path(__file__).parents[1] / "kubiya_worker"
ELSEWHERE: Final = ("tools",)  # what a tool says is for the model, but for what its configuration has wrong
VAGUE: Final = {"error", "strerror", "reason", "detail", "why", "said", "text", "message", "last", "e", "line", "what"}
LOUD: Final = ("warning", "error", "critical", "exception")


@dataclass(frozen=True)
class Module:
    """The classes and the calls of a module, at any depth; `path` begins behind the package."""

    path: Path
    classes: tuple[ast.ClassDef, ...]
    calls: tuple[ast.Call, ...]
    constants: dict[str, ast.expr]  # the module's own names and their values

    def meant(self, node: ast.expr) -> ast.expr:
        """Return the value of a constant of this module in place of its name."""
        return self.constants.get(node.id, node) if isinstance(node, ast.Name) else node


@dataclass(frozen=True, order=True)
class Line:
    """`text` and `remedy` with `…` and names for what differs; `code` is the exit code."""

    code: int
    text: str
    remedy: str


def lines() -> list[Line]:
    """Return the lines in order of exit code and text, each once."""
    codes = _codes()
    found = set()
    for module in _modules():
        elsewhere = module.path.parts[0] in ELSEWHERE
        for call in module.calls:
            name = _name(call.func)
            if name not in codes or not call.args or (elsewhere and name != "ConfigurationError"):
                continue
            text = _text(call.args[0])
            remedy = next((_text(module.meant(k.value)) for k in call.keywords if k.arg == "remedy"), "")
            remedy = remedy if re.search(r"[a-z]", remedy) or not remedy else "…"
            if re.search(r"\w{3}", re.sub(r"[A-Z_]{2,}|…", "", text)):  # more than what is put in
                found.add(Line(codes[name], text, remedy))
    return sorted(found)


def log_events() -> set[str]:
    """Names of the events that are logged as a warning or worse, by the worker."""
    found = set()
    for module in _modules():
        if module.path.parts[0] == "server":
            continue
        for call in module.calls:
            if isinstance(call.func, ast.Attribute) and call.func.attr in LOUD and call.args:
                name = re.match(r"[a-z_]+\.[a-z_]+", _text(call.args[0]))
                if name:
                    found.add(name[0])
    return found


def reference() -> str:
    """The lines as Markdown, a table for each exit code."""
    parts: list[str] = []
    code = None
    for line in lines():
        if line.code != code:
            code = line.code
            parts += [f"\n## Exit code {code}\n", "| line | then |", "|---|---|"]
        parts.append(f"| {_cell(line.text)} | {_cell(line.remedy)} |")
    return "\n".join(parts).lstrip("\n") + "\n"


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return f"`{text}`" if text and "`" not in text else text


def _codes() -> dict[str, int]:
    """Exit codes by the name of the class: its own, or that of the class it derives from."""
    found: dict[str, tuple[list[str], int | None]] = {}
    for module in _modules():
        if module.path.parts[0] not in ELSEWHERE:
            for node in module.classes:
                found[node.name] = ([_name(base) for base in node.bases], _own_code(node))
    known: dict[str, int] = {"WorkerError": errors.WorkerError.exit_code}
    while True:  # until no class is added
        more = {
            name: own if own is not None else known[base]
            for name, (bases, own) in found.items()
            for base in bases
            if base in known and name not in known
        }
        if not more:
            return known
        known |= more


def _own_code(node: ast.ClassDef) -> int | None:
    for each in node.body:
        if isinstance(each, ast.Assign) and _name(each.targets[0]) == "exit_code":
            value = each.value
            return value.value if isinstance(value, ast.Constant) else int(getattr(errors, _name(value)))  # type: ignore[return-value]
    return None


@cache
def _modules() -> tuple[Module, ...]:
    return tuple(_module(path) for path in sorted(PACKAGE.rglob("*.py")))


def _module(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    classes = tuple(node for node in nodes if isinstance(node, ast.ClassDef))
    calls = tuple(node for node in nodes if isinstance(node, ast.Call))
    constants = {
        _name(node.target): node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and node.value is not None
    }
    return Module(path.relative_to(PACKAGE), classes, calls, constants)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.expr) -> str:
    """A string as far as the code says it; what is put in by its name, or as `…`."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(v.value) if isinstance(v, ast.FormattedValue) else _text(v) for v in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body, orelse=ast.Constant(value="")):
            return _text(body)
        case ast.Name() | ast.Attribute():
            name = _name(node)
            return "…" if name in VAGUE else name.upper()
        case _:
            return "…"
