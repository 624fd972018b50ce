"""The requests that make writes: one write, a group that is made as a whole, or several groups together."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kubiya_worker.control_plane import errors, lenient
from kubiya_worker.control_plane.answers import API, OPTIONAL_TIMEOUT, Answers
from kubiya_worker.control_plane.json_values import encoded
from kubiya_worker.control_plane.small_bodies import is_small
from kubiya_worker.control_plane.transport import Transport, detail_of, one_line
from kubiya_worker.control_plane.write_batches import (
    Group,
    answers_in,
    body_of,
    body_of_groups,
    group_answers_in,
    packed,
)
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import Event

if TYPE_CHECKING:
    from kubiya_worker.control_plane.direct import DirectConnections

log = logging.getLogger(__name__)

TURN_TIMEOUT: Final = (2.0, 8.0)  # the judge takes up to 5 s
EVENTS_REMEMBERED: Final = 20_000  # ids of events that a control plane without deduplication has taken

# The outcome of a group of writes: the answer to each, or the error of the group.
Outcome = list[dict[str, Any]] | errors.ControlPlaneError


class WriteRequests:
    """Make writes at the control plane at `base_url`. `features` returns what it has announced."""

    def __init__(
        self, base_url: str, answers: Answers, transport: Transport, features: Callable[[], frozenset[str]]
    ) -> None:
        self._base_url, self._answers, self._transport, self._features = base_url, answers, transport, features
        self._accepted_events: OrderedDict[tuple[str, str], None] = OrderedDict()  # sent singly, and taken

    def one(self, write: Write) -> dict[str, Any]:
        """Make a write and return the answer. Raise WriteIgnored for a 2xx that says that nothing was stored."""
        if self._goes_singly(write):
            return self._events_singly(write)
        answer = self._answers.object(write.method, write.path, write.body, timeout=_timeout(write))
        if answer.get("success") is False:
            reason = one_line(str(answer.get("error") or "it does not say why"))
            url = self._url(write)
            raise errors.WriteIgnored(
                f"{write.method} {url} stored nothing: {reason}",
                status=500,
                remedy="The log of the control plane says more",
            )
        return answer

    def groups(self, groups: Sequence[Group]) -> list[Outcome]:
        """Make groups of writes in order, each all or nothing. Return the outcome of each group; raise nothing.

        A group of several writes needs the feature `batch`, several groups need the feature `batch_groups`.
        """
        if len(groups) == 1:
            return [self._group(groups[0])]
        outcomes: list[Outcome] = []
        for batch, body in packed(groups):
            outcomes += self._together(batch, body) if len(batch) > 1 else [self._group(batch[0])]
        return outcomes

    async def directly(self, connections: DirectConnections, groups: Sequence[Group]) -> list[Outcome] | None:
        """Do what `groups` does, from the event loop; return None where the caller has to use that instead."""
        first = groups[0][0]
        if not is_small([write.body for group in groups for write in group]):
            return None
        method, path = "POST", "/batch"
        if len(groups) > 1:
            body = body_of_groups(groups)
        elif len(groups[0]) > 1:
            body = encoded(body_of(groups[0]))
        elif self._goes_singly(first):
            return None
        else:
            method, path, body = first.method, first.path, encoded(first.body)
        answer = await connections.call(method, f"{urlsplit(self._base_url).path}{API}{path}", body)
        if not isinstance(answer, dict) or answer.get("success") is False:
            return None
        try:
            if len(groups) > 1:
                answers = group_answers_in(answer, len(groups))
                return [self._outcome(group, one) for group, one in zip(groups, answers, strict=True)]
            return [answers_in(answer) if len(groups[0]) > 1 else [answer]]
        except ValueError:
            return None

    def _goes_singly(self, write: Write) -> bool:
        return write.events is not None and names.FEATURE_EVENTS_BATCH not in self._features()

    def _events_singly(self, write: Write) -> dict[str, Any]:
        """Post events one by one. A later try does not repeat the events that were taken."""
        path = write.path.removesuffix("/batch")
        events: Sequence[Event] = write.events or ()
        for event in events:
            key = (path, str(event.get("event_id")))
            if key in self._accepted_events:
                continue
            try:
                self._answers.call("POST", path, event)
            except errors.Refused as error:
                if error.status not in (400, 413, 422):
                    raise
                log.error("events.lost count=1 reason=refused: %s", error)  # the others are not lost with it
            self._accepted_events[key] = None
            while len(self._accepted_events) > EVENTS_REMEMBERED:
                self._accepted_events.popitem(last=False)
        return {}

    def _group(self, group: Group) -> Outcome:
        try:
            if len(group) == 1:
                return [self.one(group[0])]
            return answers_in(self._answers.object("POST", "/batch", body_of(group)))
        except errors.ControlPlaneError as error:
            return error
        except ValueError as error:
            return self._odd(error)

    def _together(self, groups: Sequence[Group], body: bytes) -> list[Outcome]:
        try:
            results = group_answers_in(self._answers.object("POST", "/batch", body), len(groups))
        except ValueError:
            return [self._group(group) for group in groups]
        except errors.ControlPlaneError as error:
            if not error.outage and not isinstance(error, errors.Unauthorized):
                # One group makes the server refuse the whole request: sent one by one, only that group is refused.
                return [self._group(group) for group in groups]
            return [errors.copied(error) for _ in groups]
        return [self._outcome(group, one) for group, one in zip(groups, results, strict=True)]

    def _outcome(self, group: Group, result: dict[str, Any]) -> Outcome:
        if "answers" in result:
            try:
                return answers_in(result)
            except ValueError as error:
                return self._odd(error)
        first, status = group[0], int(lenient.number(result.get("status"), 500))
        return self._transport.refusal(first.method, self._url(first), status, detail_of(result))

    def _odd(self, error: ValueError) -> errors.ControlPlaneError:
        """Return the error of a batch whose answer has another form: nobody can say what of it was stored."""
        url = f"{self._base_url}{API}/batch"
        return errors.WriteIgnored(
            f"POST {url} is answered in another form: {error}",
            status=500,
            remedy=f"Look whether a proxy before {self._base_url} changes answers",
        )

    def _url(self, write: Write) -> str:
        return f"{self._base_url}{API}{write.path}"


def _timeout(write: Write) -> tuple[float, float] | None:
    """Return the time limits of a write in seconds: short ones when the execution can go on without it."""
    if not write.optional:
        return None
    return TURN_TIMEOUT if write.path == "/analytics/turns" else OPTIONAL_TIMEOUT
