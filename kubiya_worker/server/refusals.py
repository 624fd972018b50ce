"""This module has the refusals of requests: what a handler raises, and which status and detail each error becomes."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.exc import DatabaseError, DataError

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.edges.problems import problem
from kubiya_worker.server.open_credentials import problem_text
from kubiya_worker.server.store.database import Stale
from kubiya_worker.server.store.outbox import TooLarge
from kubiya_worker.server.store.records import CredentialsInTheOpen, Taken

log = EventLogger(__name__)


class ApiError(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


REFUSALS: Final = (ApiError, Taken, TooLarge, DatabaseError, Stale, ConfigurationError, CredentialsInTheOpen)


def not_found(kind: str, key: str) -> ApiError:
    return ApiError(404, f"{kind} {key!r} not found")


def no_queue(place: str = "") -> ApiError:
    """Return the refusal of work that no queue can take; `place` limits which queues were looked at."""
    how = "echo '{kind: Queue, name: default}' | kubiya apply -f -"
    return ApiError(400, f"There is no active worker queue{place}. Create one ({how}), and start a worker on it")


def invalid(where: str, message: str, kind: str = "value_error") -> ApiError:
    """Return a 422 in FastAPI's form about one field of the body."""
    return ApiError(422, [problem(["body", where], message, kind)])


def refusal(error: Exception, path: str) -> tuple[int, Any]:
    """Return the status and the `detail` for one of REFUSALS."""
    if isinstance(error, ApiError):
        return error.status, error.detail
    if isinstance(error, Taken):
        return 409, f"The name {str(error)!r} is taken"
    if isinstance(error, CredentialsInTheOpen):
        place = "credential_in_the_open"
        return 422, [problem(["body", *one.place], problem_text(one), place) for one in error.found]
    if isinstance(error, TooLarge):
        return 413, str(error)
    if isinstance(error, ConfigurationError):  # what is sealed cannot be opened or made
        log.error("server.wrongly_set", path=path, error=error.line())
        return 503, error.line()
    if isinstance(error, Stale):
        return 503, "Others change the same all the time; try again"
    assert isinstance(error, DatabaseError)
    if isinstance(error, DataError):  # a character that PostgreSQL keeps in no text
        return 422, [problem(["request"], f"The database cannot store it: {error.orig}", "string_unstorable")]
    if isinstance(error.orig, ConnectionError):
        return 503, f"The database cannot be reached: {error.orig}. It is tried again"
    if isinstance(error.orig, TimeoutError):
        return 503, str(error.orig)
    log.error("database.failed", path=path, error=error.orig)
    return 503, f"The database cannot be used: {error.orig}. Check the disk"
