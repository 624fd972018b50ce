"""This module reads an awk program token by token, and lets only programs through that compute and print.

Not let through: pipes, redirections of `print` and `printf`, `getline`, `system`, indirect calls, directives, and the
arrays by which a program reaches files and settings. A line that ends within an expression goes on in the next one, as
in awk itself; so a redirection is found wherever it stands.

An awk decides by what stands before a slash whether it divides or begins a regular expression. Where awks differ, the
program is refused: a wrong guess would take code for text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from kubiya_worker.tools.shell.options import Arguments, Options, Place, UnclearScript

OPTIONS: Final = Options(
    valued="Fv", long="posix traditional re-interval csv field-separator= assign= version", ends=True
)
_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r]+|\\\r?\n)"
    r"|(?P<newline>\n)"
    r"|(?P<comment>#[^\n]*)"
    r"|(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r'|(?P<string>"(?:[^"\\\n]|\\.|\\\n)*")'
    r"|(?P<operator>\*\*=|\*\*|&&|\|\||\|&|\+\+|--|>>|!~|[-+*%^<>=!]=|[-+*%^<>=!~?:,;(){}\[\]$|@])",
    re.DOTALL,
)
# A bracket expression with a slash or a bracket in it ends in other places for other awks, so it is no match.
_REGEX: Final = re.compile(r"/(?:[^/\\\n\[]|\\[^\n]|\[(?!\^?\])(?:[^\]\n/\[\\]|\\[A-Za-z/.-]|\[:[a-z]+:\])*\])*/")
_DIVISION: Final = re.compile(r"/=?")
_REFUSED: Final = frozenset(
    {"system", "getline", "ARGV", "ARGC", "ENVIRON", "PROCINFO", "SYMTAB", "FUNCTAB", "include", "load", "extension"}
)
_KEYWORDS: Final = frozenset(
    "print printf return in else do case exit delete if while for switch function func BEGIN END next nextfile".split()  # noqa: SIM905
)
_UNCLEAR_BEFORE_SLASH: Final = frozenset({"length", "++", "--", "$"})
_STATEMENTS_WITH_PARENTHESES: Final = frozenset({"if", "while", "for", "switch"})
# Behind these a slash begins a regular expression.
_BEFORE_REGEX: Final = frozenset("{ } ( , ; ! ~ !~ && || ? : = == != < > <= >= [ + - * % ^ ** += -= *= %= ^=".split())  # noqa: SIM905


class _Token(NamedTuple):
    kind: str  # number, name, string, regex, operator, newline
    text: str

    @property
    def ends_expression(self) -> bool:
        """Return whether a line end behind this token ends the statement."""
        if self.kind == "name":
            return self.text not in ("do", "else")
        return self.kind in ("number", "string", "regex") or self.text in (")", "]", "++", "--", "$")


def check(arguments: Arguments, place: Place) -> str | None:
    """Return the part of a call of awk that is dangerous or unclear; None when there is none."""
    given = OPTIONS.read(arguments, place)
    if given.refused:
        return given.refused
    for value in given.values("-v", "--assign"):
        if value.partition("=")[0] in _REFUSED:
            return f"the variable {value.partition('=')[0]}"
    if not given.operands:
        return None
    for operand in given.operands[1:]:  # `name=value` among the files is an assignment
        name, equals, _ = operand.partition("=")
        if equals and name in _REFUSED:
            return f"the variable {name}"
    try:
        _judge(list(_tokens(given.operands[0])))
    except UnclearScript as unclear:
        return f"{unclear} in its program"
    return None


def _tokens(program: str) -> Iterator[_Token]:
    """Yield the tokens without blanks and comments. Raises UnclearScript where awks could read another one."""
    at = 0
    before = _Token("newline", "\n")
    opened: list[str] = []  # what stands before each open parenthesis or bracket
    closed = ""  # what stood before the last closed one
    while at < len(program):
        if program[at] == "/":
            token, at = _slash(program, at, before, closed)
        else:
            match = _TOKEN.match(program, at)
            if match is None:
                raise UnclearScript(f"{program[at : at + 10]!r}, which is not clear,")
            at = match.end()
            kind = str(match.lastgroup)
            if kind == "comment" and match[0].rstrip("\r").endswith("\\"):
                raise UnclearScript("a comment that ends with a backslash")
            if kind in ("space", "comment"):
                continue
            token = _Token(kind, match[0])
        if token.text in ("(", "["):
            opened.append(before.text)
        elif token.text in (")", "]") and opened:
            closed = opened.pop()
        if token.kind == "newline" and not before.ends_expression and before.kind == "operator":
            continue  # the expression goes on in the next line
        yield token
        before = token


def _slash(program: str, at: int, before: _Token, closed: str) -> tuple[_Token, int]:
    unclear = before.text in _UNCLEAR_BEFORE_SLASH or (before.text == ")" and closed in _STATEMENTS_WITH_PARENTHESES)
    if unclear:
        raise UnclearScript(f"a slash behind `{before.text}`")
    begins = before.kind == "newline" or before.text in _BEFORE_REGEX
    if begins or (before.kind == "name" and before.text in _KEYWORDS):
        found = _REGEX.match(program, at)
        if found is None:
            raise UnclearScript("a regular expression that not every awk reads alike")
        return _Token("regex", "/"), found.end()
    found = _DIVISION.match(program, at)
    assert found is not None
    return _Token("operator", found[0]), found.end()


def _judge(tokens: list[_Token]) -> None:
    """Raise UnclearScript for a token by which the program would reach more than its input."""
    depth = 0
    printing: int | None = None  # the depth at which a print statement stands
    for token in tokens:
        text = token.text
        if token.kind == "name":
            if text in _REFUSED:
                raise UnclearScript(f"`{text}`")
            if text in ("print", "printf"):
                printing = depth
        elif text in ("{", "}"):
            printing, depth = None, 0
        elif (token.kind == "newline" or text == ";") and depth <= (printing or 0):
            printing = None
        elif token.kind == "operator":
            if text in ("|", "|&", "@"):
                raise UnclearScript("a pipe" if text != "@" else "`@`")
            if text in ("(", "["):
                depth += 1
            elif text in (")", "]"):
                depth -= 1
            elif text == ">>" or (text == ">" and printing is not None and depth <= printing):
                raise UnclearScript("a redirection")
