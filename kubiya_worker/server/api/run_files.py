"""This module serves the files that runs have made: workers store them, people list and download them.

What a run has written is a stranger's text. It is handed out as a download, or as an image that its first bytes show to
be one, and a browser runs nothing of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import Any, Final
from urllib.parse import quote

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.responses import FileResponse
from starlette.routing import Route

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.api.executions import execution_id_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import worker
from kubiya_worker.server.person import WORKER
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.store.run_files import BINARY, FilesFull, proper

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}


class FilePath(PathConvertor):
    """The rest of an address as the path of a file, which may have line breaks in it."""

    regex = r"[\s\S]*"


register_url_convertor("file", FilePath())


async def list_all(call: Call) -> Any:
    """Return the files of an execution, by their paths; of one that was not stored, `refused` says why."""
    return call.plane.run_files.list(execution_id_of(call))


async def get(call: Call) -> Any:
    """Return what is in a file: an image as such, anything else as a download."""
    execution_id, path = execution_id_of(call), call.path("path")
    if call.person.role == WORKER and not _of_open_fork(call, execution_id):
        raise ApiError(403, "A worker's key downloads files of a fork that it works on only")
    stored = call.plane.run_files.find(execution_id, path)
    if stored is None:
        raise not_found("File", path)
    if stored["refused"]:
        raise ApiError(410, f"The file {path!r} was not stored: {stored['refused']}")
    content = call.plane.run_files.content(execution_id, stored["sha256"])
    if content is None:
        raise ApiError(410, f"What was in the file {path!r} is not here any more")
    shown = "inline" if stored["type"] != BINARY else "attachment"
    name = quote(path.rpartition("/")[2], safe="")
    headers = {**HEADERS, "Content-Disposition": f"{shown}; filename*=UTF-8''{name}"}
    return FileResponse(content, media_type=stored["type"], headers=headers)


def _of_open_fork(call: Call, execution_id: str) -> bool:
    """Return whether an execution began with files of another one, and is not over."""
    execution = call.plane.stores.executions.get(call.organization_id, execution_id) or {}
    return bool((execution.get("execution_metadata") or {}).get("fork_of")) and not ex.is_final(execution["status"])


async def put(call: Call) -> Any:
    """Store a file of a run, or name one that is not stored."""
    execution_id, fields = execution_id_of(call), call.fields
    path, files = fields["path"], call.plane.run_files
    if not files.kept:
        raise ApiError(409, "This control plane keeps no files of runs: start it with --files DIR")
    if not proper(path):
        raise invalid("path", "path is that of a file below the workspace, without . and ..")
    try:
        if fields.get("refused"):
            files.refuse(execution_id, path, fields.get("size") or 0, fields["refused"], time.time())
        else:
            data = _data(fields)
            files.check_room(execution_id, path, len(data))
            digest = await asyncio.to_thread(files.write, execution_id, data)
            if call.plane.stores.executions.owner(execution_id) is None:  # it was deleted meanwhile
                files.forget(execution_id)
                raise not_found("Execution", execution_id)
            files.put(execution_id, path, data, digest, time.time())
    except FilesFull:
        raise ApiError(413, "The execution has as many files as are kept") from None
    except OSError as error:
        raise ApiError(507, f"The file cannot be stored: {error.strerror}") from error
    return files.find(execution_id, path)


def _data(fields: dict[str, Any]) -> bytes:
    if fields.get("content") is None:
        raise invalid("content", "A file has content, or says in refused why it has none", "missing")
    try:
        return base64.b64decode(fields["content"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("content", "content is not base64") from None


ROUTES: list[Route] = [
    Edge("GET", "/executions/{execution}/files", list_all),
    Edge("POST", "/executions/{execution}/files", put, 201, body=worker.RunFileBody),
    Edge("GET", "/executions/{execution}/files/{path:file}", get),
]
