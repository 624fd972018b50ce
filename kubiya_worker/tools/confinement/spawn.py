"""Start processes from a thread that has put itself under the restrictions, which its children inherit.

The worker stays free: each call has a thread of its own that ends with it. No code runs between fork and exec, and no
other program stands between.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from kubiya_worker.tools.confinement import (
    landlock,
    launcher,
    paths,
    places,
    restrict,
    seatbelt,
    seccomp,
    support,
    visible,
)
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.confinement.rulesets import Rulesets

T = TypeVar("T")
_rulesets = Rulesets()
NOT_SHOWN: Final = "*\n"  # for git: nothing in the folder of temporary files is part of a repository


def confined(profile: Profile, start: Callable[[], T]) -> T:
    """Call `start` in a thread under the profile, and return what it returns. Raises what it raises, and OSError."""
    if support.probe().seatbelt:
        return start()  # `command` has put the sandbox before the program
    landlock.libc()
    returned: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            restrict.restrict_thread(ruleset, seccomp.of_this_host(families(profile)))
            returned.append(start())
        except BaseException as error:
            raised.append(error)

    with _rulesets.held(support.probe().abi, profile) as ruleset:
        thread = threading.Thread(target=work, name="confined")
        thread.start()
        thread.join()
    if raised:
        raise raised[0]
    return returned[0]


def forget() -> None:
    """Close all kept rulesets; the next start of each profile makes a new one."""
    _rulesets.close()


def families(profile: Profile) -> tuple[int, ...]:
    """Return the address families that the processes of a profile may have sockets of."""
    return (*(seccomp.NETWORK if profile.network else ()), *((seccomp.UNIX,) if profile.unix_sockets else ()))


def command(profile: Profile | None, executable: str, argv: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the program and arguments to start in `confined`: unchanged, but for macOS."""
    if profile is None or not support.probe().seatbelt:
        return executable, tuple(argv)
    wrapped = seatbelt.command(profile, executable, argv)
    return wrapped[0], tuple(wrapped)


@contextlib.contextmanager
def launched(profile: Profile, program: str, argv: Sequence[str]) -> Iterator[list[str]]:
    """Yield a command that starts a program under a profile, for one start in this block by a library.

    The policy lies in a file that only this user may read, which the launcher removes; it has paths and no secrets.
    """
    if support.probe().seatbelt:
        yield seatbelt.command(profile, program, argv)
        return
    filtered = seccomp.of_this_host(families(profile))
    policy = launcher.policy(support.probe().abi, paths.rules(profile), filtered, signals=profile.signals)
    descriptor, name = tempfile.mkstemp(prefix="kubiya-policy-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(policy)
        yield [sys.executable, "-I", "-S", "-B", launcher.__file__, name, program, *argv]
    finally:
        Path(name).unlink(missing_ok=True)


def temporary_folder(workspace: Path) -> Path:
    """Return the folder for TMPDIR in a workspace, made if it is not there: a confined process cannot use /tmp."""
    folder = workspace / places.TEMPORARY
    if not visible.is_folder(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text(NOT_SHOWN, encoding="utf-8")
    return folder
