"""Cases from data files, one a line; lines that begin with "# " are comments."""

from pathlib import Path


def cases(name: str) -> list[str]:
    text = (Path(__file__).parent / "data" / name).read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line and not line.startswith("# ")]
