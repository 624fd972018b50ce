"""This module reads the arguments of ps, whose letters mean other things with a dash than without."""

from __future__ import annotations

from typing import Final

from kubiya_worker.tools.shell.options import Arguments

_PS_FORMATS: Final = frozenset({"-o", "-O", "--format", "o", "O"})
_PS_VALUES: Final = frozenset({"-p", "-u", "-U", "-g", "-G", "-C", "-t", "-s", "-q", "-k", "-N"})
_PS_LONG_VALUES: Final = frozenset({"--sort", "--pid", "--ppid", "--user", "--quick-pid", "--cols", "--group", "--tty"})


def check(arguments: Arguments) -> str | None:
    """Return the argument by which ps would show environments; None when there is none.

    `ps e` (a letter without a dash) and macOS' `ps -E` show them; `ps -e` only shows all processes.
    """
    value = ""  # the option that this argument belongs to
    for argument in arguments:
        if value or argument.startswith("--"):
            is_format = value in _PS_FORMATS or argument.startswith("--fo")
            if is_format and "env" in argument.lower():
                return f"{argument} (environments of processes)"
            value = "" if value or argument not in {*_PS_FORMATS, *_PS_LONG_VALUES} else argument
            continue
        if argument in _PS_FORMATS or argument in _PS_VALUES:
            value = argument
            continue
        dashed = argument.startswith("-")
        letters = argument.split("o")[0]
        if dashed and "e" in letters and ("x" in letters or "au" in letters):
            return f"{argument} (read as `aux e` by some)"
        for index, letter in enumerate(argument):
            if letter == "E" or (letter == "e" and not dashed):
                return f"{argument} (environments of processes)"
            if letter in "oO" and "env" in argument.lower():
                return f"{argument} (environments of processes)"
            if letter in ("oOpuUgGqtkCs" if dashed else "oOpUqtkC"):
                value = letter if index == len(argument) - 1 else ""
                break
    return None
