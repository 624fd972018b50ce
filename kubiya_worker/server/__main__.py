"""The control plane's program.

It is run as `python -m kubiya_worker.server --port 7777 --database FILE …`, or with `create-key` to make a key.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kubiya_worker import garbage
from kubiya_worker.errors import EX_OK, ConfigurationError, UsageError, WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server import command_line, listening
from kubiya_worker.server.log import RotatingLog, use
from kubiya_worker.server.secret_variables import secret_of

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane
    from kubiya_worker.server.sealing import KeySource


log = EventLogger("kubiya_worker.server")


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
        from kubiya_worker.server.plane_server import PlaneServer

    url = listening.url_of(bound)
    plane.notifier.url = plane.notifier.url or url  # of the links in messages
    server = PlaneServer(plane, url, began)
    listening.allow_connections()
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
        bound = listening.listen(options.host, options.port)
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
