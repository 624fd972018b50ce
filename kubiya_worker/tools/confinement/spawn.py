"""Start processes from a thread that has put itself under the restrictions, which its children inherit.

The worker stays free: each call has a thread of its own that ends with it. No code runs between fork and exec, and no
other program stands between.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from kubiya_worker.tools.confinement import (
    landlock,
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


def home_folder(workspace: Path) -> Path:
    """Return a home for programs that can use nothing of the user's, made if it is not there.

    It has links to what every confined process may read of the user's home, such as git's settings.
    """
    folder = temporary_folder(workspace) / places.HOME
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in places.USER:
            link = folder / Path(name).relative_to("~")
            if not os.path.lexists(link) and visible.exists(Path(name).expanduser()):
                link.parent.mkdir(mode=0o700, exist_ok=True)
                link.symlink_to(Path(name).expanduser())
    except OSError:  # a full disk, or another process made it; a program that needs no home runs all the same
        pass
    return folder


def temporary_folder(workspace: Path) -> Path:
    """Return the folder for TMPDIR in a workspace, made if it is not there: a confined process cannot use /tmp.

    It is the workspace where it cannot be made, as on a full disk: a program that needs no such file runs all the same.
    """
    folder = workspace / places.TEMPORARY
    if visible.is_folder(folder):
        return folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text(NOT_SHOWN, encoding="utf-8")
    except OSError:
        return folder if visible.is_folder(folder) else workspace
    return folder
