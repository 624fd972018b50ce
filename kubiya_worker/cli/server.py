"""`kubiya server`: run only the local control plane. This process becomes it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kubiya_worker.errors import ConfigurationError, Unavailable, UsageError
from kubiya_worker.launch.local import check_server_installed
from kubiya_worker.launch.stack_folder import default_folder
from kubiya_worker.launch.temporal_server import CODEC_PORT, ORIGINS
from kubiya_worker.private_file import open_to_others

if TYPE_CHECKING:
    from kubiya_worker.server.store.backup import Contents

PORT = click.IntRange(0, 65535)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def server() -> None:
    """Run the local control plane alone."""


@server.command(
    short_help="Run it in the foreground until it is stopped.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def start(arguments: tuple[str, ...]) -> None:
    """Run the control plane in the foreground until it is stopped; `--help` shows its options.

    Example: kubiya server start --seed
    """
    check_server_installed()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "kubiya_worker.server", *arguments])  # noqa: S606


@server.command(short_help="Let Temporal's page and CLI read encrypted payloads.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; outside of loopback a token is required.",
)
@click.option("--port", default=CODEC_PORT, show_default=True, type=PORT, help="Port; 0 takes a free one.")
@click.option("--origin", "origins", multiple=True, help="Origin of Temporal's page. [default: http://localhost:8233]")
@click.option("--token-file", help="File (0600) with the token that requests must send as Authorization: Bearer.")
def codec(host: str, port: int, origins: tuple[str, ...], token_file: str | None) -> None:
    """Run a codec server with the keys of KUBIYA_PAYLOAD_KEYS_FILE.

    Enter its address in Temporal's page, or pass it to Temporal's CLI as --codec-endpoint.

    Example: kubiya server codec
    """
    check_server_installed()
    import uvicorn

    from kubiya_worker.launch.local import payload_variables
    from kubiya_worker.payloads import codec_server
    from kubiya_worker.payloads.codec import Codec
    from kubiya_worker.payloads.converter import Payloads
    from kubiya_worker.payloads.options import PayloadOptions

    payloads = Payloads.open(PayloadOptions.of_environment(payload_variables(os.environ)))
    if payloads.keys is None:
        raise ConfigurationError("There are no keys to decrypt with", remedy="Set KUBIYA_PAYLOAD_KEYS_FILE")
    for origin in origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
            raise UsageError(f"--origin {origin!r} is not an origin", remedy="Such as http://localhost:8233")
    token = _token(token_file)
    shown = f"[{host}]" if ":" in host else host
    if not token and shown not in codec_server.LOOPBACK:
        raise UsageError(f"Whoever reaches {host} could read the encrypted payloads", remedy="Give it a --token-file")
    app = codec_server.create_app(
        Codec(payloads.keys, compress=payloads.options.compression == "zlib"),
        origins or ORIGINS,
        token,
    )
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False, proxy_headers=False
    )
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Unavailable(
            f"Port {port} of {host} cannot be used: {error.strerror}", remedy="Choose another --port"
        ) from error
    click.echo(f"codec.listening url=http://{shown}:{listening.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listening])


DATABASE = click.option(
    "--database",
    help="SQLite file of the control plane.  [default: ~/.kubiya/dev/control-plane.db if it is there, else "
    "~/.kubiya/server/control-plane.db]",
)


@server.command("setup-temporal", short_help="Make executions searchable on Temporal's page.")
@click.option("--temporal-address", default="127.0.0.1:7233", show_default=True, help="host:port of Temporal")
@click.option("--temporal-namespace", default="default", show_default=True, help="Its namespace")
def setup_temporal(temporal_address: str, temporal_namespace: str) -> None:
    """Add the search attributes to a namespace of Temporal that its page and CLI find executions by.

    They are KubiyaAgent, KubiyaTeam, KubiyaQueue, KubiyaOrganization, KubiyaPerson and KubiyaStatus. The control plane
    sets them from then on. TLS and the API key come from the environment, as for `kubiya server start`.

    \b
    Example:  kubiya server setup-temporal --temporal-address temporal.example:7233
    Then:     temporal workflow list --query 'KubiyaAgent = "ops" AND KubiyaStatus = "waiting_for_input"'
    """
    check_server_installed()
    from kubiya_worker.server.setup_temporal import set_up

    for line in set_up(temporal_address, temporal_namespace):
        click.echo(line)


@server.command(short_help="Copy the database to a file, also while the server runs.")
@click.argument("file")
@DATABASE
def backup(file: str, database: str | None) -> None:
    """Copy the control plane's database to FILE (mode 0600), also while the server runs; nothing waits for it.

    The key that seals secrets is not in it: keep a copy of secrets.key in another place.

    \b
    Example:  kubiya server backup /var/backups/control-plane-$(date +%F).db
    """
    check_server_installed()
    from kubiya_worker.server.store.backup import back_up

    source = _database(database)
    copied = back_up(source, Path(file).expanduser().absolute())
    click.echo(f"backed up: {source} to {file} ({_summary(copied)})")
    sealing = source.parent / "secrets.key"
    if sealing.exists():
        click.echo(f"not in it: {sealing}, without which its secrets cannot be read; keep a copy in another place")


@server.command(short_help="Put a backup in the place of the database.")
@click.argument("file")
@DATABASE
def restore(file: str, database: str | None) -> None:
    """Put the backup FILE in the place of the control plane's database. Stop the server first.

    The database that was there stays beside it, as FILE.TIME.old. Executions that were open go on from what Temporal
    has; those that began after the backup are not known any more.

    \b
    Example:  kubiya server restore /var/backups/control-plane-2026-11-28.db
    """
    check_server_installed()
    from kubiya_worker.server.store.backup import put_back

    target = _database(database)
    contents, old = put_back(Path(file).expanduser().absolute(), target)
    click.echo(f"restored: {target} from {file} ({_summary(contents)})")
    if old is not None:
        click.echo(f"kept:     {old}")


@server.command(short_help="Move the data from an SQLite file to a PostgreSQL database.")
@click.option("--from", "source", help="SQLite file.  [default: as of backup]")
@click.option("--to", "target", help="postgresql://USER@HOST/NAME, empty.  [default: KUBIYA_DATABASE or its _FILE]")
def migrate(source: str | None, target: str | None) -> None:
    """Move the control plane's data from an SQLite file to an empty PostgreSQL database: all of it, or nothing.

    Stop the server first. The file stays as it is. Then start servers with --database postgresql://… and with the key
    that sealed the secrets. Executions that are open go on.

    \b
    Example:  kubiya server migrate --to postgresql://kubiya@db.example.org/kubiya
    """
    check_server_installed()
    from kubiya_worker.server.store import address
    from kubiya_worker.server.store.opened import transfer

    file = _database(source)
    try:
        place = address.of_command_line(target) if target is not None else address.of_environment(os.environ)
    except ValueError as error:
        raise UsageError(f"--to: {error}", remedy="See 'kubiya server migrate --help'") from error
    if not isinstance(place, address.PostgresAddress):
        raise UsageError("--to names no PostgreSQL database", remedy="Such as --to postgresql://USER@HOST/NAME")
    without_index = transfer(file, place, lambda table, rows: click.echo(f"{table}: {rows}") if rows else None)
    click.echo(f"moved:    {file} to {place}; start no server on the file again")
    if without_index:
        click.echo(f"search:   a search for a text reads all texts there, as it has no index: {without_index}")
    sealing = file.parent / "secrets.key"
    if sealing.exists():
        click.echo(f"key:      {sealing}, which all servers need as --secrets-key-file")


def _database(named: str | None) -> Path:
    if named is not None and "://" in named:
        raise UsageError(
            "A database on a server is backed up and restored by that server's own tools",
            remedy="For PostgreSQL use pg_dump --format=custom and pg_restore, see docs/control-plane.md",
        )
    if named is not None:
        return Path(named).expanduser().absolute()
    dev = default_folder(os.environ) / "control-plane.db"
    alone = Path("~/.kubiya/server/control-plane.db").expanduser()
    if dev.exists() and alone.exists():
        raise UsageError(f"There are two databases: {dev} and {alone}", remedy="Name one with --database")
    return dev if dev.exists() else alone


def _summary(contents: Contents) -> str:
    newest = f", the newest of {contents.newest[:19]}Z" if contents.newest else ""
    return f"{contents.executions} executions, {contents.events} events, {contents.size} bytes{newest}"


def _token(file: str | None) -> str:
    if file is None:
        return ""
    path = Path(file).expanduser()
    try:
        if open_to_others(path.stat()):
            raise ConfigurationError(f"{path} can be read by others", remedy=f"chmod 600 {path}")
        token = path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", remedy="Check --token-file") from error
    if len(token) < 16:
        raise ConfigurationError(f"The token in {path} is too short", remedy=f"openssl rand -hex 32 > {path}")
    return token
