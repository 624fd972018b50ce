"""The caller's span is kept in the metadata of an execution, where workers read it."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.server.api.execute import traced

SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = SPAN.replace("-01", "-00")


@pytest.mark.parametrize(
    ("given", "header", "metadata"),
    [
        ({}, SPAN, {"traceparent": SPAN}),
        ({"execution_metadata": None}, SPAN, {"traceparent": SPAN}),
        ({"execution_metadata": {"a": 1}}, SPAN, {"a": 1, "traceparent": SPAN}),
        ({"execution_metadata": {"traceparent": OTHER}}, SPAN, {"traceparent": OTHER}),
        ({"execution_metadata": {"a": 1}}, None, {"a": 1}),
        ({"execution_metadata": {"a": 1}}, "00-nonsense", {"a": 1}),
    ],
)
def test_the_header_counts_where_the_body_says_nothing(
    given: dict[str, Any], header: str | None, metadata: dict[str, Any]
) -> None:
    assert traced({"prompt": "p", **given}, header) == {"prompt": "p", "execution_metadata": metadata}
