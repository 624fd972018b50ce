"""Write docs/compatibility.md anew from the cases of tests/cases: who sends what, and what the worker does with it.

    python -m scripts.compatibility            writes the page
    python -m scripts.compatibility --check    exits with 1 when it is not current

A test fails when the page is not current.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "compatibility.md"
CASES: Final = ROOT / "tests" / "cases"
HEAD: Final = """# Compatibility

What model endpoints and MCP servers send in fact, and what the worker does with it. This page is written by
`python -m scripts.compatibility` from the cases in `tests/cases/`, which the tests play through a real stack.
Do not edit it. Settings for an endpoint that needs something else are in [models.md](models.md#compatibility-settings).
"""
MODELS_HEAD: Final = """
## Model endpoints

Each row is an answer of an OpenAI-compatible endpoint, byte for byte in `tests/cases/models/`. "Seen in" names a public
thread about it.
"""
PUBLISHED_HEAD: Final = """
## Published MCP servers

How published servers were tried, and what came of it (`tests/cases/mcp/published.json`).
"""
STATUSES: Final = {"completed": "the run is completed", "failed": "the run fails and says why"}


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD.rstrip(), models(), mcp(), published()]).rstrip() + "\n"


def models() -> str:
    """Return one table for each kind of answers."""
    folder = CASES / "models"
    files = [folder / name for name in ("cases.jsonl", "ours.jsonl")]
    cases = [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines() if line]
    about = kinds((folder / "README.md").read_text(encoding="utf-8"))
    parts = [MODELS_HEAD.rstrip()]
    for kind in sorted({str(case["kind"]) for case in cases}, key=lambda name: (name == "guard", name)):
        rows = [
            (f"`{case['id']}`", seen_in(str(case["source"])), str(case["why"]), outcome(case["expect"]))
            for case in cases
            if case["kind"] == kind
        ]
        text = about.get(kind) or "Answers that were always read right, and have to stay so."
        table = markdown(("case", "seen in", "what comes", "what the worker does"), rows)
        parts.append(f"\n### {kind.replace('_', ' ')}\n\n{text}\n\n{table}")
    return "\n".join(parts)


def kinds(readme: str) -> dict[str, str]:
    """Return what each kind is about, out of the cases' README: list entries that begin with names of kinds."""
    found: dict[str, str] = {}
    section = readme.partition("## What the kinds are about")[2]
    for entry in re.split(r"\n- ", section):
        names, colon, text = entry.partition(": ")
        if colon:
            said = " ".join(text.split())
            found |= dict.fromkeys(re.findall(r"`([a-z0-9_]+)`", names), said[:1].upper() + said[1:])
    return found


def seen_in(source: str) -> str:
    """Return the thread's name; `own` is none."""
    return "" if source == "own" else source


def outcome(expect: dict[str, Any]) -> str:
    """Return in words what has to come out."""
    said: list[str] = []
    status = expect.get("status")
    statuses = [status] if isinstance(status, str) else list(status or ())
    said += [" or ".join(STATUSES.get(word, word) for word in statuses)] if statuses else []
    if "requests" in expect:
        asked = expect["requests"]
        number = asked.get("max") if isinstance(asked, dict) else asked
        said.append(f"{'at most ' if isinstance(asked, dict) else ''}{number} request{'s' * (number != 1)}")
    if expect.get("tool_calls"):
        count = len(expect["tool_calls"])
        said.append("its call is run" if count == 1 else f"its {count} calls are run")
    if expect.get("calls") == 0:
        said.append("nothing is run")
    if expect.get("usage"):
        said.append(", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in expect["usage"].items()))
    for key, words in (("error_contains", "the error names"), ("notice", "the person is told")):
        if expect.get(key):
            given = expect[key] if isinstance(expect[key], list) else [expect[key]]
            shown = [f"`{word}`" for word in given if not str(word).startswith("ran:")]
            said += [f"{words} {' or '.join(shown)}"] if shown else []
    if expect.get("error_lacks"):
        said.append("no secret and no markup is shown")
    if expect.get("wait_s"):
        said.append(f"the next request comes after {expect['wait_s'][0]:g} to {expect['wait_s'][1]:g} s")
    if expect.get("sent_back"):
        fields = [name for part in expect["sent_back"].values() if isinstance(part, dict) for name in part]
        said.append(f"{', '.join(f'`{name}`' for name in fields)} goes back unchanged")
    return "; ".join(said)


def mcp() -> str:
    """Return the tables of the cases' README, under its own headings."""
    readme = (CASES / "mcp" / "README.md").read_text(encoding="utf-8")
    where = "The servers are in `tests/cases/mcp/`: `nasty.py` over stdio, `http.py` over HTTP."
    parts = [f"\n## MCP servers that misbehave\n\n{where}"]
    for section in re.split(r"\n## ", readme)[1:]:
        title, _, body = section.partition("\n")
        table = "\n".join(line for line in body.splitlines() if line.startswith("|"))
        if table:
            parts.append(f"\n### {title}\n\n{table}")
    return "\n".join(parts)


def published() -> str:
    """Return the table of published servers; its columns are the keys of the rows. Empty without the file."""
    path = CASES / "mcp" / "published.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = found.get("servers", []) if isinstance(found, dict) else found
    cells = [
        (f"`{row['package']}`", plain(row["version"]), row["registry"], plain(row["tools"]), tried(row)) for row in rows
    ]
    return f"{PUBLISHED_HEAD}\n{markdown(('server', 'version', 'from', 'tools', 'how it was tried'), cells)}"


def tried(row: Mapping[str, Any]) -> str:
    """Return how a published server was tried."""
    sdk = f" (installed with `{row['sdk']}`)" if row.get("sdk") else ""
    if "call" in row:
        return f"started, listed, `{row['call']}` called: it answers{sdk}{row.get('note', '')}"
    return f"started and listed; a call needs {row['needs']}{sdk}"


def plain(value: Any) -> str:
    """Return a value of JSON as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table."""
    lines = [head, ("---",) * len(head), *rows]
    cells = (tuple(cell.replace("|", "&#124;").replace("\n", " ") for cell in line) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
