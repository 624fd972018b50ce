"""This module names the parts of an execution that nearly every other part needs, so that they are handed on as one."""

from __future__ import annotations

from dataclasses import dataclass

from kubiya_worker.workflows.conversation import Conversation
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.run import Run
from kubiya_worker.workflows.turn import Turn


@dataclass(frozen=True)
class ExecutionCore:
    """The core of an execution: what it runs with, what was said, which turn it is in, and the events to send.

    The four parts stay the same objects for the whole run. The state in them changes.
    """

    run: Run
    conversation: Conversation
    turn: Turn
    outbox: EventOutbox
