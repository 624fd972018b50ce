"""A model's endpoint learns of the trace only where a setting says so."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.request_settings import settings_of
from kubiya_worker.models.session import open_session
from kubiya_worker.tracing import current, ids

CONNECTION = Connection("openai", "https://models.example/v1", "k")
TRACE = ids.trace_of("e1", 1, None, None, 1.0)
ANSWER = b'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("to_models", [True, False])
@pytest.mark.parametrize("own", [{}, {"compatibility": {"extra_headers": {"X-Team": "ops"}}}])
def test_the_header_is_added_to_those_of_the_endpoint(
    own: dict[str, object], to_models: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[httpx2.Request] = []

    async def answer(_: object, request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=ANSWER, request=request)

    async def asked() -> None:
        session = open_session(CONNECTION)
        async for _ in session.stream("big", ModelRequest("big", "", [], settings=own)):
            pass
        await session.close()

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", answer)
    token = current.STEP.set(current.Step(7, lambda: TRACE, "w1", to_models=to_models))
    try:
        asyncio.run(asked())
        native = settings_of("big", ModelRequest("big", "", []), Connection("anthropic", "", "k"))
    finally:
        current.STEP.reset(token)
    (request,) = sent
    traced = {"traceparent": TRACE.traceparent(7)} if to_models else {}
    expected = {**({"x-team": "ops"} if own else {}), **traced}
    assert {name: request.headers[name] for name in ("x-team", "traceparent") if name in request.headers} == expected
    assert native.get("extra_headers", {}) == traced
