"""A process that asks a control plane's `/health` every 10 ms, so that the work of other clients does not delay it.

python -m scripts.bench.health PORT prints, when its input ends, the seconds that each answer took as one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

EVERY: Final = 0.01  # seconds between two requests
REQUEST: Final = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"


@contextlib.contextmanager
def watched(port: int) -> Iterator[list[float]]:
    """Yield a list that has, after the end of the block, the seconds that each answer took meanwhile."""
    argv = [sys.executable, "-m", "scripts.bench.health", str(port)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    took: list[float] = []
    try:
        assert process.stdout.readline() == "asking\n"
        yield took
        process.stdin.close()
        took += json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def main() -> None:
    took: list[float] = []
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("asking", flush=True)
        while True:
            asked = time.monotonic()
            made.sendall(REQUEST)
            said = b""
            while not said.endswith(b"}"):  # head and body come in two pieces
                piece = made.recv(4096)
                assert piece, "the server has gone"
                said += piece
            took.append(time.monotonic() - asked)
            assert b" 200 OK" in said, said
            if select.select([sys.stdin], [], [], EVERY)[0]:
                break
    print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
