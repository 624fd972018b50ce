"""Bind a Unix socket in a folder that only this user can enter, notice that it is gone, and remove only that one."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path
from typing import Final

from . import files

_LONGEST: Final = 100  # bytes of a socket's path: 108 on Linux, 104 elsewhere, with the zero


class BoundSocket:
    """This is a Unix socket and its name in the file system."""

    def __init__(self, kind: int, folder: str, name: str) -> None:
        """Bind the socket `name` in `folder`.

        A temporary folder is used when the path is too long or the file system has no sockets. Raises OSError.
        """
        self._kind = kind
        # Of the same name at each start, so that the sockets of killed processes are used again and do not gather.
        own = f"supervisor-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
        # A TMPDIR may be as long as the folder, and /tmp may be read-only.
        temporary = (os.environ.get("TMPDIR"), "/tmp", "/var/tmp")  # noqa: S108 - the folder in it is ours alone
        places = [folder, *(f"{each}/{own}" for each in temporary if each), f"/tmp/supervisor-{os.urandom(8).hex()}"]  # noqa: S108
        fitting = [place for place in places if len(os.fsencode(f"{place}/{name}")) <= _LONGEST]
        for place in fitting:
            self._folder, self.address = place, f"{place}/{name}"
            try:
                self._open()
                return
            except OSError:
                if place == fitting[-1]:
                    raise

    def _open(self) -> None:
        Path(self._folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        # In /tmp everybody could have made a folder of this name before, and would then reach the socket.
        if Path(self._folder).is_symlink() or Path(self._folder).stat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "the folder is another user's", self._folder)
        Path(self._folder).chmod(0o700)
        bound = socket.socket(socket.AF_UNIX, self._kind)
        try:
            bound.setblocking(False)
            # Left by a killed supervisor: this process holds the lock of the instance, so no other one uses the name.
            Path(self.address).unlink(missing_ok=True)
            bound.bind(self.address)
        except OSError:
            bound.close()
            raise
        self.socket, self._stamp = bound, files.stamp(self.address)

    @property
    def lost(self) -> bool:
        """Return whether the name is gone or leads to another file, so that nobody can reach the socket."""
        return files.stamp(self.address) != self._stamp

    def bind_again(self) -> bool:
        """Bind a new socket to the same name. Return whether that worked; the old socket is closed then."""
        old = self.socket
        try:
            self._open()
        except OSError:
            return False
        old.close()
        return True

    def close(self) -> None:
        """Close the socket. Remove its name and the folder, unless they are somebody else's by now."""
        files.remove_own(self.address, self._stamp)
        self.socket.close()
        try:
            Path(self._folder).rmdir()
        except OSError:
            pass  # the folder holds other files
