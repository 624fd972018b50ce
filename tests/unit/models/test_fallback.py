"""A fallback model is asked after certain faults only, and a model that failed rests for a while."""

from __future__ import annotations

import pytest

from kubiya_worker.models import base, fallback
from kubiya_worker.models.base import ModelError
from kubiya_worker.workflows import options


def fault(kind: str, *, retryable: bool = False, retry_after: float | None = None) -> ModelError:
    return ModelError("x", kind=kind, retryable=retryable, retry_after=retry_after)


@pytest.mark.parametrize("kind", [base.QUOTA, base.AUTH, base.UNKNOWN_MODEL, base.MOVED])
def test_what_waiting_does_not_mend_gives_way_at_once(kind: str) -> None:
    assert fallback.gives_way(fault(kind), 1, again=False)


@pytest.mark.parametrize("kind", [base.RATE_LIMITED, base.UNAVAILABLE, base.SILENT, base.CUT_STREAM])
def test_an_outage_gives_way_at_the_third_fault(kind: str) -> None:
    given = [fallback.gives_way(fault(kind, retryable=True), failed, again=True) for failed in (1, 2, 3)]
    assert given == [False, False, True]


def test_a_long_wait_gives_way_at_once() -> None:
    assert fallback.gives_way(fault(base.RATE_LIMITED, retryable=True, retry_after=31), 1, again=True)
    assert not fallback.gives_way(fault(base.RATE_LIMITED, retryable=True, retry_after=29), 1, again=True)


@pytest.mark.parametrize("kind", [base.REFUSED, base.BAD_REQUEST, base.CONTEXT_OVERFLOW])
def test_what_another_model_would_get_too_does_not(kind: str) -> None:
    assert not fallback.gives_way(fault(kind), 1, again=False)


def test_a_new_call_begins_with_a_model_that_does_not_rest() -> None:
    now = [0.0]
    resting = fallback.Resting(lambda: now[0])
    models = ["a", "b", "c"]
    assert resting.first(models) == 0
    resting.rest("a", fault(base.UNAVAILABLE, retryable=True))
    resting.rest("b", fault(base.QUOTA))
    assert resting.first(models) == 2
    resting.rest("c", fault(base.AUTH))
    assert resting.first(models) == 0, "all rest: its own"
    now[0] = fallback.REST + 1
    assert resting.first(["b", "a"]) == 1
    now[0] = fallback.LONG_REST + 1
    assert resting.first(["b", "a"]) == 0


def test_temporal_tries_as_often_as_the_model_layer_means() -> None:
    assert options.MODEL_ATTEMPTS == base.MANY
