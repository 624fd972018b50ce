"""The child monitor hears what the child and its guard say while the child runs, and notices when they say nothing.

Each source of events has a method `_on_<source>`. What follows from the child's end is the arbiter's to decide.
"""

from __future__ import annotations

import os
import signal
from typing import Final

from . import lines
from .announcer import Announcer
from .child_run import ChildRun
from .instance import Instance
from .intent import DRAIN, Intent
from .journal import Journal
from .loop import Loop
from .posix import processes
from .posix.child import Child
from .posix.notify import NotifyReceiver

READ_SIZE: Final = 1 << 18


class ChildMonitor:
    """Follow one run of the child at a time: `run`, or None between runs. Its timers are "ready" and "watchdog"."""

    def __init__(
        self,
        instance: Instance,
        loop: Loop,
        journal: Journal,
        announcer: Announcer,
        intent: Intent,
        table: processes.Table,
    ) -> None:
        self._instance, self._loop, self._journal, self._announcer = instance, loop, journal, announcer
        self._intent, self._table = intent, table
        spec = instance.spec
        self._listener = NotifyReceiver(f"{spec.state_file}.run", spec.portable) if spec.notify else None
        self._output = -1
        self.run: ChildRun | None = None

    @property
    def notify_address(self) -> str:
        """Return where the child sends its messages; empty when it sends none."""
        return self._listener.address if self._listener else ""

    def listen(self, output: int) -> None:
        """Begin to listen to all children. `output` is the descriptor to read their output from."""
        self._output = output
        self._loop.watch(output, self.copy_output)
        if self._listener:
            self._loop.watch(self._listener, self._on_notify)

    def follow(self, run: ChildRun) -> None:
        """Listen to a run that has just been started."""
        self.run = run
        self._loop.watch(run.child.channel, self.hear_guard)
        self._journal.become("starting", "")
        self._feed_watchdog()
        limit = self._instance.spec.ready_timeout
        if limit:
            self._loop.timers.set("ready", limit, lambda: self._is_hung("it was not ready in time"))

    def leave(self) -> ChildRun | None:
        """Read the last output of the run and return the run. None is followed afterwards."""
        self.expect_end()
        while self.copy_output():
            pass
        self._instance.log.end()
        run, self.run = self.run, None
        if run is not None:
            self._loop.ignore(run.child.channel)
            run.close()
        return run

    def expect_end(self) -> None:
        """Wait for no more signs of life, because the run ends."""
        self._loop.timers.drop("watchdog", "ready")

    def close(self) -> None:
        if self._listener:
            self._listener.close()

    # -- output

    def copy_output(self) -> int:
        """Copy the child's output to the log. Return the number of bytes read."""
        try:
            data = os.read(self._output, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return 0
        self._journal.copy(data)
        return len(data)

    # -- the guard

    def hear_guard(self) -> None:
        """Read what the guard says of the run, and act on it."""
        run = self.run
        if run is None:
            return
        child = run.child
        messages = child.hear()
        if child.deaf:
            self._loop.ignore(child.channel)  # SIGCHLD reports the rest
        for message in messages:
            if "pid" in message:
                self._is_started(run)
            elif "code" in message or "error" in message:
                self.expect_end()
                run.child_ended()
            elif message.get("left"):
                self._journal.say("warning", "left_behind", pids=",".join(map(str, message["left"])))

    def _is_started(self, run: ChildRun) -> None:
        child, journal = run.child, self._journal
        self._instance.state.child = {
            "pid": child.pid,
            "start": child.start,
            "run": child.run,
            "started_at": lines.utc(),
            "ready_at": None,
            "status": "",
        }
        journal.say("info", "child_started", pid=child.pid)
        self._announcer.child_started(child.pid)
        journal.write_info()
        journal.write_state()
        if not self._instance.spec.notify:
            self._is_ready(run)
        early, run.early = run.early, []
        for variables in early:
            self._is_notified(run, variables)

    def _is_ready(self, run: ChildRun) -> None:
        if run.ready or self._intent:
            return
        child, state = run.child, self._instance.state
        self.copy_output()  # its earlier output must be in the log before others learn that it is ready
        run.ready_at = self._loop.clock()
        self._loop.timers.drop("ready")
        self._feed_watchdog()
        if state.child:
            state.child["ready_at"] = lines.utc()
        self._journal.become("running", "")
        self._journal.say("info", "child_ready", pid=child.pid, seconds=run.ready_at - run.started_at)
        self._announcer.child_ready(child.pid, self._instance.spec.log_file)
        if state.log_level_until is not None:
            child.signal(signal.SIGUSR2)

    # -- notifications

    def _on_notify(self) -> None:
        assert self._listener is not None
        for sender, variables in self._listener.messages():
            run = self.run
            if run is None or run.child.end is not None or not self._is_ours(sender, run.child):
                continue
            if run.child.pid:
                self._is_notified(run, variables)
            else:
                run.early.append(variables)

    def _is_notified(self, run: ChildRun, variables: dict[str, str]) -> None:
        intent = self._intent
        if variables.get("READY") == "1":
            self._is_ready(run)
        # Until it is ready every message counts: some children beat only then, and a READY=1 may have been lost.
        if ("WATCHDOG" in variables or not run.ready) and intent.watches() and not run.hung:
            self._feed_watchdog()
        if "STATUS" in variables:
            self._has_status(variables["STATUS"])
        if variables.get("DRAINING") == "1" and not intent:
            self.drains("the child drains by itself")
        if variables.get("STOPPING") == "1" and intent.watches():
            # It stops by itself and gets the same grace period as after SIGTERM.
            self._loop.timers.drop("watchdog")
            run.stops_by_itself()
            self._journal.become("stopping", self._instance.state.why if intent else "the child stops by itself")

    def _is_ours(self, sender: int | None, child: Child) -> bool:
        return sender is None or sender == child.pid or processes.is_below(sender, child.guard, self._table)

    def _has_status(self, status: str) -> None:
        child = self._instance.state.child
        if child is None or child["status"] == status:
            return
        child["status"] = status
        self._announcer.child_status(status)
        self._journal.write_state_soon()

    def drains(self, reason: str) -> None:
        """Note that the child finishes its work and takes no more."""
        self._intent.kind = DRAIN
        self._journal.say("info", "draining", reason=reason)
        self._journal.become("draining", reason)

    def restore(self) -> None:
        """Bind the notify socket again when somebody has removed it."""
        if self._listener and self._listener.lost:
            self._on_notify()  # what has arrived on the old socket
            self._journal.bind_again("notify socket", self._listener, self._loop)

    # -- silence

    def _feed_watchdog(self) -> None:
        """Begin anew the time in which the child must give a sign of life; it runs from the start of every child."""
        spec = self._instance.spec
        if spec.notify and spec.watchdog:
            limit = spec.watchdog
            if self.run is None or not self.run.ready:
                limit = max(limit, spec.start_silence)
            self._loop.timers.set("watchdog", limit, lambda: self._is_hung(f"no sign of life for {limit:g} s"))

    def _is_hung(self, reason: str) -> None:
        run = self.run
        if run is None or not self._intent.watches():
            return
        run.hung = True
        self._journal.say("error", "child_hung", pid=run.child.pid, reason=reason)
        self._journal.become("stopping", f"hung: {reason}")
        run.dump()
