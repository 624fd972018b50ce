"""This module has the search attributes by which Temporal's page and CLI find executions; all are ours.

They are keywords. A control plane sets those that the namespace knows (`kubiya server setup-temporal` adds them), and
asks the workflow to keep the status current only when that one is known: Temporal fails each task of a workflow that
sets an unknown one.
"""

from __future__ import annotations

from typing import Final

AGENT: Final = "KubiyaAgent"
TEAM: Final = "KubiyaTeam"
QUEUE: Final = "KubiyaQueue"
ORGANIZATION: Final = "KubiyaOrganization"
PERSON: Final = "KubiyaPerson"
STATUS: Final = "KubiyaStatus"
ALL: Final = (AGENT, TEAM, QUEUE, ORGANIZATION, PERSON, STATUS)
SHOWS_STATUS: Final = "shows_status"  # field of a workflow's input: keep STATUS current
