"""This module recognises harmless scripts of programs with their own language, sed and awk.

Each function takes the arguments of one call and returns the dangerous or unclear part of them, or None.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

Arguments = Sequence[str]

_SED_ADDRESS: Final = r"(?:\d+(?:~\d+)?|\$|/(?:[^/\\\n]|\\.)*/I?)"
_SED_COMMAND: Final = re.compile(
    rf"\s*(?:{_SED_ADDRESS}(?:\s*,\s*(?:[+~]?\d+|{_SED_ADDRESS}))?)?\s*!?\s*"
    r"(?:[pdqQ=nNGgHhxDPl]|s([/|,#:@!])(?:(?!\1)[^\\\n]|\\.)*\1(?:(?!\1)[^\\\n]|\\.)*\1[gpiImM0-9]*"
    r"|y/(?:[^/\\\n]|\\.)*/(?:[^/\\\n]|\\.)*/)?\s*"
)


def sed(arguments: Arguments) -> str | None:
    """Check sed: only options that are known to be harmless, and scripts without commands that write, read or run."""
    scripts: list[str] = []
    operands: list[str] = []
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if argument == "--expression" or re.fullmatch(r"-[nErsuz]*e", argument):
            index += 1
            scripts.extend(arguments[index : index + 1])
        elif argument.startswith("--expression="):
            scripts.append(argument.split("=", 1)[1])
        elif argument.startswith("-") and argument != "-":
            if argument not in (
                "--quiet",
                "--silent",
                "--regexp-extended",
                "--posix",
                "--sandbox",
                "--debug",
                "--",
            ) and (not re.fullmatch(r"-[nErsuz]+", argument)):
                return f"the option {argument}"
        else:
            operands.append(argument)
        index += 1
    if not scripts:
        scripts = operands[:1]
    for script in scripts:
        at = 0
        while at < len(script):
            match = _SED_COMMAND.match(script, at)
            end = match.end() if match else at
            if match and match[1] and re.search(rf"(?<!\\)\[[^\]]*{re.escape(match[1])}", match[0]):
                return "a delimiter between brackets, which not every sed reads alike"
            if end < len(script) and script[end] not in ";\n":
                return "a script with more than printing, deleting and replacing lines"
            at = end + 1
    return None


# After these a slash begins a regular expression; after a name, a number or a bracket it divides. In other places awks
# differ.
_AWK_EXPRESSION: Final = frozenset("\n;{}(,!~&|")
_AWK_KEYWORDS: Final = frozenset({"print", "printf", "return", "in", "else", "do", "case", "exit", "delete", "length"})
# A line end that does not end a statement: the text before it is not a whole expression, or a word that needs more.
_AWK_CONTINUED: Final = re.compile(r"(?:(?<![\w)\]+\-$\s])|(?<=\bdo)|(?<=\belse))[ \t\r]*(?:\n\s*)+")
_AWK_STRING: Final = re.compile(r'(?:[^"\\\n]|\\.)*"')
_AWK_REGEX: Final = re.compile(r"(?:[^/\\\n\[]|\\.|\[(?!\^?\])(?:[^\]\n/\[\\]|\[:[a-z]+:\])*\])*/")
_AWK_WORDS: Final = re.compile(r"\b(system|getline|ARGV|ENVIRON|PROCINFO)\b|@|/proc|/inet")


def awk(arguments: Arguments) -> str | None:
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if argument in ("-F", "-v"):
            index += 2
        elif re.match(r"-[Fv].|--(posix|traditional|re-interval|csv)$", argument, re.DOTALL):
            index += 1
        elif argument.startswith("-") and argument not in ("-", "--"):
            return f"the option {argument}"
        else:
            index += argument == "--"
            break
    program = arguments[index] if index < len(arguments) else ""
    word = _AWK_WORDS.search(program)
    if word:
        return f"`{word[0]}` in its program"
    code = _awk_code(program)
    if code is None:
        return "a program that is not clear"
    if "|" in code.replace("||", ""):
        return "a pipe in its program"
    if re.search(r"\bprintf?\b[^;}\n]*>", _AWK_CONTINUED.sub(" ", code)):
        return "a redirection in its program"
    return None


def _awk_code(program: str) -> str | None:
    """Return the program without its strings, regular expressions and comments; None when these cannot be told apart.

    A wrong guess would hide code. So a slash of unclear meaning makes the whole program count as code, strings
    included.
    """
    if "\\\n" in program:
        return None
    code: list[str] = []
    at = 0
    while at < len(program):
        char = program[at]
        at += 1
        if char == "#":
            at = program.find("\n", at)
            if at < 0:
                break
            continue
        skip = _AWK_STRING if char == '"' else None
        if char == "/":
            before = "".join(code).rstrip(" \t") or "\n"
            name = re.search(r"[A-Za-z_]\w*$", before)
            if before[-1] in _AWK_EXPRESSION:
                skip = _AWK_REGEX
            elif not (before[-1].isalnum() or before[-1] in "_]") or (name and name[0] in _AWK_KEYWORDS):
                return program
        if skip is None:
            code.append(char)
            continue
        match = skip.match(program, at)
        if match is None:
            return None
        at = match.end()
        code.append(" _ ")
    return "".join(code)
