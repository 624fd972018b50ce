"""This module reads the command line of the control plane's program, and the variables that set what it leaves out."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn

from kubiya_worker.errors import UsageError
from kubiya_worker.protocol.names import DEMO_MODEL
from kubiya_worker.server.secret_variables import secret_of
from kubiya_worker.server.store import address
from kubiya_worker.server.store.address import VARIABLE, Place, PostgresAddress

STATE: Final = Path("~/.kubiya/server").expanduser()
MOST_DAYS: Final = 36_500  # of --keep-executions, --keep-audit and --keep-files
LEAST_AUDIT: Final = 1  # days of --keep-audit
LEAST_BYTES: Final = 1 << 20  # of --keep-bytes
MOST_BYTES: Final = 1 << 44
MOST_KEPT: Final = 500_000  # of --keep-count: the place of the last one is counted at each look, in 30 ms
MOST_CONNECTIONS: Final = 100  # of --database-connections; PostgreSQL's own max_connections is 100 for all


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message[:1].upper() + message[1:], remedy="See 'kubiya server start --help'")


def port(text: str) -> int:
    number = int(text)  # argparse itself reports a ValueError
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not a port, 0 to 65535")
    return number


def database_place(text: str) -> Place:
    """Return the path of an SQLite file, or the address of a PostgreSQL database, which has no password in it."""
    try:
        return address.of_command_line(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parser(state: str) -> argparse.ArgumentParser:
    """Return the parser of the command line; `state` is the default folder for data."""
    parser = Parser(prog="kubiya server start", description="The local control plane", allow_abbrev=False)
    parser.add_argument("command", nargs="?", choices=["create-key"], help="make an API key, and nothing else")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=7777, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--database",
        type=database_place,
        default=Path(state) / "control-plane.db",
        help="SQLite file, postgresql://USER@HOST/NAME (or in KUBIYA_DATABASE, KUBIYA_DATABASE_FILE), or :memory: "
        "(default: %(default)s)",
    )
    parser.add_argument("--key-file", type=Path, help="0600 file of an API key (default: 'key' beside the database)")
    parser.add_argument(
        "--secrets-key-file",
        type=Path,
        help="0600 file of the key that seals secrets (default: 'secrets.key' beside the database)",
    )
    parser.add_argument(
        "--secrets-key-command",
        default="",
        metavar="COMMAND",
        help="command that prints that key, such as a KMS's",
    )
    parser.add_argument(
        "--replace-secrets-key",
        action="store_true",
        help="start with another key of the secrets than the PostgreSQL database was used with, as that one is lost",
    )
    parser.add_argument("--organization", default="local", help="whose key it is (default: %(default)s)")
    parser.add_argument("--temporal-address", default="127.0.0.1:7233", help="default: %(default)s")
    parser.add_argument("--temporal-namespace", default="default", help="default: %(default)s")
    parser.add_argument(
        "--worker-temporal-address",
        default="",
        metavar="HOST:PORT",
        help="Temporal's address for workers, if it is another one for them",
    )
    parser.add_argument("--log-file", type=Path, help="file that rotates, in place of standard output")
    parser.add_argument(
        "--no-audit-allowed",
        action="store_true",
        help="keep no audit record of tool calls that a rule or a policy service allows; denied ones are always kept",
    )
    parser.add_argument(
        "--files",
        type=Path,
        metavar="DIR",
        help="folder for the files of runs (default: run-files beside the database; with PostgreSQL none are kept)",
    )
    parser.add_argument(
        "--keep-files",
        type=_days,
        metavar="DAYS",
        help="remove the files of runs after this many days (default: keep them as long as their execution)",
    )
    for flag, (kind, metavar, text) in LIMITS.items():
        parser.add_argument(flag, type=kind, metavar=metavar, help=f"{text} (or {variable_of(flag)})")
    parser.add_argument("--seed", action="store_true", help="make the queue 'default' and the agent 'ops'")
    parser.add_argument("--model", default=DEMO_MODEL, help="model of the sample agent (default: %(default)s)")
    return parser


def _days(text: str) -> float:
    """Return a number of days. Raises ArgumentTypeError, whose text argparse prints."""
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days up to {MOST_DAYS}, such as 30 or 0.5")
    return days


def _audit_days(text: str) -> float:
    """Return the days for which audit records stay. Raises ArgumentTypeError, whose text argparse prints."""
    days = _days(text)
    if days < LEAST_AUDIT:
        raise argparse.ArgumentTypeError(f"{text!r} is less than a day")
    return days


def _count(text: str) -> int:
    """Return a number of executions. Raises what argparse tells."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_KEPT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_KEPT}")
    return int(text)


def _connections(text: str) -> int:
    """Return a number of connections. Raises what argparse tells."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_CONNECTIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_CONNECTIONS}")
    return int(text)


def _size(text: str) -> int:
    """Return a number of bytes, such as of 512m or 2g. Raises what argparse tells."""
    number, unit = (text[:-1], text[-1:].lower()) if text[-1:].isalpha() else (text, "b")
    shift = {"b": 0, "k": 10, "m": 20, "g": 30}.get(unit)
    if shift is None or not number.isdecimal() or not LEAST_BYTES <= int(number) << shift <= MOST_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size from 1m to 16384g, such as 512m or 2g")
    return int(number) << shift


LIMITS: Final[dict[str, tuple[Callable[[str], float], str, str]]] = {
    "--keep-executions": (_days, "DAYS", "remove executions that ended, and did not change, this many days ago"),
    "--keep-count": (
        _count,
        "N",
        "keep the newest N executions of an organization, and remove older ones that ended",
    ),
    "--keep-audit": (_audit_days, "DAYS", "remove audit records that are older, at least 1; the rest can be verified"),
    "--database-connections": (
        _connections,
        "N",
        "read lists and counts with at most N connections to PostgreSQL, beside four for the rest; 4 without it",
    ),
    "--keep-bytes": (_size, "SIZE", "remove the oldest executions that ended while the SQLite database holds more"),
}


def variable_of(flag: str) -> str:
    """Return the variable of a limit, for a server that is started without a command line of its own."""
    return f"KUBIYA_{flag[2:].upper().replace('-', '_')}"


def _of_variables(target: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """Take limits from variables; a flag counts more. Raise UsageError for a wrong one."""
    for flag, (kind, _, _) in LIMITS.items():
        value = environ.get(variable_of(flag), "").strip()
        if value:
            try:
                target.set_defaults(**{flag[2:].replace("-", "_"): kind(value)})
            except argparse.ArgumentTypeError as error:
                raise UsageError(f"{variable_of(flag)}: {error}", remedy=f"It is as {flag}") from error


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options; `--help` ends the process with 0. Raise UsageError for a wrong command line."""
    command_line = parser(str(STATE))
    try:
        database = secret_of(VARIABLE)
        if database:  # it may hold a password, which a command line must not
            command_line.set_defaults(database=address.place_of(database))
    except ValueError as error:
        raise UsageError(
            f"{VARIABLE}: {error}", remedy="Name an SQLite file, or postgresql://USER@HOST/NAME"
        ) from error
    _of_variables(command_line, os.environ)
    options = command_line.parse_args(argv)
    shared = isinstance(options.database, PostgresAddress)
    if shared and options.keep_bytes is not None:
        raise UsageError(
            "--keep-bytes is for SQLite: a PostgreSQL server does not tell how much of its files is in use",
            remedy="Use --keep-executions or --keep-count",
        )
    if options.database_connections is not None and not shared:
        raise UsageError(
            "--database-connections is for PostgreSQL: an SQLite file is read by the server's own thread",
            remedy="Leave it out, or move the data: kubiya server migrate",
        )
    if options.replace_secrets_key and not shared:
        raise UsageError(
            "--replace-secrets-key is for PostgreSQL, which several servers share",
            remedy="With SQLite, set the secrets again: kubiya secrets set",
        )
    if options.key_file is None:
        beside = shared or str(options.database) == ":memory:"
        options.key_file = (STATE if beside else options.database.parent) / "key"
    if shared and not options.command and not options.secrets_key_command:
        _check_shared_key(options.secrets_key_file)
    return options


def _check_shared_key(path: Path | None) -> None:
    """Check that the key is there: a server that made one of its own would seal what the others cannot open."""
    how = "openssl rand -base64 32 > FILE; chmod 600 FILE; and give all servers of the database the same"
    if path is None:
        raise UsageError(
            "A database on a PostgreSQL server needs --secrets-key-file or --secrets-key-command", remedy=how
        )
    if not path.exists():
        raise UsageError(f"There is no file {path}, which --secrets-key-file names", remedy=how)
