"""macOS: a profile as the text that `sandbox-exec` reads, and the command that runs a program under it.

The last rule that fits decides. macOS gives no list of what is allowed that programs could start with, so the text
allows what is not said, closes the homes of users and the worker's own places, and opens what the profile has.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from kubiya_worker.tools.confinement import places
from kubiya_worker.tools.confinement.process_profile import Profile

PROGRAM: Final = "/usr/bin/sandbox-exec"
USERS: Final = ("/Users", "/private/var/root", "/Volumes")
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/dtracehelper")
RESOLVER: Final = "/private/var/run/mDNSResponder"  # names of hosts are asked for over this socket
PROBE_WITHIN: Final = 10.0  # seconds


def command(profile: Profile, executable: str, argv: Sequence[str]) -> list[str]:
    """Return the command that runs a program under a profile. The program sees its path as its name."""
    return [PROGRAM, "-p", text(profile), executable, *argv[1:]]


def text(profile: Profile) -> str:
    """Return a profile in the language of `sandbox-exec`."""
    home = str(Path.home())
    user = [str(Path(path).expanduser()) for path in places.USER]
    workspace = os.path.realpath(profile.workspace)
    below = [place for place in profile.private if Path(os.path.realpath(place)).is_relative_to(workspace)]
    rules = [
        "(version 1)",
        "(allow default)",
        "(deny file-write*)",
        _rule("deny file-read*", (*USERS, home, *profile.private)),
        "(allow file-read-metadata)",  # names and sizes can be seen, as on Linux; programs look at each folder above
        _rule("allow file-read*", (*user, *profile.reads)),
        _rule("allow file-read* file-write*", profile.writes),
        _rule("deny file-read-data file-write*", profile.private),
        _rule("allow file-read*", profile.own),
        _rule("allow file-read* file-write*", (workspace,)),
        _rule("deny file-read-data file-write*", below),
        "(allow file-write-data " + " ".join(f"(literal {_quoted(path)})" for path in DEVICES) + ")",
        '(allow file-write* (regex #"^/dev/ttys[0-9]+$"))',
        "(deny process-info* (target others))",
        "" if profile.signals else "(deny signal (target others))",
        "" if profile.network else "(deny network*)",
    ]
    if not profile.unix_sockets:
        rules.append("(deny network-outbound (remote unix-socket))")
        if profile.network:
            rules.append(f"(allow network-outbound (literal {_quoted(RESOLVER)}))")
    return "\n".join(rule for rule in rules if rule)


def fault() -> str:
    """Try it on this host. Return "" where a program starts under a profile and cannot read a private file."""
    with tempfile.TemporaryDirectory() as folder:
        key, workspace = Path(folder, "private", "key"), Path(folder, "workspace")
        for each in (key.parent, workspace):
            each.mkdir()
        key.write_text("private", encoding="utf-8")
        limits = Profile(str(workspace), private=(str(key.parent),))
        try:
            starts, reads = (
                subprocess.run(
                    command(limits, argv[0], argv),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=PROBE_WITHIN,
                    check=False,
                    cwd=workspace,
                )
                for argv in (["/bin/ls"], ["/bin/cat", str(key)])
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"sandbox-exec cannot be used: {error}"
    if starts.returncode:
        error_text = " ".join(starts.stderr.decode("utf-8", "replace").split())[:200]
        return f"sandbox-exec does not start a program (exit code {starts.returncode}): {error_text}"
    return "" if reads.returncode else "sandbox-exec does not keep a program from a private file"


def _rule(what: str, paths: Iterable[str]) -> str:
    """Return a rule for paths as they are and as they are after links, which is what the kernel compares."""
    each = dict.fromkeys(form for path in paths for form in (path, os.path.realpath(path)))
    return f"({what} {' '.join(f'(subpath {_quoted(path)})' for path in each)})" if each else ""


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
