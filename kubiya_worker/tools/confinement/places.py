"""The places of a host: what every confined process may read, and what it needs to change."""

from __future__ import annotations

from typing import Final

# Programs, libraries, and what administrators look at. /run holds credentials and sockets, so only parts of it.
SYSTEM: Final = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/snap", "/boot"),
    *("/proc", "/sys", "/var/log", "/var/lib/dpkg", "/var/lib/apt", "/var/cache/apt", "/var/lib/rpm"),
    *("/run/log", "/run/systemd", "/run/udev", "/run/mount", "/run/utmp", "/run/lock", "/run/blkid"),
    *("/run/resolvconf", "/run/NetworkManager/resolv.conf", "/run/dbus"),
)
CONFIGURATION: Final = "/etc"  # what every user may read there: root's own files are keys and passwords
NEVER_CHANGED: Final = (*(each for each in SYSTEM if each != "/opt"), CONFIGURATION, "/dev", "/run")
DEVICES: Final = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"),
)
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  (Python's multiprocessing needs it)
USER: Final = ("~/.gitconfig", "~/.config/git")  # git does not start when they are there and cannot be read
TEMPORARY: Final = ".tmp"  # folder of the workspace for TMPDIR
HOME: Final = "home"  # folder in it for HOME, of programs that can use nothing of the user's
