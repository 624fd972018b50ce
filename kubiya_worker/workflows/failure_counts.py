"""This module counts the tool calls of a turn that fail again and again in the same way. It does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol import same_failures

MORE: Final = 2  # failures after the model was told, until a person is asked or the turn ends
REMEMBERED: Final = 64  # calls of a turn of which the last failure is known
_SHOWN: Final = 300  # characters of arguments and of a result in a text for people


@dataclass
class SameFailure:
    """The last failure of one call: how often in a row it failed like this, and when the model was told of it."""

    digest: str  # of the result
    times: int = 0
    told_at: int = 0  # `times` when the model was told; 0: it was not told
    call: m.ToolCall | None = None
    text: str = ""  # what the model read

    def what(self) -> str:
        """Return the call and its result in one line, for people."""
        assert self.call is not None
        arguments, text = (
            _shown(self.call["arguments"]),
            _shown(same_failures.without_note(self.text, self.call["name"])),
        )
        return f"{self.call['name']} {arguments} has failed {self.times} times in the same way: {text}"


class FailureCounts:
    """The failures of a turn, by call. A success, or a failure with another result, begins anew."""

    def __init__(self) -> None:
        self._failures: dict[str, SameFailure] = {}

    def known(self, call: m.ToolCall) -> SameFailure | None:
        """Return the last failure of the same call."""
        return self._failures.get(same_failures.call_hash(call)) if self._failures else None

    def note(self, call: m.ToolCall, digest: str, text: str, *, told: bool) -> SameFailure | None:
        """Count the result of a call. `digest` is that of its failure; an empty one is a success.

        Return a failure that goes on though the model was told of it, else None.
        """
        if not digest and not self._failures:
            return None
        key = same_failures.call_hash(call)
        failure = self._failures.pop(key, None)
        if not digest:
            return None
        if failure is None or failure.digest != digest:
            failure = SameFailure(digest)
        failure.times, failure.call, failure.text = failure.times + 1, call, text
        if told:
            failure.told_at = failure.told_at or failure.times
        self._failures[key] = failure  # the newest comes last
        if len(self._failures) > REMEMBERED:
            del self._failures[next(iter(self._failures))]
        return failure if failure.told_at and failure.times >= failure.told_at + MORE else None

    def forget(self) -> None:
        """Begin anew: a person has spoken."""
        self._failures.clear()

    def snapshot(self) -> dict[str, list[Any]]:
        return {key: [failure.digest, failure.times, failure.told_at] for key, failure in self._failures.items()}

    @classmethod
    def restore(cls, saved: dict[str, list[Any]]) -> FailureCounts:
        counts = cls()
        counts._failures = {key: SameFailure(*entry) for key, entry in saved.items()}
        return counts


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
