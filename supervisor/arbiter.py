"""The arbiter decides: it receives signals and the ends of children, and says what comes next.

Each signal has a method `handle_<name>`. `ChildMonitor` hears what a running child says; `ChildStarter` starts it; the
`Loop` waits for all of them.

    starting ──READY=1──> running ──end──> backing_off ──> starting     (backoff.decide; or failed, or stopped)
        any ──SIGHUP──> stopping ──end──> starting          any ──SIGTERM──> stopping ──end──> stopped
        any ──SIGQUIT──> draining ──end──> stopped          draining ──SIGTERM──> stopping ──end──> stopped
"""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from . import aftermath, backoff, orphans, predecessor, state
from .announcer import Announcer
from .child_monitor import ChildMonitor
from .child_run import ChildRun, death
from .child_starter import ChildStarter
from .daemon import Readiness
from .instance import Instance
from .intent import RESTART, STOP, Intent
from .journal import Journal
from .loop import Loop
from .posix import kept, kernel, processes
from .posix.child import ChildExit
from .posix.wakeup import WakeupPipe

FORCED_KILL: Final = 3.0  # seconds from a forced stop to SIGKILL
FILES_EVERY: Final = 5.0  # seconds between looks whether our files and sockets are still there


class Arbiter:
    """The decisions of one supervisor, from its start to its end."""

    def __init__(
        self, instance: Instance, *, wakeup: WakeupPipe, readiness: Readiness, environment: dict[str, str]
    ) -> None:
        """Prepare; nothing is started yet. The child's environment is made from `environment`."""
        spec = instance.spec
        self._instance, self._wakeup, self._table = instance, wakeup, processes.table(spec.portable)
        reaper = not spec.portable and kernel.become_subreaper()
        self._loop, self._intent = Loop(), Intent()
        timers = self._loop.timers
        self._journal = Journal(instance, timers)
        self._announcer = Announcer(readiness, environment, timers)
        self._monitor = ChildMonitor(instance, self._loop, self._journal, self._announcer, self._intent, self._table)
        self._starter = ChildStarter(instance, environment, self._monitor.notify_address, self._loop, self._journal)
        self._orphans = orphans.Orphans(self._table, timers, self._loop.clock, reaper=reaper, keep=spec.keep)
        self._deaths: list[backoff.Death] = []
        self._code: int | None = None

    def run(self) -> int:
        """Supervise until there is nothing left to supervise. Return the exit code."""
        spec, control = self._instance.spec, self._instance.control
        self._loop.watch(self._wakeup.reader, self._on_signals)
        self._monitor.listen(self._starter.output)
        self._loop.watch(control, control.answer)
        self._journal.say("info", "started", pid=os.getpid(), program=spec.argv[0])
        self._announcer.keep_alive()
        self._keep_files()
        before = state.read(spec.state_file)
        self._instance.state.take_deaths(before)
        predecessor.clear_away(before, self._table, self._journal.say, self._loop.clock)
        self._start()
        while self._code is None:
            self._loop.turn()
        self._monitor.close()
        self._journal.close()
        return self._code

    # -- signals

    def _on_signals(self) -> None:
        for number in self._wakeup.arrived():
            if number == signal.SIGCHLD:
                self._reap()
            else:
                handler = getattr(self, f"handle_{signal.Signals(number).name.lower()}", None)
                if handler is not None:
                    handler()

    def handle_sigterm(self) -> None:
        self._asked_to_stop("SIGTERM")

    def handle_sigint(self) -> None:
        self._asked_to_stop("SIGINT")

    def handle_sigquit(self) -> None:
        """Drain: let the child finish its work without a time limit, then stop it and the supervisor."""
        drains, run = self._instance.spec.drains, self._monitor.run
        if not drains or self._intent.kind == RESTART:  # a restart ends it anyway, in its grace period
            self._asked_to_stop("SIGQUIT")
        elif not self._intent:
            self._loop.timers.drop("start")
            if run is None:
                self._finish(aftermath.EX_OK, "stopped", "SIGQUIT")
            else:
                self._monitor.drains("SIGQUIT")
                run.signal(signal.Signals[drains])

    def handle_sighup(self) -> None:
        """Restart the child gracefully."""
        if self._intent:
            return
        self._journal.say("info", "restarting", reason="SIGHUP")
        run = self._monitor.run
        if run is None:
            self._deaths.clear()
            self._start()
        else:
            self._intent.kind = RESTART
            self._end_run(run, "SIGHUP")

    def handle_sigusr1(self) -> None:
        """Open the log file again."""
        self._instance.log.reopen()
        self._journal.say("info", "log_reopened", file=self._instance.spec.log_file)

    def handle_sigusr2(self) -> None:
        """Raise the child's log level for a while."""
        seconds, run = self._instance.spec.log_level_seconds, self._monitor.run
        self._instance.state.log_level_until = time.time() + seconds
        self._loop.timers.set("level", seconds, self._level_back)
        self._journal.say("info", "log_level_raised", lasts=float(seconds))
        if run is not None and run.ready:
            run.child.signal(signal.SIGUSR2)
        self._journal.write_state()

    def _level_back(self) -> None:
        self._instance.state.log_level_until = None
        self._journal.say("info", "log_level_back")
        self._journal.write_state()

    # -- stopping

    def _asked_to_stop(self, reason: str) -> None:
        now, run = self._loop.clock(), self._monitor.run
        if self._intent.kind == STOP:
            if self._intent.forces(now):
                self._journal.say("warning", "forced", reason=reason)
                if run is not None:
                    run.force(FORCED_KILL)
            return
        before = self._intent.stop(now)
        self._loop.timers.drop("start")
        self._journal.say("info", "stopping", reason=reason)
        self._announcer.stopping()
        if run is None:
            self._finish(aftermath.EX_OK, "stopped", reason)
        elif before == RESTART:
            self._journal.become("stopping", reason)  # the child is stopping already
        else:
            self._end_run(run, reason)

    def _end_run(self, run: ChildRun, reason: str) -> None:
        self._journal.become("stopping", reason)
        self._monitor.expect_end()
        run.end()

    # -- the child's start and end

    def _start(self) -> None:
        self._loop.timers.drop("start")
        self._instance.state.next_start = None
        self._intent.kind = ""
        self._instance.log.forget()
        try:
            run = self._starter.start()
        except OSError as error:
            self._journal.say("error", "no_child", error=str(error))
            self._ended(ChildExit(code=71, why=f"cannot fork: {error}"))
            return
        self._monitor.follow(run)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self._monitor.run
            if self._instance.log.packer.ended(pid, status) or run is None:
                continue
            child = run.child
            if pid == child.guard:
                child.guard_ended = True
                self._monitor.hear_guard()
                if child.end is not None:
                    self._ended(child.end)
                else:
                    self._guard_was_killed(run)
            elif pid == child.pid:  # its guard is dead, so we are its parent now
                run.orphan_end = ChildExit.of_status(status, "its guard was killed")

    def _guard_was_killed(self, run: ChildRun) -> None:
        self._journal.say("warning", "guard_killed", pid=run.child.guard)

        def ended() -> None:
            self._reap()  # a process may have ended whose SIGCHLD has not arrived yet
            self._ended(run.orphan_end or ChildExit(signal="SIGKILL", why="its guard was killed"))

        grace = 0.0 if run.killed else orphans.GRACE
        self._orphans.end(run.child, grace=grace, but=self._not_of_runs, done=ended)

    def _not_of_runs(self) -> list[int]:
        packer = self._instance.log.packer.pid
        return [packer] if packer else []

    def _ended(self, end: ChildExit) -> None:
        """Record the end of a run; none of its processes are left. Then decide what comes next."""
        self._loop.timers.drop("orphans")
        run = self._monitor.leave()
        spec, now = self._instance.spec, self._loop.clock()
        facts = run.facts(self._intent.kind) if run else aftermath.NO_RUN
        kind = aftermath.kind_of(facts, end, spec)
        last_lines = self._instance.log.last_lines()
        self._instance.state.died(death(run, end, kind, now, last_lines))
        level = "info" if kind in ("asked", "done") else "error"
        self._journal.say(level, "child_ended", how=str(end), kind=kind, uptime=now - run.started_at if run else 0.0)
        most = max(100, spec.give_up_after + 1)
        healthy = run.healthy(now) if run else 0.0
        self._deaths = [*self._deaths, backoff.Death(kind, end.shell_code, healthy)][-most:]
        self._next(facts, end, last_lines)

    def _next(self, run: aftermath.RunFacts, end: ChildExit, last_lines: list[str]) -> None:
        now, state_file = self._loop.clock(), self._instance.state
        decision = aftermath.decide(run, end, self._deaths, state_file.why, now, _chance, self._instance.spec)
        if isinstance(decision, aftermath.Finish):
            shown = last_lines if decision.by_itself else []
            self._finish(decision.code, decision.become, decision.why, shown)
            return
        kind, delay = self._deaths[-1].kind, max(0.0, decision.at - now)
        state_file.restarts[kind] = state_file.restarts.get(kind, 0) + 1
        state_file.next_start = time.time() + delay
        if kind != "asked":
            self._journal.say("info", "backing_off", delay=float(delay), deaths=len(self._deaths))
        self._announcer.child_died(end, kind, last_lines, delay)
        self._journal.become("backing_off", str(end))
        self._loop.timers.set("start", delay, self._start)

    def _finish(self, code: int, become: str, why: str, last_lines: list[str] | None = None) -> None:
        spec = self._instance.spec
        self._journal.say("info" if become == "stopped" else "error", become, exit_code=code, reason=why)
        self._instance.state.exit_code = code
        if not spec.keep_beyond and (ended := kept.end(spec.keep, self._table)):
            self._journal.say("info", "kept_ended", processes=ended)
        self._journal.become(become, why)
        self._announcer.finished(code, why, last_lines or [])
        self._code = code

    # -- files

    def _keep_files(self) -> None:
        """Make again what somebody has removed, moved or overwritten; nobody could find us or be heard without it.

        One that stops makes nothing again: the files may be those of its successor.
        """
        if self._intent.kind == STOP:
            return
        self._loop.timers.set("files", FILES_EVERY, self._keep_files)
        self._journal.restore()
        self._monitor.restore()
        if self._instance.control.lost:
            self._journal.bind_again("control socket", self._instance.control, self._loop)


def _chance() -> float:
    """Return a random number from 0 to 1, without the `random` module: importing it costs 1 MB."""
    return int.from_bytes(os.urandom(6), "big") / (1 << 48)
