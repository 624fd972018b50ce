"""The control plane's program.

It is run as `python -m kubiya_worker.server --port 7777 --database FILE …`, or with `create-key` to make a key.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kubiya_worker import garbage
from kubiya_worker.errors import EX_OK, ConfigurationError, UsageError, WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server import command_line
from kubiya_worker.server.log import RotatingLog, use
from kubiya_worker.server.secret_variables import secret_of

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane
    from kubiya_worker.server.sealing import KeySource

GRACE: Final = 2  # seconds that open requests have to end after SIGTERM
WAITING: Final = 2048  # connections that the system holds until they are accepted
ACCEPTED: Final = 16  # connections that are accepted in one turn of the event loop: as asyncio does it, all that wait
MAX_FILES: Final = 10_000  # macOS does not allow more than 10,240
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

log = EventLogger("kubiya_worker.server")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections; raise PortTaken or UsageError."""
    from kubiya_worker.server.errors import PortTaken

    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(f"{host}:{port} is not an address to listen on", remedy="Check --host and --port") from error
    # Name the protocol: asyncio sets TCP_NODELAY only then, and without it each reply waits 40 ms for an ACK.
    bound = socket.socket(places[0][0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(places[0][4])
        bound.listen(WAITING)
    except OSError as error:
        bound.close()
        raise PortTaken(port, error) from error
    return bound


def allow_connections() -> None:
    """Raise the limit of open files as far as this user may: each connection is one, and the usual 1024 are few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def log_into(path: Path) -> None:
    """Write the log, and all other output, into a file that rotates; raise UsageError if it cannot be opened."""
    try:
        handler = RotatingLog(path)
    except OSError as error:
        raise UsageError(f"The file {path} cannot be written: {error.strerror}", remedy="Check --log-file") from error
    use(handler)


def create_key(options: argparse.Namespace) -> None:
    from kubiya_worker.server.auth import Keys, ensure_key_file
    from kubiya_worker.server.store.opened import open_database

    database = open_database(options.database, exclusive=False)
    ensure_key_file(Keys(database), options.key_file, options.organization)
    database.close()


def open_plane(options: argparse.Namespace) -> Plane:
    """Open the stores, and create a key and what --seed asks for; raise WorkerError."""
    from kubiya_worker.payloads.converter import Payloads
    from kubiya_worker.payloads.options import PayloadOptions
    from kubiya_worker.server import oidc, temporal_access
    from kubiya_worker.server.auth import ORGANIZATION, ensure_key_file
    from kubiya_worker.server.moving import move_credentials
    from kubiya_worker.server.notify import settings as notify
    from kubiya_worker.server.plane import Gateway, Plane
    from kubiya_worker.server.sealing import KeyCommand, KeyFile
    from kubiya_worker.server.store.agreed import check_key
    from kubiya_worker.server.store.removals import KeepLimits
    from kubiya_worker.server.store.seed import ensure_sample
    from kubiya_worker.server.temporal import Temporal

    source: KeySource | None = None
    if options.secrets_key_command:
        source = KeyCommand(options.secrets_key_command)
    elif options.secrets_key_file is not None:
        source = KeyFile(options.secrets_key_file)
    payloads = Payloads.open(PayloadOptions.of_environment(os.environ))
    access = temporal_access.of_environment(
        os.environ, options.temporal_address, options.temporal_namespace, options.worker_temporal_address, secret_of
    )
    plane = Plane(
        options.database,
        Temporal(access, payloads),
        gateway=Gateway(os.environ.get("LITELLM_API_BASE", ""), os.environ.get("LITELLM_API_KEY", "")),
        secrets_key=source,
        files=options.files.expanduser().absolute() if options.files else None,
    )
    plane.stores.events.records_allowed = not options.no_audit_allowed
    if options.database_connections is not None:
        plane.database.most_reading = options.database_connections
    plane.run_files.keep_days = options.keep_files
    plane.limits = KeepLimits(options.keep_executions, options.keep_count, options.keep_bytes, options.keep_audit)
    plane.notifier.use(notify.settings(os.environ))
    known = oidc.settings(os.environ, secret_of("KUBIYA_OIDC_CLIENT_SECRET"))
    plane.oidc = oidc.Provider(known) if known else None
    with plane.database.alone():
        if plane.database.shared:
            try:
                check_key(plane.database, plane.seal, replace=options.replace_secrets_key)
            except ConfigurationError:
                plane.database.close()
                raise
        ensure_key_file(plane.stores.keys, options.key_file, options.organization)
        move_credentials(plane)
        if options.seed:
            ensure_sample(plane, ORGANIZATION, options.model)
    return plane


def serve(plane: Plane, bound: socket.socket, began: float) -> None:
    """Serve until SIGTERM or SIGINT."""
    with garbage.paused():
        import uvicorn

        from kubiya_worker.server.app import create_app
        from kubiya_worker.server.connections import LimitedProtocol

    host, port = bound.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    plane.notifier.url = plane.notifier.url or url  # of the links in messages

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Use our signal handlers from the first moment.

            Those of uvicorn would end the process by the signal instead of with 0.
            """
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop, number)
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for each in sockets or ():
                each.listen(WAITING)  # asyncio has set it to `backlog`
            garbage.keep_loaded()
            took = time.monotonic() - began
            log.info("control_plane.listening", url=url, pid=os.getpid(), seconds=took)
            if host not in LOOPBACK:
                log.warning(
                    "control_plane.exposed",
                    host=host,
                    error="keys and data travel without TLS",
                    remedy="put a proxy with TLS before it",
                )

    def stop(number: signal.Signals) -> None:
        if not server.should_exit:
            log.info("control_plane.stopping", reason=number.name, grace=f"{GRACE}s")
        server.should_exit = True
        plane.close()

    config = uvicorn.Config(
        create_app(plane),
        http=LimitedProtocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=75,  # seconds: a worker's connections stay open between two heartbeats
        server_header=False,
        proxy_headers=False,  # nobody here needs a request's original address
        ws="none",
        backlog=ACCEPTED,
    )
    server = Server(config)
    allow_connections()
    asyncio.run(server.serve(sockets=[bound]))
    log.info("control_plane.stopped", pid=os.getpid())


def main(argv: list[str] | None = None) -> int:
    began = time.monotonic()
    use(logging.StreamHandler(sys.stdout))
    try:
        options = command_line.parse(sys.argv[1:] if argv is None else argv)
        if options.command == "create-key":
            create_key(options)
            print(options.key_file)  # noqa: T201
            return EX_OK
        if options.log_file is not None:
            log_into(options.log_file)
        bound = listen(options.host, options.port)
        with garbage.paused():
            plane = open_plane(options)
        serve(plane, bound, began)
    except WorkerError as error:
        print(f"kubiya server: {error.line()}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return EX_OK


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # skip the interpreter's own exit: Temporal's library can crash in it (sdk-python#300)
