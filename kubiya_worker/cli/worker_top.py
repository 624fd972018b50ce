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
from kubiya_worker.cli.api.approvals import ApprovalsApi
from kubiya_worker.cli.options import queue_option
from kubiya_worker.cli.screen import FullScreen
from kubiya_worker.cli.terminal import Paint
from kubiya_worker.cli.top_view import AnyLook, ApprovalCount, ContainerLook, StackLook
from kubiya_worker.errors import WorkerError
from kubiya_worker.launch import containers, dev_worker
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.live import Watcher

ASK_EVERY: Final = 5.0  # seconds between two questions to the control plane
WITHIN: Final = 3.0  # seconds that --once waits for its answer
COUNTED: Final = 0.2  # seconds over which --once counts CPU


@click.command()
@queue_option("Only workers of this queue; without it all of this host")
@click.option(
    "--once", is_flag=True, help="Print the table once and exit; the default if the output is not a terminal."
)
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), default=2.0, help="Seconds between two updates.  [default: 2]"
)
def top(queue_id: str | None, once: bool, interval: float) -> None:
    """Watch the workers of this host, in containers too: state, CPU, memory, slots, steps, tokens, lag. q quits.

    Tokens and lags come from a worker's metrics (KUBIYA_METRICS_PORT); the number of waiting approvals comes from the
    control plane of this shell's settings. Each is left out when it is not available.

    Example: kubiya worker top
    """
    queue = queue_id or os.environ.get("QUEUE_ID", "").strip()
    queue_home = homes.find(queue) if queue else None

    def selected_homes() -> list[Home]:
        selected = list(homes.started())
        if queue_home is None:
            return selected
        own = [home for home in selected if home.queue_folder == queue_home.queue_folder]
        elsewhere = containers.find(queue) or dev_worker.meant(queue)
        return own if own or elsewhere else [queue_home]

    sampler = Sampler(selected_homes, queue or None)
    if once or not sys.stdout.isatty():
        _once(sampler)
    else:
        _live(sampler, interval)


class Sampler:
    """Collects the state of workers and approvals in threads, so that a slow answer does not stop the screen."""

    def __init__(self, homes_of_queue: Callable[[], list[Home]], queue: str | None = None) -> None:
        self._homes, self._queue = homes_of_queue, queue
        self._watchers: dict[Home, Watcher] = {}
        self._cpu_readings: dict[str, tuple[float, float]] = {}  # a container's CPU seconds, and when they were read
        self.looks: list[AnyLook] | None = None
        self.approvals = ApprovalCount()
        self.fault: WorkerError | None = None

    def sample(self, *, figures: bool = True) -> list[AnyLook]:
        """Look at each worker once. Raises WorkerError."""
        homes_now = self._homes()
        self._watchers = {home: self._watchers.get(home) or Watcher(home) for home in homes_now}
        own: list[AnyLook] = [watcher.look(figures=figures) for watcher in self._watchers.values()]
        return own + self._containers() + self._stack()

    def _stack(self) -> list[AnyLook]:
        """Look at the worker of `kubiya dev`, if it is of the queue."""
        stack = dev_worker.find(os.environ)
        return [StackLook(stack)] if stack is not None and self._queue in (None, stack.queue) else []

    def _containers(self) -> list[AnyLook]:
        """Look at the containers of the queue, or at all; CPU is counted since the last look."""
        looks: list[AnyLook] = []
        for container in containers.find(self._queue):
            usage, now = containers.usage(container), time.monotonic()
            before, at = self._cpu_readings.get(container.id, (None, now))
            if usage is not None:
                self._cpu_readings[container.id] = (usage.cpu, now)
            known = usage is not None and before is not None and now > at and usage.cpu >= before
            cpu = 100 * (usage.cpu - before) / (now - at) if known and usage and before is not None else None
            looks.append(ContainerLook(container, cpu, usage.memory if usage else None))
        return looks

    def count_approvals(self) -> ApprovalCount:
        """Ask the control plane for the number of approvals. An error becomes part of the answer."""
        try:
            from kubiya_worker.cli.connection import connect

            api = connect()
            try:
                return ApprovalCount(len(ApprovalsApi(api).all("pending")))
            finally:
                api.close()
        except WorkerError as error:
            return ApprovalCount(None, error.message)

    def start(self, interval: float, changed: Callable[[], None]) -> None:
        def looking() -> None:
            while self.fault is None:
                began = time.monotonic()
                try:
                    self.looks = self.sample()
                except WorkerError as error:
                    self.fault = error
                changed()
                time.sleep(max(0.1, interval - (time.monotonic() - began)))

        def asking() -> None:
            while True:
                self.approvals = self.count_approvals()
                changed()
                time.sleep(ASK_EVERY)

        for work in (looking, asking):
            threading.Thread(target=work, daemon=True).start()


def _once(sampler: Sampler) -> None:
    asking = threading.Thread(target=lambda: setattr(sampler, "approvals", sampler.count_approvals()), daemon=True)
    asking.start()
    sampler.sample(figures=False)  # CPU is counted from here
    time.sleep(COUNTED)
    looks = sampler.sample()
    asking.join(WITHIN)
    print("\n".join(top_view.plain_lines(looks, sampler.approvals, time.time(), Paint.for_stream(sys.stdout))))


def _live(sampler: Sampler, interval: float) -> None:
    paint, host = Paint.for_stream(sys.stdout), socket.gethostname()
    with FullScreen() as screen:
        sampler.start(interval, screen.wake)
        while screen.end_signal is None:
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
