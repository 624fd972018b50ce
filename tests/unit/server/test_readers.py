"""Many lists at once: each turn of the event loop serves one of them, and others go before the next one."""

from __future__ import annotations

import asyncio

from kubiya_worker.server.api import executions
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.readers import Readers


async def test_what_comes_in_meanwhile_goes_before_the_next_reader() -> None:
    readers, done = Readers(), list[str]()

    async def read(number: int) -> None:
        async with readers.turn():
            done.append(f"list {number}")
            if number == 1:
                asyncio.get_running_loop().call_soon(done.append, "write")

    await asyncio.gather(*(read(number) for number in range(20)))
    assert done.index("write") == 2, "one list and no more is before it"
    assert [each for each in done if each != "write"] == [f"list {number}" for number in range(20)], "in their order"


async def test_a_reader_that_fails_lets_the_next_one_read() -> None:
    readers = Readers()
    for _ in range(2):
        try:
            async with readers.turn():
                raise KeyError
        except KeyError:
            pass
    async with asyncio.timeout(60), readers.turn():
        pass


def test_lists_and_logs_are_patient_and_writes_are_not() -> None:
    edges = [route for route in executions.ROUTES if isinstance(route, Edge)]
    patient = {f"{edge.method} {edge.path}" for edge in edges if edge.patient}
    assert patient == {f"GET /api/v1/executions{path}" for path in ("", "/{execution}/events", "/{execution}/session")}
