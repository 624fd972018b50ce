"""`kubiya worker top`: watch the workers of this host."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import click

from kubiya_worker.cli import top_view
from kubiya_worker.cli.options import queue_option
from kubiya_worker.cli.screen import Screen
from kubiya_worker.cli.terminal import Paint
from kubiya_worker.cli.top_view import AnyLook, Approvals, ContainerLook
from kubiya_worker.errors import WorkerError
from kubiya_worker.launch import containers
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.live import Watcher

ASK_EVERY: Final = 5.0  # seconds between two questions to the control plane
WITHIN: Final = 3.0  # seconds that --once waits for its answer
COUNTED: Final = 0.2  # seconds over which --once counts CPU


@click.command()
@queue_option("Without it all workers of this host; else those of this queue")
@click.option("--once", is_flag=True, help="Print it once and leave; so it is too when the output is no terminal.")
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), default=2.0, help="Seconds between two looks.  [default: 2]"
)
def top(queue_id: str | None, once: bool, interval: float) -> None:
    """Watch the workers of this host, in containers too: state, CPU, memory, slots, steps, tokens, lag. q quits.

    Tokens and lags come from a worker's metrics (KUBIYA_METRICS_PORT); the number of waiting approvals comes from the
    control plane of this shell's settings. Each is left out when it is not available.
    """
    queue = queue_id or os.environ.get("QUEUE_ID", "").strip()
    named = homes.find(queue) if queue else None

    def wanted() -> list[Home]:
        found = list(homes.homes())
        if named is None:
            return found
        own = [home for home in found if home.queue_folder == named.queue_folder]
        return own if own or containers.find(queue) else [named]

    sampler = Sampler(wanted, queue or None)
    if once or not sys.stdout.isatty():
        _once(sampler)
    else:
        _live(sampler, interval)


class Sampler:
    """Collects the state of workers and approvals in threads, so that a slow answer does not stop the screen."""

    def __init__(self, wanted: Callable[[], list[Home]], queue: str | None = None) -> None:
        self._wanted, self._queue = wanted, queue
        self._watchers: dict[Home, Watcher] = {}
        self._used: dict[str, tuple[float, float]] = {}  # a container's CPU seconds, and when they were read
        self.looks: list[AnyLook] | None = None
        self.approvals = Approvals()
        self.fault: WorkerError | None = None

    def look(self, *, figures: bool = True) -> list[AnyLook]:
        """Look at each worker once. Raises WorkerError."""
        homes_now = self._wanted()
        self._watchers = {home: self._watchers.get(home) or Watcher(home) for home in homes_now}
        own: list[AnyLook] = [watcher.look(figures=figures) for watcher in self._watchers.values()]
        return own + self._containers()

    def _containers(self) -> list[AnyLook]:
        """Look at the containers of the queue, or at all; CPU is counted since the last look."""
        looks: list[AnyLook] = []
        for found in containers.find(self._queue):
            used, now = containers.usage(found), time.monotonic()
            before, at = self._used.get(found.id, (None, now))
            if used is not None:
                self._used[found.id] = (used.cpu, now)
            known = used is not None and before is not None and now > at and used.cpu >= before
            cpu = 100 * (used.cpu - before) / (now - at) if known and used and before is not None else None
            looks.append(ContainerLook(found, cpu, used.memory if used else None))
        return looks

    def ask(self) -> Approvals:
        """Ask the control plane for the number of approvals. An error becomes part of the answer."""
        try:
            from kubiya_worker.cli.connection import connect

            api = connect()
            try:
                return Approvals(len(api.approvals("pending")))
            finally:
                api.close()
        except WorkerError as error:
            return Approvals(None, error.message)

    def start(self, interval: float, changed: Callable[[], None]) -> None:
        def looking() -> None:
            while self.fault is None:
                began = time.monotonic()
                try:
                    self.looks = self.look()
                except WorkerError as error:
                    self.fault = error
                changed()
                time.sleep(max(0.1, interval - (time.monotonic() - began)))

        def asking() -> None:
            while True:
                self.approvals = self.ask()
                changed()
                time.sleep(ASK_EVERY)

        for work in (looking, asking):
            threading.Thread(target=work, daemon=True).start()


def _once(sampler: Sampler) -> None:
    asking = threading.Thread(target=lambda: setattr(sampler, "approvals", sampler.ask()), daemon=True)
    asking.start()
    sampler.look(figures=False)  # CPU is counted from here
    time.sleep(COUNTED)
    looks = sampler.look()
    asking.join(WITHIN)
    print("\n".join(top_view.plain(looks, sampler.approvals, time.time(), Paint.for_stream(sys.stdout))))


def _live(sampler: Sampler, interval: float) -> None:
    paint, host = Paint.for_stream(sys.stdout), socket.gethostname()
    with Screen() as screen:
        sampler.start(interval, screen.wake)
        while screen.ended is None:
            if sampler.fault is not None:
                raise sampler.fault
            columns, lines = screen.size
            if sampler.looks is None:
                screen.draw([top_view.HELP])
            else:
                shown = top_view.frame(sampler.looks, sampler.approvals, host, time.time(), paint, columns, lines)
                screen.draw(shown)
            if set(screen.wait(interval)) & set("qQ\x04"):
                return
