"""Skills whose files a definition carries: written into the worker's own folder, which their hash names.

So a worker on any host has them, without a folder there and without a Git server. What is there once is not written
again; other files are another folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MOST_FILES: Final = 200
MOST_BYTES: Final = 200_000  # of all texts; they are part of the definition, and of each run's history
_PART: Final = re.compile(r"(?!\.\.?$)[^/\\\0]{1,200}")


def fault(files: Any) -> str:
    """Return what is wrong with the files of a definition; "" for nothing."""
    if not isinstance(files, Mapping) or not files:
        return "an object of paths and texts"
    if len(files) > MOST_FILES:
        return f"an object of at most {MOST_FILES} files; use `git` for more"
    for path, text in files.items():
        if not isinstance(path, str) or len(path) > 500 or not all(map(_PART.fullmatch, path.split("/"))):
            return f"an object of relative paths, which {str(path)[:60]!r} is not"
        if not isinstance(text, str) or not _is_text(text):
            return f"an object of texts, and {path[:60]!r} is none"
    if sum(len(text.encode()) for text in files.values()) > MOST_BYTES:
        return f"an object of texts with {MOST_BYTES} bytes in all; use `git` for more"
    return ""


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, as JSON can have it
        return False
    return True


def place_of(files: Mapping[str, str], home: Path | None = None) -> Path:
    """Return the folder that has these files and no other, in the worker's own folder."""
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return (home or Path.home()) / ".kubiya" / "agent-skills" / "given" / digest


def write(files: Mapping[str, str]) -> Path:
    """Return the folder of the files, which is written if it is not there; blocking. Raises OSError."""
    place = place_of(files)
    if place.is_dir():
        return place
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".write-", dir=place.parent))
    try:
        for path, text in files.items():
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
            if text.startswith("#!"):  # a definition has no modes
                file.chmod(0o700)
        draft.rename(place)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not place.is_dir():  # else another execution was faster
            raise
    return place
