"""Find what this host can do for confinement, and what is done where it can do nothing: `KUBIYA_CONFINEMENT`.

`require`: the worker does not start. `prefer` (the default): tools run without, and the log, the status, `doctor` and
each run say so. `off`: tools run without everywhere.
"""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.confinement import landlock, seccomp

REQUIRE: Final = "require"
PREFER: Final = "prefer"
OFF: Final = "off"
MODES: Final = (REQUIRE, PREFER, OFF)

OFF_REMEDY: Final = f"Set KUBIYA_CONFINEMENT={PREFER} to confine tools"

_mode = [PREFER]  # the worker sets it from its settings; what sets nothing must not be less safe
_private: list[Path] = []


@dataclass(frozen=True)
class Support:
    """Hold what the kernel offers: `abi` is Landlock's version, 0 for none. `reason` and `remedy` say why.

    `seatbelt` says that programs can be run by macOS's `sandbox-exec` instead.
    """

    abi: int
    reason: str = ""
    remedy: str = ""
    seatbelt: bool = False

    @property
    def works(self) -> bool:
        return self.abi > 0 or self.seatbelt

    @property
    def means(self) -> str:
        return "sandbox-exec" if self.seatbelt else f"Landlock ABI {self.abi}, seccomp, no new privileges"


def use(mode: str, private: Iterable[Path] = ()) -> None:
    """Set what is done from now on: one of MODES. `private` are folders of the worker, and all workspaces in them."""
    if mode not in MODES:
        raise ValueError(f"{mode!r} is none of {', '.join(MODES)}")
    _mode[0] = mode
    _private[:] = [each for place in private for each in (place.absolute(), place.resolve())]


def private() -> tuple[Path, ...]:
    """Return the worker's own folders, which no tool is given."""
    return tuple(dict.fromkeys(_private))


def mode() -> str:
    return _mode[0]


@functools.cache
def probe() -> Support:
    """Return what the kernel offers to this process."""
    platform: str = sys.platform  # as a variable: a type checker would call the rest unreachable for one of the two
    if platform == "darwin":
        from kubiya_worker.tools.confinement import seatbelt

        wrong = seatbelt.fault()
        return Support(0, wrong, "Run the worker on Linux to confine its tools" if wrong else "", seatbelt=not wrong)
    if platform != "linux":
        return Support(0, f"{platform} has no Landlock", "Run the worker on Linux to confine its tools")
    if seccomp.machine() not in seccomp.ARCHITECTURES:
        return Support(0, f"there is no filter for the architecture {seccomp.machine()}", "")
    try:
        return Support(landlock.abi())
    except OSError as error:
        return explain(error.errno or 0)


def explain(code: int) -> Support:
    """Return the reason for an error of the first Landlock call."""
    if code in (errno.EPERM, errno.EACCES):
        return Support(
            0,
            "the kernel has Landlock, and this worker's unit or container forbids its calls (EPERM)",
            "Add to the unit: SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self "
            "seccomp (kubiya worker install-service writes it), or use a seccomp profile that has them",
        )
    if code == errno.EOPNOTSUPP:
        return Support(
            0,
            "Landlock is switched off in this kernel (EOPNOTSUPP)",
            "Add `landlock` to the kernel's parameter lsm=",
        )
    if code == errno.ENOSYS:
        return Support(0, "this kernel has no Landlock (ENOSYS)", "Use Linux 5.13 or later with Landlock")
    return Support(0, f"Landlock answers with error {code} ({errno.errorcode.get(code, 'unknown')})", "")


def is_active() -> bool:
    """Return whether tools are confined. Raises ConfigurationError where they must be and cannot."""
    if mode() == REQUIRE and not probe().works:
        raise ConfigurationError(
            f"KUBIYA_CONFINEMENT is {REQUIRE}, and tools cannot be confined here: {probe().reason}",
            remedy=probe().remedy or f"Set KUBIYA_CONFINEMENT={PREFER} to run them without",
        )
    return mode() != OFF and probe().works


def remedy() -> str:
    """Return what a person can do where tools are not confined; "" where they are."""
    if mode() == OFF:
        return OFF_REMEDY
    return probe().remedy


def notice() -> str:
    """Return the line that a run with such tools shows where the kernel cannot confine them; "" elsewhere."""
    if mode() != PREFER or probe().works:
        return ""
    return f"Tools of this run are not confined: {probe().reason}"


def line() -> str:
    """Return one line for the log and the status."""
    if mode() == OFF:
        return "off: KUBIYA_CONFINEMENT is off, tools may do what the worker's user may do"
    kernel = probe()
    if kernel.works:
        return f"on: {kernel.means}"
    return f"none: {kernel.reason}; tools may do what the worker's user may do"
