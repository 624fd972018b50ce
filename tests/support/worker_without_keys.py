"""A worker that takes activities and has no payload keys.

python -m tests.support.worker_without_keys ADDRESS QUEUE
"""

from __future__ import annotations

import asyncio
import logging
import sys

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.payloads.options import PayloadOptions
from kubiya_worker.protocol import names


@activity.defn(name=names.CALL_TOOL)
async def call_tool(request: object) -> None:
    raise AssertionError("it was read")


async def main(address: str, queue: str) -> None:
    client = await Client.connect(address, data_converter=Payloads.open(PayloadOptions()).converter())
    async with Worker(client, task_queue=queue, activities=[call_tool]):
        print("polls", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout)
    asyncio.run(main(*sys.argv[1:]))
