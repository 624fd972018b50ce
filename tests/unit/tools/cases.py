"""Cases from data files, one a line; lines that begin with "# " are comments."""

from pathlib import Path


def cases(name: str) -> list[str]:
    text = (Path(__file__).parent / "data" / name).read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line and not line.startswith("# ")]


def by_kind(name: str) -> dict[str, list[str]]:
    """Return the cases below each comment: for a test of thousands, each of which would cost more than its check."""
    kinds: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "data" / name).read_text(encoding="utf-8").split("\n"):
        if line.startswith("# "):
            found = kinds.setdefault(line.removeprefix("# "), [])
        elif line:
            found.append(line)
    return {kind: lines for kind, lines in kinds.items() if lines}
