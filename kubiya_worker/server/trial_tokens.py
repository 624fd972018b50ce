"""This module makes the token by which a worker gets the secrets of an agent that it tests, without an execution.

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


def make(seal: Seal, organization_id: str, agent_id: str) -> str:
    """Return a token for the secrets of this agent."""
    return PREFIX + seal.close(json.dumps({"agent": agent_id, "until": time.time() + VALID}), _place(organization_id))


def agent_of(seal: Seal, organization_id: str, token: str) -> str | None:
    """Return the agent that a token is for; None for another text, another organization, or when its time is over."""
    if not token.startswith(PREFIX):
        return None
    try:
        told = json.loads(seal.open(token.removeprefix(PREFIX), _place(organization_id)))
    except (ConfigurationError, ValueError):
        return None
    return str(told["agent"]) if told["until"] > time.time() else None


def _place(organization_id: str) -> str:
    return f"trial:{organization_id}"
