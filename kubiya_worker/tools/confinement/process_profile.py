"""A profile: what the processes of one tool may reach. `profile` makes one from what a skill declares."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Profile:
    """Say what the processes of one tool of one execution may reach. Paths are absolute.

    `own` may be read although it lies in a private place (the worker's interpreter). `private` is never allowed, also
    where it lies below a path that is.
    """

    workspace: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    network: bool = True
    unix_sockets: bool = False
    signals: bool = False
    once: bool = False  # for one process only, so that nothing is kept for another one

    def reading(self, *paths: str) -> Profile:
        """Return the profile with further paths of the worker's own that may be read."""
        return replace(self, own=(*self.own, *paths))
