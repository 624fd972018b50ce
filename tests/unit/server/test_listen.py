"""The socket that the control plane listens on."""

from __future__ import annotations

import asyncio
import socket

from kubiya_worker.server.listening import listen


async def test_replies_do_not_wait_for_acknowledgements() -> None:
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    bound = listen("127.0.0.1", 0)
    server = await asyncio.start_server(connected, sock=bound)
    async with server:
        _, writer = await asyncio.open_connection(*bound.getsockname()[:2])
        assert await asyncio.wait_for(seen, 60)
        writer.close()
        await writer.wait_closed()
