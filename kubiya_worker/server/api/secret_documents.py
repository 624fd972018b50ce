"""This module makes secrets as documents say. A value is taken and sealed, and is in no answer and in no version."""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.server.call import Call
from kubiya_worker.server.refusals import invalid
from kubiya_worker.server.store.records import Object, Objects
from kubiya_worker.server.store.secrets import Secrets

KIND: Final = "Secret"
NEW_VALUE: Final[Object] = {"path": "spec.value", "after": "another value, which is not shown"}


class SecretObjects:
    """Secrets in the form in which other definitions are stored: found by name, which is the id too."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def find(self, organization_id: str, key: str) -> Object | None:
        secret = self._secrets.find(organization_id, key)
        return {**secret, "id": secret["name"], "organization_id": organization_id} if secret else None

    def list(self, organization_id: str) -> Objects:
        return [
            {**one, "id": one["name"], "organization_id": organization_id}
            for one in self._secrets.list(organization_id)
        ]

    def update(self, record: Object, changes: Object) -> Object:
        """Store which set of documents a secret is of, the only thing that is changed so."""
        self._secrets.mark(record["organization_id"], record["name"], changes)
        return {**record, **changes}


def spec_of(record: Object) -> Object:
    """Return what a document may say of a secret that is stored: its source, or nothing of its value."""
    return {"source": record["source"]} if record.get("source") else {}


def wanted(call: Call, name: str, spec: Object) -> Object:
    """Return {value} or {source} to set, and nothing where all is as the document says.

    Answer 422 for both, for a place that only `kubiya apply` can read, and for neither where there is no secret yet.
    """
    fields: Object = {field: spec[field] for field in ("value", "source") if field in spec}
    if "value_from" in spec:
        raise invalid("value_from", "value_from is read by kubiya apply, where it runs: send value, or source")
    if len(fields) == 2:
        raise invalid("source", "A secret has a value or a source: give one of them")
    known = call.plane.stores.secrets.find(call.organization_id, name)
    if known is None:
        if not fields:
            raise invalid("source", f"There is no secret {name!r} yet: give source or value_from", "missing")
        return fields
    if "source" in fields:
        return {} if known["source"] == fields["source"] else fields
    if "value" in fields:
        stored = call.plane.stores.secrets.value(call.organization_id, name)
        return {} if stored is not None and stored[0] == fields["value"] else fields
    return {}


def differences(fields: Object, plain: list[Any]) -> list[Any]:
    """Return the differences with the word that a value is another one, in place of the value."""
    return [*plain, NEW_VALUE] if "value" in fields else plain
