"""The program: `python -m kubiya_worker.server --port 7777 --database FILE …`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import uvicorn

from kubiya_worker.errors import UsageError, WorkerError
from kubiya_worker.protocol.names import DEMO_MODEL
from kubiya_worker.server.app import create_app
from kubiya_worker.server.auth import ensure_key_file
from kubiya_worker.server.errors import PortTaken
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.store.seed import ensure_sample
from kubiya_worker.server.temporal import Temporal

STATE = Path("~/.kubiya/server").expanduser()


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kubiya server start", description="The local control plane")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7777, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--database", type=Path, default=STATE / "control-plane.db", help="default: %(default)s")
    parser.add_argument("--key-file", type=Path, default=STATE / "key", help="0600 file of the API key")
    parser.add_argument("--temporal-address", default="127.0.0.1:7233", help="default: %(default)s")
    parser.add_argument("--temporal-namespace", default="default", help="default: %(default)s")
    parser.add_argument("--seed", action="store_true", help="make the queue 'default' and the agent 'ops'")
    parser.add_argument("--model", default=DEMO_MODEL, help="model of the sample agent (default: %(default)s)")
    return parser.parse_args(argv)


def listen(host: str, port: int) -> socket.socket:
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise UsageError(
            f"The control plane listens on loopback only, not on {host}",
            remedy="Put a reverse proxy with TLS in front of it",
        )
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise PortTaken(port, error) from error
    return made


def main() -> int:
    began = time.monotonic()
    options = parse(sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    try:
        bound = listen(options.host, options.port)
        plane = Plane(
            options.database,
            Temporal(options.temporal_address, options.temporal_namespace),
            litellm_url=os.environ.get("LITELLM_API_BASE", ""),
            litellm_key=os.environ.get("LITELLM_API_KEY", ""),
        )
        ensure_key_file(plane.keys, options.key_file)
        if options.seed:
            ensure_sample(plane, options.model)
    except WorkerError as error:
        print(f"kubiya server: {error.line()}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    config = uvicorn.Config(
        create_app(plane), log_config=None, log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has a flag, not an event
            await asyncio.sleep(0.005)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        host, port = bound.getsockname()[:2]
        line = f"control_plane.listening url=http://{host}:{port} pid={os.getpid()} in {time.monotonic() - began:.2f}s"
        print(line, flush=True)  # noqa: T201
        await serving

    def stop() -> None:
        plane.closing.set()
        for watcher in plane.watchers():
            watcher.set()
        server.should_exit = True

    asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
