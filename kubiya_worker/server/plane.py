"""This module joins the control plane's parts in one object: its stores, what acts on them, and those who follow."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kubiya_worker.secret_sources import Sources
from kubiya_worker.server.conversations import Conversations
from kubiya_worker.server.hooks.pace import HookPace
from kubiya_worker.server.mcp_forms import ClosedForms
from kubiya_worker.server.notify.answer_links import AnswerLinks
from kubiya_worker.server.notify.notifier import Notifier
from kubiya_worker.server.notify.spent_budgets import SpentBudgets
from kubiya_worker.server.oidc import Provider
from kubiya_worker.server.outbox import Sender
from kubiya_worker.server.precedence import Precedence
from kubiya_worker.server.readers import Readers
from kubiya_worker.server.run_workflows import RunWorkflows
from kubiya_worker.server.runs import Runs
from kubiya_worker.server.schedules import Scheduler
from kubiya_worker.server.sealing import KeyFile, KeyInMemory, KeySource, NoKey, Seal
from kubiya_worker.server.store.address import Place, PostgresAddress
from kubiya_worker.server.store.database import MEMORY, Database
from kubiya_worker.server.store.opened import open_database
from kubiya_worker.server.store.removals import KeepLimits
from kubiya_worker.server.store.run_files import RunFiles
from kubiya_worker.server.store.secrets import sealed_before
from kubiya_worker.server.stores import Stores
from kubiya_worker.server.temporal import Temporal
from kubiya_worker.server.temporal_schedules import TemporalSchedules
from kubiya_worker.server.watchers import Watchers

KEY_NAME: Final = "secrets.key"  # the file beside the database


@dataclass(frozen=True)
class Gateway:
    """A LiteLLM gateway that workers ask for models; without an address there is none."""

    url: str = ""
    key: str = field(default="", repr=False)


class Plane:
    def __init__(
        self,
        place: Place,
        temporal: Temporal,
        *,
        gateway: Gateway | None = None,
        secrets_key: KeySource | None = None,
        files: Path | None = None,
    ) -> None:
        """Open the database. `secrets_key` seals what it must not show; by default a file beside it does.

        `files` is the folder for files of runs.
        """
        self.place, self.temporal, self.gateway = place, temporal, gateway or Gateway()
        self.began = time.time()
        self.sources = Sources.allowed(os.environ)
        self.oidc: Provider | None = None  # set before the first request, where one is configured
        self.limits = KeepLimits()

        self.database = open_database(place)
        self.seal = Seal(secrets_key or _key_beside(place, self.database))
        self.stores = stores = Stores(self.database, self.seal)
        self.run_files = RunFiles(self.database, place, files)

        # Those who follow logs, and the turns of those who read and write
        self.watchers = Watchers(stores.events)
        self.turns = Precedence(stores.events.known)
        self.readers = Readers()
        self.forms = ClosedForms()
        self.closing = asyncio.Event()

        # Those who tell people and Temporal what is stored
        self.budgets = SpentBudgets()
        self.hook_pace = HookPace()
        self.slack_signatures: dict[str, float] = {}  # of presses that came, until when each holds
        self.notifier = Notifier(stores, self.sources, answering=AnswerLinks(stores).token)
        self.conversations = Conversations(stores.results, stores.events)
        workflows = RunWorkflows(stores, self.conversations)
        self.sender = Sender(
            stores.outbox, temporal, workflows, refused=lambda *refusal: self.runs.fail_start(*refusal)
        )
        self.runs = Runs(stores, self.sender, self.notifier, self.watchers, self.budgets)
        self.timetables = TemporalSchedules(temporal)
        self.scheduler = Scheduler(stores, self.timetables, self.notifier)

    def close(self) -> None:
        """End every stream: clients connect to the next server with the number of their last event."""
        self.closing.set()
        self.watchers.wake_all()


def _key_beside(place: Place, database: Database) -> KeySource:
    if isinstance(place, PostgresAddress):
        return NoKey()
    if place == MEMORY:
        return KeyInMemory()
    return KeyFile(place.with_name(KEY_NAME), lambda: sealed_before(database))
