"""This module keeps the search attribute of an execution's status current, where the control plane asked for it."""

from __future__ import annotations

import asyncio
from typing import Final

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from kubiya_worker.protocol import search
from kubiya_worker.workflows.run import Run

KEY: Final = SearchAttributeKey.for_keyword(search.STATUS)


class SearchStatus:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._shown = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow the status, if the input asks for it. A member's run has none of its own."""
        if self._run.raw.get(search.SHOWS_STATUS) is True and self._run.member is None:
            self._task = asyncio.create_task(self._follow())

    def end(self, status: str) -> None:
        """Write the last status into the search attribute, and follow the status no more."""
        if self._task is not None:
            self._task.cancel()
            self._show(status)

    async def _follow(self) -> None:
        while True:
            await workflow.wait_condition(lambda: self._run.status != self._shown)
            self._show(self._run.status)

    def _show(self, status: str) -> None:
        if status != self._shown:
            self._shown = status
            workflow.upsert_search_attributes([KEY.value_set(status)])
