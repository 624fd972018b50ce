"""This module says which definitions reference which secrets, and which entities take part in an execution. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from kubiya_worker import templates
from kubiya_worker.server.store.records import Object

COMMUNICATION: Final = "agent_communication"
_TAUGHT: Final = (
    *("execution_environment", "configuration", "config", "skills", "mcp_servers", "env_vars", "channel"),
    *("proof", "reply"),  # of a hook
)

Find = Callable[[str, str], Object | None]  # (agent or team, id or name) -> the entity


def secrets_in(definition: Mapping[str, Any]) -> set[str]:
    """Return the names of the secrets that a definition uses: in templates, and as variables of its environment."""
    parts = [definition.get(part) for part in _TAUGHT]
    listed = [definition.get("secrets"), (definition.get("execution_environment") or {}).get("secrets")]
    return {
        *templates.secrets_in(parts),
        *(str(name) for names in listed for name in names or ()),
    }


def users_of(name: str, definitions: Iterable[tuple[str, Object]]) -> list[dict[str, str]]:
    """Return {kind, id, name} of each definition that uses the secret."""
    return [
        {"kind": kind, "id": str(one["id"]), "name": str(one["name"])}
        for kind, one in definitions
        if name in secrets_in(one)
    ]


def taking_part(kind: str, entity: Object, find: Find, everybody: Iterable[tuple[str, Object]]) -> Iterator[Object]:
    """Yield an entity and those that it can give work to: members of a team, and whom its skill may ask."""
    waiting: list[tuple[str, Object]] = [(kind, entity)]
    seen: set[str] = set()
    while waiting:
        kind, entity = waiting.pop()
        if str(entity["id"]) in seen:
            continue
        seen.add(str(entity["id"]))
        yield entity
        if any(skill.get("type") == COMMUNICATION and skill.get("enabled", True) for skill in entity.get("skills", ())):
            waiting += everybody
        waiting += _members(entity, find)


def _members(entity: Object, find: Find) -> Iterator[tuple[str, Object]]:
    configuration = entity.get("configuration") or {}
    for key in (*(configuration.get("member_ids") or ()), configuration.get("leader_id")):
        for kind in ("agent", "team") if key else ():
            member = find(kind, str(key))
            if member is not None:
                yield kind, member
                break
