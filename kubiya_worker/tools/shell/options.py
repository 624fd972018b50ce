"""This module reads the options of a program, and lets only known ones through.

A list of dangerous options grows old with each new version of a program. Here an unknown option is refused, by name,
and so is an abbreviated one: another version may know an option of exactly that name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

Arguments = Sequence[str]
NO_FILE: Final = frozenset({"-", "/dev/null", "/dev/stdout", "/dev/stderr"})  # names that change no file


class UnclearScript(Exception):
    """A script of sed or awk holds something that is not known to be harmless."""


@dataclass(frozen=True)
class Place:
    """This says where a program runs, and in which folders it may write.

    With `elsewhere` it runs on another host, where it may write in none.
    """

    cwd: Path = Path("/")
    roots: tuple[Path, ...] = ()
    elsewhere: bool = False

    def outside(self, name: str, *, links: bool = False) -> bool:
        """Return whether a file lies outside the folders, after `~` and links. With `links` a last link stays one."""
        if name in NO_FILE:
            return False
        if self.elsewhere:
            return True
        path = str(self.cwd / os.path.expanduser(name))  # noqa: PTH111 - `~nobody` must not raise
        folder, last = os.path.split(path)
        kept = links and last not in ("", ".", "..")
        real = os.path.join(os.path.realpath(folder), last) if kept else os.path.realpath(path)  # noqa: PTH118
        return not any(Path(real).is_relative_to(os.path.realpath(root)) for root in (self.cwd, *self.roots))


@dataclass(frozen=True)
class ParsedArguments:
    """The options and operands that a program was given. `refused` says why it must not run with them."""

    options: tuple[tuple[str, str], ...] = ()
    operands: tuple[str, ...] = ()
    refused: str = ""

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.options if name in names]

    def has(self, *names: str) -> bool:
        return any(name in names for name, _ in self.options)


@dataclass(frozen=True)
class Options:
    """The options that a program may be given.

    `plain` are letters without a value, `valued` letters with one, `optional` letters whose value can only be attached.
    `long` are long options, with `=` behind those that take a value; any of them may have one attached. With `words`,
    an option with one dash is read whole (`-name`), as find and openssl do; `words` holds names likewise. The values of
    options in `writes` are files that must lie in the workspace. `ends` says that the first operand ends the options.
    """

    plain: str = ""
    valued: str = ""
    optional: str = ""
    long: str = ""
    words: str = ""
    writes: str = ""
    ends: bool = False
    _long: frozenset[str] = field(init=False, repr=False)
    _words: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_long", frozenset(self.long.split()))
        object.__setattr__(self, "_words", frozenset(self.words.split()))

    def read(self, arguments: Arguments, place: Place) -> ParsedArguments:
        """Return what is given; `refused` names the first option that is not known, or a file outside."""
        options: list[tuple[str, str]] = []
        operands: list[str] = []
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if argument == "--":
                operands += rest
                break
            if not argument.startswith("-") or argument == "-":
                operands.append(argument)
                if self.ends:
                    operands += rest
                    break
                continue
            found = self._option(argument, rest)
            if isinstance(found, str):
                return ParsedArguments(refused=f"the option {found}, which is none of those that are allowed")
            options += found
        writes = self.writes.split()
        for name, value in options:
            # Some version may take no value behind `name`, and read an option here.
            if value.partition("=")[0] in writes:
                return ParsedArguments(
                    refused=f"{value[:80]} behind {name}, where it is not clear whether it is a value"
                )
            if name in writes and place.outside(value):
                return ParsedArguments(refused=f"{name} {value[:80]}, which writes outside of the workspace")
        return ParsedArguments(tuple(options), tuple(operands))

    def _option(self, argument: str, rest: list[str]) -> list[tuple[str, str]] | str:
        """Return the options in one argument, or the one that is not known. Takes a value from `rest`."""
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            long = name[2:]
            if f"{long}=" in self._long:
                return [(name, value if equals else rest.pop(0) if rest else "")]
            return [(name, value)] if long in self._long else name
        if self.words:
            word = argument[1:]
            if f"{word}=" in self._words:
                return [(argument, rest.pop(0) if rest else "")]
            if word in self._words:
                return [(argument, "")]
            if not (self.plain or self.valued or self.optional):
                return argument
        found: list[tuple[str, str]] = []
        letters = argument[1:]
        for at, letter in enumerate(letters, 1):
            if letter in self.valued:
                return [*found, (f"-{letter}", letters[at:] or (rest.pop(0) if rest else ""))]
            if letter in self.optional:
                return [*found, (f"-{letter}", letters[at:])]
            if letter not in self.plain:
                return f"-{letter}"
            found.append((f"-{letter}", ""))
        return found
