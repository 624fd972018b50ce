"""Wait until the worker of a container that was started in the background polls, or has ended for good.

The engine starts a container again after any exit code. That does not help with a wrong key, queue or setting, so such
a container is removed, and `kubiya worker start -d` ends with the same exit code as without Docker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from kubiya_worker.errors import EX_OK, EXIT_CODES, TemporaryFailure, WorkerError

if TYPE_CHECKING:
    from docker.models.containers import Container

WORKER_PREFIX: Final = "kubiya worker: "  # the beginning of the worker's last line (process/main.py)
FOR_GOOD: Final = frozenset(each.code for each in EXIT_CODES if each.again == "no" and each.code != EX_OK)
LOOK_EVERY: Final = 0.25  # seconds
LAST_LINES: Final = 20


class ContainerExits:
    """Reports each end of a container. Make it before the container starts, so that no end is missed."""

    def __init__(self, container: Container, timeout: float) -> None:
        self._container, self._timeout = container, timeout
        self._ends: SimpleQueue[int] = SimpleQueue()
        self._begin()

    def _begin(self) -> None:
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        from docker.errors import APIError

        try:
            result = self._container.wait(timeout=self._timeout, condition="next-exit")
            self._ends.put(int(result["StatusCode"]))
        except (APIError, OSError):  # the time is up, or the container is gone
            pass

    def next(self, timeout: float) -> int | None:
        """Return the exit code of the next end, or None when there is none within `timeout` seconds."""
        try:
            code = self._ends.get(timeout=timeout)
        except Empty:
            return None
        self._begin()
        return code


def until_it_polls(
    container: Container,
    watch: ContainerExits,
    wait: float,
    polls: Callable[[Container], bool | None],
    say: Callable[[str], None],
) -> None:
    """Wait at most `wait` seconds until the worker polls.

    Raises WorkerError with the exit code of a worker that ended for good, TemporaryFailure when the time is up.
    """
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        code = watch.next(LOOK_EVERY)
        if code in FOR_GOOD:
            error = failed(code, container.logs(tail=LAST_LINES).decode(errors="replace").splitlines())
            container.remove(force=True, v=True)
            raise error
        if code is not None:
            say(f"the worker ended with exit code {code}; the engine starts it again")
        elif polls(container):
            return
    raise TemporaryFailure(
        f"The worker in the container {container.name} does not poll after {wait:g} s; it goes on trying",
        remedy=f"docker logs {container.name}; docker rm -f {container.name} ends it",
    )


def failed(code: int, lines: Sequence[str]) -> WorkerError:
    """Return the error for a worker that ended. Its message is the worker's last line, which names the remedy. Pure."""
    last = next((line for line in reversed(lines) if line.startswith(WORKER_PREFIX)), lines[-1] if lines else "")
    error = WorkerError(last.removeprefix(WORKER_PREFIX) or f"The worker ended with exit code {code}")
    error.exit_code = code
    return error
