"""This module tells why a command failed: as a line for a person, or as JSON where JSON was asked for."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any

from kubiya_worker.errors import WorkerError


def tell(text: str, code: int, argv: Sequence[str], **more: Any) -> None:
    """Print one line on standard error. Standard output keeps the answer only, and there is none.

    With `-o json` or `--json` the line is {"error": {message, exit_code, ...}}, and `more` are fields of it.
    """
    if wants_json(argv):
        facts = {"message": text, "exit_code": code, **{name: value for name, value in more.items() if value}}
        print(json.dumps({"error": facts}, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"kubiya: {text}", file=sys.stderr)


def tell_error(error: WorkerError, argv: Sequence[str]) -> None:
    """Tell an expected error. JSON has its remedy, and the status and faults of an HTTP answer, as fields."""
    if not wants_json(argv):
        tell(error.line(), error.exit_code, argv)
        return
    names = ("remedy", "status", "problems")
    tell(
        " ".join(error.message.split()),
        error.exit_code,
        argv,
        **{name: getattr(error, name, None) for name in names},
    )


def wants_json(argv: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON. Pure.

    The words are read here, as a command line that click refuses has no parsed options.
    """
    words = list(argv[: argv.index("--")] if "--" in argv else argv)
    joined = {"--json", "-ojson", "-o=json", "--output=json"}
    return bool(joined & set(words)) or any(pair in _APART for pair in itertools.pairwise(words))


_APART = (("-o", "json"), ("--output", "json"))
