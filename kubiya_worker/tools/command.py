"""One command line to one program: quoting as a shell has it, and nothing else of a shell.

`split` refuses what only a shell could do (pipes, lists, redirections, substitutions, variables) instead of passing it
on as text, so that a model learns at once what this tool is. Patterns (`*.log`) stay as they are written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 32_768  # characters of one command line
_ONE_PROGRAM: Final = "One call runs one program with its arguments, without a shell"

_OPERATORS: Final = {
    "|": "pipes and ||",
    "&": "& and &&",
    ";": "lists with ;",
    "<": "redirections and here-documents",
    ">": "redirections",
    "(": "subshells",
    ")": "subshells",
    "\n": "several lines",
}
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


class Refused(Exception):
    """The command is not run. The message is for the model: what was refused and what to do instead."""


@dataclass(frozen=True)
class CommandLine:
    argv: tuple[str, ...]
    patterns: tuple[str, ...]  # words in which a shell would have expanded something: * ? [ { or a leading ~


def split(command: str) -> CommandLine:
    """The words of a command line. Raises Refused."""
    if "\0" in command:
        raise Refused("The command holds a NUL character, which no argument can")
    if len(command) > LONGEST:
        raise Refused(f"The command is {len(command)} characters long; {LONGEST} are the most")
    words = _words(command.strip())
    if not words:
        raise Refused("The command is empty. Name a program, such as: ls -la")
    argv = tuple(text for text, _ in words)
    if _ASSIGNMENT.match(argv[0]):
        raise Refused(f"{_ONE_PROGRAM}: a variable before the command ({argv[0].split('=')[0]}=) is not set")
    return CommandLine(argv, tuple(text for text, is_pattern in words if is_pattern))


def _words(command: str) -> list[tuple[str, bool]]:
    """(word, whether a shell would expand a pattern in it) for each word, after POSIX quoting."""
    words: list[tuple[str, bool]] = []
    word: list[str] | None = None  # None between words; a word can be empty: ''
    pattern = False
    at = 0
    while at < len(command):
        char = command[at]
        at += 1
        if char in " \t\r":
            if word is not None:
                words.append(("".join(word), pattern))
            word, pattern = None, False
            continue
        if char in _OPERATORS:
            raise Refused(
                f"{_ONE_PROGRAM}: {_OPERATORS[char]} cannot be used. Make one call for each program; quote the "
                f"character if it is part of an argument"
            )
        if word is None:
            word = []
            pattern = char == "~"
        if char == "'":
            end = command.find("'", at)
            if end < 0:
                raise Refused("The command has a single quote that is not closed")
            word.append(command[at:end])
            at = end + 1
        elif char == '"':
            text, at = _double_quoted(command, at)
            word.append(text)
        elif char == "\\":
            if at == len(command):
                raise Refused("The command ends with a backslash")
            if command[at] != "\n":  # a backslash before the end of a line joins the lines
                word.append(command[at])
            at += 1
        else:
            _no_expansion(command, at - 1)
            pattern = pattern or char in "*?[{"
            word.append(char)
    if word is not None:
        words.append(("".join(word), pattern))
    return words


def _double_quoted(command: str, at: int) -> tuple[str, int]:
    """The text from `at` to the closing quote, and where it goes on after that."""
    text: list[str] = []
    while at < len(command):
        char = command[at]
        if char == '"':
            return "".join(text), at + 1
        if char == "\\" and at + 1 < len(command) and command[at + 1] in '$`"\\\n':
            if command[at + 1] != "\n":
                text.append(command[at + 1])
            at += 2
            continue
        _no_expansion(command, at)
        text.append(char)
        at += 1
    raise Refused("The command has a double quote that is not closed")


def _no_expansion(command: str, at: int) -> None:
    """Refuses what a shell would replace, where it stands outside single quotes."""
    char, following = command[at], command[at + 1 : at + 2]
    if char == "`" or (char == "$" and following == "("):
        raise Refused(
            f"{_ONE_PROGRAM}: command substitution cannot be used. Run the inner command by a call of its own"
        )
    if char == "$" and (following == "{" or following == "_" or following.isalpha()):
        raise Refused(
            f"{_ONE_PROGRAM}: variables are not replaced. Write the value itself, or quote a literal $ with '"
        )
