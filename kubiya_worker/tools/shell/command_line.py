"""This module splits a command line into programs, with a shell's quoting and pipes but nothing else of a shell.

`parse` refuses everything that only a shell could do (lists, redirections, substitutions, variables) instead of passing
it on as text, so that a model learns at once what this tool is. Patterns (`*.log`) stay unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 32_768  # characters of one command line
MOST_PROGRAMS: Final = 10  # in one pipe
_ONE_PROGRAM: Final = "One call runs one program with its arguments, or several with | between them, without a shell"

_OPERATORS: Final = {
    "&": "& and &&",
    ";": "lists with ;",
    "<": "redirections and here-documents",
    ">": "redirections",
    "(": "subshells",
    ")": "subshells",
    "\n": "several lines",
}
PIPE: Final = "|"
# Words that a shell handles itself, and what to use here instead. No program has these names.
BUILTINS: Final = {
    **dict.fromkeys(
        ("cd", "pushd", "popd"),
        "there is no shell whose folder it could change. Give `working_directory` with the call",
    ),
    **dict.fromkeys(
        ("export", "set", "unset", "declare", "local", "typeset", "readonly", "let"),
        "no variable outlasts a call. Write the value into the command, or start the program with `env NAME=value "
        "program`, where `env` is allowed",
    ),
    **dict.fromkeys((".", "source", "eval", "exec"), "it would need a shell. Run the program itself"),
    **dict.fromkeys(("alias", "unalias", "shopt", "bind", "enable"), "it sets up a shell, and there is none"),
    **dict.fromkeys(("jobs", "fg", "bg", "wait", "disown"), "each call waits for what it starts, and ends the rest"),
    **dict.fromkeys(("ulimit", "umask"), "it would hold for a shell only, and there is none"),
    **dict.fromkeys(("type", "hash", "command", "builtin"), "there is no shell to ask. Try the program, or `which`"),
    **dict.fromkeys(
        ("history", "fc", "read", "trap", "return", "exit", "logout", "times", "getopts"), "there is no shell"
    ),
    **dict.fromkeys(
        ("if", "for", "while", "until", "case", "select", "function", "[[", "(("),
        "it is a shell's language. Make one call for each program and decide between them",
    ),
}
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


class CommandRefused(Exception):
    """The command is not run; the message tells the model what was refused and what to do instead."""


@dataclass(frozen=True)
class CommandLine:
    argv: tuple[str, ...]
    patterns: tuple[str, ...]  # words in which a shell would have expanded something: * ? [ { or a leading ~


def parse(command: str) -> tuple[CommandLine, ...]:
    """Return the programs of a command line, each with its arguments; the output of one is the input of the next.

    Raises CommandRefused.
    """
    if "\0" in command:
        raise CommandRefused("The command holds a NUL character, which no argument can")
    if len(command) > LONGEST:
        raise CommandRefused(f"The command is {len(command)} characters long; {LONGEST} are the most")
    try:
        stages = _stages(command.strip())
    except CommandRefused:
        _refuse_builtin(command.split(maxsplit=1)[0] if command.split() else "")  # `cd /x && ls` says more of `cd`
        raise
    if len(stages) > MOST_PROGRAMS:
        raise CommandRefused(f"The command has {len(stages)} programs; {MOST_PROGRAMS} are the most in one pipe")
    lines = []
    for words in stages:
        if not words:
            raise CommandRefused(
                "The command is empty. Name a program, such as: ls -la"
                if len(stages) == 1
                else "A pipe needs a program on each side"
            )
        argv = tuple(text for text, _ in words)
        if _ASSIGNMENT.match(argv[0]):
            raise CommandRefused(
                f"{_ONE_PROGRAM}: a variable before the command ({argv[0].split('=')[0]}=) is not set. "
                "Start it with `env NAME=value program`, where `env` is allowed"
            )
        _refuse_builtin(argv[0])
        lines.append(CommandLine(argv, tuple(text for text, is_pattern in words if is_pattern)))
    return tuple(lines)


def _refuse_builtin(name: str) -> None:
    if name in BUILTINS:
        raise CommandRefused(f"`{name}` is part of a shell, not a program: {BUILTINS[name]}")


def _stages(command: str) -> list[list[tuple[str, bool]]]:
    """Return (word, whether a shell would expand a pattern in it) of each program, after POSIX quoting."""
    stages: list[list[tuple[str, bool]]] = [[]]
    word: list[str] | None = None  # None between words; a word can be empty: ''
    pattern = False
    at = 0
    while at < len(command):
        char = command[at]
        at += 1
        if char in " \t\r|":
            if word is not None:
                stages[-1].append(("".join(word), pattern))
            word, pattern = None, False
            if char == PIPE:
                if command[at : at + 1] in ("|", "&"):
                    raise CommandRefused(
                        f"{_ONE_PROGRAM}: || and |& cannot be used. Both outputs of a program are read anyway"
                    )
                stages.append([])
            continue
        if char in _OPERATORS:
            raise CommandRefused(
                f"{_ONE_PROGRAM}: {_OPERATORS[char]} cannot be used. Make one call for each program; quote the "
                f"character if it is part of an argument"
            )
        if word is None:
            word = []
            pattern = char == "~"
        if char == "'":
            end = command.find("'", at)
            if end < 0:
                raise CommandRefused("The command has a single quote that is not closed")
            word.append(command[at:end])
            at = end + 1
        elif char == '"':
            text, at = _double_quoted(command, at)
            word.append(text)
        elif char == "\\":
            if at == len(command):
                raise CommandRefused("The command ends with a backslash")
            if command[at] != "\n":  # a backslash before the end of a line joins the lines
                word.append(command[at])
            at += 1
        else:
            _no_expansion(command, at - 1, quotes=True)
            pattern = pattern or char in "*?[{"
            word.append(char)
    if word is not None:
        stages[-1].append(("".join(word), pattern))
    return stages


def _double_quoted(command: str, at: int) -> tuple[str, int]:
    """Return the text from `at` to the closing quote, and the index after that quote."""
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
    raise CommandRefused("The command has a double quote that is not closed")


def _no_expansion(command: str, at: int, *, quotes: bool = False) -> None:
    """Raise CommandRefused for text outside single quotes that a shell would replace."""
    char, following = command[at], command[at + 1 : at + 2]
    if char == "`" or (char == "$" and following == "("):
        raise CommandRefused(
            f"{_ONE_PROGRAM}: command substitution cannot be used. Run the inner command by a call of its own"
        )
    if quotes and char == "$" and following in ("'", '"'):
        raise CommandRefused(f"{_ONE_PROGRAM}: $'…' is not read. Put the characters themselves between quotes")
    if char == "$" and (following == "{" or following == "_" or following.isalpha()):
        raise CommandRefused(
            f"{_ONE_PROGRAM}: variables are not replaced. Write the value itself, or quote a literal $ with '"
        )
