"""Bodies of requests that make several writes at once, and the answers in theirs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kubiya_worker.control_plane.json_values import encoded
from kubiya_worker.control_plane.writes import Write

REQUEST_BYTES: Final = 1_000_000  # size of several groups in one request; a larger group goes alone

Group = Sequence[Write]  # writes that are made together, all or none


def packed(groups: Sequence[Group]) -> Iterator[tuple[list[Group], bytes]]:
    """Yield neighbouring groups that fit into one request, with the body of that request."""
    batch: list[Group] = []
    bodies: list[bytes] = []
    size = 0
    for group in groups:
        text = _listed(group)
        if batch and size + len(text) > REQUEST_BYTES:
            yield batch, _joined(bodies)
            batch, bodies, size = [], [], 0
        batch.append(group)
        bodies.append(text)
        size += len(text)
    yield batch, _joined(bodies)


def body_of_groups(groups: Sequence[Group]) -> bytes:
    """Return the body of one request for several groups, whatever its size."""
    return _joined([_listed(group) for group in groups])


def body_of(group: Group) -> dict[str, Any]:
    """Return the body of a request for one group."""
    return {"requests": [write.request() for write in group]}


def answers_in(batch_answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answer to each write of a group; raise ValueError for an answer of another form."""
    answers = batch_answer.get("answers")
    if not isinstance(answers, list):
        raise ValueError("there is no list `answers`")
    return [answer if isinstance(answer, dict) else {} for answer in answers]


def group_answers_in(batch_answer: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the answer to each of `count` groups; raise ValueError for an answer of another form."""
    groups = batch_answer.get("groups")
    if not isinstance(groups, list) or len(groups) != count or not all(isinstance(one, dict) for one in groups):
        raise ValueError(f"there is no list `groups` of {count} objects")
    return groups


def _listed(group: Group) -> bytes:
    return encoded([write.request() for write in group])


def _joined(bodies: Sequence[bytes]) -> bytes:
    return b'{"groups":[' + b",".join(bodies) + b"]}"
