"""Regular expressions in linear time, for patterns that come from outside (approval rules).

Python's own engine backtracks, so a pattern such as `(a+)+$` can hold a worker for ever, and no bound on the lengths
helps. This one walks all possibilities at once (Thompson's construction) and remembers the steps it has taken. It takes
Python's syntax without what needs backtracking: no backreferences, no lookaround, no atomic groups.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from typing import Any, Final

MAX_PATTERN: Final = 500  # characters
MAX_STATES: Final = 1_000
MAX_ITEMS: Final = 10_000
MAX_WORK: Final = 5_000_000  # states looked at in one search: about a second
MAX_REMEMBERED: Final = 10_000  # steps; beyond, they are taken anew


class PatternError(ValueError):
    """The pattern cannot be understood; the message says why."""


@functools.lru_cache(maxsize=256)
def compile(pattern: str) -> Pattern:
    """Return the compiled pattern; raise PatternError."""
    return Pattern(pattern)


# A state is one of: ("char", test, next) | ("split", [next...]) | ("at", kind, next) | ("end",)
_State = tuple[Any, ...]


class Pattern:
    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise PatternError(f"it is longer than {MAX_PATTERN} characters")
        parser: Any = re._parser  # type: ignore[attr-defined]  # its tree is the only complete reading of the syntax
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # ignore warnings such as "possible nested set": the meaning is clear
                re.compile(pattern)
                tree = parser.parse(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise PatternError(str(error)) from None
        self._flags = int(tree.state.flags)
        self._states: list[_State] = [("end",)]
        self._items = 0
        self._work = 0
        self._start = self._sequence(tree, 0)
        self._steps: dict[tuple[frozenset[int], str, str], frozenset[int] | None] = {}

    def search(self, text: str) -> bool | None:
        """Return whether the pattern matches somewhere in `text`; None if that would take too long."""
        self._work = 0
        before = ""
        waiting: frozenset[int] = frozenset()
        for char in [*text, ""]:
            after = self._step(waiting, before, char)
            if after is None:
                return True
            if self._work > MAX_WORK:
                return None
            waiting = after
            before = char
        return False

    def _step(self, waiting: frozenset[int], before: str, char: str) -> frozenset[int] | None:
        """Return the states after `char`, or None if a match ends before it.

        `waiting` are the states after `before`.
        """
        key = (waiting, before, char)
        self._work += 1
        if key in self._steps:
            return self._steps[key]
        closed: set[int] = set()
        pending = [self._start, *waiting]  # a match may begin anywhere
        result: frozenset[int] | None = frozenset()
        following: set[int] = set()
        while pending:
            number = pending.pop()
            if number in closed:
                continue
            closed.add(number)
            self._work += 1
            state = self._states[number]
            if state[0] == "end":
                result = None
                break
            if state[0] == "split":
                pending.extend(state[1])
            elif state[0] == "at":
                if state[1](before, char):
                    pending.append(state[2])
            elif char and state[1](char):
                following.add(state[2])
        if result is not None:
            result = frozenset(following)
        if len(self._steps) >= MAX_REMEMBERED:
            self._steps.clear()
        self._steps[key] = result
        return result

    def _add(self, state: _State) -> int:
        if len(self._states) >= MAX_STATES:
            raise PatternError("it is too large")
        self._states.append(state)
        return len(self._states) - 1

    def _sequence(self, items: Any, following: int) -> int:
        self._items += 1
        if self._items > MAX_ITEMS:  # nested repetitions of nothing add no states
            raise PatternError("it is too large")
        for operation, argument in reversed(list(items)):
            following = self._item(str(operation), argument, following)
        return following

    def _item(self, operation: str, argument: Any, following: int) -> int:
        if operation in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._add(("char", self._test(operation, argument), following))
        if operation == "BRANCH":
            return self._add(("split", [self._sequence(branch, following) for branch in argument[1]]))
        if operation == "SUBPATTERN":
            _, added, removed, inner = argument
            if added or removed:
                raise PatternError("flags inside a group are not supported")
            return self._sequence(inner, following)
        if operation in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = argument
            return self._repeat(least, most, inner, following)
        if operation == "AT":
            return self._add(("at", self._position_test(str(argument)), following))
        raise PatternError(f"{operation.lower().replace('_', ' ')} is not supported")

    def _repeat(self, least: int, most: Any, inner: Any, following: int) -> int:
        unlimited = str(most) == "MAXREPEAT"
        if least > MAX_STATES or (not unlimited and int(most) > MAX_STATES):
            raise PatternError("it repeats too often")
        if unlimited:
            loop = self._add(("split", []))
            self._states[loop][1].extend([self._sequence(inner, loop), following])
            following = loop
        else:
            after = following
            for _ in range(int(most) - least):
                following = self._add(("split", [self._sequence(inner, following), after]))
        for _ in range(least):
            following = self._sequence(inner, following)
        return following

    def _test(self, operation: str, argument: Any) -> Callable[[str], bool]:
        """Return a test of one character that uses `re` itself, so that classes and ignored case mean the same."""
        parser: Any = re._parser  # type: ignore[attr-defined]
        compiler: Any = re._compiler  # type: ignore[attr-defined]
        state = parser.State()
        state.flags = self._flags
        constants: Any = re._constants  # type: ignore[attr-defined]
        single = parser.SubPattern(state, [(getattr(constants, operation), argument)])
        single.state.str = ""
        compiled = compiler.compile(single, self._flags)
        return lambda char: compiled.match(char) is not None

    def _position_test(self, name: str) -> Callable[[str, str], bool]:
        several_lines = bool(self._flags & re.MULTILINE)
        if name == "AT_BEGINNING":
            return lambda before, char: not before or (several_lines and before == "\n")
        if name == "AT_BEGINNING_STRING":
            return lambda before, char: not before
        if name in ("AT_END", "AT_END_STRING"):
            return lambda before, char: not char or (several_lines and name == "AT_END" and char == "\n")
        if name in ("AT_BOUNDARY", "AT_NON_BOUNDARY"):
            return lambda before, char: (_is_word(before) != _is_word(char)) == (name == "AT_BOUNDARY")
        raise PatternError("this kind of anchor is not supported")


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
