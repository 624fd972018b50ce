"""A worker answers here for its host: a call about what that host has can go there."""

from __future__ import annotations

from temporalio import activity

from kubiya_worker.protocol import names


@activity.defn(name=names.FIND_HOST)
async def find_host(host: str) -> None:
    """Do nothing: only a worker of the host polls the queue, so whoever runs this is one."""
