"""This module decides by its mode whether a file with a secret is kept from other users."""

from __future__ import annotations

import os
import stat


def open_to_others(status: os.stat_result) -> bool:
    """Return whether other users can read or write a file.

    A group may read root's file, because Kubernetes and systemd pass secrets in that way.
    """
    allowed = 0o640 if status.st_uid == 0 and os.geteuid() != 0 else 0o600
    return bool(stat.S_IMODE(status.st_mode) & 0o077 & ~allowed)
