"""This module compares a run that was played with what its test expects, line by line. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.cli.run_calls import CallMade
from kubiya_worker.cli.run_test_file import ExpectedCall, PersonsAnswer, RunTest
from kubiya_worker.cli.terminal import one_line

SHOWN: Final = 200  # characters of a call or an answer in a line
NOTHING: Final = "-"


@dataclass(frozen=True)
class CheckedLine:
    """One expectation, what was recorded, and what happened now."""

    expectation: str
    recorded: str
    now: str
    holds: bool


@dataclass(frozen=True)
class AskedNow:
    """A request to a person that came up now; `answer` is the recorded answer that it got, if there was one."""

    tool: str
    arguments: Mapping[str, Any]
    answer: PersonsAnswer | None


def checked(
    test: RunTest, run: Mapping[str, Any], calls: Sequence[CallMade], asked: Sequence[AskedNow]
) -> list[CheckedLine]:
    """Return the lines of a test: its status, what the answer says, its calls, and what persons were asked."""
    expect = test.expect
    answer = str(run.get("response") or "")
    lines = []
    if expect.status:
        now = str(run.get("status"))
        why = f": {run['error_message']}" if run.get("error_message") and now != expect.status else ""
        lines.append(CheckedLine("status", expect.status, one_line(f"{now}{why}", SHOWN), now == expect.status))
    for text in expect.answer_contains or ():
        holds = _folded(text) in _folded(answer)
        shown = "said" if holds else one_line(answer, SHOWN) or "no answer"
        lines.append(CheckedLine(f"answer has {one_line(text, 60)!r}", "said", shown, holds))
    if expect.calls is not None:
        agents = list(dict.fromkeys([*(each.agent for each in expect.calls), *(call.agent for call in calls)]))
        for agent in agents:
            wanted = [each for each in expect.calls if each.agent == agent]
            own_calls = [call for call in calls if call.agent == agent]
            several = f" of {agent}" if len(agents) > 1 else ""
            lines += _calls(wanted, own_calls, several, more=bool(expect.more_calls))
    return [*lines, *_questions(test, asked)]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _fits(wanted: ExpectedCall, call: CallMade) -> bool:
    arguments = call.arguments if isinstance(call.arguments, Mapping) else {}
    same = all(name in arguments and arguments[name] == value for name, value in (wanted.arguments or {}).items())
    return wanted.tool == call.tool and same and wanted.outcome in (None, call.told)


def _calls(wanted: Sequence[ExpectedCall], calls: Sequence[CallMade], of: str, *, more: bool) -> list[CheckedLine]:
    """Compare two sequences: what fits in the same order holds; between two that fit, the rest is set side by side."""
    lines: list[CheckedLine] = []
    at = 0
    pairs = [*_fitting(wanted, calls), (len(wanted), len(calls))]
    before = 0
    for one, other in pairs:
        left, right = wanted[at:one], calls[before:other]
        for number in range(max(len(left), len(right))):
            lacks, extra = number >= len(left), number >= len(right)
            if lacks and more:
                continue
            name = f"call{of} more" if lacks else f"call {at + number + 1}{of}"
            recorded = NOTHING if lacks else _expected_text(left[number])
            lines.append(CheckedLine(name, recorded, NOTHING if extra else _made_text(right[number]), False))
        if one < len(wanted):
            text = _made_text(calls[other])
            lines.append(CheckedLine(f"call {one + 1}{of}", _expected_text(wanted[one]), text, True))
        at, before = one + 1, other + 1
    return lines


def _fitting(wanted: Sequence[ExpectedCall], calls: Sequence[CallMade]) -> list[tuple[int, int]]:
    """Return the pairs of the longest sequence of calls that fit in the same order."""
    longest = [[0] * (len(calls) + 1) for _ in range(len(wanted) + 1)]
    for one in range(len(wanted) - 1, -1, -1):
        for other in range(len(calls) - 1, -1, -1):
            skipped = max(longest[one + 1][other], longest[one][other + 1])
            fits = _fits(wanted[one], calls[other])
            longest[one][other] = max(skipped, 1 + longest[one + 1][other + 1]) if fits else skipped
    pairs = []
    one = other = 0
    while one < len(wanted) and other < len(calls):
        if _fits(wanted[one], calls[other]) and longest[one][other] == 1 + longest[one + 1][other + 1]:
            pairs.append((one, other))
            one, other = one + 1, other + 1
        elif longest[one + 1][other] >= longest[one][other + 1]:
            one += 1
        else:
            other += 1
    return pairs


def _expected_text(call: ExpectedCall) -> str:
    return _call_text(call.tool, call.arguments, call.outcome or "")


def _made_text(call: CallMade) -> str:
    text = _call_text(call.tool, call.arguments, call.told)
    return f"{text}: {one_line(call.error, 80)}" if call.error and call.told != "success" else text


def _call_text(tool: str, arguments: Any, outcome: str) -> str:
    if isinstance(arguments, Mapping):
        text = ", ".join(f"{name}={value}" for name, value in arguments.items())
        text = str(next(iter(arguments.values()))) if len(arguments) == 1 else text
    else:
        text = str(arguments or "")
    return one_line(f"{tool} {text} → {outcome}" if outcome else f"{tool} {text}", SHOWN)


def _questions(test: RunTest, asked: Sequence[AskedNow]) -> list[CheckedLine]:
    """Compare what persons were asked then and now: other rules ask more, or less."""
    lines = []
    left = list(test.answers or ())
    for each in asked:
        text = _call_text(each.tool, each.arguments, "")
        if each.answer is None:
            lines.append(CheckedLine(f"asked about {each.tool}", NOTHING, f"asked, and rejected here: {text}", False))
            continue
        left.remove(each.answer)
        lines.append(CheckedLine(f"asked about {each.tool}", each.answer.decision, each.answer.decision, True))
    for lost in left:
        text = _call_text(lost.tool, lost.arguments, "")
        lines.append(CheckedLine(f"asked about {lost.tool}", f"{lost.decision}: {text}", "not asked", False))
    return lines
