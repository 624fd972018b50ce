"""Keep rulesets for the next process of the same profile: making one takes some 190 rules.

What holds while one is kept: a rule belongs to the file or folder that it was made for, not to its name. So the
workspace and each declared path are compared with the kept ruleset at every use, and a path that was replaced gets a
new one at once. The same is done for folders that hold a denied path, because what is created there later is not in
the rules. Everything else (a new file of /etc, a changed mode there, a program's folder) holds after `LIFETIME`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubiya_worker.tools.confinement import landlock, paths
from kubiya_worker.tools.confinement.process_profile import Profile

LIFETIME: Final = 30.0  # seconds from making one; use does not prolong it
MOST: Final = 16

State = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Kept:
    descriptor: int
    made: float
    state: State


class Rulesets:
    """The rulesets that were used last. All methods may be called from several threads."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, str, Profile], _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @contextlib.contextmanager
    def held(self, version: int, profile: Profile) -> Iterator[int]:
        """Yield the descriptor of a profile's ruleset, to be used before the end of the block. Raises OSError."""
        key = (version, str(Path.home()), profile)
        state = _state(profile)  # before the rules: a change meanwhile makes the kept ruleset invalid
        descriptor = self._copy(key, state)
        new, began = descriptor is None, self._clock()
        if descriptor is None:
            descriptor = landlock.make_ruleset(version, paths.rules(profile), signals=profile.signals)
        try:
            if new and not profile.once:
                self._put(key, _Kept(os.dup(descriptor), began, state))
            yield descriptor
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            while self._kept:
                os.close(self._kept.popitem()[1].descriptor)

    def _copy(self, key: tuple[int, str, Profile], state: State) -> int | None:
        """Return a descriptor of the caller's own: another thread may close the kept one at any time."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            if kept.state != state or self._clock() - kept.made > LIFETIME:
                os.close(self._kept.pop(key).descriptor)
                return None
            self._kept.move_to_end(key)
            return os.dup(kept.descriptor)  # like every descriptor of Python's, not inherited by programs

    def _put(self, key: tuple[int, str, Profile], new: _Kept) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            self._kept[key] = new
            out = [old] if old else []
            while len(self._kept) > self._most:
                out.append(self._kept.popitem(last=False)[1])
            for kept in out:
                os.close(kept.descriptor)


def _state(profile: Profile) -> State:
    """Return what the rules of a profile depend on, and may change between two calls."""
    named = (profile.workspace, *profile.reads, *profile.writes, *profile.own)
    return tuple(_identity(path, False) for path in named) + tuple(
        _identity(path, True) for path in paths.divided(profile)
    )


def _identity(path: str, content: bool) -> tuple[int, ...]:
    try:
        status = Path(path).stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, *((status.st_mtime_ns,) if content else ()))
