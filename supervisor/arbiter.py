"""The arbiter: one loop that receives signals, child events, output, notifications and timeouts, and acts on them.

Each signal has a method `handle_<name>`, each source of events an `_on_<source>`. Deadlines are named timers.

    starting ──READY=1──> running ──end──> backing_off ──> starting     (backoff.decide; or failed, or stopped)
        any ──SIGHUP──> stopping ──end──> starting          any ──SIGTERM──> stopping ──end──> stopped
        any ──SIGQUIT──> draining ──end──> stopped          draining ──SIGTERM──> stopping ──end──> stopped
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from typing import Final

from . import aftermath, backoff, lines, orphans, predecessor, state
from .child_run import ChildRun, death
from .daemon import Readiness
from .instance import Instance
from .journal import Journal
from .posix import kept, kernel, notify, processes
from .posix.child import Child, ChildExit, output_pipe
from .posix.control import ControlSocket
from .posix.wakeup import WakeupPipe
from .timers import Timers

FORCE_AFTER: Final = 1.0  # seconds: a second signal sooner than that is a repeat, not an order to force
FORCED_KILL: Final = 3.0  # seconds from a forced stop to SIGKILL
FILES_EVERY: Final = 5.0  # seconds between looks whether our files and sockets are still there
READ_SIZE: Final = 1 << 18


class Arbiter:
    def __init__(
        self,
        instance: Instance,
        *,
        wakeup: WakeupPipe,
        readiness: Readiness,
        environment: dict[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the loop; nothing is started yet.

        Guards hold the lock of the instance too. The child's environment is made from `environment`.
        """
        spec = self._spec = instance.spec
        self._log, self._state, self._owned = instance.log, instance.state, instance.owned
        self._control, self._wakeup, self._readiness, self._clock = instance.control, wakeup, readiness, clock
        self._upstream = notify.NotifySender(environment)
        self._listener = notify.NotifyReceiver(f"{spec.state_file}.run", spec.portable) if spec.notify else None
        self._environment = spec.child_environment(environment, self._listener.address if self._listener else "")
        self._table = processes.table(spec.portable)
        reaper = not spec.portable and kernel.become_subreaper()
        self._selector = selectors.DefaultSelector()
        self._timers = Timers(clock)
        self._orphans = orphans.Orphans(self._table, self._timers, clock, reaper=reaper, keep=spec.keep)
        self._journal = Journal(instance, self._timers)
        self._say = self._journal.say
        self._output, self._input = output_pipe()
        self._run: ChildRun | None = None
        self._deaths: list[backoff.Death] = []
        self._intent = ""  # "", "restart", "drain", "stop"
        self._asked_at = 0.0
        self._orphan_end: ChildExit | None = None  # the end of a child whose guard was killed
        self._code: int | None = None

    def run(self) -> int:
        """Supervise until there is nothing left to supervise. Return the exit code."""
        self._selector.register(self._wakeup.reader, selectors.EVENT_READ, self._on_signals)
        self._selector.register(self._output, selectors.EVENT_READ, self._on_output)
        if self._listener:
            self._selector.register(self._listener, selectors.EVENT_READ, self._on_notify)
        self._selector.register(self._control, selectors.EVENT_READ, self._control.answer)
        self._say("info", "started", pid=os.getpid(), program=self._spec.argv[0])
        self._own_watchdog()
        self._keep_files()
        before = state.read(self._spec.state_file)
        self._state.deaths = [each for each in before.get("deaths", ()) if isinstance(each, dict)][-state.DEATHS :]
        predecessor.clear_away(before, self._table, self._say, self._clock)
        self._start()
        while self._code is None:
            for key, _ in self._selector.select(self._timers.patience()):
                key.data()
            self._timers.run()
        self._close()
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
        if not self._spec.drains or self._intent == "restart":  # a restart ends it anyway, in its grace period
            self._asked_to_stop("SIGQUIT")
        elif not self._intent:
            self._timers.drop("start")
            if self._run is None:
                self._finish(aftermath.EX_OK, "stopped", "SIGQUIT")
            else:
                self._drains("SIGQUIT")
                self._run.signal(signal.Signals[self._spec.drains])

    def handle_sighup(self) -> None:
        """Restart the child gracefully."""
        if self._intent:
            return
        self._say("info", "restarting", reason="SIGHUP")
        if self._run is None:
            self._deaths.clear()
            self._start()
        else:
            self._intent = "restart"
            self._end_run(self._run, "SIGHUP")

    def handle_sigusr1(self) -> None:
        self._log.reopen()
        self._say("info", "log_reopened", file=self._spec.log_file)

    def handle_sigusr2(self) -> None:
        seconds = self._spec.log_level_seconds
        self._state.log_level_until = time.time() + seconds
        self._timers.set("level", seconds, self._level_back)
        self._say("info", "log_level_raised", seconds=seconds)
        if self._run is not None and self._run.ready:
            self._run.child.signal(signal.SIGUSR2)
        self._journal.write_state()

    def _level_back(self) -> None:
        self._state.log_level_until = None
        self._say("info", "log_level_back")
        self._journal.write_state()

    # -- stopping

    def _asked_to_stop(self, reason: str) -> None:
        now = self._clock()
        if self._intent == "stop":
            if now - self._asked_at > FORCE_AFTER:
                self._say("warning", "forced", reason=reason)
                if self._run is not None:
                    self._run.force(FORCED_KILL)
            return
        already, self._intent, self._asked_at = self._intent, "stop", now
        self._timers.drop("start")
        self._say("info", "stopping", reason=reason)
        self._upstream.send("STOPPING=1")
        if self._run is None:
            self._finish(aftermath.EX_OK, "stopped", reason)
        elif already == "restart":
            self._journal.become("stopping", reason)  # the child is stopping already
        else:
            self._end_run(self._run, reason)

    def _drains(self, reason: str) -> None:
        self._intent = "drain"
        self._say("info", "draining", reason=reason)
        self._journal.become("draining", reason)

    def _end_run(self, run: ChildRun, reason: str) -> None:
        self._journal.become("stopping", reason)
        self._timers.drop("watchdog", "ready")
        run.end()

    # -- the child

    def _start(self) -> None:
        self._timers.drop("start")
        self._state.next_start = None
        self._intent, self._orphan_end = "", None
        self._log.forget()
        started_at, mark = self._clock(), os.urandom(8).hex()
        try:
            child = Child(self._spec.command(), self._environment, mark, self._input, self._owned.descriptor)
        except OSError as error:  # no process, no descriptor left
            self._say("error", "no_child", error=str(error))
            self._ended(ChildExit(code=71, why=f"cannot fork: {error}"))
            return
        self._run = ChildRun(child, started_at, spec=self._spec, timers=self._timers, say=self._say)
        self._selector.register(child.channel, selectors.EVENT_READ, self._on_guard)
        self._journal.become("starting", "")
        self._feed_watchdog()
        if self._spec.ready_timeout:
            self._timers.set("ready", self._spec.ready_timeout, lambda: self._is_hung("it was not ready in time"))

    def _on_guard(self) -> None:
        run = self._run
        if run is None:
            return
        child = run.child
        messages = child.hear()
        if child.deaf and child.channel in self._selector.get_map():
            self._selector.unregister(child.channel)  # SIGCHLD reports the rest
        for message in messages:
            if "pid" in message:
                self._is_started(run)
            elif "code" in message or "error" in message:
                self._timers.drop("watchdog", "ready")
                run.child_ended()
            elif message.get("left"):
                self._say("warning", "left_behind", pids=",".join(map(str, message["left"])))

    def _is_started(self, run: ChildRun) -> None:
        child = run.child
        self._state.child = {
            "pid": child.pid,
            "start": child.start,
            "run": child.run,
            "started_at": lines.utc(),
            "ready_at": None,
            "status": "",
        }
        self._say("info", "child_started", pid=child.pid)
        self._readiness.tell("started", pid=os.getpid(), worker_pid=child.pid)
        self._journal.write_info()
        self._journal.write_state()
        if not self._spec.notify:
            self._is_ready(run)
        early, run.early = run.early, []
        for variables in early:
            self._is_notified(run, variables)

    def _is_ready(self, run: ChildRun) -> None:
        if run.ready or self._intent:
            return
        child = run.child
        self._on_output()  # its earlier output must be in the log before others learn that it is ready
        run.ready_at = self._clock()
        self._timers.drop("ready")
        self._feed_watchdog()
        if self._state.child:
            self._state.child["ready_at"] = lines.utc()
        self._journal.become("running", "")
        self._say("info", "child_ready", pid=child.pid, seconds=run.ready_at - run.started_at)
        self._readiness.final(True, pid=os.getpid(), worker_pid=child.pid, log_file=self._spec.log_file)
        self._upstream.send("READY=1", f"MAINPID={os.getpid()}")
        if self._state.log_level_until is not None:
            child.signal(signal.SIGUSR2)

    def _on_notify(self) -> None:
        assert self._listener is not None
        for sender, variables in self._listener.messages():
            run = self._run
            if run is None or run.child.end is not None or not self._is_ours(sender, run.child):
                continue
            if run.child.pid:
                self._is_notified(run, variables)
            else:
                run.early.append(variables)

    def _is_notified(self, run: ChildRun, variables: dict[str, str]) -> None:
        if variables.get("READY") == "1":
            self._is_ready(run)
        # Until it is ready every message counts: some children beat only then, and a READY=1 may have been lost.
        if ("WATCHDOG" in variables or not run.ready) and aftermath.watches(self._intent) and not run.hung:
            self._feed_watchdog()
        if "STATUS" in variables:
            self._has_status(variables["STATUS"])
        if variables.get("DRAINING") == "1" and not self._intent:
            self._drains("the child drains by itself")
        if variables.get("STOPPING") == "1" and aftermath.watches(self._intent):
            self._timers.drop("watchdog")  # it stops by itself and gets the same grace period as after SIGTERM
            run.stops_by_itself()
            self._journal.become("stopping", self._state.why if self._intent else "the child stops by itself")

    def _is_ours(self, sender: int | None, child: Child) -> bool:
        return sender is None or sender == child.pid or processes.is_below(sender, child.guard, self._table)

    def _has_status(self, status: str) -> None:
        if self._state.child is None or self._state.child["status"] == status:
            return
        self._state.child["status"] = status
        self._upstream.send(f"STATUS={status}")
        self._journal.write_state_soon()

    def _feed_watchdog(self) -> None:
        """Begin anew the time in which the child must give a sign of life; it runs from the start of every child."""
        if self._spec.notify and self._spec.watchdog:
            limit = self._spec.watchdog
            if self._run is None or not self._run.ready:
                limit = max(limit, self._spec.start_silence)
            self._timers.set("watchdog", limit, lambda: self._is_hung(f"no sign of life for {limit:g} s"))

    def _is_hung(self, reason: str) -> None:
        run = self._run
        if run is None or not aftermath.watches(self._intent):
            return
        run.hung = True
        self._say("error", "child_hung", pid=run.child.pid, reason=reason)
        self._journal.become("stopping", f"hung: {reason}")
        run.dump()

    # -- its end

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self._run
            if self._log.packer.ended(pid, status) or run is None:
                continue
            child = run.child
            if pid == child.guard:
                child.guard_ended = True
                self._on_guard()
                if child.end is not None:
                    self._ended(child.end)
                else:
                    self._guard_was_killed(run)
            elif pid == child.pid:  # its guard is dead, so we are its parent now
                self._orphan_end = ChildExit.of_status(status, "its guard was killed")

    def _guard_was_killed(self, run: ChildRun) -> None:
        self._say("warning", "guard_killed", pid=run.child.guard)
        grace = 0.0 if run.killed else orphans.GRACE
        self._orphans.end(run.child, grace=grace, but=self._not_of_runs, done=self._orphans_ended)

    def _not_of_runs(self) -> list[int]:
        packer = self._log.packer.pid
        return [packer] if packer else []

    def _orphans_ended(self) -> None:
        self._reap()  # a process may have ended whose SIGCHLD has not arrived yet
        self._ended(self._orphan_end or ChildExit(signal="SIGKILL", why="its guard was killed"))

    def _ended(self, end: ChildExit) -> None:
        """Record the end of a run; none of its processes are left. Then decide what comes next."""
        self._timers.drop("ready", "watchdog", "orphans")
        while self._on_output():
            pass
        self._log.end()
        run, self._run = self._run, None
        if run is not None:
            if run.child.channel in self._selector.get_map():
                self._selector.unregister(run.child.channel)
            run.close()
        facts = run.facts(self._intent) if run else aftermath.NO_RUN
        kind, now = aftermath.kind_of(facts, end, self._spec), self._clock()
        last_lines = self._log.last_lines()
        self._state.died(death(run, end, kind, now, last_lines))
        level = "info" if kind in ("asked", "done") else "error"
        self._say(level, "child_ended", how=str(end), kind=kind, uptime=now - run.started_at if run else 0.0)
        keep = max(100, self._spec.give_up_after + 1)
        healthy = run.healthy(now) if run else 0.0
        self._deaths = [*self._deaths, backoff.Death(kind, end.shell_code, healthy)][-keep:]
        self._next(facts, end, last_lines)

    def _next(self, run: aftermath.RunFacts, end: ChildExit, last_lines: list[str]) -> None:
        now = self._clock()
        decision = aftermath.decide(run, end, self._deaths, self._state.why, now, _chance, self._spec)
        if isinstance(decision, aftermath.Finish):
            shown = last_lines if decision.by_itself else []
            self._finish(decision.code, decision.become, decision.why, shown)
            return
        kind, delay = self._deaths[-1].kind, max(0.0, decision.at - now)
        self._state.restarts[kind] = self._state.restarts.get(kind, 0) + 1
        self._state.next_start = time.time() + delay
        if kind != "asked":
            self._say("info", "backing_off", seconds=delay, deaths=len(self._deaths))
        self._readiness.tell(
            "died",
            exit_code=end.shell_code,
            **{"class": kind},
            reason=str(end),
            last_lines=last_lines,
            retry_in=round(delay, 3),
        )
        self._journal.become("backing_off", str(end))
        self._timers.set("start", delay, self._start)

    def _finish(self, code: int, become: str, why: str, last_lines: list[str] | None = None) -> None:
        self._say("info" if become == "stopped" else "error", become, exit_code=code, reason=why)
        self._state.exit_code = code
        if not self._spec.keep_beyond and (ended := kept.end(self._spec.keep, self._table)):
            self._say("info", "kept_ended", processes=ended)
        self._journal.become(become, why)
        self._readiness.final(False, exit_code=code, reason=why, last_lines=last_lines or [])
        self._code = code

    # -- output and files

    def _on_output(self) -> int:
        """Copy the child's output to the log. Return the number of bytes read."""
        try:
            data = os.read(self._output, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return 0
        self._journal.copy(data)
        return len(data)

    def _keep_files(self) -> None:
        """Make again what somebody has removed, moved or overwritten; nobody could find us or be heard without it."""
        self._timers.set("files", FILES_EVERY, self._keep_files)
        self._journal.restore()
        if self._listener and self._listener.lost:
            self._on_notify()  # what has arrived on the old socket
            self._bind_again("notify socket", self._listener, self._on_notify)
        if self._control.lost:
            self._bind_again("control socket", self._control, self._control.answer)

    def _bind_again(self, name: str, bound: notify.NotifyReceiver | ControlSocket, on: Callable[[], None]) -> None:
        self._selector.unregister(bound)  # by its descriptor, which is another one afterwards
        if bound.bind_again():
            self._say("warning", "file_restored", file=name, how="removed or replaced")
        self._selector.register(bound, selectors.EVENT_READ, on)

    # -- beginning, end, time

    def _own_watchdog(self) -> None:
        if self._upstream.watchdog_every:
            self._upstream.send("WATCHDOG=1")
            self._timers.set("own_watchdog", self._upstream.watchdog_every, self._own_watchdog)

    def _close(self) -> None:
        if self._listener:
            self._listener.close()
        self._journal.close()


def _chance() -> float:
    """Return a random number from 0 to 1, without the `random` module: importing it costs 1 MB."""
    return int.from_bytes(os.urandom(6), "big") / (1 << 48)
