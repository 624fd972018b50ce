"""`kubiya server`: run only the local control plane. This process becomes it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

from kubiya_worker.errors import ConfigurationError, Unavailable, UsageError
from kubiya_worker.launch.local import check_server_installed
from kubiya_worker.launch.temporal_server import CODEC_PORT, ORIGINS

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
    """Run the control plane in the foreground until it is stopped; `--help` shows its options."""
    check_server_installed()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "kubiya_worker.server", *arguments])  # noqa: S606


@server.command(short_help="Let Temporal's page and CLI read encrypted payloads.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; beyond loopback with a token."
)
@click.option("--port", default=CODEC_PORT, show_default=True, type=PORT, help="0 takes a free one.")
@click.option("--origin", "origins", multiple=True, help="Of Temporal's page. [default: http://localhost:8233]")
@click.option("--token-file", help="File (0600) with the token that must come as Authorization: Bearer.")
def codec(host: str, port: int, origins: tuple[str, ...], token_file: str | None) -> None:
    """Run a codec server with the keys of KUBIYA_PAYLOAD_KEYS_FILE.

    Enter its address in Temporal's page, or pass it to Temporal's CLI as --codec-endpoint.
    """
    check_server_installed()
    import uvicorn

    from kubiya_worker.launch.local import payload_variables
    from kubiya_worker.payloads import codec_server
    from kubiya_worker.payloads.codec import Codec
    from kubiya_worker.payloads.converter import Options, Payloads

    payloads = Payloads.open(Options.of_environment(payload_variables(os.environ)))
    if payloads.keys is None:
        raise ConfigurationError("There are no keys to decrypt with", remedy="Set KUBIYA_PAYLOAD_KEYS_FILE")
    for origin in origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
            raise UsageError(f"--origin {origin!r} is no origin", remedy="Such as http://localhost:8233")
    token = _token(token_file)
    shown = f"[{host}]" if ":" in host else host
    if not token and shown not in codec_server.LOOPBACK:
        raise UsageError(f"Whoever reaches {host} would read what is encrypted", remedy="Give it a --token-file")
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


def _token(file: str | None) -> str:
    if file is None:
        return ""
    path = Path(file).expanduser()
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} can be read by others", remedy=f"chmod 600 {path}")
        token = path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", remedy="Check --token-file") from error
    if len(token) < 16:
        raise ConfigurationError(f"The token in {path} is short", remedy=f"openssl rand -hex 32 > {path}")
    return token
