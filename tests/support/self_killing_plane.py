"""A control plane that kills itself, by SIGKILL, at a named point of telling, of being answered, or of a hook's reply.

    KILL_FILE=/tmp/armed python -P -m tests.support.self_killing_plane --port 7880 ...

The real program with hooks. A point is `<step>:<before|after|committed>`. When the control plane comes to the point
that the file names, it removes the file and kills itself, so the next one on the same database lives.

    before     nothing of the step has been done
    after      the step is done; what it wrote is in a transaction that is open
    committed  the transaction is over, and nobody has been told so
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kubiya_worker.server import hook_background
from kubiya_worker.server.api import answers
from kubiya_worker.server.notify import channels
from kubiya_worker.server.store.answer_tokens import AnswerTokens
from kubiya_worker.server.store.approvals import Approvals
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.hooks import Hooks
from kubiya_worker.server.store.notification_deliveries import NotificationDeliveries
from kubiya_worker.server.store.outbox import Outbox
from kubiya_worker.server.store.replies import Replies
from kubiya_worker.server.temporal import Temporal

WRITES = {  # steps that write into the database: each has three points
    "delivery": (NotificationDeliveries, "add"),
    "counted": (NotificationDeliveries, "began"),
    "noted": (NotificationDeliveries, "ended"),
    "resolved": (Approvals, "resolve"),
    "outbox": (Outbox, "add"),
    "token": (AnswerTokens, "use"),
    "removed": (Outbox, "remove"),
    "kept": (Hooks, "keep"),
    "reply": (Replies, "add"),
    "reply noted": (Replies, "record_try"),
}
SENDS = {  # steps that reach another program: each has two
    "start": (Temporal, "start"),
    "signal": (Temporal, "signal"),
    "posted": (hook_background, "_post"),
}
CHANNEL = "channel"  # sends, too
DECIDE = "decide"

_written: set[str] = set()  # steps of the transaction that is open


def reach(point: str) -> None:
    """Die if this is the point."""
    armed = Path(os.environ["KILL_FILE"])
    if armed.exists() and armed.read_text() == point:
        armed.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _writing(step: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        reach(f"{step}:before")
        with self._db.transaction():  # else a write that is a transaction of its own is committed before `after`
            result = original(self, *args, **kwargs)
            _written.add(step)
            reach(f"{step}:after")
        return result

    return wrapper


def _sending(step: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        reach(f"{step}:before")
        result = await original(*args, **kwargs)
        reach(f"{step}:after")
        return result

    return wrapper


def install() -> None:
    transaction, decide = Database.transaction, answers.decide

    @contextlib.contextmanager
    def watched(self: Database) -> Iterator[None]:
        with transaction(self):
            yield
        if self._depth == 0:
            over = sorted(_written)
            _written.clear()
            for step in over:
                reach(f"{step}:committed")

    def deciding(*args: Any, **kwargs: Any) -> Any:
        reach(f"{DECIDE}:before")
        result = decide(*args, **kwargs)
        reach(f"{DECIDE}:after")
        return result

    Database.transaction = watched  # type: ignore[method-assign]
    answers.decide = deciding
    for step, (owner, name) in WRITES.items():
        setattr(owner, name, _writing(step, getattr(owner, name)))
    for step, (place, name) in SENDS.items():
        setattr(place, name, _sending(step, getattr(place, name)))
    for kind, known in channels.TYPES.items():
        channels.TYPES[kind] = dataclasses.replace(known, send=_sending(CHANNEL, known.send))


if __name__ == "__main__":
    from kubiya_worker.server.__main__ import main

    install()
    code = main()
    sys.stdout.flush()
    os._exit(code)
