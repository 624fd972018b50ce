"""This module makes the token by which a worker gets settings and secrets of what it tests, without an execution.

It is sealed with the control plane's key, so that every replica knows it and nobody can make one, and it counts for
some minutes.
"""

from __future__ import annotations

import json
import time
from typing import Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.sealing import Seal

PREFIX: Final = "trial:"
VALID: Final = 180.0  # seconds; a test takes at most 110


def make(seal: Seal, organization_id: str, kind: str, key: str) -> str:
    """Return a token for the secrets of this agent, team, environment or stored MCP server (names.TRIAL_KINDS)."""
    subject = {"kind": kind, "id": key, "until": time.time() + VALID}
    return PREFIX + seal.close(json.dumps(subject), _place(organization_id))


def subject_of(seal: Seal, organization_id: str, token: str) -> tuple[str, str] | None:
    """Return (kind, id) of what a token is for.

    It is None for another text, for one of another organization or of an earlier version, and when its time is over.
    """
    if not token.startswith(PREFIX):
        return None
    try:
        subject = json.loads(seal.open(token.removeprefix(PREFIX), _place(organization_id)))
        return (str(subject["kind"]), str(subject["id"])) if subject["until"] > time.time() else None
    except (ConfigurationError, ValueError, KeyError):
        return None


def _place(organization_id: str) -> str:
    return f"trial:{organization_id}"
