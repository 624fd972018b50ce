"""The PID file shows people and programs which supervisor runs here. Its content is indented JSON:

    pid           the supervisor's
    …             the spec's `pid_fields`
    log_file, pid_file, started_at (RFC 3339, UTC)
    control       the control socket's address (`control.py`)
    identity      {"pid", "start", "boot", "executable"}: a signal is sent only when all four agree

Nothing depends on the file alone, because everybody may remove, overwrite or move it: `ownership.py` decides who owns
an instance. The supervisor writes its PID file again when it notices such a change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import files, processes
from .processes import Identity


class PidFile:
    """This is the PID file of this process."""

    def __init__(self, path: str, record: Mapping[str, Any]) -> None:
        """Write the file; `record` is its content. Raises OSError."""
        self._path, self.record = Path(path), record
        self._stamp: files.Stamp | None = None
        self._write()

    def _write(self) -> None:
        files.replace(self._path, json.dumps(self.record, indent=2) + "\n")
        self._stamp = files.stamp(self._path)

    def restore(self) -> str:
        """Write the file again if somebody has changed it. Return what had become of it; "" when nothing had.

        Raises OSError when it cannot be written, as when a folder has its name now, or when it names another
        supervisor that lives.
        """
        now = files.stamp(self._path)
        if now == self._stamp:
            return ""
        other = identity_in(content(str(self._path)))
        if other and other.to_dict() != self.record.get("identity") and not processes.mismatch(other):
            raise FileExistsError(f"{self._path} names another running supervisor, process {other.pid}")
        self._write()
        return "removed" if now is None else "replaced or overwritten"

    def remove(self) -> None:
        """Remove the file if it names this process. Errors are ignored: the folder may be gone."""
        if identity_in(content(str(self._path))) == Identity.from_dict(self.record.get("identity")):
            try:
                self._path.unlink()
            except OSError:
                pass


def content(path: str) -> dict[str, Any]:
    """Return the content of the file; empty when it is missing or cannot be read as a JSON object."""
    try:
        data = json.loads(files.read(Path(path)))
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def identity_in(data: Mapping[str, Any]) -> Identity | None:
    """Return the identity in the content, or None.

    None also when the outer and the inner PID differ: then somebody has edited the file.
    """
    identity = Identity.from_dict(data.get("identity"))
    return identity if identity is not None and identity.pid == data.get("pid") else None
