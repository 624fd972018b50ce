"""A model's endpoint learns of the trace only where a setting says so."""

from __future__ import annotations

import pytest

from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.request_settings import settings_of
from kubiya_worker.tracing import current, ids

CONNECTION = Connection("openai", "https://models.example/v1", "k")
TRACE = ids.trace_of("e1", 1, None, None, 1.0)


@pytest.mark.parametrize("to_models", [True, False])
@pytest.mark.parametrize("own", [{}, {"compatibility": {"extra_headers": {"X-Team": "ops"}}}])
def test_the_header_is_added_to_those_of_the_endpoint(own: dict[str, object], to_models: bool) -> None:
    step = current.Step(7, lambda: TRACE, "w1", to_models=to_models)
    token = current.STEP.set(step)
    try:
        made = settings_of("big", ModelRequest("big", "", [], settings=own), CONNECTION)
    finally:
        current.STEP.reset(token)
    expected = {**({"X-Team": "ops"} if own else {}), **({"traceparent": TRACE.traceparent(7)} if to_models else {})}
    assert made.get("extra_headers", {}) == expected
