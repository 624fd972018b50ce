"""This module gives messages about requests for approval the token of a link by which a person can answer."""

from __future__ import annotations

from datetime import UTC, datetime

from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.stores import Stores


class AnswerLinks:
    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def token(self, definition: Object, approval_id: str) -> str | None:
        """Return the token for an answer from a definition's message; an empty text where nobody may answer by it.

        None: the request does not wait any more.
        """
        organization_id, channel = definition["organization_id"], definition["channel"]
        approval = self._stores.approvals.get(organization_id, approval_id)
        if approval is None or approval["status"] != ap.PENDING or ap.overdue(approval, datetime.now(UTC)):
            return None
        person = channel.get("person")
        if person and not self._stores.keys.persons(organization_id, person):
            person = None  # nobody with this e-mail has a key: the message opens the page only
        if not person and not channel.get("persons"):
            return ""
        return self._stores.answer_tokens.make(approval, definition["id"], person)
