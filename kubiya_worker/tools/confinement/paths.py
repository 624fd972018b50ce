"""The rules of a profile: which paths a confined process may list, read and change.

Landlock only allows, so "all but this" is a rule for each neighbour along the way. What is created later beside a
denied path is not allowed until the next rules are made.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from kubiya_worker.tools.confinement import landlock, places
from kubiya_worker.tools.confinement.landlock import Rule
from kubiya_worker.tools.confinement.process_profile import Profile

LOOK_AGAIN: Final = 30.0  # seconds for which the list of /etc is kept; walking it takes some milliseconds


def rules(profile: Profile) -> list[Rule]:
    """Return the rules of a profile. The widest come first; Landlock adds up what several rules allow."""
    user = [str(Path(path).expanduser()) for path in places.USER]
    paths: list[Rule] = [("/", landlock.LIST)]
    for path in (*places.SYSTEM, *user, *profile.reads):
        paths += ((allowed, landlock.READ) for allowed in without(path, profile.private))
    paths += ((allowed, landlock.READ) for allowed in _configuration(profile.private))
    for path in profile.writes:
        _make(path, profile.private)
        paths += ((allowed, landlock.WRITE) for allowed in without(path, profile.private))
    paths += ((path, landlock.READ) for path in profile.own)
    paths += ((path, landlock.DEVICE) for path in places.DEVICES)
    paths.append((places.SHARED_MEMORY, landlock.WRITE))
    # A workspace may lie in the worker's folder, and a person may have chosen the home for one, which has that in it.
    inside = tuple(place for place in profile.private if not _is_below(os.path.realpath(profile.workspace), place))
    paths += ((path, landlock.WRITE) for path in without(profile.workspace, inside))
    return paths


def _make(path: str, private: Sequence[str]) -> None:
    """Make a folder that may be changed and is not there: the confined process could not, and there is no rule for it.

    A name with an ending, such as `state.json`, is one of a file.
    """
    real = os.path.realpath(path)
    if Path(path).suffix or os.path.lexists(path) or any(_is_below(real, place) for place in private):
        return
    with contextlib.suppress(OSError):  # it is not the worker's to make; what is refused then is told to the model
        Path(path).mkdir(mode=0o700, parents=True)


def divided(profile: Profile) -> list[str]:
    """Return the folders whose entries have rules of their own, because a private place lies below them."""
    whole = [os.path.realpath(path) for path in (profile.workspace, *profile.reads, *profile.writes)]
    above = {str(parent) for place in profile.private for parent in Path(place).parents}
    return sorted(folder for folder in above if any(_is_below(folder, path) for path in whole))


def without(path: str, private: Sequence[str]) -> Iterator[str]:
    """Yield paths that together are `path` without the private ones."""
    real = os.path.realpath(path)
    if any(_is_below(real, place) for place in private):
        return
    if not any(_is_below(place, real) for place in private):
        yield real
        return
    try:
        entries = list(os.scandir(real))
    except OSError:
        return
    for entry in entries:
        if not entry.is_symlink():  # what it leads to has its own path
            yield from without(entry.path, private)


def readable_by_all(folder: str, private: Sequence[str] = ()) -> list[str]:
    """Return paths below a folder that every user of the host may read: the folder itself if that holds for all."""
    paths: list[str] = []
    return [folder] if _collect(folder, private, paths) else paths


def _collect(folder: str, private: Sequence[str], paths: list[str]) -> bool:
    whole, mine = True, []
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return False
    for entry in entries:
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError:
            whole = False
            continue
        if entry.path in private:
            whole = False
        elif stat.S_ISDIR(mode):
            if mode & 0o005 == 0o005 and _collect(entry.path, private, paths):
                mine.append(entry.path)
            else:
                whole = False
        elif stat.S_ISREG(mode):
            if mode & stat.S_IROTH:
                mine.append(entry.path)
            else:
                whole = False
    if not whole:
        paths += mine
    return whole


_kept: dict[tuple[str, ...], tuple[float, list[str]]] = {}


def _configuration(private: Sequence[str]) -> list[str]:
    key, now = tuple(private), time.monotonic()
    when, known = _kept.get(key, (0.0, []))
    if not known or now - when > LOOK_AGAIN:
        known = readable_by_all(places.CONFIGURATION, private)
        _kept.clear()
        _kept[key] = now, known
    return known


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
