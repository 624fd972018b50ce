"""This module moves credentials that older definitions hold in the open to secrets, when the control plane starts.

The stored versions of a definition are such definitions too: a rollback would bring their credentials back.
"""

from __future__ import annotations

from collections.abc import Sequence

from kubiya_worker.event_log import EventLogger
from kubiya_worker.server import open_credentials
from kubiya_worker.server.open_credentials import OpenCredential
from kubiya_worker.server.person import LOCAL
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.store.records import Object, Records

log = EventLogger(__name__)


def move_credentials(plane: Plane) -> int:
    """Put a reference in place of each credential, and say so in the log; return how many were moved.

    Raises ConfigurationError when there is no key to seal them: then nothing is changed.
    """
    moved, stores = 0, plane.stores
    kinds = {
        "environment": stores.environments,
        "agent": stores.agents,
        "team": stores.teams,
        "job": stores.jobs,
    }
    for kind, store in kinds.items():
        for definition in store.every():
            moved += _move(plane, kind, store, definition)
    moved += sum(_move_of_version(plane, version) for version in stores.versions.every())
    if moved:
        plane.database.compact()
    return moved


def _move(plane: Plane, kind: str, store: Records, definition: Object) -> int:
    credentials = open_credentials.found_in(definition)
    if not credentials:
        return 0
    with plane.database.transaction():
        changed, names = _with_references(plane, definition["organization_id"], definition, credentials)
        # `changed` on both sides: a record of the change must not hold what it was.
        store.update(changed, {key: changed[key] for key in changed if changed[key] != definition[key]})
    _tell({kind: definition["name"]}, names, credentials)
    return len(credentials)


def _move_of_version(plane: Plane, version: Object) -> int:
    credentials = open_credentials.found_in(version["spec"])
    if not credentials:
        return 0
    with plane.database.transaction():
        changed, names = _with_references(plane, version["organization_id"], version["spec"], credentials)
        plane.stores.versions.replace_spec(version, changed)
    _tell({version["kind"].lower(): version["name"], "version": version["version"]}, names, credentials)
    return len(credentials)


def _with_references(
    plane: Plane, organization_id: str, definition: Object, credentials: Sequence[OpenCredential]
) -> tuple[Object, list[str]]:
    """Store the credentials; return the definition with references in their place, and the names of the secrets."""
    names = []
    for credential in credentials:
        names.append(_stored(plane, organization_id, credential))
        definition = open_credentials.replaced(definition, credential, names[-1])
    return definition, names


def _tell(definition: Object, names: Sequence[str], credentials: Sequence[OpenCredential]) -> None:
    places = ", ".join(".".join(map(str, one.place)) for one in credentials)
    log.warning("secrets.moved", **definition, secrets=",".join(names), places=places)


def _stored(plane: Plane, organization_id: str, credential: OpenCredential) -> str:
    """Store the credential under its name, or under a numbered one where another secret has that name."""
    number, name = 1, credential.secret
    while (known := plane.stores.secrets.value(organization_id, name)) is not None:
        if known[0] == credential.value:
            return name
        number += 1
        name = f"{credential.secret}_{number}"
    plane.stores.secrets.set(organization_id, name, LOCAL.contact(), value=credential.value)
    return name
