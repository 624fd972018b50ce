"""This module models what is said about secrets: how they are set, and which ones a worker asks for."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field

from kubiya_worker.credentials import SHORTEST
from kubiya_worker.protocol import names as protocol_names
from kubiya_worker.server.edges.base import Filled, Strict, checked_by, one_of
from kubiya_worker.server.edges.configuration import SecretName

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
LARGEST: Final = 65_536  # characters
MOST: Final = 200  # names in one request


def check_name(name: str) -> None:
    """Raise ValueError for what cannot stand in `{{.secret.NAME}}`."""
    if not NAME.fullmatch(name):
        raise ValueError("a secret's name is letters, digits and '_', at most 100, and begins with no digit")


def _long_enough(value: str) -> None:
    if len(value.strip()) < SHORTEST:
        raise ValueError(f"a secret of fewer than {SHORTEST} characters cannot be hidden in what tools say")
    if len(value) > LARGEST or "\0" in value:
        raise ValueError(f"a secret is a text of at most {LARGEST:,} characters without NUL")


class SecretSet(Strict):
    """One of `value` and `source`."""

    value: Annotated[str, checked_by(_long_enough)] | None = None
    source: Filled | None = None


class SecretsWanted(Strict):
    """A worker asks for secrets at the moment of use: those that the definition of `entity_id` references."""

    worker_id: Filled
    execution_id: Filled
    kind: Annotated[str, one_of(*protocol_names.TRIAL_KINDS)]  # other ones than agents and teams only for a test
    entity_id: Filled
    names: Annotated[list[SecretName], Field(min_length=1, max_length=MOST)]
