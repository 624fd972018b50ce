"""`kubiya worker start`: run a worker in the foreground, or a supervised one in the background."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kubiya_worker.cli.options import config_file, foreign_flags, settings, use_for_connections
from kubiya_worker.cli.terminal import clean
from kubiya_worker.doctor import quick_checks
from kubiya_worker.errors import EX_TEMPFAIL, ConfigurationError, TemporaryFailure, UsageError, WorkerError
from kubiya_worker.launch import home as homes
from kubiya_worker.launch import local
from kubiya_worker.launch.home import Home
from kubiya_worker.settings import Settings, sources, unused_options

if TYPE_CHECKING:
    from kubiya_worker.launch.daemon import Launch

WORKER_PREFIX: Final = "kubiya worker: "  # the beginning of the worker's last line (process/main.py)
LOG_LINES: Final = 20  # lines of the log when a start fails


class _Start(click.Command):
    """A command that ignores blank words: the worker guide's example has spaces after a line's backslash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [word for word in args if word.strip() or not word])


@click.command(cls=_Start)
@settings("queue_id", "deployment_type", "daemon_mode")
@click.option("--instance", type=int, default=1, help="Number of this worker, where a host has several of a queue.")
@click.option("--wait-timeout", type=float, default=60.0, help="-d: seconds to wait until it polls.  [default: 60]")
@click.option("--no-wait", is_flag=True, help="-d: do not wait until it polls.")
@settings("control_plane_url", "api_key_file")
@config_file
@settings(
    "model_override",
    "skip_model_validation",
    "enable_local_proxy",
    "proxy_config_file",
    "proxy_config_json",
    "heartbeat_interval",
    "grace_period",
    "max_concurrent_activities",
    "log_level",
)
@settings("metrics_port", "max_log_size", "max_log_backups")
@settings("package_version", "local_wheel", "package_source", "no_cache", "no_update")
@settings("image", "image_tag", "pull", "memory", "cpus")
@click.option("--no-webui", is_flag=True, hidden=True, help="No effect: a worker has no web page.")
@foreign_flags
@click.option("--api-key", "api_key_on_argv", hidden=True, help="Refused: argv is visible to every user.")
def start(
    config: str | None,
    api_key_on_argv: str | None,
    instance: int,
    wait_timeout: float,
    no_wait: bool,
    no_webui: bool,
    **flags: Any,
) -> int:
    """Run a worker in the foreground until it is stopped, or with -d supervised in the background.

    Example: kubiya worker start --queue-id default -d
    """
    if api_key_on_argv is not None:
        raise UsageError(
            "An API key on the command line is visible to every user of this host",
            remedy="Set KUBIYA_API_KEY, or use --api-key-file; and replace that key",
        )
    if flags["proxy_config_json"]:
        from kubiya_worker.models.routes import literal_keys

        if literal_keys(flags["proxy_config_json"]):
            raise UsageError(
                "Keys in --proxy-config-json are visible to every user of this host",
                remedy="Write os.environ/NAME for them, or use --proxy-config-file; and replace those keys",
            )
    configured = sources.resolve(flags, os.environ, config)
    if configured.daemon_mode or configured.deployment_type == "docker":
        use_for_connections(configured)  # in the foreground the worker does it, before it connects
    for unused in unused_options.found_in(os.environ):
        _print_event(unused.line)
    if configured.deployment_type == "docker":
        from kubiya_worker.launch import docker

        return docker.run(
            configured, detach=configured.daemon_mode, wait=0.0 if no_wait else wait_timeout, say=_print_event
        )
    folders = configured.written_folders(here=not configured.daemon_mode)
    for fault in quick_checks.faults(Path("~/.kubiya"), folders, first_start=_is_first_start()):
        _print_event(fault)
    if configured.daemon_mode:
        return daemonize(homes.find(configured.queue_id, instance), configured, 0.0 if no_wait else wait_timeout)
    try:
        home: Home | None = homes.find(configured.queue_id, instance)
    except ConfigurationError:
        home = None  # no home directory: a container
    local.exec_worker(configured, home, _print_event)


def _is_first_start() -> bool:
    """Return whether this user has started no worker yet."""
    try:
        return next(homes.homes(), None) is None
    except (WorkerError, OSError):
        return False  # no home directory: a container, where nobody types commands


def _print_event(text: str) -> None:
    click.echo(f"kubiya worker: {text}", err=True)


def daemonize(home: Home, settings: Settings, wait: float) -> int:
    """Start a supervised worker in the background. Return 0 when it polls.

    Every check that can fail runs before the fork, so that its error is shown in the terminal.
    """
    from kubiya_worker.launch import daemon, ports, preflight

    settings = replace(settings, daemon_mode=True)
    _refuse_second(home)
    if settings.metrics_port:
        ports.refuse_taken(settings.metrics_host, settings.metrics_port)
    queue = preflight.check(settings)
    argv = local.prepare(home, settings, _print_event, in_use=_others_run(home))
    home.link(queue.other_than(home.queue))
    home.status_file.unlink(missing_ok=True)
    if os.getpid() == 1:
        _print_event(f"PID 1 of a container: the supervisor runs in the foreground; the log is {home.log_file}")
        return daemon.run_in_foreground(home, settings, argv, queue)
    log_size_before = _size(home)
    launch = daemon.Launch(home, settings, argv, queue)
    try:
        return _follow(launch, home, wait, log_size_before, settings)
    finally:
        launch.close()


def _notify_readiness_socket(settings: Settings, supervisor: int, home: Home) -> None:
    if not settings.readiness_socket:
        return
    from kubiya_worker import readiness_socket

    line = readiness_socket.line(supervisor, settings.queue_id, settings.control_plane_url, str(home.folder))
    try:
        readiness_socket.send(settings.readiness_socket, line)
    except OSError as error:
        _print_event(
            f"KUBIYA_READINESS_SOCKET {settings.readiness_socket} cannot be reached: {error.strerror or error}"
        )


def _refuse_second(home: Home) -> None:
    from kubiya_worker.launch import report

    running = report.examine(home)
    if running.alive:
        raise _already_runs(home, running.pid, running.word.lower())


def _already_runs(home: Home, pid: int | None, word: str) -> WorkerError:
    number = home.instance + 1
    if word == "draining":
        return TemporaryFailure(
            f"A worker of {home.label} is draining (pid {pid}, {home.folder}); it was not touched",
            remedy=f"Wait for its end, or start another one with --instance {number}",
        )
    return TemporaryFailure(
        f"A worker of {home.label} is {word} already (pid {pid}, {home.folder}); it was not touched",
        remedy=f"kubiya worker restart {home.flags}, or start another one with --instance {number}",
    )


def _others_run(home: Home) -> bool:
    """Return whether another instance uses the queue's venv."""
    from kubiya_worker.launch import report

    siblings = (h for h in homes.homes(home.queue_folder.parent) if h.queue_folder == home.queue_folder and h != home)
    return any(report.examine(sibling).alive for sibling in siblings)


def _follow(launch: Launch, home: Home, wait: float, logged: int, settings: Settings) -> int:
    """Report the start until the worker polls, the supervisor gives up, or the time is up.

    `logged` is the size of the log in bytes before the start.
    """
    from kubiya_worker.launch.daemon import EX_PID_FILE_HELD, read_json

    reason = ""
    # Even without waiting, wait for the PID file, so that `status` and `stop` work at once.
    for event in launch.events(wait or 15.0):
        if event.ready is True:
            worker = f", worker {event.worker_pid}" if event.worker_pid else ""
            print(f"ready: a worker polls the queue {home.label} (pid {event.pid}{worker})")
            print(f"log: {home.log_file}")
            _notify_readiness_socket(settings, event.pid or 0, home)
            return 0
        if event.ready is False and event.exit_code == EX_PID_FILE_HELD:
            raise _already_runs(home, event.pid, "running")
        if event.ready is False:
            raise _failed(event.exit_code, event.reason, event.last_lines, home)
        if event.event == "started" and not wait:
            print(f"started (pid {event.pid}); kubiya worker status {home.flags} says when it polls")
            print(f"log: {home.log_file}")
            return 0
        if event.event == "died":
            reason = event.reason
            again = f"; tried again in {event.retry_in:.1f} s" if event.retry_in is not None else ""
            _print_event(f"the worker ended with {_ending(event.exit_code)}: {reason}{again}")
    _print_lines(_lines_since(home, logged))
    child = read_json(home.state_file).get("child") or {}
    reason = reason or str(child.get("status") or "")
    raise TemporaryFailure(
        f"The worker does not poll after {wait:g} s{f': {reason}' if reason else ''}; it goes on trying",
        remedy=f"kubiya worker status {home.flags}, or stop it: kubiya worker stop {home.flags}",
    )


def _ending(code: int | None) -> str:
    return "a signal" if code is None else f"exit code {code}"


def _failed(code: int | None, reason: str, lines: Sequence[str], home: Home) -> WorkerError:
    last = next((line for line in reversed(lines) if line.startswith(WORKER_PREFIX)), "")
    _print_lines([line for line in lines if line != last])
    last_words = clean(last).removeprefix(WORKER_PREFIX)
    error = WorkerError(last_words or reason or "The worker could not be started", remedy=f"The log is {home.log_file}")
    error.exit_code = code or EX_TEMPFAIL
    return error


def _size(home: Home) -> int:
    try:
        return home.log_file.stat().st_size
    except OSError:
        return 0


def _lines_since(home: Home, start: int) -> list[str]:
    """Return the lines that this start has logged.

    `start` is the log's earlier size in bytes; a rotation makes it invalid, and then the whole end is read.
    """
    try:
        with home.log_file.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= end else 0, end - 16384))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines[-LOG_LINES:]:
        print(f"  {clean(line)}", file=sys.stderr)
