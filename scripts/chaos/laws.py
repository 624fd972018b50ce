"""The laws of a chaos run, each a pure function of the evidence: how often it was tried, and every breach.

A call may be made again only if a fault hit the very worker that had it, while it had it; a fault pays for one
repetition of a call. That some fault was near in time pays for nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from scripts.chaos.evidence import Evidence, Execution, Hit, Request, Run

# A worker that stands still for less than this cannot look dead: 12 s without a heartbeat, of which one comes at
# least every 3 s (kubiya_worker/workflows/options.py).
LOOKS_DEAD_AFTER: Final = 9.0
UNKNOWN: Final = "unknown"
NOT_TWICE: Final = ("shell", "sign")  # tools that are not idempotent


@dataclass
class Verdict:
    law: str
    tried: int = 0
    breaches: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)  # what happened within the law

    def check(self, holds: bool, breach: str) -> None:
        self.tried += 1
        if not holds:
            self.breaches.append(breach)


def judge(evidence: Evidence) -> list[Verdict]:
    return [law(evidence) for law in LAWS]


# -- executions and their calls


def all_end(seen: Evidence) -> Verdict:
    verdict = Verdict("every execution is completed, with its answer")
    for run in seen.executions:
        good = (run.status, run.response) == ("completed", run.expected)
        verdict.check(good, f"{run.token} ({run.variant}): {run.status or 'unknown'} {run.response[:100]!r}")
    return verdict


def finished_models_stay(seen: Evidence) -> Verdict:
    """The next step is asked for only when the one before has been written down: from then on it may not come again."""
    verdict = Verdict("a finished model call is never made again")
    for run in seen.executions:
        reached = -1
        for request in _requests(seen, run):
            verdict.check(request.step >= reached, f"{run.token}: step {request.step} after step {reached}")
            reached = max(reached, request.step)
            if run.ended:
                verdict.check(request.at <= run.ended, f"{run.token}: step {request.step} after the end")
    return verdict


def models_repeat_for_a_reason(seen: Evidence) -> Verdict:
    verdict = Verdict("a model call under way is made again at most once for each fault that hit its worker")
    for run in seen.executions:
        by_step = _by_step(seen, run)
        for step, asked in by_step.items():
            tries = [(each.pid or _worker_at(seen, each.at), each.at) for each in asked]
            _repeats(verdict, f"{run.token} model call {step}", _answered(by_step, step - 1, run), tries, seen.hits)
    return verdict


def tools_run_once(seen: Evidence) -> Verdict:
    verdict = Verdict("a tool that is not idempotent runs at most once, and once if it is said to have succeeded")
    counts = Counter(each.call for each in seen.runs if each.tool in NOT_TWICE)
    for run in seen.executions:
        for event in run.log:
            if event.type != "tool_completed" or not event.call.endswith(NOT_TWICE):
                continue
            ran, told = counts.pop(event.call, 0), event.outcome
            verdict.notes[told] += 1
            killed = event.call in seen.killed_calls
            if told == "success":
                verdict.check(ran == 1, f"{event.call} ran {ran} times and is said to have succeeded")
            elif told == "failed":
                verdict.check(
                    ran <= 1 and killed, f"{event.call} ran {ran} times, failed, and its process was not killed"
                )
            else:
                verdict.check(ran <= 1 and told == UNKNOWN, f"{event.call} ran {ran} times and is said to be {told}")
    for call, ran in counts.items():
        verdict.check(False, f"{call} ran {ran} times and nothing is said of it")
    return verdict


def tools_repeat_for_a_reason(seen: Evidence) -> Verdict:
    verdict = Verdict("an idempotent tool runs again, or an outcome is unknown, only for a fault that hit the worker")
    runs: dict[str, list[Run]] = defaultdict(list)
    for each in seen.runs:
        runs[each.call].append(each)
    for run in seen.executions:
        by_step = _by_step(seen, run)
        for event in run.log:
            if event.type != "tool_completed":
                continue
            ran = runs.get(event.call, [])
            if not event.call.endswith(NOT_TWICE):
                verdict.check(bool(ran), f"{event.call} is completed and never ran")
                verdict.check(event.outcome == "success", f"{event.call} is said to be {event.outcome}")
                begin = _answered(by_step, int(event.call.split("-")[1]), run)
                _repeats(verdict, event.call, begin, [(each.pid, each.at) for each in ran], seen.hits)
                told = _asked(by_step, int(event.call.split("-")[1]) + 1, run)
                late = [each.at for each in ran if each.at > told]
                verdict.check(not late, f"{event.call} ran again when its outcome was known already")
            elif event.outcome == UNKNOWN:
                # From the answer that asked for it to the request that tells the model of its outcome.
                step = int(event.call.split("-")[1])
                begin = _answered(by_step, step, run)
                end = _asked(by_step, step + 1, run)
                pids = {each.pid for each in ran} or set(_workers_between(seen, begin, end))
                cause = next(
                    (hit for hit in seen.hits if any(_hits(hit, pid, begin, end, begun=bool(ran)) for pid in pids)),
                    None,
                )
                verdict.check(cause is not None, f"{event.call} is unknown, and no fault hit its worker ({pids})")
                if cause:
                    verdict.notes[f"unknown, {cause.kind}"] += 1
    return verdict


def approvals_hold(seen: Evidence) -> Verdict:
    verdict = Verdict("what needs a person's yes runs after it, and not without")
    runs = {each.call: each for each in seen.runs if each.tool == "sign"}
    for run in seen.executions:
        for event in run.log:
            if event.type == "tool_completed" and event.call.endswith("sign"):
                said = run.approved.get(event.call)
                verdict.check(said is not None, f"{event.call} was completed and nobody was asked")
                ran = runs.get(event.call)
                if ran and said is not None:
                    verdict.check(ran.at >= said, f"{event.call} ran {said - ran.at:.2f} s before the yes")
    return verdict


def events_are_whole(seen: Evidence) -> Verdict:
    verdict = Verdict(
        "events are numbered without gap, repetition or disorder, and a client that reconnects sees them so"
    )
    for run in seen.executions:
        numbers = [int(event.id.split("_")[-2]) for event in run.log]
        verdict.check(numbers == list(range(1, len(numbers) + 1)), f"{run.token}: numbers {_strange(numbers)}")
        ids = [event.id for event in run.log]
        verdict.check(len(ids) == len(set(ids)), f"{run.token}: an id comes twice")
        live = [event.id for event in run.live]
        verdict.check(live == ids, f"{run.token}: a client saw {len(live)} events, the log has {len(ids)}")
        verdict.notes["events"] += len(ids)
        for kind in ("tool_started", "tool_completed"):
            for call, count in Counter(event.call for event in run.log if event.type == kind).items():
                verdict.check(count == 1, f"{call}: {count} times {kind}")
        begun = {event.call: at for at, event in enumerate(run.log) if event.type == "tool_started"}
        for at, event in enumerate(run.log):
            if event.type == "tool_completed" and event.outcome == "success":
                verdict.check(begun.get(event.call, at) < at, f"{event.call}: completed before it was started")
    return verdict


def servers_agree(seen: Evidence) -> Verdict:
    verdict = Verdict("every server of one database tells the same events (or there is one server)")
    for run in seen.executions:
        ids = [event.id for event in run.log]
        for number, told in enumerate(run.told):
            verdict.check(told == ids, f"{run.token}: server {number} tells {len(told)} events, of {len(ids)}")
    return verdict


# -- what the host sees


def lines_are_whole(seen: Evidence) -> Verdict:
    return Verdict("no line of worker.log is torn, at any time", seen.log.looked, list(seen.log.torn))


def losses_are_told(seen: Evidence) -> Verdict:
    """Judge that losses are logged. A worker whose supervisor was killed may lack its last lines: nobody read them."""
    verdict = Verdict("lines are missing from worker.log only if a line says how many")
    missing = 0
    for pid, written in seen.log.written.items():
        numbers = seen.log.numbers.get(pid, [])
        verdict.check(numbers == sorted(set(numbers)), f"worker {pid}: lines in disorder, or twice")
        upto = max(numbers, default=0) if pid in seen.unread else max(written, max(numbers, default=0))
        missing += upto - len(set(numbers))
        verdict.notes["lines"] += len(numbers)
    verdict.notes["missing"], verdict.notes["told"] = missing, seen.log.told
    verdict.check(missing <= seen.log.told, f"{missing} lines are missing, {seen.log.told} are told of")
    return verdict


def files_agree(seen: Evidence) -> Verdict:
    return Verdict(
        "state.json, worker.pid and daemon_info.txt parse, and agree with ps", seen.files[0], list(seen.files[1])
    )


def nothing_is_left(seen: Evidence) -> Verdict:
    return Verdict("no process and no file is left behind", seen.left[0], list(seen.left[1]))


def the_clock_was_stepped(seen: Evidence) -> Verdict:
    return Verdict(
        "the log's times follow the stepped clock (or the step was none)", seen.clock[0], list(seen.clock[1])
    )


LAWS: Final[tuple[Callable[[Evidence], Verdict], ...]] = (
    all_end,
    finished_models_stay,
    models_repeat_for_a_reason,
    tools_run_once,
    tools_repeat_for_a_reason,
    approvals_hold,
    events_are_whole,
    servers_agree,
    lines_are_whole,
    losses_are_told,
    files_agree,
    nothing_is_left,
    the_clock_was_stepped,
)


# -- parts


def _repeats(verdict: Verdict, what: str, begin: float, tries: list[tuple[int | None, float]], hits: list[Hit]) -> None:
    """`tries` are (worker, when). Each but the last needs a fault of its own that hit its worker before the next.

    `begin`: since when a worker can have had the call; a worker that stood still may do it, late, when it goes on.
    """
    paid: set[int] = set()
    verdict.check(bool(tries), f"{what} was never made")
    for (pid, at), (_, again) in pairwise(tries):
        cause = next((hit for hit in hits if hit.fault not in paid and _hits(hit, pid, begin, again)), None)
        verdict.check(cause is not None, f"{what}: made again after {again - at:.2f} s, and no fault hit worker {pid}")
        if cause is not None:
            paid.add(cause.fault)
            verdict.notes[f"again, {cause.kind}"] += 1


def _hits(hit: Hit, pid: int | None, begin: float, end: float, *, begun: bool = True) -> bool:
    """Return True when the hit can have cut off this worker's work between `begin` and `end`.

    What goes on in a worker that stands still for a moment, or that Temporal does not hear for one, is not lost; only
    a task on its way to the worker is (`begun` is false).
    """
    if hit.pid not in (0, pid) or hit.at > end or hit.until < begin:
        return False
    return hit.kind == "killed" or not begun or min(hit.until, end) - max(hit.at, begin) >= LOOKS_DEAD_AFTER


def _requests(seen: Evidence, run: Execution) -> list[Request]:
    return sorted((each for each in seen.requests if each.token == run.token), key=lambda each: each.at)


def _by_step(seen: Evidence, run: Execution) -> dict[int, list[Request]]:
    found: dict[int, list[Request]] = defaultdict(list)
    for each in _requests(seen, run):
        found[each.step].append(each)
    return found


def _answered(by_step: dict[int, list[Request]], step: int, run: Execution) -> float:
    """Return the time when the model had answered this step, so that the next one could begin."""
    return min((each.done for each in by_step.get(step, []) if each.done), default=run.began)


def _asked(by_step: dict[int, list[Request]], step: int, run: Execution) -> float:
    """Return the time of the first request of this step, when the step before was over."""
    return min((each.at for each in by_step.get(step, [])), default=run.ended)


def _worker_at(seen: Evidence, at: float) -> int | None:
    """The worker that lived then: a queue has one at a time."""
    return max(((birth.at, birth.pid) for birth in seen.births if birth.at <= at), default=(0.0, None))[1]


def _workers_between(seen: Evidence, begin: float, end: float) -> Iterator[int]:
    first = _worker_at(seen, begin)
    if first is not None:
        yield first
    yield from (birth.pid for birth in seen.births if begin < birth.at <= end)


def _strange(numbers: list[int]) -> str:
    """The first place where a row of numbers is not 1, 2, 3 …"""
    for at, number in enumerate(numbers):
        if number != at + 1:
            return f"… {numbers[max(0, at - 2) : at + 3]} …"
    return "in order"
