"""Clients that ask a control plane for the same page again and again, in a process of their own.

python -m scripts.bench.crowd PORT CLIENTS PATH, with the key in its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def crowd(port: int, key: str, clients: int, path: str) -> Iterator[None]:
    """Have so many clients ask for the path without a rest during the block."""
    argv = [sys.executable, "-m", "scripts.bench.crowd", str(port), str(clients), path]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(f"{key}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "asking\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


async def ask(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    while True:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 OK" in head, head
        size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(size))


async def run() -> None:
    port, clients, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    key = sys.stdin.readline().strip()
    request = f"GET /api/v1{path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(ask(port, request))
        print("asking", flush=True)


if __name__ == "__main__":
    asyncio.run(run())
