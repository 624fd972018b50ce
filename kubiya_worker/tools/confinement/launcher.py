"""Restrict this process by a policy, and become another program: launcher.py POLICY PROGRAM NAME [ARGUMENT ...].

For programs that a library starts, where no thread of ours can be restricted for it. `spawn.launched` makes the
command. It runs as `python -I -S` by its path, so that neither the server's variables nor packages change it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` imports `enum`, which takes a fifth of the time
import os
import sys

PARTS = b"\0"  # no path has it


def policy(abi: int, rules: list[tuple[str, int]], filtered: bytes, *, signals: bool) -> bytes:
    """Return a policy as the launcher reads it. JSON would cost it a third of its time."""
    numbers = [str(abi), str(int(signals)), filtered.hex()]
    return PARTS.join(os.fsencode(part) for part in (*numbers, *(str(each) for rule in rules for each in rule)))


def main(file: str, program: str, *argv: str) -> None:
    """Replace this process by the program. Ends with a line on stderr where it cannot be confined or started."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  (pathlib is slow to import)
    sys.path.append(os.path.join(here, "..", "..", ".."))  # noqa: PTH118  (at the end: it may hide nothing)
    from kubiya_worker.tools.confinement import landlock, restrict

    with open(file, "rb") as opened:  # noqa: PTH123
        abi, signals, filtered, *rules = opened.read().split(PARTS)
    os.unlink(file)  # noqa: PTH108
    allowed = [(os.fsdecode(path), int(rights)) for path, rights in zip(rules[::2], rules[1::2], strict=True)]
    try:
        ruleset = landlock.make_ruleset(int(abi), allowed, signals=signals == b"1")
        restrict.restrict_thread(ruleset, bytes.fromhex(filtered.decode()))
    except OSError as error:
        raise SystemExit(f"{argv[0]} cannot be confined: {error}") from None
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # Python ignores them, and a program would inherit that
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execv(program, argv)  # noqa: S606  (no shell is wanted)
    except OSError as error:
        raise SystemExit(f"{argv[0]} cannot be started: {error.strerror}") from None


if __name__ == "__main__":
    main(*sys.argv[1:])
