"""Restrict this process by a policy, and become another program: launcher.py POLICY PROGRAM NAME [ARGUMENT ...].

For programs that a library starts, where no thread of ours can be restricted for it. `spawn.launched` makes the
command. It runs as `python -I -S` by its path, so that neither the server's variables nor packages change it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path


def main(policy: str, program: str, *argv: str) -> None:
    """Replace this process by the program. Ends with a line on stderr where it cannot be confined or started."""
    sys.path.append(str(Path(__file__).parents[3]))  # at the end: nothing there may hide the standard library
    from kubiya_worker.tools.confinement import landlock, restrict

    file = Path(policy)
    given = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    try:
        ruleset = landlock.make_ruleset(given["abi"], given["rules"], signals=given["signals"])
        restrict.restrict_thread(ruleset, given["families"])
    except OSError as error:
        raise SystemExit(f"{argv[0]} cannot be confined: {error}") from None
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a program would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(program, argv)  # noqa: S606  (no shell is wanted)
    except OSError as error:
        raise SystemExit(f"{argv[0]} cannot be started: {error.strerror}") from None


if __name__ == "__main__":
    main(*sys.argv[1:])
