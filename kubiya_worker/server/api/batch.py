"""This module takes several writes in one request and one transaction, for the begin or end of an execution or turn.

This route is our own: a worker uses it where the registration lists `batch`, and makes single requests elsewhere.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Final

from kubiya_worker.server.access import PREFIX
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import worker
from kubiya_worker.server.edges.base import Filters
from kubiya_worker.server.refusals import REFUSALS, ApiError, invalid, refusal

MOST: Final = 20  # requests in a batch
MOST_GROUPS: Final = 50


def routes(single: Iterable[Any]) -> list[Edge]:
    """Return the batch route, which accepts those routes of `single` that may be in a batch."""
    writes = [route for route in single if isinstance(route, Edge) and route.batched]

    async def batch(call: Call) -> Any:
        """Run all requests, or none.

        The first refused request becomes the reply, except a 404 of one that is marked `optional`. A request with
        `if_status` runs only when the turn before it led to that `next_status`; else its answer is null. `groups`
        instead of `requests` holds several separate batches, each with its own answer or refusal.
        """
        fields = call.fields
        groups = fields.get("groups")
        if groups is None:
            return _batch(call, writes, fields.get("requests"))
        if len(groups) > MOST_GROUPS:
            raise invalid("groups", f"at most {MOST_GROUPS} groups", "too_long")
        return {"groups": [_group(call, writes, group) for group in groups]}

    return [Edge("POST", "/batch", batch, body=worker.Requests)]


def _group(call: Call, writes: list[Edge], requests: Any) -> dict[str, Any]:
    try:
        return _batch(call, writes, requests)
    except REFUSALS as error:
        status, detail = refusal(error, call.request.url.path)
        return {"status": status, "detail": detail}


def _batch(call: Call, writes: list[Edge], requests: Any) -> dict[str, Any]:
    if not isinstance(requests, list):
        raise invalid("requests", "Field required", "missing")
    if len(requests) > MOST:
        raise invalid("requests", f"at most {MOST} requests", "too_long")
    # A single request may store something although it is refused, so it gets no transaction around it.
    if len(requests) == 1:
        return {"answers": _answers(call, writes, requests)}
    with call.plane.database.transaction():
        return {"answers": _answers(call, writes, requests)}


def _answers(call: Call, writes: list[Edge], requests: list[Any]) -> list[Any]:
    answers: list[Any] = []
    status = None
    for request in requests:
        wanted = request.get("if_status") if isinstance(request, dict) else None
        answer = _answer(call, writes, request) if wanted in (None, status) else None
        status = answer.get("next_status", status) if isinstance(answer, dict) else status
        answers.append(answer)
    return answers


def _answer(call: Call, writes: list[Edge], request: Any) -> Any:
    if not isinstance(request, dict) or not isinstance(request.get("body"), dict):
        raise invalid("requests", "a request has method, path and a body that is an object", "dict_type")
    method, path = str(request.get("method")), str(request.get("path"))
    try:
        return within(call, writes, method, path, request["body"])
    except ApiError as error:
        if request.get("optional") is True and error.status == 404:
            return None
        raise


def within(
    call: Call, routes: Iterable[Edge], method: str, path: str, body: dict[str, Any], query: Filters | None = None
) -> Any:
    """Run the handler of another route, which must never wait, as a part of this request; return its result.

    `query` is what the other route reads from a query string; without it nothing is asked for.
    """
    for each in routes:
        match = each.path_regex.match(PREFIX + path) if each.method == method else None
        if match is not None:
            refused = each.need.refusal(call.person)
            if refused:
                raise ApiError(403, refused)
            params = {name: each.param_convertors[name].convert(text) for name, text in match.groupdict().items()}
            inputs = each.models.inner(params, body, query)
            return _at_once(each.handler(Call(call.request, call.plane, call.caller, inputs)))
    raise invalid("requests", f"{method} {path} cannot be in a batch")


def _at_once(work: Any) -> Any:
    """Return the result of a coroutine that never waits; a wait would let other writes into the transaction."""
    assert isinstance(work, Coroutine)
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise RuntimeError("a write that a batch may hold has waited")
