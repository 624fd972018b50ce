"""Check that docstrings begin with a sentence, and that every module has a docstring.

    .venv/bin/python scripts/plain_words.py                 print each fragment; end with 1 where a folder has too many
    .venv/bin/python scripts/plain_words.py kubiya_worker   only what is below these paths
    .venv/bin/python scripts/plain_words.py --lower         write the present numbers as the new ceilings

A first line is a sentence with a subject ("The guard ends what is left.") or an imperative ("Return the exit code.").
A line that begins like half a sentence ("Whether it is due", "Of the last run") is a fragment. `plain_words.json` has
the most fragments that each folder may hold. A ceiling only falls: `--lower` never writes a larger number.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CEILINGS = ROOT / "scripts" / "plain_words.json"
FOLDERS = ("kubiya_worker", "supervisor", "scripts", "tests")
SKIPPED = ("tests/cases",)  # recorded input of tests, kept as it was received

# These words begin a question or a clause, never an imperative; as the subject of a sentence they make riddles.
CLAUSE_WORDS = """
    what whatever whether who whoever whom whomever whose which whichever how however why that
    and but or nor so than not its of none true false empty
"""
# A clause or a phrase that begins so is whole only with a main clause after a comma: "In an outage, the worker waits."
OPENING_WORDS = """
    when whenever where wherever while if unless until till because since although though once as
    for from by in into at on onto to with without within before after between among through during under over
    behind beside besides beyond against about above below except
"""
# These participles begin a line that does not say who acts. Those that are imperatives too (put, set, read) are absent.
PARTICIPLES = """
    asked called chosen done given gone held kept known made meant named needed said seen sent served shown started
    stopped taken thrown told used wanted written
"""
NEVER = frozenset((CLAUSE_WORDS + PARTICIPLES).split())
OPENING = frozenset(OPENING_WORDS.split())
VERB = re.compile(
    r"\b(is|are|was|were|be|has|have|had|do|does|did|can|cannot|could|may|might|must|shall|should|will|would"
    r"|gets?|goes|gives?|takes?|stays?|ends?|runs?|starts?|waits?|needs?|keeps?|becomes?|means?|counts?|reads?)\b"
)
# A main clause: a subject with a verb somewhere behind it, or an imperative.
SUBJECT = re.compile(
    r"(the|a|an|it|they|he|she|we|you|this|these|each|every|all|no|nobody|nothing|one|both|some|another|its|their|[A-Z]\w+)\b"
)
IMPERATIVE = re.compile(
    r"(add|allow|ask|build|call|check|choose|close|count|create|delete|do|drop|end|fail|fall|fetch|find|get|give|go"
    r"|ignore|keep|leave|let|load|log|look|make|mark|move|open|pass|print|put|raise|read|refuse|remove|replace|return"
    r"|run|save|say|send|set|show|skip|start|stop|store|take|tell|treat|try|turn|use|wait|write|yield)\b"
)
BARE_ERROR = re.compile(r"`?[A-Z]\w*(Error|Exception)`?,? (when|if|where|unless|for|on|with|without|says|that)\b")
BARE_THOSE = re.compile(r"those (that|who|which|whose|of|with|without|in|from|for)\b", re.IGNORECASE)
# A line that begins with code or a quotation has its subject there.
FIRST_WORD = re.compile(r"[^\w`('\"]*(\w+)")


class Fragment(NamedTuple):
    """A docstring that does not begin with a sentence, or a module without one (then `text` is empty)."""

    path: str
    line: int
    text: str

    @property
    def folder(self) -> str:
        return self.path.split("/")[0]

    def __str__(self) -> str:
        told = f"begins with a fragment: {self.text!r}" if self.text else "this module has no docstring"
        return f"{self.path}:{self.line}: {told}"


def is_fragment(line: str) -> bool:
    """Return whether the first line of a docstring is less than a sentence."""
    if BARE_ERROR.match(line) or BARE_THOSE.match(line):
        return True
    found = FIRST_WORD.match(line)
    word = found[1].lower() if found else ""
    return word in NEVER or (word in OPENING and not _has_main_clause(line))


def _has_main_clause(line: str) -> bool:
    """Return whether a part after a comma begins as a main clause."""
    sentence = re.split(r"[.:;] ", re.sub(r"`[^`]*`", "it", line))[0]
    _, *rest = sentence.split(", ")
    return any(IMPERATIVE.match(part) or (SUBJECT.match(part) and VERB.search(part)) for part in rest)


def fragments(source: str, path: str) -> Iterator[Fragment]:
    """Yield the fragments in one module; a module that holds no code needs no docstring."""
    tree = ast.parse(source, path)
    if tree.body and ast.get_docstring(tree) is None:
        yield Fragment(path, 1, "")
    for node in _documented(tree):
        first = (ast.get_docstring(node) or "").partition("\n")[0]
        if first and is_fragment(first):
            yield Fragment(path, node.body[0].lineno, first)


def _documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the nodes that may have a docstring. Expressions hold none: leaving them out halves the time."""
    yield tree
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for name in ("body", "orelse", "handlers", "finalbody", "cases"):
            for child in getattr(node, name, ()):
                waiting.append(child)
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield child


def find(paths: Iterable[str] = FOLDERS) -> list[Fragment]:
    """Return the fragments below these paths (of this repository), in the order of files and lines."""
    found: list[Fragment] = []
    for top in paths:
        place = (ROOT / top).resolve()
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            path = file.relative_to(ROOT).as_posix()
            if not path.startswith(SKIPPED):
                found += fragments(file.read_text("utf-8"), path)
    return sorted(found)


def excess(found: Iterable[Fragment], allowed: dict[str, int]) -> list[str]:
    """Return one line for each folder that holds more fragments than it may."""
    counts = Counter(fragment.folder for fragment in found)
    return [
        f"{folder}/ has {count} docstrings that are missing or are fragments; at most {allowed.get(folder, 0)} may be. "
        f"Begin the new ones with an imperative or a sentence; list all with: python scripts/plain_words.py {folder}"
        for folder, count in sorted(counts.items())
        if count > allowed.get(folder, 0)
    ]


def ceilings() -> dict[str, int]:
    """Return the most fragments that each folder may hold."""
    numbers: dict[str, int] = json.loads(CEILINGS.read_text("utf-8"))
    return numbers


def lowered(found: Iterable[Fragment], old: dict[str, int]) -> dict[str, int]:
    """Return the ceilings for what was found, none of them above its old one."""
    counts = Counter(fragment.folder for fragment in found)
    return {folder: min(counts[folder], old.get(folder, counts[folder])) for folder in FOLDERS}


def main(arguments: list[str] | None = None) -> int:
    """Print the fragments and return the exit code: 1 where a folder holds more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="folders or files (all)")
    parser.add_argument("--lower", action="store_true", help="write the present numbers as the new ceilings")
    options = parser.parse_args(arguments)
    found = find(options.paths or FOLDERS)
    if options.lower:
        numbers = lowered(find(), ceilings())
        CEILINGS.write_text(json.dumps(numbers, indent=2) + "\n")
        print(f"{CEILINGS.relative_to(ROOT)}: {numbers}")
        return 0
    for fragment in found:
        print(fragment)
    over = excess(found, ceilings())
    for line in over:
        print(line, file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
