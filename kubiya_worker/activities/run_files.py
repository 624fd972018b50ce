"""The files of a run: at the end of a turn the worker copies what it made in its workspace to the control plane.

It is optional work. It runs beside the end of the turn, nothing waits for it, and whatever goes wrong is one line in
the log. A file that holds a secret which the worker knows is not copied; its name is told, with the reason.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.protocol import names
from kubiya_worker.tools import workspace_files
from kubiya_worker.tools.redaction import Redactor
from kubiya_worker.tools.workspace_files import Changed, CopyLimits, LeftFile

log = logging.getLogger(__name__)

HIDDEN: Final = "a secret is in it"
REMEMBERED: Final = 256  # runs whose files are not read again while they are the same
AT_ONCE: Final = 2  # runs whose files are copied at the same time
LAST: Final = 0.7  # seconds that copies have at the end of the worker


@dataclass
class _KnownRun:
    """This is known of a run: the stamps of copied paths, and its redactors, as members have secrets of their own."""

    stamps: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    redactors: list[Redactor] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class RunFileCopies:
    """Copies files of runs to the control plane, in the background."""

    def __init__(self, control_plane: ControlPlane, limits: CopyLimits) -> None:
        self._plane, self._limits = control_plane, limits
        self._runs: OrderedDict[str, _KnownRun] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def begin(self, stream: str, workspace: Path, redactor: Redactor) -> None:
        """Begin to copy what changed in a workspace since the last time. `stream`: the execution that it is of."""
        run = self._runs.setdefault(stream, _KnownRun())
        self._runs.move_to_end(stream)
        while len(self._runs) > REMEMBERED:
            self._runs.popitem(last=False)
        if redactor not in run.redactors:
            run.redactors.append(redactor)
        task = asyncio.create_task(self._copy(stream, run, workspace))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def limits(self) -> CopyLimits:
        return self._limits

    @property
    def wanted(self) -> bool:
        return self._limits.enabled and names.FEATURE_RUN_FILES in self._plane.features

    async def close(self) -> None:
        """Give what is under way a moment to end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST)
        for task in list(self._tasks):
            task.cancel()

    async def _copy(self, stream: str, run: _KnownRun, workspace: Path) -> None:
        try:
            async with run.lock, self._places:
                files = await asyncio.to_thread(workspace_files.left_in, workspace, self._limits)
                files = [file for file in files if run.stamps.get(file.path) != file.stamp]
                if not files:
                    return
                rows = await asyncio.to_thread(self._plane.run_files.of, stream)
                stored = {str(each["path"]): each for each in rows}
                for file in files:
                    await asyncio.to_thread(self._send, stream, run.redactors, workspace, file, stored)
                    run.stamps[file.path] = file.stamp
        except ControlPlaneError as error:
            if error.status != 404:  # it was deleted
                log.warning("run_files.not_copied execution_id=%s error=%s", stream, error)
        except Exception as error:  # whatever it is, no run may fail of it
            log.warning("run_files.not_copied execution_id=%s error=%s: %s", stream, type(error).__name__, error)

    def _send(
        self,
        stream: str,
        redactors: Sequence[Redactor],
        workspace: Path,
        file: LeftFile,
        stored: dict[str, dict[str, Any]],
    ) -> None:
        """Send one file, or why it is not sent, unless the control plane has just that already; blocking."""
        body = _body(list(redactors), workspace, file)
        before = stored.get(str(body["path"])) or {}
        digest = body.pop("sha256", "")
        if digest and before.get("sha256") == digest:
            return
        if body.get("refused") and before.get("refused") == body["refused"]:
            return
        self._plane.run_files.store(stream, body)


def _body(redactors: Sequence[Redactor], workspace: Path, file: LeftFile) -> dict[str, Any]:
    """Return what to send of a file. Its path is redacted, too."""
    path = file.path
    for redactor in redactors:
        path = redactor.text(path)
    refused = file.refused or (HIDDEN if path != file.path else "")
    if not refused:
        try:
            data = workspace_files.read(workspace, file)
        except (OSError, Changed):
            refused = "it changed while it was read"
        else:
            text = data.decode(errors="replace")
            refused = HIDDEN if any(redactor.text(text) != text for redactor in redactors) else ""
    if refused:
        return {"path": path, "size": file.size, "refused": refused}
    return {"path": path, "content": base64.b64encode(data).decode(), "sha256": hashlib.sha256(data).hexdigest()}
